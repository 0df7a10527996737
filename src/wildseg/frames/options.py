"""The check that all key-frame methods make of their options."""

from __future__ import annotations

import math

from wildseg.core.errors import ParamsError


def check_number(
    key: str,
    value: object,
    *,
    low: float = -math.inf,
    above: bool = False,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raise a ParamsError unless `value` is a number from `low` (or, with `above`, above it).

    Args:
        key: the option under ``extract.options``, such as ``"uniform.every_s"``.
        value: what came.
        low: the limit.
        above: whether the limit itself is too low.
        whole: only whole numbers will do.
        optional: None will do as well.
    """
    if value is None and optional:
        return
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if is_number and (value > low if above else value >= low):  # type: ignore[operator]
        return
    limit = f" {'above' if above else 'from'} {low:g}" if low > -math.inf else ""
    expected = f"a {'whole ' if whole else ''}number{limit}{' or null' if optional else ''}"
    raise ParamsError(f"extract.options.{key}: expected {expected}, found {value!r}")
