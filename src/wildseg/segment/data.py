"""Training batches: frames and masks decoded on demand, and a sampler whose batch depends on (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from wildseg.core.errors import DataError
from wildseg.segment.augment import skip
from wildseg.training.sampling import CACHE_BYTES, DecodedCache, item_at
from wildseg.training.seeds import derive

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB, mask (H, W) uint8 ids


class Pairs:
    """Frames with their masks, decoded on access; the latest stay in memory up to a fixed number of bytes."""

    def __init__(
        self,
        frames: Sequence[str],
        load_image: Callable[[str], np.ndarray],
        load_mask: Callable[[str], np.ndarray],
        cache_bytes: int = CACHE_BYTES,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        kind: str = "pseudo mask",
        made_by: str = "crf",
    ) -> None:
        """Remember where to read from; both functions take a frame's name, and nothing is read yet.

        `sizes` are height and width of frames as far as they are known, so that `size` need not read them. Error lines
        call a mask a `kind`, and name `made_by`, the stage that makes it anew.
        """
        self.frames = tuple(frames)
        self._load_image = load_image
        self.load_mask = load_mask
        self._cache = DecodedCache(self._read, _bytes, cache_bytes)
        self._sizes = sizes or {}
        self._kind, self._made_by = kind, made_by

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Pair]:
        """Yield every pair, in order."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """Return (image (H, W, 3) uint8 RGB, mask (H, W) uint8) of a frame.

        Raises:
            DataError: image and mask differ in size, or one cannot be read.
        """
        return self._cache[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return (H, W) of a frame."""
        known = self._sizes.get(self.frames[index])
        return known if known else (self[index][1].shape[0], self[index][1].shape[1])

    def _read(self, index: int) -> Pair:
        frame = self.frames[index]
        image, mask = self._load_image(frame), self.load_mask(frame)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"the {self._kind} of {frame}: expected the size of its frame, "
                f"{image.shape[1]}x{image.shape[0]}, found {mask.shape[1]}x{mask.shape[0]}; "
                f"run 'dvc repro {self._made_by}'"
            )
        # Writable and contiguous, as torch wants what it shares memory with.
        return np.require(image, requirements=["C", "W"]), np.require(mask, requirements=["C", "W"])


def _bytes(pair: Pair) -> int:
    return pair[0].nbytes + pair[1].nbytes


class Batches(Dataset[dict[str, torch.Tensor]]):
    """The batch of each training step, by the step's number.

    All frames are shuffled, used once, shuffled anew: the k-th drawn is the same however the run came there.
    """

    def __init__(
        self, pairs: Pairs, transform: v2.Compose, batch_size: int, seed: int, share: range | None = None
    ) -> None:
        """Remember the parts; `transform` is an `augmentation`.

        `share` says which images of each batch to give, from 0; the others are drawn and not made. None gives all.
        """
        self._pairs = pairs
        self._transform = transform
        self._batch_size = batch_size
        self._seed = seed
        self._share = range(batch_size) if share is None else share

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        """Return the batch of a step from 0: `image` (B, 3, H, W) float32 normalised, `mask` (B, H, W) int64 ids."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self._seed, "augment", step))
            drawn = [self._draw(step * self._batch_size + place, place in self._share)
                     for place in range(self._share.stop)]  # fmt: skip
        images, masks = zip(*(pair for pair in drawn if pair), strict=True)
        return {"image": torch.stack(images), "mask": torch.stack(masks).long()}

    def _draw(self, position: int, wanted: bool) -> tuple[torch.Tensor, torch.Tensor] | None:
        index = item_at(position, len(self._pairs), self._seed)
        if not wanted:
            skip(self._transform, *self._pairs.size(index))
            return None
        image, mask = self._pairs[index]
        pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))  # (3, H, W)
        changed, labels = self._transform(pixels, tv_tensors.Mask(torch.from_numpy(mask)))
        return changed.as_subclass(torch.Tensor), labels.as_subclass(torch.Tensor)
