"""The parameters of the depth node."""

from __future__ import annotations

from geo_perception.depth.scale import ScaleOptions
from geo_perception.depth.scale_tracker import TrackerOptions
from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_perception.ros.parameters import Change, Spec
from geo_perception.ros.remembered import STATE_PARAMETERS

_USUAL, _SCALE = TrackerOptions(), ScaleOptions()


def _pose_problem(values) -> str:
    if not any(values):
        return ""
    if not any(values[3:]):
        return "odometry_camera_pose has a quaternion of zeros; give tx ty tz qx qy qz qw"
    try:
        pose_from_quaternion(values[:3], values[3:])
    except InputError as error:
        return f"odometry_camera_pose is no pose: {error}"
    return ""


# Named as the fields of TrackerOptions.
SOURCE_PARAMETERS = (
    Spec("camera_height_m", _USUAL.camera_height_m, "height of the camera above the floor it drives on, for a scale "
         "together with `attitude`; 0: not known", low=0.0, high=1000.0),
    Spec("camera_height_sigma_m", _USUAL.camera_height_sigma_m, "standard deviation of that height", low=0.0,
         high=100.0),
    Spec("attitude_max_age_s", _USUAL.attitude_max_age_s, "an attitude further from the image in time is not used",
         low=0.0, high=3600.0),
    Spec("odometry_max_gap_s", _USUAL.odometry_max_gap_s, "between poses of odometry, or of the camera, further apart "
         "than this none is made up", low=1e-3, high=60.0),
    Spec("measure_interval_s", _USUAL.measure_interval_s, "the floor and motion are measured at most once in so many "
         "seconds each", low=0.0, high=60.0),
    Spec("zoom_tolerance", _USUAL.zoom_tolerance, "a focal length that changes by more than this share, measured "
         "against the image's size, forgets the scale", low=1e-3, high=10.0),
)  # fmt: skip
# Named as the fields of ScaleOptions.
SCALE_PARAMETERS = (
    Spec("scale.walk", _SCALE.walk, "how far the scale wanders in one second, as a share of it", low=0.0, high=1.0),
    Spec("scale.shared_error", _SCALE.shared_error, "part of a measurement's error variance that the next one of its "
         "source repeats", low=0.0, high=0.95),
    Spec("scale.correlation_s", _SCALE.correlation_s, "for about how long it does", low=1e-3, high=3600.0),
    Spec("scale.floor_sigma", _SCALE.floor_sigma, "no measurement is taken as more certain than this share", low=1e-4,
         high=1.0),
    Spec("scale.gate_sigma", _SCALE.gate_sigma, "a measurement further off than so many standard deviations is left "
         "out", low=1.0, high=100.0),
    Spec("scale.restart_after", _SCALE.restart_after, "so many in a row that are left out and agree with each other "
         "start the scale anew", low=1, high=1000),
    Spec("scale.max_age_s", _SCALE.max_age_s, "after so long without a measurement there is no scale any more",
         low=0.1, high=86400.0),
)  # fmt: skip
PARAMETERS = (
    Spec("weights", "", "file with the network's weights, or any depth network as an ONNX file or as a folder of "
         "Hugging Face's transformers (docs/depth.md); nothing: the reference weights in the package",
         Change.UNCONFIGURED),
    Spec("depth_encoding", "32FC1", "~/depth in metres (32FC1), or in whole millimetres with 0 for unknown (16UC1)",
         choices=("32FC1", "16UC1")),
    Spec("max_depth_m", 80.0, "what is farther is +Inf in ~/depth and missing in ~/points", low=0.1, high=1e4),
    Spec("min_confidence", 0.5, "points of less confidence are left out of ~/points; ~/depth has them all", low=0.0,
         high=1.0),
    Spec("point_stride_px", 2, "a point for every so many rows and columns of the depth map", low=1, high=64),
    Spec("completion", "field", "how metres are made: field corrects the map by every point whose depth was measured, "
         "on this image or on earlier ones that the camera's motion is known from; scale multiplies it by one factor",
         choices=("field", "scale")),
    Spec("max_scale_sigma", 0.2, "metres are published while the standard deviation of the scale is at most this share "
         "of it", low=1e-3, high=10.0),
    Spec("network_scale_sigma", 0.0, "a network that gives metres is taken to be off by about this share, so that it "
         "has a scale by itself and beside other sources; 0: its scale is measured only", low=0.0, high=1.0),
    Spec("max_depth_sigma", 0.5, "with completion field, pixels whose standard deviation is more than this share of "
         "their depth are NaN in ~/depth and missing in ~/points", low=1e-3, high=10.0),
    Spec("pose_wait_s", 0.2, "with completion field, how long an image waits for its pose and landmarks from a "
         "localizer that spoke in the last second; 0: it takes what is there", low=0.0, high=5.0),
    Spec("landmark_interval_s", 1.0, "landmarks of an image that was not worked on have it looked at afterwards, at "
         "most once in so many seconds; 0: never", low=0.0, high=3600.0),
    Spec("camera_pose_frame", "", "frame that the poses on `camera_pose` are of, where it is not the camera's "
         "optical frame (base_frame of localization_node, say); odometry_camera_pose or TF then tells where the camera "
         "is on it"),
    Spec("odometry_camera_pose", [0.0] * 7, "T_base_camera of the optical frame, as tx ty tz qx qy qz qw; zeros: by TF",
         lengths=(7,), check=_pose_problem),
    *SOURCE_PARAMETERS,
    *SCALE_PARAMETERS,
    *STATE_PARAMETERS,
)  # fmt: skip
