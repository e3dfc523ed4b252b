"""`geo-eval`: a scene, a calibrator or depth against data, a recording through the estimator or the live node, a live
graph, named benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geo_perception.errors import InputError
from geo_training.console import NotGoodEnough, command_group, say, write_json
from geo_training.datasets.recording_commands import Rectified
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.datasets.scene import SceneDataset
from geo_training.evaluation.calibration.command import calibration
from geo_training.evaluation.depth.command import depth
from geo_training.evaluation.doctor.command import doctor
from geo_training.evaluation.localization.evaluate import evaluate_scene, load_localizer, scene_metadata
from geo_training.evaluation.localization.summary import headline
from geo_training.evaluation.options import (
    FromPredictionsOption,
    PredictionsOption,
    ReportOption,
    prediction_store,
    write_evaluation,
)
from geo_training.evaluation.replay.bag_input import open_bag
from geo_training.evaluation.replay.config import ReplayConfig
from geo_training.evaluation.replay.replay import replay_bag
from geo_training.evaluation.replay.scenes import with_scenes
from geo_training.evaluation.scene_health.command import scene_health_command
from geo_training.options import DeviceOption, JsonOption, SeedOption

app = command_group(
    "How good it is: localization, calibration, depth, replay of recordings, a live graph, named benchmarks.",
    order=("localization", "scene-health", "replay", "calibration", "depth", "doctor", "bench"),
)
app.command("calibration")(calibration)
app.command("depth")(depth)
app.command("doctor")(doctor)
app.command("scene-health")(scene_health_command)

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
    ctx: typer.Context,
    scene: Annotated[
        Path, typer.Argument(metavar="SCENE", help="A scene file, or a folder of scenes.", show_default=False)
    ],
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
    predictions: PredictionsOption = None,
    from_predictions: FromPredictionsOption = None,
    min_recall: MinRecallOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json_path: JsonOption = None,
) -> None:
    """Localize the frames of a dataset in a scene, each on its own, and compare with their true poses. Of a folder of
    scenes any may answer, as if the robot had woken there; poses are in the map of `scenes.yaml`, else in the scene's
    own frame.

    Recall and medians count every frame: one that is not localized is infinitely far off. In the JSON what is infinite
    is null, and `frames_missed` says how many were missed.

    Example: `geo-eval localization office.safetensors office --report office.html`
    """
    _choose("--split", split, ("train", "val", "test", "all", None))
    _choose("--truth", truth, ("auto", "poses", "map"))

    store = prediction_store(ctx, _files_of(scene), predictions, from_predictions, seed=seed)
    runs_on = "cpu" if from_predictions else device
    evaluation = evaluate_scene(scene, SceneDataset(dataset), split, truth, runs_on, seed, store)  # type: ignore[arg-type]
    _say_scenes(evaluation)
    _finish(evaluation, report, json_path, min_recall)


@app.command("replay")
def replay(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="A ROS 1 or ROS 2 recording.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML file with the options.", show_default=False)
    ] = None,
    scene: Annotated[
        Path | None,
        typer.Option("--scene", metavar="SCENE", help="A scene file, or a folder of scenes.", show_default=False),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Into a real localization_node over DDS.")] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", help="With --live: times the bag's own rate.", show_default="1.0")
    ] = None,
    depth: Annotated[
        Path | None,
        typer.Option(
            "--depth",
            metavar="DIR",
            help="With --live: the dataset, with true depth, that BAG was made from; a depth_node is measured, too.",
            show_default=False,
        ),
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

    With --depth a depth_node runs in the same process as the localization_node, and takes its landmarks and poses. Its
    metres are compared with the true depth: how far they are off, and how often the truth lies in the stated interval.

    Example: `geo-eval replay second_walk --scene office.safetensors --live --report replay.html`
    """
    if depth is not None and not live:
        raise InputError("--depth measures the live depth node; give --live with it")
    if rate is not None and not live:
        raise InputError(
            "without --live every frame is played in its turn, so --rate would have no effect; leave it out"
        )
    resolved = ReplayConfig.load(
        config,
        scene=str(scene) if scene else None,
        depth=str(depth) if depth else None,
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
    for words in recording.image_notes:
        say(words)
    localizer = load_localizer(Path(resolved.scene), resolved.device)
    metadata = scene_metadata(Path(resolved.scene), localizer)
    settings = resolved.model_dump(mode="json")
    if live:
        from geo_training.evaluation.replay.live import evaluate_live

        evaluation = evaluate_live(localizer, recording, resolved, metadata)
    else:
        scene_parts = localizer.landmarks_map_l3, localizer.metric
        title = f"Replay of {recording.sequence}"
        evaluation = replay_bag(localizer, recording, *scene_parts, resolved.seed, title, metadata, settings)
    evaluation = with_scenes(evaluation, localizer)
    _finish(evaluation, report, json_path, min_recall)


def _files_of(scene: Path) -> list[Path]:
    """On what answers in a scene, or a folder of scenes, depend."""
    if not scene.is_dir():
        return [scene]
    return [path for path in sorted(scene.iterdir()) if path.suffix in (".safetensors", ".yaml")]


def _say_scenes(evaluation) -> None:
    """Which scenes of a folder answered how many frames."""
    found = {name: figures["frames"] for name, figures in evaluation.by_scene.items()}
    if found:
        say(f"localized in {', '.join(f'{name} ({found[name]})' for name in sorted(found, key=lambda n: -found[n]))}")


def _finish(evaluation, report: Path | None, json_path: Path | None, min_recall: float | None) -> None:
    """Says the result, writes what was asked for, and exits 1 where the recall is too low."""
    typer.echo(headline(evaluation))
    write_json(json_path, evaluation.as_json())
    if report is not None:
        write_evaluation(evaluation, report)
    if min_recall is not None:
        middle = evaluation.length_unit.thresholds[2]
        reached = evaluation.metrics[middle.key]
        if not evaluation.metrics["frames_with_truth"]:
            raise NotGoodEnough("there are no true poses, so --min-recall cannot be checked")
        if not reached >= min_recall:
            raise NotGoodEnough(f"{reached:.1%} of the frames are within {middle.label}, below {min_recall:.1%}")


def _choose(option: str, value, allowed: tuple) -> None:
    if value not in allowed:
        names = ", ".join(name for name in allowed if name)
        raise typer.BadParameter(f"'{value}' is none of {names}", param_hint=option)
