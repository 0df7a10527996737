"""What a large set is made of: videos of tiny frames that all differ, labels for them, and a CLIP of one layer."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import av
import numpy as np

SIDE = 32  # pixels
CELL = 8  # pixels of one colour, of which a frame has 16
CLASSES = ("sky", "tree", "cement_road", "lawn")
MICRO = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 8, "heads": 1, "layers": 1},
}


def add_video(project: Path, name: str, seed: int, frames: int) -> None:
    """Write ``raw/<name>.mkv`` without loss, and a line for each of its frames in data/labels/given.csv."""
    chance = np.random.default_rng(seed)
    with av.open(str(project / "raw" / f"{name}.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            cells = chance.integers(0, 256, (SIDE // CELL, SIDE // CELL, 3), np.uint8)
            image = cells.repeat(CELL, 0).repeat(CELL, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    with (project / "data" / "labels" / "given.csv").open("a") as given:
        for index in range(frames):
            frame = f"{name}_{index:06d}"
            present = [CLASSES[zlib.crc32(frame.encode()) % 4], CLASSES[zlib.crc32(frame[::-1].encode()) % 4]]
            given.write(f'{frame},"{",".join(dict.fromkeys(present))}"\n')


def save_clip(weights: Path) -> None:
    """Write a CLIP of random weights, with its config beside it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = weights.with_suffix(".json")
    config.write_text(json.dumps(MICRO))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    network = open_clip.create_model(weights.stem)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
