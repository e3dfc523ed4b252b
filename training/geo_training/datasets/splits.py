"""Which frames map a scene and which measure it: by sequence or by block of time, never by random frame.

Neighbouring frames of a recording look alike, so a random split would measure what was memorized.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from geo_perception.errors import InputError
from geo_training.datasets.scene import Frame, SceneDataset


def time_block_split(frames: Iterable[Frame], first: float = 0.7, block: int = 10) -> list[Frame]:
    """The first share of each sequence by time is `train`; the rest alternates in blocks of `block` frames, `train`
    first, then `test`. Deterministic. Returns the frames in the order of sequence and time.

    Raises InputError when `first` is not in [0, 1), `block` is not positive, or no sequence is long enough for a block
    of test.
    """
    if not 0 <= first < 1 or block < 1:
        raise InputError(f"first {first:g} and block {block} make no split; give 0 <= first < 1 and block >= 1")
    split = []
    for sequence_frames in _by_sequence(frames):
        start = int(first * len(sequence_frames))
        for index, frame in enumerate(sequence_frames):
            is_test = index >= start and (index - start) // block % 2 == 1
            split.append(replace(frame, split="test" if is_test else "train"))
    if not any(frame.split == "test" for frame in split):
        longest = max((len(sequence_frames) for sequence_frames in _by_sequence(split)), default=0)
        rest = longest - int(first * longest)
        remedy = f"give a block of at most {rest - 1}, or a smaller first share" if rest > 1 else "record more"
        raise InputError(
            f"no frame is left to test on: the longest sequence has {longest} frames, of which {rest} come after the "
            f"first {first:.0%}, not more than a block of {block} for train; {remedy}"
        )
    return split


def tail_split(frames: Iterable[Frame], val: float = 0.1, test: float = 0.25) -> list[Frame]:
    """The last share `test` of each sequence by time is `test`, the share before it `val`, the rest `train`. Returns
    the frames in the order of sequence and time.

    Raises InputError when a share is negative, none is left to train on, or the sequences are too short for a share.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise InputError(
            f"val {val:g} and test {test:g} leave nothing to train on; give shares that add to less than 1"
        )
    split = []
    for sequence_frames in _by_sequence(frames):
        count = len(sequence_frames)
        first_test = count - round(test * count)
        first_val = first_test - round(val * count)
        for index, frame in enumerate(sequence_frames):
            name = "train" if index < first_val else "val" if index < first_test else "test"
            split.append(replace(frame, split=name))
    there = {frame.split for frame in split}
    if split and "train" not in there:
        raise InputError(f"of sequences this short val {val:g} and test {test:g} leave nothing to train on; lower them")
    for name, share in (("val", val), ("test", test)):
        if share > 0 and name not in there:
            raise InputError(
                f"{name} {share:g} of sequences this short (at most {max(map(len, _by_sequence(split)), default=0)} "
                "frames) is not one frame; give a larger share, or more frames"
            )
    return split


def every_nth_split(frames: Iterable[Frame], n: int = 5) -> list[Frame]:
    """Each n-th frame is `test`, the others `train`: only for unordered photographs, which are no recording.

    Returns the frames in the order of sequence and time. Raises InputError when n is below 2, or above their number.
    """
    if n < 2:
        raise InputError(f"each {n}th frame makes no split; give 2 or more")
    ordered = [frame for sequence_frames in _by_sequence(frames) for frame in sequence_frames]
    if len(ordered) < n:
        remedy = f"give at most {len(ordered)}" if len(ordered) > 1 else "take more photographs"
        raise InputError(f"each {n}th of {len(ordered)} frames leaves none to test on; {remedy}")
    return [replace(frame, split="test" if index % n == n - 1 else "train") for index, frame in enumerate(ordered)]


def sequence_split(frames: Iterable[Frame], test: Iterable[str], val: Iterable[str] = ()) -> list[Frame]:
    """The sequences named in `test` and `val` get that split, all others `train`.

    Raises InputError for a sequence that does not exist or is named for both, when none is named to test on, and when
    none is left to train on.
    """
    frames, test, val = list(frames), list(test), list(val)
    if both := sorted({*test} & {*val}):
        raise InputError(f"the sequence {', '.join(both)} cannot be both test and val; name it once")
    if not test:
        raise InputError("no sequence is named to test on; name one")
    splits = dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    sequences = sorted({frame.sequence for frame in frames})
    missing = [name for name in splits if name not in sequences]
    if missing:
        raise InputError(f"there is no sequence {', '.join(missing)}; there are {', '.join(sequences)}")
    if len(splits) == len(sequences):
        raise InputError("every sequence is held back and none is left to train on; leave one out")
    return [replace(frame, split=splits.get(frame.sequence, "train")) for frame in frames]


def without_test(frames: Iterable[Frame]) -> list[str]:
    """The sequences of which no frame is test."""
    return [
        sequence_frames[0].sequence
        for sequence_frames in _by_sequence(frames)
        if not any(frame.split == "test" for frame in sequence_frames)
    ]


def frames_of_split(dataset: SceneDataset, split: str | None) -> tuple[list[Frame], str]:
    """The frames of a split and, in words, which they are. None is `test` where any frame has it, else all.

    Raises InputError when the split holds no frame.
    """
    if split is None:
        split = "test" if dataset.of_split("test") else "all"
    frames = dataset.frames if split == "all" else dataset.of_split(split)
    if not frames:
        there = sorted({frame.split or "(none)" for frame in dataset.frames})
        raise InputError(f"{dataset.root} has no frame of split '{split}'; there are {', '.join(there)}, or pass all")
    return frames, "all frames" if split == "all" else f"split {split}"


def _by_sequence(frames: Iterable[Frame]) -> list[list[Frame]]:
    sequences: dict[str, list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: (frame.sequence, frame.stamp_ns, frame.name)):
        sequences.setdefault(frame.sequence, []).append(frame)
    return list(sequences.values())
