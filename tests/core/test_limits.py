"""Every number of params.yaml, and every option of every method, is bounded: what lies beyond is one line, at once."""

from __future__ import annotations

import ast
import math
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import yaml

from tests.programs import wildseg
from wildseg.core import hints, lookup
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Length
from wildseg.execution import params

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

# Every value is tried at every number: what is not refused is sane, and stands here.
TRIED = (0, -1, 1e-320, 1e-6, 1e308, 10**12, 10**400, math.inf, -math.inf, math.nan, "big", [1], {"a": 1}, True)
UNBOUNDED: dict[str, str] = {}  # key: why it needs no upper limit


def leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """The dotted name and the type of every parameter but options, which their methods bound."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if hasattr(hint, "__dataclass_fields__") and name != "classes":
            yield from leaves(hint, f"{prefix}{name}.")
        elif name not in ("classes", "options"):
            yield f"{prefix}{name}", hint


def numbers(hint: Any, limit: Between | None = None) -> Iterator[Between | None]:  # noqa: ANN401
    """The limits of each number that a type allows, None where there are none."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from numbers(parts[0], next((part for part in parts[1:] if isinstance(part, Between)), None))
    elif origin is not Literal and parts:
        for part in parts:
            yield from numbers(part)
    elif hint in (int, float, Any):
        yield limit


def options() -> Iterator[tuple[str, str, Any]]:
    """Section, dotted key and type of each option of each method."""
    for section, _, folder, function in params.METHODS:
        for name in lookup.available(folder):
            for option, hint in hints.of_options(lookup._function(folder, name, function)).items():
                yield section, f"{section}.options.{name}.{option}", hint


LEAVES = dict(leaves(params.Params))
NUMERIC = {key: hint for key, hint in LEAVES.items() if list(numbers(hint))}
OPTIONS = {key: hint for _, key, hint in options()}


def changed(key: str, value: object) -> dict[str, Any]:
    """Copy the shipped values as far as one of them changes."""
    *sections, last = key.split(".")
    content = section = dict(DEFAULT)
    for name in sections:
        section[name] = section = dict(section.get(name, {}))
    section[last] = value
    return content


def line_of(key: str, value: object) -> str | None:
    """The line by which a value is refused, None where it is taken."""
    try:
        params.parse(changed(key, value))
    except ParamsError as error:
        return str(error)
    return None


def inside(hint: Any, value: object) -> bool:  # noqa: ANN401
    """Whether a number lies within the limits of a type, told by the type alone."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    found = [limit for limit in numbers(hint) if limit is not None]
    return any(limit.low <= value <= limit.high and not (limit.above and value == limit.low) for limit in found)


def test_the_numbers_are_all_there() -> None:
    assert len(NUMERIC) > 50
    assert {"seed", "train.crop", "crf.gaussian.sxy", "cam.scales", "label.language.votes.number"} <= set(NUMERIC)
    assert {"label.options.clip.tiles", "cam.options.maskclip.scale", "train.options.unet.decoder_channels"} <= set(
        OPTIONS
    )


@pytest.mark.parametrize("key", [*NUMERIC, *(key for key, hint in OPTIONS.items() if list(numbers(hint)))])
def test_every_number_has_a_finite_upper_limit_and_a_lower_one(key: str) -> None:
    for limit in numbers({**NUMERIC, **OPTIONS}[key]):
        assert key in UNBOUNDED or (limit is not None and math.isfinite(limit.high) and math.isfinite(limit.low))


@pytest.mark.parametrize("key", OPTIONS)
def test_the_type_of_every_option_is_understood(key: str) -> None:
    assert OPTIONS[key] is not Any


@pytest.mark.parametrize("key", [*NUMERIC, *OPTIONS])
def test_a_value_is_refused_in_one_line_that_names_it_or_lies_within_the_limits(key: str) -> None:
    hint = {**NUMERIC, **OPTIONS}[key]
    for value in TRIED:
        line = line_of(key, value)
        if line is None:
            allowed = inside(hint, value) or (value is True and hint is bool) or (value == [1] and takes_lists(hint))
            assert allowed or (isinstance(value, str) and hint in (str, str | None)), value
        else:
            assert line.startswith(key), value
            assert "\n" not in line
            assert len(line) < 300


def takes_lists(hint: Any) -> bool:  # noqa: ANN401
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    kinds = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
    return any(get_origin(kind) is tuple or "Sequence" in str(kind) for kind in kinds)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cam.scales", [1e9]),
        ("cam.scales", [1.0] * 17),
        ("eval.scales", [1.0, math.nan]),
        ("label.options.clip.tiles", 1_000_000),
        ("train.crop", 1_000_000),
        ("crf.sharpen", 1e308),
        ("crf.iterations", 10**9),
        ("crf.gaussian.weight", 1e308),
        ("crf.gaussian.sxy", 1e-6),
        ("crf.bilateral.sxy", 1e-6),
        ("crf.bilateral.srgb", 1e-6),
        ("extract.fps", 1e308),
        ("extract.stretch_s", 1e-320),
        ("extract.options.uniform.every_s", 1e-320),
        ("cam.options.maskclip.scale", "big"),
        ("cam.options.maskclip.scale", math.nan),
        ("cam.options.naclip.sigma", 1e-320),
        ("cam.options.chefer.layers", 1.5),
        ("train.options.unet.decoder_channels", [0, 0, 0, 0]),
        ("train.options.unet.decoder_channels", [64, 48, 24, 10**9]),
        ("train.options.unet.decoder_channels", 64),
        ("train.options.deeplabv3plus.atrous_rates", [12, 24]),
        ("train.options.deeplabv3plus.output_stride", 12),
        ("label.options.vlm_cot.turns", True),
        ("label.options.given.path", 7),
        pytest.param("seed", 10**5000, id="seed of 5,000 digits"),
        ("label.threshold", 10**400),
    ],
)
def test_what_was_once_hours_a_crash_or_a_traceback_is_one_line(key: str, value: object) -> None:
    line = line_of(key, value)
    assert line is not None
    assert line.startswith(key)
    assert "expected" in line
    assert "found" in line


def test_a_batch_of_more_pixels_than_any_memory_takes_is_refused() -> None:
    content = changed("train.crop", 4096)
    content["train"]["batch_size"] = 64
    with pytest.raises(ParamsError, match=r"^train\.crop: expected at most 2896 pixels with a train\.batch_size of 64"):
        params.parse(content)
    content["train"]["crop"] = 2896
    params.parse(content)


def test_a_method_whose_needed_option_is_missing_is_told_before_any_work() -> None:
    content = changed("label.method", "given")
    content["label"]["options"] = {}
    with pytest.raises(ParamsError, match=r"^label\.options\.given\.path: given needs this option"):
        params.parse(content)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("int", int),
        ("Count | None", Annotated[int, Between(1, 10**9)] | None),
        ("Annotated[float, Between(0, 1, above=True)]", Annotated[float, Between(0, 1, above=True)]),
        ("Annotated[Sequence[int], Length(2, 3)]", Annotated[Sequence[int], Length(2, 3)]),
        ("Literal['a', 3]", Literal["a", 3]),
        ("Literal['a'] | Mapping[str, Sequence[str]]", Literal["a"] | dict[str, Sequence[str]]),
        ("numpy.ndarray", Any),
        ("Between(0, open('x'))", Any),
        ("Annotated[int, open('x', 'w')]", Any),
        ("dict[str, int]", Any),
    ],
)
def test_types_are_read_from_source_and_what_is_unknown_is_left_to_the_method(text: str, hint: Any) -> None:  # noqa: ANN401
    (function,) = ast.parse(f"def f(x, *, y: {text} = None): ...").body
    assert isinstance(function, ast.FunctionDef)
    assert hints.of_options(function)["y"] == hint


def test_lengths_and_limits_say_themselves_in_words() -> None:
    assert (str(Length(3, 3)), str(Length(1, 4))) == ("of 3 entries", "of 1 to 4 entries")


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("WILDSEG_WORKERS", "9" * 5000, "WILDSEG_WORKERS: expected at most 1024, found 999"),
        ("WILDSEG_WORKERS", "1025", "WILDSEG_WORKERS: expected at most 1024, found 1025"),
        ("WILDSEG_REQUESTS", "1e3", "WILDSEG_REQUESTS: expected a positive whole number, found '1e3'"),
        ("WILDSEG_REQUESTS_PER_MINUTE", "inf", "WILDSEG_REQUESTS_PER_MINUTE: expected a positive whole number"),
        ("WILDSEG_CACHE", "~nosuchuser/x", "WILDSEG_CACHE: expected a folder or off, found '~nosuchuser/x'"),
    ],
)
def test_a_variable_that_means_nothing_is_one_line(variable: str, value: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    command = "cache" if variable == "WILDSEG_CACHE" else "crf"
    answer = wildseg(command, cwd=tmp_path, **{variable: value})
    assert answer.code == 1
    assert answer.errors.startswith(f"wildseg: error: {line}")
    assert answer.errors.count("\n") == 1
    assert len(answer.errors) < 300
