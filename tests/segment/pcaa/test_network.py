"""The network of PCAA: its terms, any size, the dilations of its backbone, and frames that it learns by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.segment.networks import batches, segmenter_trainer, stripes
from wildseg.core.errors import ModelError, ParamsError
from wildseg.methods.architectures import pcaa
from wildseg.methods.losses import cross_entropy
from wildseg.segment.objective import Criterion, SupervisesItself
from wildseg.segment.pcaa.network import Pcaa
from wildseg.segment.pcaa.supervision import bin_labels, focal
from wildseg.segment.predict import Predictor


def small(**options: object) -> Pcaa:
    torch.manual_seed(0)
    return pcaa.build(3, "tu-test_resnet", None, **{"channels": 16, "bins": [2], **options})


def criterion(ids: list[int], weights: torch.Tensor | None = None) -> Criterion:
    return Criterion(cross_entropy.loss, torch.tensor(ids), weights, lambda mass: mass)


def test_it_supervises_itself() -> None:
    assert isinstance(small(), SupervisesItself)


def test_its_terms_are_the_loss_of_logits_and_auxiliary_logits_and_the_focal_loss_of_each_attention() -> None:
    network = small(bins=[2, 1], auxiliary_weight=0.3, partial_weight=2.0).eval()
    images, target = torch.randn(2, 3, 32, 48), torch.randint(0, 4, (2, 32, 48))
    target[:, :7] = 255
    outputs = network.training_outputs(images)
    assert outputs.logits.shape == outputs.auxiliary.shape == (2, 4, 32, 48)
    assert [scores.shape for scores in outputs.partial] == [(2, 4, 4), (2, 1, 4)]
    terms = network.loss_terms(outputs, target, criterion([0, 1, 2, 3]))
    assert list(terms) == ["cross_entropy", "auxiliary", "partial_classes"]
    main, second = (functional.cross_entropy(x, target, ignore_index=255) for x in (outputs.logits, outputs.auxiliary))
    pooled = [
        focal(scores, bin_labels(target, 4, (size, size)), lambda mass: mass)
        for scores, size in zip(outputs.partial, (2, 1), strict=True)
    ]
    torch.testing.assert_close(terms["cross_entropy"], main)
    torch.testing.assert_close(terms["auxiliary"], 0.3 * second)
    torch.testing.assert_close(terms["partial_classes"], 2.0 * sum(pooled) / 2)
    torch.testing.assert_close(network(images), outputs.logits)


def test_an_id_without_a_meaning_has_no_part_in_any_term() -> None:
    network = small().eval()
    images, target = torch.randn(1, 3, 32, 32), torch.randint(1, 4, (1, 32, 32))
    outputs = network.training_outputs(images)
    outputs.logits[:, 0] = outputs.auxiliary[:, 0] = outputs.partial[0][..., 0] = 9.0
    high = network.loss_terms(outputs, target, criterion([1, 2, 3]))
    outputs.logits[:, 0] = outputs.auxiliary[:, 0] = outputs.partial[0][..., 0] = -9.0
    low = network.loss_terms(outputs, target, criterion([1, 2, 3]))
    assert {name: term.item() for name, term in high.items()} == {name: term.item() for name, term in low.items()}


def test_what_an_image_is_padded_with_counts_for_no_bin() -> None:
    network = small().eval()
    images, target = torch.randn(1, 3, 20, 20), torch.randint(0, 4, (1, 20, 20))
    assert network.padded_size(20, 20) == (32, 32)  # two bins of cells of 8 pixels
    outputs = network.training_outputs(images)
    padded = functional.pad(target, (0, 12, 0, 12), value=255)
    expected = focal(outputs.partial[0], bin_labels(padded, 4, (2, 2)), lambda mass: mass)
    terms = network.loss_terms(outputs, target, criterion([0, 1, 2, 3]))
    torch.testing.assert_close(terms["partial_classes"], expected)


@pytest.mark.parametrize(
    ("options", "size", "padded"),
    [({"bins": [4]}, (33, 1), (64, 32)), ({"bins": [3, 2]}, (48, 49), (48, 96)), ({"bins": [1]}, (8, 9), (8, 16))],
)
def test_every_size_is_padded_to_whole_cells_in_every_bin(
    options: dict[str, object], size: tuple[int, int], padded: tuple[int, int]
) -> None:
    network = small(**options).eval()
    assert network.padded_size(*size) == padded
    assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size)


def test_every_parameter_gets_a_gradient() -> None:
    network = small().train()
    target = torch.randint(0, 4, (2, 32, 32))
    terms = network.loss_terms(network.training_outputs(torch.randn(2, 3, 32, 32)), target, criterion([0, 1, 2, 3]))
    sum(terms.values()).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_rendered_frames_are_learnt_by_heart_and_each_term_falls() -> None:
    network = small(output_stride=8, bins=[2])
    run = segmenter_trainer(network, steps=40, lr=0.01)
    frames = [{"image": functional.interpolate(b["image"], scale_factor=4), "mask": enlarged(b["mask"])}
              for b in batches(0, 2)]  # fmt: skip
    events = list(run.run(lambda start, stop: (frames[step % 2] for step in range(start, stop))))
    reported = [event.terms for event in events if event.terms]
    for name in ("cross_entropy", "auxiliary", "partial_classes"):
        assert reported[-1][name] < 0.3 * reported[0][name], name
    predictor = Predictor(network, (1, 2, 3), (128 / 255,) * 3, (128 / 255,) * 3)
    for seed in range(4):
        image, mask = (np.kron(a, np.ones((4, 4, 1)[: a.ndim], np.uint8)) for a in stripes(seed))
        (ids,) = predictor.predict([image])
        assert (ids == mask).mean() > 0.95


def enlarged(mask: torch.Tensor) -> torch.Tensor:
    return mask.repeat_interleave(4, 1).repeat_interleave(4, 2)


def dilations(network: torch.nn.Module, stage: str) -> list[int]:
    (layer,) = (module for name, module in network.named_modules() if name.endswith(stage))
    kernels = [m for m in layer.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(m.padding == m.dilation for m in kernels)
    assert all(m.stride == (1, 1) for m in kernels)
    return [m.dilation[0] for m in kernels]


@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50c"])
def test_a_resnet_is_dilated_block_by_block_as_published(encoder: str) -> None:
    options = {"channels": 8, "bins": [1]}
    plain = pcaa.build(3, encoder, None, **options)
    assert dilations(plain, "layer3") == [2] * 6
    assert dilations(plain, "layer4") == [4] * 3
    grid = pcaa.build(3, encoder, None, multi_grid=[1, 2, 4], output_stride=16, **options)
    assert dilations(grid, "layer4") == [2, 4, 8]


def test_a_multi_grid_needs_a_resnet() -> None:
    with pytest.raises(ModelError, match=r"multi_grid: expected a ResNet as train.encoder, found 'tu-test_convnext'"):
        pcaa.build(3, "tu-test_convnext", None, multi_grid=[1, 2], channels=8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"output_stride": 32}, "output_stride: expected 8 or 16, found 32"),
        ({"channels": 15}, "channels: expected an even"),
    ],
)
def test_options_that_mean_nothing_are_told(options: dict[str, object], line: str) -> None:
    with pytest.raises(ParamsError, match=f"^train.options.pcaa.{line}"):
        small(**options)


def test_an_encoder_that_cannot_be_dilated_is_told() -> None:
    with pytest.raises(ModelError, match=r"^train.encoder: vgg11 cannot be dilated to an output stride of 8"):
        pcaa.build(3, "vgg11", None)


def test_the_resnet_38_of_methods_on_image_labels_is_no_encoder_of_it() -> None:
    with pytest.raises(ModelError, match=r"^train.encoder: expected an encoder of segmentation-models-pytorch"):
        pcaa.build(3, "resnet38", None)
