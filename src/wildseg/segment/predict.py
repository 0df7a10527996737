"""From a trained network to class probabilities and ids of whole images, with test-time scales and flips.

A trained model is two things: its weights, and a config that says how to build the network and what its channels mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from wildseg.core.errors import DataError
from wildseg.encoders.cnn.imagenet import MEAN, STD
from wildseg.encoders.precision import autocast
from wildseg.segment.losses import mask_invalid_classes
from wildseg.segment.windows import Window, mean_logits

if TYPE_CHECKING:
    from wildseg.segment.params import Eval

BATCH = 8  # images at once, fewer where they are large
PIXELS = BATCH * 512 * 512


class Predictor:
    """A network as a function from images to probabilities."""

    def __init__(
        self,
        network: torch.nn.Module,
        ids: Sequence[int],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        """Take the network as it is; it may go on being trained between two predictions.

        Args:
            network: from normalised images (B, 3, H, W) to logits (B, C + 1, H, W).
            ids: the channels that may be predicted.
            mean: of RGB in [0, 1], subtracted.
            std: of RGB in [0, 1], divided by.
            device: where to compute.
            precision: fp32, bf16 or fp16.
        """
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.ids = torch.tensor(list(ids), device=device)
        self.mean = torch.tensor(list(mean), device=device).reshape(1, 3, 1, 1)
        self.std = torch.tensor(list(std), device=device).reshape(1, 3, 1, 1)
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def probabilities(
        self,
        images: np.ndarray,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: Window | None = None,
        max_side: int | None = None,
    ) -> torch.Tensor:
        """Return (B, C + 1, H, W) float32 on the device, the sum over channels 1, of images (B, H, W, 3) uint8 RGB.

        The softmax is averaged over the scales, and over each image and its mirror image if `flip`. Scales multiply
        the size of the image, or that with its longer side shrunk to `max_side`; logits are enlarged to the image's own
        size bilinearly. At each scale the network has the whole image, or one window of it after the other.
        """
        training = self.network.training
        self.network.eval()
        try:
            pixels = self.normalised(images)
            factor = min(1.0, max_side / max(images.shape[1:3])) if max_side else 1.0
            views = [(scale * factor, mirror) for scale in scales for mirror in (False, True)[: 1 + flip]]
            total = torch.zeros((), device=self.device)
            for scale, mirror in views:
                total = total + self._at(pixels, scale, mirror, window)
        finally:
            self.network.train(training)
        return total / len(views)

    def normalised(self, images: np.ndarray) -> torch.Tensor:
        """Return (B, 3, H, W) on the device, as the network takes it, of images (B, H, W, 3) uint8 RGB."""
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
        pixels = pixels.permute(0, 3, 1, 2).float() / 255
        return (pixels - self.mean) / self.std

    def predict(
        self,
        images: Iterable[np.ndarray],
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        batch_size: int = BATCH,
    ) -> Iterator[np.ndarray]:
        """Yield ids (H, W) uint8 of each image (H, W, 3) uint8 RGB, in order; neighbours of one size share a batch."""
        for shape, same_size in groupby(images, key=np.shape):
            at_once = max(1, min(batch_size, PIXELS // (shape[0] * shape[1])))
            while batch := list(islice(same_size, at_once)):
                ids = self.probabilities(np.stack(batch), scales, flip).argmax(1)  # (B, H, W)
                yield from ids.to(torch.uint8).cpu().numpy()

    def _at(self, pixels: torch.Tensor, scale: float, mirror: bool, window: Window | None) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        seen = pixels.flip(-1) if mirror else pixels
        if scale != 1:
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
            seen = functional.interpolate(seen, size, mode="bilinear", antialias=scale < 1)
        with autocast(self.device, self.precision):
            if window is None:
                logits = self.network(seen.contiguous(memory_format=torch.channels_last))
            else:
                logits = mean_logits(self.network, seen, window)
        logits = mask_invalid_classes(logits.float(), self.ids)  # (B, C + 1, h, w)
        if scale != 1:
            logits = functional.interpolate(logits, (height, width), mode="bilinear")
        scores = logits.softmax(1)
        return scores.flip(-1) if mirror else scores


def predict_frames(predictor: Predictor, images: Iterable[np.ndarray], params: Eval) -> Iterator[np.ndarray]:
    """Yield ids (H, W) uint8 of each image (H, W, 3) uint8 RGB, in order, by the parameters of the section eval."""
    return predictor.predict(images, params.scales, params.flip)


def describe(
    architecture: str,
    encoder: str,
    options: Mapping[str, Any],
    class_names: Sequence[str],
    ids: Sequence[int],
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> dict[str, Any]:
    """Return the config of a model: all that `load` needs beside the weights, and nothing that changes run by run.

    Args:
        architecture: name of the file in methods/architectures.
        encoder: name of its encoder.
        options: keyword arguments of the architecture's `build`.
        class_names: names of the ids 1, 2, ...
        ids: the channels that may be predicted; 0, the background, is missing where every pixel has a class.
        mean: of RGB in [0, 1], subtracted from images before the network sees them, in training as ever after.
        std: of RGB in [0, 1], divided by.
    """
    return {
        "format": 1,
        "architecture": architecture,
        "encoder": encoder,
        "options": dict(options),
        "classes": list(class_names),
        "ids": list(ids),
        "mean": list(mean),
        "std": list(std),
    }


def load(
    build: Callable[..., torch.nn.Module],
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    device: str = "cpu",
    precision: str = "fp32",
    where: str = "models/segmenter",
) -> Predictor:
    """Build the network that `config` describes and give it its weights.

    Args:
        build: `build` of the module methods/architectures/<config["architecture"]>.
        state: weights by name.
        config: as `describe` made it.
        device: where to compute.
        precision: fp32, bf16 or fp16.
        where: the folder of both, for the error line.

    Raises:
        DataError: the config lacks something, or the weights do not fit it.
    """
    try:
        network = build(len(config["classes"]), config["encoder"], None, **config["options"])
        network.load_state_dict(dict(state))
        return Predictor(network, config["ids"], config["mean"], config["std"], device, precision)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{where}: expected weights and a config that fit each other ({reason}); run 'dvc repro train'"
        ) from error
