"""SAN: masks and attention biases by a side adapter of a frozen CLIP, which names them (Xu et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Length
from wildseg.encoders.clip import Clip
from wildseg.encoders.cnn.build import LOADED
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.cnn.weight_file import read_weights
from wildseg.segment.san import official
from wildseg.segment.san.frozen import TEMPLATES, FrozenClip, load_clip
from wildseg.segment.san.matching import Weights
from wildseg.segment.san.network import MEANT, TEXTS, San, Sizes

NEEDS = frozenset({"phrases"})  # of the classes
FILES = ("checkpoint",)  # among the options
Templates = Sequence[str] | Literal["published"] | None
CHECKPOINT = "train.options.san.checkpoint"


def normalisation(encoder: str, encoder_weights: str | None) -> Normalisation:
    """Return mean and deviation of CLIP's images.

    Raises:
        ModelError: there is no such CLIP, or its weights cannot be had.
    """
    clip = load_clip(encoder, encoder_weights)
    mean, std = (tuple(map(float, values)) for values in (clip.mean, clip.std))
    return Normalisation(mean, std, f"those of {encoder}")  # type: ignore[arg-type] # three numbers each


def vocabulary(
    encoder: str,
    encoder_weights: str | None,
    phrases: Sequence[Sequence[str]],
    ids: Sequence[int],
    templates: Templates = None,
) -> dict[str, torch.Tensor]:
    """Return what of a network's state its classes decide: their unit embeddings (C, d) and valid ids (C + 1,) bool.

    Args:
        encoder: as that of `build`.
        encoder_weights: as those of `build`.
        phrases: of each class its synonyms, which share a sentence.
        ids: those that mean something, of 0 to C; a class that means nothing is not embedded.
        templates: sentences with one ``{}``, whose embeddings are averaged; ``published`` or None, in whose place a
            training puts those of `clip.templates`, for the authors' fourteen.

    Raises:
        ModelError: there is no such CLIP, or its weights cannot be had.
    """
    return _vocabulary(load_clip(encoder, encoder_weights), phrases, ids, templates)


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    phrases: Sequence[Sequence[str]] | None = None,
    ids: Sequence[int] | None = None,
    *,
    queries: Annotated[int, Between(1, 4096)] = 100,
    width: Annotated[int, Between(1, 4096)] = 240,
    depth: Annotated[int, Between(1, 64)] = 8,
    heads: Annotated[int, Between(1, 256)] = 6,
    clip_scale: Annotated[float, Between(0.1, 4)] = 0.5,
    templates: Annotated[Sequence[str], Length(1, 1024)] | Literal["published"] | None = None,
    points: Annotated[int, Between(1, 1000000)] = 12544,
    class_weight: Annotated[float, Between(0, 1000)] = 2.0,
    mask_weight: Annotated[float, Between(0, 1000)] = 5.0,
    dice_weight: Annotated[float, Between(0, 1000)] = 5.0,
    no_object_weight: Annotated[float, Between(0, 1000)] = 0.1,
    gradient_clip: Annotated[float, Between(1e-06, 1000000)] | None = 0.01,
    checkpoint: str | None = None,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: the CLIP, a name of open_clip such as ``ViT-B-16-quickgelu``, or that of a config beside its weights.
        encoder_weights: its tag, such as ``openai``, or a local .safetensors file.
        phrases: of each class its synonyms, which are embedded; None where trained weights bring their embeddings.
        ids: those that mean something, of 0 to C; None for all, or where trained weights bring them.
        queries: masks that are proposed.
        width: channels of the side adapter.
        depth: its blocks.
        heads: of its attention; `width` is a multiple.
        clip_scale: resolution of CLIP's image relative to the side adapter's; 0.7 for patches of 14 pixels.
        templates: sentences with one ``{}``, whose embeddings are averaged; None for the published ones.
        points: at which masks are compared in training.
        class_weight: factor of the cross entropy of the classes of masks.
        mask_weight: that of the binary cross entropy of masks.
        dice_weight: that of the dice loss of masks.
        no_object_weight: factor, within the cross entropy, of masks that stand for no class.
        gradient_clip: largest norm of the gradient over all weights; None does not clip.
        checkpoint: a .safetensors or .pth file under the authors' names that training begins with.

    Raises:
        ParamsError: the options contradict each other.
        DataError: the checkpoint cannot be read.
        ModelError: the CLIP or the checkpoint does not exist or does not fit.
    """
    _check(width, heads, templates)
    clip = load_clip(encoder, encoder_weights)
    frozen = FrozenClip.of(clip)
    words = _words(clip, frozen.features, num_classes, phrases, ids, templates)
    weights = Weights(class_weight, mask_weight, dice_weight, no_object_weight)
    sizes = Sizes(queries, width, depth, heads, clip_scale)
    network = San(frozen, words[TEXTS], words[MEANT], sizes, weights, points, gradient_clip)
    known = f"frozen {encoder} with the weights {encoder_weights} (SHA-256 {frozen.hexdigest[:16]})"
    if checkpoint and phrases is not None:  # else all weights are those of a trained model
        known += f"; {_load_checkpoint(network, checkpoint)}"
    setattr(network, LOADED, known)
    return network


def _load_checkpoint(network: San, checkpoint: str) -> str:
    state = read_weights(Path(checkpoint), CHECKPOINT)
    return official.load_checkpoint(network, state, f"{CHECKPOINT}: {checkpoint}")


def _words(
    clip: Clip,
    features: int,
    num_classes: int,
    phrases: Sequence[Sequence[str]] | None,
    ids: Sequence[int] | None,
    templates: Templates,
) -> dict[str, torch.Tensor]:
    if phrases is None:
        return {TEXTS: torch.zeros(num_classes, features), MEANT: torch.ones(num_classes + 1, dtype=torch.bool)}
    return _vocabulary(clip, phrases, range(num_classes + 1) if ids is None else ids, templates)


def _vocabulary(
    clip: Clip, phrases: Sequence[Sequence[str]], ids: Sequence[int], templates: Templates
) -> dict[str, torch.Tensor]:
    sentences = TEMPLATES if templates is None or isinstance(templates, str) else templates
    embedded = [index for index in range(len(phrases)) if index + 1 in ids]
    found = clip.classifier([phrases[index] for index in embedded], sentences)
    texts = found.new_zeros(len(phrases), found.shape[1])
    texts[embedded] = found
    return {TEXTS: texts, MEANT: torch.tensor([index in ids for index in range(len(phrases) + 1)])}


def _check(width: int, heads: int, templates: Templates) -> None:
    if width % heads:
        raise ParamsError(f"train.options.san.width: expected a multiple of its {heads} heads, found {width}")
    for template in () if templates is None or isinstance(templates, str) else templates:
        if "{}" not in template:
            raise ParamsError(f"train.options.san.templates: expected {{}} where the class goes, found {template!r}")
