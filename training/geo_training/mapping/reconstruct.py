"""From matches to models: with known poses (points only), with prior positions, or from nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known
from geo_training.mapping.colmap_io import to_rigid
from geo_training.mapping.features import FeatureStore

SEED = 0


def triangulate(frames: list[Frame], dataset: SceneDataset, store: FeatureStore) -> pycolmap.Reconstruction:
    """Points from known poses. The poses and the cameras stay exactly as they were recorded; the points are refined."""
    numbers = store.image_numbers()
    reconstruction = pycolmap.Reconstruction()
    with pycolmap.Database.open(store.path) as database:
        for camera in database.read_all_cameras():
            reconstruction.add_camera_with_trivial_rig(camera)
    for frame in frames:
        image = pycolmap.Image()
        image.name, image.image_id = frame.name, numbers[frame.name]
        image.camera_id = store.camera_number(frame.camera_id)
        reconstruction.add_image_with_trivial_frame(image, to_rigid(frame.T_world_camera))
    options = _pipeline_options([frame.name for frame in frames])
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        return pycolmap.triangulate_points(
            reconstruction, store.path, dataset.root / "images", work, clear_points=True, options=options
        )


def map_incrementally(
    frames: list[Frame], dataset: SceneDataset, store: FeatureStore, prior_sigma_m: float | None = None
) -> list[pycolmap.Reconstruction]:
    """Models from matches alone, the largest first. With `prior_sigma_m` the recorded positions of the frames take
    part in every bundle adjustment, with that standard deviation and a robust loss."""
    names = [frame.name for frame in frames]
    options = _pipeline_options(names)
    options.constant_cameras = _known_cameras(dataset, store)
    options.min_model_size = min(10, max(3, len(frames) // 3))
    with tempfile.TemporaryDirectory(dir=store.folder) as work:
        database_path = store.path
        if prior_sigma_m is not None:
            database_path = Path(work) / "database.db"
            shutil.copyfile(store.path, database_path)
            _write_priors(database_path, frames, store, prior_sigma_m)
            options.use_prior_position = True
            options.use_robust_loss_on_prior_position = True
        models = pycolmap.incremental_mapping(database_path, dataset.root / "images", work, options=options)
    return _largest_first(models)


def map_globally(frames: list[Frame], dataset: SceneDataset, store: FeatureStore) -> list[pycolmap.Reconstruction]:
    """Models by global mapping (all rotations, then all positions at once), the largest first."""
    options = pycolmap.GlobalPipelineOptions()
    options.image_names, options.random_seed = [frame.name for frame in frames], SEED
    if len(_known_cameras(dataset, store)) == len(dataset.cameras):
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


def _known_cameras(dataset: SceneDataset, store: FeatureStore) -> set[int]:
    return {store.camera_number(camera_id) for camera_id in dataset.cameras if camera_is_known(dataset.root, camera_id)}


def _largest_first(models: dict[int, pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    return sorted(models.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def _write_priors(database_path: Path, frames: list[Frame], store: FeatureStore, sigma_m: float) -> None:
    if not any(frame.T_world_camera is not None for frame in frames):
        raise InputError("no frame has a pose to use as a prior; record poses, or pass --poses none")
    numbers = store.image_numbers()
    # COLMAP gives the priors up without a word when they lie exactly in a plane, as those of a wheeled robot do.
    rng = np.random.default_rng(SEED)
    with pycolmap.Database.open(database_path) as database:
        database.clear_pose_priors()
        for frame in frames:
            if frame.T_world_camera is None:
                continue
            prior = pycolmap.PosePrior()
            camera = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, store.camera_number(frame.camera_id))
            prior.corr_data_id = pycolmap.data_t(camera, numbers[frame.name])
            prior.position = frame.T_world_camera[:3, 3] + rng.normal(0, 1e-3 * sigma_m, 3)
            prior.position_covariance = np.eye(3) * sigma_m**2
            prior.coordinate_system = pycolmap.PosePriorCoordinateSystem.CARTESIAN
            database.write_pose_prior(prior)
