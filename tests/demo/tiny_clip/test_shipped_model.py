"""The weights in git: a stock open_clip model that knows the rendered world."""

from pathlib import Path

import cv2
import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open

from wildseg_demo.tiny_clip.dataset import PATCH
from wildseg_demo.tiny_clip.evaluate import class_vectors, tile_scores
from wildseg_demo.tiny_clip.model import NAME, load_model
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.world import HEIGHT, WIDTH, build_world

FOLDER = Path(__file__).parents[3] / "models" / "tiny_clip"
WEIGHTS = FOLDER / "model.safetensors"


def test_the_file_is_small_and_in_half_precision() -> None:
    assert WEIGHTS.stat().st_size < 6_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_open_clip_loads_it_like_any_other_model() -> None:
    open_clip.add_model_config(FOLDER / f"{NAME}.json")
    model = open_clip.create_model(NAME, pretrained=str(WEIGHTS))
    assert tuple(model.visual.image_size) == (168, 224)
    ours, _ = load_model(FOLDER / f"{NAME}.json", WEIGHTS)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("shown", "not_shown"), [(Surface.SKY, Surface.LAWN), (Surface.LAWN, Surface.SKY)], ids=["sky", "lawn"]
)
def test_a_picture_of_nothing_but_sky_and_one_of_nothing_but_lawn_are_told_apart(
    shown: Surface, not_shown: Surface
) -> None:
    model, tokenizer = load_model(FOLDER / f"{NAME}.json", WEIGHTS)
    scores = tile_scores(model, class_vectors(model, tokenizer), _filled_by(shown)[None])[0]
    assert scores[shown - 1] > 0.8
    assert scores[not_shown - 1] < 0.2


def _filled_by(surface: Surface) -> np.ndarray:
    """A piece of a frame that shows nothing else, enlarged to (HEIGHT, WIDTH, 3)."""
    height, width = HEIGHT // 6, WIDTH // 6
    for seed in range(50):
        image, mask = build_world(seed).render(1.0)
        for top in range(0, HEIGHT - height + 1, PATCH):
            for left in range(0, WIDTH - width + 1, PATCH):
                window = slice(top, top + height), slice(left, left + width)
                if (mask[window] == surface).all():
                    return cv2.resize(image[window], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    raise AssertionError(f"no frame shows enough {surface.name}")
