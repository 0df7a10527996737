"""Videos with masks: what a project holds afterwards, and that `extract` finds a truth for the frames it chooses."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from tests.stages.exchange.test_dataset_import import palette_mask, project, refused, wildseg  # noqa: F401

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.execution import params
from wildseg.execution.runtime import Runtime
from wildseg.stages import extract

ROAD = 4  # of CamVid's classes in params.yaml, from 1; in its masks 3


def video(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            pixels = noise.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def there(project: Path) -> Path:  # noqa: F811
    for name in ("drive 1", "drive#22"):
        (project / "there").mkdir(exist_ok=True)
        video(project / "there" / f"{name}.mp4", len(name))
        for index in (0, 5):
            palette_mask(project / f"there/{name}/truth/{index}.png", np.full((48, 64), 3), [(0, 0, 0)] * 4)
    return project / "there"


def imported(there: Path) -> tuple[str, list[Frame], dict[str, Path]]:
    """Import videos and extract their key frames: what was printed, the frames, and the truth of each."""
    answer = wildseg("camvid", str(there), "--set-classes", "--write-params")
    assert answer.exit_code == 0, answer.output
    extract.run(params.load(), Artifacts(), Runtime(device="cpu", workers=1))
    frames = Artifacts().load_frames()
    return answer.output, frames, Artifacts().find_truth(frames)


def test_frames_that_are_chosen_have_their_truth(there: Path, project: Path) -> None:  # noqa: F811
    output, _, found = imported(there)
    assert "2 videos, 4 truth masks" in output
    assert "extract.held_out=[drive_22]" in output
    assert {"drive_1_000000", "drive_22_000000"} <= set(found)
    names = params.load().classes.names
    assert set(Artifacts().read_truth(found["drive_22_000000"], names, (48, 64)).ids.ravel()) == {ROAD}


def test_videos_of_names_that_become_equal_keep_their_masks(there: Path, project: Path) -> None:  # noqa: F811
    video(there / "Drive_1.mp4", 9)
    palette_mask(there / "Drive_1/0.png", np.full((48, 64), 5), [(0, 0, 0)] * 6)
    video(there / "drive 1.avi.mov", 10)  # without masks
    output, frames, found = imported(there)
    assert "4 videos, 5 truth masks" in output
    assert "Drive_1.mp4: its name is that of another video, so it became Drive_1_2" in output
    assert {frame.source for frame in frames} == {"drive_1", "Drive_1_2", "drive_1_avi", "drive_22"}
    names = params.load().classes.names
    read = {name: Artifacts().read_truth(found[f"{name}_000000"], names, (48, 64)).ids[0, 0] - 1
            for name in ("drive_1", "Drive_1_2")}  # fmt: skip
    assert read == {"drive_1": 3, "Drive_1_2": 5}


def test_two_videos_that_would_share_their_masks_are_named(there: Path, project: Path) -> None:  # noqa: F811
    video(there / "drive 1.avi", 9)
    line = refused(project, "camvid", str(there), "--set-classes")
    assert "drive 1/truth: expected masks of one video, found drive 1.avi and drive 1.mp4; rename one" in line


def test_a_mistake_leaves_nothing(there: Path, project: Path) -> None:  # noqa: F811
    palette_mask(there / "drive#22/truth/5.png", np.full((48, 64), 77), [(0, 0, 0)] * 78)
    assert "77 in 3072 pixels of 1 masks, first 5.png" in refused(project, "camvid", str(there), "--set-classes")
    palette_mask(there / "drive#22/truth/5.png", np.full((48, 200), 3), [(0, 0, 0)] * 4)
    assert "5.png: expected the size of its frame, 64x48" in refused(project, "camvid", str(there), "--set-classes")
    (there / "drive#22.mp4").write_bytes(b"no video")
    assert "drive#22.mp4: expected a video, found no frame" in refused(project, "camvid", str(there), "--set-classes")
