"""CameraInfo to Camera: distortion models, region of interest, binning, the names of ROS 1 and ROS 2."""

from types import SimpleNamespace

import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info, info_fields

K_9 = [500.0, 0, 319.5, 0, 510.0, 239.5, 0, 0, 1]


def info(ros1=False, **changes):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    fields = {
        "width": 640, "height": 480, "distortion_model": "plumb_bob", "k": K_9, "d": [0.1, -0.2, 0.01, 0.02, 0.3],
        "binning_x": 0, "binning_y": 0, "roi": roi,
    } | changes  # fmt: skip
    if ros1:
        fields["K"], fields["D"] = fields.pop("k"), fields.pop("d")
    return SimpleNamespace(**fields)


@pytest.mark.parametrize("ros1", [False, True])
def test_k_d_and_size(ros1):
    camera = camera_from_info(info(ros1))
    assert camera == Camera(640, 480, 500, 510, 319.5, 239.5, "plumb_bob", (0.1, -0.2, 0.01, 0.02, 0.3))


@pytest.mark.parametrize(
    ("name", "d", "model", "coefficients"),
    [
        ("", [], "pinhole", 0),
        ("plumb_bob", [], "pinhole", 0),
        ("plumb_bob", [0.0] * 5, "pinhole", 0),
        ("", [0.1, 0, 0, 0, 0], "plumb_bob", 5),
        ("plumb_bob", [0.1, 0.2, 0, 0], "plumb_bob", 4),
        ("plumb_bob", [0.1] * 8, "rational_polynomial", 8),
        ("rational_polynomial", [0.1] * 8, "rational_polynomial", 8),
        ("rational_polynomial", [0.1] * 14, "rational_polynomial", 14),
        ("equidistant", [0.1, 0.2, 0.3, 0.4], "equidistant", 4),
        ("fisheye", [0.1, 0.2, 0.3, 0.4, 0.0], "equidistant", 4),
        ("equidistant", [], "equidistant", 4),
        ("Kannala_Brandt4", [0.1, 0.2, 0.3, 0.4], "equidistant", 4),
    ],
)
def test_distortion_models(name, d, model, coefficients):
    camera = camera_from_info(info(distortion_model=name, d=d))
    assert (camera.model, len(camera.distortion)) == (model, coefficients)


def test_a_region_of_interest_moves_the_principal_point():
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=320, height=240)
    camera = camera_from_info(info(roi=roi))
    assert (camera.width_px, camera.height_px) == (320, 240)
    assert (camera.fx_px, camera.cx_px, camera.cy_px) == (500, 219.5, 199.5)


def test_binning_halves_the_focal_length_and_keeps_pixel_centres():
    camera = camera_from_info(info(binning_x=2, binning_y=2))
    assert (camera.width_px, camera.height_px, camera.fx_px) == (320, 240, 250)
    assert camera.cx_px == pytest.approx((319.5 + 0.5) / 2 - 0.5)


def test_binning_of_zero_means_one():
    assert camera_from_info(info(binning_x=0, binning_y=1)).width_px == 640


def test_region_then_binning_with_a_rest():
    roi = SimpleNamespace(x_offset=10, y_offset=0, width=321, height=240)
    camera = camera_from_info(info(roi=roi, binning_x=2, binning_y=2))
    assert (camera.width_px, camera.height_px) == (160, 120)
    assert camera.cx_px == pytest.approx((309.5 + 0.5) / 2 - 0.5)
    assert camera.fx_px == 250


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"k": [np.nan] * 9}, "nine finite"),
        ({"k": [1.0] * 4}, "nine finite"),
        ({"k": [-500.0, 0, 320, 0, 500, 240, 0, 0, 1]}, "not positive"),
        ({"width": 0}, "0 x 480"),
        ({"distortion_model": "magic"}, "not known"),
        ({"d": [0.1] * 6}, "coefficients"),
        ({"d": [float("inf")] * 5}, "not positive"),
        ({"d": None}, "not a CameraInfo"),
        ({"roi": SimpleNamespace(x_offset=600, y_offset=0, width=100, height=100)}, "outside its sensor"),
        ({"binning_x": 5000}, "binning"),
    ],
)
def test_what_cannot_be_a_camera(changes, words):
    with pytest.raises(InputError, match=words) as error:
        camera_from_info(info(**changes))
    assert "\n" not in str(error.value)


def test_something_else_than_a_camera_info():
    with pytest.raises(InputError, match="not a CameraInfo"):
        camera_from_info(SimpleNamespace(data=3))


@pytest.mark.parametrize(
    ("model", "d"),
    [("pinhole", ()), ("plumb_bob", (0.1, 0.2, 0.0, 0.0, 0.1)), ("equidistant", (0.1, 0.0, 0.0, 0.0))],
)
def test_fields_lead_back_to_the_same_camera(model, d):
    camera = Camera(640, 480, 500.25, 510.5, 320.125, 240.75, model, d)
    assert camera_from_info(info(**info_fields(camera))) == camera


def test_fields_fill_a_real_message():
    message_type = pytest.importorskip("sensor_msgs.msg").CameraInfo
    camera = Camera(640, 480, 500.25, 510.5, 320.125, 240.75, "plumb_bob", (0.1, 0.2, 0.0, 0.0, 0.1))
    message = message_type()
    for name, value in info_fields(camera).items():
        setattr(message, name, value.tolist() if hasattr(value, "tolist") else value)
    assert camera_from_info(message) == camera
    assert message.p[3] == 0
