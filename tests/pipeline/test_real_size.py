"""The main job at its real size: a ViT-B/16 from a local file, a 480x360 video, street classes; extract to eval.

The weights are random, so the numbers mean nothing; the sizes, names and files are those of real use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.pipeline.conftest import ROOT, Project, copy_tracked, merge, stages_run

pytestmark = pytest.mark.slow

STREET = {
    "sky": ["sky"],
    "building": ["building", "house"],
    "pole": ["pole", "column"],
    "road": ["road", "asphalt"],
    "pavement": ["pavement", "sidewalk"],
    "tree": ["tree", "bushes"],
    "sign": ["traffic sign"],
    "fence": ["fence"],
    "car": ["car", "vehicle"],
    "pedestrian": ["pedestrian", "person"],
    "bicyclist": ["bicyclist", "cyclist"],
}
SMALL_RUN = {
    "extract": {"fps": 1.0, "method": "uniform", "duplicate_bits": None},
    "label": {"fallback": "argmax", "options": {"clip": {"tiles": 1}}},
    "cam": {"scales": [1.0]},
    "train": {"steps": 2, "batch_size": 2, "crop": 64, "validate_every": 2},
    "eval": {"pictures": 1},
}


def test_a_video_of_your_own_with_a_real_size_clip_runs_from_extract_to_eval(
    tmp_path: Path, forks: Path | None
) -> None:
    project = Project(tmp_path / "project", forks)
    copy_tracked(project.folder)
    write_street_video(project.folder / "data/raw/mine.mp4")
    save_random_vit_b_16(tmp_path / "ViT-B-16-random.safetensors")
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL_RUN)
    params |= {"classes": STREET, "background": "auto"}
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.take_under_control("data/raw/mine.mp4", "My video, my classes")

    output = project.dvc(
        "exp", "run", "-S", "extract.source=data/raw/mine.mp4", "-S", "clip.model=ViT-B-16-quickgelu",
        "-S", f"clip.pretrained={tmp_path / 'ViT-B-16-random.safetensors'}",
    )  # fmt: skip

    assert stages_run(output)[-6:] == ["extract", "label", "cam", "crf", "train", "eval"]
    assert "world" not in stages_run(output), "the demo must not be rendered for somebody's own video"
    maps = next((project.folder / "data/cams").glob("*.npz"))
    with np.load(maps, allow_pickle=False) as archive:
        assert archive["maps"].shape[1:] == (80, 107)  # of propagate, for a frame of 360x480
    assert list((project.folder / "metrics/eval/pictures").glob("*.png"))
    assert '"miou": null' in (project.folder / "metrics/eval.json").read_text()


def write_street_video(path: Path) -> None:
    """Write four seconds of 480x360: grey below, blue above, a block that moves."""
    from wildseg_demo.world.video import open_video

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 40, (360, 480, 3), np.uint8)
    with open_video(path, (480, 360), 2) as append:
        for index in range(8):
            image = noise.copy()
            image[:180] += np.array([90, 140, 210], np.uint8)
            image[180:] += 90
            image[200:300, 45 * index : 45 * index + 80] = (150, 30, 30)
            append(image)


def save_random_vit_b_16(path: Path) -> None:
    """Save a ViT-B/16 CLIP with random weights as a local file, as a downloaded one would lie there."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None)
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, path)
