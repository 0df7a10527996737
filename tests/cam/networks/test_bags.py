"""Tiles as bags: their loss against sums over pixels, what a crop shows of them, and that they tell classes apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.encoders.models import noise
from wildseg.cam.networks import bags
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.data import LabelledImages, MapBatches
from wildseg.cam.networks.objective import CropConfig
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig

ONE_TO_ONE = torch.ones(3)
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def batch(tiles: torch.Tensor, window: torch.Tensor, positive: torch.Tensor = ONE_TO_ONE) -> dict[str, torch.Tensor]:
    return {"tiles": tiles.float(), "window": window, "positive": positive}


def test_weights_of_positives_are_negatives_a_positive_within_limits() -> None:
    tiles = np.zeros((5, 2, 2, 4), bool)
    tiles[:4, ..., 1] = True  # 16 of 20
    tiles[0, 0, 0, 2] = True  # 1 of 20
    tiles[..., 3] = True
    np.testing.assert_allclose(bags.positive_weights(tiles), [10.0, 0.25, 10.0, 0.001])


def test_one_tile_all_of_it_in_view_is_the_loss_of_the_frame() -> None:
    maps, labels = torch.randn(2, 3, 5, 7), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    found = bags.bag_loss(maps, batch(labels[:, None, None], WHOLE.expand(2, -1)))
    expected = F.binary_cross_entropy_with_logits(maps.mean((2, 3)), labels)
    torch.testing.assert_close(found, expected)


def test_the_loss_of_a_crop_is_that_of_pixel_sums_over_the_tiles_that_it_shows() -> None:
    torch.manual_seed(0)
    # A frame of 24 x 48 pixels with 2 x 3 tiles; a crop of 24 x 24 pixels at row -4, column 20 with 6 x 6 cells.
    maps = torch.randn(1, 3, 6, 6)
    tiles = torch.rand(1, 2, 3, 3) > 0.5
    positive = torch.tensor([0.5, 1.0, 3.0])
    window = torch.tensor([[-4 / 24, 20 / 48, 20 / 24, 44 / 48]])
    sums, pixels = np.zeros((2, 3, 3)), np.zeros((2, 3))
    for y in range(24):
        for x in range(24):
            row, column = y - 4, x + 20
            if 0 <= row < 24 and 0 <= column < 48:
                sums[row // 12, column // 16] += maps[0, :, y // 4, x // 4].double().numpy()
                pixels[row // 12, column // 16] += 1
    assert pixels.min() == 0  # the first column is not in view
    total = 0.0
    for i, j, k in np.ndindex(2, 3, 3):
        if pixels[i, j]:
            chance = 1 / (1 + math.exp(-sums[i, j, k] / pixels[i, j]))
            term = -float(positive[k]) * math.log(chance) if tiles[0, i, j, k] else -math.log(1 - chance)
            total += pixels[i, j] * term / 3
    found = bags.bag_loss(maps, batch(tiles, window, positive))
    assert found.item() == pytest.approx(total / pixels.sum(), rel=1e-5)


def test_what_a_crop_shows_are_the_classes_of_the_tiles_that_it_overlaps() -> None:
    tiles = torch.zeros(2, 1, 4, 4)
    for column in range(4):
        tiles[:, 0, column, column] = 1
    windows = torch.tensor([[0.0, 0.3, 1.0, 0.7], [-0.5, 0.75, 0.5, 1.5]])
    assert bags.in_view(tiles, windows).tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


def test_patches_of_a_crop_lie_in_the_frame_where_their_pixels_do() -> None:
    given = batch(torch.rand(2, 2, 2, 3) > 0.5, torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, -0.25, 1.0, 0.75]]))
    where = torch.tensor([[[0, 0], [8, 4]], [[0, 0], [8, 4]]])
    found = bags.of_patches({**given, "image": torch.zeros(2, 3, 16, 16)}, where, 8)
    expected = [[0, 0, 0.5, 0.5], [0.5, 0.25, 1, 0.75], [0.5, -0.25, 0.75, 0.25], [0.75, 0, 1, 0.5]]
    torch.testing.assert_close(found["window"], torch.tensor(expected))
    assert torch.equal(found["tiles"], given["tiles"][[0, 0, 1, 1]])


def test_a_batch_has_the_tiles_of_its_crops_mirrored_with_them() -> None:
    # In a frame whose left half is black and whose right half is white, what is labelled is what is seen.
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 255
    tiles = np.zeros((1, 1, 2, 2), bool)
    tiles[0, 0, 0, 0] = tiles[0, 0, 1, 1] = True  # the first class is black, the second white
    images = LabelledImages(["a"], np.ones((1, 2), bool), lambda _: picture.copy(), tiles=tiles)
    batches = MapBatches(images, CropConfig(16, 8, "long", (32, 48)), Normalisation((0.5,) * 3, (0.5,) * 3), 0)
    mirrored = set()
    for step in range(4):
        made = batches[step]
        assert torch.equal(made["positive"], torch.ones(2))
        for image, own, window, labels in zip(
            made["image"], made["tiles"], made["window"], made["labels"], strict=True
        ):
            mirrored.add(own[0, 0, 0].item())
            white = 1 if own[0, 1, 1] else 0  # the side that is labelled white
            centres = window[1] + (window[3] - window[1]) * (torch.arange(16) + 0.5) / 16
            clear = (centres - 0.5).abs() > 0.05
            assert torch.equal((image[0, 0] > 0)[clear], ((centres > 0.5) == bool(white))[clear])
            seen = [bool((image < 0).any()), bool((image > 0).any())]
            if (window[1] - 0.5).abs() > 0.05 and (window[3] - 0.5).abs() > 0.05:
                assert labels.bool().tolist() == seen
    assert mirrored == {0.0, 1.0}


def test_without_labels_of_tiles_batches_are_as_they_were() -> None:
    images = LabelledImages(["0", "1"], np.eye(2, dtype=bool), lambda name: noise((24, 30), int(name)))
    made = MapBatches(images, CropConfig(16, 4, "long", (20, 30)), Normalisation(), 0)[0]
    assert set(made) == {"image", "labels", "index"}
    tiled = LabelledImages(
        ["0", "1"], images.labels, lambda name: noise((24, 30), int(name)), tiles=np.ones((2, 2, 2, 2), bool)
    )
    assert torch.equal(
        made["image"], MapBatches(tiled, CropConfig(16, 4, "long", (20, 30)), Normalisation(), 0)[0]["image"]
    )


class Colours(torch.nn.Module):
    """A backbone whose features are the mean colours of cells of 4 x 4 pixels."""

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [F.avg_pool2d(pixels, 4)]


@pytest.mark.parametrize(("grid", "separates"), [((1, 1), False), ((2, 2), True)])
def test_where_every_frame_shows_all_classes_only_tiles_tell_them_apart(grid: tuple[int, int], separates: bool) -> None:
    # Frames of red above and green below: as labels of frames, both classes are in all of them.
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :, 0] = picture[8:, :, 1] = 255
    tiles = np.ones((1, 1, 1, 2), bool)
    if grid == (2, 2):
        tiles = np.zeros((1, 2, 2, 2), bool)
        tiles[0, 0, :, 0] = tiles[0, 1, :, 1] = True
    torch.manual_seed(0)
    network = ClassifierNet(Colours(), 3, 2)
    objective = ClassifierObjective(
        network, Normalisation(), OptimConfig(1, 0.1), CropConfig(16, 1), 4, TrainContext(), frozen=True
    )
    images = LabelledImages(["a"], np.ones((1, 2), bool), lambda _: picture.copy(), tiles=tiles)
    made = MapBatches(images, CropConfig(16, 1, "long", (16, 16), 0.0), Normalisation(), 0)[0]
    optimiser = torch.optim.Adam(network.classifier.parameters(), 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        objective.loss(made)["classification"].backward()
        optimiser.step()
    maps = network.class_maps(made["image"])[0]
    apart = bool((maps[0, :2] > maps[1, :2]).all() and (maps[0, 2:] < maps[1, 2:]).all())
    assert apart == separates
