"""Films, image by image: every pixel where it is shown, every image at its time, damage counted."""

import contextlib

import cv2
import numpy as np
import pytest
from film_maker import RATE_HZ, picture, set_durations, set_shown_width, set_track_matrix, write_film
from geo_training.datasets.recordings.film_matrix import film_mark
from geo_training.datasets.recordings.films import Film

from geo_perception.errors import InputError

STEP_NS = 10**9 // RATE_HZ


def read(path):
    with Film(path) as film:
        images = list(film.images())
    return [image.image_rgb for image in images], [image.stamp_ns for image in images], film


# (a, b, c, d) of the track: the pixel at (x, y) goes to (a x + c y, b x + d y); and the mark of EXIF that does that.
TURNS = {
    (1, 0, 0, 1): (1, lambda image: image),
    (-1, 0, 0, 1): (2, lambda image: image[:, ::-1]),
    (-1, 0, 0, -1): (3, lambda image: image[::-1, ::-1]),
    (1, 0, 0, -1): (4, lambda image: image[::-1]),
    (0, 1, 1, 0): (5, lambda image: image.swapaxes(0, 1)),
    (0, 1, -1, 0): (6, lambda image: np.rot90(image, -1)),
    (0, -1, -1, 0): (7, lambda image: image[::-1, ::-1].swapaxes(0, 1)),
    (0, -1, 1, 0): (8, lambda image: np.rot90(image)),
}


@pytest.mark.parametrize("matrix", TURNS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_all_eight_orientations_to_the_pixel(tmp_path, matrix, suffix):
    mark, turned = TURNS[matrix]
    path = set_track_matrix(write_film(tmp_path / f"walk{suffix}", [picture()]), *matrix)
    (image,), _, film = read(path)
    assert film_mark(path) == mark
    assert np.array_equal(image, turned(picture()))
    assert bool(film.notes) == (mark in (2, 4, 5, 7))  # the mirrored ones are said


def test_a_matrix_of_zeros_turns_nothing(tmp_path):
    (image,), _, _ = read(set_track_matrix(write_film(tmp_path / "walk.mp4", [picture()]), 0, 0, 0, 0))
    assert np.array_equal(image, picture())


def test_films_without_a_matrix_are_upright(tmp_path):
    for suffix in (".avi", ".mkv"):
        path = write_film(tmp_path / f"walk{suffix}", [picture()])
        assert film_mark(path) is None
        assert np.array_equal(read(path)[0][0], picture())


@pytest.mark.parametrize(("width_px", "turn"), [(192, 1), (48, 1), (72, 6)])
def test_pixels_that_are_not_square_become_square(tmp_path, width_px, turn):
    """A disc that the wide or narrow pixels show as a circle is a circle in the image that is stored."""
    y, x = np.mgrid[0:64, 0:96]
    disc = (((x - 48) * width_px / 96) ** 2 + (y - 30) ** 2 < 16**2).astype(np.uint8) * 255
    path = set_shown_width(write_film(tmp_path / "walk.mp4", [np.repeat(disc[..., None], 3, axis=2)]), width_px)
    if turn == 6:
        set_track_matrix(path, 0, 1, -1, 0)
    (image,), _, film = read(path)
    assert image.shape == ((width_px, 64, 3) if turn == 6 else (64, width_px, 3))
    rows, columns = np.nonzero(image[..., 0] > 127)
    assert abs(np.ptp(rows) + 1 - 32) <= 2
    assert abs(np.ptp(columns) + 1 - 32) <= 2
    assert any("square pixels" in note for note in film.notes)


def test_a_pixel_aspect_that_no_film_has_is_ignored(tmp_path):
    (image,), _, film = read(set_shown_width(write_film(tmp_path / "walk.mp4", [picture()]), 9600))
    assert image.shape == (64, 96, 3)
    assert any("ignored" in note for note in film.notes)


def test_a_variable_rate_keeps_its_times(tmp_path):
    """512 ticks are a twentieth of a second, and the time of an image is the sum of those before."""
    path = write_film(tmp_path / "walk.mp4", [picture(i) for i in range(6)])
    images, stamps_ns, film = read(set_durations(path, [512, 1024, 256, 768, 511, 1]))
    assert stamps_ns == [round(STEP_NS * k) for k in (0, 1, 3, 3.5, 5, 5 + 511 / 512)]
    assert all(np.array_equal(image, picture(i)) for i, image in enumerate(images))
    assert (film.decoded, film.undecodable, film.restamped) == (6, 0, 0)


def test_images_that_an_edit_hides_are_counted(tmp_path):
    """The film shows its first 0.3 s; the last two of its images begin after that."""
    path = write_film(tmp_path / "walk.mp4", [picture(i) for i in range(6)])
    _, stamps_ns, film = read(set_durations(path, [512, 1024, 512, 2048, 512, 512]))
    assert stamps_ns == [STEP_NS * k for k in (0, 1, 3, 4)]
    assert (film.promised, film.decoded, film.undecodable) == (6, 4, 2)


def test_times_that_do_not_rise_go_on_at_the_rate_and_are_counted(tmp_path):
    """Blocks of Matroska have milliseconds: here one image at the time of that before it, the next before both."""
    path = write_film(tmp_path / "walk.mkv", [picture(i) for i in range(6)])
    data = bytearray(path.read_bytes())
    blocks = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    for number, time_ms in ((2, 50), (3, 20)):
        data[blocks[number] - 3 : blocks[number] - 1] = time_ms.to_bytes(2, "big", signed=True)
    path.write_bytes(data)
    images, stamps_ns, film = read(path)
    assert len(images) == 6
    assert [round(ns / 1e6) for ns in stamps_ns] == [0, 50, 100, 150, 200, 250]
    assert film.restamped == 2


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_damage_costs_its_images_and_is_counted(tmp_path, suffix):
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8) for i in range(10)]
    path = write_film(tmp_path / f"walk{suffix}", pictures)
    data = bytearray(path.read_bytes())
    for number in (3, 6):
        at = [i for i in range(len(data)) if data.startswith(b"\x89PNG", i)][number]
        data[at + 200 : at + 1200] = bytes(1000)
    path.write_bytes(data)
    images, stamps_ns, film = read(path)
    kept = [i for i in range(10) if i not in (3, 6)]
    assert [round(ns / STEP_NS) for ns in stamps_ns] == kept
    for i, image in zip(kept, images, strict=True):
        assert np.array_equal(image, pictures[i])
    assert (film.decoded, film.undecodable) == (8, 2)


def test_a_film_that_is_cut_off_says_how_much_is_missing(tmp_path):
    path = write_film(tmp_path / "walk.avi", [picture(i) for i in range(20)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    images, _, film = read(path)
    assert 8 <= len(images) < 20
    assert all(np.array_equal(image, picture(i)) for i, image in enumerate(images[:-1]))
    assert film.promised == 20
    assert film.undecodable == 20 - len(images)


def test_nothing_is_printed_about_damage(tmp_path, capfd):
    path = write_film(tmp_path / "walk.mkv", [picture(i) for i in range(20)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    read(path)
    (tmp_path / "no.mp4").write_bytes(b"hello")
    with pytest.raises(InputError):
        Film(tmp_path / "no.mp4")
    assert capfd.readouterr().err == ""


def test_names_that_look_like_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("file:a b.mp4", "12:30 walk #1 100%.mp4", "concat:x|y.mkv", "ünï.avi", "-i.mp4", "%03d.mkv"):
        path = write_film(tmp_path / f"plain{name[-4:]}", [picture()]).rename(tmp_path / name)
        with Film(path.relative_to(tmp_path)) as film:
            assert np.array_equal(next(film.images()).image_rgb, picture())


def test_a_matrix_in_a_broken_header_never_ends_in_a_traceback(tmp_path):
    path = write_film(tmp_path / "walk.mp4", [picture()])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    start = whole.index(b"moov") - 4
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(start, min(start + 500, len(whole)), 6):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged[: random.integers(start, len(whole))] if random.random() < 0.3 else damaged)
        assert film_mark(path) in (None, 1, 2, 3, 4, 5, 6, 7, 8)
        with contextlib.suppress(InputError):
            images, stamps_ns, _ = read(path)
            assert len(images) == len(stamps_ns) <= 1


def test_opencv_turns_nothing_by_itself(tmp_path):
    """What is read and turned here must not be turned before."""
    path = set_track_matrix(write_film(tmp_path / "walk.mp4", [picture()]), 0, 1, -1, 0)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.read()[1].shape == (96, 64, 3)
    assert read(path)[0][0].shape == (96, 64, 3)
