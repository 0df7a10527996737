import math
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from tests.segment.networks import batches, segmenter_trainer, stripes
from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import ModelError, ParamsError
from wildseg.methods import segmenter
from wildseg.methods.architectures import deeplabv3plus, unet
from wildseg.segment import architecture, decoders, vocabulary
from wildseg.segment.anysize import AnySize
from wildseg.segment.losses import cross_entropy
from wildseg.segment.predict import Predictor, describe
from wildseg.segment.vocabulary import open_architectures

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"encoder_depth": 3, "decoder_channels": [16, 16, 8]},
    "unetplusplus": {"encoder_depth": 3, "decoder_channels": [16, 16, 8]},
    "manet": {"encoder_depth": 3, "decoder_channels": [16, 16, 8], "attention_channels": 8},
    "linknet": {"encoder_depth": 3},
    "fpn": {"encoder_depth": 3, "pyramid_channels": 16, "decoder_channels": 32},
    "pspnet": {"decoder_channels": 16},
    "pan": {"encoder_depth": 3, "decoder_channels": 16},
    "deeplabv3": {"encoder_depth": 3, "decoder_channels": 16},
    "deeplabv3plus": {"encoder_depth": 3, "decoder_channels": 16},
    "upernet": {"encoder_depth": 3, "decoder_channels": 16},
    "segformer": {"encoder_depth": 3, "decoder_channels": 16},
    "pcaa": {"channels": 16, "bins": [2]},
    "dpt": {"decoder_channels": [16, 16, 16, 16], "fusion_channels": 16},
    "san": {"queries": 8, "width": 24, "depth": 3, "heads": 3, "points": 64},
}
# Where resnet18 cannot be, or is slow when dilated.
ENCODERS = {"dpt": "tu-test_vit", "pcaa": "tu-test_resnet", "san": "wildseg-tiny"}
WEIGHTS = {"san": str(Path(__file__).parents[3] / "models" / "tiny_clip" / "model.safetensors")}
PHRASES = [[name] for name in ("lawn", "water", "red brick path", "sky", "tree", "curb", "soil", "lane line", "pond")]
ALL = lookup.available("methods.architectures")


def encoder_of(name: str) -> str:
    return ENCODERS.get(name, "resnet18")


def build(name: str, num_classes: int = 3, encoder: str = "") -> torch.nn.Module:
    torch.manual_seed(0)
    module = lookup.load("methods.architectures", name)
    build = architecture.builder(module, PHRASES[:num_classes], range(num_classes + 1), Path())
    return build(num_classes, encoder or encoder_of(name), WEIGHTS.get(name), **SMALL.get(name, {}))


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@lru_cache(maxsize=1)
def built(name: str) -> torch.nn.Module:
    """A network for five classes, which tests of one architecture that follow each other share."""
    return build(name, num_classes=5).eval()


@pytest.mark.parametrize("size", [(45, 67), (64, 32), (33, 1)])
@pytest.mark.parametrize("name", ALL)
def test_every_architecture_answers_in_the_size_it_is_asked_with_one_channel_per_id(
    name: str, size: tuple[int, int]
) -> None:
    with torch.no_grad():
        logits = built(name)(torch.rand(2, 3, *size))
    assert logits.shape == (2, 6, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", [name for name in ALL if name != "san"])  # CLIP knows classes before any training
def test_every_architecture_starts_undecided(name: str) -> None:
    network = build(name, num_classes=9).train()
    loss = cross_entropy(network(torch.randn(4, 3, 64, 64)), torch.randint(0, 10, (4, 64, 64)))
    # The head of these two sees sums of several levels, so its logits are larger.
    assert loss.item() == pytest.approx(math.log(10), abs=2 if name in ("fpn", "pan") else 0.5)


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_has_the_same_first_weights_for_the_same_seed(name: str) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", sorted(set(ALL) - set(open_architectures())))
def test_every_architecture_that_trains_its_encoder_has_it_under_that_name(name: str) -> None:
    network = built(name)  # a fine-tuning of the encoder alone looks for it there
    names = {parameter for parameter, _ in network.named_parameters()}
    encoder = {f"encoder.{parameter}" for parameter, _ in network.encoder.named_parameters()}
    assert encoder
    assert encoder < names


@pytest.mark.parametrize("name", ALL)
def test_padding_does_not_reach_the_left_upper_corner(name: str) -> None:
    # A frame whose size needs no padding is answered as the bare network answers it.
    network = build(name).eval()
    image = torch.rand(1, 3, 128, 128)
    bare = next((base for base in type(network).__mro__ if base.__module__.startswith("segmentation_models")), None)
    if bare is None:
        pytest.skip("a network of this package")
    with torch.no_grad():
        torch.testing.assert_close(network(image), bare.forward(network, image))


# San learns by a matching of masks instead: see tests/segment/san.
@pytest.mark.parametrize("name", [name for name in ALL if name != "san"])
def test_every_architecture_learns_one_image_by_heart(name: str) -> None:
    rows, columns = np.mgrid[:32, :32]
    mask = torch.from_numpy(1 + (rows > 16) + (columns > 16))[None].repeat(2, 1, 1)
    image = torch.nn.functional.one_hot(mask, 4)[..., 1:].permute(0, 3, 1, 2).float()
    network = build(name, encoder=ENCODERS.get(name, "tu-test_resnet"))
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(network(image), mask).backward()
        optimiser.step()
    # Two equal images in training mode: what is tested is the network, not how soon running statistics settle.
    # The edge at pixel 17 lies inside of a cell of 8 pixels, which is the finest that some decoders see.
    coarse = {"deeplabv3": 0.95, "pspnet": 0.95, "pcaa": 0.95}
    assert float((network(image).argmax(1) == mask).float().mean()) > coarse.get(name, 0.99)


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_takes_a_step_is_saved_and_loaded_and_predicts_the_same(name: str, tmp_path: Path) -> None:
    network = build(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run = segmenter_trainer(network, steps=1)
    (event,) = run.run(batches)
    assert event.loss is not None
    assert event.loss > 0
    assert all(math.isfinite(term) for term in event.terms.values())
    assert any(
        not torch.equal(before[key], value)
        for key, value in network.state_dict().items()
        if not key.startswith("encoder")
    )

    config = describe(name, encoder_of(name), SMALL.get(name, {}), ["red", "green", "blue"], (1, 2, 3))
    if name in WEIGHTS:
        config[vocabulary.NAMED] = WEIGHTS[name]
    Artifacts(tmp_path).save_segmenter(run.weights("segmenter"), config)
    loaded = segmenter.load(Artifacts(tmp_path).segmenter_folder)
    image, _ = stripes(0, 45, 67)
    expected = Predictor(network, (1, 2, 3)).probabilities(image[None])[0].numpy()
    np.testing.assert_array_equal(loaded.probabilities(image), expected)
    assert expected.shape == (4, 45, 67)


def test_sizes_are_the_published_ones() -> None:
    assert parameters(unet.build(20, "resnet34", None)) == pytest.approx(24.4e6, rel=0.01)
    assert parameters(deeplabv3plus.build(20, "resnet34", None)) == pytest.approx(22.4e6, rel=0.01)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"encoder_depth": 4}, "decoder_channels: expected 4 widths"),
        ({"encoder_depth": 2}, "encoder_depth: expected 3, 4 or 5, found 2"),
    ],
)
def test_options_of_unet_that_contradict_each_other_are_told(options: dict[str, int], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        unet.build(3, "resnet18", None, **options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"output_stride": 32}, "output_stride: expected 8 or 16, found 32"),
        ({"encoder_depth": 6}, "encoder_depth: expected 3, 4 or 5, found 6"),
        ({"atrous_rates": [6, 12]}, "atrous_rates: expected three dilations"),
    ],
)
def test_options_of_deeplab_that_mean_nothing_are_told(options: dict[str, object], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        deeplabv3plus.build(3, "resnet18", None, **options)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("unetplusplus", {"encoder_depth": 4}, "unetplusplus.decoder_channels: expected 4 widths"),
        ("manet", {"decoder_channels": [8, 8, 8]}, "manet.decoder_channels: expected 5 widths"),
        ("linknet", {"encoder_depth": 2}, "linknet.encoder_depth: expected 3, 4 or 5, found 2"),
        ("fpn", {"decoder_channels": 48}, "fpn.decoder_channels: expected a multiple of 32"),
        ("pspnet", {"encoder_depth": 6}, "pspnet.encoder_depth: expected 3, 4 or 5, found 6"),
        ("pan", {"output_stride": 8}, "pan.output_stride: expected 16 or 32, found 8"),
        ("deeplabv3", {"output_stride": 32}, "deeplabv3.output_stride: expected 8 or 16, found 32"),
        ("deeplabv3", {"atrous_rates": [6]}, "deeplabv3.atrous_rates: expected three dilations"),
        ("upernet", {"encoder_depth": 1}, "upernet.encoder_depth: expected 3, 4 or 5, found 1"),
        ("segformer", {"encoder_depth": 0}, "segformer.encoder_depth: expected 3, 4 or 5, found 0"),
        ("dpt", {"decoder_channels": [8, 8, 8]}, "dpt.decoder_channels: expected 4 widths"),
    ],
)
def test_options_of_the_others_that_mean_nothing_are_told(name: str, options: dict[str, object], line: str) -> None:
    with pytest.raises(ParamsError, match=rf"^train.options.{line}"):
        lookup.load("methods.architectures", name).build(3, encoder_of(name), None, **options)


@pytest.mark.parametrize(
    ("name", "encoder", "line"),
    [
        ("deeplabv3plus", "densenet121", "densenet121 cannot be built"),
        ("deeplabv3", "vgg11", "vgg11 cannot be built"),
        ("pan", "densenet121", "densenet121 cannot be built"),
        ("linknet", "mit_b0", "mit_b0 cannot be built"),
        ("unetplusplus", "mit_b0", "mit_b0 cannot be built"),
        ("fpn", "tu-test_vit", "tu-test_vit cannot be built"),
        ("dpt", "resnet18", "dpt needs a vision transformer .* found resnet18, which is none"),
        ("dpt", "tu-vit_small_patch14_dinov2", "dpt needs .*, with patches of 14 pixels"),
        ("dpt", "tu-vit_smal_patch16_224", "expected an encoder .* did you mean"),
    ],
)
def test_an_encoder_that_does_not_fit_is_told_in_one_line(name: str, encoder: str, line: str) -> None:
    with pytest.raises(ModelError, match=rf"^train.encoder: {line}") as caught:
        lookup.load("methods.architectures", name).build(3, encoder, None)
    assert "\n" not in str(caught.value)


class Bare(torch.nn.Module):
    """A network whose logits are coarser than the image, or which fails."""

    def __init__(self, encoder_name: str, encoder_weights: str | None, fails: bool) -> None:
        super().__init__()
        self.encoder = smp.encoders.get_encoder(encoder_name, weights=encoder_weights)
        self.segmentation_head = torch.nn.Identity()
        self.fails = fails

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.segmentation_head(self.encoder(images)[1 if not self.fails else 99])


class Coarse(AnySize, Bare):
    pass


@pytest.mark.parametrize(("fails", "line"), [(False, "makes logits of 32x32$"), (True, r"list index out of range\)$")])
def test_levels_that_a_decoder_cannot_work_with_are_told_before_training(fails: bool, line: str) -> None:
    with pytest.raises(ModelError, match=f"^train.encoder: fpn cannot work with the levels of resnet18.*{line}"):
        decoders.create(partial(Coarse, fails=fails), "fpn", "resnet18", None)
