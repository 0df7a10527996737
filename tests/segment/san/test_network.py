"""The side adapter network: scores of pixels, its loss, one pass of CLIP, what it saves, and images learnt by heart."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.encoders.models import save
from tests.segment.san.networks import OPTIONS, PHRASES, TINY, blocks, small
from wildseg.core.errors import ModelError, ParamsError
from wildseg.encoders import clip
from wildseg.methods.architectures import san
from wildseg.methods.losses import cross_entropy
from wildseg.segment.objective import ConfiguresOptimizer, Criterion, SegmenterObjective, SupervisesItself
from wildseg.segment.san.frozen import TEMPLATES
from wildseg.segment.san.recognition import recognise, run_shared
from wildseg.segment.san.supervision import SetLoss
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer


def criterion(ids: tuple[int, ...], weights: torch.Tensor | None = None) -> Criterion:
    return Criterion(cross_entropy.loss, torch.tensor(ids), weights, lambda mass: mass)


def test_scores_of_a_pixel_are_those_of_masks_times_their_classes(tmp_path: Path) -> None:
    network = small(tmp_path, ids=(1, 2, 3)).eval()
    assert isinstance(network, SupervisesItself)
    assert isinstance(network, ConfiguresOptimizer)
    images = torch.randn(2, 3, 45, 67)
    with torch.no_grad():
        logits = network(images)
        padded = functional.pad(images, (0, 96 - 67, 0, 64 - 45))
        tower = network.clip.tower(network.clip_positions)
        shared = run_shared(tower, functional.interpolate(padded, (32, 48), mode="bilinear", align_corners=False))
        masks, biases = network.decoder(network.encoder(padded, shared.maps))
        features = recognise(tower, shared.tokens, biases)
        masks = functional.interpolate(masks, (64, 96), mode="bilinear", align_corners=False)
    assert logits.shape == (2, 4, 45, 67)
    background, nothing = (row / row.norm() for row in network.learned.detach())
    embeddings = [background, *network.texts, nothing]
    for y, x in ((0, 0), (44, 66), (20, 31)):
        scores = np.zeros(4)
        for query in range(8):
            products = [network.clip.scale * float(features[1, query] @ embedding) for embedding in embeddings]
            powers = np.exp(products)
            powers[0] = 0  # means nothing here
            inside = 1 / (1 + np.exp(-float(masks[1, query, y, x])))
            scores += powers[:4] / powers.sum() * inside
        np.testing.assert_allclose(logits[1, :, y, x].exp().numpy(), np.maximum(scores, 1e-30), rtol=1e-4)
        shares = logits[1, :, y, x].softmax(0).numpy()
        np.testing.assert_allclose(shares, scores / scores.sum(), atol=1e-4)


def test_clip_runs_once_however_many_masks_there_are(tmp_path: Path) -> None:
    network = small(tmp_path, queries=50).eval()
    calls: list[int] = []
    first, last = (network.clip.visual.transformer.resblocks[place].ln_1 for place in (0, -1))
    for norm in (first, last):
        norm.register_forward_hook(lambda *_: calls.append(1))
    network(torch.randn(1, 3, 64, 64))
    assert len(calls) == 2


def test_the_loss_is_the_set_loss_of_the_last_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small(tmp_path)
    images, target = blocks()
    outputs = network.training_outputs(images)
    assert len(outputs) == 2
    assert outputs[1].classes.shape == (2, 8, 5)
    assert outputs[1].masks.shape == (2, 8, 6, 4)
    found = network.loss_terms(outputs, target, criterion((0, 1, 2, 3), torch.tensor([1.0, 2, 3, 4])))
    torch.manual_seed(1)
    found = network.loss_terms(outputs, target, criterion((0, 1, 2, 3), torch.tensor([1.0, 2, 3, 4])))
    torch.manual_seed(1)
    loss = SetLoss(network.weights, 256, (96, 64), torch.tensor([1.0, 2, 3, 4]), lambda mass: mass)
    earlier, last = loss(outputs[0], target), loss(outputs[1], target)
    assert list(found) == ["classes", "masks", "dice", "auxiliary"]
    assert all(torch.equal(found[name], term) for name, term in last.items())
    torch.testing.assert_close(found["auxiliary"], sum(earlier.values()))


def test_everything_that_is_trained_has_a_gradient_and_clip_has_none(tmp_path: Path) -> None:
    network = small(tmp_path)
    images, target = blocks()
    sum(network.loss_terms(network.training_outputs(images), target, criterion((0, 1, 2, 3))).values()).backward()
    without = {name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    assert without == set()
    assert all(not value.requires_grad and value.grad is None for value in network.clip.visual.parameters())
    own = {name.split(".")[0] for name in network.state_dict()}
    assert own == {"encoder", "decoder", "clip_positions", "learned", "texts", "meant", "clip_digest"}


def test_it_learns_four_frames_by_heart_beside_the_embedded_clip_with_its_own_optimiser() -> None:
    torch.manual_seed(0)
    phrases = (("red brick path", "red paving"), ("lawn", "grass"), ("water", "pond"))
    network = san.build(3, "wildseg-tiny", TINY, phrases, (1, 2, 3), **OPTIONS)
    images, target = blocks()
    images, target = torch.cat([images, images.flip(2)]), torch.cat([target, target.flip(1)])  # upside down, too
    target[:, :5] = 255  # what is ignored is no object of its own
    context = TrainContext(validate_every=None)
    objective = SegmenterObjective(network, cross_entropy.loss, (1, 2, 3), None, context)
    optim = OptimConfig(40, 3e-3, weight_decay=1e-4)
    run = Trainer(objective, replace(optim, **network.optimizer_settings()), context)
    deque(run.run(lambda start, stop: [{"image": images, "mask": target}] * (stop - start)), maxlen=0)
    with torch.no_grad():
        found = network.eval()(images).argmax(1)
    assert float((found == target)[target != 255].float().mean()) > 0.9


def test_embeddings_of_classes_are_means_over_the_fourteen_sentences(tmp_path: Path) -> None:
    assert len(set(TEMPLATES)) == 14
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    network = small(tmp_path)
    name, file = save(tmp_path, "tiny")
    model = clip.load(name, file)
    for place, phrases in enumerate(PHRASES):
        texts = [template.replace("{}", ", ".join(phrases)) for template in TEMPLATES]
        mean = model.network.encode_text(model.tokenizer(texts), normalize=True).mean(0)
        torch.testing.assert_close(network.texts[place], mean / mean.norm())


def test_weights_come_back_beside_the_same_clip_and_no_other(tmp_path: Path) -> None:
    first = small(tmp_path).eval()
    name, file = save(tmp_path, "tiny")
    again = san.build(3, name, file, **OPTIONS).eval()
    again.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(first(images), again(images))
    save(tmp_path, "tiny", seed=1)
    other = san.build(3, name, file, **OPTIONS)
    with pytest.raises(ModelError, match=f"^train.encoder: expected the weights of {name} .* found others"):
        other.load_state_dict(first.state_dict())


def test_half_precision_changes_scores_little_and_trains(tmp_path: Path) -> None:
    network = small(tmp_path, ids=(1, 2, 3)).eval()
    images, target = blocks()
    with torch.no_grad():
        expected = network(images).softmax(1)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.softmax(1), expected, atol=0.02, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network.training_outputs(images)
    assert outputs[-1].classes.dtype == torch.float32
    sum(network.loss_terms(outputs, target, criterion((1, 2, 3))).values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())


@pytest.mark.parametrize("kind", ["patch32", "patch14", "vit-scaled"])
@pytest.mark.parametrize("size", [(33, 1), (64, 96)])
def test_any_clip_and_any_size_give_finite_logits(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    with torch.no_grad():
        logits = small(tmp_path, kind).eval()(torch.randn(1, 3, *size))
    assert logits.shape == (1, 4, *size)
    assert torch.isfinite(logits).all()


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    name, file = save(tmp_path, "tiny")
    with pytest.raises(ParamsError, match=r"^train.options.san.width: expected a multiple of its 5 heads, found 24$"):
        san.build(3, name, file, width=24, heads=5)
    with pytest.raises(ParamsError, match=r"^train.options.san.templates: expected \{\} where the class goes"):
        san.build(3, name, file, templates=["a photo"])
    with pytest.raises(ModelError, match=r"^train.encoder_weights: san runs beside a CLIP, .*; found None$"):
        san.build(3, "resnet18", None)
    with pytest.raises(ModelError, match=r"^train.encoder: expected a model of open_clip, found 'resnet18'"):
        san.build(3, "resnet18", "imagenet")
    other, weights = save(tmp_path, "avg")
    with pytest.raises(ModelError, match=r"^train.encoder: san needs a CLIP .* pools by a mean"):
        san.build(3, other, weights)
