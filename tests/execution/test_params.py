"""params.yaml: what stands in it is accepted, and whatever a person gets wrong in it is told in one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.execution import params
from wildseg.tracking.values import flatten_params

REFINEMENTS = "caa, features, lposs, memory, none, pamr, propagate"
ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(key: str, value: object) -> dict[str, Any]:
    """The default with `value` at the dotted `key`."""
    content = copy.deepcopy(DEFAULT)
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    section[last] = value
    return content


def without(key: str) -> dict[str, Any]:
    """The default without the dotted `key`."""
    content = copy.deepcopy(DEFAULT)
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    del section[last]
    return content


def sections(content: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of all mappings whose keys are fixed."""
    named = [prefix] if prefix else [""]
    for name, value in content.items():
        if isinstance(value, dict) and name not in ("classes", "colours", "options", "threshold", "definitions"):
            named += sections(value, f"{prefix}.{name}" if prefix else name)
    return named


def keys(content: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of all parameters, sections included."""
    named = []
    for name, value in content.items():
        named.append(f"{prefix}{name}")
        if isinstance(value, dict) and name not in ("classes", "colours", "options", "threshold", "definitions"):
            named += keys(value, f"{prefix}{name}.")
    return named


def error(content: object) -> str:
    with pytest.raises(ParamsError) as caught:
        params.parse(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is right -------------------------------------------------------------------------------------------------------


def test_the_default_is_accepted_and_holds_what_the_file_says() -> None:
    values = params.load(ROOT / "params.yaml")
    assert values.classes.names == tuple(DEFAULT["classes"])
    assert values.crf.gaussian.weight == DEFAULT["crf"]["gaussian"]["weight"]
    assert values.cam.scales == tuple(DEFAULT["cam"]["scales"])
    assert values == params.parse(DEFAULT)


def test_values_cannot_be_changed_afterwards() -> None:
    values = params.load(ROOT / "params.yaml")
    with pytest.raises(AttributeError):
        values.seed = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        values.crf.gaussian.weight = 1.0  # type: ignore[misc]


def test_every_option_of_every_method_that_stands_in_the_default_exists() -> None:
    known: dict[str, set[str]] = {}
    for section, _, folder, function in params.METHODS:
        if function:  # a section may choose methods of several kinds, whose options stand side by side
            assert not known.get(section, set()) & set(lookup.available(folder))
            known.setdefault(section, set()).update(lookup.available(folder))
    for section, names in known.items():
        assert set(DEFAULT[section]["options"]) <= names


@pytest.mark.parametrize(("section", "key", "folder"), [entry[:3] for entry in params.METHODS])
def test_every_method_can_be_chosen(section: str, key: str, folder: str) -> None:
    for name in lookup.available(folder):
        assert getattr(getattr(params.parse(changed(f"{section}.{key}", name)), section), key) == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("background", []),
        ("background", "auto"),
        ("background", ["street light", "草地"]),
        ("clip.templates", "sharpest"),
        ("clip.sharpest.candidates", ["{}"]),
        ("label.threshold", 0.3),
        ("label.threshold", {"lawn": 0.1, "soil": 1}),
        ("extract.fps", None),
        ("extract.duplicate_bits", None),
        ("extract.stretch_s", None),
        ("extract.max_side", None),
        ("cam.scales", [0.5, 1, 2]),
        ("cam.refine", None),
        ("cam.refine", []),
        ("cam.refine", ["caa"]),
        ("cam.refine", ["caa", "lposs", "propagate", "pamr"]),
        ("cam.options", {}),
        ("train.lr", 1),
        ("seed", 2**32 - 1),
        ("classes", {"草地": "草地"}),
    ],
)
def test_what_the_table_allows_is_accepted(key: str, value: object) -> None:
    params.parse(changed(key, value))


def test_numbers_as_dvc_writes_them_are_numbers(tmp_path: Path) -> None:
    # `dvc exp run -S train.weight_decay=0.00001` leaves this text in params.yaml.
    text = yaml.safe_dump(DEFAULT).replace("weight_decay: 0.0001", "weight_decay: 1e-05")
    assert "1e-05" in text
    (tmp_path / "params.yaml").write_text(text)
    assert params.load(tmp_path / "params.yaml").train.weight_decay == 1e-05


# Keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", sections(DEFAULT))
def test_an_unknown_key_is_refused_at_every_depth(section: str) -> None:
    key = f"{section}.qqqqq" if section else "qqqqq"
    assert error(changed(key, 1)) == f"{key}: there is no such parameter"


@pytest.mark.parametrize("key", keys(DEFAULT))
def test_a_misspelt_key_is_told_its_nearest_neighbour(key: str) -> None:
    *parents, name = key.split(".")
    misspelt = ".".join([*parents, f"{name}x"])
    assert error(changed(misspelt, 1)) == f"{misspelt}: there is no such parameter; did you mean {name!r}?"


def test_classes_have_no_default() -> None:
    assert error(without("classes")) == "classes: this parameter is missing from params.yaml"


# The file gives the demo's network and key frames other options than their methods' signatures.
OTHERS = ("classes", "extract", "extract.options", "train", "train.options")


@pytest.mark.parametrize("key", [key for key in keys(DEFAULT) if key not in OTHERS])
def test_a_missing_key_takes_its_default_at_every_depth_and_is_named(key: str) -> None:
    said: list[str] = []
    assert chosen(params.parse(without(key), said.append)) == chosen(params.parse(DEFAULT))
    (line,) = said
    assert line.startswith(f"params.yaml lacks {key}")
    assert line.endswith(": defaults are used; 'wildseg init --update' writes them in")


def chosen(values: params.Params) -> dict[str, str]:
    """All values, of options those of the methods that were chosen."""
    return flatten_params(values)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("label.options.clip.tiles", "auto"),
        ("train.options.unet.encoder_depth", 5),  # the method's own, not that of the demo in params.yaml
        ("train.options.unet.decoder_channels", [256, 128, 64, 32, 16]),
        ("extract.options.absdiff.width", None),
    ],
)
def test_a_missing_option_of_the_chosen_method_has_the_default_of_its_signature(key: str, default: object) -> None:
    said: list[str] = []
    section, _, method, option = key.split(".")
    values = getattr(params.parse(without(key), said.append), section)
    assert values.options[method][option] == default
    assert said == [f"params.yaml lacks {key}: defaults are used; 'wildseg init --update' writes them in"]


def test_a_missing_prompt_is_the_shipped_one() -> None:
    content = without("label.options.vlm_direct")
    content["label"]["method"] = "vlm_direct"
    expected = DEFAULT["label"]["options"]["vlm_direct"]["prompt"]
    assert params.parse(content).label.options["vlm_direct"]["prompt"] == expected


def test_many_missing_keys_are_one_line_that_names_the_first_and_counts_the_rest() -> None:
    said: list[str] = []
    params.parse({name: DEFAULT[name] for name in ("classes", "seed", "background")}, said.append)
    (line,) = said
    assert line.startswith("params.yaml lacks colours, clip, extract, label, cam, crf, weak, train and ")
    assert len(line) < 200


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("seed", -1, "seed: expected a whole number from 0 to 4294967295, found -1"),
        ("seed", "0", "seed: expected a whole number, found '0'"),
        ("background", "atuo", "background: expected a list or 'auto'; found 'atuo'; did you mean 'auto'?"),
        ("background", [""], "background: expected phrases, found an empty one in ['']"),
        ("clip.templates", [], "clip.templates: expected at least one entry, found an empty list"),
        ("clip.templates", ["a photo"], "clip.templates: expected {} where the class goes, found 'a photo'"),
        ("clip.templates", "sharpst", "clip.templates: expected a list or 'sharpest'; found 'sharpst'; "
                                      "did you mean 'sharpest'?"),
        ("clip.sharpest.candidates", [], "clip.sharpest.candidates: expected at least one entry, found an empty list"),
        ("clip.sharpest.candidates", ["{}", "it"], "clip.sharpest.candidates: expected {} where the class goes, "
                                                   "found 'it'"),
        ("clip.sharpest.candidates", "atuo", "clip.sharpest.candidates: expected a list or 'auto'; found 'atuo'; "
                                             "did you mean 'auto'?"),
        ("clip.sharpest.reduction", "ratio_of_sum", "clip.sharpest.reduction: expected one of ratio_of_sums, "
                                                    "mean_of_ratios; found 'ratio_of_sum'; "
                                                    "did you mean 'ratio_of_sums'?"),
        ("clip.sharpest.guard", 5, "clip.sharpest.guard: expected a number from 0 to 1, found 5.0"),
        ("clip.sharpest.frames", 0, "clip.sharpest.frames: expected a whole number from 1 to 1000000000, found 0"),
        ("clip.pretrained", None, "clip.pretrained: expected a text, found None"),
        ("extract.fps", 0, "extract.fps: expected a number from 1e-06 to 10000, found 0.0"),
        ("extract.source", None, "extract.source: expected a text, found None"),
        ("extract.duplicate_bits", 65, "extract.duplicate_bits: expected a whole number from 0 to 64, found 65"),
        ("extract.held_out", "drive", "extract.held_out: expected a list, found 'drive'"),
        ("extract.max_failures", 10, "extract.max_failures: expected a number from 0 to 1, found 10.0"),
        ("extract.shard_above", -1, "extract.shard_above: expected a whole number from 0 to 1000000000, found -1"),
        ("label.fallback", "argmx", "label.fallback: expected one of none, argmax; found 'argmx'; "
                                    "did you mean 'argmax'?"),
        ("label.threshold", 2, "label.threshold: expected a number from 0 to 1, found 2.0"),
        ("label.threshold", {"lwan": 0.2}, "label.threshold.lwan: there is no such class; did you mean 'lawn'?"),
        ("label.threshold", {"lawn": "low"}, "label.threshold.lawn: expected a number, found 'low'"),
        ("cam.refine", "caaa", f"cam.refine: expected one of {REFINEMENTS}; found 'caaa'; did you mean 'caa'?"),
        ("cam.refine", ["caa", "pmar"], f"cam.refine: expected one of {REFINEMENTS}; found 'pmar'; "
                                        "did you mean 'pamr'?"),
        ("cam.refine", ["none", "caa", "pamr"], "cam.refine: expected none alone, or refinements without it; found "
                                                "none beside caa, pamr"),
        ("cam.refine", ["caa", "caa"], "cam.refine: expected each refinement once, found caa twice"),
        ("cam.refine", ["lposs", "pamr", "caa"], "cam.refine: expected caa before pamr; caa refines the patches of "
                                                 "each pass, and pamr the pixels of the frame after them"),
        ("cam.refine", 5, "cam.refine: expected 'none' or a text or a list; found 5"),
        ("cam.options.pamr", {"dilations": [0]}, "cam.options.pamr.dilations[0]: expected a whole number from 1 to "
                                                 "1000, found 0"),
        ("cam.options.lposs", {"alpha": 1.0}, "cam.options.lposs.alpha: expected a number from 0 to 0.9999, found 1.0"),
        ("cam.scales", [], "cam.scales: expected a list of 1 to 16 entries, found []"),
        ("cam.scales", 1.0, "cam.scales: expected a list, found 1.0"),
        ("cam.scales", [1.0, 0], "cam.scales[1]: expected a number from 0.1 to 4, found 0.0"),
        ("cam.flip", "yes", "cam.flip: expected true or false, found 'yes'"),
        ("cam.caa.layers", 0, "cam.caa.layers: expected a whole number from 1 to 1000000000, found 0"),
        ("cam.caa.box", -0.4, "cam.caa.box: expected a number from 0 to 1, found -0.4"),
        ("crf.alpha", 0, "crf.alpha: expected a number from 0.01 to 100, found 0.0"),
        ("crf.iterations", 2.5, "crf.iterations: expected a whole number, found 2.5"),
        ("crf.bilateral", 8, "crf.bilateral: expected a section with keys, found 8"),
        ("crf.gaussian.sxy", 0, "crf.gaussian.sxy: expected a number from 0.1 to 10000, found 0.0"),
        ("train.scale", [1.3, 0.75], "train.scale: expected [smallest, largest], found [1.3, 0.75]"),
        ("train.scale", [1.0], "train.scale: expected [smallest, largest], found [1.0]"),
        ("train.loss", None, "train.loss: expected a text, found None"),
        ("train.precision", "bf", "train.precision: expected one of auto, fp32, bf16, fp16; found 'bf'; "
                                  "did you mean 'bf16'?"),
        ("train.steps", 0, "train.steps: expected a whole number from 1 to 100000000, found 0"),
        ("eval.scales", [], "eval.scales: expected a list of 1 to 16 entries, found []"),
        ("eval.pictures", -1, "eval.pictures: expected a whole number from 0 to 1000000000, found -1"),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_one_line(key: str, value: object, line: str) -> None:
    assert error(changed(key, value)) == line


def test_nothing_left_to_train_on_is_refused() -> None:
    content = changed("extract.val", 0.5)
    content["extract"]["test"] = 0.5
    assert error(content).startswith("extract.val + extract.test: expected less than 1")


# Methods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "key", "folder"), [entry[:3] for entry in params.METHODS])
def test_an_unknown_method_is_told_what_exists_and_its_nearest_neighbour(section: str, key: str, folder: str) -> None:
    chosen = DEFAULT[section][key]
    line = error(changed(f"{section}.{key}", f"{chosen}x"))
    assert line == (
        f"{section}.{key}: expected one of {', '.join(lookup.available(folder))}; found {chosen + 'x'!r}; "
        f"did you mean {chosen!r}?"
    )


@pytest.mark.parametrize("section", [entry[0] for entry in params.METHODS if entry[3]])
def test_options_of_an_unknown_method_are_refused(section: str) -> None:
    assert error(changed(f"{section}.options.qqqqq", {})).startswith(f"{section}.options: expected one of ")


@pytest.mark.parametrize(("section", "key", "folder", "function"), [entry for entry in params.METHODS if entry[3]])
def test_an_unknown_option_of_any_method_is_refused_chosen_or_not(
    section: str, key: str, folder: str, function: str
) -> None:
    for name in lookup.available(folder):
        line = error(changed(f"{section}.options.{name}", {"qqqqq": 1}))
        known = lookup.option_names(folder, name, function)
        accepts = f"it accepts {', '.join(known)}" if known else "it has no options"
        assert line == f"{section}.options.{name}.qqqqq: {name} has no such option; {accepts}"


def test_a_method_that_is_no_text_is_refused() -> None:
    assert error(changed("cam.method", ["gradcam"])) == "cam.method: expected a text, found ['gradcam']"


# Classes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [{}, None])
def test_an_empty_class_list_is_refused(empty: object) -> None:
    assert error(changed("classes", empty)).startswith("classes: expected at least one class, found none")


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (["lawn", "lawn"], "classes: expected names with phrases, such as 'lawn: [lawn, grass]', found ['lawn'"),
        ({"background": ["sky"]}, "classes.background: this name is reserved"),
        ({"lawn": ["lawn"], "LAWN": ["meadow"]}, "classes.LAWN: this class occurs twice"),
        ({"lawn": ["grass"], "meadow": ["grass"]}, "classes.meadow: the phrase 'grass' already belongs to 'lawn'"),
        ({"lawn": []}, "classes.lawn: expected one or more phrases, found []"),
        ({True: ["lawn"]}, "classes: expected a name, found True"),
    ],
)
def test_classes_that_mean_nothing_are_refused(classes: object, line: str) -> None:
    assert error(changed("classes", classes)).startswith(line)


# The file ------------------------------------------------------------------------------------------------------------


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: expected the parameters .* run in the folder of dvc\.yaml"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "just words\n", "- a\n"])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"^params\.yaml: expected a section with keys, found"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("repeated", ["seed: 0\n", "classes: {}\n", "crf: {alpha: 1.0, alpha: 2.0}\n"])
def test_a_section_or_key_that_stands_twice_is_refused(tmp_path: Path, repeated: str) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text() + repeated)
    with pytest.raises(ParamsError, match=r"params\.yaml, line \d+: expected YAML; the key '\w+' occurs twice"):
        params.load(tmp_path / "params.yaml")


def test_a_class_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("\nclasses:\n", "\nclasses:\n  lawn: [green]\n")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match="the key 'lawn' occurs twice"):
        params.load(tmp_path / "params.yaml")
