"""`geo-eval`: a scene, a calibrator or depth against data, a recording through the estimator or the live node, named
benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.console import JsonOption, NotGoodEnough, SeedOption, command_group, say, warn, write_json
from geo_training.datasets.recording_commands import Rectified
from geo_training.evaluation.calibration_command import calibration
from geo_training.evaluation.depth_command import depth
from geo_training.evaluation.options import DeviceOption, ReportOption, write_evaluation

app = command_group(
    "How good it is: localization, calibration, depth, replay of recordings, named benchmarks.",
    order=("localization", "replay", "calibration", "depth", "bench"),
)
app.command("calibration")(calibration)
app.command("depth")(depth)

MinRecallOption = Annotated[
    float | None,
    typer.Option(
        "--min-recall", min=0.0, max=1.0, show_default=False,
        help="Exit 1 when less than this share is within 5 cm and 5 degrees (1 % of the scene's depth and 5 degrees "
        "where its scale is unknown).",
    ),
]  # fmt: skip


@app.command("localization")
def localization(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A scene file.", show_default=False)],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset with poses.", show_default=False)],
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="train, val, test or all; test where any frame has it, else all.", show_default=False
        ),
    ] = None,
    truth: Annotated[
        str, typer.Option("--truth", help="True poses: `poses` (poses.csv), `map`, or `auto`: poses.csv, else the map.")
    ] = "auto",
    report: ReportOption = None,
    min_recall: MinRecallOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Localize the frames of a dataset in a scene, each on its own, and compare with their true poses.

    Recall and medians count every frame: one that is not localized is infinitely far off. In the JSON what is infinite
    is null, and `frames_missed` says how many were missed.

    Example: `geo-eval localization office.safetensors office --report office.html`
    """
    _choose("--split", split, ("train", "val", "test", "all", None))
    _choose("--truth", truth, ("auto", "poses", "map"))
    from geo_training.datasets.scene import SceneDataset
    from geo_training.evaluation.localization import evaluate_dataset

    data = SceneDataset(dataset)
    localizer = _load(scene, device)
    evaluation = evaluate_dataset(
        localizer,
        data,
        localizer.scene.landmarks_map_l3,
        localizer.scene.metric,
        split,
        truth,
        seed,
        title=f"Localization in {scene.stem}",
        extra_facts=_scene_facts(scene, localizer),
    )
    _finish(evaluation, report, json_path, min_recall)


@app.command("replay")
def replay(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="A ROS 1 or ROS 2 recording.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML file with the options.", show_default=False)
    ] = None,
    scene: Annotated[
        Path | None, typer.Option("--scene", metavar="SCENE", help="A scene file.", show_default=False)
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Into a real localization_node over DDS.")] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", help="With --live: times the bag's own rate.", show_default="1.0")
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="TOPIC", help="The camera.", show_default=False)
    ] = None,
    camera_info: Annotated[
        str | None, typer.Option("--camera-info", metavar="TOPIC", help="Its CameraInfo.", show_default=False)
    ] = None,
    pose: Annotated[
        str | None,
        typer.Option("--pose", metavar="TOPIC", help="The true poses; none for no truth.", show_default=False),
    ] = None,
    rectified: Annotated[
        Rectified | None,
        typer.Option(
            "--rectified",
            help="Whether the images have no lens distortion any more; auto: as the topic's name says.",
            show_default="auto",
        ),
    ] = None,
    image_bits: Annotated[
        int | None,
        typer.Option(
            "--image-bits",
            metavar="BITS",
            help="How many of 16 bits the images use: 10, 12, 14, 16; 0: what they need.",
            show_default="0",
        ),
    ] = None,
    report: ReportOption = None,
    min_recall: MinRecallOption = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", show_default="auto")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every random choice.", show_default="0")] = None,
    json_path: JsonOption = None,
) -> None:
    """Play every frame of a recording into a scene: in process, the same answer every time, or with --live into a real
    localization_node at the bag's own rate, with the frames it drops and the latency from image to pose.

    The true poses come from the recording: a pose topic, odometry or TF, interpolated at each image's stamp. In a
    --config file the scene's path is relative to that file; options given here count more than the file.

    Example: `geo-eval replay second_walk --scene office.safetensors --live --report replay.html`
    """
    from geo_training.datasets.bag_poses import PoseOptions
    from geo_training.evaluation.bag_input import open_bag
    from geo_training.evaluation.replay_config import load_replay_config

    if rate is not None and not live:
        raise InputError(
            "without --live every frame is played in its turn, so --rate would have no effect; leave it out"
        )
    resolved = load_replay_config(
        config,
        scene=str(scene) if scene else None,
        rate=rate,
        image=image,
        camera_info=camera_info,
        pose=pose,
        rectified=rectified.value if rectified else None,
        image_bits=image_bits,
        device=device,
        seed=seed,
    )
    poses = PoseOptions(topic=resolved.pose, max_gap_s=resolved.max_gap_s)
    choices = resolved.rectified, resolved.image_bits
    recording = open_bag(bag, resolved.image, resolved.camera_info, poses, *choices)
    for words in recording.image_words:
        say(words)
    localizer = _load(Path(resolved.scene), resolved.device)
    facts = _scene_facts(Path(resolved.scene), localizer)
    settings = resolved.model_dump(mode="json")
    if live:
        from geo_training.evaluation.live import evaluate_live

        evaluation = evaluate_live(localizer, recording, resolved, facts)
    else:
        from geo_training.evaluation.replay import replay_bag

        scene_parts = localizer.scene.landmarks_map_l3, localizer.scene.metric
        title = f"Replay of {recording.sequence}"
        evaluation = replay_bag(localizer, recording, *scene_parts, resolved.seed, title, facts, settings)
    _finish(evaluation, report, json_path, min_recall)


@app.command("bench")
def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A benchmark, or `list`.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="ROOT", help="The folder with the data.", show_default=False)
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Keep what is made here, and go on from there.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            metavar="M",
            min=0.1,
            help="How long it may take, where it trains for a time.",
            show_default="its own",
        ),
    ] = None,
    report: ReportOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Run a named benchmark and write its figures with the machine, the versions and a checksum of the data.

    `geo-eval bench list` says what each one needs and how long it takes.

    Example: `geo-eval bench localization-office --data data --json office.json --work office_bench`
    """
    from geo_training.evaluation.bench import BenchOptions, figure_words, load_benchmark, run_benchmark

    if name == "list":
        _list_benchmarks(json_path)
        return
    benchmark = load_benchmark(name)
    if data is None:
        raise typer.BadParameter(f"{name} needs {benchmark.needs}; name the folder that holds it", param_hint="--data")
    with tempfile.TemporaryDirectory(prefix="geo_bench_") as temporary:
        folder = work or Path(temporary) / "work"
        content, evaluation = run_benchmark(benchmark, data, folder, BenchOptions(device, seed, minutes))
        if report is not None and evaluation is not None:
            write_evaluation(evaluation, report)
    if report is not None and evaluation is None:
        warn(f"{name} has no report to show, so nothing was written to {report}; its figures go to --json")
    write_json(json_path, content)
    for key in benchmark.figures:
        typer.echo(f"{key} = {figure_words(content['figures'][key])}")


def _list_benchmarks(json_path: Path | None) -> None:
    from geo_training.evaluation.bench import load_benchmark
    from geo_training.evaluation.benches import NAMES

    found = [load_benchmark(name) for name in NAMES]
    for benchmark in found:
        typer.echo(f"{benchmark.name}: {benchmark.summary}")
        typer.echo(f"    needs   {benchmark.needs}")
        typer.echo(f"    takes   {benchmark.duration}")
        typer.echo(f"    figures {', '.join(benchmark.figures)}")
    fields = ("name", "summary", "needs", "duration", "figures")
    write_json(json_path, {"benchmarks": [{key: getattr(b, key) for key in fields} for b in found]})


def _load(scene: Path, device: str):
    from geo_perception.localization.estimator import Localizer

    return Localizer.load(scene, device)


def _scene_facts(scene: Path, localizer) -> dict[str, str]:
    return {
        "scene": f"{scene} ({localizer.size_bytes / 1e6:.2f} MB)",
        "landmarks": str(len(localizer.scene.landmarks_map_l3)),
        "scale": "metres" if localizer.scene.metric else "unknown",
    }


def _finish(evaluation, report: Path | None, json_path: Path | None, min_recall: float | None) -> None:
    """Says the result, writes what was asked for, and exits 1 where the recall is too low."""
    from geo_training.evaluation.summary import headline

    typer.echo(headline(evaluation))
    write_json(json_path, evaluation.as_json())
    if report is not None:
        write_evaluation(evaluation, report)
    if min_recall is not None:
        middle = evaluation.ruler.thresholds[2]
        reached = evaluation.figures[middle.key]
        if not evaluation.figures["frames_with_truth"]:
            raise NotGoodEnough("there are no true poses, so --min-recall cannot be checked")
        if not reached >= min_recall:
            raise NotGoodEnough(f"{reached:.1%} of the frames are within {middle.words}, below {min_recall:.1%}")


def _choose(option: str, value, allowed: tuple) -> None:
    if value not in allowed:
        names = ", ".join(name for name in allowed if name)
        raise typer.BadParameter(f"'{value}' is none of {names}", param_hint=option)
