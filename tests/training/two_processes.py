"""Run by a launcher: every process trains the networks of `test_distributed` with its share and leaves what it got."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.segment.networks import segmenter_trainer
from wildseg.core.errors import WildsegError
from wildseg.segment.params import MeanTeacher
from wildseg.segment.teacher import Consistency
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext, connect
from wildseg.training.trainer import Trainer

STEPS, BATCH = 12, 3  # three images, so that shares differ


def plain() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))


def normalised() -> torch.nn.Module:
    # Without biases, as always before a normalisation: they change nothing, and AdamW makes steps of their rounding.
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 4, 1),
    )


BUILDS = {"plain": (plain, False), "normalised": (normalised, False), "taught": (normalised, True)}


def batches(share: range, start: int, stop: int) -> Iterator[dict[str, torch.Tensor]]:
    """Images of unlike brightness, of which the first has few labelled pixels: a mean of means would be another one."""
    for step in range(start, stop):
        random = torch.Generator().manual_seed(step)
        images = torch.randn(BATCH, 3, 12, 16, generator=random) + torch.arange(BATCH).view(-1, 1, 1, 1)
        masks = torch.randint(1, 4, (BATCH, 12, 16), generator=random)
        masks[0, 2:] = 255
        part = slice(share.start, share.stop)
        yield {"image": images[part], "mask": masks[part]}


def taught(network: torch.nn.Module) -> Consistency:
    # Certain of everything: a limit is passed by other pixels once rounding differs.
    return Consistency(network, MeanTeacher(0.9, 2.0, 0.0, 0.5), STEPS, lambda _: 0.0)


def trained(
    network: torch.nn.Module, distributed: DistributedContext = SINGLE_PROCESS, with_teacher: bool = False
) -> Trainer:
    weights, teach = torch.tensor([0.0, 1.0, 0.5, 2.0]), taught if with_teacher else None
    trainer = segmenter_trainer(network, weights=weights, distributed=distributed, steps=STEPS, teach=teach)
    share = distributed.share(BATCH)
    for _ in trainer.run(lambda start, stop: batches(share, start, stop)):
        pass
    return trainer


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All weights of a training: of the network, and of its teacher where it has one."""
    found = {name: trainer.weights(name) for name in trainer.objective.networks}
    return {f"{name}/{key}": value for name, state in found.items() for key, value in state.items()}


def main(folder: Path) -> None:
    processes = connect("cpu")
    for name, (build, with_teacher) in BUILDS.items():
        trainer = trained(build(), processes, with_teacher)
        losses = torch.tensor([event.loss for event in trainer.history], dtype=torch.float64)
        save_file({**weights_of(trainer), "losses": losses}, folder / f"{name}-{processes.rank}.safetensors")
    processes.check_same(7, "number")
    try:
        processes.check_same(processes.rank, "number")
    except WildsegError as error:
        (folder / f"differs-{processes.rank}").write_text(str(error), encoding="utf-8")
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
