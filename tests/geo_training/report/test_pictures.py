"""Images in their size on a page."""

import base64

import cv2
import numpy as np
from geo_training.report.pictures import as_data_url, canvas_pixel, resized_canvas


def test_a_canvas_is_a_copy_of_the_asked_size_and_pixel_centres_stay():
    image = np.zeros((48, 64, 3), np.uint8)
    canvas, scale = resized_canvas(image, 128)
    assert (canvas.shape, scale) == ((96, 128, 3), 2.0)
    canvas[:] = 255
    assert not image.any()
    assert canvas_pixel(np.array([0.0, 10.25]), scale) == (0, 21)  # 0.5 rounds to even
    assert resized_canvas(np.zeros((2, 900, 3), np.uint8), 90)[0].shape == (1, 90, 3)


def test_a_picture_keeps_its_colours_in_its_address():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    kind, data = as_data_url(image).split(",")
    assert kind == "data:image/jpeg;base64"
    decoded_bgr = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(decoded_bgr[8, 8], [0, 0, 200], atol=6)
