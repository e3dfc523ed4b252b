"""The landmarks that a pose agrees with, as the camera sees them: true depths at known pixels."""

from __future__ import annotations

import numpy as np

from geo_perception.geometry import invert_pose
from geo_perception.localization.result import Localization

# x, y, z in metres in the camera's optical frame; u, v the detected pixel in the image as it came; the standard
# deviation of z as a share of z.
MATCHED_LANDMARK = np.dtype([(name, np.float32) for name in ("x", "y", "z", "u", "v", "sigma")])


def matched_landmarks(result: Localization) -> np.ndarray:
    """The inliers of a localized image that lie in front of the camera, as a structured array (N,) of MATCHED_LANDMARK.

    With p a landmark, t the camera's position and a its optical axis, all in the map, z = a . (p - t). A pose that is
    off by (e_t, e_r), as in `Localization.covariance_66`, moves it by J e with J = [-a, a x (p - t)], so its variance
    is J C J^T. The error of the landmark's own place in the map is not in it, and the landmarks of one image share the
    error of its pose: their mean is no more certain than each of them.
    """
    detections, T_map_camera = result.detections, result.T_map_camera
    offset_n3 = detections.points_map_n3 - T_map_camera[:3, 3]
    camera_n3 = offset_n3 @ invert_pose(T_map_camera)[:3, :3].T
    kept_n = detections.inlier_n & (camera_n3[:, 2] > 0)
    axis_3 = T_map_camera[:3, 2]
    J_n6 = np.concatenate([np.broadcast_to(-axis_3, offset_n3.shape), np.cross(axis_3, offset_n3)], axis=1)[kept_n]
    sigma_m_n = np.sqrt(np.einsum("ni,ij,nj->n", J_n6, result.covariance_66, J_n6))
    points_n = np.zeros(len(J_n6), MATCHED_LANDMARK)
    points_n["x"], points_n["y"], points_n["z"] = camera_n3[kept_n].T
    points_n["u"], points_n["v"] = detections.pixels_n2[kept_n].T
    points_n["sigma"] = sigma_m_n / camera_n3[kept_n, 2]
    return points_n
