"""Which texts share a softmax: what makes a class's probability depend on others, in all methods that use one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wildseg.core.errors import ParamsError, one_of

if TYPE_CHECKING:  # a stage asks for the words of an error, and has no use for torch
    from wildseg.cam.trace import Trace

# What stands beside the background phrases: the classes present in the frame, as in CLIP-ES, or all classes.
COMPETITORS = ("present", "all")


def columns(trace: Trace, texts: int, competitors: str, method: str) -> list[int]:
    """Return the columns of the logits that share a softmax, in order; those asked about are among them.

    Where ``present`` leaves a class without anything to compete with, all classes take part: one class that is alone in
    its frame, without background phrases, would have probability 1 whatever the frame shows, and an empty map.

    Args:
        trace: the recorded pass.
        texts: how many columns there are.
        competitors: one of `COMPETITORS`.
        method: its name, for messages.

    Raises:
        ParamsError: another word, or nothing at all to compete with.
    """
    one_of(f"cam.options.{method}.competitors", competitors, COMPETITORS)
    if texts < 2:
        raise ParamsError(no_competitors_message(method))
    asked = [c for c in range(texts) if c in trace.classes or c >= trace.num_classes]
    return list(range(texts)) if competitors == "all" or len(asked) < 2 else asked


def no_competitors_message(method: str) -> str:
    """Return the line for one class and no background phrase."""
    return (
        f"cam.method: {method} compares a class with others, and there is one class and no background phrase, so that "
        "its map would be zero everywhere; expected more classes, phrases under background (or background: auto), or a "
        "method without a softmax, such as gradcam"
    )
