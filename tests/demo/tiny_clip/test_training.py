"""A short training: it learns, and a killed run continues as if nothing had happened."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from wildseg.training.checkpoint import Checkpoints
from wildseg.training.events import Event
from wildseg.training.trainer import Trainer
from wildseg_demo.tiny_clip.batch import make_batch
from wildseg_demo.tiny_clip.dataset import Frames, load_or_render
from wildseg_demo.tiny_clip.model import NAME
from wildseg_demo.tiny_clip.objective import AVERAGE, half_batches
from wildseg_demo.tiny_clip.recipe import Recipe, learning_rate
from wildseg_demo.tiny_clip.train import new_trainer

CONFIG = Path(__file__).parents[3] / "models" / "tiny_clip" / f"{NAME}.json"
RECIPE = Recipe(steps=20, crops=4, boxes=4, warmup=2, full_views=(0.0, 0.0))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    return load_or_render(tmp_path_factory.mktemp("worlds"), range(100_000, 100_002), 2, workers=1)


def _trainer() -> Trainer:
    torch.manual_seed(0)
    return new_trainer(RECIPE, CONFIG)


def _run(trainer: Trainer, frames: Frames, steps: int) -> list[Event]:
    return list(itertools.islice(trainer.run(partial(half_batches, frames, RECIPE)), steps))


def test_a_run_continued_from_a_checkpoint_ends_with_the_weights_of_an_unbroken_one(
    frames: Frames, tmp_path: Path
) -> None:
    unbroken = _trainer()
    _run(unbroken, frames, 2)
    Checkpoints(tmp_path, "key").save(unbroken)
    _run(unbroken, frames, 1)

    continued = _trainer()
    assert Checkpoints(tmp_path, "key").restore(continued)
    assert continued.step == 2
    _run(continued, frames, 1)
    for name, value in unbroken.weights(AVERAGE).items():
        assert torch.allclose(value, continued.weights(AVERAGE)[name], atol=1e-5), name


def test_the_average_follows_the_model_and_is_not_optimised(frames: Frames) -> None:
    trainer = _trainer()
    before = trainer.weights(AVERAGE)
    _run(trainer, frames, 1)
    model = trainer.weights("clip")
    for name, value in trainer.weights(AVERAGE).items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(value, before[name] + (model[name] - before[name]) * (1 - 1 / 11))


def test_the_loss_falls_and_is_the_sum_of_its_terms(frames: Frames) -> None:
    events = _run(_trainer(), frames, 8)
    losses = [event.loss for event in events]
    assert np.mean(losses[-2:]) < losses[0]
    assert all(event.loss == pytest.approx(event.terms["surfaces"] + event.terms["captions"]) for event in events)


def test_a_batch_depends_on_its_random_generator_alone(frames: Frames) -> None:
    one, same = (make_batch(frames, 3, 5, full_view=False, rng=np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.images, same.images)
    assert one.texts == same.texts
    assert one.images.shape == (3, 3, 96, 96)
    assert one.inside.shape == (3, 5, 144)
    assert one.visible.shape == (15, 10)
    assert len(one.texts) == len(one.named) == 25


def test_a_full_view_shows_the_whole_grid(frames: Frames) -> None:
    batch = make_batch(frames, 16, 5, full_view=True, rng=np.random.default_rng(5))
    assert batch.images.shape == (3, 3, 168, 224)
    assert batch.inside.shape == (3, 15, 588)
    assert batch.corners == [(0, 0)] * 3


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    rates = [learning_rate(Recipe(steps=100, warmup=10), step) for step in range(100)]
    assert np.argmax(rates) in (8, 9, 10)
    assert rates[-1] < rates[9] / 100
