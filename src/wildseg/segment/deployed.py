"""A trained segmenter as one object: network, preprocessing and class names, from an image of any size to ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wildseg.core import colours as class_colours
from wildseg.core.checks import check_image
from wildseg.core.classes import Classes
from wildseg.core.errors import ModelError
from wildseg.segment import predict, vocabulary
from wildseg.segment.windows import Window


class Segmenter:
    """A trained segmentation model: from images (H, W, 3) uint8 RGB of any size to one id per pixel.

    Attributes:
        class_names: names by id: ``class_names[0]`` is the background, ``class_names[i]`` the i-th class.
        config: everything but the weights: architecture, encoder, options, classes, ids, mean and std of the input.
        predictor: the network with its preprocessing, for batches of images and tensors.
    """

    def __init__(
        self,
        predictor: predict.Predictor,
        config: Mapping[str, Any],
        of_classes: Callable[[Classes], Segmenter] | None = None,
    ) -> None:
        """Take a network as it is.

        Args:
            predictor: the network with its preprocessing.
            config: as `wildseg.segment.predict.describe` makes it.
            of_classes: the same model for other classes, see `with_classes`; None where its folder is not known.
        """
        self.predictor = predictor
        self.config = config
        self._of_classes = of_classes
        self.class_names: tuple[str, ...] = ("background", *config["classes"])

    def predict(
        self,
        image: np.ndarray,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: Window | None = None,
        max_side: int | None = None,
    ) -> np.ndarray:
        """Return the most probable id of each pixel: (H, W) uint8, 0 background, i the class ``class_names[i]``.

        Args:
            image: (H, W, 3) uint8 RGB.
            scales: probabilities are averaged over the image in each of these sizes.
            flip: and over the image and its mirror image.
            window: the network has one window of the image after the other; None for the whole image at once.
            max_side: the network has an image whose longer side has more pixels shrunk to this; None for no limit.

        Raises:
            DataError: the image is of another shape or type.

        Examples:
            >>> ids = model.predict(image)
            >>> model.class_names[ids[120, 80]]  # row 120 from the top, column 80 from the left
            'lawn'
        """
        found = self.predictor.probabilities(check_image(image)[None], scales, flip, window, max_side)
        return found[0].argmax(0).to(torch.uint8).cpu().numpy()

    def probabilities(
        self,
        image: np.ndarray,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: Window | None = None,
        max_side: int | None = None,
    ) -> np.ndarray:
        """Return the probability of each id at each pixel: (C + 1, H, W) float32 in [0, 1], the sum over ids 1.

        Row 0 is the background; it is 0 everywhere where the model was trained without a background.

        Args:
            image: (H, W, 3) uint8 RGB.
            scales: probabilities are averaged over the image in each of these sizes.
            flip: and over the image and its mirror image.
            window: the network has one window of the image after the other; None for the whole image at once.
            max_side: the network has an image whose longer side has more pixels shrunk to this; None for no limit.

        Raises:
            DataError: the image is of another shape or type.
        """
        found = self.predictor.probabilities(check_image(image)[None], scales, flip, window, max_side)
        return found[0].cpu().numpy()

    def with_classes(self, classes: Sequence[str] | Mapping[str, Sequence[str] | str] | Classes) -> Segmenter:
        """Return the same model for other classes, by their words and without training; this one stays as it is.

        Only an open-vocabulary architecture can, `san`, whose masks a frozen CLIP names. Ids are 1, 2, ... in the order
        of the classes; 0 is the background where the model was trained with one.

        Args:
            classes: words, each the name of a class and its phrase; or names with phrases, see `wildseg.Classes`.

        Raises:
            ParamsError: the model knows only the classes that it was trained on, or the words are no classes.
            ModelError: the weights of its CLIP are gone.

        Examples:
            >>> model.with_classes(["muddy track", "tall grass", "puddle"]).predict(image)
        """
        found = vocabulary.classes_of(classes, "with_classes")
        vocabulary.with_classes(self.config, found, "with_classes")  # what is wrong, whatever the model came from
        if self._of_classes is None:
            raise ModelError("with_classes: expected a model of wildseg.load_segmenter, found one without its folder")
        return self._of_classes(found)

    def export_onnx(
        self, path: Path | str, *, confidence: bool = False, colours: Mapping[str, str] | None = None
    ) -> Path:
        """Write the model as ONNX, preprocessing included, for images of any height and width, and return the path.

        The graph has one input, ``image`` (batch, height, width, 3) uint8 RGB, and two outputs: ``ids`` (batch, height,
        width) uint8, as `predict` returns them, and ``probabilities`` (batch, C + 1, height, width) float32, as
        `probabilities` returns them, at scale 1 and without mirror images. Scaling to [0, 1], normalising and padding
        to the network's stride are part of the graph. Its metadata hold, as JSON, ``classes``, the names by id,
        ``colours``, their RGB, ``ids``, those that may be predicted, and ``preprocessing``.

        Args:
            path: the file to write, such as ``segmenter.onnx``; one that exists is replaced.
            confidence: add a third output, ``confidence`` (batch, height, width) uint8, the probability of the chosen
                id times 255, as costmaps of robots read it.
            colours: your own for some classes, such as ``{"lawn": "#33aa77"}``; others have one by their names.

        Raises:
            WildsegError: the packages onnx and onnxscript are not installed.
            ParamsError: one of `colours` is of no class, is no colour, or cannot be told from another.
            ModelError: the network cannot be expressed in ONNX.

        Examples:
            >>> import onnxruntime
            >>> model.export_onnx("segmenter.onnx")
            >>> session = onnxruntime.InferenceSession("segmenter.onnx")
            >>> ids, probabilities = session.run(None, {"image": image[None]})
        """
        from wildseg.segment.onnx import export  # its libraries are an extra

        class_colours.check(colours or {}, self.class_names[1:])
        return export(self.predictor, self.config, Path(path), confidence=confidence, colours=colours)
