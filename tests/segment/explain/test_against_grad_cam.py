"""The same networks, layers, classes and pixels: our maps against those of the grad-cam package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.segment.explain.networks import Curved, picture, seeded
from wildseg.core import lookup
from wildseg.segment.explain.evidence import evidence_map, grid_covers, record

grad_cam = pytest.importorskip("pytorch_grad_cam")
THEIRS = {"gradcam": grad_cam.GradCAM, "hirescam": grad_cam.HiResCAM}
SMALL = {"unet": {"encoder_depth": 3, "decoder_channels": [16, 16, 8]}, "deeplabv3plus": {"decoder_channels": 16}}
LAYERS = {
    "unet": ("encoder.layer2", "decoder.blocks.0", "decoder.blocks.2"),
    "deeplabv3plus": ("encoder.layer4", "decoder.aspp", "decoder.block2"),
}
HEIGHT, WIDTH = 64, 96


def theirs(name: str, network: nn.Module, layer: str, channel: int, region: np.ndarray) -> np.ndarray:
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    pixels = picture(*region.shape)
    with THEIRS[name](model=network, target_layers=[network.get_submodule(layer)]) as cam:
        return cam(input_tensor=pixels, targets=[SemanticSegmentationTarget(channel, region)])[0]


def ours(name: str, network: nn.Module, layer: str, channel: int, region: np.ndarray) -> np.ndarray:
    trace = record(network, layer, picture(*region.shape), torch.from_numpy(region), channel)
    return evidence_map(trace, lookup.load("methods.cam", name), grid_covers(network, region.shape)).numpy()


def sets(height: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    box = np.zeros((height, width), np.float32)
    box[height // 4 : height // 2, width // 8 : width // 2] = 1
    return {"all": np.ones((height, width), np.float32), "box": box,
            "soft": rng.random((height, width), dtype=np.float32)}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("which", ["box", "soft"])
@pytest.mark.parametrize("architecture", SMALL)
def test_maps_of_a_segmenter(name: str, which: str, architecture: str) -> None:
    torch.manual_seed(0)
    build = lookup.load("methods.architectures", architecture).build
    network = build(3, "resnet18", None, **SMALL[architecture]).eval()
    region = sets(HEIGHT, WIDTH)[which]
    shown = 0
    for layer in LAYERS[architecture]:
        for channel in (0, 2):
            found = ours(name, network, layer, channel, region)
            np.testing.assert_allclose(found, theirs(name, network, layer, channel, region), atol=2e-4)
            shown += found.std() > 0.02
    assert shown > 3


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("which", ["all", "box", "soft"])
def test_maps_of_a_small_network_of_any_size(name: str, which: str) -> None:
    network = seeded(Curved).eval()
    region = sets(13, 9)[which]
    for channel in range(4):
        found = ours(name, network, "features", channel, region)
        np.testing.assert_allclose(found, theirs(name, network, "features", channel, region), atol=2e-4)
