"""The set of texts that share a softmax, on which a class's probability depends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wildseg.core.errors import ParamsError, one_of

if TYPE_CHECKING:  # a stage imports the error message without torch
    from wildseg.cam.trace import Trace

# What stands beside the background phrases: the classes present in the frame, as in CLIP-ES, or all classes.
COMPETITORS = ("present", "all")


def columns(trace: Trace, texts: int, competitors: str, method: str) -> list[int]:
    """Return the columns of the logits that share a softmax, in order; the queried classes are among them.

    Where ``present`` leaves a class without anything to compete with, all classes take part: one class that is alone in
    its frame, without background phrases, would have probability 1 whatever the frame shows, and an empty map.

    Args:
        trace: the recorded pass.
        texts: how many columns there are.
        competitors: one of `COMPETITORS`.
        method: its name, for messages.

    Raises:
        ParamsError: an unknown value, or a single text.
    """
    one_of(f"cam.options.{method}.competitors", competitors, COMPETITORS)
    if texts < 2:
        raise ParamsError(no_competitors_message(method))
    present = [c for c in range(texts) if c in trace.classes or c >= trace.num_classes]
    return list(range(texts)) if competitors == "all" or len(present) < 2 else present


def no_competitors_message(method: str) -> str:
    """Return the error message for one class without background phrases."""
    return (
        f"cam.method: {method} compares a class with others, and there is one class and no background phrase, so that "
        "its map would be zero everywhere; expected more classes, phrases under background (or background: auto), or a "
        "method without a softmax, such as gradcam"
    )
