"""Places through their stages in one process: what is skipped, what is done again, and what stops nothing."""

import contextlib
import shutil
import threading
import uuid

import pytest
from geo_training.fleet import remote
from geo_training.fleet.cache import DiskCache
from geo_training.fleet.driver import Fleet, open_fleet
from geo_training.fleet.engine import Ended, InProcessEngine
from geo_training.fleet.head import TrainingLost
from geo_training.fleet.ledger import Ledger
from geo_training.fleet.manifest import Needs, UnusableManifest
from geo_training.fleet.registry import latest_version
from geo_training.fleet.remote import Folder, open_filesystem
from geo_training.fleet.stages import STAGES
from tiny_fleet import QuickStages, small_manifest

from geo_perception.errors import InputError


@pytest.fixture
def quick(monkeypatch):
    return QuickStages(monkeypatch)


@pytest.fixture(params=["local", "memory"])
def fleet(request, tmp_path) -> Fleet:
    registry = str(tmp_path / "registry") if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    return open_fleet(registry, None, tmp_path / "cache", 10**9, several_processes=False)


def drive(fleet, manifest, again=False, engine=None):
    places = fleet.places(manifest, again)
    fleet.run(places, engine or InProcessEngine(), lambda state: None)
    return {state.name: state for state in places}


def test_every_place_goes_through_all_stages_and_is_published(fleet, quick, tmp_path):
    places = drive(fleet, small_manifest(tmp_path / "m", ("one", "two")))
    assert {name: state.outcome for name, state in places.items()} == {"one": "published", "two": "published"}
    # One place ends before the next begins.
    assert quick.ran == [(place, stage) for place in ("one", "two") for stage in STAGES]
    version = places["one"].version
    assert latest_version(fleet.registry, "one") == version
    assert fleet.registry.names(f"one/{version}") == [
        "provenance.json", "report.html", "report.json", "scene.safetensors",
    ]  # fmt: skip
    assert fleet.registry.read(f"one/{version}/scene.safetensors") == b"one map"


def test_nothing_is_done_again_for_the_same_inputs(fleet, quick, tmp_path):
    manifest = small_manifest(tmp_path / "m")
    first = drive(fleet, manifest)["one"]
    quick.ran.clear()
    shutil.rmtree(tmp_path / "cache")
    again = drive(fleet, manifest)["one"]
    assert quick.ran == []
    assert (again.outcome, again.version, again.ran) == ("published", first.version, [])


def test_a_changed_option_does_again_what_depends_on_it(fleet, quick, tmp_path):
    first = drive(fleet, small_manifest(tmp_path / "m"))["one"]
    quick.ran.clear()
    changed = small_manifest(tmp_path / "m", landmarks={"count": 50})
    # Nothing but the store has what the earlier stages left.
    shutil.rmtree(tmp_path / "cache")
    second = drive(fleet, changed)["one"]
    assert quick.stages_of("one") == ["landmarks", "head", "evaluation", "gate", "publish"]
    assert second.version != first.version
    assert latest_version(fleet.registry, "one") == second.version
    # What a stage needs of a machine changes nothing.
    quick.ran.clear()
    drive(fleet, small_manifest(tmp_path / "m", landmarks={"count": 50}, needs={"head": {"cpu": 4}}))
    assert quick.ran == []


def test_a_changed_recording_does_all_of_its_place_again_and_nothing_of_others(fleet, quick, tmp_path):
    manifest = small_manifest(tmp_path / "m", ("one", "two"))
    drive(fleet, manifest)
    quick.ran.clear()
    (tmp_path / "m" / "two_ask.mcap").write_text("recorded anew")
    drive(fleet, manifest)
    assert quick.ran == [("two", stage) for stage in STAGES]


def test_bad_data_fails_its_place_with_its_sentence_and_stops_no_other(fleet, quick, tmp_path):
    manifest = small_manifest(tmp_path / "m", ("bad", "good"))
    quick.raises["bad", "map"] = InputError("the walk is too short; record more")
    places = drive(fleet, manifest)
    assert (places["bad"].outcome, places["bad"].ended_in) == ("failed", "map")
    assert places["bad"].sentence == "the walk is too short; record more"
    assert places["good"].outcome == "published"
    # The same data fail the same way: it is not tried again, unless that is asked for.
    quick.ran.clear()
    assert drive(fleet, manifest)["bad"].sentence == "the walk is too short; record more"
    assert quick.ran == []
    quick.raises.clear()
    assert drive(fleet, manifest, again=True)["bad"].outcome == "published"
    assert quick.stages_of("bad") == list(STAGES[2:])
    assert quick.stages_of("good") == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (RuntimeError("what?"), "a defect in head: RuntimeErr"),
        (TrainingLost("another process of the training has ended"), "another process of the training has ended"),
    ],
)
def test_what_is_not_the_datas_fault_is_tried_again_by_the_next_run(fleet, quick, tmp_path, error, words):
    manifest = small_manifest(tmp_path / "m")
    quick.raises["one", "head"] = error
    place = drive(fleet, manifest)["one"]
    assert (place.outcome, place.ended_in) == ("failed", "head")
    assert words in place.sentence
    quick.raises.clear()
    quick.ran.clear()
    assert drive(fleet, manifest)["one"].outcome == "published"
    assert quick.stages_of("one") == ["head", "evaluation", "gate", "publish"]


def test_the_gate_says_all_that_falls_short_and_a_lower_one_only_publishes(fleet, tmp_path, monkeypatch):
    from geo_training.fleet import stages

    real = stages.RUN["gate"]
    quick = QuickStages(monkeypatch)
    figures = {
        "recall_5cm": 0.25, "recall_10cm": 0.5, "coverage": 0.6, "scene_bytes": 900, "frames": 8,
        "limits": {"recall_5cm": "5 cm and 5°", "recall_10cm": "10 cm and 5°"},
    }  # fmt: skip
    evaluate = stages.RUN["evaluation"]
    monkeypatch.setitem(stages.RUN, "evaluation", lambda context: evaluate(context) | figures)
    monkeypatch.setitem(stages.RUN, "gate", real)
    asked = {"recall_5cm": 0.5, "recall_10cm": 0.5, "coverage": 0.8, "scene_bytes": 800}
    place = drive(fleet, small_manifest(tmp_path / "m", gate=asked))["one"]
    assert (place.outcome, place.ended_in) == ("gated", "gate")
    assert place.sentence == (
        "25.0% of 8 held-out frames within 5 cm and 5°, 50.0% asked; "
        "60.0% of poses inside their stated 90 % ellipsoid, 80.0% asked; the scene has 900 bytes, 800 allowed"
    )
    assert fleet.registry.names("one") == []
    quick.ran.clear()
    lower = {"recall_5cm": 0.25, "coverage": 0.5, "scene_bytes": 900}
    assert drive(fleet, small_manifest(tmp_path / "m", gate=lower))["one"].outcome == "published"
    assert quick.ran == [("one", "publish")]


def test_outputs_that_are_gone_are_made_again(fleet, quick, tmp_path):
    drive(fleet, small_manifest(tmp_path / "m"))
    shutil.rmtree(tmp_path / "cache")
    fs, path = open_filesystem(fleet.ledger.folder.path("one/outputs"))
    for name in fleet.ledger.folder.names("one/outputs"):
        if name.startswith("map-"):
            fs.rm(f"{path}/{name}")
    quick.ran.clear()
    changed = small_manifest(tmp_path / "m", landmarks={"count": 50})
    assert drive(fleet, changed)["one"].outcome == "published"
    assert quick.stages_of("one") == list(STAGES[2:])


def test_a_scene_that_was_removed_from_the_registry_is_published_again(fleet, quick, tmp_path):
    manifest = small_manifest(tmp_path / "m")
    version = drive(fleet, manifest)["one"].version
    fs, path = open_filesystem(fleet.registry.path(f"one/{version}"))
    fs.rm(path, recursive=True)
    quick.ran.clear()
    place = drive(fleet, manifest)["one"]
    assert quick.ran == [("one", "publish")]
    assert latest_version(fleet.registry, "one") == place.version


def test_recordings_that_are_not_there_are_answered_before_anything_is_begun(fleet, quick, tmp_path):
    manifest = small_manifest(tmp_path / "m", ("one", "two"))
    (tmp_path / "m" / "two_map.mcap").unlink()
    with pytest.raises(UnusableManifest, match=r"place 'two': .*two_map.mcap does not exist") as wrong:
        fleet.places(manifest)
    assert wrong.value.exit_code == 2
    assert quick.ran == []


def test_every_run_is_noted_with_its_end(fleet, quick, tmp_path):
    quick.raises["one", "check"] = InputError("blurred")
    drive(fleet, small_manifest(tmp_path / "m"))
    runs = fleet.ledger.runs("one")
    assert [(run["stage"], run["outcome"], run["sentence"]) for run in runs] == [
        ("dataset", "done", ""), ("check", "failed", "blurred"),
    ]  # fmt: skip
    assert all(run["ended_at"] >= run["started_at"] and run["pid"] for run in runs)


def test_a_place_whose_workers_are_lost_fails_and_goes_on_in_the_next_run(fleet, quick, tmp_path):
    class Deadly(InProcessEngine):
        """No worker lives through the map of one place."""

        def wait(self, timeout_s):
            if self._tasks and self._tasks[0].title == "one: map":
                return [Ended(self._tasks.popleft(), None, "its worker was lost 4 times")]
            return super().wait(timeout_s)

    manifest = small_manifest(tmp_path / "m", ("one", "two"))
    places = drive(fleet, manifest, engine=Deadly())
    assert (places["one"].outcome, places["one"].ended_in) == ("failed", "map")
    assert places["one"].sentence == "its worker was lost 4 times"
    assert places["two"].outcome == "published"
    assert drive(fleet, manifest)["one"].outcome == "published"
    assert [run["stage"] for run in fleet.ledger.runs("one")] == list(STAGES)


def test_a_stage_that_waits_for_a_gpu_keeps_no_cpu_idle(fleet, quick, tmp_path):
    class TwoCpusAndAGpu(InProcessEngine):
        """Stages end in the order in which they were given; those of a GPU as soon as nothing else is left."""

        def fits(self, needs, running):
            cpu, gpu = sum(one.cpu for one in running), sum(one.gpu for one in running)
            return cpu + needs.cpu <= 2 and gpu + needs.gpu <= 1

        def wait(self, timeout_s):
            self._tasks = type(self._tasks)(sorted(self._tasks, key=lambda task: task.stage == "head"))
            return super().wait(timeout_s)

    names = ("one", "two", "three")
    manifest = small_manifest(tmp_path / "m", names, needs={"head": {"gpu": 1, "cpu": 0.5}})
    places = drive(fleet, manifest, engine=TwoCpusAndAGpu())
    assert {state.outcome for state in places.values()} == {"published"}
    before_the_first_head = quick.ran[: next(n for n, (_, stage) in enumerate(quick.ran) if stage == "head")]
    assert sorted(before_the_first_head) == sorted((name, stage) for name in names for stage in STAGES[:4])


def test_recordings_in_a_store_are_fetched_within_the_budget(quick, tmp_path):
    import fsspec
    from geo_training.fleet.manifest import Manifest
    from tiny_fleet import write_manifest

    bucket = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").pipe({f"{bucket}/a.mcap": b"one map", f"{bucket}/b.mcap": b"one ask"})
    place = {"recordings": [f"{bucket}/a.mcap"], "held_out": f"{bucket}/b.mcap"}
    manifest = Manifest.read(write_manifest(tmp_path / "m.yaml", {"one": place}, {}))
    small = open_fleet(str(tmp_path / "r"), None, tmp_path / "cache", 5, False)
    refused = drive(small, manifest)["one"]
    assert (refused.outcome, quick.ran) == ("failed", [])
    assert "raise --disk" in refused.sentence
    enough = open_fleet(str(tmp_path / "r"), None, tmp_path / "cache", 10**6, False)
    place = drive(enough, manifest)["one"]
    assert place.outcome == "published"
    assert place.records[0].fetched_bytes == 14


def test_memory_of_one_process_is_no_place_for_several(tmp_path):
    with pytest.raises(InputError, match="seen by one process alone"):
        open_fleet("memory://x", None, tmp_path, 1, several_processes=True)


def test_one_stage_at_a_time_in_this_process():
    engine = InProcessEngine()
    assert engine.fits(Needs(cpu=64), [])
    assert not engine.fits(Needs(), [Needs()])


def test_a_registry_that_cannot_be_written_says_nothing_of_the_place(tmp_path, quick, monkeypatch):
    """Its next run publishes without being told to try again, and trains nothing."""
    registry, store = tmp_path / "registry", tmp_path / "store"
    fleet = open_fleet(str(registry), str(store), tmp_path / "cache", 10**9, several_processes=False)
    put = Folder.put
    manifest = small_manifest(tmp_path / "m")

    def refused(self, source, name):
        if self.url == str(registry):
            with self._answering(name):
                raise PermissionError(13, "Access Denied")
        put(self, source, name)

    monkeypatch.setattr(Folder, "put", refused)
    failed = drive(fleet, manifest)["one"]
    assert (failed.outcome, failed.ended_in) == ("failed", "publish")
    assert "scene.safetensors cannot be used: Access Denied" in failed.sentence
    monkeypatch.setattr(Folder, "put", put)
    quick.ran.clear()
    assert drive(fleet, manifest)["one"].outcome == "published"
    assert quick.stages_of("one") == ["publish"]


def test_a_registry_that_cannot_be_written_is_told_before_anything_is_done(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be used"):
        open_fleet(str(tmp_path / "file"), str(tmp_path / "store"), tmp_path / "cache", 10**9, False)


def test_a_silent_store_is_answered_in_time(tmp_path, monkeypatch):
    ever = threading.Event()
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(Folder, "write", lambda *given, **more: ever.wait(20))
    with pytest.raises(InputError, match=r"no answer within 0\.1 s"):
        open_fleet(f"memory://{uuid.uuid4().hex}", None, tmp_path / "cache", 10**9, False)
    ever.set()


def test_who_waits_for_the_same_stage_of_another_driver_finds_its_record(tmp_path, quick, fleet, monkeypatch):
    """The record is there before the workspace is let go."""
    held, kept = [], []
    hold, keep = DiskCache.hold, Ledger.keep

    @contextlib.contextmanager
    def noted(self, key):
        with hold(self, key) as place:
            held.append(key)
            yield place
            held.remove(key)

    monkeypatch.setattr(DiskCache, "hold", noted)
    monkeypatch.setattr(Ledger, "keep", lambda self, record: kept.append(list(held)) or keep(self, record))
    assert drive(fleet, small_manifest(tmp_path / "m"))["one"].outcome == "published"
    assert len(kept) == len(STAGES)
    assert all(kept)
