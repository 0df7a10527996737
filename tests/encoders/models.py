"""Small random models of the CLIP family, saved as a person would have them: weights with a config beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from wildseg.encoders import clip
from wildseg.encoders.tokenizer import cut_tokenizer  # noqa: F401 - every test here needs it to be there

TEXT = {"context_length": 32, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1}


def _config(vision: dict, **top: object) -> dict:
    small = {"image_size": 64, "layers": 3, "width": 32, "head_width": 8, "patch_size": 16}
    return {"embed_dim": 16, "vision_cfg": {**small, **vision}, "text_cfg": TEXT, **top}


CONFIGS = {
    # the embedded model's kind: not square, class token, sigmoid
    "tiny": _config({"image_size": [48, 64], "patch_size": 8}, init_logit_scale=2.3, init_logit_bias=-3.0),
    "vit": _config({}),
    "vit-quickgelu": _config({}, quick_gelu=True),
    "vit-scaled": _config({"ls_init_value": 0.1, "layers": 2}),
    "avg": _config({"pool_type": "avg"}),
    "ten-blocks": _config({"layers": 10}, quick_gelu=True),
    "patch14": _config({"image_size": 56, "patch_size": 14}),
    "patch32": _config({"patch_size": 32}),
    "clipa": _config({"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}),
}

# Not read block by block, and asked for maps all the same.
RESNET = _config({"layers": [1, 1, 1, 1], "width": 8, "image_size": 96})


def save(folder: Path, kind: str, *, half: bool = False, seed: int = 0, captions: str = "") -> tuple[str, str]:
    """Write a random model of a kind; return (its name, its file of weights) as they would stand in params.yaml."""
    name = f"test-{kind}-{folder.name}"
    config = folder / f"{name}.json"
    config.write_text(json.dumps(RESNET if kind == "resnet" else CONFIGS[kind]))
    torch.manual_seed(seed)
    open_clip.add_model_config(config)
    network = open_clip.create_model(name)
    # Stored attention starts at zero biases and unit norms; a test should not pass because of that.
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    state = {key: value.half() if half else value for key, value in network.state_dict().items()}
    metadata = {"captions": captions} if captions else None
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{name}.safetensors", metadata)
    return name, str(folder / f"{name}.safetensors")


def random_clip(folder: Path, kind: str, captions: str = "") -> clip.Clip:
    """Save a random model and load it again."""
    return clip.load(*save(folder, kind, captions=captions))


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return an image of smooth coloured blobs: (H, W, 3) uint8."""
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))
