"""The same network, the same layer, the same targets: our maps against those of the grad-cam package."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.cam.configs import cam_config
from tests.cam.networks import ConvNet
from tests.encoders.models import random_clip
from wildseg.cam.engine import maps_of
from wildseg.cam.maps import normalise
from wildseg.cam.record import record_clip, record_module
from wildseg.core import lookup
from wildseg.encoders.clip import Clip

grad_cam = pytest.importorskip("pytorch_grad_cam")
THEIRS = {
    "gradcam": grad_cam.GradCAM,
    "gradcam_plusplus": grad_cam.GradCAMPlusPlus,
    "hirescam": grad_cam.HiResCAM,
    "layercam": grad_cam.LayerCAM,
    "xgradcam": grad_cam.XGradCAM,
}


def theirs(
    method: str, network: nn.Module, layer: nn.Module, pixels: Tensor, classes: tuple[int, ...], **options: object
) -> np.ndarray:
    """Return the package's maps at the size of the pixels: (K, H, W)."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind = grad_cam.ScoreCAM if method == "scorecam" else THEIRS[method]
    with kind(model=network, target_layers=[layer], **options) as cam:
        maps = [cam(input_tensor=pixels, targets=[ClassifierOutputTarget(c)])[0] for c in classes]
    return np.stack(maps)


def enlarged(maps: Tensor, pixels: Tensor) -> np.ndarray:
    height, width = pixels.shape[2:]
    large = np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps.numpy()])
    return normalise(torch.from_numpy(large)).numpy()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(weights=None).eval()


@pytest.mark.parametrize("method", THEIRS)
@pytest.mark.parametrize("layer", ["layer4", "layer3"])
def test_maps_of_a_resnet(method: str, layer: str, resnet: nn.Module) -> None:
    pixels = torch.randn(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    target = getattr(resnet, layer)[-1]
    trace = record_module(resnet, target, pixels, (3, 500, 7))
    found = maps_of(trace, cam_config(lookup.load("methods.cam", method)))
    assert found.std() > 0.05
    np.testing.assert_allclose(enlarged(found, pixels), theirs(method, resnet, target, pixels, (3, 500, 7)), atol=2e-4)


class Classifier(nn.Module):
    """A CLIP model as a classifier of images, for a package that knows nothing of texts."""

    def __init__(self, clip: Clip, texts: Tensor) -> None:
        super().__init__()
        self.clip, self.network, self.texts = clip, clip.network, texts

    def forward(self, pixels: Tensor) -> Tensor:
        return self.clip.logits(self.network.encode_image(pixels, normalize=True), self.texts)


@pytest.mark.parametrize("method", THEIRS)
@pytest.mark.parametrize("kind", ["tiny", "vit-quickgelu", "avg", "resnet"])
def test_maps_of_a_clip(method: str, kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    texts = torch.cat([texts[[0, 3]], -texts])  # what one text leaves empty its opposite shows
    height, width = clip.tower().native_grid
    pixels = torch.randn(1, 3, *clip.size, generator=torch.Generator().manual_seed(1))
    classes = (0, 1, 2, 5)
    found = maps_of(record_clip(clip, pixels, texts, classes, 6), cam_config(lookup.load("methods.cam", method)))
    assert found.amax((1, 2)).sum() > 1.9
    visual = clip.network.visual
    if kind == "resnet":
        layer, reshape = visual.layer4, None
    else:
        layer = visual.transformer.resblocks[-1].ln_1 if kind != "avg" else visual.ln_post
        reshape = lambda tokens: tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width))  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(
            method,
            Classifier(clip, texts),
            layer,
            pixels.requires_grad_(),
            classes,
            reshape_transform=reshape,
        )
    np.testing.assert_allclose(enlarged(found, pixels), expected, atol=2e-4)


def test_scorecam_of_a_small_network() -> None:
    torch.manual_seed(0)
    network = ConvNet().eval()
    pixels = torch.randn(1, 3, 24, 32)
    layer = nn.Sequential(*network.features, nn.AvgPool2d(4))  # maps smaller than the image, to be enlarged
    network.features = layer
    found = maps_of(record_module(network, layer, pixels, (0, 3)), cam_config(lookup.load("methods.cam", "scorecam")))
    np.testing.assert_allclose(enlarged(found, pixels), theirs("scorecam", network, layer, pixels, (0, 3)), atol=2e-4)


@pytest.mark.parametrize("layer", ["layer4", "layer3"])  # more channels than places, and fewer
def test_eigencam_but_for_the_sign_which_the_package_leaves_to_chance(layer: str, resnet: nn.Module) -> None:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    pixels = torch.randn(1, 3, 192, 224, generator=torch.Generator().manual_seed(0))
    target = getattr(resnet, layer)[-1]
    trace = record_module(resnet, target, pixels, (3,))
    projection = torch.from_numpy(get_2d_projection(trace.activations.numpy().copy()))
    expected = projection if projection.max() > -projection.min() else -projection
    found = maps_of(trace, cam_config(lookup.load("methods.cam", "eigencam")))
    np.testing.assert_allclose(found, normalise(expected.relu()), atol=2e-4)
    with grad_cam.EigenCAM(model=resnet, target_layers=[target]) as cam:
        package = cam(input_tensor=pixels, targets=None)
    np.testing.assert_allclose(package, enlarged(normalise(projection.relu()), pixels), atol=2e-4)


def test_scorecam_of_a_clip(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "vit-quickgelu")
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    pixels = torch.randn(1, 3, *clip.size, generator=torch.Generator().manual_seed(1))
    found = maps_of(record_clip(clip, pixels, texts, (0, 3), 4), cam_config(lookup.load("methods.cam", "scorecam")))
    layer = clip.network.visual.transformer.resblocks[-1].ln_1
    reshape = lambda tokens: tokens[:, 1:].transpose(1, 2).unflatten(2, clip.vit.native_grid)  # noqa: E731
    expected = theirs("scorecam", Classifier(clip, texts), layer, pixels, (0, 3), reshape_transform=reshape)
    np.testing.assert_allclose(enlarged(found, pixels), expected, atol=2e-4)
