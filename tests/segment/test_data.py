from collections import Counter

import numpy as np
import pytest
import torch

from wildseg.core.errors import DataError
from wildseg.segment.augment import augmentation
from wildseg.segment.data import Batches, Pairs
from wildseg.segment.supervision import Supervision, count_pixels
from wildseg.training.loader import stream
from wildseg.training.seeds import derive

SHADES = 10  # the first pixel of frame k is k * SHADES, so that a batch tells which frames are in it


def image(frame: str) -> np.ndarray:
    return np.full((12, 16, 3), int(frame) * SHADES, np.uint8)


def mask(frame: str) -> np.ndarray:
    return np.full((12, 16), int(frame), np.uint8)


def batches(number: int = 5, size: int = 4, seed: int = 0, colour: float = 0.0) -> Batches:
    pairs = Pairs([str(k) for k in range(number)], image, mask)
    return Batches(pairs, augmentation(8, (1.0, 1.0), 0.5, colour), size, seed)


def test_images_come_normalised_and_masks_as_ids() -> None:
    images, masks = batches()[0].values()
    assert images.shape == (4, 3, 8, 8)
    assert images.dtype == torch.float32
    assert masks.shape == (4, 8, 8)
    assert masks.dtype == torch.int64


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    forwards, backwards = batches(colour=0.5), batches(colour=0.5)
    first = [forwards[step] for step in range(4)]
    torch.manual_seed(99)
    second = [backwards[step] for step in (3, 2, 1, 0)][::-1]
    for one, same in zip(first, second, strict=True):
        assert torch.equal(one["image"], same["image"])
        assert torch.equal(one["mask"], same["mask"])
    assert not torch.equal(batches(seed=1, colour=0.5)[0]["image"], first[0]["image"])


def test_making_a_batch_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    batches(colour=0.5)[7]
    assert torch.equal(torch.rand(3), expected)


def test_every_frame_is_drawn_once_before_any_is_drawn_again() -> None:
    drawn = [int(ids[0, 0]) for step in range(5) for ids in batches(5, 4)[step]["mask"]]
    for turn in range(4):
        assert sorted(drawn[5 * turn : 5 * turn + 5]) == [0, 1, 2, 3, 4]
    assert drawn[:5] != drawn[5:10] or drawn[5:10] != drawn[10:15]


@pytest.mark.parametrize("sizes", [None, {str(k): (12, 16) for k in range(5)}])
def test_shares_of_a_batch_put_together_are_the_batch(sizes: dict[str, tuple[int, int]] | None) -> None:
    read: Counter[str] = Counter()

    def counting(frame: str) -> np.ndarray:
        read[frame] += 1
        return image(frame)

    transform = augmentation(8, (0.4, 2.0), 0.5, 0.5)
    whole = Batches(Pairs([str(k) for k in range(5)], image, mask), transform, 4, 0)
    for step in range(4):
        parts = []
        for share in (range(0, 1), range(1, 4)):
            pairs = Pairs([str(k) for k in range(5)], counting, mask, sizes=sizes)
            parts.append(Batches(pairs, transform, 4, 0, share)[step])
        assert torch.equal(torch.cat([part["image"] for part in parts]), whole[step]["image"])
        assert torch.equal(torch.cat([part["mask"] for part in parts]), whole[step]["mask"])
    if sizes:
        assert read.total() <= 4 * 4  # each image of a batch by one share; a size alone is no reason to read one


def test_worker_processes_make_the_same_batches() -> None:
    here = list(stream(batches(colour=0.5), 2, 5, workers=0))
    there = list(stream(batches(colour=0.5), 2, 5, workers=1))
    assert all(torch.equal(one[name], same[name]) for one, same in zip(here, there, strict=True) for name in one)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_batch_is_one_line_wherever_it_happens(workers: int) -> None:
    dataset = Batches(Pairs(["0"], image, wrong_size), augmentation(8, (1.0, 1.0), 0.5, 0.0), 2, 0)
    with pytest.raises(DataError) as caught:
        list(stream(dataset, 0, 1, workers))
    assert str(caught.value).startswith("the pseudo mask of 0: expected the size of its frame, 16x12, found 5x4")
    assert "\n" not in str(caught.value)


def wrong_size(frame: str) -> np.ndarray:
    return np.zeros((4, 5), np.uint8)


def test_frames_are_decoded_once_while_they_fit_and_memory_stays_flat_when_they_do_not() -> None:
    read: Counter[str] = Counter()

    def counting(frame: str) -> np.ndarray:
        read[frame] += 1
        return image(frame)

    one = image("0").nbytes + mask("0").nbytes
    pairs = Pairs(["0", "1", "2"], counting, mask, cache_bytes=2 * one)
    for index in (0, 1, 0, 1, 2, 1, 0):
        pairs[index]
    assert read == {"0": 2, "1": 1, "2": 1}
    assert len(pairs._cache) <= 2
    tiny = Pairs(["0"], counting, mask, cache_bytes=0)
    assert tiny[0][0].shape == (12, 16, 3)
    assert not tiny._cache


def test_pixels_are_counted_by_id_and_frame() -> None:
    masks = [("a", np.array([[1, 1, 255], [2, 255, 1]], np.uint8)), ("b", np.full((1, 2), 255, np.uint8))]
    counts = count_pixels(masks, [0, 1, 2])
    np.testing.assert_array_equal(counts["a"], [0, 3, 1])
    np.testing.assert_array_equal(counts["b"], [0, 0, 0])


@pytest.mark.parametrize(("ids", "strange"), [([0, 1, 2], 3), ([1, 2, 3], 0)])
def test_an_id_that_means_nothing_is_told(ids: list[int], strange: int) -> None:
    with pytest.raises(DataError, match=rf"mask of a: expected ids {ids[0]} to {ids[-1]} or 255, found \[{strange}\]"):
        count_pixels([("a", np.array([[1, strange]], np.uint8))], ids)


def test_scribbles_are_not_called_pseudo_masks() -> None:
    kind = Supervision("scribbles", "data/weak/dvc.yaml")
    with pytest.raises(
        DataError, match=r"the scribbles of a: .* found \[3\], .*; run 'dvc repro data/weak/dvc\.yaml'$"
    ):
        count_pixels([("a", np.array([[1, 3]], np.uint8))], [0, 1], kind)
    pairs = Pairs(["0"], image, lambda _: np.zeros((4, 5), np.uint8), kind=kind.name, made_by=kind.stage)
    with pytest.raises(DataError, match=r"the scribbles of 0: .* found 5x4; run 'dvc repro data/weak/dvc\.yaml'$"):
        pairs[0]


def test_seeds_differ_by_each_of_their_parts() -> None:
    seeds = [derive(0, "a", 0), derive(1, "a", 0), derive(0, "b", 0), derive(0, "a", 1), derive(0, "", 97)]
    assert len(set(seeds)) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(5, "x", 7) == derive(5, "x", 7)


def test_every_step_changes_its_images_otherwise() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    pairs = Pairs(["0"], lambda _: picture, mask)  # one frame, so that only what is drawn can differ
    drawn = Batches(pairs, augmentation(8, (0.5, 2.0), 0.5, 0.5), 1, 0)
    images = [drawn[step]["image"] for step in range(6)]
    assert all(not torch.equal(images[a], images[b]) for a in range(6) for b in range(a))
