"""Which scene of several a frame is asked in, and when a robot has moved on into another: a choice with hysteresis.

Descriptors propose, the localizer decides; nothing of either is known here, so it can be tried with made-up frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from geo_perception.localization.result import Localization


@dataclass(frozen=True)
class SceneChoiceOptions:
    """When another scene is asked, and believed."""

    tries: int = 3  # proposed scenes that a frame is asked in at most, where the present one has no pose
    switch_frames: int = 3  # in a row, in which another scene must be proposed first, or have a pose alone
    margin: float = 0.1  # share by which another scene must be proposed before the present one
    lost_frames: int = 4  # in a row without a pose, after which the present scene is no longer preferred


@dataclass(frozen=True)
class Proposed:
    """A scene, and its share, 0 to 1, of what speaks for any; NaN where it has no views."""

    scene: str
    share: float

    @property
    def known(self) -> bool:
        return self.share == self.share


@dataclass(frozen=True)
class Answer:
    """What a frame gave: the answer that counts, the scene it is of, all that were asked in this order, and why this
    one."""

    result: Localization
    scene: str
    asked: tuple[str, ...]
    why: str


Ask = Callable[[str], Localization | None]  # None: the scene cannot be used
Agree = Callable[[Localization, Localization], str]  # what is wrong with the second beside the first; empty: nothing


class _Asking:
    """Scenes asked for one frame, each once."""

    def __init__(self, ask: Ask):
        self._ask = ask
        self.answers: dict[str, Localization] = {}

    def __call__(self, name: str) -> Localization | None:
        result = self._ask(name)
        if result is not None:
            self.answers[name] = result
        return result

    def answer(self, scene: str, why: str) -> Answer:
        return Answer(self.answers[scene], scene, tuple(self.answers), why)


class SceneChoice:
    """The present scene, and what speaks for another one, from frame to frame."""

    def __init__(self, options: SceneChoiceOptions | None = None):
        self.options = options or SceneChoiceOptions()
        self.switches = 0  # from one scene to another; the first scene is no switch
        self._turn = 0  # among the scenes that cannot be proposed
        self.forget()

    def forget(self, present: str | None = None) -> None:
        """Begins anew, with a scene that is preferred at first, if one is given."""
        self.present, self.conflict = present, ""  # what keeps two scenes apart that both have a pose
        self._missed = 0  # frames in a row in which the present scene had no pose
        self._rival, self._seen = "", 0  # another scene, and in how many frames in a row something spoke for it

    def answer(self, proposed: Sequence[Proposed], ask: Ask, agree: Agree) -> Answer | None:
        """Asks scenes for one frame until one has a pose that counts. `proposed` are all scenes, the likeliest first
        and those last that cannot be proposed; `agree` compares the poses of two scenes, where it can. None where no
        scene can be used."""
        asking = _Asking(ask)
        if all(one.scene != self.present for one in proposed):
            self.present = None
        lost = self.present is None or self._missed >= self.options.lost_frames
        if self.present is not None and not lost:
            first = asking(self.present)
            if first is not None and first.localized:
                return self._stay_or_move(self.present, first, proposed, asking, agree)
            lost = first is None
        for name in self._candidates(proposed):
            if name in asking.answers:
                continue
            result = asking(name)
            if result is not None and result.localized:
                return self._found(name, asking, lost)
        self._missed += 1
        self._rival, self._seen = "", 0
        if not asking.answers:
            return None
        return asking.answer(next(iter(asking.answers)), f"none of {len(asking.answers)} scenes asked has a pose")

    def _stay_or_move(
        self, present: str, first: Localization, proposed: Sequence[Proposed], asking: _Asking, agree: Agree
    ) -> Answer:
        """The present scene has a pose. Another takes over where it has been proposed before it often enough, has a
        pose, too, and does not contradict it."""
        self._missed = 0
        best, own = proposed[0], next(one for one in proposed if one.scene == present)
        if best.scene == present or not best.share - own.share >= self.options.margin:
            self._rival, self._seen, self.conflict = "", 0, ""
            return asking.answer(present, "it has a pose, and no other was proposed long enough")
        rival = best.scene
        if not self._counts(rival):
            return asking.answer(present, f"it has a pose; {rival} was proposed before it in {self._seen} frames")
        self._rival, self._seen = "", 0  # whoever is refused begins anew: not every frame is asked twice
        result = asking(rival)
        if result is None or not result.localized:
            return asking.answer(present, f"it has a pose; {rival} was proposed before it and has none")
        self.conflict = agree(first, result)
        if self.conflict:
            return asking.answer(present, f"it has a pose; {rival} has one, too, but {self.conflict}")
        self._move_to(rival)
        return asking.answer(rival, f"it has a pose, and was proposed before {present}")

    def _found(self, name: str, asking: _Asking, lost: bool) -> Answer:
        """A scene has a pose that is not the present one, or the present one no longer counts."""
        former = self.present
        if lost or former is None or former == name:
            self._move_to(name)
            return asking.answer(name, "it is the first one with a pose")
        self._missed += 1
        if not self._counts(name):
            return asking.answer(former, f"it has no pose; {name} has, in {self._seen} frames so far")
        self._move_to(name)
        return asking.answer(name, f"it has a pose, and {former} had none")

    def _counts(self, rival: str) -> bool:
        """Whether something has spoken for the rival in enough frames in a row, this one with them."""
        self._seen = self._seen + 1 if rival == self._rival else 1
        self._rival = rival
        return self._seen >= self.options.switch_frames

    def _move_to(self, scene: str) -> None:
        if self.present not in (None, scene):
            self.switches += 1
        self.forget(scene)

    def _candidates(self, proposed: Sequence[Proposed]) -> list[str]:
        """The likeliest scenes, and one of those that cannot be proposed, each in its turn."""
        chosen = [one.scene for one in proposed if one.known][: self.options.tries]
        others = [one.scene for one in proposed if not one.known]
        if others:
            chosen.append(others[self._turn % len(others)])
            self._turn += 1
        return chosen
