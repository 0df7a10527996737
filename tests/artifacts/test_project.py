"""What stages leave on disk: every save_/load_ pair gives back what went in, and a broken file is one line."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.broken_files import cut, npy_of_objects, npz_of_objects, trap
from tests.programs import python
from tests.stages import tiny_run
from wildseg.artifacts.project import SPLITS, Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.execution.runtime import Runtime
from wildseg.stages import label
from wildseg.stages.cam import stage as cam

# Names as videos and photos have them.
NAMES = ("drive_000001", "Wiese, süd_000002", 'say "hi"_000003', "草地 (1).v2_000004", "-rf_000005")
CLASS_NAMES = ("lawn", "trottoir pavé", "草地", "lane-line (white)")


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Round trips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_key_frame_comes_back_nearly_as_it_was(artifacts: Artifacts, name: str) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[None], ramp[:48, None], 255 - ramp[None]), 2)
    artifacts.save_image(name, image)
    loaded = artifacts.load_image(name)
    assert loaded.shape == (48, 64, 3)
    assert loaded.dtype == np.uint8
    assert np.abs(loaded.astype(int) - image).max() <= 4
    assert artifacts.frame_path(name).parent == artifacts.frames_folder


def test_colours_keep_their_full_resolution(artifacts: Artifacts) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (220, 40, 40), (40, 40, 220)  # one pixel wide, of nearly equal lightness
    artifacts.save_image("a", stripes)
    assert np.abs(artifacts.load_image("a").astype(int) - stripes).mean() < 8


def test_frames_come_back_in_order_and_by_split(artifacts: Artifacts) -> None:
    times = (0.0, 1 / 3, None, 12345.678901, 2.5)
    frames = [
        Frame(name, name.rsplit("_", 1)[0], index, time, SPLITS[index % 3])
        for index, (name, time) in enumerate(zip(NAMES, times, strict=True))
    ]
    artifacts.save_frames(frames)
    loaded = artifacts.load_frames()
    assert [(f.name, f.source, f.index, f.split) for f in loaded] == [
        (f.name, f.source, f.index, f.split) for f in frames
    ]
    assert [f.time_s for f in loaded] == [pytest.approx(time, abs=1e-6) for time in times]
    assert [f.name for f in artifacts.load_frames("train")] == [NAMES[0], NAMES[3]]
    assert [f.name for f in artifacts.load_frames("test", "val")] == [NAMES[1], NAMES[2], NAMES[4]]


def test_quarantined_files_are_listed_with_the_reason(artifacts: Artifacts) -> None:
    artifacts.save_quarantine("extract", [("a, b.jpg", 'truncated: "half"'), ("c.mp4, frame 7", "broken")])
    with (artifacts.frames_folder / "quarantine.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["item", "reason"], ["a, b.jpg", 'truncated: "half"'], ["c.mp4, frame 7", "broken"],
        ]  # fmt: skip


def test_labels_come_back_also_of_a_frame_with_no_class(artifacts: Artifacts, noise: np.random.Generator) -> None:
    present = noise.random((len(NAMES), len(CLASS_NAMES))) < 0.5
    present[2] = False
    artifacts.save_labels(NAMES, CLASS_NAMES, present)
    labels = artifacts.load_labels(CLASS_NAMES)
    assert list(labels) == list(NAMES)
    np.testing.assert_array_equal(np.stack(list(labels.values())), present)


def test_the_labels_file_is_quoted_and_has_the_agreed_header(artifacts: Artifacts) -> None:
    artifacts.save_labels(["a", "b"], ["sky", "lawn"], np.array([[True, True], [False, False]]))
    assert artifacts.labels_csv.read_text() == '"Frame","Labels"\n"a","sky,lawn"\n"b",""\n'


def test_labels_written_by_a_person_may_have_spaces_and_another_place(artifacts: Artifacts, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('Frame,Labels\na," lawn , sky,"\nb,\n')
    labels = artifacts.load_labels(["sky", "soil", "lawn"], path)
    assert {frame: present.tolist() for frame, present in labels.items()} == {
        "a": [True, False, True], "b": [False, False, False],
    }  # fmt: skip


def test_scores_come_back_to_six_digits(artifacts: Artifacts, noise: np.random.Generator) -> None:
    scores = noise.random((len(NAMES), len(CLASS_NAMES)))
    scores[0] = (0, 1, 1e-9, 0.5)
    artifacts.save_scores(NAMES, CLASS_NAMES, scores)
    loaded = artifacts.load_scores(CLASS_NAMES)
    assert list(loaded) == list(NAMES)
    np.testing.assert_allclose(np.stack(list(loaded.values())), scores, atol=5.1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_maps_come_back_to_half_precision_also_of_no_class(
    artifacts: Artifacts, noise: np.random.Generator, name: str, count: int
) -> None:
    maps = noise.random((count, 5, 7), np.float32)
    artifacts.save_maps(name, np.arange(count) * 50, maps)
    classes, loaded = artifacts.load_maps(name)
    assert classes.tolist() == [0, 50, 100][:count]
    assert loaded.dtype == np.float32
    assert loaded.shape == maps.shape
    np.testing.assert_allclose(loaded, maps, atol=2**-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_and_its_confidence_come_back(artifacts: Artifacts, noise: np.random.Generator, name: str) -> None:
    mask = noise.choice(np.array([0, 1, 2, 254, 255], np.uint8), (6, 9))
    confidence = noise.random((6, 9))
    artifacts.save_mask(name, mask)
    artifacts.save_confidence(name, confidence)
    np.testing.assert_array_equal(artifacts.load_mask(name), mask)
    np.testing.assert_allclose(artifacts.load_confidence(name), confidence, atol=0.5 / 255 + 1e-6)
    assert artifacts.load_confidence(name).dtype == np.float32


def test_confidence_outside_its_range_is_cut_off(artifacts: Artifacts) -> None:
    artifacts.save_confidence("a", np.array([[-0.1, 0.0, 1.0, 1.00001]]))
    np.testing.assert_array_equal(artifacts.load_confidence("a"), [[0, 0, 1, 1]])


def test_the_model_comes_back_and_is_readable_by_others(artifacts: Artifacts) -> None:
    state = {
        "weight": torch.randn(3, 4).T,  # not contiguous
        "count": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
        "grad": torch.randn(2, requires_grad=True),
    }
    config = {"classes": list(CLASS_NAMES), "size": (1, 2)}
    artifacts.save_segmenter(state, config)
    loaded, loaded_config = artifacts.load_segmenter()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert loaded_config == {"classes": list(CLASS_NAMES), "size": [1, 2]}
    mode = stat.S_IMODE((artifacts.segmenter_folder / "model.safetensors").stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


def test_metrics_lie_below_their_folder(artifacts: Artifacts, tmp_path: Path) -> None:
    assert artifacts.metrics_path("train/curve.csv") == tmp_path / "metrics" / "train" / "curve.csv"


def write_everything(artifacts: Artifacts) -> None:
    noise = np.random.default_rng(7)
    for name in NAMES[:2]:
        artifacts.save_image(name, noise.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        artifacts.save_maps(name, np.array([0, 2]), noise.random((2, 3, 4)))
        artifacts.save_mask(name, noise.integers(0, 4, (12, 16), dtype=np.uint8))
        artifacts.save_confidence(name, noise.random((12, 16)))
    artifacts.save_frames([Frame(name, "drive", 1, 0.5, "train") for name in NAMES])
    artifacts.save_quarantine("extract", [("a", "b")])
    artifacts.save_labels(NAMES[:2], CLASS_NAMES, noise.random((2, 4)) < 0.5)
    artifacts.save_scores(NAMES[:2], CLASS_NAMES, noise.random((2, 4)))
    artifacts.save_priors(NAMES[:2], CLASS_NAMES, noise.random((2, 4)))
    artifacts.save_segmenter({"b": torch.arange(5.0), "a": torch.arange(3)}, {"z": 1, "a": 0.1})


def test_the_same_content_gives_the_same_bytes_and_leaves_no_other_file(tmp_path: Path) -> None:
    first, second = Artifacts(tmp_path / "first"), Artifacts(tmp_path / "second")
    write_everything(first)
    write_everything(second)
    os.utime(second.segmenter_folder / "config.json", (0, 0))
    write_everything(second)  # over what is there
    assert files_below(first.root) == files_below(second.root)
    assert not [name for name in files_below(first.root) if Path(name).name.startswith(".")]


# Broken files --------------------------------------------------------------------------------------------------------

LOADERS: dict[str, tuple[str, Callable[[Artifacts], object]]] = {
    "key frame": (f"data/frames/{NAMES[0]}.jpg", lambda a: a.load_image(NAMES[0])),
    "frames": ("data/frames/frames.csv", lambda a: a.load_frames()),
    "labels": ("data/labels/labels.csv", lambda a: a.load_labels(CLASS_NAMES)),
    "labels of tiles": ("data/labels/tiles.csv", lambda a: a.load_tiles(CLASS_NAMES, a.load_labels(CLASS_NAMES))),
    "scores": ("data/labels/scores.csv", lambda a: a.load_scores(CLASS_NAMES)),
    "priors": ("data/labels/priors.csv", lambda a: a.load_priors(CLASS_NAMES)),
    "maps": (f"data/cams/{NAMES[0]}.npz", lambda a: a.load_maps(NAMES[0])),
    "mask": (f"data/masks/{NAMES[0]}.png", lambda a: a.load_mask(NAMES[0])),
    "confidence": (f"data/masks/confidence/{NAMES[0]}.png", lambda a: a.load_confidence(NAMES[0])),
    "weights": ("models/segmenter/model.safetensors", lambda a: a.load_segmenter()),
    "config": ("models/segmenter/config.json", lambda a: a.load_segmenter()),
}


def break_file(path: Path, how: str, touched: Path) -> None:
    if how == "cut":
        cut(path, 0.6)
        return
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        junk = {
            "empty": b"",
            "garbage": bytes(range(256)) * 9,
            "pickle": trap(touched),
            "json": b'["a"]',
            "zip": b"PK\x05\x06" + bytes(18),  # an archive without members
        }
        path.write_bytes(junk[how])


BREAKAGES = [
    (what, how)
    for what, (name, _) in LOADERS.items()
    for how in ("missing", "empty", "cut", "garbage", "pickle", "folder", "json", "zip")
    if how != "cut" or not name.endswith(".csv")  # a table that is cut at a line's end is a shorter table
]


@pytest.mark.parametrize(("what", "how"), BREAKAGES)
def test_a_file_that_is_broken_is_one_line_that_names_it(artifacts: Artifacts, what: str, how: str) -> None:
    write_everything(artifacts)
    name, load = LOADERS[what]
    path = artifacts.root / name
    break_file(path, how, artifacts.root / "touched")
    with pytest.raises(DataError) as caught:
        load(artifacts)
    assert name in str(caught.value)
    assert "expected" in str(caught.value)
    assert not (artifacts.root / "touched").exists()


def test_maps_that_hold_objects_are_refused_before_anything_runs(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.cams_folder.mkdir(parents=True)
    npz_of_objects(artifacts.cams_folder / "a.npz", tmp_path / "touched")
    with pytest.raises(DataError, match="expected the arrays classes, maps"):
        artifacts.load_maps("a")
    (artifacts.cams_folder / "b.npz").write_bytes(npy_of_objects(tmp_path / "touched"))
    with pytest.raises(DataError, match="expected the arrays classes, maps"):
        artifacts.load_maps("b")
    assert not (tmp_path / "touched").exists()


def test_the_trap_of_these_tests_would_work(tmp_path: Path) -> None:
    # What the tests above refuse would run in a careless program, so that they are no test of a dud.
    path, touched = tmp_path / "a.npy", tmp_path / "touched"
    path.write_bytes(npy_of_objects(touched))
    careless = {"allow_" + "pickle": True}
    with pytest.raises(Exception, match="reshape|shape|object|array"):
        np.load(path, **careless).reshape(7)  # type: ignore[call-overload]
    assert touched.exists()


def test_maps_without_one_of_the_two_arrays_are_refused(artifacts: Artifacts) -> None:
    artifacts.cams_folder.mkdir(parents=True)
    np.savez(artifacts.cams_folder / "a.npz", classes=np.zeros(1, np.int16))
    with pytest.raises(DataError, match="maps"):
        artifacts.load_maps("a")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,drive,one,0.5,train", "expected whole numbers and seconds .*'one'"),
        ("a,drive,1,soon,train", "expected whole numbers and seconds .*'soon'"),
        ("a,drive,1,0.5,trian", "expected the splits train, val, test; found 'trian' at 'a'; did you mean 'train'"),
        ("a,drive,-1,0.5,train", "an index counts from 0, found '-1'"),
        ("a,drive,1,nan,train", "a time is finite, found 'nan'"),
        ("a,drive,1,inf,train", "a time is finite, found 'inf'"),
        (
            "a,drive,1,0.5,train\na,drive,1,0.5,train",
            "frames.csv: the frame 'a' occurs twice; run 'dvc repro extract'",
        ),
        ("a,drive,1,0.5,train\nb,drive,2,1,val\na,drive,3,2,test", "the frame 'a' occurs twice"),
    ],
)
def test_a_frame_that_means_nothing_is_refused(artifacts: Artifacts, row: str, message: str) -> None:
    artifacts.frames_folder.mkdir(parents=True)
    (artifacts.frames_folder / "frames.csv").write_text(f"frame,source,index,time_s,split\n{row}\n")
    with pytest.raises(DataError, match=message):
        artifacts.load_frames()


@pytest.mark.parametrize("stage", ["label", "cam", "crf", "scribbles"])
@pytest.mark.parametrize("more", [[], ["c"]])
def test_a_quarantine_of_all_frames_is_an_error_and_not_a_run_of_none(
    artifacts: Artifacts, stage: str, more: list[str]
) -> None:
    artifacts.save_frames([Frame("a", "drive", 0, 0.0, "train"), Frame("b", "drive", 1, 1.0, "test")])
    artifacts.save_quarantine(stage, [(name, "broken") for name in ("b", "a", *more)])
    path = artifacts.quarantine_csv(stage)
    command = "data/weak/dvc.yaml" if stage == "scribbles" else stage
    line = f"{path}: expected readable key frames, found all 2 quarantined; run 'dvc repro {command}'"
    with pytest.raises(DataError, match=re.escape(line)):
        artifacts.load_frames(after=stage)
    with pytest.raises(DataError, match="found all 2 quarantined"):
        artifacts.load_frames("train", after=stage)
    artifacts.save_quarantine(stage, [("a", "broken")])
    assert [frame.name for frame in artifacts.load_frames(after=stage)] == ["b"]
    assert artifacts.load_frames("train", after=stage) == []


@pytest.mark.parametrize("name", ["overrides.csv", "boxes.json"])
def test_a_broken_link_in_place_of_a_persons_file_is_not_taken_for_no_file(name: str, tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path)
    (tmp_path / "data/labels" / name).symlink_to("gone")
    stage = label if name == "overrides.csv" else cam
    with pytest.raises(DataError, match=name):
        stage.run(tiny_run.params(), artifacts, Runtime(1, "cpu"))


def test_no_frames_is_an_error_that_says_where_to_look(artifacts: Artifacts) -> None:
    artifacts.save_frames([])
    with pytest.raises(DataError, match=r"expected key frames, found none; see data/frames/quarantine\.csv"):
        artifacts.load_frames()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('a,"lawn,lwan"', "frame 'a': expected classes of params.yaml, found 'lwan'; did you mean 'lawn'"),
        ("a,Lawn", "found 'Lawn'; did you mean 'lawn'"),
        ("a,lawn\na,sky", "the frame 'a' occurs twice"),
        ("a,lawn,sky", "line 2: expected 2 columns; quote a cell that holds commas"),
    ],
)
def test_labels_of_a_person_that_mean_nothing_are_refused(artifacts: Artifacts, rows: str, message: str) -> None:
    artifacts.overrides_csv.parent.mkdir(parents=True)
    artifacts.overrides_csv.write_text(f"Frame,Labels\n{rows}\n")
    with pytest.raises(DataError, match=message):
        artifacts.load_labels(["sky", "lawn"], artifacts.overrides_csv)


@pytest.mark.parametrize("cell", ["high", "nan", "inf", "-0.1", "1.5", ""])
def test_a_score_that_is_no_number_from_0_to_1_is_refused(cell: str, artifacts: Artifacts) -> None:
    artifacts.scores_csv.parent.mkdir(parents=True)
    artifacts.scores_csv.write_text(f"frame,lawn\na,{cell}\n")
    line = rf"scores\.csv, frame 'a': expected a number from 0 to 1 for lawn, found '{cell}'; run 'dvc repro label'"
    with pytest.raises(DataError, match=line):
        artifacts.load_scores(["lawn"])


def test_scores_of_other_classes_are_refused(artifacts: Artifacts) -> None:
    artifacts.save_scores(["a"], ["lawn"], np.ones((1, 1)))
    with pytest.raises(DataError, match="'soil' is missing"):
        artifacts.load_scores(["lawn", "soil"])


def test_a_model_on_a_full_disk_is_an_os_error_and_the_old_one_stays(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.save_segmenter({"a": torch.zeros(3)}, {"old": True})
    code = """
import resource, sys, torch
from wildseg.artifacts.project import Artifacts
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Artifacts().save_segmenter({"a": torch.zeros(5000)}, {"old": False})
except OSError as error:
    sys.exit(error.strerror)
"""
    assert python("-c", code, cwd=tmp_path).errors == "File too large\n"
    state, config = artifacts.load_segmenter()
    assert config == {"old": True}
    assert state["a"].shape == (3,)
    assert sorted(path.name for path in artifacts.segmenter_folder.iterdir()) == ["config.json", "model.safetensors"]


# Truth ---------------------------------------------------------------------------------------------------------------

FRAME = Frame("drive_000007", "drive", 7, 0.7, "test")


def write_truth(path: Path, value: int, shape: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def test_truth_is_optional(artifacts: Artifacts) -> None:
    assert artifacts.truth_path(FRAME) is None
    assert artifacts.load_truth(FRAME, CLASS_NAMES[:3], (4, 6)) is None


@pytest.mark.parametrize("below", [".", "drive"])
def test_truth_lies_in_its_folder_or_in_one_of_its_source(artifacts: Artifacts, below: str) -> None:
    write_truth(artifacts.root / "data" / "truth" / below / "drive_000007.png", 2)
    truth = artifacts.load_truth(FRAME, CLASS_NAMES[:3], (4, 6))
    assert truth is not None
    np.testing.assert_array_equal(truth, np.full((4, 6), 2))
    assert artifacts.truth_path(Frame("drive_000008", "drive", 8, 0.8, "test")) is None


def test_a_stage_can_add_a_folder_of_truth_that_comes_after_the_first(artifacts: Artifacts) -> None:
    own = artifacts.root / "data" / "raw" / "field" / "truth"
    artifacts.truth_folders.append(own)
    write_truth(own / "drive_000007.png", 1)
    assert artifacts.truth_path(FRAME) == own / "drive_000007.png"
    write_truth(artifacts.root / "data" / "truth" / "drive_000007.png", 2)
    assert artifacts.truth_path(FRAME) == artifacts.root / "data" / "truth" / "drive_000007.png"
    assert Artifacts(artifacts.root).truth_folders == [artifacts.root / "data" / "truth"]


@pytest.mark.parametrize("value", [0, 3, 255])
def test_ids_of_background_classes_and_ignore_are_truth(artifacts: Artifacts, value: int) -> None:
    write_truth(artifacts.root / "data" / "truth" / "drive_000007.png", value)
    assert artifacts.load_truth(FRAME, CLASS_NAMES[:3], (4, 6)) is not None


@pytest.mark.parametrize("value", [4, 11, 254])
def test_truth_with_an_id_outside_the_class_list_is_refused(artifacts: Artifacts, value: int) -> None:
    write_truth(artifacts.root / "data" / "truth" / "drive_000007.png", value)
    with pytest.raises(DataError, match=rf"expected ids 0 to 3 or 255, found \[{value}\]; ids follow the order"):
        artifacts.load_truth(FRAME, CLASS_NAMES[:3], (4, 6))


def test_truth_of_another_size_is_refused_with_both_sizes_as_width_x_height(artifacts: Artifacts) -> None:
    write_truth(artifacts.root / "data" / "truth" / "drive_000007.png", 1, (9, 12))
    with pytest.raises(DataError, match="expected the size of its frame, 6x4, or one .*, found 12x9"):
        artifacts.load_truth(FRAME, CLASS_NAMES[:3], (4, 6))
