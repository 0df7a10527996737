"""What labels amount to: metrics/label.json, the table of ranked templates, and a line on the chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wildseg.labels.sharpness import MIN_FRAMES, Ranking

TEMPLATE_COLUMNS = ("template", "sharpness", "top1", "verdict")


def summary(
    present: np.ndarray, num_background: int, ranking: Ranking | None, records: Sequence[Mapping[str, Any]] = ()
) -> dict[str, object]:
    """Return metrics/label.json; `sharpest` is null where the templates are a person's own.

    `language` is null where no language model was queried.

    Args:
        present: (n, K) bool.
        num_background: how many background phrases there are.
        ranking: of the templates. All of it is in metrics/label/templates.csv, since DVC shows a column per number.
        records: of the label method, one a frame; empty ones do not count.
    """
    return {
        "frames": len(present),
        "frames_without_class": int((~present.any(1)).sum()),
        "classes_per_frame": present.sum(1).mean(),
        "background_phrases": num_background,
        "sharpest": None if ranking is None else _best(ranking),
        "language": _spent([record for record in records if record]),
    }


def template_rows(ranking: Ranking | None) -> list[tuple[str, str, str, str]]:
    """Return the rows of metrics/label/templates.csv, the chosen template first; none without a ranking."""
    cell = lambda value: "" if value is None else f"{value:.6f}"  # noqa: E731
    rows = []
    for place, one in enumerate(ranking.candidates if ranking else ()):
        verdict = "uninformative" if one.below_guard else "" if place else "chosen"
        rows.append((one.template, cell(one.sharpness), cell(one.top1), verdict))
    return rows


def template_remark(ranking: Ranking) -> str:
    """Return a line on the chosen template, and why it was chosen."""
    best, number = ranking.candidates[0], len(ranking.candidates)
    if ranking.sufficient:
        return (
            f"{best.template!r} is the sharpest of {number} templates, {best.sharpness:.4f} on {ranking.frames} frames "
            f"of two classes or more; its top-1 accuracy is {best.top1:.1%}; "
            f"{ranking.below_guard} templates are uninformative"
        )
    why = "no frame shows any class" if best.top1 is None else f"the highest top-1 accuracy, {best.top1:.1%}"
    return (
        f"{ranking.frames} of {ranking.sampled_frames} frames show two classes or more, too few to rank templates "
        f"by sharpness ({MIN_FRAMES} are needed); of {number}, {best.template!r} is used: {why}"
    )


def _best(ranking: Ranking) -> dict[str, object]:
    best = ranking.candidates[0]
    return {
        "template": best.template,
        "sharpness": best.sharpness,
        "top1": best.top1,
        "candidates": len(ranking.candidates),
        "uninformative": ranking.below_guard,
        "frames": ranking.frames,
    }


def _spent(records: Sequence[Mapping[str, Any]]) -> dict[str, object] | None:
    """Return what language models cost: all that led to these labels, whenever it was queried."""
    if not records:
        return None
    turns = [turn for record in records for turn in record["turns"]]
    costs = [turn["cost"] for turn in turns if turn["cost"] is not None]
    return {
        "questions": len(turns),
        "retries": sum(record["retries"] for record in records),
        "parse_errors": sum(record["parse_errors"] for record in records),
        "refused_names": sum(len(record["refused"]) for record in records),
        "tokens_in": sum(turn["tokens"][0] for turn in turns),
        "tokens_out": sum(turn["tokens"][1] for turn in turns),
        "seconds": round(sum(turn["seconds"] for turn in turns), 3),
        "cost": sum(costs) if costs else None,
    }
