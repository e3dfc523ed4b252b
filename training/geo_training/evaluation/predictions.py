"""What an estimator answered for every frame: made once, kept in a file where one is named, and scored from there again
without the network."""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from geo_perception.errors import InputError
from geo_perception.runtime.files import replace_text, replaced_file
from geo_training.console import say
from geo_training.report.machine import describe_machine, machine_label
from geo_training.storage.fingerprints import digest_of, file_digest, sample_digest
from geo_training.storage.kept_json import from_kept_json, to_kept_json

FORMAT_VERSION = 1
_LINES = "lines"
_AGAIN = "write it again with --predictions"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prediction(Generic[Result]):
    """The answer for the frame of this name, and the seconds that it took."""

    name: str
    result: Result
    latency_s: float


@dataclass(frozen=True)
class EstimatedPath:
    """The camera's way through a run of frames, by name: T_first_camera (N, 4, 4), in a unit of its own."""

    frames: list[str]
    T_first_camera_n44: np.ndarray


@dataclass(frozen=True)
class Predictions(Generic[Result]):
    """The answers in the order of the frames, and the paths where motion was estimated, too. `metadata` are lines for
    the reader on where they are from; none for what this run made."""

    answers: list[Prediction[Result]]
    paths: list[EstimatedPath] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A frame as far as an answer depends on it: name, image file, and `more` (camera, crop) that JSON can tell."""

    name: str
    image_path: Path | None
    more: Any


@dataclass(frozen=True)
class PredictionStore(Generic[Result]):
    """Where predictions are kept: `write_to` takes those that are made, `read_from` holds those of an earlier run.

    `weights` are the files of the networks that answer, `settings` the other choices that answers depend on.
    """

    weights: Sequence[Path] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    write_to: Path | None = None
    read_from: Path | None = None

    def obtain(
        self,
        form: PredictionsFormat[Result],
        frames: Sequence[Seen],
        data: str,
        predict: Callable[[], Predictions[Result]],
    ) -> Predictions[Result]:
        """What `predict` makes, written down where that is asked for; or else what was read.

        `data` names the frames to people. Raises InputError when the file to read is not one of this form, or holds the
        answers of other weights, with other settings, or to other frames.
        """
        if self.read_from is not None:
            predictions = form.read(self.read_from, self._origin(frames))
            say(f"answers and times are those of the run that wrote {self.read_from}")
            return predictions
        if self.write_to is None:
            return predict()
        origin = self._origin(frames) | {"of": data}
        predictions = predict()
        form.write(self.write_to, origin, predictions)
        return predictions

    def _origin(self, frames: Sequence[Seen]) -> dict[str, Any]:
        # Many crops may be of one image.
        samples = {path: sample_digest(path) for path in {f.image_path for f in frames if f.image_path is not None}}
        return {
            "weights": digest_of([file_digest(path) for path in self.weights]),
            "settings": self.settings,
            "data": digest_of([[f.name, f.image_path and samples[f.image_path], f.more] for f in frames]),
        }


@dataclass(frozen=True)
class PredictionsFormat(Generic[Result]):
    """The file of one capability: lines of JSON, a header and then one for each frame. Where `arrays` names fields of a
    result that are maps, it is an npz that holds these lines and, for each frame, the maps as they are.

    `restore` makes a result of its fields as JSON (and of its maps).
    """

    capability: str
    restore: Callable[[dict[str, Any]], Result]
    arrays: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return f"{self.capability} predictions"

    def write(self, path: Path, origin: dict[str, Any], predictions: Predictions[Result]) -> None:
        """Puts the file at `path` whole; makes the folder."""
        header = {
            "kind": self.kind,
            "format_version": FORMAT_VERSION,
            "frames": len(predictions.answers),
            **origin,
            "machine": describe_machine(),
            "paths": [_plain(way) for way in predictions.paths],
        }
        rows: list[dict[str, Any]] = [header]
        arrays: dict[str, Any] = {}
        for index, answer in enumerate(predictions.answers):
            maps = {name: getattr(answer.result, name) for name in self.arrays}
            arrays |= {f"{name}/{index}": values for name, values in maps.items() if values is not None}
            rest = replace(answer.result, **dict.fromkeys(maps))  # type: ignore[type-var]
            rows.append(_plain(replace(answer, result=rest)))
        lines = "".join(to_kept_json(row, indent=None) for row in rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self.arrays:
            replace_text(path, lines)
            return
        with replaced_file(path) as work, work.open("wb") as file:
            np.savez_compressed(file, **arrays | {_LINES: np.frombuffer(lines.encode(), np.uint8)})

    def read(self, path: Path, origin: dict[str, Any]) -> Predictions[Result]:
        """What `write` wrote of this origin."""
        header, lines, arrays = _read(path)
        if header["kind"] != self.kind:
            raise InputError(f"{path} holds {header['kind']}; {self.kind} are needed here")
        if header.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{path} has predictions format {header.get('format_version')}, this version reads {FORMAT_VERSION}; "
                f"read it with the version that wrote it, or {_AGAIN}"
            )
        try:
            if len(lines) != header["frames"]:
                raise InputError(f"{path} is cut short: it holds {len(lines)} of {header['frames']} answers; {_AGAIN}")
            _check_origin(path, header, origin)
            answers = []
            for index, row in enumerate(map(from_kept_json, lines)):
                maps = {name: arrays.get(f"{name}/{index}") for name in self.arrays}
                answers.append(Prediction(row["name"], self.restore(row["result"] | maps), row["latency_s"]))
            paths = [EstimatedPath(way["frames"], np.array(way["T_first_camera_n44"])) for way in header["paths"]]
            machine = machine_label(header["machine"])
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path} is damaged; copy it again, or {_AGAIN}") from None
        return Predictions(answers, paths, {"predictions": f"{path}; times are of the run that wrote it ({machine})"})


def predict(name: str, estimate: Callable[..., Result], *inputs: Any, **options: Any) -> Prediction[Result]:
    """The answer for one frame. What its inputs took to load does not count."""
    started_s = time.perf_counter()
    result = estimate(*inputs, **options)
    return Prediction(name, result, time.perf_counter() - started_s)


def warm_up(estimator: object) -> None:
    """Runs an estimator that wants it once, so that the first frame does not pay for set-up."""
    run = getattr(estimator, "warm_up", None)
    if run is not None:
        run()


def _read(path: Path) -> tuple[dict[str, Any], list[str], dict[str, np.ndarray]]:
    """The header, the whole lines behind it and the maps of a file of any kind. Raises InputError."""
    arrays: dict[str, np.ndarray] = {}
    try:
        if zipfile.is_zipfile(path):
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            text = arrays.pop(_LINES).tobytes().decode()
        else:
            text = path.read_text(encoding="utf-8")
        first, *lines = text.split("\n")[:-1]
        header = from_kept_json(first)
        if not header["kind"].endswith(" predictions"):
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a file that --predictions wrote") from None
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is no file of predictions, or it is damaged or cut short; {_AGAIN}") from None
    return header, lines, arrays


def _check_origin(path: Path, header: dict[str, Any], origin: dict[str, Any]) -> None:
    if header["weights"] != origin["weights"]:
        raise InputError(f"{path} holds the answers of other weights; give those (all of them), or {_AGAIN}")
    for name, value in origin["settings"].items():
        if header["settings"][name] != value:
            raise InputError(
                f"{path} was made with --{name} {header['settings'][name]}, not {value}; give that, or {_AGAIN}"
            )
    if header["data"] != origin["data"]:
        raise InputError(
            f"{path} is of {header['of']}; the frames given here are others, or have changed since; give the data and "
            f"the options of that run, or {_AGAIN}"
        )


def _plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, arrays and their numbers as Python's."""
    return asdict(value, dict_factory=lambda pairs: {k: v.tolist() if hasattr(v, "tolist") else v for k, v in pairs})
