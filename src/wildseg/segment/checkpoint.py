"""Checkpoints of a training run: one safetensors file under a key made of everything the result depends on.

They lie outside the stage's outputs: DVC empties those before it runs a stage again, which a checkpoint must survive.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wildseg.core.errors import words_of
from wildseg.segment.loop import Event, Trainer

KEPT = 3  # runs that were stopped and may still be continued; older ones are removed
VALUES = "values"  # metadata entry of the file: what is not a tensor, as JSON


class Checkpoints:
    """The checkpoint of one run, ``<folder>/<key>/state.safetensors``."""

    def __init__(self, folder: Path, key: str) -> None:
        """Remember where; remove what older runs than the latest few left behind."""
        self.folder = folder
        self.unusable: str | None = None
        self.path = folder / key / "state.safetensors"
        others = [path for path in folder.glob("*/") if path.name != key]
        for path in sorted(others, key=_changed)[: -(KEPT - 1)]:
            shutil.rmtree(path, ignore_errors=True)

    def save(self, trainer: Trainer) -> None:
        """Write the trainer's state under a temporary name and rename it."""
        tensors, values = trainer.state()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(save(tensors, metadata={VALUES: json.dumps(values)}))
            temporary.replace(self.path)
        except OSError as error:
            if error.filename in (None, str(temporary)):
                error.filename = str(self.path)  # a full disk names no file
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def restore(self, trainer: Trainer) -> bool:
        """Bring the trainer to the saved state; False where there is none that can be used, and `unusable` says why.

        A checkpoint saves time and is no result: one that is damaged, or of something else, never keeps a training from
        beginning anew.
        """
        self.unusable = None
        if not self.path.is_file():
            return False
        try:
            tensors, values = _read(self.path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.unusable = self._because(f"it cannot be read: {words_of(str(error))[:200]}")
            return False
        if reason := mistake(values, trainer.recipe.steps):
            self.unusable = self._because(reason)
            return False
        before = trainer.state()
        try:
            trainer.restore(tensors, values)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            trainer.restore(*before)  # some of it may have been taken over
            self.unusable = self._because(words_of(str(error))[:200])
            return False
        return True

    def _because(self, reason: str) -> str:
        return f"{self.path} is no checkpoint of this training ({reason})"

    def remove(self) -> None:
        """Remove the checkpoint: the run is finished."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process of the same training was faster
        return 0.0


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[VALUES])  # noqa: SIM118


def mistake(values: object, steps: int) -> str | None:
    """Say what is wrong with the values of a checkpoint of a training of so many steps, or None.

    What is in the tensors is asked by whoever takes them over; a step or a history that cannot be would not be noticed.
    """
    if not isinstance(values, dict):
        return f"its values are {type(values).__name__}"
    step, count, best, history = (values.get(name) for name in ("step", "loss_count", "best", "history"))
    if not _whole(step, steps):
        return f"expected a step from 0 to {steps}, found {str(step)[:40]!r}"
    if not _whole(count, step):
        return f"expected the sum of at most {step} losses, found {str(count)[:40]!r}"
    if best is not None and not (
        isinstance(best, list) and len(best) == 2 and _share(best[0]) and _whole(best[1], step)
    ):
        return f"expected the best mIoU and its step, found {str(best)[:40]!r}"
    if not isinstance(history, list) or not all(_is_event(event, step) for event in history):
        return "its history holds what is no event of a training"
    if step == steps and not (history and history[-1]["step"] == steps):
        return "it is of the last step, and its history does not reach there"
    return None


def _is_event(event: object, step: int) -> bool:
    if not isinstance(event, dict) or set(event) != {field.name for field in fields(Event)}:
        return False
    numbers = all(_finite(event[name]) for name in ("lr", "loss"))
    return numbers and _whole(event["step"], step) and (event["val_miou"] is None or _share(event["val_miou"]))


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _share(value: object) -> bool:
    return isinstance(value, float) and not (value < 0 or value > 1)  # NaN where nothing could be measured


def key_of(files: Iterable[tuple[str, bytes]], values: object) -> str:
    """Return a key of 16 hexadecimal digits of files by name and content, of `values`, and of the code that trains.

    `values` is anything whose `repr` tells it apart: frozen dataclasses, numbers, texts, tuples of them.
    """
    digest = hashlib.sha256(f"{torch.__version__} {values!r}".encode())
    code = ((path.name, path.read_bytes()) for path in sorted(Path(__file__).parent.rglob("*.py")))
    for name, content in chain(code, files):  # one after the other: they may be a hundred thousand pictures
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
