"""Commands that report: results, truth, agreement, thresholds, the methods that exist and what they are worth."""

from __future__ import annotations

import click

from wildseg.cli.options import Share

group = click.Group("inspect")


@group.command(short_help="Results of the last run.")
def summary() -> None:
    """Show the results of the last run, and where its pictures are."""
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import summary as results
    from wildseg.execution import params

    results.show(Artifacts(), params.load())


@group.command(short_help="What truth masks hold; correct their names.")
@click.option("--rename", is_flag=True, help="First rename masks of data/truth whose names nearly match a key frame.")
def truth(rename: bool) -> None:
    """Show which key frames have a truth mask and which classes the masks hold, read as `eval` reads them.

    With --rename, names such as mine_7.png or MINE_000007_mask.PNG become mine_000007.png.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import truth_check
    from wildseg.execution import params

    truth_check.show(params.load(), Artifacts(), rename=rename)


@group.command(short_help="Agreement of two tables of labels.")
@click.argument("one", metavar="A.csv")
@click.argument("other", metavar="B.csv")
def agree(one: str, other: str) -> None:
    """Show the agreement of two tables of labels (Frame, Labels): Cohen's kappa and share of equal labels per class.

    Frames that only one of them lists are left out.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import agree as agreement
    from wildseg.execution import params

    agreement.show(Artifacts(), params.load(), Path(one), Path(other))


@group.command(short_help="Fit label thresholds to frames labelled by hand.")
@click.argument("ticked", required=False, metavar="[TABLE]")
@click.option("--precision", type=Share(min_open=True), metavar="P", help="Wanted precision; else the best F1.")
def calibrate(ticked: str | None, precision: float | None) -> None:
    """Fit a label threshold per class to frames labelled by hand, and print the thresholds as a part of params.yaml.

    TABLE has the columns Frame and Labels; data/labels/overrides.csv by default. The scores are those that the last
    `wildseg label` wrote.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import calibrate as calibration
    from wildseg.execution import params

    calibration.show(Artifacts(), params.load(), Path(ticked) if ticked else None, precision)


@group.command(short_help="List every method by its parameter.")
def methods() -> None:
    """List every method that exists, by the parameter that chooses it."""
    from wildseg.core import lookup
    from wildseg.core.lookup import METHODS

    chosen = [(f"{section}.{key}", folder) for section, key, folder, _ in METHODS]
    for key, folder in (*chosen, ("detect --method", lookup.DETECTORS)):
        click.echo(key)
        for name in lookup.available(folder):
            click.echo(f"  {name:<20} {lookup.describe(folder, name)}")


@group.command(short_help="Quality and cost of CAM methods.")
@click.argument("methods", nargs=-1, metavar="[METHOD ...]")
@click.option("--frames", default=24, show_default=True, type=click.IntRange(1), help="Key frames to measure on.")
@click.option(
    "--refine", default="none,caa", show_default=True, metavar="LIST", help="Values of cam.refine; caa+pamr: in order."
)
def compare(methods: tuple[str, ...], frames: int, refine: str) -> None:
    """Measure CAM methods (all, or METHODs) on the same frames: mIoU of maps, seconds per frame, memory.

    Needs key frames with a truth, and their labels. All other parameters are those of params.yaml.
    Writes metrics/methods/table.csv and methods.json, with those methods alone; an interrupted comparison resumes.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli.compare import run
    from wildseg.execution import params
    from wildseg.execution.project_lock import writing
    from wildseg.execution.runtime import Runtime

    wanted = [name.strip() for name in refine.split(",")]
    values, artifacts, runtime = params.load(), Artifacts(), Runtime.from_environment()
    with writing(artifacts.root, "compare"):
        run.run(values, artifacts, runtime, methods, wanted, frames)


@group.command(short_help="What two runs differ by, with intervals.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", default="workspace")
@click.option("--into", default="diff", show_default=True, metavar="FOLDER", help="Where to put the page.")
@click.option("--frames", default=24, show_default=True, type=click.IntRange(0, 2000), help="Frames on the page.")
def diff(first: str, second: str, into: str, frames: int) -> None:
    """Compare the results of A and B: differences with intervals, parameters, and the frames that changed most.

    A and B are commits, branches, tags or experiments of DVC; without B, A is compared with the workspace. Results are
    read through git and DVC's cache, and the workspace stays as it is. See docs/comparing.md.
    """
    from pathlib import Path

    from wildseg.cli.diff import run

    click.echo("\n".join(run.run(Path(), first, second, Path(into), frames)))


@group.command(short_help="Why the trained model predicts what it does.")
@click.argument("frames", nargs=-1)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Class to explain; may be given several times.")
@click.option("--pixel", metavar="X,Y", help="Explain one pixel.")
@click.option("--region", metavar="X0,Y0,X1,Y1", help="Explain a box; its last column is X1 - 1, its last row Y1 - 1.")
@click.option("--everywhere", is_flag=True, help="Explain all pixels.")
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Layer to explain; may be given several times.")
@click.option("--list-layers", is_flag=True, help="List the layers of the model, and stop.")
@click.option("--method", type=click.Choice(["seg_gradcam", "hirescam", "both"]), default="both", show_default=True)
@click.option("--features", is_flag=True, help="Also show the features of each layer, as colours.")
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
    """Show the evidence for a class in FRAMES, layer by layer of the trained model.

    FRAMES are names of key frames or image files. Without --pixel, --region or --everywhere the pixels that are
    predicted as the class are explained. One sheet of pictures per frame and class; see docs/methods.md.
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
    request = ExplanationRequest(
        pixel=explanations.pixel(pixel) if pixel is not None else None,
        box=explanations.box(region) if region is not None else None,
        everywhere=everywhere,
        layers=layers,
        methods=tuple(METHODS) if method == "both" else (method,),
        features=features,
    )
    output = explanations.Output(Path(into), save_maps)
    explanations.show(Artifacts(), runtime, frames, classes, request, output, max_side)
