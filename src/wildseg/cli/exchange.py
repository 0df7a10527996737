"""Commands that exchange data with other tools: data sets in, the trained model and masks out."""

from __future__ import annotations

import click

group = click.Group("exchange")

LAYOUTS = ("masks", "voc", "camvid", "cityscapes")


@group.command("import", short_help="Photos, masks, labels and splits of a data set.")
@click.argument("layout", type=click.Choice(LAYOUTS), required=False)
@click.argument("folder", required=False)
@click.option("--corrections", metavar="FILE", help="Corrected masks of CVAT, COCO or Label Studio, or a folder.")
@click.option("--as", "purpose", type=click.Choice(["truth", "masks"]), default="truth", show_default=True,
              help="What corrections become: truth for eval, or pseudo masks for train.")  # fmt: skip
@click.option("--exported", metavar="FOLDER", help="Of corrections: the export; by default the folder of FILE.")
@click.option("--untouched", is_flag=True, help="Of corrections: all frames, also those without a changed pixel.")
@click.option("--name", metavar="NAME", help="Name of the data set in the project; that of FOLDER by default.")
@click.option("--photos", metavar="FOLDER", help="Folder of photos inside FOLDER; found by its name by default.")
@click.option("--masks", metavar="FOLDER", help="Folder of masks, the same; of voc such as SegmentationClassAug.")
@click.option("--table", metavar="FILE", help="Names of ids or colours; classes.csv beside the masks by default.")
@click.option("--map", "renames", multiple=True, metavar="NAME=CLASS", help="A name, id or colour that is a class, "
              "background or ignore.")  # fmt: skip
@click.option("--split", "lists", multiple=True, metavar="SPLIT=LIST", help="Of voc: a list of photos, such as "
              "train=train_aug.")  # fmt: skip
@click.option("--labels", type=click.Choice(["auto", "masks", "objects", "none"]), default="auto", show_default=True,
              help="Image labels from masks, or from listed objects; auto: from objects where there are.")  # fmt: skip
@click.option("--propose", is_flag=True, help="Print the data set's classes for params.yaml and import nothing.")
@click.option("--set-classes", is_flag=True, help="Replace 'classes' in params.yaml by those of the data set.")
@click.option("--write-params", is_flag=True, help="Write source, splits and labels into params.yaml.")
@click.option("--replace", is_flag=True, help="Replace an earlier import of this name.")
def import_(
    layout: str | None,
    folder: str | None,
    corrections: str | None,
    purpose: str,
    exported: str | None,
    untouched: bool,
    name: str | None,
    photos: str | None,
    masks: str | None,
    table: str | None,
    renames: tuple[str, ...],
    lists: tuple[str, ...],
    labels: str,
    propose: bool,
    **flags: bool,
) -> None:
    """Import a data set: photos to data/raw/NAME, masks to data/truth/NAME, image labels to data/labels/NAME.csv.

    LAYOUT is masks (photos and masks in folders), voc, camvid or cityscapes. Classes are matched by name, with ids or
    colours from a table beside the masks. Nothing is written if any value has no class; see docs/import.md.

    With --corrections, masks that were exported and corrected become truth, or pseudo masks of data/corrected; see
    docs/correcting.md.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import imports
    from wildseg.execution import params
    from wildseg.execution.project_lock import writing
    from wildseg.frames.sources import safe_name
    from wildseg.stages.exchange import dataset_import, video_import
    from wildseg.stages.exchange.corrections import CorrectionOptions
    from wildseg.stages.exchange.corrections import run as run_corrections

    artifacts = Artifacts()
    if corrections is not None:
        if layout is not None:
            raise click.UsageError("name a layout and a folder, or --corrections")
        chosen = CorrectionOptions(
            Path(corrections), Path(exported) if exported else None, renames, untouched, flags["replace"], purpose
        )
        with writing(artifacts.root, "import"):
            run_corrections(params.load(), artifacts, chosen)
        return
    if layout is None or folder is None:
        raise click.UsageError(f"name a layout ({', '.join(LAYOUTS)}) and a folder, or --corrections")
    dataset = imports.find(Path(folder), layout, photos, masks, lists, labels)
    path = Path(table) if table else None
    if propose:
        click.echo(imports.as_yaml(dataset_import.proposed_classes(dataset, path, Path(folder))))
        return
    own = name if name is not None else safe_name(Path(folder).resolve().name)
    options = dataset_import.ImportOptions(own, path, renames, labels, **flags)
    with writing(artifacts.root, "import"):
        run = video_import.run if dataset.videos else dataset_import.run
        run(params.load(), artifacts, dataset, Path(folder), options)


@group.command(short_help="What to correct first.")
@click.option("--number", type=click.IntRange(1), default=20, show_default=True, help="Of frames.")
def suggest(number: int) -> None:
    """List the training frames whose correction is worth most: pseudo mask and model disagree, each on other classes.

    `wildseg export FORMAT --first N` exports them; see docs/correcting.md.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.execution import params
    from wildseg.execution.runtime import Runtime
    from wildseg.stages.exchange import suggestions

    found = suggestions.suggest(params.load(), Artifacts(), Runtime.from_environment(), number)
    click.echo("\n".join(suggestions.lines(found)))


@group.group(short_help="The model, masks or predictions for other programs.")
def export() -> None:
    """Write the trained model as other programs run it, or masks as annotation tools take them."""


@export.command(short_help="As ONNX, preprocessing included.")
@click.option("--into", default="segmenter.onnx", show_default=True, metavar="FILE", help="Where to write.")
@click.option("--model", default="models/segmenter", show_default=True, metavar="FOLDER", help="The trained model.")
@click.option("--costmap", is_flag=True, help="Also what ROS 2 navigation reads: confidence (mono8) and LabelInfo.")
@click.option("--check", is_flag=True, help="Compare with the model on key frames: differences, frames per second.")
def onnx(into: str, model: str, costmap: bool, check: bool) -> None:
    """Write the trained model as ONNX, for batches of images of any size.

    Input: image, (batch, height, width, 3) uint8 RGB. Outputs: ids (batch, height, width) uint8 and probabilities
    (batch, classes + 1, height, width). Names, colours and preprocessing are in the metadata; see docs/predict.md.
    """
    from pathlib import Path

    from wildseg.artifacts.project import Artifacts
    from wildseg.cli import export as exports
    from wildseg.execution.runtime import Runtime

    exports.onnx(Artifacts(), Runtime.from_environment(), Path(model), Path(into), costmap=costmap, check=check)


def _mask_command(form: str, purpose: str) -> None:
    @export.command(form, short_help=purpose)
    @click.argument("frames", nargs=-1, metavar="[FRAME ...]")
    @click.option("--of", type=click.Choice(["masks", "predictions"]), default="masks", show_default=True,
                  help="Pseudo masks, or predictions of `wildseg predict`.")  # fmt: skip
    @click.option("--predictions", default="predictions", show_default=True, metavar="FOLDER", help="Their folder.")
    @click.option("--into", metavar="FOLDER", help=f"Where to write; exports/{form} by default.")
    @click.option("--split", "splits", multiple=True, type=click.Choice(["train", "val", "test"]), help="Only these.")
    @click.option(
        "--first", type=click.IntRange(1), metavar="N", help="Those that `wildseg suggest` lists, in its order."
    )
    @click.option("--images", is_flag=True, help="Also copy the key frames.")
    @click.option("--prefix", default="/data/local-files/?d=", show_default=True, metavar="TEXT",
                  help="Of labelstudio: what makes a file name an address.")  # fmt: skip
    @click.option("--replace", is_flag=True, help="Replace an earlier export there.")
    def command(
        frames: tuple[str, ...],
        of: str,
        predictions: str,
        into: str | None,
        splits: tuple[str, ...],
        first: int | None,
        images: bool,
        prefix: str,
        replace: bool,
    ) -> None:
        """Write masks of key frames, all or FRAMEs, as pre-annotations; see docs/correcting.md."""
        from pathlib import Path

        from wildseg.artifacts.project import Artifacts
        from wildseg.execution import params
        from wildseg.execution.runtime import Runtime
        from wildseg.stages.exchange import mask_export, suggestions

        folder = Path(into if into is not None else f"exports/{form}")
        source = Path(predictions) if of == "predictions" else None
        values, artifacts = params.load(), Artifacts()
        if first is not None:
            if frames or splits:
                raise click.UsageError("--first chooses among all training frames: leave out FRAMEs and --split")
            found = suggestions.suggest(values, artifacts, Runtime.from_environment(), first)
            click.echo("\n".join(suggestions.lines(found)))
            frames = tuple(one.frame for one in found)
        options = mask_export.ExportOptions(form, folder, source, frames, splits, images, prefix, replace)
        mask_export.run(values, artifacts, options)


for _form, _purpose in {
    "masks": "Palette PNG and classes.csv.",
    "voc": "The folders of PASCAL VOC.",
    "coco": "COCO, with run lengths of each class.",
    "labelstudio": "Tasks for Label Studio, with brushes.",
    "cvat": "CVAT for images 1.1, with masks.",
}.items():
    _mask_command(_form, _purpose)
