"""Commands that run a network on frames outside of the pipeline."""

from __future__ import annotations

import click

from wildseg.cli.options import Share

group = click.Group("predict")


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
