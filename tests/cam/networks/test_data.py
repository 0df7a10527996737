"""Batches of map networks: a step's batch is known by its number, and image, saliency and labels belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from wildseg.cam.networks.data import LabelledImages, MapBatches, resized
from wildseg.cam.networks.objective import CropConfig
from wildseg.core.errors import DataError
from wildseg.encoders.cnn.normalisation import Normalisation

NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
LABELS = np.eye(4, 3, dtype=bool)


def image(name: str) -> np.ndarray:
    return np.random.default_rng(int(name)).integers(0, 256, (20, 30, 3), np.uint8)


def saliency(name: str, pixels: np.ndarray) -> np.ndarray | None:
    return None if name == "3" else (pixels[..., 0] > 127).astype(np.float32)


def batches(crops: CropConfig, seed: int = 0) -> MapBatches:
    return MapBatches(LabelledImages([*"0123"], LABELS, image, saliency), crops, NORM, seed)


def test_a_batch_is_known_by_its_seed_and_step_and_leaves_the_generator_alone() -> None:
    crops = CropConfig(16, 3, "long", (24, 40), 0.5, (0.3, 0.3, 0.3, 0.1), saliency=True)
    forwards = [batches(crops)[step] for step in range(4)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = batches(crops)
    for step in (3, 1, 0, 2):
        for name, value in again[step].items():
            assert torch.equal(value, forwards[step][name]), name
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(batches(crops, 1)[0]["image"], forwards[0]["image"])


def test_every_frame_comes_once_a_turn_with_its_own_labels() -> None:
    made = batches(CropConfig(16, 2))
    drawn = [made[step] for step in range(4)]
    for first, second in (drawn[:2], drawn[2:]):
        assert sorted([*first["index"].tolist(), *second["index"].tolist()]) == [0, 1, 2, 3]
    for batch in drawn:
        assert batch["labels"].dtype == torch.float32
        assert torch.equal(batch["labels"], torch.from_numpy(LABELS[batch["index"]].astype(np.float32)))
    assert set(drawn[0]) == {"image", "labels", "index"}


def test_a_crop_of_the_frames_own_size_is_the_normalised_frame_and_what_sticks_out_is_zero() -> None:
    batch = batches(CropConfig(30, 4, "long", (30, 30), 0.0))[0]
    for number, pixels in zip(batch["index"].tolist(), batch["image"], strict=True):
        expected = (torch.from_numpy(image(str(number))).permute(2, 0, 1) / 255 - 0.5) / 0.25
        rows = pixels.abs().sum((0, 2)).nonzero().flatten()
        assert len(rows) == 20  # of 30: the frame lies somewhere inside
        assert torch.equal(rows, torch.arange(rows[0], rows[0] + 20))
        torch.testing.assert_close(pixels[:, rows], expected)


def test_a_mirrored_crop_is_the_mirrored_frame() -> None:
    plain = batches(CropConfig(20, 4, "short", (20, 20), 0.0))[0]
    flipped = batches(CropConfig(20, 4, "short", (20, 20), 1.0))[0]
    for number in range(4):
        place = plain["index"].tolist().index(number)
        expected = (torch.from_numpy(image(str(number))).permute(2, 0, 1) / 255 - 0.5) / 0.25
        windows = expected.flip(2).unfold(2, 20, 1)  # (3, 20, places, 20)
        found = flipped["image"][place]
        assert any(torch.allclose(windows[:, :, left], found, atol=1e-5) for left in range(windows.shape[2]))


def test_saliency_is_cut_as_the_image_is() -> None:
    batch = batches(CropConfig(14, 4, "short", (20, 20), 0.5, saliency=True))[0]
    assert batch["has_saliency"].tolist() == [number != 3 for number in batch["index"].tolist()]
    for pixels, shape, has in zip(batch["image"], batch["saliency"], batch["has_saliency"], strict=True):
        red = ((pixels[0] * 0.25 + 0.5) * 255).round()
        assert torch.equal(shape[0], (red > 127).float() if has else torch.zeros(14, 14))


def test_saliency_of_another_size_is_one_line() -> None:
    wrong = LabelledImages(["7"], LABELS[:1], image, lambda _name, _image: np.zeros((30, 20), np.float32))
    with pytest.raises(DataError, match=r"^the saliency of 7: expected the size of its frame, 30x20, found 20x30$"):
        wrong.image(0)


def test_the_jitter_and_the_size_are_drawn_anew() -> None:
    one = MapBatches(LabelledImages(["1"], LABELS[:1], image), CropConfig(16, 4, "long", (16, 60)), NORM, 0)[0]
    low = [functional.avg_pool2d(crop[None], 4) for crop in one["image"]]
    assert not any(torch.allclose(low[0], other) for other in low[1:])


@pytest.mark.parametrize(
    ("resize", "length", "expected"), [("long", 60, (40, 60)), ("short", 10, (10, 15)), ("long", 1, (1, 1))]
)
def test_the_chosen_side_is_resized(resize: str, length: int, expected: tuple[int, int]) -> None:
    assert resized((20, 30), CropConfig(8, 1, resize), length) == expected  # type: ignore[arg-type]
