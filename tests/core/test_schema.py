"""From mappings to dataclasses: each kind of value, each limit, and the line that each mistake gets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between
from wildseg.core.schema import convert, read

Share = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Between(0, above=True)]
Count = Annotated[int, Between(1)]


@dataclass(frozen=True)
class Inner:
    alpha: Share
    name: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    flip: bool
    sizes: tuple[Count, ...]


GOOD = {"inner": {"alpha": 1, "name": "a"}, "flip": False, "sizes": [1, 2]}


def test_a_mapping_becomes_a_dataclass_with_numbers_and_tuples() -> None:
    assert read(Outer, GOOD, "") == Outer(Inner(1.0, "a"), False, (1, 2))
    assert isinstance(read(Outer, GOOD, "").inner.alpha, float)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({**GOOD, "flp": 1}, "flp: there is no such parameter; did you mean 'flip'?"),
        ({**GOOD, "inner": {"alfa": 1, "alpha": 1, "name": "a"}},
         "inner.alfa: there is no such parameter; did you mean 'alpha'?"),
        ({**GOOD, "zzz": 1}, "zzz: there is no such parameter"),
        ({**GOOD, 3: 1}, "3: there is no such parameter"),
        ({"inner": GOOD["inner"], "flip": True}, "sizes: this parameter is missing from params.yaml"),
        ({**GOOD, "inner": {"alpha": 1}}, "inner.name: this parameter is missing from params.yaml"),
        ({**GOOD, "inner": None}, "inner: expected a section with keys, found None"),
        ({**GOOD, "inner": [1]}, "inner: expected a section with keys, found [1]"),
        ({**GOOD, "sizes": [1, 0]}, "sizes[1]: expected a whole number of at least 1, found 0"),
        (None, "params.yaml: expected a section with keys, found None"),
        ("text", "params.yaml: expected a section with keys, found 'text'"),
        ([1], "params.yaml: expected a section with keys, found [1]"),
    ],
)  # fmt: skip
def test_a_section_that_is_wrong_is_one_line_with_the_keys_full_name(content: object, line: str) -> None:
    with pytest.raises(ParamsError) as caught:
        read(Outer, content, "")
    assert str(caught.value) == line


def test_a_wrong_key_is_told_before_the_one_that_is_missing_for_it() -> None:
    with pytest.raises(ParamsError, match="did you mean 'sizes'"):
        read(Outer, {"inner": {}, "flip": True, "size": []}, "")


@pytest.mark.parametrize(
    ("hint", "value", "result"),
    [
        (float, 3, 3.0),
        (int, -3, -3),
        (str, "", ""),
        (bool, True, True),
        (Any, {"x": [1]}, {"x": [1]}),
        (Share, 0, 0.0),
        (Share, 1, 1.0),
        (Positive, 1e-300, 1e-300),
        (float | None, None, None),
        (Count | None, 2, 2),
        (tuple[str, ...], [], ()),
        (tuple[float, ...], (1, 2), (1.0, 2.0)),
        (dict[str, int], {}, {}),
        (dict[str, dict[str, Any]], {"a": {"b": None}}, {"a": {"b": None}}),
        (Literal["none", "argmax"], "argmax", "argmax"),
        (Literal["none", "argmax"], None, "none"),
        (Share | dict[str, Share] | Literal["auto"], "auto", "auto"),
        (Share | dict[str, Share] | Literal["auto"], 0, 0.0),
        (Share | dict[str, Share] | Literal["auto"], {"lawn": 1}, {"lawn": 1.0}),
        (tuple[str, ...] | Literal["auto"], ["a"], ("a",)),
    ],
)
def test_a_value_that_fits_is_taken(hint: Any, value: object, result: object) -> None:  # noqa: ANN401
    converted = convert(hint, value, "key")
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("hint", "value", "line"),
    [
        (float, "1", "expected a number, found '1'"),
        (float, True, "expected a number, found True"),
        (float, None, "expected a number, found None"),
        (float, math.nan, "expected a finite number, found nan"),
        (float, -math.inf, "expected a finite number, found -inf"),
        (int, 1.0, "expected a whole number, found 1.0"),
        (int, False, "expected a whole number, found False"),
        (bool, 1, "expected true or false, found 1"),
        (bool, "yes", "expected true or false, found 'yes'"),
        (str, 5, "expected a text, found 5"),
        (str, ["a"], "expected a text, found ['a']"),
        (Share, -0.1, "expected a number from 0 to 1, found -0.1"),
        (Share, 1.001, "expected a number from 0 to 1, found 1.001"),
        (Share, math.nan, "expected a finite number, found nan"),
        (Positive, 0, "expected a number above 0, found 0.0"),
        (Count, 0, "expected a whole number of at least 1, found 0"),
        (Annotated[int, Between(0, 2**32 - 1)], -1, "expected a whole number from 0 to 4294967295, found -1"),
        (Positive | None, -1, "expected a number above 0, found -1.0"),
        (Positive | None, "all", "expected a number above 0 or null; found 'all'"),
        (str | None, 4, "expected a text or null; found 4"),
        (tuple[str, ...], "a", "expected a list, found 'a'"),
        (dict[str, int], [1], "expected a mapping, found [1]"),
        (dict[str, int], {True: 1}, "expected a name, found True; put quotes around it"),
        (Literal["unet", "deeplab"], "unett", "expected one of unet, deeplab; found 'unett'; did you mean 'unet'?"),
        (Literal["unet", "deeplab"], None, "expected one of unet, deeplab; found None"),
        (Literal["unet"], ["unet"], "expected one of unet; found ['unet']"),
        (Share | dict[str, Share] | Literal["auto"], "atuo",
         "expected a number from 0 to 1 or a mapping or 'auto'; found 'atuo'; did you mean 'auto'?"),
        (Share | dict[str, Share] | Literal["auto"], 1.5, "expected a number from 0 to 1, found 1.5"),
        (tuple[str, ...] | Literal["auto"], None, "expected a list or 'auto'; found None"),
        (tuple[str, ...] | Literal["auto"], True, "expected a list or 'auto'; found True"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_one_line(hint: Any, value: object, line: str) -> None:  # noqa: ANN401
    with pytest.raises(ParamsError) as caught:
        convert(hint, value, "key")
    assert str(caught.value) == f"key: {line}"


def test_an_entry_inside_a_choice_of_kinds_is_named_by_its_own_key() -> None:
    with pytest.raises(ParamsError, match=r"^label\.threshold\.lawn: expected a number from 0 to 1, found 2\.0$"):
        convert(Share | dict[str, Share] | Literal["auto"], {"lawn": 2}, "label.threshold")
    with pytest.raises(ParamsError, match=r"^background\[1\]: expected a text, found None$"):
        convert(tuple[str, ...] | Literal["auto"], ["a", None], "background")


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ParamsError) as caught:
        convert(float, {str(number): number for number in range(1000)}, "key")
    assert len(str(caught.value)) < 150
