"""Run by a launcher: every process trains the networks of `test_team` with its share and leaves what it got."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from wildseg.core.errors import WildsegError
from wildseg.segment.loop import Recipe, Trainer
from wildseg.training.team import ALONE, Team, join

STEPS, BATCH = 12, 3  # three images, so that shares differ
RECIPE = Recipe(
    steps=STEPS, lr=0.01, weight_decay=0.01, precision="fp32", validate_every=5, ids=(1, 2, 3), seed=0
)  # fmt: skip


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


def batches(share: range, start: int, stop: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images of unlike brightness, of which the first has few labelled pixels: a mean of means would be another one."""
    for step in range(start, stop):
        random = torch.Generator().manual_seed(step)
        images = torch.randn(BATCH, 3, 12, 16, generator=random) + torch.arange(BATCH).view(-1, 1, 1, 1)
        masks = torch.randint(1, 4, (BATCH, 12, 16), generator=random)
        masks[0, 2:] = 255
        yield images[share.start : share.stop], masks[share.start : share.stop]


def trained(network: torch.nn.Module, team: Team = ALONE) -> Trainer:
    trainer = Trainer(network, RECIPE, torch.tensor([0.0, 1.0, 0.5, 2.0]), team=team)
    share = team.share(BATCH)
    for _ in trainer.run(lambda start, stop: batches(share, start, stop)):
        pass
    return trainer


def main(folder: Path) -> None:
    team = join("cpu")
    for name, build in (("plain", plain), ("normalised", normalised)):
        trainer = trained(build(), team)
        losses = torch.tensor([event.loss for event in trainer.history], dtype=torch.float64)
        save_file({**trainer.weights(), "losses": losses}, folder / f"{name}-{team.rank}.safetensors")
    team.check_same(7, "number")
    try:
        team.check_same(team.rank, "number")
    except WildsegError as error:
        (folder / f"differs-{team.rank}").write_text(str(error), encoding="utf-8")
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
