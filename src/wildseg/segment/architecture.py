"""What an architecture's file may bring beside `build`: the normalisation of images, and the need of class phrases.

A network beside a frozen CLIP (``NEEDS = frozenset({"phrases"})``) is built with `phrases` and `ids`. Its encoder is
never saved with it; the config names its weights, which are found again when the network is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn import normalisation

if TYPE_CHECKING:
    import torch

    from wildseg.segment.params import Train

NAMED = "encoder_weights"  # in a config: the weights of an encoder that is not saved with the network
Build = Callable[..., "torch.nn.Module"]


def needs_phrases(module: ModuleType) -> bool:
    """Return whether an architecture embeds the phrases of the classes."""
    return "phrases" in getattr(module, "NEEDS", ())


def norm_of(module: ModuleType, train: Train) -> normalisation.Normalisation:
    """Return mean and deviation of the images of an architecture's encoder; a path starts at the working folder.

    Raises:
        WildsegError: the encoder's weights cannot be had.
    """
    own: Callable[..., normalisation.Normalisation] = getattr(module, "normalisation", normalisation.of)
    return own(train.encoder, train.encoder_weights)


def builder(module: ModuleType, phrases: Sequence[Sequence[str]], ids: Sequence[int]) -> Build:
    """Return `build` of an architecture, with the phrases of the classes and the valid ids where it needs them."""
    build: Build = module.build
    return partial(build, phrases=phrases, ids=ids) if needs_phrases(module) else build


def rebuilder(module: ModuleType, config: Mapping[str, Any], where: str) -> Build:
    """Return `build` of the architecture of a trained model, with the encoder weights that its config names, if any.

    A file is looked up in `where`, in the folders that this lies in, the nearest first, and in the working folder.
    """
    if not (named := config.get(NAMED)):
        return module.build  # type: ignore[no-any-return]

    def build(num_classes: int, encoder: str, _: str | None, **options: Any) -> torch.nn.Module:  # noqa: ANN401
        return module.build(num_classes, encoder, _found(str(named), where), **options)  # type: ignore[no-any-return]

    return build


def _found(named: str, where: str) -> str:
    if not named.endswith(".safetensors"):
        return named
    folders = [Path(where), *Path(where).absolute().parents, Path()]
    for folder in folders:
        if (path := folder / named).is_file():
            return str(path)
    raise ModelError(
        f"{where}: expected the weights of the CLIP of this model, {named}, in the working folder or in one "
        "that the model lies in; found none"
    )
