"""The head of a checkpoint: of the classes that there are, or of others."""

from __future__ import annotations

from torch import Tensor

from wildseg.core.errors import ModelError


def check_classes(found: Tensor, own: Tensor, where: str, background: int = 0) -> None:
    """Raise a ModelError where a head differs from the network's in its number of classes alone.

    Args:
        found: weights (C', D, 1, 1) of the checkpoint's head.
        own: weights (C, D, 1, 1) of the network's.
        where: the parameter and the file, for the error line.
        background: channels of a head that are no class.
    """
    if found.shape[0] != own.shape[0] and found.shape[1:] == own.shape[1:]:
        raise ModelError(
            f"{where}: expected a checkpoint of {own.shape[0] - background} classes, as many as params.yaml has; found "
            f"one of {found.shape[0] - background}. Where the network is trained on, for more than 0 epochs, such a "
            "head is replaced by a new one"
        )
