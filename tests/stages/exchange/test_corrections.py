"""Corrections come back as truth: the round trip is the identity, touched pixels are known, mistakes leave nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tests.stages import tiny_run
from tests.stages.exchange.test_mask_export import FORMS, artifacts, write_params  # noqa: F401
from tests.stages.tiny_run import IGNORE, LAWN, ROAD, SKY, rows

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.project import Artifacts
from wildseg.cli.main import main
from wildseg.core.images import load_label_image, save_label_image
from wildseg.stages.exchange import corrections as corrections_stage
from wildseg.stages.exchange import mask_export
from wildseg.stages.exchange.corrections import CorrectionOptions
from wildseg.stages.exchange.mask_export import ExportOptions

FILES = {"masks": "", "voc": "", "coco": "annotations.json", "labelstudio": "tasks.json", "cvat": "annotations.xml"}
NAMES = tiny_run.CLASSES.names
PARAMS = tiny_run.params()


@pytest.fixture
def project(artifacts: Artifacts) -> Artifacts:  # noqa: F811
    """A project without any truth."""
    shutil.rmtree("data/truth")
    return artifacts


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def corrections(path: str, *words: str) -> str:
    answer = run("import", "--corrections", path, *words)
    assert answer.exit_code == 0, answer.output
    return answer.output


def refused(path: str, *words: str) -> str:
    before = everything()
    answer = run("import", "--corrections", path, *words)
    assert answer.exit_code == 1, answer.output
    assert everything() == before
    return answer.output.strip().splitlines()[-1]


def everything() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path("data/truth").rglob("*")) if path.is_file()}


def truth(project: Artifacts) -> dict[str, np.ndarray]:
    frames = project.load_frames()
    found = project.find_truth(frames)
    return {name: project.read_truth(path, NAMES, (4, 4)).ids for name, path in found.items()}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ids=arrays.arrays(np.uint8, (4, 4, 4), elements=st.sampled_from([0, LAWN, ROAD, SKY, IGNORE])))
def test_the_round_trip_is_the_identity(form: str, ids: np.ndarray, project: Artifacts) -> None:
    shutil.rmtree("data/truth", ignore_errors=True)
    frames = [frame.name for frame in project.load_frames()]
    for frame, own in zip(frames, ids, strict=True):
        project.save_mask(frame, own)
    mask_export.run(PARAMS, project, ExportOptions(form, Path("exports") / form, replace=True))
    corrections_stage.run(PARAMS, project, CorrectionOptions(Path("exports") / form / FILES[form], untouched=True))
    assert not load_label_image(Path("data/truth/drive/touched/drive_000000.png")).any()
    assert {name: found.tolist() for name, found in truth(project).items()} == {
        frame: own.tolist() for frame, own in zip(frames, ids, strict=True)
    }


def paint_export(form: str, frame: str, ids: np.ndarray) -> None:
    """Correct a frame of an export as its tool would: by exporting it once more with another mask."""
    project = Artifacts()
    before = project.load_mask(frame)
    project.save_mask(frame, ids)
    assert run("export", form, "--into", "exports/again").exit_code == 0
    project.save_mask(frame, before)
    for path in Path("exports/again").rglob("*"):
        place = path.relative_to("exports/again")
        if path.is_file() and place.parts[0] != "exported":
            shutil.copy(path, Path("exports") / form / place)


@pytest.mark.parametrize("form", FORMS)
def test_only_touched_frames_become_truth_and_their_pixels_are_known(form: str, project: Artifacts) -> None:
    assert run("export", form).exit_code == 0
    corrected = rows(SKY, SKY, LAWN, ROAD)  # before: sky, sky, lawn, undecided
    corrected[0, 0] = IGNORE  # and a pixel made undecided
    paint_export(form, "drive_000000", corrected)
    output = corrections(f"exports/{form}/{FILES[form]}")
    assert "3 frames are as they were exported and were left out" in output
    assert "31.25% of the pixels of 1 frames were touched" in output
    assert "1 frames have a corrected mask in data/truth/drive" in output
    assert {name: ids.tolist() for name, ids in truth(project).items()} == {"drive_000000": corrected.tolist()}
    touched = load_label_image(Path("data/truth/drive/touched/drive_000000.png"))
    assert touched.tolist() == [[255, 0, 0, 0], [0] * 4, [0] * 4, [255] * 4]
    table = Path("data/truth/drive/corrections.csv").read_text().splitlines()
    assert table[0] == "frame,file,touched,pixels,overlapping"
    assert table[1].endswith(",5,16,0")
    assert json.loads(Path("data/truth/drive/classes.json").read_text())["3"] == "sky"
    assert run("truth").exit_code == 0


def test_corrections_without_their_export_are_taken_only_as_a_whole(project: Artifacts) -> None:
    assert run("export", "cvat").exit_code == 0
    shutil.move("exports/cvat/annotations.xml", "job.xml")
    assert "name it by --exported, or take all frames by --untouched" in refused("job.xml")
    assert "nothing was corrected" in corrections("job.xml", "--exported", "exports/cvat")
    assert everything() == {}
    output = corrections("job.xml", "--untouched")
    assert "which pixels were touched is unknown in 4 frames" in output
    assert len(truth(project)) == 4
    assert "expected a folder of 'wildseg export'" in refused("job.xml", "--exported", "data")


def test_truth_that_differs_is_replaced_only_when_that_is_said(project: Artifacts) -> None:
    save_label_image(Path("data/truth/other_000000.png"), rows(LAWN, LAWN, SKY, SKY))
    assert run("export", "coco").exit_code == 0
    paint_export("coco", "other_000000", rows(ROAD, ROAD, SKY, SKY))
    line = refused("exports/coco/annotations.json")
    assert "1 frames have another mask already in data/truth: 'other_000000'; replace it with --replace" in line
    corrections("exports/coco/annotations.json", "--replace")
    assert truth(project)["other_000000"].tolist() == rows(ROAD, ROAD, SKY, SKY).tolist()
    corrections("exports/coco/annotations.json")  # the same again


def test_corrections_as_masks_take_the_place_of_pseudo_masks_and_are_no_truth(project: Artifacts) -> None:
    assert run("export", "cvat").exit_code == 0
    corrected = rows(SKY, SKY, LAWN, ROAD)
    paint_export("cvat", "drive_000000", corrected)
    output = corrections("exports/cvat/annotations.xml", "--as", "masks")
    assert "1 frames have a corrected mask in data/corrected/drive" in output
    assert "(data/corrected/*/touched)" in output
    assert truth(project) == {}
    found = CorrectedMasks(".", project.load_frames(), NAMES)
    assert found.load("drive_000000", (4, 4)).tolist() == corrected.tolist()
    assert (load_label_image(Path("data/corrected/drive/touched/drive_000000.png")) == 255).sum() == 4
    shutil.rmtree("exports/again")
    paint_export("cvat", "drive_000000", rows(SKY, SKY, LAWN, LAWN))
    answer = run("import", "--corrections", "exports/cvat/annotations.xml", "--as", "masks")
    assert "1 frames have another mask already in data/corrected: 'drive_000000'" in answer.output


def test_corrections_are_not_written_under_a_map_that_reads_them_otherwise(project: Artifacts) -> None:
    Path("data/truth/drive").mkdir(parents=True)
    Path("data/truth/drive/classes.json").write_text('{"0": "lawn", "1": "road", "2": "sky", "3": "ignore"}')
    assert run("export", "coco").exit_code == 0
    line = refused("exports/coco/annotations.json", "--untouched")
    assert "classes.json: expected ids in the order of params.yaml, found another class for" in line


# Classes that changed after the export -------------------------------------------------------------------------------

PURPOSES = ("truth", "masks")


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("form", FORMS)
def test_nothing_counts_as_touched_where_only_the_order_of_classes_changed(
    form: str, purpose: str, project: Artifacts
) -> None:
    assert run("export", form).exit_code == 0
    write_params(Path(), ["sky", "lawn", "water", "road"])
    path = f"exports/{form}/{FILES[form]}"
    assert "nothing was corrected" in corrections(path, "--as", purpose)
    assert not Path("data/truth").exists()
    assert not Path("data/corrected").exists()
    write_params(Path())
    paint_export(form, "drive_000000", rows(SKY, ROAD, LAWN, IGNORE))  # before: sky, sky, lawn, undecided
    write_params(Path(), ["sky", "lawn", "water", "road"])
    assert "25.00% of the pixels of 1 frames were touched" in corrections(path, "--as", purpose)
    folder = Path("data") / ("truth" if purpose == "truth" else "corrected") / "drive"
    assert load_label_image(folder / "drive_000000.png").tolist() == rows(1, 4, 2, IGNORE).tolist()


def test_a_class_of_the_export_that_is_none_any_more_is_named_unless_it_is_mapped(project: Artifacts) -> None:
    assert run("export", "masks").exit_code == 0
    shutil.copytree("exports/masks", "edited", ignore=shutil.ignore_patterns("exported", "export.json"))
    write_params(Path(), ["meadow", "road", "sky"])
    for ids in Path("edited").glob("*.png"):  # as if a person had painted over all of the class
        save_label_image(ids, rows(SKY, SKY, SKY, SKY))
    words = ("edited", "--exported", "exports/masks")
    line = refused(*words)
    assert "export.json: expected classes of params.yaml, found 'lawn', which were classes when this was expo" in line
    assert "--map NAME=CLASS" in line
    output = corrections(*words, "--map", "lawn=meadow")
    assert "83.33% of the pixels of 3 frames were touched" in output  # 2, 4 and 4 of their 4 rows


def test_classes_that_no_exported_pixel_has_may_be_gone(project: Artifacts) -> None:
    assert run("export", "masks").exit_code == 0
    write_params(Path(), ["sky", "lawn"])
    assert "nothing was corrected" in corrections("exports/masks")


def test_masks_without_a_table_are_refused_where_classes_are_not_those_of_the_export(project: Artifacts) -> None:
    assert run("export", "masks").exit_code == 0
    shutil.copytree("exports/masks", "edited", ignore=shutil.ignore_patterns("exported", "*.json", "*.csv"))
    words = ("edited", "--exported", "exports/masks")
    assert "nothing was corrected" in corrections(*words)
    write_params(Path(), ["sky", "lawn", "road"])
    assert "expected a table that says which class each id is" in refused(*words)
    shutil.copy("exports/masks/classes.csv", "edited")
    assert "nothing was corrected" in corrections(*words)


def test_an_export_without_its_record_is_not_compared_with(project: Artifacts) -> None:
    assert run("export", "masks").exit_code == 0
    Path("exports/masks/export.json").write_text("{}")
    assert "export.json: expected the names of the classes of the export, found None" in refused("exports/masks")
    Path("exports/masks/export.json").unlink()
    assert "export.json: expected a JSON file" in refused("exports/masks")


# Files of others -----------------------------------------------------------------------------------------------------


def cvat(
    *shapes: str, name: str = "images/drive_000000.jpg", size: str = 'width="4" height="4"', more: str = ""
) -> str:
    image = f'<image id="0" name="{name}" {size}>{"".join(shapes)}</image>'
    Path("job.xml").write_text(f"<annotations><version>1.1</version>{image}{more}</annotations>", encoding="utf-8")
    return "job.xml"


def box(label: str, left: int, top: int, width: int, height: int) -> str:
    return (f'<mask label="{label}" rle="0, {width * height}" left="{left}" top="{top}" width="{width}" '
            f'height="{height}" z_order="0"/>')  # fmt: skip


def test_overlapping_regions_are_counted_and_the_last_has_the_pixels(project: Artifacts) -> None:
    output = corrections(
        cvat(box("Lawn", 0, 0, 4, 4), box("ignore", 0, 0, 2, 1), box("sky", 1, 0, 2, 2)), "--untouched"
    )
    assert "regions overlap in 5 pixels of 1 frames; the last region has them" in output
    assert truth(project)["drive_000000"].tolist() == [
        [IGNORE, SKY, SKY, LAWN], [LAWN, SKY, SKY, LAWN], [LAWN] * 4, [LAWN] * 4,
    ]  # fmt: skip


def test_names_without_a_class_are_counted_and_can_be_mapped(project: Artifacts) -> None:
    path = cvat(box("mud & <b>".replace("&", "&amp;").replace("<", "&lt;"), 0, 0, 1, 1), box("mud", 0, 0, 1, 1))
    line = refused(path, "--untouched")
    assert "found 'mud & <b>' in 1 regions of 1 frames, first 'images/drive_000000.jpg', 'mud' in 1 regions" in line
    corrections(path, "--untouched", "--map", "mud=road", "--map", "mud & <b>=ignore")
    assert truth(project)["drive_000000"][0, 0] == ROAD
    assert "'' in 1 regions" in refused(cvat(box("", 0, 0, 1, 1)), "--untouched", "--replace")


@pytest.mark.parametrize("name", ["straße #1.jpg", "drive_9.jpg", "other#9.jpg"])
def test_images_that_match_no_key_frame_are_named(name: str, project: Artifacts) -> None:
    assert f"none of 1 matches one, for instance {name!r}" in refused(cvat(name=name), "--untouched")
    more = '<image id="1" name="drive_000010.jpg" width="4" height="4"/>'
    output = corrections(cvat(name=name, more=more), "--untouched")
    assert f"1 images match no key frame and were left out: {name!r}" in output
    assert truth(project)["drive_000010"].tolist() == rows(*[IGNORE] * 4).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: cvat(size='width="5" height="4"'),
            "expected the size of the key frame, 4x4, for 'images/drive",
        ),
        (lambda: cvat(box("sky", 3, 0, 2, 1)), "it reaches from 3, 0 to 5, 1"),
        (
            lambda: cvat(more='<image name="drive_000000.png" width="4" height="4"/>'),
            "each key frame once, found 'drive",
        ),
        (lambda: "nothing.xml", "nothing.xml: expected corrected masks, found nothing"),
        (lambda: shutil.copy("params.yaml", "job.zip"), "found '.zip'; unpack it first"),
        (lambda: str(Path("empty").mkdir() or "empty"), "expected masks of key frames, found no image"),
    ],
)
def test_wrong_files_are_named_and_nothing_is_written(make, message: str, project: Artifacts) -> None:  # noqa: ANN001
    assert message in refused(make(), "--untouched")


def test_an_empty_export_is_told(project: Artifacts) -> None:
    for name, text in (("a.xml", "<annotations/>"), ("a.json", "[]")):
        Path(name).write_text(text)
        assert "expected masks of key frames, found no image" in refused(name, "--untouched")


def test_colours_of_corrected_masks_are_read_by_their_table_and_unknown_ones_counted(project: Artifacts) -> None:
    folder = Path("painted")
    folder.mkdir()
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:2], colours[2:] = (128, 0, 0), (255, 0, 255)
    Image.fromarray(colours).save(folder / "drive_000000.png")
    (folder / "labelmap.txt").write_text("lawn:128,0,0::\n")
    assert "1 colours that" in (line := refused("painted", "--untouched"))
    assert "#ff00ff in 8 pixels of 1 masks, first drive_000000.png" in line
    corrections("painted", "--untouched", "--map", "#ff00ff=sky")
    assert truth(project)["drive_000000"].tolist() == rows(LAWN, LAWN, SKY, SKY).tolist()
    Image.fromarray(colours[:, :2]).resize((8, 16)).save(folder / "drive_000000.png")
    assert "drive_000000.png: expected the size" in refused("painted", "--untouched", "--map", "#ff00ff=sky")


def test_a_layout_and_corrections_are_not_mixed(project: Artifacts) -> None:
    assert run("import", "voc", "x", "--corrections", "y").exit_code == 2
    assert run("import").exit_code == 2
