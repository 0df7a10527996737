"""The sections crf and weak as params.yaml ships them, but for what a test changes; limits are not checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wildseg.crf.params import Crf, Weak
from wildseg.execution import defaults


def with_changes(crf: Crf, **changes: Any) -> Crf:  # noqa: ANN401
    """Return the parameters with changes, those of a term by names such as `gaussian_sxy`."""
    for name, value in changes.items():
        term, _, own = name.partition("_")
        if term in ("gaussian", "bilateral", "temporal"):
            crf = replace(crf, **{term: replace(getattr(crf, term), **{own: value})})  # type: ignore[arg-type]
        else:
            crf = replace(crf, **{name: value})
    return crf


def crf_params(**changes: Any) -> Crf:  # noqa: ANN401
    """Return the section crf, see `with_changes`."""
    return with_changes(defaults.section(Crf, "crf"), **changes)


def weak_params(**changes: Any) -> Weak:  # noqa: ANN401
    """Return the section weak."""
    return replace(defaults.section(Weak, "weak"), **changes)
