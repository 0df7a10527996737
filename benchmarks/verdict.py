"""How well label-free measures rank models: their rank correlation with true mIoU over many experiments.

    python -m benchmarks.verdict --work FOLDER                  # all experiments, then the tables
    python -m benchmarks.verdict --work FOLDER default_30 dice  # some of them, and the tables of all that are finished

Needs a finished `dvc repro`. Writes nothing into the project: all lies in FOLDER. Pseudo masks are made once for the
experiments that share them; each finished experiment leaves a JSON file, and a run that was stopped goes on. What a row
does not name is that of params.yaml, but for the steps of training, which are part of the experiment: models of short
training, of good and of bad masks, are what a verdict has to tell apart. An experiment takes a minute of one core;
runs of different names may share FOLDER.

Spearman's rank correlation, and the middle 95 % of its values over 1,000 redrawn samples of the experiments. One world,
one seed: experiments of the same masks are alike, so that the truth is less certain than the intervals say.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.project import ROOT, change, link
from wildseg.artifacts.project import Artifacts
from wildseg.cli import stages
from wildseg.core import yaml_files
from wildseg.core.errors import one_of
from wildseg.core.files import load_json, save_json
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime

WORLD = ("data/frames", "data/raw", "data/truth", "models/tiny_clip")
MADE = {"label": "data/labels", "cam": "data/cams", "crf": "data/masks"}  # by the stage that makes it
NO_PICTURES = {"eval.pictures": 0, "eval.report_frames": 0}
DRAWS = 1000
# A model that learned for too short a time is told by nearly anything, so experiments of one length have a table, too.
COMMON_STEPS = 100
# Changes of params.yaml behind the pseudo masks.
MASKS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "hirescam": {"cam.method": "hirescam"},
    "layercam": {"cam.method": "layercam"},
    "maskclip": {"cam.method": "maskclip"},
    "one_scale": {"cam.scales": [1.0]},
    "many_labels": {"label.threshold": 0.02},
    "few_labels": {"label.threshold": 0.9},
    "crf_off": {"crf.iterations": 0},
    "crf_smooth": {"crf.bilateral.srgb": 25.0, "crf.bilateral.weight": 20.0},
    "crf_sure": {"crf.min_confidence": 0.999},
}
# Of every experiment its masks, its steps of training, and changes of the section train.
EXPERIMENTS: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    "default_30": ("default", 30, {}),
    "default_60": ("default", 60, {}),
    "default_100": ("default", 100, {}),
    "default_150": ("default", 150, {}),
    "layercam_60": ("layercam", 60, {}),
    "layercam_120": ("layercam", 120, {}),
    "maskclip_60": ("maskclip", 60, {}),
    "maskclip_120": ("maskclip", 120, {}),
    "few_labels_60": ("few_labels", 60, {}),
    "few_labels_120": ("few_labels", 120, {}),
    "hirescam": ("hirescam", 100, {}),
    "one_scale": ("one_scale", 100, {}),
    "many_labels": ("many_labels", 100, {}),
    "crf_off": ("crf_off", 100, {}),
    "crf_smooth": ("crf_smooth", 100, {}),
    "crf_sure": ("crf_sure", 100, {}),
    "dice": ("default", 100, {"loss": "dice"}),
    "symmetric_cross_entropy": ("default", 100, {"loss": "symmetric_cross_entropy"}),
    "generalised_cross_entropy": ("default", 100, {"loss": "generalised_cross_entropy"}),
    "confidence_guided": ("default", 100, {"loss": "confidence_guided"}),
    "no_class_weights": ("default", 60, {"class_weights": "none"}),
    "pspnet": ("default", 100, {"architecture": "pspnet"}),
    "linknet": ("default", 60, {"architecture": "linknet"}),
    "pan": ("default", 60, {"architecture": "pan"}),
}
GROUPS = {"seen": "seen source", "held_out": "held-out source"}
MEASURES = {
    "val_miou": "validation mIoU against pseudo masks",
    "masks_model.miou": "agreement of pseudo masks and model, mIoU",
    "masks_model.pixels": "the same, equal pixels",
    "maps_model.miou": "agreement of activation maps and model, mIoU",
    "maps_model.pixels": "the same, equal pixels",
    "flip.miou": "flip consistency, mIoU",
    "flip.pixels": "the same, equal pixels",
    "scale.miou": "scale consistency, mIoU",
    "scale.pixels": "the same, equal pixels",
    "neighbours.miou": "neighbouring key frames, mIoU",
    "neighbours.pixels": "the same, equal pixels",
    "along_flow.miou": "neighbours along the optical flow, mIoU",
    "along_flow.pixels": "the same, equal pixels",
    "confident": "confident pixels",
    "estimated_miou": "estimated mIoU",
}


def main() -> None:
    """Run experiments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for masks and results")
    given = parser.parse_args()
    for name in given.names:
        one_of("experiments", name, tuple(EXPERIMENTS))
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["WILDSEG_TRACKING"] = "off"
    os.environ["WILDSEG_CACHE"] = str(work / "cache")
    for name in given.names or EXPERIMENTS:
        if not (path := work / "results" / f"{name}.json").exists():
            save_json(path, experiment(name, work))
            print(row(load_json(path)), flush=True)
    found = [load_json(path) for name in EXPERIMENTS if (path := work / "results" / f"{name}.json").exists()]
    as_long = [one for one in found if EXPERIMENTS[one["name"]][1] == COMMON_STEPS]
    print("\n".join(["", *table_of_experiments(found), "", *table_of_measures(found), ""]))
    print("\n".join([f"of {COMMON_STEPS} steps alone:", "", *table_of_measures(as_long)]))


# Experiments --------------------------------------------------------------------------------------------------------


def experiment(name: str, work: Path) -> dict[str, Any]:
    """Make the masks of an experiment where they are missing, train and measure; return the result."""
    masks, steps, changes = EXPERIMENTS[name]
    start = time.perf_counter()
    source = masks_of(masks, work)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        root = Path(folder)
        link(root, WORLD)
        for path in MADE.values():
            (root / path).symlink_to(source / path)
        trained = {f"train.{key}": value for key, value in changes.items()}
        run(settings({**MASKS[masks], **trained, "train.steps": steps, **NO_PICTURES}), root, ("train", "eval"))
        metrics, training = (load_json(root / "metrics" / f"{stage}.json") for stage in ("eval", "train"))
    result: dict[str, Any] = {"name": name, "seconds": time.perf_counter() - start}
    for group, measured in {"seen": metrics, "held_out": metrics["unseen"]}.items():
        result[group] = {**measured["label_free"], "miou": measured["segmenter"]["miou"]}
        result[group] |= {"pseudo": measured["pseudo"]["miou_strict"], "val_miou": training["val_miou"]}
    return result


def masks_of(name: str, work: Path) -> Path:
    """Return the folder of a project with the pseudo masks of this name, which are made where they are missing."""
    changes = MASKS[name]
    if not changes:
        return ROOT
    folder = work / "masks" / name
    if (folder / "metrics" / "crf.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    order = tuple(MADE)
    first = min(order.index(key.split(".")[0]) for key in changes)
    link(folder, (*WORLD, *(MADE[stage] for stage in order[:first])))
    run(settings(changes), folder, order[first:])
    return folder


def settings(changes: Mapping[str, Any]) -> Params:
    """Return the parameters of params.yaml with changes by their dotted keys."""
    content = copy.deepcopy(shipped())
    change(content, changes)
    return params.parse(content)


@cache
def shipped() -> dict[str, Any]:
    """Return the content of params.yaml; nobody may change it."""
    content: Any = yaml_files.load(ROOT / "params.yaml")
    return dict(content)


def run(values: Params, root: Path, names: Sequence[str]) -> None:
    """Run some stages."""
    for name in names:
        stages.load(name).run(values, Artifacts(root), Runtime.from_environment())


# Tables -------------------------------------------------------------------------------------------------------------


def table_of_experiments(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table with true and estimated mIoU of each experiment."""
    head = " | ".join(f"masks | model | estimated, {title}" for title in GROUPS.values())
    return [f"| experiment | {head} | s |", f"| --- |{' --- |' * 6} ---: |", *(row(one) for one in found)]


def row(result: Mapping[str, Any]) -> str:
    """Return the line of an experiment."""
    cells = []
    for group in GROUPS:
        one = result[group]
        bounds = f" ({number(one['estimated_miou_low'])} to {number(one['estimated_miou_high'])})"
        cells += [number(one["pseudo"]), number(one["miou"]), number(one["estimated_miou"]) + bounds]
    return f"| `{result['name']}` | {' | '.join(cells)} | {result['seconds']:.0f} |"


def table_of_measures(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table with the rank correlation of each measure, and on how the estimate deviates."""
    lines = [f"| measure, {len(found)} experiments | {' | '.join(GROUPS.values())} |", "| --- | --- | --- |"]
    for measure, title in MEASURES.items():
        cells = []
        for group in GROUPS:
            pairs = [(one[group][measure], one[group]["miou"]) for one in found]
            cells.append(correlation_text(np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, "", *(deviation(found, group, title) for group, title in GROUPS.items())]


def deviation(found: Sequence[Mapping[str, Any]], group: str, title: str) -> str:
    """Return a sentence on the deviations of the estimated mIoU from the true one."""
    known = [one[group] for one in found if one[group]["estimated_miou"] is not None and one[group]["miou"] is not None]
    errors = np.array([one["estimated_miou"] - one["miou"] for one in known])
    if not errors.size:
        return f"{title}: nothing estimated"
    inside = [
        one["estimated_miou_low"] <= one["miou"] <= one["estimated_miou_high"]
        for one in known
        if one["estimated_miou_low"] is not None
    ]
    return (
        f"{title}: estimated minus true mIoU {errors.mean():+.3f} on average, {errors.min():+.3f} to "
        f"{errors.max():+.3f}; the interval holds the true one in {sum(inside)} of {len(inside)}"
    )


def correlation_text(pairs: np.ndarray) -> str:
    """Return Spearman's rank correlation of pairs (n, 2), with its interval."""
    value = correlation(pairs)
    if not math.isfinite(value):
        return "-"
    generator = np.random.default_rng(0)
    draws = [correlation(pairs[generator.integers(len(pairs), size=len(pairs))]) for _ in range(DRAWS)]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def correlation(pairs: np.ndarray) -> float:
    """Return Spearman's rank correlation of pairs (n, 2); NaN for fewer than three, or where a column is constant."""
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def number(value: float | None) -> str:
    """Return a measure with three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
