"""`wildseg export` of masks: which frames, whose ids, and that a mistake leaves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.stages import tiny_run
from tests.stages.tiny_run import IGNORE, LAWN, ROAD, SKY, rows

from wildseg.artifacts.predictions import PredictionFolder
from wildseg.artifacts.project import Artifacts
from wildseg.cli.main import main
from wildseg.core.id_colours import id_palette
from wildseg.core.yaml_document import Document
from wildseg.exchange import coco_masks, cvat, label_studio, voc
from wildseg.exchange.regions import paint

ROOT = Path(__file__).parents[3]
FORMS = ("masks", "voc", "coco", "labelstudio", "cvat")


def write_params(root: Path, names: Sequence[str] = tiny_run.CLASSES.names) -> None:
    document = Document((ROOT / "params.yaml").read_text())
    document.change({"classes": {name: [name] for name in names}}, frozenset({"classes"}))
    (root / "params.yaml").write_text(document.text())


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    return tiny_run.make(Path())


def export(*words: str) -> Result:
    return CliRunner().invoke(main, ["export", *words])


def refused(*words: str) -> str:
    answer = export(*words)
    assert answer.exit_code == 1, answer.output
    return answer.output.strip().splitlines()[-1]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_holds_all_frames_and_what_was_exported(form: str, artifacts: Artifacts) -> None:
    answer = export(form, "--images")
    assert answer.exit_code == 0, answer.output
    assert "masks of 4 frames" in answer.output
    assert "31.2% of the pixels are undecided (255)" in answer.output  # 4 and 16 of 64
    folder = Path("exports") / form
    images = folder / ("JPEGImages" if form == "voc" else "images")
    for frame in artifacts.load_frames():
        assert (folder / "exported" / f"{frame.name}.png").read_bytes() == artifacts.mask_bytes(frame.name)
        assert (images / f"{frame.name}.jpg").read_bytes() == artifacts.frame_bytes(frame.name)
    assert json.loads((folder / "export.json").read_text())["classes"] == ["lawn", "road", "sky"]


@pytest.mark.parametrize(
    ("form", "read", "file"),
    [("coco", coco_masks.read, "annotations.json"), ("cvat", cvat.read, "annotations.xml"),
     ("labelstudio", label_studio.read, "tasks.json")],
)  # fmt: skip
def test_regions_are_the_masks(form: str, read, file: str, artifacts: Artifacts) -> None:  # noqa: ANN001
    assert export(form).exit_code == 0
    found = read(Path("exports") / form / file)
    names = ("background", *tiny_run.CLASSES.names)
    assert [frame.file for frame in found.frames] == [f"{frame.name}.jpg" for frame in artifacts.load_frames()]
    for frame in found.frames:
        assert np.array_equal(paint(frame, names.index).ids, artifacts.load_mask(Path(frame.file).stem))


@pytest.mark.parametrize(
    ("form", "file", "text"),
    [("masks", "classes.csv", "1,lawn,#ff0088"), ("coco", "annotations.json", "255, 0, 136"),
     ("labelstudio", "interface.xml", 'value="lawn" background="#ff0088"'), ("cvat", "labels.json", '"#ff0088"')],
)  # fmt: skip
def test_an_export_has_the_colours_that_a_person_chose(form: str, file: str, text: str, artifacts: Artifacts) -> None:
    document = Document(Path("params.yaml").read_text())
    document.change({"colours": {"lawn": "#f08"}})
    Path("params.yaml").write_text(document.text())
    assert export(form).exit_code == 0
    assert text in " ".join((Path("exports") / form / file).read_text().split())
    if form == "masks":
        shown = np.asarray(Image.open("exports/masks/drive_000010.png").convert("RGB"))
        assert (shown == (255, 0, 136)).all()


def test_voc_has_its_colours_lists_and_label_map(artifacts: Artifacts) -> None:
    assert export("voc").exit_code == 0
    folder = Path("exports/voc")
    with Image.open(folder / "SegmentationClass/drive_000000.png") as image:
        assert np.asarray(image).tolist() == rows(SKY, SKY, LAWN, IGNORE).tolist()
        colours = np.asarray(image.convert("RGB"))
    assert colours[:, 0].tolist() == [[128, 128, 0], [128, 128, 0], [128, 0, 0], [224, 224, 192]]
    assert (folder / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions", "background:0,0,0::", "lawn:128,0,0::", "road:0,128,0::", "sky:128,128,0::",
        "ignore:224,224,192::",
    ]  # fmt: skip
    assert voc.read_list(folder / "ImageSets/Segmentation/train.txt") == ["drive_000000"]
    assert len(voc.read_list(folder / "ImageSets/Segmentation/test.txt")) == 3


def test_frames_and_splits_can_be_chosen(artifacts: Artifacts) -> None:
    assert export("masks", "--split", "test", "other_000010", "drive_000010").exit_code == 0
    assert sorted(path.stem for path in Path("exports/masks/exported").iterdir()) == ["drive_000010", "other_000010"]
    line = refused("coco", "drive_0000")
    assert "'drive_0000': expected names of key frames" in line
    assert "did you mean 'drive_0000" in line
    assert "expected key frames of the split val, found none; nothing was written" in refused("coco", "--split", "val")
    assert not Path("exports/coco").exists()


def test_predictions_are_matched_by_the_names_of_their_classes(artifacts: Artifacts) -> None:
    folder = PredictionFolder(Path("predictions"))
    for frame in artifacts.load_frames():
        folder.save(frame.name, "key", rows(1, 2, 3, 0), id_palette(), {})
    folder.save_classes(("background", "sky", "lawn", "road"), None)
    assert export("masks", "--of", "predictions").exit_code == 0
    with Image.open("exports/masks/drive_000000.png") as image:
        assert np.asarray(image)[:, 0].tolist() == [SKY, LAWN, ROAD, 0]
    folder.save_classes(("background", "sky", "lawn", "mud"), None)
    assert "found 'mud'" in refused("coco", "--of", "predictions")
    folder.save_classes(("background", "sky", "lawn", "road"), None)
    folder.ids_path("other_000010").unlink()
    assert "other_000010.png: expected an image of class ids" in refused("coco", "--of", "predictions")
    assert "nothing/classes.json" in refused("coco", "--of", "predictions", "--predictions", "nothing")
    assert not Path("exports/coco").exists()


def test_masks_of_other_classes_are_refused(artifacts: Artifacts) -> None:
    write_params(Path(), ("lawn", "road"))
    line = refused("cvat")
    assert "drive_000000.png: expected ids 0 to 2 or 255, found [3]" in line
    assert not Path("exports").exists() or not list(Path("exports").iterdir())


def test_only_an_earlier_export_is_replaced(artifacts: Artifacts) -> None:
    assert export("coco").exit_code == 0
    assert "choose another name, or replace it with --replace" in refused("coco")
    assert export("coco", "--replace").exit_code == 0
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    assert "mine: expected nothing there" in refused("coco", "--into", "mine")
    assert "expected an earlier export to replace" in refused("coco", "--into", "mine", "--replace")
    assert Path("mine/thesis.txt").read_text() == "years of work"
    assert "expected a folder outside of data" in refused("coco", "--into", "data/coco")
    assert "expected a folder, found a file" in refused("coco", "--into", "params.yaml")


def test_an_interrupted_export_leaves_nothing(artifacts: Artifacts) -> None:
    artifacts.mask_path("other_000010").write_bytes(b"no picture")
    assert "run 'dvc repro crf'" in refused("labelstudio")
    assert not Path("exports").exists() or not list(Path("exports").iterdir())
    shutil.rmtree(artifacts.masks_folder)
    assert "drive_000000.png" in refused("labelstudio")
