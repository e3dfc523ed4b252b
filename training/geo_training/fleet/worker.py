"""One stage of one place, wherever it runs: what it needs is fetched, what it made is kept, and how it ended, too."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import tarfile
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.fleet.cache import DiskCache
from geo_training.fleet.head import ALONE, Node, TrainingLost
from geo_training.fleet.ledger import DONE, FAILED, FOUND, GATED, KILLED, LOST, Ledger, Spent, StageRecord
from geo_training.fleet.manifest import Options
from geo_training.fleet.remote import Folder, Source, UnreachableError, fetch, is_local
from geo_training.fleet.stages import OUTPUTS, RUN, STAGES, Gated, StageContext
from geo_training.storage.kept_json import read_kept_json, to_kept_json

_HAVE = "have.json"  # in a workspace: the stages whose outputs are there, with their fingerprints
_SAID_CHARACTERS = 20_000
_KEY_CHARACTERS = 16


@dataclass(frozen=True)
class StageTask:
    """A stage to run. `fingerprints` are those of all stages of the place, `records` those of the stages before it."""

    place: str
    stage: str
    fingerprints: dict[str, str]
    options: Options
    recordings: tuple[Source, ...]
    held_out: Source
    ledger: Ledger
    registry: Folder
    cache: DiskCache
    records: tuple[StageRecord, ...] = ()
    device: str = "auto"
    quiet: bool = False  # what the stage says is kept in the ledger alone
    redo: bool = False  # although it was done: what it had left is gone

    @property
    def fingerprint(self) -> str:
        return self.fingerprints[self.stage]

    @property
    def title(self) -> str:
        return f"{self.place}: {self.stage}"


class _OutputLost(Exception):  # noqa: N818
    """What an earlier stage left is gone."""

    def __init__(self, stage: str):
        super().__init__(stage)
        self.stage = stage


def run_stage(task: StageTask, node: Node = ALONE) -> StageRecord:
    """Runs a stage, unless its record is there, and returns the record. Raises nothing but interruptions: bad data, a
    full disk and defects of ours are how it ended. Of several machines each runs it as the `node` that it is: the first
    one keeps record and outputs, the others help."""
    with _threads(task), contextlib.ExitStack() as stack:
        said = io.StringIO()
        if task.quiet:
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.enter_context(contextlib.redirect_stderr(said))
        try:
            with task.ledger.run(task.place, task.stage, task.fingerprint, node.rank) as note:
                record, found = _run(task, node)
                note.content |= {
                    "outcome": FOUND if found else record.outcome,
                    "sentence": record.sentence,
                    "wall_s": record.wall_s,
                }
                note.content["said"] = said.getvalue()[-_SAID_CHARACTERS:]
        except InputError as error:  # the ledger cannot be written
            return StageRecord(task.place, task.stage, task.fingerprint, FAILED, str(error), kept=False)
    return record


def _run(task: StageTask, node: Node) -> tuple[StageRecord, bool]:
    """The record, and whether another worker had made it meanwhile."""
    leads = node.rank == 0
    record = StageRecord(task.place, task.stage, task.fingerprint, DONE, host=socket.gethostname(), kept=leads)
    began = Spent.begin()
    try:
        with task.cache.hold(_workspace_key(task, node)) as workspace:
            earlier = task.ledger.record(task.place, task.stage, task.fingerprint)
            if leads and earlier is not None and earlier.done and not task.redo:
                return earlier, True
            fetched_bytes, output_bytes = _prepare(task, workspace), 0
            with _recordings(task) as (recordings, held_out, more_bytes):
                fetched_bytes += more_bytes
                record = _ended(record, task, node, workspace, recordings, held_out)
            if leads and record.done:
                output_bytes = _keep_outputs(task, workspace)
            spent = began.until_now()
            record = replace(
                record, wall_s=spent.wall_s, cpu_s=spent.cpu_s, fetched_bytes=fetched_bytes, output_bytes=output_bytes
            )
            if record.kept:
                task.ledger.keep(record)  # while it is held: who waits for it, of another driver, is to find it
            return record, False
    except _OutputLost as lost:
        record = replace(record, outcome=LOST, sentence=lost.stage)
    except InputError as error:  # of fetching and keeping: another time it may go well
        record = replace(record, outcome=FAILED, sentence=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sentence = f"{where}{error.strerror or error} on {record.host}; make room, or choose another place"
        record = replace(record, outcome=FAILED, sentence=sentence)
    except Exception as error:
        traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        record = replace(record, outcome=FAILED, sentence=f"a defect in {task.stage}: {what}")
    spent = began.until_now()
    return replace(record, wall_s=spent.wall_s, cpu_s=spent.cpu_s, kept=False), False


def _ended(
    record: StageRecord,
    task: StageTask,
    node: Node,
    workspace: Path,
    recordings: tuple[Path, ...],
    held_out: Path | None,
) -> StageRecord:
    """Runs the stage itself: what its data is answered with is how it ended, and is so every time."""
    context = StageContext(
        task.place, workspace, task.options, recordings, held_out, task.device, task.registry, task.fingerprint,
        (*task.recordings, task.held_out), task.records, node,
    )  # fmt: skip
    try:
        return replace(record, figures=RUN[task.stage](context))
    except Gated as verdict:
        return replace(record, outcome=GATED, sentence=str(verdict))
    except UnreachableError:  # the registry: it says nothing of the data
        raise
    except InputError as error:
        sentence = " ".join(str(error).replace(f"{workspace}/", "").split())
        if isinstance(error, TrainingLost):
            return replace(record, outcome=KILLED, sentence=sentence, kept=False)
        return replace(record, outcome=FAILED, sentence=sentence)


def _workspace_key(task: StageTask, node: Node) -> str:
    """One that helps has a workspace of its own: two workers of a machine may be two nodes of a cluster."""
    helping = f"-{node.rank}" if node.rank else ""
    return f"{task.place}-{task.fingerprints['dataset'][:_KEY_CHARACTERS]}{helping}"


def _prepare(task: StageTask, workspace: Path) -> int:
    """Brings the outputs of the stages before into the workspace, those that are not there yet. Returns the bytes
    fetched. Raises _OutputLost."""
    have = read_kept_json(workspace / _HAVE) or {}
    place = STAGES.index(task.stage)
    kept = {}
    for earlier in STAGES[:place]:
        if have.get(earlier) != task.fingerprints[earlier]:
            break
        kept[earlier] = have[earlier]
    _note_outputs(workspace, kept)
    fetched_bytes = 0
    for earlier in STAGES[len(kept) : place]:
        fetched_bytes += _unpack(task, earlier, workspace)
        kept[earlier] = task.fingerprints[earlier]
        _note_outputs(workspace, kept)
    return fetched_bytes


def _unpack(task: StageTask, stage: str, workspace: Path) -> int:
    for name in OUTPUTS[stage]:
        _remove(workspace / name)
    if not OUTPUTS[stage]:
        return 0
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".fetch") as folder:
        packed = Path(folder) / "outputs.tar"
        if not task.ledger.folder.get(task.ledger.output_name(task.place, stage, task.fingerprints[stage]), packed):
            raise _OutputLost(stage)
        size_bytes = packed.stat().st_size
        with tarfile.open(packed) as archive:
            archive.extractall(workspace, filter="data")
    return size_bytes


def _keep_outputs(task: StageTask, workspace: Path) -> int:
    """Packs what the stage made and puts it into the ledger's folder. Returns the bytes."""
    size_bytes = 0
    if OUTPUTS[task.stage]:
        with tempfile.TemporaryDirectory(dir=workspace, prefix=".pack") as folder:
            packed = Path(folder) / "outputs.tar"
            with tarfile.open(packed, "w") as archive:
                for name in OUTPUTS[task.stage]:
                    if (workspace / name).exists():
                        archive.add(workspace / name, name)
            size_bytes = packed.stat().st_size
            task.ledger.folder.put(packed, task.ledger.output_name(task.place, task.stage, task.fingerprint))
    have = read_kept_json(workspace / _HAVE) or {}
    _note_outputs(workspace, have | {task.stage: task.fingerprint})
    return size_bytes


def _note_outputs(workspace: Path, have: dict[str, str]) -> None:
    """Half a note is none: then all is fetched again."""
    (workspace / _HAVE).write_text(to_kept_json(have))


@contextlib.contextmanager
def _recordings(task: StageTask) -> Iterator[tuple[tuple[Path, ...], Path | None, int]]:
    """Local paths of the recordings, where the stage reads them: what lies elsewhere is fetched, once."""
    if task.stage != STAGES[0]:
        yield (), None, 0
        return
    with contextlib.ExitStack() as stack:
        paths, fetched_bytes = [], 0
        for source in (*task.recordings, task.held_out):
            if is_local(source.url):
                paths.append(Path(source.url))
                continue
            folder = stack.enter_context(task.cache.hold(f"_recording-{source.digest[:_KEY_CHARACTERS]}"))
            whole = folder / ".whole"
            if not whole.is_file():
                task.cache.make_room(source.size_bytes, source.url)
                _remove(folder / source.name)
                fetch(source, folder)
                whole.touch()
                fetched_bytes += source.size_bytes
            paths.append(folder / source.name)
        yield tuple(paths[:-1]), paths[-1], fetched_bytes


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _threads(task: StageTask) -> Iterator[None]:
    """As many threads as the stage has CPUs, where it was given a share of the machine."""
    if not task.quiet:  # alone in the process of the command: it may take all there is, as the commands do
        yield
        return
    import cv2
    import torch

    threads = max(1, int(getattr(task.options.needs, task.stage).cpu))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    yield
