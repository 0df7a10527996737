"""From logits to belief in classes: shared out among all that compete, or for each class on its own."""

from __future__ import annotations

from torch import Tensor

from wildseg.core.errors import ParamsError
from wildseg.encoders.clip import Clip

ACTIVATIONS = ("auto", "softmax", "sigmoid")


def probabilities(logits: Tensor, activation: str) -> Tensor:
    """Turn logits (B, C) into probabilities, over all C together (``softmax``) or for each on its own (``sigmoid``)."""
    return logits.softmax(-1) if activation == "softmax" else logits.sigmoid()


def resolve_activation(clip: Clip, wanted: str, method: str) -> str:
    """Return ``softmax`` or ``sigmoid``; ``auto`` becomes a sigmoid where the model learned a logit bias.

    Args:
        clip: the model.
        wanted: one of `ACTIVATIONS`.
        method: the label method, for the error line.

    Raises:
        ParamsError: a sigmoid of a model without logit bias.
    """
    if wanted == "sigmoid" and clip.bias is None:
        raise ParamsError(
            f"label.options.{method}.activation: sigmoid needs a model that learned a logit bias; {clip.name} has "
            "none; use auto or softmax"
        )
    if wanted != "auto":
        return wanted
    return "softmax" if clip.bias is None else "sigmoid"
