"""Two processes that train together, started by the real launcher, do what one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from tests.programs import python
from tests.training import two_processes
from wildseg.segment.losses import cross_entropy
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext
from wildseg.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
# On CPUs too: accelerate's own `--cpu` starts several processes only by MPI.
LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--main_process_port", "0", "--dynamo_backend", "no")  # fmt: skip


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    path = f"{ROOT / 'src'}:{ROOT}"
    answer = python(*LAUNCH, "-m", "tests.training.two_processes", str(folder), cwd=ROOT, PYTHONPATH=path)
    assert answer.code == 0, answer
    return folder


def states(left: Path, name: str, trainer: Trainer) -> tuple[dict[str, torch.Tensor], ...]:
    alone = {
        **two_processes.weights_of(trainer),
        "losses": torch.tensor([e.loss for e in trainer.history], dtype=torch.float64),
    }
    return alone, load_file(left / f"{name}-0.safetensors"), load_file(left / f"{name}-1.safetensors")


@pytest.mark.parametrize("name", ["plain", "normalised", "taught"])
def test_two_processes_end_with_the_network_of_one(left: Path, name: str) -> None:
    build, with_teacher = two_processes.BUILDS[name]
    alone, first, second = states(left, name, two_processes.trained(build(), with_teacher=with_teacher))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert alone.keys() == first.keys()
    for key, value in alone.items():
        torch.testing.assert_close(first[key], value, atol=1e-5, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_what_must_be_the_same_and_is_not_is_one_line_in_every_process(left: Path) -> None:
    for rank in range(2):
        line = (left / f"differs-{rank}").read_text(encoding="utf-8")
        assert line.startswith("train: expected the same number in all 2 processes, found [0, 1];")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_everything_once_and_nearly_equal(size: int) -> None:
    shares = [DistributedContext(rank, size).share(10) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_losses_of_parts_add_up_to_that_of_the_whole() -> None:
    logits, target = torch.randn(4, 3, 5, 6), torch.randint(0, 3, (4, 5, 6))
    target[0, 1:] = 255
    weights = torch.tensor([0.5, 1.0, 3.0])
    whole = functional.cross_entropy(logits, target, weights, ignore_index=255)
    mass = weights[target[target != 255]].sum()
    parts = [cross_entropy(logits[part], target[part], weights, lambda _: mass) for part in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(sum(parts), whole)


def test_one_process_adds_nothing_up() -> None:
    tensor = torch.ones(2)
    assert SINGLE_PROCESS.sum(tensor) is tensor
    assert SINGLE_PROCESS.is_main
