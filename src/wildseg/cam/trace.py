"""One recorded pass through a network: what lies at the target layer, and gradients of any target with respect to it.

The pass up to the target layer runs once, without gradient, and serves all classes; only what lies behind the layer
is differentiated. A method sees a `Trace` and nothing of the network, so the same method reads a vision transformer
and a CNN. Nothing is left behind on the network: no hook, no gradient on a parameter, no change of mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam import read_resnet, read_vit
from wildseg.cam.reading import Look, Reading
from wildseg.encoders.attention import Mix
from wildseg.encoders.attention_gradients import HeadGradients
from wildseg.encoders.clip import Clip
from wildseg.encoders.resnet import ResNet
from wildseg.encoders.vit import ViT
from wildseg.errors import ModelError

LOOK = Look()

# Logits (K, M), of which row i belongs to the i-th class asked about and column c to text c; and the K columns asked
# about. Returns one scalar per row, (K,).
Target = Callable[[Tensor, Sequence[int]], Tensor]


# What takes the place of the last block's attention, and whether its residual path and its second half are kept;
# returns cosines (M, h, w) of the patches' features with the texts.
Dense = Callable[[Mix, bool, bool], Tensor]


@dataclass(frozen=True)
class Trace:
    """What a CAM method may read.

    activations: (1, C, h, w) at the target layer, on the image's grid. classes: the K columns of the logits that are
    asked about. num_classes: how many columns are classes; those behind are background phrases. backward: gradients of
    a target, see `gradients`. attention: per transformer block (1 + h*w, 1 + h*w), mean over heads, rows sum to 1,
    token 0 the class token; empty unless it was asked for;
    each is worked out when it is read. mean_attention: the same, the mean over chosen blocks.
    usual_pool: the pooling that suits the model where a method's paper takes the mean over patches: ``model`` for
    models taught with captions of regions, whose pooled token was taught to look at a part.

    What not every network has, and is None there. pooled: (1 + h*w,) how much of each token is pooled, sums to 1.
    head: (M, C) weights of the linear classifier behind a mean over the activations. attention_backward: see
    `attention_gradients`. dense: cosines of every patch and text, see `Dense`. rescore: logits (n, M) of the image
    under masks (n, H', W') in [0, 1], by which its normalised pixels are multiplied; size: (H', W').
    """

    activations: Tensor
    classes: tuple[int, ...]
    num_classes: int
    backward: Callable[[Target, str], Tensor]
    attention: Sequence[Tensor] = ()
    pooled: Tensor | None = None
    head: Tensor | None = None
    attention_backward: Callable[[Target], Iterator[HeadGradients]] | None = None
    dense: Dense | None = None
    rescore: Callable[[Tensor], Tensor] | None = None
    size: tuple[int, int] = (0, 0)
    mean_attention: Tensor | None = None
    usual_pool: str = "model"

    def gradients(self, target: Target | None = None, pool: str = "model") -> Tensor:
        """Return d target_i / d activations for each class asked about: (K, C, h, w).

        Args:
            target: from logits to scalars; by default each class's own logit.
            pool: ``model`` pools as the model was trained to; ``patches`` takes the mean over patches even where the
                model pools its class token.
        """
        return self.backward(target or class_logit, pool)

    def attention_gradients(self, target: Target | None = None) -> Iterator[HeadGradients]:
        """Yield the attention of every block, last to first, with d target_i / d attention for each class asked about.

        Raises:
            ModelError: the network has no attention.
        """
        if self.attention_backward is None:
            raise ModelError("cam.method: it reads the attention of a vision transformer; this network has none")
        return self.attention_backward(target or class_logit)


def class_logit(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """The default target: row i's logit of the i-th class asked about, (K,)."""
    return logits[torch.arange(len(classes)), list(classes)]


def record_clip(
    clip: Clip, pixels: Tensor, texts: Tensor, classes: Sequence[int], num_classes: int, look: Look = LOOK
) -> Trace:
    """Record one image, (1, 3, h*p, w*q), in front of the image tower of a CLIP model; see `record_batch`."""
    return record_batch(clip, pixels, texts, [classes], num_classes, look)[0]


def record_batch(
    clip: Clip,
    pixels: Tensor,
    texts: Tensor,
    classes: Sequence[Sequence[int]],
    num_classes: int,
    look: Look = LOOK,
) -> list[Trace]:
    """Record images of one size in front of the image tower of a CLIP model.

    Args:
        clip: the model, with a vision transformer or a ResNet.
        pixels: (B, 3, h*p, w*q).
        texts: (M, d) unit vectors, classes first.
        classes: for each image the K rows of `texts` asked about.
        num_classes: how many rows of `texts` are classes.
        look: what of its attention is recorded, and how position embeddings are resampled.

    Raises:
        ModelError: the tower is neither.
    """
    tower = clip.tower(look.positions)
    if isinstance(tower, ResNet):
        readings = read_resnet.read(tower, pixels, look)
    else:
        readings = read_vit.read(tower, pixels, look)
    return [
        _trace(clip, tower, pixels[i : i + 1], texts, tuple(classes[i]), num_classes, reading)
        for i, reading in enumerate(readings)
    ]


def _trace(
    clip: Clip,
    tower: ViT | ResNet,
    pixels: Tensor,
    texts: Tensor,
    classes: tuple[int, ...],
    num_classes: int,
    reading: Reading,
) -> Trace:
    def logits(features: Tensor) -> Tensor:
        return clip.logits(F.normalize(features, dim=-1), texts)

    def backward(target: Target, pool: str) -> Tensor:
        with torch.enable_grad():
            leaf = reading.layer.clone().requires_grad_()
            answer = logits(reading.features(leaf, pool))
        return _differentiate(answer, leaf, target, classes)

    @torch.no_grad()
    def dense(mix: Mix, residual: bool, mlp: bool) -> Tensor:
        features = F.normalize(reading.dense(mix, residual, mlp), dim=-1)  # (h*w, d)
        return (features @ texts.T).T.unflatten(1, reading.layer.shape[2:])

    @torch.no_grad()
    def rescore(masks: Tensor) -> Tensor:
        return logits(tower.features(pixels * masks[:, None]))

    def attention_backward(target: Target) -> Iterator[HeadGradients]:
        return reading.attention_gradients(lambda f: target(logits(f).expand(len(classes), -1), classes))

    return Trace(
        reading.layer,
        classes,
        num_classes,
        backward,
        reading.seen.each,
        reading.pooled,
        reading.head(texts),
        attention_backward,
        dense,
        rescore,
        (pixels.shape[2], pixels.shape[3]),
        reading.seen.mean,
        "model" if clip.knows_regions else "patches",
    )


def _differentiate(logits: Tensor, leaf: Tensor, target: Target, classes: Sequence[int]) -> Tensor:
    """Return d target_i / d leaf for each class, (K, ...), from logits (1, M) of a leaf (1, ...)."""
    with torch.enable_grad():
        scalars = target(logits.expand(len(classes), -1), classes).unbind()
    # One forward pass and K backward ones: as fast as K copies in one batch, with a K-th of the memory.
    return torch.cat([torch.autograd.grad(scalar, leaf, retain_graph=True)[0] for scalar in scalars])


def record_module(
    network: nn.Module,
    layer: nn.Module,
    pixels: Tensor,
    classes: Sequence[int],
    reshape: Callable[[Tensor], Tensor] = lambda output: output,
    head: Tensor | None = None,
) -> Trace:
    """Record one image in front of any network that returns logits (1, M), at any of its layers.

    Args:
        network: evaluated as it would be in use; its mode is put back afterwards.
        layer: a module inside it that is called once and returns one tensor.
        pixels: (1, 3, H, W).
        classes: the K logits asked about.
        reshape: from the layer's output (B, ...) to (B, C, h, w), for layers that return tokens.
        head: weights (M, C), where all that lies behind the layer is a mean and a linear classifier.
    """
    with torch.enable_grad(), _evaluating(network), _tapped(layer) as tapped:
        logits = network(pixels)  # (1, M)
    leaf = tapped[0]

    def backward(target: Target, pool: str) -> Tensor:
        if pool != "model":
            raise ValueError(f"pool: expected 'model' for a network whose pooling is its own, found {pool!r}")
        return reshape(_differentiate(logits, leaf, target, classes))

    @torch.no_grad()
    def rescore(masks: Tensor) -> Tensor:
        with _evaluating(network):
            return network(pixels * masks[:, None])

    return Trace(
        reshape(leaf.detach()),
        tuple(classes),
        logits.shape[1],
        backward,
        head=head,
        rescore=rescore,
        size=(pixels.shape[2], pixels.shape[3]),
    )


@contextmanager
def _tapped(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Cut the graph at `layer`: its output is replaced by a leaf that gradients can be asked of."""
    leaves: list[Tensor] = []

    def tap(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # a layer behind may work in place, which a leaf does not allow

    handle = layer.register_forward_hook(tap)
    try:
        yield leaves
    finally:
        handle.remove()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout and batch statistics off, and every module back to its own mode afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
