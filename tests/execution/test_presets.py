"""Presets make params.yaml say what was published, and leave what a person wrote in it alone."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from tests.programs import python
from wildseg.cam.params import Caa
from wildseg.cli.main import main
from wildseg.core.errors import ParamsError
from wildseg.encoders.prompts import COMPETITORS, overlap, sentences
from wildseg.execution import params, presets

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
NAMES = list(presets.available())
VOC = DeepLabV3_ResNet50_Weights.DEFAULT.meta["categories"][1:]
COCO = [name for name in FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"][1:] if name != "N/A"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped params.yaml in the current folder."""
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def error(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


def comments(text: str) -> list[str]:
    return re.findall(r"(?:^| )(#.*)$", text, re.MULTILINE)


# What they say -------------------------------------------------------------------------------------------------------


def test_the_classes_of_voc_and_coco_are_theirs_in_their_order(file: Path) -> None:
    presets.init(file, ["voc"])
    voc = params.load(file)
    presets.init(file, ["coco"])
    coco = params.load(file)
    assert list(voc.classes.names) == VOC
    assert list(coco.classes.names) == COCO
    assert (len(VOC), len(COCO)) == (20, 80)
    assert (voc.cam.caa.box, coco.cam.caa.box) == (0.4, 0.7)


def test_sentences_are_those_of_the_published_code_to_the_letter(file: Path) -> None:
    presets.init(file, ["voc"])
    values = params.load(file)
    asked = dict(zip(values.classes.names, values.classes.phrases, strict=True))
    assert sentences(asked["person"], values.clip.templates) == ["a clean origami person with clothes,people,human."]
    edited = {name: phrases for name, phrases in asked.items() if phrases != (name,)}
    assert edited == {
        "bird": ("bird avian",), "chair": ("chair seat",), "tvmonitor": ("tvmonitor screen",),
        "person": ("person with clothes,people,human",),
    }  # fmt: skip


def test_background_phrases_are_the_published_ones_of_each_data_set(file: Path) -> None:
    presets.init(file, ["voc"])
    assert params.load(file).background == COMPETITORS
    presets.init(file, ["coco"])
    values = params.load(file)
    assert len(values.background) == 23
    # The authors took out what names a class of COCO: keyboard, and stop sign.
    phrases = [phrase for own in values.classes.phrases for phrase in own]
    assert values.background == tuple(word for word in COMPETITORS if not any(overlap(word, one) for one in phrases))


def test_clip_es_has_the_published_numbers(file: Path) -> None:
    presets.init(file, ["clip_es"])
    values = params.load(file)
    cam, crf = values.cam, values.crf
    assert (cam.method, cam.refine, cam.scales, cam.flip, cam.max_side) == (
        "softmax_gradcam",
        "caa",
        (1.0,),
        False,
        None,
    )
    assert (cam.caa.layers, cam.caa.skip_last, cam.caa.sinkhorn, cam.caa.power) == (8, 0, 3, 2)
    assert (crf.iterations, crf.gaussian.weight, crf.gaussian.sxy) == (10, 3, 1)
    assert (crf.bilateral.weight, crf.bilateral.sxy, crf.bilateral.srgb) == (4, 67, 3)
    assert (crf.alpha, crf.sharpen, crf.min_confidence, crf.confidence_from) == (1, 1, 0.95, "posterior")
    assert (values.train.loss, values.train.class_weights) == ("cross_entropy", "none")


def test_compat_has_the_quirks_of_the_published_code_over_clip_es(file: Path) -> None:
    presets.init(file, ["voc", "clip_es", "clip_es_compat"])
    values = params.load(file)
    assert values.cam.caa == Caa(layers=8, skip_last=0, sinkhorn=3, power=2, box=0.4, exclusive_box_ends=True)
    assert (values.cam.pos_embed_interpolation, values.crf.image_mode) == ("bilinear_half", "wrap_bgr_mean")
    published = {"competitors": "present", "pool": "patches", "target": "probability", "normalise_twice": True}
    assert values.cam.options["softmax_gradcam"] == published
    presets.init(file, ["clip_es"])  # which takes them back
    values = params.load(file)
    assert (values.cam.pos_embed_interpolation, values.cam.caa.exclusive_box_ends, values.crf.image_mode) == (
        "bicubic",
        False,
        "rgb",
    )
    assert values.cam.options["softmax_gradcam"]["target"] == "log_odds"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_is_for_in_a_line_that_the_list_shows(name: str) -> None:
    first = (presets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 40
    assert f"{name:<15} {first[2:]}" in run().output.splitlines()


# How they are laid over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [*((name,) for name in NAMES), *combinations(NAMES, 2), ("voc", "clip_es", "clip_es_compat")], ids="+".join
)
def test_presets_alone_and_together_give_what_each_says_the_later_winning(names: tuple[str, ...], file: Path) -> None:
    lines = presets.init(file, names)
    assert lines
    params.load(file)
    last = yaml.safe_load((presets.FOLDER / f"{names[-1]}.yaml").read_text(encoding="utf-8"))
    assert holds(yaml.safe_load(file.read_text(encoding="utf-8")), last)
    once = file.read_bytes()
    assert presets.init(file, names) == []
    assert file.read_bytes() == once


def holds(whole: object, part: object) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and holds(whole[name], part[name]) for name in part)
    return whole == part


def test_comments_and_the_order_of_keys_survive(file: Path) -> None:
    presets.init(file, ["coco", "clip_es"])
    after = file.read_text(encoding="utf-8")
    assert comments(after) == comments(SHIPPED)
    top = re.compile(r"^\w+", re.MULTILINE)
    assert top.findall(after) == top.findall(SHIPPED)


def test_what_a_preset_does_not_name_stays(file: Path) -> None:
    file.write_text(SHIPPED.replace("fps: 2.5 ", "fps: 7.5 ").replace("max_side: 640", "max_side: 777"))
    presets.init(file, ["photographs"])
    values = params.load(file)
    assert (values.extract.fps, values.cam.max_side) == (7.5, 777)
    assert values.classes.names[0] == "sky"


def test_each_changed_key_is_one_line(file: Path) -> None:
    file.write_text(SHIPPED.replace("  iterations: 5", "  iterations: 10"))
    output = run("voc", "clip_es").output.splitlines()
    assert "cam.method: gradcam -> softmax_gradcam" in output
    assert "cam.max_side: 640 -> null" in output
    assert "background: [] -> 25 phrases, ground ... sign" in output
    assert "classes: 10 classes, sky ... water -> 20 classes, aeroplane ... tvmonitor" in output
    assert "cam.options.softmax_gradcam.pool: auto -> patches" in output
    assert not any(line.startswith("crf.iterations") for line in output)
    assert run("voc", "clip_es").output == "init: params.yaml already says all of this\n"


def test_a_dry_run_says_the_same_and_writes_nothing(file: Path) -> None:
    said = run("clip_es", "--dry-run").output
    assert file.read_text(encoding="utf-8") == SHIPPED
    assert run("clip_es").output == said


def test_a_file_that_is_a_link_stays_one_and_keeps_its_mode(file: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared.yaml"
    file.rename(shared)
    shared.chmod(0o600)
    file.symlink_to(shared)
    presets.init(file, ["voc"])
    assert file.is_symlink()
    assert shared.stat().st_mode & 0o777 == 0o600
    assert params.load(shared).classes.names[0] == "aeroplane"


# What is refused -----------------------------------------------------------------------------------------------------


def test_an_unknown_preset_is_one_line_with_the_nearest(file: Path) -> None:
    assert "found 'clipes'; did you mean 'clip_es'?" in error("voc", "clipes")
    assert file.read_text(encoding="utf-8") == SHIPPED


def test_without_params_yaml_there_is_nothing_to_lay_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "params.yaml: expected the parameters that presets are laid over" in error("voc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threshold: auto ", "threshold: {lawn: 0.3} ", "label.threshold.lawn: there is no such class"),
        ("seed: 0", "sed: 0", "sed: there is no such parameter; did you mean 'seed'?"),
        ("seed: 0", "seed: [", "expected YAML"),
    ],
)
def test_nothing_is_written_where_the_result_would_not_be_valid(old: str, new: str, said: str, file: Path) -> None:
    text = SHIPPED.replace(old, new)
    file.write_text(text, encoding="utf-8")
    assert said in error("voc")
    assert file.read_text(encoding="utf-8") == text


def test_an_alias_keeps_its_value_where_its_anchor_changes(file: Path) -> None:
    text = SHIPPED.replace("  scales:\n  - 1.0\n  - 1.5\n", "  scales: &both [1.0, 1.5]\n")
    text = text.replace("  scales:\n  - 1.0\n", "  scales: *both\n")
    file.write_text(text, encoding="utf-8")
    presets.init(file, ["clip_es"])
    values = params.load(file)
    assert (values.cam.scales, values.eval.scales) == ((1.0,), (1.0, 1.5))


def test_an_alias_that_would_change_with_its_anchor_is_refused(file: Path) -> None:
    text = SHIPPED.replace("sclip: {scale: 40.0, competitors: present}", "sclip: &both {competitors: present}")
    lines = "    softmax_gradcam:\n      competitors: present\n      pool: auto\n      target: log_odds\n"
    text = text.replace(f"{lines}      normalise_twice: false\n", "    softmax_gradcam: *both\n")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match="anchors and aliases"):
        presets.init(file, ["clip_es"])
    assert file.read_text(encoding="utf-8") == text


def test_presets_are_part_of_what_is_installed(tmp_path: Path) -> None:
    code = (
        "from setuptools import setup; import sys; sys.argv = ['setup.py', '-q', 'egg_info', '--egg-base', "
        f"{str(tmp_path)!r}, 'build_py', '--build-lib', {str(tmp_path / 'lib')!r}]; setup()"
    )
    answer = python("-c", code, cwd=ROOT)
    assert answer.code == 0, answer
    installed = {path.stem for path in (tmp_path / "lib" / "wildseg" / "execution" / "presets").glob("*.yaml")}
    assert installed == set(NAMES)
    assert (tmp_path / "lib" / "wildseg" / "execution" / "params.yaml").is_file()
