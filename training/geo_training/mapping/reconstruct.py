"""From matches to models: with known poses (points only), or from nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pycolmap

from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known
from geo_training.mapping.colmap_io import to_rigid
from geo_training.mapping.features import FeatureStore

SEED = 0


def triangulate(
    frames: list[Frame],
    dataset: SceneDataset,
    store: FeatureStore,
    database_path: Path | None = None,
    tolerance: float = 1.0,
    cameras: dict[int, pycolmap.Camera] | None = None,
) -> pycolmap.Reconstruction:
    """Points from the poses of the frames, which stay exactly as they are, as the cameras do; the points are refined.

    `database_path` and `cameras` stand in for the store's own. `tolerance`: how far off the poses may be, as a multiple
    of COLMAP's limits, which are for right ones.
    """
    numbers, database_path = store.image_numbers(), database_path or store.path
    reconstruction = pycolmap.Reconstruction()
    if cameras is None:
        with pycolmap.Database.open(database_path) as database:
            cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
    for camera in cameras.values():
        reconstruction.add_camera_with_trivial_rig(camera)
    for frame in frames:
        image = pycolmap.Image()
        image.name, image.image_id = frame.name, numbers[frame.name]
        image.camera_id = store.camera_number(frame.camera_id)
        reconstruction.add_image_with_trivial_frame(image, to_rigid(frame.T_world_camera))
    options = _pipeline_options([frame.name for frame in frames])
    for name in ("create_max_angle_error", "continue_max_angle_error", "merge_max_reproj_error",
                 "complete_max_reproj_error", "re_max_angle_error"):  # fmt: skip
        setattr(options.triangulation, name, tolerance * getattr(options.triangulation, name))
    options.mapper.filter_max_reproj_error *= tolerance
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        return pycolmap.triangulate_points(
            reconstruction, database_path, dataset.root / "images", work, clear_points=True, options=options
        )


def place_others(
    frames: list[Frame], dataset: SceneDataset, store: FeatureStore, database_path: Path, model: pycolmap.Reconstruction
) -> pycolmap.Reconstruction:
    """The model with those of the frames that it has not, where the images tell their place; its own frames stay."""
    options = _pipeline_options([frame.name for frame in frames])
    options.constant_cameras = {store.camera_number(camera_id) for camera_id in dataset.cameras}
    options.fix_existing_frames, options.multiple_models, options.extract_colors = True, False, False
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        given, made = Path(work) / "given", Path(work) / "made"
        given.mkdir()
        made.mkdir()
        model.write(given)
        images = dataset.root / "images"
        models = pycolmap.incremental_mapping(database_path, images, made, options=options, input_path=given)
    return max([model, *models.values()], key=lambda found: found.num_reg_images())


def map_incrementally(frames: list[Frame], dataset: SceneDataset, store: FeatureStore) -> list[pycolmap.Reconstruction]:
    """Models from matches alone, the largest first."""
    options = _pipeline_options([frame.name for frame in frames])
    options.constant_cameras = known_cameras(dataset, store)
    options.min_model_size = min(10, max(3, len(frames) // 3))
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        return _largest_first(pycolmap.incremental_mapping(store.path, dataset.root / "images", work, options=options))


def map_globally(frames: list[Frame], dataset: SceneDataset, store: FeatureStore) -> list[pycolmap.Reconstruction]:
    """Models by global mapping (all rotations, then all positions at once), the largest first."""
    options = pycolmap.GlobalPipelineOptions()
    options.image_names, options.random_seed = [frame.name for frame in frames], SEED
    if len(known_cameras(dataset, store)) == len(dataset.cameras):
        options.mapper.bundle_adjustment.refine_focal_length = False
        options.mapper.bundle_adjustment.refine_extra_params = False
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        database_path = Path(work) / "database.db"  # a copy: it writes refined relative poses into its database
        shutil.copyfile(store.path, database_path)
        models = pycolmap.global_mapping(database_path, dataset.root / "images", work, options=options)
    models = _largest_first(models)
    for model in models:
        model.extract_colors_for_all_images(dataset.root / "images")
    return models


def _pipeline_options(names: list[str]) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.image_names, options.random_seed = names, SEED
    return options


def known_cameras(dataset: SceneDataset, store: FeatureStore) -> set[int]:
    """COLMAP's numbers of the cameras whose intrinsics were given, and stay."""
    return {store.camera_number(camera_id) for camera_id in dataset.cameras if camera_is_known(dataset.root, camera_id)}


def _largest_first(models: dict[int, pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    return sorted(models.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
