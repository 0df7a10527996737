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


def test_new_frames_alone_are_computed_and_the_bytes_are_those_of_a_clean_run(project: Project) -> None:
    frames = len(list((project.folder / "data/frames").glob("*.jpg")))
    add_photos(project, 2)
    output = project.dvc("repro", "crf")
    assert stages_run(output) == ["extract", "label", "cam", "crf"]
    assert served(output) == dict.fromkeys(("label", "cam", "crf"), (frames + 2, frames))
    incremental = project.digests()

    shutil.rmtree(project.folder / ".wildseg")
    clean = project.dvc("repro", "--force", "--no-run-cache", "crf", WILDSEG_CACHE="off")
    assert served(clean) == dict.fromkeys(("label", "cam", "crf"), (frames + 2, 0))
    assert project.digests() == incremental


def test_a_removed_frame_costs_nothing_and_leaves_nothing(project: Project) -> None:
    add_photos(project, 3)
    project.dvc("repro", "crf")
    (project.folder / "data/raw/mini/photo_2.png").unlink()
    project.dvc("add", "--quiet", "data/raw/mini")
    frames = len(list((project.folder / "data/frames").glob("*.jpg"))) - 1
    assert served(project.dvc("repro", "crf")) == dict.fromkeys(("label", "cam", "crf"), (frames, frames))
    for folder, suffix in (("frames", "jpg"), ("cams", "npz"), ("masks", "png"), ("masks/confidence", "png")):
        assert len(list((project.folder / "data" / folder).glob(f"*.{suffix}"))) == frames


def test_a_corrected_label_costs_one_frame(project: Project) -> None:
    frames = sorted(path.stem for path in (project.folder / "data/frames").glob("*.jpg"))
    (project.folder / "data/labels/overrides.csv").write_text(f'Frame,Labels\n{frames[0]},"sky"\n')
    output = served(project.dvc("repro", "crf"))
    assert output["label"] == (len(frames), len(frames))  # what the model said is known; the person decides afterwards
    assert output["cam"] == output["crf"] == (len(frames), len(frames) - 1)
