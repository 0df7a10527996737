import pytest

from wildseg.core.errors import WildsegError
from wildseg.encoders.precision import resolve_precision


def test_precision_is_single_on_the_cpu_unless_asked_for() -> None:
    assert resolve_precision("auto", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"
    with pytest.raises(WildsegError, match="fp16 needs a GPU"):
        resolve_precision("fp16", "cpu")
    assert resolve_precision("fp16", "cuda:0") == "fp16"
