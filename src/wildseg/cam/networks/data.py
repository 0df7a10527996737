"""Training batches of map networks: frames resized, cropped, mirrored, jittered and normalised, with their labels.

The batch of a step depends on (seed, step) alone, so that a run that was killed goes on with the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from wildseg.cam.networks.bags import in_view, positive_weights
from wildseg.cam.networks.objective import CropConfig, SaliencyOf
from wildseg.core.errors import DataError
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.sampling import DecodedCache, item_at
from wildseg.training.seeds import derive

Decoded = tuple[np.ndarray, np.ndarray | None]


class LabelledImages:
    """Training frames with their classes and, where it is wanted, their saliency, decoded on access."""

    def __init__(
        self,
        frames: Sequence[str],
        labels: np.ndarray,
        load_image: Callable[[str], np.ndarray],
        saliency: SaliencyOf | None = None,
        tiles: np.ndarray | None = None,
    ) -> None:
        """Remember where to read from; nothing is read yet.

        Args:
            frames: N names.
            labels: (N, C) bool.
            load_image: from a name to (H, W, 3) uint8 RGB.
            saliency: see `SaliencyOf`; None where no method needs it.
            tiles: (N, r, c, C) bool, the classes in each tile of the frames; None where frames are labelled as a whole.
        """
        self.frames = tuple(frames)
        self.labels = labels
        self.tiles = tiles
        self._load_image = load_image
        self._saliency = saliency
        self._decoded: DecodedCache[Decoded] = DecodedCache(self._read, _bytes)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def image(self, index: int) -> np.ndarray:
        """Return the image (H, W, 3) uint8 RGB of a frame."""
        return self._decoded[index][0]

    def saliency(self, index: int) -> np.ndarray | None:
        """Return the saliency (H, W) float32 in [0, 1] of a frame, if it has one."""
        return self._decoded[index][1]

    def _read(self, index: int) -> Decoded:
        name = self.frames[index]
        image = np.require(self._load_image(name), requirements=["C", "W"])
        saliency = self._saliency(name, image) if self._saliency else None
        if saliency is not None and saliency.shape != image.shape[:2]:
            raise DataError(
                f"the saliency of {name}: expected the size of its frame, {image.shape[1]}x{image.shape[0]}, "
                f"found {saliency.shape[1]}x{saliency.shape[0]}"
            )
        return image, saliency


def _bytes(decoded: Decoded) -> int:
    return sum(part.nbytes for part in decoded if part is not None)


class MapBatches(Dataset[dict[str, Tensor]]):
    """The batch of each training step, by the step's number; see `MapObjective` for what it holds."""

    def __init__(self, images: LabelledImages, crops: CropConfig, norm: Normalisation, seed: int) -> None:
        """Remember the parts."""
        self._images = images
        self._crops = crops
        self._seed = seed
        self._positive = None if images.tiles is None else torch.from_numpy(positive_weights(images.tiles))
        brightness, contrast, saturation, hue = crops.jitter
        self._jitter = v2.ColorJitter(brightness, contrast, saturation, hue) if any(crops.jitter) else None
        self._normalise = partial(functional.normalize, mean=list(norm.mean), std=list(norm.std))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step from 0."""
        size = self._crops.batch_size
        numbers = [item_at(step * size + place, len(self._images), self._seed) for place in range(size)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self._seed, "augment", step))
            crops = [self._crop(number) for number in numbers]
        batch = {
            "image": torch.stack([image for image, *_ in crops]),
            "labels": torch.from_numpy(self._images.labels[numbers].astype(np.float32)),
            "index": torch.tensor(numbers),
        }
        if self._crops.saliency:
            blank = torch.zeros(1, self._crops.crop, self._crops.crop)
            batch["saliency"] = torch.stack([blank if found is None else found for _, found, *_ in crops])
            batch["has_saliency"] = torch.tensor([found is not None for _, found, *_ in crops])
        if self._images.tiles is not None and self._positive is not None:
            tiles = [self._images.tiles[n, :, ::-1] if m else self._images.tiles[n]
                     for n, (*_, m) in zip(numbers, crops, strict=True)]  # fmt: skip
            batch["tiles"] = torch.from_numpy(np.stack(tiles).astype(np.float32))
            batch["window"] = torch.tensor([window for _, _, window, _ in crops])
            batch["positive"] = self._positive
            batch["labels"] = in_view(batch["tiles"], batch["window"])
        return batch

    def _crop(self, number: int) -> tuple[Tensor, Tensor | None, list[float], bool]:
        """Return a crop of a frame.

        That is the image (3, S, S) float32 normalised; its saliency (1, S, S), if it has one, cut alike; where it lies
        in the frame, or in the mirrored one: top, left, bottom, right in parts of its sides; whether it is mirrored.
        """
        crops = self._crops
        pixels = torch.from_numpy(self._images.image(number)).permute(2, 0, 1)
        saliency = self._images.saliency(number) if crops.saliency else None
        height, width = resized(pixels.shape[1:], crops, _integer(*crops.size))
        mirrored = float(torch.rand(())) < crops.flip
        place = [_place(length, crops.crop) for length in (height, width)]
        image = functional.resize(pixels, [height, width], v2.InterpolationMode.BILINEAR, antialias=True)
        if self._jitter:
            image = self._jitter(image)
        image = self._normalise(functional.to_dtype(image, torch.float32, scale=True))
        # Cut after normalisation: what lies outside of the frame is 0, the mean.
        image = _cut(image.flip(2) if mirrored else image, place, crops.crop)
        window = [start / side for start, side in zip(place, (height, width), strict=True)]
        window += [(start + crops.crop) / side for start, side in zip(place, (height, width), strict=True)]
        if saliency is None:
            return image, None, window, mirrored
        shape = functional.resize(torch.from_numpy(saliency)[None], [height, width], v2.InterpolationMode.NEAREST_EXACT)
        return image, _cut(shape.flip(2) if mirrored else shape, place, crops.crop), window, mirrored


def resized(shape: Sequence[int], crops: CropConfig, length: int) -> tuple[int, int]:
    """Return the size (H', W') of a frame of `shape` whose long or short side is resized to `length` pixels."""
    height, width = shape
    side = max(height, width) if crops.resize == "long" else min(height, width)
    return max(1, round(height * length / side)), max(1, round(width * length / side))


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def _place(length: int, crop: int) -> int:
    """Draw where a window starts on an axis; negative where the frame is smaller, and lies somewhere inside of it."""
    spare = length - crop
    return int(torch.randint(0, abs(spare) + 1, ())) * (1 if spare >= 0 else -1)


def _cut(image: Tensor, place: Sequence[int], crop: int) -> Tensor:
    top, left = place
    return functional.crop(image, top, left, crop, crop)  # pads with 0 where the window sticks out
