"""Only what is new is computed, and the outputs are those of a run that computed everything."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from tests.pipeline.conftest import Project, served, stages_run

pytestmark = pytest.mark.slow


def add_photos(project: Project, count: int) -> None:
    """Put photos beside the video: frames of it, mirrored."""
    frames = sorted((project.folder / "data/frames").glob("*.jpg"))[:count]
    for number, frame in enumerate(frames):
        with Image.open(frame) as image:
            mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mirrored.save(project.folder / "data/raw/mini" / f"photo_{number}.png")
    project.dvc("add", "--quiet", "data/raw/mini")


def test_only_new_frames_are_computed_and_the_bytes_are_those_of_a_clean_run(project: Project) -> None:
    frames = count(project, "frames", "jpg")
    add_photos(project, 2)
    output = project.dvc("repro", "crf")
    assert stages_run(output) == ["extract", "label", "cam", "crf"]
    assert served(output) == dict.fromkeys(("label", "cam", "crf"), (frames + 2, frames))
    added = project.digests()

    # One that is removed costs nothing, and leaves nothing.
    photo = project.folder / "data/raw/mini/photo_1.png"
    content = photo.read_bytes()
    photo.unlink()
    project.dvc("add", "--quiet", "data/raw/mini")
    left = frames + 1
    assert served(project.dvc("repro", "crf")) == dict.fromkeys(("label", "cam", "crf"), (left, left))
    for folder, suffix in (("frames", "jpg"), ("cams", "npz"), ("masks", "png"), ("masks/confidence", "png")):
        assert count(project, folder, suffix) == left

    photo.write_bytes(content)
    project.dvc("add", "--quiet", "data/raw/mini")
    shutil.rmtree(project.folder / ".wildseg" / "cache")
    clean = project.dvc("repro", "--force", "--no-run-cache", "crf", WILDSEG_CACHE="off")
    assert served(clean) == dict.fromkeys(("label", "cam", "crf"), (frames + 2, 0))
    assert project.digests() == added


def count(project: Project, folder: str, suffix: str) -> int:
    return len(list((project.folder / "data" / folder).glob(f"*.{suffix}")))


def test_a_corrected_label_costs_one_frame_and_the_masks_of_its_neighbours(project: Project) -> None:
    frames = sorted(path.stem for path in (project.folder / "data/frames").glob("*.jpg"))
    (project.folder / "data/labels/overrides.csv").write_text(f'Frame,Labels\n{frames[0]},"sky"\n')
    output = served(project.dvc("repro", "crf"))
    assert output["label"] == (len(frames), len(frames))  # what the model said is known; the person decides afterwards
    assert output["cam"] == (len(frames), len(frames) - 1)
    # The first of a video, with two neighbours after it that take part in its mask, as it does in theirs.
    assert output["crf"] == (len(frames), len(frames) - 3)
