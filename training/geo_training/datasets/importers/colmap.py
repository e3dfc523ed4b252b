"""A COLMAP model (bin or txt) with its images."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, pose_from_quaternion
from geo_training.datasets.colmap_model import camera_from_colmap, read_reconstruction
from geo_training.datasets.importers.account import IGNORED_PIXELS, Account
from geo_training.datasets.importers.pairing import unique_names
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    camera_of_K,
    folder_name,
    pictures_in,
    sequence_name,
    stamp_at,
    taken_pose,
)
from geo_training.storage.names import natural_key

_MODEL_FOLDERS = ("sparse", "colmap", "colmap/sparse", "model", ".")
_IMAGE_FOLDERS = ("images", "../images", "../../images", ".")


def matches(path: Path) -> bool:
    return bool(_models(path))


def read(path: Path, options: ImportOptions) -> Source:
    """The largest model below `path` (sparse/0, sparse, colmap, or `path` itself) with the images beside it.

    Folders below images/ become sequences; the order is that of the names, the stamps count up at `rate_hz`. Scale and
    gravity of a COLMAP model are not known. Raises InputError when there is no model, or none of its images.
    """
    models = _models(path)
    if not models:
        raise InputError(f"{path} holds no COLMAP model (cameras.bin or cameras.txt in sparse/0); check the path")
    try:
        read_models = [(read_reconstruction(model), model) for model in models]
    except (ValueError, RuntimeError, OSError, IndexError, MemoryError) as error:  # a damaged count asks for any memory
        raise InputError(f"{path}: the COLMAP model cannot be read ({str(error).splitlines()[0]})") from None
    model, model_path = max(read_models, key=lambda entry: entry[0].num_reg_images())
    notes = []
    if len(read_models) > 1:
        notes.append(f"Of {len(read_models)} COLMAP models the largest was taken: {model_path.relative_to(path)}.")
    image_root = _image_root(path, [image.name for image in model.images.values()])
    account = Account()
    by_folder = _images_by_folder(model, image_root, account)
    masks = pictures_in(path / "masks")
    account.find("masks", len(masks))
    account.leave("masks", IGNORED_PIXELS, masks[0].name if masks else "", len(masks))
    used_cameras = {image.camera_id for images in by_folder.values() for image in images}
    cameras = {camera_id: camera_from_colmap(model.cameras[camera_id]) for camera_id in sorted(used_cameras)}
    names = unique_names([folder_name(path) if folder == "." else sequence_name(folder) for folder in by_folder])
    camera_of = camera_of_K(
        options.K_33, [image_root / image.name for images in by_folder.values() for image in images]
    )
    frames = []
    for sequence, images in zip(names, by_folder.values(), strict=True):
        for index, image in enumerate(images):
            T_camera_world = taken_pose(lambda: _pose(image, model_path), account, image.name)  # noqa: B023
            frames.append(
                SourceFrame(
                    image_file=image_root / image.name,
                    sequence=sequence,
                    stamp_ns=stamp_at(index, options.rate_hz or DEFAULT_RATE_HZ),
                    stem=Path(image.name).stem,
                    camera=cameras[image.camera_id] if options.K_33 is None else camera_of(image_root / image.name),
                    T_world_camera=None if T_camera_world is None else invert_pose(T_camera_world),
                )
            )
    notes.append("Poses and cameras are paired by the image's name; the stamps are made up, in the order of the names.")
    return Source(frames, account, scale="unknown", scale_source="a COLMAP model has no scale of its own", notes=notes)


def _images_by_folder(model, image_root: Path, account: Account) -> dict[str, list]:
    """The images of the model that have a pose and exist, by the folder in their names; the account says the others."""
    by_folder = defaultdict(list)
    for image in sorted(model.images.values(), key=lambda image: natural_key(image.name)):
        account.find("images")
        if not image.has_pose:
            account.leave("images", "that COLMAP did not register", image.name)
        elif not (image_root / image.name).is_file():
            account.leave("images", "images of the model do not exist", image.name)
        else:
            by_folder[str(Path(image.name).parent)].append(image)
    named = {str(image_root / image.name) for image in model.images.values()}
    beside = [path for folder in by_folder for path in pictures_in(image_root / folder) if str(path) not in named]
    account.find("images", len(beside))
    account.leave("images", "that the model does not name", beside[0].name if beside else "", len(beside))
    return by_folder


def _pose(image, model_path: Path) -> np.ndarray:
    """T_camera_world (4, 4). Raises InputError when the model holds none."""
    rigid = image.cam_from_world()
    try:
        # Not its matrix: that of a quaternion of zeros is the identity.
        return pose_from_quaternion(rigid.translation, rigid.rotation.quat)
    except InputError as error:
        raise InputError(f"{model_path} image {image.name} is {error}") from None


def _models(path: Path) -> list[Path]:
    """Folders that hold a model; those of the first place where there are any."""
    for name in _MODEL_FOLDERS:
        folder = path / name
        if not folder.is_dir():
            continue
        below = sorted((sub for sub in folder.iterdir() if sub.is_dir()), key=natural_key) if name != "." else []
        if found := [place for place in (folder, *below) if _is_model(place)]:
            return found
    return []


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".bin", ".txt"))


def _image_root(path: Path, names: list[str]) -> Path:
    roots = [path / name for name in _IMAGE_FOLDERS]
    counts = [sum((root / name).is_file() for name in names) for root in roots]
    if not any(counts):
        raise InputError(
            f"none of the {len(names)} images of the model lies in {path / 'images'}; put them there under the names "
            f"that the model uses, such as {names[0] if names else 'none'}"
        )
    return roots[counts.index(max(counts))]
