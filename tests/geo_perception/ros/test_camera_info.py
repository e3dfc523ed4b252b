"""CameraInfo to Camera: distortion models, region of interest, binning, the names of ROS 1 and ROS 2."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import UncalibratedCamera, camera_from_info, info_fields, lacks_projection

K_9 = [500.0, 0, 319.5, 0, 510.0, 239.5, 0, 0, 1]
P_12 = [410.0, 0, 310.5, 0, 0, 420.0, 250.5, 0, 0, 0, 1, 0]
RIGHT_P_12 = [410.0, 0, 310.5, -41.0, 0, 420.0, 250.5, 0, 0, 0, 1, 0]  # 10 cm to the right of the left camera
NAN = float("nan")


def info(ros1=False, **changes):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    fields = {
        "width": 640, "height": 480, "distortion_model": "plumb_bob", "k": K_9, "d": [0.1, -0.2, 0.01, 0.02, 0.3],
        "r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1], "p": [0.0] * 12, "binning_x": 0, "binning_y": 0, "roi": roi,
    } | changes  # fmt: skip
    if ros1:
        fields |= {name.upper(): fields.pop(name) for name in "kdrp"}
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
        ({"d": [float("inf")] * 5}, "holds a D with numbers that are not finite"),
        ({"d": [0.1, NAN, 0, 0, 0]}, "holds a D with numbers that are not finite"),
        ({"d": [NAN] * 5, "distortion_model": ""}, "holds a D with numbers that are not finite"),
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


@pytest.mark.parametrize("ros1", [False, True])
@pytest.mark.parametrize("p", [P_12, RIGHT_P_12], ids=["left", "right"])
@pytest.mark.parametrize(("model", "d"), [("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.3]), ("equidistant", [0.1] * 4)])
def test_p_without_d_holds_for_a_rectified_image(ros1, p, model, d):
    """The fourth column of a right camera's P is the baseline times the focal length, and no part of the intrinsics."""
    message = info(ros1, p=p, d=d, distortion_model=model)
    assert camera_from_info(message, rectified=True) == Camera(640, 480, 410, 420, 310.5, 250.5)
    assert camera_from_info(message).model == model
    assert not lacks_projection(message)


def test_region_and_binning_of_a_rectified_image_are_taken_from_p():
    """REP 104: P is for the full resolution; the offsets are in its pixels."""
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=320, height=240)
    camera = camera_from_info(info(p=P_12, roi=roi, binning_x=2, binning_y=2), rectified=True)
    assert (camera.width_px, camera.height_px) == (160, 120)
    assert (camera.fx_px, camera.fy_px) == (205, 210)
    assert camera.cx_px == (210.5 + 0.5) / 2 - 0.5
    assert camera.cy_px == (210.5 + 0.5) / 2 - 0.5


def test_a_rectified_image_without_p_has_k_without_d():
    message = info()
    assert lacks_projection(message)
    assert camera_from_info(message, rectified=True) == Camera(640, 480, 500, 510, 319.5, 239.5)
    with pytest.raises(UncalibratedCamera):
        camera_from_info(info(k=[0.0] * 9), rectified=True)


def test_only_what_is_used_must_be_finite():
    """What a driver leaves undefined beside it is no reason to refuse an image."""
    assert camera_from_info(info(p=[NAN] * 12, r=[NAN] * 9)).fx_px == 500
    damaged = info(p=P_12, k=[NAN] * 9, d=[NAN] * 5, r=[NAN] * 9, distortion_model="magic")
    assert camera_from_info(damaged, rectified=True).fx_px == 410
    for p in ([NAN] * 12, [410.0, 0, NAN, 0, 0, 420.0, 250.5, 0, 0, 0, 1, 0], [1.0] * 9):
        with pytest.raises(InputError, match="holds a P that is not twelve finite numbers"):
            camera_from_info(info(p=p), rectified=True)


def test_a_rectified_image_is_what_image_proc_makes_of_a_raw_one():
    """A point in space lies in the rectified image where P puts it: the raw pixel, undistorted by OpenCV."""
    lens = camera_from_info(info())
    points_n3 = np.array([[0.3, -0.2, 1.0], [-0.4, 0.3, 2.0], [0.0, 0.0, 1.0]])
    raw_n2 = lens.project(points_n3)
    P_34 = np.array(P_12).reshape(3, 4)
    rectified_n2 = cv2.undistortPoints(raw_n2[:, None], lens.K, np.array(lens.distortion), P=P_34)[:, 0]
    camera = camera_from_info(info(p=P_12), rectified=True)
    np.testing.assert_allclose(camera.project(points_n3), rectified_n2, atol=1e-3)
