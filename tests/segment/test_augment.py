import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from wildseg.encoders.cnn.imagenet import MEAN, STD
from wildseg.segment.augment import RandomWindow, augmentation, skip


def pair(height: int, width: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    # The mask tells each pixel's quarter, and the image's red shows the same.
    rows, columns = np.mgrid[:height, :width]
    mask = (1 + 2 * (rows >= height // 2) + (columns >= width // 2)).astype(np.uint8)
    image = np.stack([mask * 50, mask * 0, mask * 0 + 200])
    return tv_tensors.Image(torch.from_numpy(image.astype(np.uint8))), tv_tensors.Mask(torch.from_numpy(mask))


def test_a_window_of_the_frames_own_size_is_the_frame() -> None:
    image, mask = pair(32, 32)
    cut, labels = RandomWindow(32, (1.0, 1.0))(image, mask)
    assert torch.equal(cut, image)
    assert torch.equal(labels, mask)


@pytest.mark.parametrize("size", [(20, 60), (60, 20), (64, 64), (7, 7)])
def test_frame_and_mask_are_cut_alike_and_what_is_outside_is_grey_and_ignored(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    for _ in range(5):
        cut, labels = RandomWindow(24, (1.0, 1.0))(*pair(*size))
        outside = labels == 255
        assert torch.equal(cut[0][~outside], 50 * labels[~outside])
        assert (cut[:, outside] == torch.tensor([124, 116, 104])[:, None]).all()
        assert int((~outside).sum()) == min(24, size[0]) * min(24, size[1])


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.3, 2.0])
def test_frame_and_mask_are_resized_alike_and_no_label_is_made_up(zoom: float) -> None:
    torch.manual_seed(1)
    for _ in range(5):
        cut, labels = RandomWindow(24, (zoom, zoom))(*pair(64, 64))
        assert cut.shape == (3, 24, 24)
        assert labels.shape == (24, 24)
        assert set(labels.unique().tolist()) <= {1, 2, 3, 4}
        # Bilinear and nearest differ along the two borders only.
        agree = (cut[0].float() / 50 - labels).abs() < 0.5
        assert agree.float().mean() > 1 - 4 / 24


def test_a_frame_smaller_than_the_window_is_whole_in_it() -> None:
    image, mask = pair(10, 12)
    _, labels = RandomWindow(32, (1.0, 1.0))(image, mask)
    assert int((labels != 255).sum()) == 120


def test_zoom_magnifies() -> None:
    image = tv_tensors.Image(torch.zeros(3, 400, 400, dtype=torch.uint8))
    grid = tv_tensors.Mask((torch.arange(400) // 10 % 2).to(torch.uint8).expand(400, 400).contiguous())
    for zoom in (0.5, 1.0, 2.0):
        _, labels = RandomWindow(100, (zoom, zoom))(image, grid)
        stripes = int((labels[0, 1:] != labels[0, :-1]).sum())
        assert stripes == pytest.approx(10 / zoom, abs=1)


def test_without_any_change_only_the_normalisation_is_left() -> None:
    image, mask = pair(16, 16)
    changed, labels = augmentation(16, (1.0, 1.0), 0.0, 0.0)(image, mask)
    expected = (image.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(changed.as_subclass(torch.Tensor), expected.as_subclass(torch.Tensor))
    assert torch.equal(labels, mask)


def test_a_flip_flips_both() -> None:
    image, mask = pair(16, 16)
    changed, labels = augmentation(16, (1.0, 1.0), 1.0, 0.0)(image, mask)
    assert torch.equal(labels, mask.flip(-1))
    plain, _ = augmentation(16, (1.0, 1.0), 0.0, 0.0)(image, mask)
    assert torch.equal(changed, plain.flip(-1))


def test_colours_change_and_labels_stay() -> None:
    torch.manual_seed(0)
    image, mask = pair(16, 16)
    plain, _ = augmentation(16, (1.0, 1.0), 0.0, 0.0)(image, mask)
    jittered, labels = augmentation(16, (1.0, 1.0), 0.0, 0.5)(image, mask)
    assert not torch.allclose(plain, jittered, atol=0.05)
    assert torch.equal(labels, mask)


@pytest.mark.parametrize("size", [(20, 60), (64, 64), (7, 9)])
@pytest.mark.parametrize(("flip", "colour"), [(0.5, 0.3), (0.0, 0.0), (1.0, 0.2)])
def test_skipping_a_frame_draws_what_changing_it_draws(size: tuple[int, int], flip: float, colour: float) -> None:
    transform = augmentation(24, (0.4, 2.0), flip, colour)
    for seed in range(10):
        torch.manual_seed(seed)
        transform(*pair(*size))
        expected = torch.get_rng_state()
        torch.manual_seed(seed)
        skip(transform, *size)
        assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize(("side", "size"), [(3, 5), (5, 3), (4, 7)])
def test_a_mask_is_resized_to_the_pixels_whose_centres_are_nearest(side: int, size: int) -> None:
    ids = torch.arange(side * side, dtype=torch.uint8).reshape(side, side)
    frame = tv_tensors.Image(torch.zeros(3, side, side, dtype=torch.uint8))
    _, labels = RandomWindow(size, (size / side, size / side))(frame, tv_tensors.Mask(ids))
    nearest = [int((i + 0.5) * side / size) for i in range(size)]
    assert torch.equal(labels.as_subclass(torch.Tensor), ids[nearest][:, nearest])
