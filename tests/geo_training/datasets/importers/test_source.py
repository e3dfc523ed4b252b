"""Numbers, matrices and cameras as text files of other programs hold them."""

import numpy as np
import pytest
from geo_training.datasets.importers.source import (
    camera_of_K,
    list_images,
    numbers_of,
    pictures_in,
    pose_from_numbers,
    read_K,
    read_lines,
    read_numbers,
    stamp_at,
)
from image_files import write_image

from geo_perception.errors import InputError

TURNED_34 = [0, -1, 0, 1.5, 1, 0, 0, -2.0, 0, 0, 1, 0.25]


@pytest.fixture
def text_file(tmp_path):
    def write(text: str):
        (tmp_path / "values.txt").write_text(text)
        return tmp_path / "values.txt"

    return write


class TestRows:
    def test_comments_empty_lines_and_names_of_columns_are_no_rows(self, text_file):
        path = text_file("x y z\n# a comment\n\n1, 2 3  # the first\n-4e1 5 6\n")
        assert read_lines(path) == [(4, ["1", "2", "3"]), (5, ["-4e1", "5", "6"])]
        assert read_numbers(path) == [[1, 2, 3], [-40, 5, 6]]

    def test_a_first_row_of_numbers_is_kept_also_one_that_windows_wrote_as_no_number(self, text_file):
        (row,) = read_numbers(text_file("-1.#IND 1.#QNAN00 2"))
        assert np.isnan(row[:2]).all()
        assert row[2] == 2

    def test_a_word_among_numbers_names_its_line(self, text_file):
        with pytest.raises(InputError, match=r"values\.txt line 2 is not a row of numbers"):
            read_numbers(text_file("1 2\n3 four\n"))
        assert numbers_of(["1", "nan"], "here")[0] == 1.0


class TestPose:
    def test_of_12_or_16_numbers(self):
        T = pose_from_numbers(TURNED_34, "here")
        np.testing.assert_array_equal(T[:3].reshape(-1), TURNED_34)
        np.testing.assert_array_equal(pose_from_numbers([*TURNED_34, 0, 0, 0, 1], "here"), T)

    def test_a_rounded_rotation_is_made_exact(self):
        T = pose_from_numbers(np.array(TURNED_34) + [0, 0, 1e-4, 0] * 3, "here")
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_one_that_is_not_known_is_none(self, value):
        assert pose_from_numbers([value, *TURNED_34[1:]], "here") is None

    @pytest.mark.parametrize(
        ("numbers", "words"),
        [
            (TURNED_34[:11], "here has 11 numbers"),
            ([*TURNED_34, 0, 0, 1, 1], "its last row is not 0 0 0 1"),
            ([2, *TURNED_34[1:]], "here is not a rigid pose"),
            (["one"] * 12, "here is not a matrix of numbers"),
        ],
    )
    def test_what_is_none_is_refused_by_name(self, numbers, words):
        with pytest.raises(InputError, match=words):
            pose_from_numbers(numbers, "here")


class TestK:
    @pytest.mark.parametrize("text", ["50 51 31 23", "50 0 31\n0 51 23\n0 0 1", "fx fy cx cy\n50, 51, 31, 23"])
    def test_of_four_or_nine_numbers(self, text_file, text):
        np.testing.assert_array_equal(read_K(text_file(text)), [[50, 0, 31], [0, 51, 23], [0, 0, 1]])

    @pytest.mark.parametrize("text", ["50 51 31", "-50 51 31 23", "nan 51 31 23", "50 0 0 0 51 0 31 23 1", ""])
    def test_what_is_none_or_written_column_by_column_is_refused(self, text_file, text):
        with pytest.raises(InputError, match="is no camera matrix"):
            read_K(text_file(text))

    def test_it_holds_for_the_size_whose_centre_it_names(self, tmp_path):
        large, small = (write_image(tmp_path / f"{w}.png", size_px=(w, h)) for w, h in ((64, 48), (32, 24)))
        K_33 = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
        camera_of = camera_of_K(K_33, [large, small])
        assert (camera_of(large).width_px, camera_of(small).height_px) == (32, 24)
        assert camera_of_K(None, [large])(large) is None
        with pytest.raises(InputError, match=r"its centre at \(150, 11\.5\), outside the images of 64 x 48"):
            camera_of_K(K_33 + [[0, 0, 134.5], [0, 0, 0], [0, 0, 0]], [large, small])


def test_pictures_are_in_the_order_of_their_numbers_and_hidden_ones_left_out(tmp_path):
    for name in ("10.png", "9.png", "._9.png"):
        write_image(tmp_path / name)
    (tmp_path / "11.png").symlink_to("nowhere.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [path.name for path in pictures_in(tmp_path)] == ["9.png", "10.png", "11.png"]
    assert [path.name for path in list_images(tmp_path)] == ["9.png", "10.png"]
    assert pictures_in(tmp_path / "none") == []


def test_stamps_without_a_clock():
    assert [stamp_at(index, 30.0) for index in (0, 1, 3)] == [0, 33333333, 10**8]
