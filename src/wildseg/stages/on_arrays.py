"""The public API: what the stages compute, on arrays, one image at a time; nothing is read from or left in a project.

Each function calls what its stage calls, with the defaults of params.yaml, so that it gives the stage's own result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wildseg.cam.engine import activation_maps as maps_of_image
from wildseg.cam.params import Cam
from wildseg.core import lookup
from wildseg.core.checks import check_image
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, ParamsError
from wildseg.crf import masks
from wildseg.crf.params import Crf
from wildseg.crf.prior import weighed
from wildseg.crf.validation import problem
from wildseg.encoders import clip as encoders
from wildseg.encoders.clip import Clip
from wildseg.execution import defaults
from wildseg.execution.runtime import torch_device
from wildseg.labels.decide import present_classes
from wildseg.labels.interface import LabelRequest, NamedImage
from wildseg.labels.params import Label
from wildseg.labels.priors import label_priors
from wildseg.methods import segmenter
from wildseg.metrics import evaluation
from wildseg.metrics.evaluation import Evaluation
from wildseg.segment.deployed import Segmenter
from wildseg.stages.cam.config import cam_config
from wildseg.stages.tasks.label import label_images


@dataclass(frozen=True)
class Labels:
    """Which classes an image shows.

    Attributes:
        class_names: K names.
        scores: (K,) float64 in [0, 1], one per class.
        present: (K,) bool, whether the class is in the image.
        priors: (K,) float64 in [0, 1], how likely each present class is, beside the likeliest; 0 for the others.
    """

    class_names: tuple[str, ...]
    scores: np.ndarray
    present: np.ndarray
    priors: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes that are present."""
        return tuple(self.class_names[index] for index in np.flatnonzero(self.present))


def load_clip(model: str, pretrained: str, *, device: str = "auto", root: Path | str = ".") -> Clip:
    """Load an image-text model of the CLIP family (Radford et al. 2021), by open_clip.

    Args:
        model: a name of open_clip, such as ``ViT-B-16-quickgelu``, or of a ``<model>.json`` beside a local file.
        pretrained: a tag of open_clip, such as ``openai``, fetched on first use; or a local file of weights.
        device: ``auto`` (a GPU where there is one, else the CPU), or a torch device such as ``cpu`` or ``cuda:1``.
        root: the folder that a relative path of weights starts from.

    Raises:
        ModelError: no such model, tag or file, or weights that do not fit.
        WildsegError: no such device.

    Examples:
        >>> clip = ws.load_clip("ViT-B-16-quickgelu", "openai", device="cuda")
    """
    return encoders.load(model, pretrained, device=torch_device(device, "device"), root=root)


def label_image(
    image: np.ndarray,
    classes: Classes,
    clip: Clip,
    method: str = "clip",
    *,
    background: Sequence[str] = (),
    templates: Sequence[str] = ("a photo of {}.",),
    rule: Literal["auto", "fixed", "relative"] = "auto",
    threshold: float | Mapping[str, float] | Literal["auto"] = "auto",
    fallback: Literal["none", "argmax"] = "none",
    options: Mapping[str, Any] | None = None,
) -> Labels:
    """Score each class in an image and decide which are present, as the stage `label` does.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: K classes with their phrases.
        clip: an image-text model, see `load_clip`.
        method: a label method that needs nothing but the model: ``clip`` or ``tagclip``.
        background: phrases that compete with the classes.
        templates: sentences with ``{}`` where the class goes.
        rule: what a threshold counts: ``fixed`` the score; ``relative`` the share of the way from the image's lowest
            score to its highest; ``auto`` what suits the method.
        threshold: a class is present if its score lies above; one number, a number per class name, or ``auto``.
        fallback: ``argmax`` makes the best class present where none passes.
        options: of the method, by name.

    Returns:
        scores (K,) in [0, 1], present (K,), and priors (K,) for `pseudo_mask`.

    Raises:
        DataError: the image is of another shape or type.
        ParamsError: a method, an option or a value means nothing.
        ModelError: the method needs another kind of model.

    Examples:
        >>> labels = ws.label_image(image, classes, clip, method="tagclip", background=["building"])
        >>> labels.names
        ('lawn', 'curb')
    """
    params = defaults.section(
        Label,
        "label",
        method=method,
        rule=rule,
        threshold=threshold,
        fallback=fallback,
        options={method: options or {}},
    )
    _check_encoder_alone(method)
    _check_method("labels", method, "label", options)
    phrases, sentences = _texts(background, templates)
    request = LabelRequest(classes.names, classes.phrases, phrases, sentences, lambda: clip, _no_table)
    (result,) = label_images([NamedImage("image", partial(check_image, image))], request, params)
    (present,) = present_classes(result.scores[None], classes.names, result, params)
    certain = np.full((1, len(classes)), result.relative)
    (priors,) = label_priors(result.scores[None], present[None], certain)
    return Labels(classes.names, result.scores, present, priors)


def activation_maps(
    image: np.ndarray,
    present: np.ndarray,
    classes: Classes,
    clip: Clip,
    method: str = "gradcam",
    *,
    background: Sequence[str] = (),
    templates: Sequence[str] = ("a photo of {}.",),
    refine: str | Sequence[str] = "propagate",
    scales: Sequence[float] = (1.0, 1.5),
    flip: bool = False,
    max_side: int | None = 640,
    pos_embed_interpolation: Literal["bicubic", "bilinear_half"] = "bicubic",
    options: Mapping[str, Any] | None = None,
    caa: Mapping[str, Any] | None = None,
    refine_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> np.ndarray:
    """Return one activation map per class that is present, as the stage `cam` does.

    Args:
        image: (H, W, 3) uint8 RGB.
        present: (C,) bool, such as `Labels.present`; k of the classes are present.
        classes: C classes with their phrases.
        clip: an image-text model, see `load_clip`.
        method: a file of `wildseg/methods/cam`: ``gradcam``, ``hirescam``, ``softmax_gradcam``, ``sclip``, ...
        background: phrases that compete with the classes.
        templates: sentences with ``{}`` where the class goes.
        refine: a file of `wildseg/methods/refine`, or several in order: ``none``; ``caa``, which spreads maps along
            class-aware attention affinity (CLIP-ES, Lin et al. 2023); ``lposs`` and ``features`` along patches that are
            alike; ``propagate`` and ``pamr`` along pixels that are alike.
        scales: maps are averaged over the image in each of these sizes.
        flip: and over the image and its mirror image.
        max_side: an image whose longer side has more pixels is first shrunk to this; None for no limit.
        pos_embed_interpolation: how position embeddings are resampled to the grid of the image.
        options: of the method, by name.
        caa: of the refinement, those of ``cam.caa`` in params.yaml by name.
        refine_options: of other refinements, by their names and then by name.

    Returns:
        (k, h, w) float32 in [0, 1] on the model's grid of patches, finer after ``propagate`` or ``pamr``, in the order
        of the classes present, rounded to half precision as the stage stores them; (0, h, w) where no class is present.

    Raises:
        DataError: the image is of another shape or type, or `present` does not fit the classes.
        ParamsError: a method, an option or a value means nothing, or a softmax has nothing to compare.
        ModelError: the model cannot be traced.

    Examples:
        >>> maps = ws.activation_maps(image, labels.present, classes, clip, "softmax_gradcam", refine="caa")
        >>> maps.shape  # two classes, 24 x 32 patches
        (2, 24, 32)
    """
    _check_refinements(lookup.named(refine), refine_options or {})
    _check_method("cam", method, "cam", options)
    params = defaults.section(
        Cam,
        "cam",
        method=method,
        refine=refine,
        scales=scales,
        flip=flip,
        max_side=max_side,
        pos_embed_interpolation=pos_embed_interpolation,
        options={**(refine_options or {}), method: options or {}},
        caa=caa or {},
    )
    params.check("refine")
    phrases, sentences = _texts(background, templates)
    texts = clip.classifier((*classes.phrases, *((phrase,) for phrase in phrases)), sentences)
    indices = _indices(present, classes).tolist()
    maps = maps_of_image(clip, check_image(image), texts, indices, len(classes), cam_config(params, clip))
    return maps.astype(np.float16).astype(np.float32)


def pseudo_mask(
    image: np.ndarray,
    maps: np.ndarray,
    present: np.ndarray,
    *,
    background: Sequence[str] | bool = (),
    priors: np.ndarray | None = None,
    alpha: float = 1.0,
    label_prior: float = 1.0,
    sharpen: float = 2.0,
    iterations: int = 5,
    gaussian: Mapping[str, float] | None = None,
    bilateral: Mapping[str, float] | None = None,
    image_mode: Literal["rgb", "wrap_bgr_mean"] = "rgb",
    min_confidence: float = 0.9,
    confidence_from: Literal["posterior", "maps"] = "posterior",
) -> tuple[np.ndarray, np.ndarray]:
    """Turn activation maps into a pseudo mask by a dense CRF (Kraehenbuehl and Koltun 2011), as the stage `crf` does.

    The stage also averages in maps of neighbouring frames of a video (`crf.temporal`).

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (k, h, w) in [0, 1], see `activation_maps`.
        present: (C,) bool, k of them true: the classes that the maps are of, in their order.
        background: the background phrases of the steps before: with any (or True) a pixel may belong to no class.
        priors: (C,) in [0, 1], how likely each class is in the image (see `label_image`), by which its map is weighed;
            None weighs no map.
        alpha: exponent of the background score (1 - max map) ** alpha.
        label_prior: exponent of that weight.
        sharpen: exponent of all scores before the CRF.
        iterations: of the mean field; 0 leaves the maps as they are.
        gaussian: weight and sxy (pixels) of the smoothness term; default 3, 1.
        bilateral: weight, sxy (pixels) and srgb (grey levels) of the appearance term; default 8, 40, 6.
        image_mode: the colours that the appearance term compares; ``wrap_bgr_mean`` is CLIP-ES's published code.
        min_confidence: pixels whose confidence is below become 255.
        confidence_from: ``posterior``, the CRF's, or ``maps``.

    Returns:
        mask (H, W) uint8, 0 background, i the i-th class, 255 ignore; confidence (H, W) float32 in [0, 1].

    Raises:
        DataError: the image is of another shape or type, or maps or priors do not fit `present` or leave [0, 1].
        ParamsError: a kernel of the CRF is too narrow for an image of this size, or has no such parameter.

    Examples:
        >>> mask, confidence = ws.pseudo_mask(image, maps, labels.present, priors=labels.priors, min_confidence=0.95)
        >>> (mask != 255).mean()  # the share of pixels that are decided
        0.83
    """
    indices = np.flatnonzero(present)
    if wrong := problem(indices, np.asarray(maps), np.size(present)):
        raise DataError(f"maps: {wrong}")
    params = defaults.section(
        Crf,
        "crf",
        alpha=alpha,
        label_prior=label_prior,
        sharpen=sharpen,
        iterations=iterations,
        gaussian=gaussian or {},
        bilateral=bilateral or {},
        image_mode=image_mode,
        min_confidence=min_confidence,
        confidence_from=confidence_from,
    )
    if priors is not None:
        own = np.asarray(priors)
        if own.shape != np.shape(present) or not np.all((own >= 0) & (own <= 1)):
            raise DataError(f"priors: expected {np.size(present)} numbers from 0 to 1, one per class, found {priors}")
        maps = weighed(np.asarray(maps), own[indices], label_prior)
    return masks.pseudo_mask(check_image(image), indices, maps, params, background=bool(background))


def load_segmenter(folder: Path | str, *, device: str = "auto") -> Segmenter:
    """Load a trained segmentation model, such as the stage `train` leaves in models/segmenter.

    Args:
        folder: with model.safetensors and config.json.
        device: ``auto`` (a GPU where there is one, else the CPU), or a torch device.

    Raises:
        DataError: a file is missing or broken, or they do not fit each other.
        ParamsError: no architecture of the name in the config.
        WildsegError: no such device.

    Examples:
        >>> model = ws.load_segmenter("models/segmenter")
        >>> ids = model.predict(image)
    """
    return segmenter.load(Path(folder), torch_device(device, "device"))


def evaluate(
    ids: np.ndarray | Iterable[np.ndarray], truth: np.ndarray | Iterable[np.ndarray], classes: Classes
) -> Evaluation:
    """Measure predicted ids against the truth, as the stage `eval` does: one confusion matrix over all pixels.

    Args:
        ids: predicted ids of one frame, (H, W) integers: 0 background, i the i-th class, others no class; or of several
            frames, whose sizes may differ.
        truth: true ids, of the same shape or shapes; pixels of 255 are not counted.
        classes: C classes.

    Raises:
        DataError: a shape or a number of frames differs, or a true id has no class.

    Examples:
        >>> result = ws.evaluate(ids, truth, classes)
        >>> result.miou, result.class_iou["lawn"]
        (0.66, 0.81)
    """
    predictions, truths = _frames(ids), _frames(truth)
    if len(predictions) != len(truths):
        raise DataError(f"expected as many predictions as truths, found {len(predictions)} and {len(truths)}")
    return evaluation.evaluate(zip(predictions, truths, strict=True), classes.with_background)


# What callers hand in ------------------------------------------------------------------------------------------------


def _check_method(kind: str, name: str, function: str, options: Mapping[str, Any] | None) -> None:
    folder = f"methods.{kind}"
    lookup.check(folder, name, "method")
    if "network" in lookup.needs(folder, name):
        raise ParamsError(f"method: {name} trains a network on the labels of many frames; use it by 'dvc repro'")
    if kind == "cam" and "files" in lookup.needs(folder, name):
        raise ParamsError(f"method: {name} reads the maps of a project's frames from files; use it by 'dvc repro'")
    lookup.check_options(folder, name, (function,), options or {}, "options")


def _check_refinements(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    for name in names:
        lookup.check("methods.refine", name, "refine")
        if "regions" in lookup.needs("methods.refine", name):
            raise ParamsError(f"refine: {name} reads a bank of a project's own frames; use it by 'dvc repro'")
    for name, own in options.items():
        lookup.check("methods.refine", name, "refine_options")
        lookup.check_options("methods.refine", name, ("refine",), own, f"refine_options.{name}")


def _check_encoder_alone(method: str) -> None:
    lookup.check("methods.labels", method, "method")
    known = [name for name in lookup.available("methods.labels") if lookup.needs("methods.labels", name) == {"encoder"}]
    if method not in known:
        raise ParamsError(
            f"method: expected a label method that needs an image-text model alone, {' or '.join(known)}; found "
            f"{method!r}, which 'wildseg label' runs over the frames of a project"
        )


def _texts(background: Sequence[str], templates: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for name, value in (("background", background), ("templates", templates)):
        if isinstance(value, str) or not all(isinstance(text, str) and text.strip() for text in value):
            raise ParamsError(f"{name}: expected a list of texts, found {value!r}")
    if not templates or not all("{}" in template for template in templates):
        raise ParamsError(f"templates: expected sentences with {{}} where the class goes, found {list(templates)}")
    return tuple(background), tuple(templates)


def _indices(present: np.ndarray, classes: Classes) -> np.ndarray:
    if np.shape(present) != (len(classes),) or np.asarray(present).dtype != bool:
        raise DataError(
            f"present: expected ({len(classes)},) bool, one per class; found {np.shape(present)} "
            f"{np.asarray(present).dtype}"
        )
    return np.flatnonzero(present)


def _frames(arrays: np.ndarray | Iterable[np.ndarray]) -> list[np.ndarray]:
    return [arrays] if isinstance(arrays, np.ndarray) else list(arrays)


def _no_table(_: str) -> Mapping[str, np.ndarray]:
    raise ParamsError("method: a table of labels is read by 'wildseg label' alone")
