"""Errors about a lack of memory, whichever library raised them, and the parameters that reduce its use."""

from __future__ import annotations

import re

# Messages of torch, CUDA, OpenCV and C++; none of them raises Python's own MemoryError.
SIGNS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|insufficient memory|bad_alloc|ALLOC_FAILED|"
    r"Storage size calculation overflowed|numel: integer multiplication overflow|Unable to allocate",
    re.IGNORECASE,
)
REQUEST = re.compile(r"(?:tried to allocate|Unable to allocate|Failed to allocate) ([\d.,]+ ?(?:[KMGTPE]?i?B|bytes)?)")

# Parameters that make the images, batches or models of a stage smaller.
REMEDIES = {
    "extract": "set extract.max_side, or WILDSEG_WORKERS to fewer",
    "label": "set extract.max_side (or label.language.max_side) lower, fewer label.options tiles, or WILDSEG_WORKERS "
    "to fewer",
    "cam": "lower cam.max_side or the largest of cam.scales, or set WILDSEG_WORKERS to fewer",
    "crf": "set extract.max_side, or WILDSEG_WORKERS to fewer",
    "train": "lower train.crop or train.batch_size",
    "predict": "give a --window or a --max-side, or set WILDSEG_WORKERS to fewer",
    "eval": "lower the largest of eval.scales, or set extract.max_side or WILDSEG_WORKERS to fewer",
}
REMEDY = "make the pictures smaller (extract.max_side), or set WILDSEG_WORKERS to fewer"


def describe(error: BaseException, command: str | None = None) -> str | None:
    """Return the line for an error about a lack of memory; None for any other error.

    Args:
        error: raised here or in a worker.
        command: what was running, such as ``cam``.
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not SIGNS.search(text):
        return None
    request = REQUEST.search(text)
    size = f" ({request[1].strip()} were requested at once)" if request else ""
    on = "the GPU's memory" if "CUDA" in text or "MPS" in text else "memory"
    return f"{command + ': ' if command else ''}{on} ran out{size}; {REMEDIES.get(command or '', REMEDY)}"
