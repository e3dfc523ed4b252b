"""SIFT features and verified matches of a dataset, kept in a database below the dataset so that they are made once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.runtime.files import replace_text
from geo_training.console import progress_bar
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known, camera_to_dict
from geo_training.mapping.colmap_io import to_pycolmap
from geo_training.storage.fingerprints import digest_of_files

EXTRACT_BATCH = 8  # images between two steps of the progress bar, and at most so many lost by an interruption
MATCH_BATCH = 256


@dataclass(frozen=True)
class FeatureOptions:
    """`max_image_size` is the longer side in pixels before features are looked for, 0 for the size as it is."""

    max_image_size: int = 0
    max_features: int = 3000
    peak_threshold: float = 0.004
    num_threads: int = -1


class FeatureStore:
    """The database of one dataset: opened where it fits the dataset and the options, begun anew where it does not.

    `guesses` are better than the dataset's own of cameras whose intrinsics were not given.
    """

    def __init__(
        self,
        dataset: SceneDataset,
        options: FeatureOptions = FeatureOptions(),
        guesses: Mapping[str, Camera] | None = None,
    ):
        self.dataset, self.options = dataset, options
        self.cameras = {**dataset.cameras, **(guesses or {})}
        self.folder = dataset.root / ".cache" / "map"
        self.path = self.folder / "database.db"
        self._names_path = self.folder / "names.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signature = self._describe()
        signature_path = self.folder / "signature.json"
        if not signature_path.is_file() or signature_path.read_text() != self.signature or not self.path.is_file():
            for stale in self.folder.glob("database.db*"):
                stale.unlink()
            self._names_path.unlink(missing_ok=True)
            self._begin()
            replace_text(signature_path, self.signature)
        self._restore_names()

    def _describe(self) -> str:
        """What the features depend on: the options, the cameras and the images."""
        options = {key: value for key, value in asdict(self.options).items() if key != "num_threads"}
        cameras = {
            camera_id: camera_to_dict(camera) | {"known": camera_is_known(self.dataset.root, camera_id)}
            for camera_id, camera in self.cameras.items()
        }
        images = digest_of_files(self.dataset.image_path(frame) for frame in self.dataset.frames)
        content = {"options": options, "cameras": cameras, "images": images}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    def _begin(self) -> None:
        """Writes the cameras. COLMAP numbers them from 1 in the order of cameras.json."""
        with pycolmap.Database.open(self.path) as database:
            for camera_id, camera in self.cameras.items():
                number = database.write_camera(to_pycolmap(camera, camera_is_known(self.dataset.root, camera_id)))
                rig = pycolmap.Rig()
                rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number))
                database.write_rig(rig)

    def camera_number(self, camera_id: str) -> int:
        """COLMAP's number of a camera of the dataset."""
        return list(self.cameras).index(camera_id) + 1

    def extract(self, frames: list[Frame]) -> dict[str, int]:
        """Extracts what is missing; returns COLMAP's image number by frame name.

        Raises InputError when no image could be read.
        """
        known = self.image_numbers()
        missing = [frame for frame in frames if frame.name not in known]
        settings = pycolmap.FeatureExtractionOptions()
        settings.use_gpu, settings.num_threads = False, self.options.num_threads
        settings.max_image_size = self.options.max_image_size or -1
        settings.sift.max_num_features = self.options.max_features
        settings.sift.peak_threshold = self.options.peak_threshold
        with progress_bar("features", len(missing)) as advance:
            for camera_id in dict.fromkeys(frame.camera_id for frame in missing):
                names = [frame.name for frame in missing if frame.camera_id == camera_id]
                reader = pycolmap.ImageReaderOptions()
                reader.existing_camera_id = self.camera_number(camera_id)
                for start in range(0, len(names), EXTRACT_BATCH):
                    batch = names[start : start + EXTRACT_BATCH]
                    pycolmap.extract_features(
                        self.path,
                        self.dataset.root / "images",
                        image_names=batch,
                        camera_mode=pycolmap.CameraMode.SINGLE,
                        reader_options=reader,
                        extraction_options=settings,
                        device=pycolmap.Device.cpu,
                    )
                    advance(len(batch))
        known = self.image_numbers()
        numbers = {frame.name: known[frame.name] for frame in frames if frame.name in known}
        if not numbers:
            raise InputError(
                f"no image of {self.dataset.root} can be read, or none fits its camera; "
                "run `geo-train dataset check` on it"
            )
        return numbers

    def image_numbers(self) -> dict[str, int]:
        """COLMAP's image number by frame name, of the frames that are in the database."""
        with pycolmap.Database.open(self.path) as database:
            return {image.name: image.image_id for image in database.read_all_images()}

    def features(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (N, 2) in COLMAP's pixels and descriptors (N, 128) uint8 of one frame."""
        number = self.image_numbers()[name]
        with pycolmap.Database.open(self.path) as database:
            return _read_features(database, number)

    def all_features(self, names: list[str]):
        """Yields (keypoints (N, 2), descriptors (N, 128)) of the frames, in order."""
        numbers = self.image_numbers()
        with pycolmap.Database.open(self.path) as database:
            for name in names:
                yield _read_features(database, numbers[name])

    def match(self, pairs: list[tuple[str, str]]) -> int:
        """Matches and verifies what is missing of `pairs` (frame names); returns how many pairs were new."""
        numbers = self.image_numbers()
        with pycolmap.Database.open(self.path) as database:
            missing = [
                (a, b) for a, b in dict.fromkeys(pairs) if not database.exists_two_view_geometry(numbers[a], numbers[b])
            ]
        settings = pycolmap.FeatureMatchingOptions()
        settings.use_gpu, settings.num_threads = False, self.options.num_threads
        verification = pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = 0
        pairing = pycolmap.ImportedPairingOptions()
        list_path = self.folder / "pairs.txt"
        pairing.match_list_path = list_path
        with self._named_by_number(), progress_bar("matches", len(missing)) as advance:
            for start in range(0, len(missing), MATCH_BATCH):
                batch = missing[start : start + MATCH_BATCH]
                list_path.write_text("".join(f"{numbers[a]} {numbers[b]}\n" for a, b in batch))
                pycolmap.match_image_pairs(
                    self.path,
                    matching_options=settings,
                    pairing_options=pairing,
                    verification_options=verification,
                    device=pycolmap.Device.cpu,
                )
                advance(len(batch))
        list_path.unlink(missing_ok=True)
        return len(missing)

    @contextlib.contextmanager
    def _named_by_number(self) -> Iterator[None]:
        """Every image is named by its number meanwhile: COLMAP takes pairs to match from a text file only, and splits
        its lines at blanks. The names stand in a file until they are back, so that an interruption loses none."""
        replace_text(self._names_path, json.dumps({n: name for name, n in self.image_numbers().items()}))
        _rename(self.path, {number: str(number) for number in self.image_numbers().values()})
        try:
            yield
        finally:
            self._restore_names()

    def _restore_names(self) -> None:
        if self._names_path.is_file():
            names = json.loads(self._names_path.read_text())
            _rename(self.path, {int(number): name for number, name in names.items()})
            self._names_path.unlink()

    def inlier_matches(self, pairs: list[tuple[str, str]]):
        """Yields (name a, name b, indices (M, 2) of keypoints in a and b) of the pairs that were verified."""
        numbers = self.image_numbers()
        with pycolmap.Database.open(self.path) as database:
            for a, b in pairs:
                if database.exists_two_view_geometry(numbers[a], numbers[b]):
                    matches_m2 = database.read_two_view_geometry(numbers[a], numbers[b]).inlier_matches
                    if len(matches_m2):
                        yield a, b, matches_m2


def descriptors_of_map(root: str | Path, names: list[str]) -> Iterator[np.ndarray]:
    """The descriptors (N, 128) uint8 of frames in the order of `names`, from the database that `geo-train map` leaves
    beside the map. Raises InputError where it is gone, or lacks a frame."""
    path = Path(root) / ".cache" / "map" / "database.db"
    if not path.is_file():
        raise InputError(
            f"the features of the map of {root} are gone; delete its colmap folder and run geo-train map again"
        )
    with pycolmap.Database.open(path) as database:
        numbers = {image.name: image.image_id for image in database.read_all_images()}
        for name in names:
            if name not in numbers:
                raise InputError(f"the features of {name} are not those of its map; run geo-train map again")
            yield _read_features(database, numbers[name])[1]


def _rename(database_path: Path, name_of: dict[int, str]) -> None:
    with pycolmap.Database.open(database_path) as database, pycolmap.DatabaseTransaction(database):
        for image in database.read_all_images():
            image.name = name_of[image.image_id]
            database.update_image(image)


def _read_features(database: pycolmap.Database, number: int) -> tuple[np.ndarray, np.ndarray]:
    keypoints_nk = np.asarray(database.read_keypoints(number), np.float32)
    if len(keypoints_nk) == 0:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    return keypoints_nk[:, :2], np.asarray(database.read_descriptors(number).data)
