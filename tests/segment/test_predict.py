import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests.segment.networks import stripes, tiny
from wildseg.core.errors import DataError
from wildseg.encoders.cnn.imagenet import MEAN, STD
from wildseg.methods.architectures import unet
from wildseg.segment.predict import Predictor, describe, load

IMAGES = np.stack([stripes(k)[0] for k in range(3)])
OPTIONS = {"encoder_depth": 3, "decoder_channels": [16, 16, 8]}


class Reddest(torch.nn.Module):
    """Logits (B, 4, H, W): background 5 everywhere, then ten times red, green and blue as they come in."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(images[:, :1], 5), 10 * images], 1)


def test_probabilities_are_the_softmax_of_the_normalised_image() -> None:
    network = tiny().eval()
    pixels = (IMAGES / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).softmax(1)
    found = Predictor(network, range(4)).probabilities(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(3, 12, 16))


def test_without_background_id_zero_is_never_answered() -> None:
    images = np.full((1, 4, 4, 3), 128, np.uint8)
    assert (Predictor(Reddest(), [0, 1, 2, 3]).probabilities(images).argmax(1) == 0).all()
    allowed = Predictor(Reddest(), [1, 2, 3])
    scores = allowed.probabilities(images, scales=(0.5, 1.0), flip=True)
    assert (scores[:, 0] == 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(1, 4, 4))
    assert set(np.unique(next(allowed.predict(images)))) <= {1, 2, 3}


def test_scales_and_flips_average_the_softmax() -> None:
    predictor = Predictor(tiny(), range(4))
    straight = predictor.probabilities(IMAGES)
    mirrored = predictor.probabilities(IMAGES[:, :, ::-1]).flip(-1)
    double = predictor.probabilities(IMAGES, scales=(2.0,))
    torch.testing.assert_close(predictor.probabilities(IMAGES, flip=True), (straight + mirrored) / 2)
    torch.testing.assert_close(predictor.probabilities(IMAGES, scales=(1.0, 2.0)), (straight + double) / 2)
    assert not torch.allclose(straight, double, atol=1e-3)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.7])
def test_every_scale_answers_in_the_size_of_the_image(scale: float) -> None:
    assert Predictor(tiny(), range(4)).probabilities(IMAGES, scales=(scale,)).shape == (3, 4, 12, 16)


def test_ids_of_many_images_come_in_order_whatever_their_sizes() -> None:
    sizes = [(12, 16), (12, 16), (7, 9), (12, 16), (12, 16), (12, 16)]
    images = [stripes(k, *size)[0] for k, size in enumerate(sizes)]
    predictor = Predictor(tiny(), range(4))
    found = list(predictor.predict(iter(images), batch_size=2))
    for image, ids in zip(images, found, strict=True):
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, predictor.probabilities(image[None])[0].argmax(0))


def test_predicting_reads_no_more_than_a_batch_ahead() -> None:
    taken = 0

    def images():  # noqa: ANN202
        nonlocal taken
        for k in range(10):
            taken += 1
            yield stripes(k)[0]

    next(Predictor(tiny(), range(4)).predict(images(), batch_size=2))
    assert taken <= 3


def test_predicting_leaves_training_as_it_was() -> None:
    network = tiny().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Predictor(network, range(4)).probabilities(IMAGES)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_model_is_loaded_from_its_weights_and_its_config_alone() -> None:
    network = unet.build(3, "resnet18", None, **OPTIONS)
    config = describe("unet", "resnet18", OPTIONS, ["a", "b", "c"], [1, 2, 3])
    loaded = load(unet.build, network.state_dict(), config)
    expected = Predictor(network, [1, 2, 3]).probabilities(IMAGES)
    torch.testing.assert_close(loaded.probabilities(IMAGES), expected)


def test_weights_and_a_config_that_do_not_fit_are_told_in_one_line() -> None:
    state = unet.build(3, "resnet18", None, **OPTIONS).state_dict()
    config = describe("unet", "resnet18", OPTIONS, ["a", "b", "c", "d"], [1, 2, 3, 4])
    with pytest.raises(DataError, match=r"expected weights and a config that fit.*segmentation_head") as caught:
        load(unet.build, state, config)
    assert "\n" not in str(caught.value)
    del config["ids"]
    with pytest.raises(DataError, match="run 'dvc repro train'"):
        load(unet.build, state, {**config, "classes": ["a", "b", "c"]})


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_a_scale_shrinks_without_aliasing_and_brings_logits_back_bilinearly(scale: float) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)  # noise: aliasing would show
    size = (round(16 * scale), round(12 * scale))
    logits = [np.full((12, 16), 5.0)]
    for channel in range(3):
        seen = (images[0, :, :, channel] / 255 - MEAN[channel]) / STD[channel]
        seen = Image.fromarray(seen.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        back = functional.interpolate(torch.from_numpy(10 * np.array(seen))[None, None], (12, 16), mode="bilinear")
        logits.append(back[0, 0].numpy())
    expected = torch.from_numpy(np.stack(logits)).softmax(0)
    found = Predictor(Reddest(), range(4)).probabilities(images, scales=(scale,))[0]
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-4, rtol=0)
