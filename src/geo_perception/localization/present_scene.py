"""Of a node that localizes in a folder of scenes: which scene it is in, what it says of that, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from geo_perception.localization.result import Localization
from geo_perception.ros.remembered import Remembered, number
from geo_perception.ros.worker import Frame

if TYPE_CHECKING:
    from geo_perception.localization.scene_set import MultiSceneLocalizer
    from geo_perception.localization.scene_watch import FolderChange

_KEEP_S = 1.0


class PresentScene:
    """Follows the scenes of `LocalizationNode`. `show_landmarks(frame_id, points_l3)` is called with those of another
    scene. All but `values` is for the thread of the worker, or while there is none."""

    def __init__(self, node: Any, show_landmarks: Callable[[str, np.ndarray], None]):
        self._node, self._show_landmarks = node, show_landmarks
        self._localizer: MultiSceneLocalizer | None = None
        self._remembered = Remembered(node, "a scene", interval_s=_KEEP_S)
        self._recalled: tuple[str, float] | None = None
        self._scene, self._since_s, self._epoch = "", 0.0, -1
        self._values: dict[str, str] = {}

    def adopt(self, localizer: MultiSceneLocalizer) -> None:
        """Follows this one from now on, which may be the same on another device, and its folder."""
        if self._localizer is not None:
            self._localizer.unwatch()
        self._localizer = localizer
        localizer.forget(self._scene or None)
        period_s = self._node.value("scene_folder_period_s")
        if period_s > 0:
            localizer.watch(period_s, self._node.value("map_frame"))
        self._tell()

    def activated(self) -> None:
        """Recalls the scene of before, and shows the landmarks of the present one."""
        self._remembered.recall(self._take_state)
        if self._scene:
            self._show()

    def close(self) -> None:
        self._remembered.close()
        if self._localizer is not None:
            self._localizer.unwatch()
        self._localizer, self._scene, self._values = None, "", {}

    def forget(self) -> None:
        """Somebody asked to forget all. The localizer is told with the next frame, by its own thread."""
        self._recalled = None
        self._remembered.forget()

    def begin(self, frame: Frame) -> None:
        """Before a frame is localized: after a reset any scene may be the one, after a restart that of before. What
        changed in the folder is taken."""
        assert self._localizer is not None
        for change in self._localizer.follow():
            self._tell_change(change)
        if frame.epoch == self._epoch:
            return
        first, self._epoch = self._epoch < 0, frame.epoch
        if self._recalled is not None:
            scene, stamp_s = self._recalled
            self._recalled = None
            age_s = frame.stamp_ns * 1e-9 - stamp_s
            if 0 <= age_s <= self._node.value("state_max_age_s"):
                self._localizer.forget(scene)
                return
        if not first:
            self._scene = ""
            self._localizer.forget()

    def end(self, result: Localization, frame: Frame) -> None:
        """After a frame was localized: tells whether it was in another scene, and keeps the scene for a restart."""
        assert self._localizer is not None
        standing, stamp_s = self._localizer.standing, frame.stamp_ns * 1e-9
        if result.localized and result.scene == standing.scene:
            if result.scene != self._scene:
                former, self._scene, self._since_s = self._scene, result.scene, stamp_s
                moved = f"from scene {former} into {self._scene}" if former else f"in scene {self._scene}"
                self._node.get_logger().info(f"{moved}: {standing.why}")
                self._show()
            self._remembered.keep({"scene": self._scene, "stamp_s": stamp_s})
        self._tell()

    @property
    def map_frame(self) -> str:
        """The frame of the poses of the present scene; that of the placed scenes as long as there is none."""
        assert self._localizer is not None
        frames = self._localizer.folder.frames
        return frames.frame_of(self._scene) if self._scene else frames.map_frame

    def values(self) -> dict[str, str]:
        """For the diagnostics, from any thread."""
        return self._values

    def _take_state(self, state: dict[str, Any]) -> None:
        self._recalled = str(state["scene"]), number(state, "stamp_s")

    def _tell_change(self, change: FolderChange) -> None:
        log = self._node.get_logger()
        for words, names in (("added", change.added), ("replaced", change.replaced), ("removed", change.removed)):
            if names:
                log.info(f"scenes {words}: {', '.join(names)}; {len(change.folder.scenes)} in {change.folder.path}")
        if self._scene in change.replaced:
            self._show()

    def _show(self) -> None:
        assert self._localizer is not None
        if self._scene in self._localizer.folder.scenes:
            self._show_landmarks(self.map_frame, self._localizer.landmarks_of(self._scene))

    def _tell(self) -> None:
        assert self._localizer is not None
        localizer, standing, scene = self._localizer, self._localizer.standing, self._scene
        count = len(localizer.folder.scenes)
        proposed = f"{standing.rank} of {count}, by a share of {standing.share:.2f}" if standing.rank else "none"
        unplaced = bool(scene) and localizer.folder.frames.place_of(scene) is None
        problems = localizer.problems
        self._values = {
            "scene": scene or "none",
            "scene because": standing.why or "none",
            "scene since (s)": f"{self._since_s:.3f}" if scene else "none",
            "scene proposed as": proposed,
            "scenes asked": ", ".join(standing.asked) or "none",
            "scene switches": str(standing.switches),
            "scenes loaded": f"{len(localizer.loaded)} of {count}, {localizer.loaded_mb:.1f} MB",
            "map frame": self.map_frame + (f", its own: scenes.yaml does not place {scene}" if unplaced else ""),
            "scenes with problems": "; ".join(problems.values()) or "none",
            "state file": self._remembered.verdict,
        }
        self._node.scene_problem = next(iter(problems.values()), "")
        self._node.scene_conflict = standing.conflict and f"{scene}: {standing.conflict}"
