"""Errors that say that memory ran out, whichever library raised them, and what takes less of it."""

from __future__ import annotations

import re

# What torch, CUDA, OpenCV and C++ say; none of them raises Python's own MemoryError.
SIGNS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|insufficient memory|bad_alloc|ALLOC_FAILED|"
    r"Storage size calculation overflowed|numel: integer multiplication overflow|Unable to allocate",
    re.IGNORECASE,
)
WISH = re.compile(r"(?:tried to allocate|Unable to allocate|Failed to allocate) ([\d.,]+ ?(?:[KMGTPE]?i?B|bytes)?)")

# What makes the pictures, batches or models of a stage smaller.
REMEDIES = {
    "extract": "set extract.max_side, or WILDSEG_WORKERS to fewer",
    "label": "set extract.max_side (or label.language.max_side) lower, fewer label.options tiles, or WILDSEG_WORKERS "
    "to fewer",
    "cam": "lower cam.max_side or the largest of cam.scales, or set WILDSEG_WORKERS to fewer",
    "crf": "set extract.max_side, or WILDSEG_WORKERS to fewer",
    "train": "lower train.crop or train.batch_size",
    "eval": "lower the largest of eval.scales, or set extract.max_side or WILDSEG_WORKERS to fewer",
}
REMEDY = "make the pictures smaller (extract.max_side), or set WILDSEG_WORKERS to fewer"


def describe(error: BaseException, command: str | None = None) -> str | None:
    """Return the line for an error that says that memory ran out; None if it says something else.

    Args:
        error: whatever was raised, here or in a worker.
        command: what was running, such as ``cam``.
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not SIGNS.search(text):
        return None
    asked = WISH.search(text)
    wish = f" ({asked[1].strip()} were asked for at once)" if asked else ""
    on = "the GPU's memory" if "CUDA" in text or "MPS" in text else "memory"
    return f"{command + ': ' if command else ''}{on} ran out{wish}; {REMEDIES.get(command or '', REMEDY)}"
