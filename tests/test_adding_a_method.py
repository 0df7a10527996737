"""The method of docs/adding_a_method.md works as the page says."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import wildseg.methods.cam as package
from tests.pages import ROOT
from wildseg.cam.trace import Trace


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The method of docs/adding_a_method.md, saved where the page says in a copy of the folder."""
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding_a_method.md").read_text(), re.DOTALL)
    folder = tmp_path / "cam"
    shutil.copytree(ROOT / "src/wildseg/methods/cam", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "leaky_gradcam.py").write_text(source)
    monkeypatch.setattr(package, "__path__", [str(folder)])
    yield importlib.import_module("wildseg.methods.cam.leaky_gradcam")
    del sys.modules["wildseg.methods.cam.leaky_gradcam"]


def test_the_method_of_the_page_computes_what_it_says(leaky: ModuleType) -> None:
    activations = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.5]]]])  # (1, 2, 1, 2)
    gradients = torch.tensor([[[[2.0, 0.0]], [[-1.0, -1.0]]]])  # means 1 and -1
    trace = Trace(activations, (0,), 1, lambda target, pool: gradients)
    assert torch.allclose(leaky.cam(trace, slope=0.5), torch.tensor([[[-1.0, -1.25]]]))
    assert torch.equal(leaky.cam(trace, slope=0), torch.zeros(1, 1, 2))
    assert frozenset({"gradients"}) == leaky.NEEDS
