"""What an architecture's file may bring beside `build`: a normalisation of images, files, and classes by their phrases.

``NEEDS = frozenset({"phrases"})`` makes it an open-vocabulary architecture, beside a frozen CLIP. Its `build` takes
`phrases` and `ids`, and its `vocabulary` returns what of a network's state these decide, so that a trained network is
given other classes. CLIP is never saved with it; the config names its weights, which are found again when the network
is loaded. ``FILES`` names the options that are paths, from the project's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wildseg.encoders.cnn import normalisation
from wildseg.segment.vocabulary import NAMED, PHRASES, found_weights

if TYPE_CHECKING:
    import torch

    from wildseg.segment.params import Train

Build = Callable[..., "torch.nn.Module"]
Options = Mapping[str, Any]


def needs_phrases(module: ModuleType) -> bool:
    """Return whether an architecture embeds the phrases of the classes."""
    return PHRASES in getattr(module, "NEEDS", ())


def norm_of(module: ModuleType, train: Train) -> normalisation.Normalisation:
    """Return mean and deviation of the images of an architecture's encoder; a path starts at the working folder.

    Raises:
        WildsegError: the encoder's weights cannot be had.
    """
    own: Callable[..., normalisation.Normalisation] = getattr(module, "normalisation", normalisation.of)
    return own(train.encoder, train.encoder_weights)


def with_templates(module: ModuleType, options: Options, templates: Sequence[str] | str) -> Options:
    """Return the options with `templates`, where the architecture embeds phrases and they are null; not by a word."""
    if not needs_phrases(module) or options.get("templates") is not None or isinstance(templates, str):
        return options
    return {**options, "templates": list(templates)}


def files_of(module: ModuleType, options: Options, root: Path) -> dict[str, Path]:
    """Return by name the options that are files, from the project's folder `root`."""
    return {name: root / options[name] for name in getattr(module, "FILES", ()) if options.get(name)}


def builder(module: ModuleType, phrases: Sequence[Sequence[str]], ids: Sequence[int], root: Path) -> Build:
    """Return `build` of an architecture, with the phrases of the classes and the valid ids where it needs them.

    Its options that are files start at `root`, the project's folder.
    """
    build: Build = partial(module.build, phrases=phrases, ids=ids) if needs_phrases(module) else module.build

    def located(num_classes: int, encoder: str, weights: str | None, **options: Any) -> torch.nn.Module:  # noqa: ANN401
        files = {name: str(path) for name, path in files_of(module, options, root).items()}
        return build(num_classes, encoder, weights, **{**options, **files})

    return located


def rebuilder(module: ModuleType, config: Mapping[str, Any], where: str) -> Build:
    """Return `build` of the architecture of a trained model, with the encoder weights that its config names, if any.

    A file is looked up in `where`, in the folders that this lies in, the nearest first, and in the working folder.
    """
    if not config.get(NAMED):
        return module.build  # type: ignore[no-any-return]

    def build(num_classes: int, encoder: str, _: str | None, **options: Any) -> torch.nn.Module:  # noqa: ANN401
        return module.build(num_classes, encoder, found_weights(config, where), **options)  # type: ignore[no-any-return]

    return build


def vocabulary(
    module: ModuleType, config: Mapping[str, Any], phrases: Sequence[Sequence[str]], where: str
) -> dict[str, torch.Tensor]:
    """Return the tensors of a network's state that its classes decide, for the ids and the CLIP of a config.

    Args:
        module: an open-vocabulary architecture.
        config: of the model, with the ids that mean something.
        phrases: of each class its synonyms.
        where: the folder of the model, see `rebuilder`.

    Raises:
        ModelError: the weights of the CLIP cannot be found.
    """
    weights = found_weights(config, where)
    found: dict[str, torch.Tensor] = module.vocabulary(
        config["encoder"], weights, phrases, config["ids"], config["options"].get("templates")
    )
    return found
