"""CLIMS: its terms against a loop over pairs, where gradients flow, how weights are taken over, what it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cam.networks import rendered
from tests.encoders.models import random_clip
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.clims import ClimsObjective, MatchingConfig, ResidualHead, renormalise
from wildseg.cam.networks.co_occurrence import BackgroundPhrases
from wildseg.cam.networks.objective import CropConfig, TrainingFrames
from wildseg.encoders.clip import Clip
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.distributed import DistributedContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

PHRASES = (("sky",), ("road", "street"), ("lawn",), ("water",))
BACKGROUND = BackgroundPhrases.of_classes([["cloud"], ["curb", "wall"], [], ["wall"]])
IMPROVED = MatchingConfig(10, 24, 1, 0.2, 0.05, "sum", ("a photo of {}.",), "imagenet")
LABELS = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.float32)
FRAMES = TrainingFrames(LABELS.numpy() > 0, list, lambda *_: pytest.fail("no maps are needed"))


class Stages(nn.Module):
    """A backbone of one stage of stride 4, with a normalisation."""

    channels, strides = (8,), (4,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [self.layers(pixels)]


def network(seed: int = 0) -> ClassifierNet:
    torch.manual_seed(seed)
    return ClassifierNet(Stages(), 8, 4)


def objective(
    model: Clip,
    net: ClassifierNet | None = None,
    config: MatchingConfig = IMPROVED,
    **changes: Any,  # noqa: ANN401
) -> ClimsObjective:
    """Return an objective of a small network; `changes` are arguments of it by name."""
    given = {
        "norm": Normalisation(), "optim": OptimConfig(20, 0.05, "sgd", "poly", 0.0), "crops": CropConfig(32, 3),
        "stride": 4, "context": TrainContext(), "clip": lambda: model, "phrases": PHRASES, "background": BACKGROUND,
    } | changes  # fmt: skip
    return ClimsObjective(net or network(), config=config, **given)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.randn(3, 3, 32, 32, generator=generator), "labels": LABELS, "index": torch.arange(3)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("clip"), "tiny")


def looped(run: ClimsObjective, given: dict[str, Tensor], config: MatchingConfig) -> dict[str, Tensor]:
    """Return the terms of the improved variant by a loop over pairs, with open_clip's own forward passes."""
    model = run.clip.network
    encode = lambda texts: model.encode_text(run.clip.tokenizer(texts), normalize=True)  # noqa: E731
    classes = encode([f"a photo of {', '.join(own)}." for own in PHRASES])
    maps = torch.sigmoid(F.conv2d(run.network.backbone(given["image"])[-1], run.network.classifier.weight))
    otm, btm, cbs = [], [], torch.zeros(())
    for b, labels in enumerate(given["labels"]):
        for c in range(4):
            if not labels[c]:
                continue
            large = F.interpolate(maps[b, c][None, None], (48, 64), mode="bilinear", align_corners=True)
            image = F.interpolate(given["image"][b : b + 1], (48, 64), mode="bilinear", align_corners=True)
            feature, other = (model.encode_image(x, normalize=True)[0] for x in (large * image, (1 - large) * image))
            otm.append(-torch.log((feature @ classes[c]).clamp(1e-4, 0.9999)))
            btm.append(-torch.log(1 - (other @ classes[c]).clamp(1e-4, 0.9999)))
            for phrase, related in zip(BACKGROUND.phrases, BACKGROUND.related[c], strict=True):
                similarity = feature @ encode([f"a photo of {phrase}."])[0]
                if related and similarity > config.threshold:
                    cbs = cbs - torch.log(1 - similarity)
    return {
        "object_text": config.object_text * torch.stack(otm).mean(),
        "background_text": config.background_text * torch.stack(btm).mean(),
        "suppression": config.suppression * cbs,
        "area": config.area * maps.mean(),
    }


def test_the_terms_and_their_gradients_are_those_of_a_loop_over_pairs(clip: Clip) -> None:
    run = objective(clip)
    found, expected = run.loss(batch()), looped(run, batch(), IMPROVED)
    assert list(found) == list(expected)
    assert expected["suppression"] > 0
    weight = run.network.classifier.weight
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
        ours, loops = (torch.autograd.grad(terms[name], weight, retain_graph=True)[0] for terms in (found, expected))
        torch.testing.assert_close(ours, loops, rtol=1e-4, atol=1e-6)
        assert loops.abs().max() > 1e-6


def test_gradients_reach_the_network_through_the_frozen_image_tower_and_stay_out_of_it(clip: Clip) -> None:
    run = objective(clip)
    terms = run.loss(batch())
    assert not any(parameter.requires_grad for parameter in clip.network.parameters())
    (gradient,) = torch.autograd.grad(terms["object_text"], run.network.backbone.layers[0].weight)
    assert gradient.abs().max() > 0
    sum(run.loss(batch()).values()).backward()
    assert all(parameter.grad is None for parameter in clip.network.parameters())
    assert all(parameter.grad is not None for parameter in run.network.parameters())
    assert set(run.networks) == {"network"}  # the image-text model is neither trained nor saved


def test_texts_are_encoded_once_and_the_model_is_loaded_when_it_is_needed(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, encoded = [], []
    whole = Clip.classifier
    monkeypatch.setattr(Clip, "classifier", lambda self, *texts: encoded.append(texts[0]) or whole(self, *texts))
    run = objective(clip, clip=lambda: loads.append(1) or clip)
    run.maps(torch.zeros(1, 3, 8, 8), [0])
    assert not loads
    for _ in range(3):
        run.loss(batch())
    assert len(loads) == 1
    assert encoded == [PHRASES, [("cloud",), ("curb",), ("wall",)]]


def test_proposed_phrases_that_mean_a_class_to_the_model_are_left_out(clip: Clip) -> None:
    proposed = replace(BackgroundPhrases.of_classes([["sky", "cloud", "wall"]] * 4), proposed=True)
    given = objective(clip, background=replace(proposed, proposed=False))
    assert given.texts.background.shape[0] == 3  # given phrases are taken as they are
    assert list(given.remarks()) == []
    (line,) = objective(clip, background=proposed).remarks()
    assert line.startswith("background phrases proposed: sky, cloud, wall; ")
    run = objective(clip, background=proposed, phrases=(("sky", "heaven"), ("road",), ("lawn",), ("water",)))
    assert run.texts.background.shape[0] == len(run.background.phrases) == run.texts.related.shape[1]
    assert set(run.background.phrases) <= set(proposed.phrases)


def test_frames_without_a_class_give_the_area_alone(clip: Clip) -> None:
    run = objective(clip, clip=lambda: pytest.fail("there is nothing to be shown"))
    terms = run.loss({**batch(), "labels": torch.zeros(3, 4)})
    assert {name for name, value in terms.items() if value != 0} == {"area"}
    sum(terms.values()).backward()
    assert run.network.classifier.weight.grad is not None


def test_without_phrases_nothing_is_suppressed(clip: Clip) -> None:
    run = objective(clip, background=BackgroundPhrases.of_classes([[]] * 4))
    assert run.loss(batch())["suppression"] == 0


@dataclass(frozen=True)
class Summed(DistributedContext):
    """A process whose sums are those of a whole batch, which were worked out elsewhere."""

    totals: tuple[float, ...] = ()

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.new_tensor(self.totals)


def test_parts_of_a_batch_in_several_processes_add_up_to_the_terms_of_the_whole(clip: Clip) -> None:
    net = network().eval()
    whole = objective(clip, net).loss(batch())
    context = TrainContext(distributed=Summed(totals=(5.0, 3.0)))  # pairs and images
    parts = [
        objective(clip, net, context=context).loss({name: value[rows] for name, value in batch().items()})
        for rows in (slice(0, 1), slice(1, 2), slice(2, 3))
    ]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value)


def test_the_model_may_be_shown_images_as_it_was_trained(clip: Clip) -> None:
    images = torch.rand(2, 3, 4, 4)
    own = Normalisation(tuple(clip.mean), tuple(clip.std))
    normalised = [
        (images - torch.tensor(norm.mean).view(3, 1, 1)) / torch.tensor(norm.std).view(3, 1, 1)
        for norm in (Normalisation(), own)
    ]
    torch.testing.assert_close(renormalise(normalised[0], Normalisation(), own), normalised[1])
    assert renormalise(images, own, own) is images
    shown = replace(IMPROVED, clip_norm="clip")
    given = batch()
    other = {**given, "image": renormalise(given["image"], Normalisation(), own)}
    net = network().eval()
    # A network that was given CLIP's own images: what CLIP sees is the same, whatever the network's maps are.
    net.classifier.weight.data.zero_()
    first = objective(clip, net, shown).loss(given)
    second = objective(clip, net, shown, norm=own).loss(other)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)
    assert not torch.isclose(first["object_text"], objective(clip, net).loss(given)["object_text"])


def test_maps_are_the_relu_of_the_head_without_a_sigmoid(clip: Clip) -> None:
    run = objective(clip)
    run.network.eval()
    pixels = batch()["image"][:1]
    with torch.no_grad():
        logits = F.conv2d(run.network.backbone(pixels)[-1], run.network.classifier.weight)[0]
        found = run.maps(pixels, [3, 1])
    torch.testing.assert_close(found, logits[[3, 1]].relu())
    in_training = logits.sigmoid()[[3, 1]]
    torch.testing.assert_close(found[found > 0], torch.logit(in_training)[found > 0], rtol=1e-4, atol=1e-5)
    assert (found > 0).any()
    assert (found == 0).any()


def test_the_area_alone_shrinks_all_maps_to_nothing(clip: Clip) -> None:
    config = replace(IMPROVED, object_text=0, background_text=0, suppression=0, area=1)
    optim = OptimConfig(60, 30.0, "sgd", "poly", 0.0, warmup=0.0)
    run = objective(clip, config=config, optim=optim)
    given = {**batch(), "labels": torch.zeros(3, 4)}
    before = run.loss(given)["area"].item()
    list(Trainer(run, optim).run(lambda start, stop: [given] * (stop - start)))
    assert before > 0.4
    assert run.loss(given)["area"].item() < 0.02


def test_a_classifier_is_taken_over_as_a_whole(clip: Clip) -> None:
    first = ClassifierObjective(network(1), Normalisation(), OptimConfig(1, 0.1), CropConfig(32, 3), 4, TrainContext())
    run = objective(clip, network(2), first=first)
    run.follow(first, FRAMES)
    for name, value in first.network.state_dict().items():
        assert torch.equal(run.network.state_dict()[name], value), name


def test_a_new_head_leaves_the_classifiers_head_out(clip: Clip) -> None:
    first = ClassifierObjective(network(1), Normalisation(), OptimConfig(1, 0.1), CropConfig(32, 3), 4, TrainContext())
    net = network(2)
    net.register_module("last", ResidualHead(8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = objective(clip, net, first=first, new_head=True)
    run.follow(first, FRAMES)
    taken = {name for name, value in run.network.state_dict().items() if not torch.equal(value, before[name])}
    assert taken == {"backbone.layers.0.weight", "backbone.layers.0.bias"}
    assert torch.equal(net.backbone.layers[0].weight, first.network.backbone.layers[0].weight)


def test_groups_hold_what_is_trained_with_the_decay_of_all_and_the_heads_own_rate(clip: Clip) -> None:
    net = network()
    net.backbone.layers[0].requires_grad_(False)
    groups = objective(clip, net, head_lr=7.0).param_groups()
    assert [(len(group.params), group.lr_scale, group.weight_decay) for group in groups] == [
        (2, 1.0, None),
        (1, 7.0, None),
    ]
    assert groups[1].params[0] is net.classifier.weight
    net.backbone.requires_grad_(False)
    assert [group.lr_scale for group in objective(clip, net).param_groups()] == [10.0]


def test_the_residual_head_adds_to_its_input_and_starts_narrow() -> None:
    torch.manual_seed(0)
    head = ResidualHead(64).eval()
    features = torch.rand(2, 64, 5, 6)
    torch.testing.assert_close(head(features), features, atol=2e-3, rtol=0)
    assert head.conv2.weight.shape == (16, 16, 3, 3)
    assert head.conv3.weight.std().item() == pytest.approx(0.01, rel=0.1)
    head.bn3.bias.data.fill_(-5.0)  # the leaky ReLU leaves a hundredth of what is negative
    torch.testing.assert_close(head(features), (features - 5) / 100, atol=1e-4, rtol=0)


class ColourClip:
    """Stands for an image-text model that knows the classes of the rendered world by their mean colours.

    The feature of an image is the share of each colour in what is not hidden, the text feature of a class its own axis.
    """

    size = (16, 20)
    mean, std = Normalisation().mean, Normalisation().std
    names = tuple(name.replace("_", " ") for name in rendered.NAMES)

    def __init__(self) -> None:
        images, truths, _ = rendered.frames()
        pixels = (torch.from_numpy(images) / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)
        masks = torch.from_numpy(truths)
        self.colours = torch.stack([pixels[masks == number].mean(0) for number in range(1, len(self.names) + 1)])

    def classifier(self, phrases: list[tuple[str, ...]], _templates: tuple[str, ...]) -> Tensor:
        return torch.eye(len(self.names))[[self.names.index(own[0]) for own in phrases]]

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        colours = pixels.flatten(2).transpose(1, 2)  # (B, N, 3)
        distances = (colours[:, :, None] - self.colours).square().sum(3)
        seen = colours.square().sum(2, keepdim=True).clamp(max=1)
        return F.normalize(((-distances / 0.15).softmax(2) * seen).mean(1) + 1e-6, dim=1)


def test_it_learns_from_an_image_text_model_where_the_surfaces_of_eight_frames_are() -> None:
    torch.manual_seed(1)
    trunk = rendered.TinyBackbone()
    net = ClassifierNet(trunk, trunk.channels[-1], len(rendered.NAMES))
    known = ColourClip()
    run = ClimsObjective(
        net, trunk.norm, OptimConfig(60, 0.02, warmup=0.0), CropConfig(64, 4, "long", (112, 112)), 4, TrainContext(1),
        lambda: known, [(name,) for name in known.names], BackgroundPhrases.of_classes([[]] * len(known.names)),
        replace(IMPROVED, threshold=0.26), head_lr=1.0,
    )  # fmt: skip
    before = rendered.map_miou(run)
    rendered.train(run, seed=1)
    assert rendered.map_miou(run) > before + 0.15  # .02 before and .31 after
