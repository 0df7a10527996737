"""Checkpoints of a training: one safetensors file under a key made of everything the result depends on.

They lie outside the stage's outputs: DVC empties those before it runs a stage again, which a checkpoint must survive.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wildseg.core.errors import words_of
from wildseg.training.events import events_of, is_best, is_step
from wildseg.training.trainer import Trainer

KEPT = 3  # interrupted runs that may still be continued; older ones are removed
VALUES = "values"  # metadata entry of the file: what is not a tensor, as JSON


class Checkpoints:
    """The checkpoint of one run, ``<folder>/<key>/state.safetensors``."""

    def __init__(self, folder: Path, key: str) -> None:
        """Remember where; remove the checkpoints of all but the latest few runs."""
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

        A checkpoint saves time and is no result: one that is damaged, or of something else, never prevents a training
        from beginning anew.
        """
        self.unusable = None
        if not self.path.is_file():
            return False
        try:
            tensors, values = _read(self.path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.unusable = self._because(f"it cannot be read: {words_of(str(error))[:200]}")
            return False
        if reason := mistake(values, trainer.optim.steps):
            self.unusable = self._because(reason)
            return False
        before = trainer.state()
        try:
            trainer.restore(tensors, values)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            trainer.restore(*before)  # a part of it may have been restored
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

    The tensors are checked where they are restored; an impossible step or history would not be noticed there.
    """
    if not isinstance(values, dict):
        return f"its values are {type(values).__name__}"
    step, count, best, history = (values.get(name) for name in ("step", "loss_count", "best", "history"))
    if not is_step(step, steps):
        return f"expected a step from 0 to {steps}, found {str(step)[:40]!r}"
    if not is_step(count, step):
        return f"expected the sum of at most {step} losses, found {str(count)[:40]!r}"
    if not is_best(best, step):
        return f"expected the best metric and its step, found {str(best)[:40]!r}"
    try:
        events = events_of(history, step)
    except ValueError as error:
        return str(error)
    if step == steps and not (events and events[-1].step == steps):
        return "it is of the last step, and its history does not reach there"
    return None
