"""Commands that run a network on frames outside of the pipeline."""

from __future__ import annotations

import click

from wildseg.cli.options import Numbers, Share

group = click.Group("predict")


@group.command(short_help="The trained model's classes of images and video.")
@click.argument("inputs", nargs=-1, metavar="[INPUT ...]")
@click.option("--into", default="predictions", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option("--model", default="models/segmenter", show_default=True, metavar="FOLDER", help="The trained model.")
@click.option("--classes", metavar="WORDS", help="Classes other than the trained ones, with commas; with san alone.")
@click.option("--topic", metavar="NAME", help="Of a rosbag2 or MCAP recording; else its only topic of images.")
@click.option("--window", type=click.IntRange(32, 8192), metavar="N", help="Slide a window of N pixels; else whole.")
@click.option(
    "--overlap", type=Share(most=0.9), default=0.25, show_default=True, help="Overlap of windows, as a share."
)
@click.option("--scales", type=Numbers(0.1, 4), default="1", show_default=True, metavar="LIST",
              help="Sizes to average over, such as 0.75,1,1.25.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Average over the mirror image, too.")
@click.option("--max-side", type=click.IntRange(32, 100_000), metavar="N", help="Shrink larger images for the network.")
@click.option("--overlay", is_flag=True, help="Also write the classes over the image, of a video as a video.")
@click.option("--confidence", is_flag=True, help="Also write the probability of the chosen class, as grey PNG.")
@click.option("--probabilities", is_flag=True, help="Also write all probabilities, as .npz.")
@click.option("--costmap", is_flag=True, help="Also write mono8 masks and their LabelInfo for ROS 2 navigation.")
@click.option(
    "--max-failures", type=Share(), default=0.1, show_default=True, help="Share of unreadable frames allowed."
)
def predict(
    inputs: tuple[str, ...],
    into: str,
    model: str,
    classes: str | None,
    topic: str | None,
    window: int | None,
    overlap: float,
    scales: tuple[float, ...],
    flip: bool,
    max_side: int | None,
    max_failures: float,
    **roles: bool,
) -> None:
    """Predict the class of each pixel of images, folders, videos and key frames; of all key frames by default.

    Writes <FOLDER>/<name>.png, ids as palette PNG at the frame's own size, of a video <FOLDER>/<video>/<frame>.png,
    and classes.json, the names of ids. With --classes "muddy track, puddle", a model of `san` predicts these, in their
    order from 1, without training. Frames that are there already stay as they are; see docs/predict.md.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.artifacts.unpack import outside_of_data
    from wildseg.execution.params import own_colours
    from wildseg.execution.project_lock import writing
    from wildseg.execution.runtime import Runtime
    from wildseg.stages.prediction import run
    from wildseg.stages.prediction.task import PredictionConfig

    artifacts, runtime, folder = Artifacts(), Runtime.from_environment(), Path(into)
    outside_of_data(artifacts, folder)
    chosen = tuple(role for role, wanted in roles.items() if wanted)
    words = () if classes is None else tuple(classes.split(","))
    colours = tuple(sorted(own_colours(artifacts.root / "params.yaml").items()))
    config = PredictionConfig(Path(model), scales, flip, window, overlap, max_side, chosen, words, colours)
    with writing(folder, "predict"):  # the folder alone: a training may run in the project meanwhile
        run.run(artifacts, runtime, inputs, folder, config, max_failures, topic)


@group.command(short_help="Boxes of the classes by a detector.")
@click.option("--method", required=True, metavar="NAME", help="The detector, a file of methods/detectors: owlv2, ...")
@click.option(
    "--model", required=True, metavar="NAME", help="Its weights: a folder, a file or a name on the model hub."
)
@click.option("--into", required=True, metavar="FILE", help="Where to write boxes, such as data/labels/boxes.json.")
@click.option("--threshold", type=Share(), default=0.25, show_default=True, help="Lowest score of a box.")
@click.option(
    "--iou",
    type=Share(),
    default=0.5,
    show_default=True,
    help="Of two boxes that overlap more, the one of lower score is removed.",
)
@click.option(
    "--labels", metavar="FILE", help="Also write which classes are in each frame, such as data/labels/given.csv."
)
@click.option(
    "--presence", multiple=True, metavar="[NAME=]SCORE", help="Lowest score at which a class is present in a frame."
)
def detect(
    method: str,
    model: str,
    into: str,
    threshold: float,
    iou: float,
    labels: str | None,
    presence: tuple[str, ...],
) -> None:
    """Detect the classes in all key frames by an open-vocabulary detector, and write their boxes.

    `cam.boxes` confines maps to these boxes, `label.method: given` reads the labels.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.execution import params
    from wildseg.execution.project_lock import writing
    from wildseg.execution.runtime import Runtime
    from wildseg.stages import detections

    values, artifacts, runtime = params.load(), Artifacts(), Runtime.from_environment()
    with writing(artifacts.root, "detect"):
        detections.run(
            values,
            artifacts,
            runtime,
            method=method,
            model=model,
            into=Path(into),
            threshold=threshold,
            iou=iou,
            labels=Path(labels) if labels else None,
            presence=presence,
        )
