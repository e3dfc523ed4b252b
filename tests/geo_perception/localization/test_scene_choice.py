"""Which scene a frame is asked in, tried with frames that are made up: what each scene would say of them, and how alike
they look."""

from geo_perception.localization.result import Localization, Verdict
from geo_perception.localization.scene_choice import Proposed, SceneChoice, SceneChoiceOptions

FOUND, NONE = Localization(Verdict.LOCALIZED, "found"), Localization(Verdict.NO_CONSENSUS, "refused")
NAN = float("nan")


class Robot:
    """Shows frames to a choice, and keeps what was asked for the last one."""

    def __init__(self, **options):
        self.choice = SceneChoice(SceneChoiceOptions(**options))
        self.asked: list[str] = []
        self.disagreement = ""

    def see(self, alike: dict[str, float], poses: str = "", unusable: str = ""):
        """A frame that looks like scenes so much, and has a pose in those of `poses` (one letter each)."""

        def ask(name: str) -> Localization | None:
            if name in unusable:
                return None
            self.asked.append(name)
            return FOUND if name in poses else NONE

        self.asked = []
        # NaN compares with nothing: what cannot be proposed comes last.
        order = sorted(alike, key=lambda name: (alike[name] != alike[name], -alike[name]))
        return self.choice.answer([Proposed(name, alike[name]) for name in order], ask, lambda a, b: self.disagreement)


def test_a_robot_that_wakes_is_in_the_first_proposed_scene_that_has_a_pose():
    robot = Robot()
    answer = robot.see({"a": 0.2, "b": 0.9, "c": 0.5}, poses="c")
    assert robot.asked == ["b", "c"]
    assert (answer.scene, answer.result.localized, robot.choice.present) == ("c", True, "c")
    assert robot.choice.switches == 0  # the first one is no switch


def test_only_so_many_scenes_are_tried_and_a_wrong_place_is_refused_by_all():
    robot = Robot(tries=2)
    answer = robot.see({"a": 0.9, "b": 0.8, "c": 0.7}, poses="c")
    assert robot.asked == ["a", "b"]
    assert not answer.result.localized
    assert robot.choice.present is None


def test_as_long_as_it_is_proposed_first_the_present_scene_alone_is_asked():
    robot = Robot()
    for _ in range(20):
        answer = robot.see({"a": 0.8, "b": 0.79}, poses="ab")
        assert (answer.scene, robot.asked) == ("a", ["a"])


def test_another_scene_takes_over_once_it_was_proposed_first_in_enough_frames_in_a_row():
    robot = Robot(switch_frames=3, margin=0.02)
    robot.see({"a": 0.8, "b": 0.5}, poses="ab")
    scenes = [robot.see({"a": 0.6, "b": 0.7}, poses="ab").scene for _ in range(3)]
    assert scenes == ["a", "a", "b"]
    assert robot.asked == ["a", "b"]
    assert (robot.choice.present, robot.choice.switches) == ("b", 1)


def test_nothing_flickers_between_two_scenes_that_look_alike_by_turns():
    robot = Robot(switch_frames=3, margin=0.02)
    robot.see({"a": 0.8, "b": 0.5}, poses="ab")
    for turn in range(30):
        robot.see({"a": 0.7, "b": 0.7 + (0.05 if turn % 3 else -0.05)}, poses="ab")
    for _ in range(30):
        robot.see({"a": 0.7, "b": 0.715}, poses="ab")  # within the margin
    assert (robot.choice.present, robot.choice.switches) == ("a", 0)


def test_a_rival_without_a_pose_does_not_take_over_and_is_not_asked_with_every_frame():
    robot = Robot(switch_frames=3)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    asked = []
    for _ in range(9):
        assert robot.see({"a": 0.5, "b": 0.9}, poses="a").scene == "a"
        asked += robot.asked
    assert (asked.count("a"), asked.count("b")) == (9, 3)


def test_a_rival_that_contradicts_the_present_scene_waits_until_it_does_not():
    robot = Robot(switch_frames=2)
    robot.see({"a": 0.8, "b": 0.5}, poses="ab")
    robot.disagreement = "0.3 m away"
    for _ in range(6):
        assert robot.see({"a": 0.5, "b": 0.9}, poses="ab").scene == "a"
    assert robot.choice.conflict == "0.3 m away"
    robot.disagreement = ""
    scenes = [robot.see({"a": 0.5, "b": 0.9}, poses="ab").scene for _ in range(2)]
    assert scenes == ["a", "b"]
    assert robot.choice.conflict == ""


def test_one_frame_with_a_pose_elsewhere_is_not_believed_and_several_in_a_row_are():
    robot = Robot(switch_frames=3)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    once = robot.see({"a": 0.5, "b": 0.9}, poses="b")
    assert (once.scene, once.result.localized) == ("a", False)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    found = [robot.see({"a": 0.5, "b": 0.9}, poses="b") for _ in range(3)]
    assert [answer.result.localized for answer in found] == [False, False, True]
    assert (robot.choice.present, robot.choice.switches) == ("b", 1)


def test_a_robot_that_is_lost_takes_the_first_scene_with_a_pose():
    robot = Robot(switch_frames=3, lost_frames=4)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    for _ in range(4):
        robot.see({"a": 0.5, "b": 0.6})
    answer = robot.see({"a": 0.5, "b": 0.6}, poses="b")
    assert (answer.scene, answer.result.localized, robot.asked) == ("b", True, ["b"])


def test_a_lost_robot_that_is_back_in_its_scene_has_not_switched():
    robot = Robot(lost_frames=2)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    for _ in range(5):
        robot.see({"a": 0.5, "b": 0.6})
    assert robot.see({"a": 0.7, "b": 0.6}, poses="a").result.localized
    assert robot.choice.switches == 0


def test_a_scene_that_nothing_proposes_is_tried_when_the_others_refuse_each_in_its_turn():
    robot = Robot(tries=1)
    alike = {"a": 0.9, "b": 0.8, "x": NAN, "y": NAN}
    tried = []
    for _ in range(4):
        robot.see(alike)
        tried.append(robot.asked)
    assert tried == [["a", "x"], ["a", "y"], ["a", "x"], ["a", "y"]]
    assert robot.see(alike, poses="x").scene == "x"


def test_a_present_scene_that_can_no_longer_be_used_makes_way_at_once():
    robot = Robot(switch_frames=3)
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    answer = robot.see({"a": 0.8, "b": 0.5}, poses="b", unusable="a")
    assert (answer.scene, robot.choice.present) == ("b", "b")
    assert robot.see({"a": 0.8, "b": 0.5}, unusable="ab") is None


def test_a_scene_of_before_is_preferred_at_first_and_left_when_it_has_no_pose():
    robot = Robot(switch_frames=2)
    robot.choice.forget("b")
    assert robot.see({"a": 0.9, "b": 0.2}, poses="ab").scene == "b"
    robot.choice.forget("b")
    scenes = [robot.see({"a": 0.9, "b": 0.2}, poses="a").scene for _ in range(2)]
    assert scenes == ["b", "a"]


def test_a_scene_that_is_gone_from_the_folder_is_not_asked():
    robot = Robot()
    robot.see({"a": 0.8, "b": 0.5}, poses="a")
    assert robot.see({"b": 0.5}, poses="b").scene == "b"
