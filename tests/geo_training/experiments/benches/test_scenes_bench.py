"""The figures of the benchmark of a folder of scenes, by a localizer that is made up."""

from types import SimpleNamespace

import numpy as np
import pytest
from geo_training.evaluation.localization.set import Query
from geo_training.experiments.benches import scenes

from geo_perception.geometry import Camera, make_pose
from geo_perception.localization.result import Localization, Verdict
from geo_perception.localization.scene_choice import Proposed
from geo_perception.localization.scene_set import Standing

CAMERA = Camera(64, 48, 50.0, 50.0, 30.0, 25.0)


def query(room: str, says: str) -> tuple[str, Query]:
    """A frame of a room; its picture says in which scene the made-up localizer finds it, at what distance."""
    return room, Query(f"{room}/0.jpg", "day", 0, CAMERA, lambda: says, np.eye(4))


class MadeUp:
    """Finds `scene@metres` there, after `asked` scenes, and nothing in an empty picture."""

    def __init__(self):
        self.folder = SimpleNamespace(scenes=dict.fromkeys("abc"))
        self.standing = Standing()
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    def estimate(self, says: str, camera: Camera, seed: int = 0) -> Localization:
        scene, _, distance = says.partition("@")
        order = sorted("abc", key=lambda name: name != scene)
        proposed = tuple(Proposed(name, 0.5) for name in order)
        self.standing = Standing(scene, asked=tuple(order[:1] if scene else order), proposed=proposed)
        timings_s = {"propose": 0.002, "total": 0.102}
        if not scene:
            return Localization(Verdict.NO_CONSENSUS, "", timings_s=timings_s)
        T = make_pose(np.eye(3), [float(distance), 0.0, 0.0])
        found = Localization(Verdict.LOCALIZED, "", T_map_camera=T, covariance_66=np.eye(6), timings_s=timings_s)
        return Localization(**{**vars(found), "scene": scene})

    def options_for(self, scene: str) -> None:
        """It takes everything."""

    def localizer_of(self, scene: str) -> SimpleNamespace:
        """Alone a scene finds what is said of it, and takes everything else for nothing it knows."""

        def estimate(says: str, camera: Camera, seed: int = 0) -> Localization:
            found = self.estimate(says, camera, seed)
            if found.scene not in ("", scene):
                return Localization(Verdict.NO_CONSENSUS, "", timings_s={"total": 0.1})
            return Localization(**{**vars(found), "scene": ""})

        return SimpleNamespace(estimate=estimate)


def test_a_pose_in_a_wrong_scene_is_no_recall_however_near_it_is():
    asked = [query("a", "a@0.01"), query("a", "b@0.0"), query("b", "b@0.2"), query("c", "")]
    localizer = MadeUp()
    found = scenes._waking(localizer, asked, 0) | scenes._alone(localizer, asked, 0)
    assert localizer.forgotten == 4
    assert (found["right_scene"], found["wrong_scene"]) == (0.5, 0.25)
    assert (found["recall_5cm_5deg"], found["alone_recall_5cm_5deg"]) == (0.25, 0.25)
    assert (found["right_first"], found["right_among_three"]) == (0.5, 1.0)
    assert found["woken_asked"] == pytest.approx((1 + 1 + 1 + 3) / 4)
    assert found["propose_share"] == pytest.approx(0.02)


def test_a_walk_forgets_where_it_was_only_at_its_beginning():
    walks = {"a": [query("a", said)[1] for said in ("a@0.0", "b@0.0", "a@9.0")], "b": [query("b", "")[1]]}
    localizer = MadeUp()
    found = scenes._walking(localizer, walks, 0)
    assert localizer.forgotten == 2
    assert found == {"walk_right_scene": 0.5, "walk_asked": 1.5}


def test_strangers_are_refused_by_all_only_where_no_scene_alone_finds_them():
    strangers = [query("", "")[1], query("", "b@1.0")[1]]
    found = scenes._of_strangers(MadeUp(), strangers, 0)
    assert found == {"strange_refused_by_all": 0.5, "strange_refused": 0.5}
