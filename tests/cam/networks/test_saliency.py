"""Where saliency comes from: files of a folder, an estimate, or nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wildseg.cam.networks.boundary_connectivity import boundary_saliency
from wildseg.cam.networks.saliency import SaliencyFolder, saliency_of
from wildseg.core.errors import DataError

KEY = "cam.options.l2g.saliency"
IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
LEVELS = np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose folder `sal` holds the saliency of one frame."""
    (tmp_path / "sal").mkdir()
    Image.fromarray(LEVELS).save(tmp_path / "sal" / "drive_000007.png")
    return tmp_path


def test_null_is_nowhere(tmp_path: Path) -> None:
    assert saliency_of(None, tmp_path, KEY) is None


def test_estimate_is_boundary_connectivity_whatever_the_frame(tmp_path: Path) -> None:
    found = saliency_of("estimate", tmp_path, KEY)
    assert found is not None
    np.testing.assert_array_equal(found("a", IMAGE), boundary_saliency(IMAGE))
    np.testing.assert_array_equal(found("b", IMAGE), boundary_saliency(IMAGE))


def test_a_file_gives_its_levels_and_a_frame_without_one_none(folder: Path) -> None:
    found = saliency_of("sal", folder, KEY)
    assert found is not None
    saliency = found("drive_000007", IMAGE)
    assert saliency is not None
    assert saliency.dtype == np.float32
    np.testing.assert_array_equal(saliency, LEVELS / np.float32(255))
    assert found("drive_000008", IMAGE) is None


def test_another_size_than_the_frame_is_one_line(folder: Path) -> None:
    found = saliency_of("sal", folder, KEY)
    assert found is not None
    with pytest.raises(DataError, match=r"^\S*drive_000007.png: expected saliency of the size of its frame, 40x20, "
                                        "found 40x30"):  # fmt: skip
        found("drive_000007", IMAGE[:20])


@pytest.mark.parametrize("mode", ["RGB", "I;16", "1", "P", "LA"])
def test_a_picture_of_another_kind_is_one_line(mode: str, folder: Path) -> None:
    path = folder / "sal" / "drive_000007.png"
    image = Image.fromarray(LEVELS.astype(np.uint16)) if mode == "I;16" else Image.fromarray(LEVELS).convert(mode)
    image.save(path)
    found = saliency_of("sal", folder, KEY)
    assert found is not None
    with pytest.raises(DataError, match=r"^\S*drive_000007.png: expected an 8-bit grey PNG, found mode "):
        found("drive_000007", IMAGE)


@pytest.mark.parametrize("content", [b"", b"no picture", b"half"])
def test_a_broken_file_is_one_line(content: bytes, folder: Path) -> None:
    path = folder / "sal" / "drive_000007.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    found = saliency_of("sal", folder, KEY)
    assert found is not None
    with pytest.raises(DataError, match=r"^\S*drive_000007.png: expected an 8-bit grey PNG \("):
        found("drive_000007", IMAGE)


def test_a_folder_that_is_none_or_empty_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{KEY}: expected a folder of saliency maps, 'estimate' or null; found no "):
        saliency_of("nowhere", tmp_path, KEY)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=f"^{KEY}: expected a file <frame>.png for each frame with saliency; found none"
    ):
        saliency_of("empty", tmp_path, KEY)


def test_the_files_of_some_frames_are_those_that_there_are(folder: Path) -> None:
    found = saliency_of("sal", folder, KEY)
    assert isinstance(found, SaliencyFolder)
    path = folder / "sal" / "drive_000007.png"
    assert found.files(["drive_000000", "drive_000007"]) == [path]
    assert found.files([]) == []
    with pytest.raises(DataError, match=f"^{KEY}: expected names of frames, such as other.png; none of the files in "
                                        r".*sal has one \(drive_000007.png, ...\)$"):  # fmt: skip
        found.files(["other"])


def test_files_of_the_size_of_their_frames_pass_and_others_are_counted_in_one_line(folder: Path) -> None:
    found = saliency_of("sal", folder, KEY)
    assert isinstance(found, SaliencyFolder)
    found.check({"drive_000007": (30, 40), "drive_000008": (10, 10)})
    line = (rf"^{KEY}: expected saliency of the size of its frame; 1 of 1 files have another one: \S*drive_000007.png "
            "has 40x30 pixels and its frame 40x20; resize them, or remove them: ")  # fmt: skip
    with pytest.raises(DataError, match=line):
        found.check({"drive_000007": (20, 40)})
    with pytest.raises(DataError, match="expected names of frames, such as other.png"):
        found.check({"other": (30, 40)})
