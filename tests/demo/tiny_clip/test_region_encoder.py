"""The training forward is the stock model's, restricted to boxes."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from wildseg_demo.tiny_clip.batch import normalise
from wildseg_demo.tiny_clip.model import NAME, new_model
from wildseg_demo.tiny_clip.region_encoder import encode_regions

CONFIG = Path(__file__).parents[3] / "models" / "tiny_clip" / f"{NAME}.json"
ROWS, COLUMNS = 21, 28


@pytest.fixture(scope="module")
def model() -> open_clip.CLIP:
    torch.manual_seed(0)
    return new_model(CONFIG)[0].eval()


@torch.no_grad()
def test_a_box_over_the_whole_grid_gives_what_encode_image_gives(model: open_clip.CLIP) -> None:
    images = torch.randn(2, 3, 168, 224)
    inside = torch.ones(2, 1, ROWS * COLUMNS, dtype=torch.bool)
    regions = encode_regions(model.visual, images, [(0, 0), (0, 0)], inside)
    assert torch.allclose(regions[:, 0], model.encode_image(images), atol=1e-4)


@torch.no_grad()
def test_the_last_block_looks_at_the_tokens_of_the_box_only(model: open_clip.CLIP) -> None:
    inside = torch.zeros(1, 2, 16, dtype=torch.bool)
    inside[0, 0, :4] = inside[0, 1, 4:] = True
    images = torch.randn(1, 3, 32, 32)
    ahead = model.visual.transformer.resblocks[:-1]
    model.visual.transformer.resblocks = torch.nn.ModuleList(model.visual.transformer.resblocks[-1:])
    changed = images.clone()
    changed[:, :, 8:] = 0  # every patch outside of the first box
    before, after = (encode_regions(model.visual, x, [(3, 5)], inside)[0] for x in (images, changed))
    model.visual.transformer.resblocks = torch.nn.ModuleList([*ahead, *model.visual.transformer.resblocks])
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-3)


@torch.no_grad()
def test_a_crop_uses_the_positions_of_its_place_on_the_grid(model: open_clip.CLIP) -> None:
    images, inside = torch.randn(1, 3, 32, 32), torch.ones(1, 1, 16, dtype=torch.bool)
    here, there, again = (encode_regions(model.visual, images, [corner], inside) for corner in ((0, 0), (9, 9), (0, 0)))
    assert torch.equal(here, again)
    assert not torch.allclose(here, there, atol=1e-4)


def test_images_are_normalised_like_those_of_any_open_clip_model() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 3)).astype(np.uint8)
    expected = (image[0] / 255 - np.array(open_clip.OPENAI_DATASET_MEAN)) / np.array(open_clip.OPENAI_DATASET_STD)
    assert np.allclose(normalise(image)[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)
