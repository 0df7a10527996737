"""The command line: one command per stage, as dvc.yaml calls them, and what helps around them."""

from __future__ import annotations

import errno
import importlib
import math
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from wildseg.core.errors import WildsegError, one_line

STAGES = {
    "extract": "Choose key frames of videos and photos.",
    "label": "Find which classes are in each key frame.",
    "cam": "Compute one activation map per class and frame.",
    "crf": "Refine the maps to pseudo masks.",
    "train": "Train a segmentation model on the pseudo masks.",
    "eval": "Measure labels, maps, masks and model.",
}


FULL = (errno.ENOSPC, errno.EDQUOT)


class _OneLineErrors(click.Group):
    """A group whose commands turn a person's mistake into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except WildsegError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            from wildseg.execution import interruption

            click.echo(interruption.stopped(signal.SIGINT), err=True, nl=False)
            sys.exit(interruption.CODES[signal.SIGINT])
        except BrokenPipeError:
            raise  # the reader of a pipe has gone: click ends quietly
        except OSError as error:
            # A full disk, a read-only folder, a file that vanished: the system's own words say what and where.
            where = f"{error.filename}: " if error.filename else ""
            what_to_do = "; make room, then run the same again" if error.errno in FULL else ""
            _fail(f"{where}{error.strerror or error}{what_to_do}")
        except Exception as error:  # each library has an error of its own for memory that ran out
            from wildseg.execution import out_of_memory

            if (line := out_of_memory.told(error, ctx.invoked_subcommand)) is None:
                raise
            _fail(line)


class _Share(click.FloatRange):
    """A number from 0 to 1; "nan", which is neither below nor above, is none."""

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(0, 1, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def _fail(message: str) -> None:
    click.secho("wildseg: error: ", fg="red", bold=True, err=True, nl=False)
    # What others said in it, such as a server or the name of a file, steers no terminal.
    click.echo(one_line(" ".join(line.strip() for line in message.strip().splitlines())), err=True)
    sys.exit(1)


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wildseg")
def main() -> None:
    """From a field video and a list of class names to a segmentation model, with no hand-drawn pixel.

    The stages are usually run by DVC: `dvc repro`, or `dvc exp run -S cam.method=hirescam`.
    Each reads params.yaml in the current folder.
    """


def _stage(name: str) -> Callable[[], None]:
    def command() -> None:
        from wildseg.artifacts.project import Artifacts
        from wildseg.core import params
        from wildseg.execution import launcher, recorded_inputs
        from wildseg.execution.project_lock import writing
        from wildseg.execution.runtime import Runtime
        from wildseg.stages import preflight

        artifacts = Artifacts()
        # Before anything is read, so that whatever changes after it was read is noticed.
        with recorded_inputs.unchanged(artifacts.root):
            values, runtime = params.load(), Runtime.from_environment()
            with writing(artifacts.root, name) as lock:
                if name in preflight.STAGES:
                    preflight.run(values, artifacts.root, name)
                if name == "train":
                    launcher.again(name, lock.pass_on)
                stage = importlib.import_module(f"wildseg.stages.{name}")
                last = (recorded_inputs.check,) if name == "train" else ()
                stage.run(values, artifacts, runtime, *last)

    return command


for _name, _help in STAGES.items():
    main.command(_name, help=_help)(_stage(_name))

main.command(
    "weak",
    help="Make boxes, points and scribbles of the maps; 'dvc repro data/weak/dvc.yaml' runs it, the pipeline not.",
    short_help="Make boxes, points and scribbles of the maps.",
)(_stage("weak"))


@main.command(short_help="What the last run reached.")
def summary() -> None:
    """Show what the last run reached, and where its pictures are."""
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import summary as report
    from wildseg.core import params

    report.show(Artifacts(), params.load())


@main.command(short_help="What is kept of computed frames; --prune.")
@click.option(
    "--prune", "limit", metavar="SIZE", help="Drop what was not used for longest: down to 500MB, 20GB, 0, ..."
)
def cache(limit: str | None) -> None:
    """Show what is kept of frames that were computed, and how much of it the last run could use."""
    from pathlib import Path

    from wildseg.execution import cache_usage

    cache_usage.show(Path(), limit)


@main.command(short_help="Mend DVC's files after a kill.")
def repair() -> None:
    """Mend what a kill or a power cut left torn, or blocked, in DVC's own files."""
    from pathlib import Path

    from wildseg.execution import repair as mend

    click.echo("\n".join(mend.repair(Path()) or ["repair: nothing is torn"]))


@main.command(short_help="Copy frames out of shards.")
@click.argument("frames", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All key frames instead of those named.")
@click.option("--into", required=True, metavar="FOLDER", help="Where to put the files.")
def unpack(frames: tuple[str, ...], everything: bool, into: str) -> None:
    """Copy what the stages left of FRAMES to plain files: key frame, maps, pseudo mask and its confidence.

    For large sets, whose files lie in shards; see docs/storage.md.
    """
    from pathlib import Path

    from wildseg.artifacts import unpack as files
    from wildseg.artifacts.project import Artifacts

    if everything == bool(frames):
        raise click.UsageError("name some frames, or give --all")
    files.unpack(Artifacts(), frames, Path(into))


@main.command(short_help="Quality and cost of CAM methods.")
@click.argument("methods", nargs=-1, metavar="[METHOD ...]")
@click.option("--frames", default=24, show_default=True, type=click.IntRange(1), help="Key frames to measure on.")
@click.option("--refine", default="none,caa", show_default=True, metavar="LIST", help="Values of cam.refine to try.")
def compare(methods: tuple[str, ...], frames: int, refine: str) -> None:
    """Measure CAM methods (all, or METHODs) on the same frames: mIoU of maps, seconds a frame, memory.

    Needs key frames with a truth, and their labels. Everything but cam.method and cam.refine is as params.yaml says.
    Writes metrics/methods/table.csv and methods.json, with those methods alone; goes on where it was killed.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli.compare import run
    from wildseg.core import params
    from wildseg.execution.project_lock import writing
    from wildseg.execution.runtime import Runtime

    wanted = [name.strip() for name in refine.split(",")]
    values, artifacts, runtime = params.load(), Artifacts(), Runtime.from_environment()
    with writing(artifacts.root, "compare"):
        run.run(values, artifacts, runtime, methods, wanted, frames)


@main.command(short_help="Lay presets over params.yaml.")
@click.argument("presets", nargs=-1, metavar="[PRESET ...]")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
def init(presets: tuple[str, ...], dry_run: bool) -> None:
    """Lay presets over params.yaml, later ones winning, and show what changed; without any, list what there is.

    `wildseg init photographs` is a starting point for video of your own; `wildseg init voc clip_es` is CLIP-ES.
    """
    from pathlib import Path

    from wildseg.core import presets as overlays

    if not presets:
        for name, purpose in overlays.available().items():
            click.echo(f"{name:<15} {purpose}")
        return
    changed = overlays.init(Path("params.yaml"), presets, dry_run=dry_run)
    click.echo("\n".join(changed or ["init: params.yaml already says all of this"]))


@main.command(short_help="Why the trained model answers as it does.")
@click.argument("frames", nargs=-1)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="What to explain; may be given several times.")
@click.option("--pixel", metavar="X,Y", help="Ask about one pixel.")
@click.option(
    "--region", metavar="X0,Y0,X1,Y1", help="Ask about a box; its last column is X1 - 1, its last row Y1 - 1."
)
@click.option("--everywhere", is_flag=True, help="Ask about all pixels.")
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Where to look; may be given several times.")
@click.option("--list-layers", is_flag=True, help="List the layers of the model, and stop.")
@click.option("--method", type=click.Choice(["seg_gradcam", "hirescam", "both"]), default="both", show_default=True)
@click.option("--features", is_flag=True, help="Also show what each layer tells apart, as colours.")
@click.option("--max-side", type=click.IntRange(min=1), metavar="N", help="Shrink larger frames to this side first.")
@click.option("--into", default="explain", show_default=True, metavar="FOLDER", help="Where to put the pictures.")
@click.option("--save-maps", is_flag=True, help="Also write the maps as numbers (.npz).")
def explain(
    frames: tuple[str, ...],
    classes: tuple[str, ...],
    pixel: str | None,
    region: str | None,
    everywhere: bool,
    layers: tuple[str, ...],
    list_layers: bool,
    method: str,
    features: bool,
    max_side: int | None,
    into: str,
    save_maps: bool,
) -> None:
    """Show why the trained model answers what it answers in FRAMES: what in them speaks for a class, layer by layer.

    FRAMES are names of key frames or files of pictures. Without --pixel, --region or --everywhere the question is about
    the pixels that are answered as the class. One sheet of pictures a frame and class; see docs/methods.md.
    """
    if not list_layers and not (frames and classes):
        raise click.UsageError("name some frames and at least one --class, or give --list-layers")
    if (pixel is not None) + (region is not None) + everywhere > 1:
        raise click.UsageError("give one of --pixel, --region and --everywhere, or none")
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import explanations
    from wildseg.execution.runtime import Runtime
    from wildseg.stages.explainer import METHODS, ExplanationRequest

    runtime = Runtime.from_environment()
    if list_layers:
        explanations.show_layers(Artifacts(), runtime)
        return
    question = ExplanationRequest(
        pixel=explanations.pixel(pixel) if pixel is not None else None,
        box=explanations.box(region) if region is not None else None,
        everywhere=everywhere,
        layers=layers,
        methods=tuple(METHODS) if method == "both" else (method,),
        features=features,
    )
    output = explanations.Output(Path(into), save_maps)
    explanations.show(Artifacts(), runtime, frames, classes, question, output, max_side)


@main.command(short_help="What truth masks hold; mend their names.")
@click.option("--rename", is_flag=True, help="First rename masks of data/truth whose names are nearly a key frame's.")
def truth(rename: bool) -> None:
    """Show which key frames have a truth mask and what the masks hold, read as `eval` will.

    With --rename, names such as mine_7.png or MINE_000007_mask.PNG become mine_000007.png.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import truth_check
    from wildseg.core import params

    truth_check.show(params.load(), Artifacts(), rename=rename)


@main.command(short_help="Fit label thresholds to frames you ticked.")
@click.argument("ticked", required=False, metavar="[TABLE]")
@click.option("--precision", type=_Share(min_open=True), metavar="P", help="Wanted precision; else the best F1.")
def calibrate(ticked: str | None, precision: float | None) -> None:
    """Fit a label threshold per class to frames whose classes you ticked, and print it as it stands in params.yaml.

    TABLE has the columns Frame and Labels; data/labels/overrides.csv by default. Scores are those of the last label.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import calibrate as calibration
    from wildseg.core import params

    calibration.show(Artifacts(), params.load(), Path(ticked) if ticked else None, precision)


@main.command(short_help="How far two tables of labels agree.")
@click.argument("one", metavar="A.csv")
@click.argument("other", metavar="B.csv")
def agree(one: str, other: str) -> None:
    """Show how far two tables of labels (Frame, Labels) agree: Cohen's kappa per class, and the share of equal answers.

    Frames that only one of them has are left out.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import agree as agreement
    from wildseg.core import params

    agreement.show(Artifacts(), params.load(), Path(one), Path(other))


@main.command(short_help="Boxes of the classes by a detector.")
@click.option("--method", required=True, metavar="NAME", help="The detector, a file of labels/detectors: owlv2, ...")
@click.option(
    "--model", required=True, metavar="NAME", help="Its weights: a folder, a file or a name on the model hub."
)
@click.option("--into", required=True, metavar="FILE", help="Where to write boxes, such as data/labels/boxes.json.")
@click.option("--threshold", type=_Share(), default=0.25, show_default=True, help="Lowest score of a box.")
@click.option("--iou", type=_Share(), default=0.5, show_default=True, help="Above it the lower box goes.")
@click.option(
    "--labels", metavar="FILE", help="Also write which classes are in each frame, such as data/labels/given.csv."
)
@click.option("--presence", multiple=True, metavar="[NAME=]SCORE", help="From which score on a class is in a frame.")
def detect(
    method: str,
    model: str,
    into: str,
    threshold: float,
    iou: float,
    labels: str | None,
    presence: tuple[str, ...],
) -> None:
    """Ask an open-vocabulary detector for boxes of the classes in all key frames.

    What it writes is a person's: `cam.boxes` keeps maps inside of the boxes, `label.method: given` takes the labels.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.core import params
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


@main.command(short_help="List every method by its parameter.")
def methods() -> None:
    """List every method that exists, by the parameter that chooses it."""
    from wildseg.core import lookup
    from wildseg.core.params import METHODS

    chosen = [(f"{section}.{key}", folder) for section, key, folder, _ in METHODS]
    for key, folder in (*chosen, ("detect --method", lookup.DETECTORS)):
        click.echo(key)
        for name in lookup.available(folder):
            click.echo(f"  {name:<20} {lookup.describe(folder, name)}")


if __name__ == "__main__":
    main()
