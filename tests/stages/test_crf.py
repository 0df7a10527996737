import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.execution.pool import each
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, WildsegError
from wildseg.core.files import load_json
from wildseg.core.images import save_label_image
from wildseg.core.maps import upsample
from wildseg.crf.params import Bilateral, Crf, Gaussian, Temporal
from wildseg.execution import result_store
from wildseg.execution.runtime import Runtime
from wildseg.stages.crf import run

ALONE, PAIR = Runtime(1, "cpu"), Runtime(2, "cpu")
CLASSES = Classes.from_mapping({"lawn": "lawn", "road": "road", "sky": "sky"})


def params(background: tuple[str, ...] = (), **changes: Any) -> Any:  # noqa: ANN401
    values = {
        "alpha": 1.0,
        "label_prior": 0.0,
        "sharpen": 2.0,
        "iterations": 5,
        "gaussian": Gaussian(3.0, 3.0),
        "bilateral": Bilateral(8.0, 40.0, 6.0),
        "image_mode": "rgb",
        "temporal": Temporal(neighbours=0, within_s=2.0, weight=1.0, min_consistent=0.5, between=0),
        "min_confidence": 0.6,
        "confidence_from": "posterior",
        "max_failures": 0.0,
    }
    return SimpleNamespace(classes=CLASSES, background=background, crf=Crf(**{**values, **changes}))


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    """Four frames of 48x32: sky over lawn, whose coarse maps are right but for the border; the third shows no class."""
    artifacts = Artifacts(tmp_path)
    rng = np.random.default_rng(0)
    names = [f"drive_{index:06d}" for index in range(4)]
    artifacts.save_frames([Frame(name, "drive", i, i / 2, "train") for i, name in enumerate(names)])
    for number, name in enumerate(names):
        image = np.zeros((32, 48, 3)) + (60, 140, 50)
        image[:19] = (120, 160, 230)
        artifacts.save_image(name, (image + rng.normal(0, 3, image.shape)).astype(np.uint8))
        upper = np.repeat([1.0, 0.9, 0.1, 0.0], 6).reshape(4, 6)
        maps, classes = np.stack([1 - upper, upper]), np.array([0, 2])
        artifacts.save_maps(name, classes, maps) if number != 2 else artifacts.save_maps(name, classes[:0], maps[:0])
    return artifacts


def files(artifacts: Artifacts) -> dict[str, bytes]:
    return {str(p.relative_to(artifacts.root)): p.read_bytes() for p in artifacts.masks_folder.rglob("*.png")}


def test_masks_follow_the_image_and_confidence_is_theirs(project: Artifacts) -> None:
    run(params(min_confidence=0.0), project, ALONE)
    truth = np.where(np.arange(32)[:, None] < 19, 3, 1) * np.ones((1, 48), int)
    for name in ("drive_000000", "drive_000001", "drive_000003"):
        assert (project.load_mask(name) == truth).mean() > 0.99
        assert project.load_confidence(name).shape == (32, 48)
        assert project.load_confidence(name).mean() > 0.95


def test_every_frame_gets_both_files_and_the_counts_add_up(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params(), project, ALONE)
    assert len(files(project)) == 8
    report = load_json(project.metrics_path("crf.json"))
    ids = np.concatenate([project.load_mask(f.name).ravel() for f in project.load_frames()])
    assert report["frames"] == 4
    assert report["frames_without_class"] == 1
    assert report["coverage"] == pytest.approx((ids != 255).mean())
    assert report["share"] == pytest.approx({n: (ids == i).mean() for i, n in enumerate(CLASSES.with_background)})
    assert "crf: 4 frames" in capsys.readouterr().out


def test_pixels_below_the_confidence_are_255(project: Artifacts) -> None:
    run(params(min_confidence=0.9, iterations=0), project, ALONE)
    mask, confidence = project.load_mask("drive_000000"), project.load_confidence("drive_000000")
    assert 0 < (mask == 255).mean() < 1
    np.testing.assert_array_equal(mask == 255, confidence < 0.9 - 1e-6)


def test_a_frame_without_classes_is_undecided_or_background(project: Artifacts) -> None:
    run(params(), project, ALONE)
    assert set(np.unique(project.load_mask("drive_000002"))) == {255}
    run(params(background=("wall",)), project, ALONE)
    assert set(np.unique(project.load_mask("drive_000002"))) == {0}
    run(params(background="auto"), project, ALONE)  # type: ignore[arg-type]
    assert set(np.unique(project.load_mask("drive_000002"))) == {0}


def test_the_number_of_workers_does_not_change_a_byte(project: Artifacts) -> None:
    save_priors(project, {0: 0.4, 1: 0.7})
    run(params(label_prior=1.0), project, ALONE)
    alone = files(project)
    run(params(label_prior=1.0), project, PAIR)
    assert files(project) == alone


def test_nothing_of_an_earlier_run_is_left(project: Artifacts) -> None:
    project.save_mask("gone_000000", np.zeros((2, 2), np.uint8))
    run(params(), project, ALONE)
    assert not any("gone" in name for name in files(project))


@pytest.mark.parametrize(
    ("classes", "maps", "message"),
    [
        ([0, 2], np.zeros((2, 6, 4)), r"grid of its frame's shape, 48x32, found 4x6 cells"),
        ([0, 2], np.zeros((1, 4, 6)), r"found \(2,\) and \(1, 4, 6\)"),
        ([0, 2], np.zeros((2, 0, 6)), r"found \(2,\) and \(2, 0, 6\)"),
        ([0, 3], np.zeros((2, 4, 6)), r"class indices below 3, found \[0, 3\]"),
        ([0, 2], np.full((2, 4, 6), np.nan), r"values in \[0, 1\], found nan"),
        ([0, 2], np.full((2, 4, 6), 1.5), r"values in \[0, 1\], found 1\.5"),
    ],
    ids=["turned", "too few", "no cells", "unknown class", "nan", "too large"],
)
def test_maps_that_do_not_fit_name_their_frame(
    project: Artifacts, classes: list[int], maps: np.ndarray, message: str
) -> None:
    project.save_maps("drive_000001", np.array(classes), maps)
    with pytest.raises(DataError, match=r"drive_000001.*" + message + ".*dvc repro cam"):
        run(params(), project, ALONE)


@pytest.mark.parametrize("grid", [(4, 6), (3, 5), (2, 3), (1, 1), (5, 7), (32, 48), (64, 96)])
def test_a_grid_may_have_any_fineness(project: Artifacts, grid: tuple[int, int]) -> None:
    project.save_maps("drive_000001", np.array([1]), np.ones((1, *grid)))
    run(params(), project, ALONE)
    assert set(np.unique(project.load_mask("drive_000001"))) == {2}


def test_missing_maps_and_missing_frames_say_what_to_do(project: Artifacts) -> None:
    (project.cams_folder / "drive_000003.npz").unlink()
    for runtime in (ALONE, PAIR):
        with pytest.raises(DataError, match=r"drive_000003.*dvc repro cam"):
            run(params(), project, runtime)
    project.save_frames([])
    with pytest.raises(DataError, match="expected key frames, found none"):
        run(params(), project, ALONE)


def save_priors(artifacts: Artifacts, lawn: dict[int, float]) -> None:
    names = [frame.name for frame in artifacts.load_frames()]
    artifacts.save_priors(names, CLASSES.names, np.array([[lawn.get(i, 1.0), 0.0, 1.0] for i in range(len(names))]))


def test_a_class_that_is_hardly_likely_in_a_frame_takes_less_of_it(project: Artifacts) -> None:
    values = params(label_prior=1.0, iterations=0, min_confidence=0.0)
    save_priors(project, {})
    run(values, project, ALONE)
    certain = files(project)
    run(params(iterations=0, min_confidence=0.0), project, ALONE)
    assert files(project) == certain
    save_priors(project, {1: 0.3})
    run(values, project, ALONE)
    changed = {Path(name).stem for name, content in files(project).items() if content != certain[name]}
    assert changed == {"drive_000001"}
    # Without a mean field, lawn (1) wins where its map times .3 is above that of the sky (3).
    large = upsample(project.load_maps("drive_000001")[1], (32, 48))
    expected = np.where(0.3 * large[0] >= large[1], 1, 3)
    np.testing.assert_array_equal(project.load_mask("drive_000001"), expected)


def test_priors_recompute_the_frames_whose_they_are(
    project: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(result_store.VARIABLE, raising=False)
    for lawn, cached in (({}, ""), ({3: 0.5}, ", 3 from the cache"), ({3: 0.5}, ", 4 from the cache")):
        save_priors(project, lawn)
        run(params(label_prior=1.0), project, ALONE)
        assert capsys.readouterr().out.rstrip().endswith(cached or "without any class")


def test_priors_that_are_missing_say_what_to_do(project: Artifacts) -> None:
    with pytest.raises(DataError, match=r"priors\.csv: expected a CSV file .*run 'dvc repro label'"):
        run(params(label_prior=1.0), project, ALONE)
    project.save_priors(["drive_000000"], CLASSES.names, np.ones((1, 3)))
    with pytest.raises(
        DataError, match=r"priors\.csv: expected a line for the frame 'drive_000001', found none; run 'd"
    ):
        run(params(label_prior=1.0), project, ALONE)


def test_a_worker_that_is_killed_is_reported_in_one_line() -> None:
    with pytest.raises(WildsegError, match=r"2 worker processes was killed.*memory.*WILDSEG_WORKERS"):
        list(each(os._exit, [9, 9, 9], 2))


def test_the_stage_starts_without_torch_and_mlflow() -> None:
    code = "import sys, wildseg.stages.crf; print(sorted({'torch', 'mlflow', 'open_clip', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def correct(artifacts: Artifacts, frame: str, ids: np.ndarray) -> Path:
    path = artifacts.data / "corrected/drive" / f"{frame}.png"
    save_label_image(path, ids.astype(np.uint8))
    return path


def test_a_corrected_mask_is_taken_as_it_is_and_no_other_frame_is_computed(
    project: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(result_store.VARIABLE)
    run(params(), project, ALONE)
    before = files(project)
    ids = np.where(np.arange(32)[:, None] < 10, 255, 2) * np.ones((1, 48), int)
    correct(project, "drive_000001", ids)
    run(params(), project, ALONE)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("crf: 4 frames (1 corrected by a person), ")
    assert line.endswith(", 3 from the cache")
    assert project.load_mask("drive_000001").tolist() == ids.tolist()
    assert project.load_confidence("drive_000001").tolist() == (ids != 255).tolist()
    after = files(project)
    assert {name for name in after if after[name] != before[name]} == {
        "data/masks/drive_000001.png", "data/masks/confidence/drive_000001.png",
    }  # fmt: skip
    (project.data / "corrected/drive/drive_000001.png").unlink()
    run(params(), project, ALONE)
    assert files(project) == before


def test_ids_of_corrected_masks_mean_what_the_map_beside_them_says(project: Artifacts) -> None:
    path = correct(project, "drive_000000", np.full((32, 48), 1))
    path.with_name("classes.json").write_text('{"1": "sky", "2": "lawn"}')
    run(params(), project, ALONE)
    assert (project.load_mask("drive_000000") == 3).all()
    path.with_name("classes.json").write_text('{"1": "road", "2": "lawn"}')
    run(params(), project, ALONE)
    assert (project.load_mask("drive_000000") == 2).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.full((32, 48), 4), "expected ids 0 to 3"),
        (np.zeros((32, 48)), "expected ids from 1, as 'background' is"),
        (np.ones((30, 48)), "expected the size of its frame"),
    ],
)
def test_corrected_masks_that_cannot_be_right_are_named(project: Artifacts, ids: np.ndarray, message: str) -> None:
    correct(project, "drive_000000", ids)
    with pytest.raises(DataError, match="drive_000000.png") as error:
        run(params(), project, ALONE)
    assert message in str(error.value)


def test_corrected_masks_of_no_key_frame_are_counted(project: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    path = correct(project, "drive_000000", np.full((32, 48), 1))
    path.with_name("corrections.csv").write_text(
        "frame,file,touched,pixels,overlapping\ndrive_000000,a,1,2,0\ndrive_000900,b,1,2,0\n"
    )
    run(params(), project, ALONE)
    assert "1 corrected masks are of no key frame, such as 'drive_000900', and were left out" in capsys.readouterr().out
