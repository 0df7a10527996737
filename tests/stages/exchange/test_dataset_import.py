"""`wildseg import`: what a project holds afterwards, frame by frame, and that a mistake leaves nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from wildseg.artifacts.project import Artifacts
from wildseg.cli.main import main
from wildseg.exchange import voc
from wildseg.execution import params
from wildseg.execution.runtime import Runtime
from wildseg.stages import extract

ROOT = Path(__file__).parents[3]
COLOURS = {"sky": (1, 88, 255), "lawn": (128, 255, 0), "own vehicle": (255, 255, 255)}
NAMES = ["a#1", "straße 2", "b10", "b9"]  # in the order of names: a#1, b9, b10, straße 2


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)).save(path)


def palette_mask(path: Path, ids: np.ndarray, colours: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette([value for colour in colours for value in colour])
    image.save(path)


def coloured(folder: Path, names: list[str] = NAMES) -> Path:
    """A data set like YCOR: colours count, and the order of palettes differs from file to file."""
    for seed, name in enumerate(names):
        photo(folder / f"{name}.jpg", seed)
        colours = list(COLOURS.values())
        ids = np.repeat([0, 0, 1, 2], 6).reshape(4, 6)  # sky, sky, lawn, own vehicle
        if seed % 2:
            colours, ids = colours[::-1], 2 - ids
        palette_mask(folder / f"{name}.png", ids, colours)
    (folder / "classes.csv").write_text('colour,name\n#0158ff,Sky\n"128,255,0",lawn\n#ffffff,own vehicle\n')
    return folder


def wildseg(*words: str) -> Result:
    return CliRunner().invoke(main, ["import", *words])


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "data").rglob("*") if path.is_file())


def test_colours_become_ids_whatever_the_order_of_a_palette(project: Path) -> None:
    answer = wildseg("masks", str(coloured(project / "there")), "--map", "own vehicle=ignore", "--name", "mine")
    assert answer.exit_code == 0, answer.output
    artifacts, names = Artifacts(), params.load().classes.names
    lawn = names.index("lawn") + 1
    for index in range(4):
        frame = f"mine_{index:06d}"
        path = project / f"data/truth/mine/{frame}.png"
        assert artifacts.read_truth(path, names, (4, 6)).ids.tolist() == [[1] * 6, [1] * 6, [lawn] * 6, [255] * 6]
    assert artifacts.load_labels(names, project / "data/labels/mine.csv")["mine_000003"].tolist() == [
        name in ("sky", "lawn") for name in names
    ]
    assert (project / "data/raw/mine.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "mine_000000,,a#1.jpg,a#1.png", "mine_000001,,b9.jpg,b9.png", "mine_000002,,b10.jpg,b10.png",
        "mine_000003,,straße 2.jpg,straße 2.png",
    ]  # fmt: skip
    assert "4 photos, 4 truth masks, image labels" in answer.output
    assert "sky 50.0%, lawn 25.0%, ignore 25.0%" in answer.output


def test_truth_stays_right_when_classes_are_reordered_later(project: Path) -> None:
    wildseg("masks", str(coloured(project / "there")), "--map", "own vehicle=ignore")
    names = ("lawn", "sky", *(name for name in params.load().classes.names if name not in ("lawn", "sky")))
    path = project / "data/truth/there/there_000000.png"
    assert Artifacts().read_truth(path, names, (4, 6)).ids[:, 0].tolist() == [2, 2, 1, 255]


def test_the_pipeline_has_the_splits_of_the_data_set(project: Path) -> None:
    there = project / "there"
    for split, number in (("train", 4), ("val", 1), ("test", 2)):
        for index in range(number):
            photo(there / split / f"{split}{index}.png", len(split) * 10 + index)
            palette_mask(there / f"{split}annot" / f"{split}{index}.png", np.full((4, 6), 3), [(0, 0, 0)] * 4)
    answer = wildseg("camvid", str(there), "--set-classes", "--write-params")
    assert answer.exit_code == 0, answer.output
    assert "4 train, 1 val, 2 test, kept by the order" in answer.output
    values = params.load()
    assert values.classes.names[:4] == ("sky", "building", "pole", "road")
    assert (values.label.method, values.label.options["given"]["path"]) == ("given", "data/labels/there.csv")
    extract.run(values, Artifacts(), Runtime(device="cpu", workers=1))
    frames = Artifacts().load_frames()
    assert [frame.split for frame in frames] == ["train"] * 4 + ["val"] + ["test"] * 2
    found = Artifacts().find_truth(frames)
    assert len(found) == 7
    assert set(Artifacts().read_truth(found["there_000000"], values.classes.names, (4, 6)).ids.ravel()) == {4}
    labels = Artifacts().load_labels(values.classes.names, project / "data/labels/there.csv")
    assert set(labels) == {frame.name for frame in frames}


def test_voc_ids_are_those_of_voc_and_objects_are_labels(project: Path) -> None:
    root = project / "VOC2012"
    for seed, name in enumerate(("p", "q")):
        photo(root / f"JPEGImages/{name}.jpg", seed)
    palette_mask(root / "SegmentationClass/p.png", np.repeat([0, 15, 15, 255], 6).reshape(4, 6),
                 [(int(r), int(g), int(b)) for r, g, b in voc.palette()])  # fmt: skip
    Image.fromarray(voc.palette()[np.repeat([0, 15, 9, 255], 6).reshape(4, 6)]).save(root / "SegmentationClass/q.png")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split, name in (("train", "p"), ("val", "q")):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(f"{name}\n")
    (root / "Annotations").mkdir()
    (root / "Annotations/p.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    runner = CliRunner().invoke(main, ["init", "voc"])
    assert runner.exit_code == 0, runner.output
    answer = wildseg("voc", str(root), "--name", "voc")
    assert answer.exit_code == 0, answer.output
    names = params.load().classes.names
    read = [Artifacts().read_truth(project / f"data/truth/voc/voc_{i:06d}.png", names, (4, 6)).ids for i in (0, 1)]
    assert [ids[:, 0].tolist() for ids in read] == [[0, 15, 15, 255], [0, 15, 9, 255]]
    labels = Artifacts().load_labels(names, project / "data/labels/voc.csv")
    present = {frame: [name for name, is_in in zip(names, row, strict=True) if is_in] for frame, row in labels.items()}
    assert present == {"voc_000000": ["dog"], "voc_000001": ["chair", "person"]}


def test_background_without_phrases_is_told(project: Path) -> None:
    there = coloured(project / "there")
    (there / "classes.csv").write_text("colour,name\n#0158ff,Background\n#80ff00,lawn\n#ffffff,ignore\n")
    answer = wildseg("masks", str(there))
    assert "50.0% of the pixels are background, and 'background' is [] in params.yaml" in answer.output
    answer = wildseg("masks", str(there), "--map", "background=ignore", "--replace")
    assert "lawn 25.0%, ignore 75.0%" in answer.output
    assert "are background" not in answer.output


def refused(project: Path, *words: str) -> str:
    """The line of a refusal, which leaves no file."""
    before = files(project)
    answer = wildseg(*words)
    assert answer.exit_code == 1, answer.output
    assert files(project) == before
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    line = answer.output.strip().splitlines()[-1]
    assert line.startswith("wildseg: error: ")
    return line


def test_names_without_a_class_are_listed_with_pixels_and_masks(project: Path) -> None:
    line = refused(project, "masks", str(coloured(project / "there")))
    assert "found 1 names that are no class of params.yaml: 'own vehicle' in 24 pixels of 4 masks" in line
    assert "--map NAME=ignore" in line


def test_unknown_colours_are_listed_with_pixels_and_masks(project: Path) -> None:
    there = coloured(project / "there")
    (there / "classes.csv").write_text("colour,name\n#0158ff,sky\n")
    line = refused(project, "masks", str(there))
    assert "2 colours that" in line
    assert re.search("#80ff00 in 24 pixels of 4 masks, first a#1.png", line)
    assert re.search("#ffffff in 24 pixels of 4 masks", line)
    answer = wildseg("masks", str(there), "--map", "#80ff00=lawn", "--map", "255,255,255=ignore")
    assert answer.exit_code == 0, answer.output


def test_unknown_ids_are_listed_with_pixels_and_masks(project: Path) -> None:
    for index in range(2):
        photo(project / f"there/{index}.jpg", index)
        palette_mask(
            project / f"there/{index}.png", np.repeat([1, 2, 40, 41 - index], 6).reshape(4, 6), [(0, 0, 0)] * 42
        )
    line = refused(project, "masks", "there")
    assert "2 ids without a class: 40 in 18 pixels of 2 masks, first 0.png, 41 in 6 pixels of 1 masks" in line


def test_ids_from_zero_are_noticed(project: Path) -> None:
    for index in range(4):
        photo(project / f"there/{index}.jpg", index)
        palette_mask(project / f"there/{index}.png", np.arange(24).reshape(4, 6) % 10, [(0, 0, 0)] * 10)
    assert "ids seem to start at 0" in refused(project, "masks", "there")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda there: (there / "b9.jpg").write_bytes(b"no picture"), "b9.jpg: expected a photo"),
        (lambda there: (there / "b9.png").write_bytes(b"no picture"), "b9.png: expected an image of class ids"),
        (
            lambda there: palette_mask(there / "b9.png", np.zeros((4, 9)), [(1, 88, 255)]),
            "b9.png: expected the size of",
        ),
        (lambda there: (there / "b9.jpg").unlink(), "1 masks have none: 'b9.png'"),
        (lambda there: (there / "classes.json").write_text("{}"), "expected one map of classes, found"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_imported(spoil, message: str, project: Path) -> None:  # noqa: ANN001
    spoil(there := coloured(project / "there"))
    assert message in refused(project, "masks", str(there), "--map", "own vehicle=ignore", "--write-params")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--map", "own vehicle"), "expected NAME=CLASS"),
        (("--map", "own vehicle=skyy"), "did you mean 'sky'"),
        (("--name", "a b"), "expected letters, digits, - and _, found 'a b'; for instance a_b"),
        (("--table", "none.csv"), "none.csv"),
        (("--labels", "objects", "--map", "own vehicle=ignore"), "expected lists of objects"),
        (("--split", "train=a"), "only the layout voc has lists"),
    ],
)
def test_a_wrong_option_is_one_line(words: tuple[str, ...], message: str, project: Path) -> None:
    assert message in refused(project, "masks", str(coloured(project / "there")), *words)


def test_an_import_is_replaced_only_when_that_is_said(project: Path) -> None:
    words = ["masks", str(coloured(project / "there")), "--map", "own vehicle=ignore"]
    assert wildseg(*words).exit_code == 0
    assert "there: expected nothing there, found a folder" in refused(project, *words)
    (project / "there/b9.png").unlink()
    answer = wildseg(*words, "--replace")
    assert answer.exit_code == 0, answer.output
    assert "3 truth masks" in answer.output
    assert "data/truth/there/there_000001.png" not in files(project)
    assert "1 photos have no labels: 'b9'" in answer.output


def test_classes_are_proposed_and_nothing_is_written(project: Path) -> None:
    answer = wildseg("masks", str(coloured(project / "there")), "--propose")
    assert answer.output.splitlines() == [
        "classes:", "  Sky:", "  - Sky", "  lawn:", "  - lawn", "  own_vehicle:", "  - own vehicle",
    ]  # fmt: skip
    assert files(project) == []
    (project / "there/classes.csv").unlink()
    assert "expected names of classes" in wildseg("masks", "there", "--propose").output


def test_tables_of_other_data_sets_are_read(project: Path) -> None:
    there = coloured(project / "there")
    (there / "classes.csv").unlink()
    (there / "label_colors.txt").write_text("1 88 255\tsky\n128 255 0\t\tlawn\n255 255 255\tVoid\n")
    assert wildseg("masks", str(there), "--name", "one").exit_code == 0
    (there / "label_colors.txt").rename(there / "class_dict.csv")
    (there / "class_dict.csv").write_text("name,r,g,b\nsky,1,88,255\nlawn,128,255,0\nunlabelled,255,255,255\n")
    assert wildseg("masks", str(there), "--name", "two").exit_code == 0
    for index in range(4):
        one, two = ((project / f"data/truth/{name}/{name}_{index:06d}.png").read_bytes() for name in ("one", "two"))
        assert one == two
    assert json.loads((project / "data/truth/one/classes.json").read_text())["255"] == "ignore"
