"""params.yaml as validated, frozen objects: the table of everything that changes a result.

There are no defaults here. A parameter that a params.yaml lacks has its value in the one that wildseg ships
(`wildseg.core.defaults`), an option of a method the default of the method's signature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from wildseg.core import defaults, lookup, renamed, yaml_files
from wildseg.core.classes import Classes
from wildseg.core.errors import ParamsError, did_you_mean
from wildseg.core.limits import Between, Count, Length, Natural, Seconds, Share, Side
from wildseg.core.schema import read

Seed = Annotated[int, Between(0, 2**32 - 1)]  # what NumPy takes
# A pass each; what attention needs of memory grows with the fourth power of a scale.
Scales = Annotated[tuple[Annotated[float, Between(0.1, 4)], ...], Length(1, 16)]
Exponent = Annotated[float, Between(0.01, 100)]
Weight = Annotated[float, Between(0, 10_000)]  # of a term of the CRF: its energies are at most 11.6
Deviation = Annotated[float, Between(0.1, 10_000)]  # of a kernel of the CRF: narrower than this, it is the pixel alone
LARGEST_BATCH = 2**29  # pixels, over all processes of a training: 6 GB of input alone
SHOWN = 8  # names of missing parameters in the line about them
Options = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Sharpest:
    """How the sharpest template is chosen: among which, on how many frames; see `wildseg.labels.sharpness`."""

    candidates: tuple[str, ...] | Literal["auto"]
    reduction: Literal["ratio_of_sums", "mean_of_ratios"]
    guard: Share
    frames: Count


@dataclass(frozen=True)
class Clip:
    """The image-text model and the sentences it is asked with."""

    model: str
    pretrained: str
    templates: tuple[str, ...] | Literal["sharpest"]
    sharpest: Sharpest


@dataclass(frozen=True)
class Extract:
    """From videos and photos to key frames."""

    source: str
    fps: Annotated[float, Between(1e-6, 10_000)] | None
    method: str
    options: Options
    duplicate_bits: Annotated[int, Between(0, 64)] | None
    min_sharpness: Annotated[float, Between(0, 10**7)]  # no 8-bit picture has more
    max_side: Side | None
    val: Share
    test: Share
    stretch_s: Seconds | None
    held_out: tuple[str, ...]
    max_failures: Share
    shard_above: Natural | None


@dataclass(frozen=True)
class Votes:
    """How many answers of a language model are asked for, and how they differ; see `labels.language.voting`."""

    number: Annotated[int, Between(1, 1000)]
    shuffle: bool
    flip: bool
    ties: Literal["present", "absent"]


@dataclass(frozen=True)
class Language:
    """The language model that some label methods ask, and how; see `wildseg.labels.language`.

    model: a name that the server knows, or a folder or name of weights that transformers reads where server is null.
    text_model and text_server: for what needs no eyes; null means the same.
    """

    model: str | None
    server: str | None
    text_model: str | None
    text_server: str | None
    definitions: dict[str, str]
    constrained: bool
    temperature: Annotated[float, Between(0, 2)]
    seed: Seed
    max_tokens: Annotated[int, Between(1, 10**6)]
    max_side: Side | None
    votes: Votes
    reminder: str


@dataclass(frozen=True)
class Label:
    """From key frames to the classes that are in them."""

    method: str
    rule: Literal["auto", "fixed", "relative"]
    threshold: Share | dict[str, Share] | Literal["auto"]
    fallback: Literal["none", "argmax"]
    smooth_s: Seconds | None
    max_failures: Share
    language: Language
    options: Options


@dataclass(frozen=True)
class Caa:
    """Class-aware attention affinity (CLIP-ES): which blocks, how often normalised, how far spread."""

    layers: Count
    skip_last: Natural
    sinkhorn: Annotated[int, Between(0, 1000)]
    power: Annotated[int, Between(1, 1000)]
    box: Share
    exclusive_box_ends: bool


@dataclass(frozen=True)
class Cam:
    """From frames and their labels to one activation map per class."""

    method: str
    refine: Literal["none", "caa"]
    scales: Scales
    flip: bool
    max_side: Side | None
    pos_embed_interpolation: Literal["bicubic", "bilinear_half"]
    boxes: str
    max_failures: Share
    options: Options
    caa: Caa


@dataclass(frozen=True)
class Gaussian:
    """The smoothness term of the CRF; sxy in pixels."""

    weight: Weight
    sxy: Deviation


@dataclass(frozen=True)
class Bilateral:
    """The appearance term of the CRF; sxy in pixels, srgb in grey levels of 0..255."""

    weight: Weight
    sxy: Deviation
    srgb: Deviation


@dataclass(frozen=True)
class Crf:
    """From activation maps to pseudo masks."""

    alpha: Exponent
    sharpen: Exponent
    iterations: Annotated[int, Between(0, 1000)]
    gaussian: Gaussian
    bilateral: Bilateral
    image_mode: Literal["rgb", "wrap_bgr_mean"]
    min_confidence: Share
    confidence_from: Literal["posterior", "maps"]
    max_failures: Share


@dataclass(frozen=True)
class Weak:
    """From activation maps to boxes, points and scribbles; no stage that `dvc repro` runs unasked has it."""

    tau: Share
    min_area: Share
    min_share: Share
    points: Natural
    scribble: Share
    background: Share
    pictures: Natural
    max_failures: Share


@dataclass(frozen=True)
class Train:
    """From pseudo masks to a segmentation model."""

    architecture: str
    encoder: str
    encoder_weights: str | None
    options: Options
    supervision: Literal["masks", "scribbles", "points"]
    loss: Literal["cross_entropy", "confidence_guided"]
    min_confidence: Annotated[float, Between(0, 2)]  # above 1 no pixel counts
    class_weights: Literal["none", "sqrt_inverse"]
    steps: Annotated[int, Between(1, 10**8)]
    batch_size: Annotated[int, Between(1, 4096)]
    crop: Annotated[int, Between(1, 8192)]
    lr: Annotated[float, Between(1e-12, 10)]
    weight_decay: Annotated[float, Between(0, 100)]
    scale: tuple[Annotated[float, Between(0.05, 20)], ...]
    flip: Share
    colour: Share
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    validate_every: Count
    checkpoint_every: Count


@dataclass(frozen=True)
class Eval:
    """What is measured and shown at the end."""

    pictures: Natural
    min_presence: Share
    scales: Scales
    flip: bool


@dataclass(frozen=True)
class Params:
    """All of params.yaml."""

    seed: Seed
    classes: Classes
    background: tuple[str, ...] | Literal["auto"]
    clip: Clip
    extract: Extract
    label: Label
    cam: Cam
    crf: Crf
    weak: Weak
    train: Train
    eval: Eval


# Where the value of a parameter names a file, and the function in it whose options params.yaml may set.
METHODS = (
    ("extract", "method", "methods.keyframes", "select"),
    ("label", "method", "methods.labels", "label"),
    ("cam", "method", "methods.cam", "cam"),
    ("train", "architecture", "methods.architectures", "build"),
)


def load(path: Path | str = "params.yaml", remark: Callable[[str], object] = lambda _: None) -> Params:
    """Read and check params.yaml; `remark` takes a line about old names, and one about keys that it lacks.

    Raises:
        ParamsError: the file is missing or not YAML, a key or value means nothing.
    """
    path = Path(path)
    try:
        content = yaml_files.load(path)
    except OSError as error:
        raise ParamsError(
            f"{path}: expected the parameters of the pipeline ({error}); run in the folder of dvc.yaml"
        ) from error
    return parse(content, remark)


def parse(content: object, remark: Callable[[str], object] = lambda _: None) -> Params:
    """Check the content of params.yaml, already read into plain mappings and lists.

    Missing keys have their defaults in what is returned, also the options of the chosen methods, so that a default that
    was written and one that was left out are the same to all that follows.

    Raises:
        ParamsError: a key or value means nothing.
    """
    olds = renamed.found(content)
    lacking: list[str] = []
    params = read(Params, renamed.with_new_names(content, olds), "", defaults.sections(), lacking)
    _check_methods(params)
    _check_consistency(params)
    if olds:
        remark(f"params.yaml: {renamed.line(olds)}")
    for section, key, folder, function in METHODS:
        values = getattr(params, section)
        chosen = getattr(values, key)
        written = values.options.get(chosen, {})
        known = defaults.of_options(section, chosen, lookup.option_defaults(folder, chosen, function))
        lacking += [
            f"{section}.options.{chosen}.{name}" for name in defaults.listed(section, chosen) if name not in written
        ]
        options = values.options | {chosen: written | {name: known[name] for name in known if name not in written}}
        params = replace(params, **{section: replace(values, options=options)})
    if lacking:
        shown = ", ".join(lacking[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
        remark(f"params.yaml lacks {shown}: defaults are used; 'wildseg init --update' writes them in")
    return params


def signatures() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the defaults of the options of every method, by its section and name."""
    return {
        (section, method): lookup.option_defaults(folder, method, function)
        for section, _, folder, function in METHODS
        for method in lookup.available(folder)
    }


def _check_methods(params: Params) -> None:
    for section, key, folder, function in METHODS:
        values = getattr(params, section)
        lookup.check(folder, getattr(values, key), f"{section}.{key}")
        for method, options in values.options.items():
            lookup.check(folder, method, f"{section}.options")
            lookup.check_options(folder, method, function, options, f"{section}.options.{method}")
        chosen = getattr(values, key)
        lookup.check_required(folder, chosen, function, values.options.get(chosen, {}), f"{section}.options.{chosen}")


def _check_consistency(params: Params) -> None:
    if params.extract.val + params.extract.test >= 1:
        raise ParamsError(
            "extract.val + extract.test: expected less than 1, so that something is left to train on; "
            f"found {params.extract.val + params.extract.test:g}"
        )
    if not all(phrase.strip() for phrase in params.background):
        raise ParamsError(f"background: expected phrases, found an empty one in {list(params.background)}")
    sentences = (
        ("clip.templates", params.clip.templates, "sharpest"),
        ("clip.sharpest.candidates", params.clip.sharpest.candidates, "auto"),
    )
    for key, templates, word in sentences:
        for template in () if templates == word else templates:
            if "{}" not in template:
                raise ParamsError(f"{key}: expected {{}} where the class goes, found {template!r}")
    for key, templates, _ in sentences:
        if not templates:
            raise ParamsError(f"{key}: expected at least one entry, found an empty list")
    if isinstance(params.label.threshold, dict):
        for name in params.label.threshold:
            if name not in params.classes.names:
                raise ParamsError(
                    f"label.threshold.{name}: there is no such class{did_you_mean(name, params.classes.names)}"
                )
    if params.train.loss == "confidence_guided" and params.train.supervision != "masks":
        raise ParamsError(
            f"train.loss: confidence_guided needs the confidence of pseudo masks, which {params.train.supervision} "
            "do not have; choose cross_entropy, or train.supervision: masks"
        )
    for name in params.label.language.definitions:
        if name not in params.classes.names:
            raise ParamsError(
                f"label.language.definitions.{name}: there is no such class{did_you_mean(name, params.classes.names)}"
            )
    if (pixels := params.train.batch_size * params.train.crop**2) > LARGEST_BATCH:
        raise ParamsError(
            f"train.crop: expected at most {math.isqrt(LARGEST_BATCH // params.train.batch_size)} pixels with a "
            f"train.batch_size of {params.train.batch_size}, found {params.train.crop}: a batch would have {pixels:,} "
            "pixels, more than any memory takes"
        )
    low_high = params.train.scale
    if len(low_high) != 2 or low_high[0] > low_high[1]:
        raise ParamsError(f"train.scale: expected [smallest, largest], found {list(low_high)}")
