"""The demo drives on disk: every decoded frame has its truth."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from wildseg_demo.world import drive
from wildseg_demo.world.drive import restore_or_write, write_drive
from wildseg_demo.world.itinerary import DRIVES, Leg

LEGS = (Leg(seed=1, kind="street", frames=4, metres_per_frame=0.8), Leg(2, "park", 3, 2.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    assert write_drive("tour", LEGS, folder, folder / "truth", workers=1) == 7
    return folder


def _decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_frame_k_of_the_video_is_the_rendered_frame_whose_truth_is_file_k(folder: Path) -> None:
    rendered = [leg.render() for leg in LEGS]
    images, masks = (np.concatenate(part) for part in zip(*rendered, strict=True))
    frames = _decoded(folder / "tour.mp4")
    truth = sorted((folder / "truth" / "tour").iterdir())
    assert [path.name for path in truth] == [f"tour_{index:06d}.png" for index in range(7)]
    assert len(frames) == 7
    for frame, path, image, mask in zip(frames, truth, images, masks, strict=True):
        difference = np.abs(frame.to_ndarray(format="rgb24").astype(int) - image)
        assert difference.mean() < 6
        assert np.array_equal(np.array(Image.open(path)), mask)


def test_frames_are_shown_at_five_per_second(folder: Path) -> None:
    assert [frame.time for frame in _decoded(folder / "tour.mp4")] == pytest.approx([k / 5 for k in range(7)])


def test_rendering_again_gives_the_same_bytes_and_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    write_drive("tour", LEGS, tmp_path, tmp_path / "truth", workers=1)
    write_drive("tour", LEGS, tmp_path, tmp_path / "truth", workers=1)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert all((tmp_path / file).read_bytes() == (folder / file).read_bytes() for file in files)


def test_the_shipped_drives_have_the_promised_length_and_many_streets() -> None:
    for legs in DRIVES.values():
        assert sum(leg.kind == "street" for leg in legs) >= len(legs) // 4
    assert sum(leg.frames for leg in DRIVES["drive"]) == 360
    assert sum(leg.frames for leg in DRIVES["test_drive"]) == 160


def test_a_drive_that_was_rendered_is_kept_for_the_copies_of_experiments(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WILDSEG_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert restore_or_write("tour", LEGS, tmp_path / "a", tmp_path / "a/truth", workers=1) == (7, False)
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setattr(drive, "write_drive", None)  # whoever renders again fails
    assert restore_or_write("tour", LEGS, copy / "b", copy / "b/truth", workers=1) == (7, True)
    written = {path.relative_to(copy / "b"): path.read_bytes() for path in (copy / "b").rglob("*") if path.is_file()}
    assert written == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(written) == 8


def test_another_drive_or_none_kept_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WILDSEG_CACHE", raising=False)
    assert restore_or_write("tour", LEGS[1:], tmp_path / "a", tmp_path / "a/truth", workers=1) == (3, False)
    monkeypatch.setenv("WILDSEG_CACHE", "off")
    assert restore_or_write("tour", LEGS[1:], tmp_path / "a", tmp_path / "a/truth", workers=1) == (3, False)
