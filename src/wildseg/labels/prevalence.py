"""Classes that are in nearly all frames, or in none: labels that tell nothing, unless the world is like that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEARLY_ALL = 0.95  # share of the frames
MIN_FRAMES = 10  # frames; a few pictures of one place may well all show the same
MAX_NAMES = 12  # names in a line


def prevalence_warnings(present: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Return a line for classes in more than 95 % of the frames, from ten on, and a line for those in none.

    Args:
        present: (n, K) bool.
        class_names: the K names.
    """
    number = len(present)
    in_frames = present.sum(0).tolist()
    in_all = [number >= MIN_FRAMES and own > NEARLY_ALL * number for own in in_frames]
    in_none = [own == 0 for own in in_frames]
    lines = []
    if any(in_all):
        lines.append(
            f"{_named(in_all, class_names)} in more than {100 * NEARLY_ALL:g} % of {number} frames; right for what is "
            "always in view, else raise label.threshold or take a model that knows these words"
        )
    if any(in_none):
        lines.append(
            f"{_named(in_none, class_names)} in none of {number} frames, so no map or mask will have it; if "
            "it is in view, lower label.threshold or choose other phrases"
        )
    return lines


def _named(chosen: Sequence[bool], class_names: Sequence[str]) -> str:
    names = [name for name, is_in in zip(class_names, chosen, strict=True) if is_in]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    verb = "is" if len(names) == 1 else "are"
    count = "" if len(names) == 1 else f" ({len(names)} of {len(class_names)} classes)"
    return f"{', '.join(names[:MAX_NAMES])}{more}{count} {verb}"
