"""The entries of the page of frames: what is measured of a frame, its labels, and what a language model answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wildseg.report.frame_numbers import rounded
from wildseg.report.pictures import Label

LONGEST_ANSWER = 3000  # letters
SCORE_SHOWN = 0.2  # from which a class is shown that the frame is not labelled with


def frame_entry(
    name: str,
    source: str,
    split: str,
    time_s: float | None,
    labels: Sequence[Label],
    record: Mapping[str, Any],
    answer: str,
) -> dict[str, Any]:
    """Return the entry of a frame, as the page's script reads it.

    Args:
        name: of the frame, and of its pictures.
        source: its video or folder.
        split: what the frame was used for, in words.
        time_s: of the frame in its video; None for a photo.
        labels: of all classes.
        record: what `wildseg.report.frame_numbers.frame_numbers` returned, with ``maps``, the classes (indices from 0)
            whose maps its sheet has below the confidence, and ``size``, the (width, height) of the frame.
        answer: of a language model, empty where none was asked.
    """
    shown = [
        {
            "class": label.index + 1,
            "score": None if label.score is None else rounded(label.score),
            "present": label.present,
            "truth": label.in_truth,
        }
        for label in labels
        if label.present or label.in_truth or (label.score or 0.0) >= SCORE_SHOWN
    ]
    time = None if time_s is None else rounded(time_s)
    return {"name": name, "source": source, "split": split, "time": time, "labels": shown, "answer": answer, **record}


def answer_of(record: Mapping[str, Any]) -> str:
    """Return the replies of a language model in a line of answers.jsonl as one text, shortened; empty without any.

    Lines may be of an older version, so that whatever is no text is left out.
    """
    turns = record.get("turns", [])
    texts = [turn.get("answered") for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    whole = "\n\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
    return whole if len(whole) <= LONGEST_ANSWER else f"{whole[:LONGEST_ANSWER]} ... (cut; data/labels/answers.jsonl)"


def entries_of(page: str) -> list[dict[str, Any]]:
    """Return the entries that a page holds, in its order; none where it holds none, or is no page of this kind."""
    found = re.search(r'<script type="application/json" id="data-frames">(.*?)</script>', page, re.DOTALL)
    try:
        entries = json.loads(found[1]) if found else []
    except (ValueError, RecursionError):
        return []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("name"), str) and _is_size(one)]


def _is_size(entry: Mapping[str, Any]) -> bool:
    size = entry.get("size")
    return isinstance(size, list) and len(size) == 2 and all(isinstance(one, int) and one > 0 for one in size)
