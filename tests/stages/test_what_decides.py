"""All code that runs while a frame is computed is part of the fingerprint that its result is stored under."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.stages import tiny_run
from wildseg.cli import stages
from wildseg.execution import fingerprint, run_frames
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime

DECIDES_NOTHING = {"execution", *(name for name in fingerprint.DECIDES_NO_RESULT if name.startswith("core/"))}


@dataclass
class Watch:
    """A profiler: notes the files whose functions run inside of the functions that `around` returns."""

    names: set[str] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.names.add(frame.f_code.co_filename)

    def files(self) -> set[Path]:
        """Those of the package that hold code."""
        paths = {Path(name) for name in self.names if name.startswith(str(fingerprint.PACKAGE))}
        return {path for path in paths if path.name != "__init__.py"}

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: object) -> object:
            threading.setprofile(self)
            sys.setprofile(self)
            try:
                return function(*arguments)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)

        return watched


def with_tiny_clip(root: Path, values: Params) -> Params:
    (root / "models").mkdir(exist_ok=True)
    (root / "models/tiny_clip").symlink_to(tiny_run.ROOT / "models/tiny_clip")
    return replace(values, label=replace(values.label, method="clip"), cam=replace(values.cam, refine="none"))


@pytest.mark.parametrize("stage", ["label", "cam", "crf", "weak", "eval"])
def test_all_code_that_runs_for_a_frame_is_part_of_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    artifacts, values = tiny_run.make(tmp_path), with_tiny_clip(tmp_path, tiny_run.params())
    counted: set[Path] = set()
    digest = fingerprint.digest

    def noted(module: str, *methods: str) -> str:
        chosen = [fingerprint.SOURCE.joinpath(*name.split(".")).with_suffix(".py") for name in (module, *methods)]
        counted.update(fingerprint._follow(chosen, chosen[1:]))
        return digest(module, *methods)

    monkeypatch.setattr(fingerprint, "digest", noted)
    watch = Watch()
    for what_workers_do in ("_set_up", "_compute_and_store"):
        monkeypatch.setattr(run_frames, what_workers_do, watch.around(getattr(run_frames, what_workers_do)))
    stages.load(stage).run(values, artifacts, Runtime(1, "cpu"))
    ran = {str(path.relative_to(fingerprint.PACKAGE)) for path in watch.files() - counted}
    assert len(watch.files() & counted) >= 5
    assert {name for name in ran if not {name, name.partition("/")[0]} & DECIDES_NOTHING} == set()
