"""CLIP-ES as published, written out step by step with torch's own attention and OpenCV's contours, beside ours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.cam.configs import by_caa, cam_config
from tests.encoders.models import noise, random_clip
from wildseg.cam.engine import activation_maps
from wildseg.encoders.clip import Clip, resize
from wildseg.methods.cam import softmax_gradcam

PUBLISHED = {"competitors": "present", "pool": "patches", "target": "probability", "normalise_twice": True}
SIZES = [(64, 64), (53, 71), (90, 130)]  # the native one, and some that are no multiple of a patch
FOREGROUND = 4


def sharp(folder: Path, kind: str) -> Clip:
    """Return a random model whose attention looks somewhere: what is flat refines to rounding errors."""
    model = random_clip(folder, kind)
    for block in model.network.visual.transformer.resblocks:
        block.attn.in_proj_weight.data[:64] *= 4
    return model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return sharp(tmp_path_factory.mktemp("es"), "vit-quickgelu")


@pytest.fixture(scope="module")
def clip_of_ten(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return sharp(tmp_path_factory.mktemp("ten"), "ten-blocks")


@pytest.fixture(scope="module")
def texts() -> Tensor:
    return F.normalize(torch.randn(7, 16, generator=torch.Generator().manual_seed(6)), dim=-1)


def stretched(maps: np.ndarray) -> np.ndarray:
    maps = maps - maps.min()
    return maps / (1e-7 + maps.max())


def boxed(scores: np.ndarray, share: float) -> np.ndarray:
    """Return the union of the bounding rectangles of all contours, which end before the last row and column."""
    grey = (scores * 255).astype(np.uint8)
    _, binary = cv2.threshold(grey, int(share * grey.max()), 255, cv2.THRESH_BINARY)
    mask = np.zeros(grey.shape, np.float32)
    for contour in cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]:
        x, y, width, height = cv2.boundingRect(contour)
        mask[y : min(y + height, len(mask) - 1), x : min(x + width, mask.shape[1] - 1)] = 1
    return mask


def published(clip: Clip, image: np.ndarray, texts: Tensor, present: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return maps (K, h, w) and refined ones; one class after the other, every matrix written out."""
    visual, patch = clip.network.visual, 16
    height, width = (-(-side // patch) for side in image.shape[:2])
    pixels = clip.pixels([resize(image, (height * patch, width * patch))])
    own = texts[[*present, *range(FOREGROUND, len(texts))]]
    with torch.no_grad():
        tokens = visual.conv1(pixels).flatten(2).transpose(1, 2)
        table = visual.positional_embedding
        cells = F.interpolate(table[1:].T.reshape(1, -1, 4, 4), (height, width), mode="bilinear", align_corners=False)
        table = torch.cat([table[:1], cells.flatten(2)[0].T]).half().float()
        tokens = visual.ln_pre(torch.cat([visual.class_embedding.expand(1, 1, -1), tokens], 1) + table)
        attention = []
        for block in visual.transformer.resblocks[:-1]:
            normed = block.ln_1(tokens)
            mixed, weights = block.attn(normed, normed, normed, need_weights=True)
            attention.append(weights[0, 1:, 1:])
            tokens = tokens + mixed
            tokens = tokens + block.mlp(block.ln_2(tokens))
    last, maps = visual.transformer.resblocks[-1], []
    for number in range(len(present)):
        leaf = last.ln_1(tokens).detach().requires_grad_()
        mixed, weights = last.attn(leaf, leaf, leaf, need_weights=True)
        after = tokens + mixed
        after = after + last.mlp(last.ln_2(after))
        feature = F.normalize(visual.ln_post(after)[:, 1:].mean(1) @ visual.proj, dim=-1)
        probability = (clip.scale * feature @ own.T).softmax(-1)[0, number]
        (gradient,) = torch.autograd.grad(probability, leaf)
        raw = (gradient[0, 1:].mean(0) * leaf.detach()[0, 1:]).sum(-1).relu().reshape(height, width).numpy()
        maps.append(stretched(stretched(raw)))
    mean = torch.stack([*attention, weights[0, 1:, 1:].detach()])[-8:].mean(0).numpy().astype(np.float64)
    for _ in range(3):
        mean = mean / mean.sum(0, keepdims=True)
        mean = mean / mean.sum(1, keepdims=True)
    square = np.linalg.matrix_power((mean + mean.T) / 2, 2)
    refined = [stretched((square * boxed(m, 0.4).reshape(1, -1)) @ m.reshape(-1)).reshape(m.shape) for m in maps]
    return np.stack(maps), np.stack(refined)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("present", [[2], [0, 3], [3, 1, 0]])
def test_maps_and_refined_maps_are_those_of_the_published_procedure(
    size: tuple[int, int], present: list[int], clip: Clip, texts: Tensor
) -> None:
    image = noise(size)
    maps, refined = published(clip, image, texts, present)
    plain = cam_config(softmax_gradcam, PUBLISHED, pos_embed_interpolation="bilinear_half")
    recipe = cam_config(
        softmax_gradcam,
        PUBLISHED,
        by_caa(exclusive_box_ends=True),
        pos_embed_interpolation="bilinear_half",
    )
    assert maps.std((1, 2)).min() > 0.05
    assert refined.std((1, 2)).min() > 0.05
    found = activation_maps(clip, image, texts, present, FOREGROUND, plain)
    np.testing.assert_allclose(found, maps, atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        activation_maps(clip, image, texts, present, FOREGROUND, recipe), refined, atol=1e-4, rtol=0
    )


def test_of_more_blocks_than_eight_the_last_eight_are_averaged(clip_of_ten: Clip, texts: Tensor) -> None:
    image = noise((53, 71))
    _, refined = published(clip_of_ten, image, texts, [0, 3])
    recipe = cam_config(
        softmax_gradcam,
        PUBLISHED,
        by_caa(exclusive_box_ends=True),
        pos_embed_interpolation="bilinear_half",
    )
    found = activation_maps(clip_of_ten, image, texts, [0, 3], FOREGROUND, recipe)
    np.testing.assert_allclose(found, refined, atol=1e-4, rtol=0)
    all_of_them = cam_config(
        softmax_gradcam,
        PUBLISHED,
        by_caa(layers=10, exclusive_box_ends=True),
        pos_embed_interpolation="bilinear_half",
    )
    assert abs(activation_maps(clip_of_ten, image, texts, [0, 3], FOREGROUND, all_of_them) - refined).max() > 1e-3


def test_at_the_native_size_default_maps_differ_by_the_rounding_of_positions_alone(clip: Clip, texts: Tensor) -> None:
    image = noise((64, 64))
    maps, _ = published(clip, image, texts, [0, 3])
    found = activation_maps(clip, image, texts, [0, 3], FOREGROUND, cam_config(softmax_gradcam))
    np.testing.assert_allclose(found, maps, atol=1e-2, rtol=0)
