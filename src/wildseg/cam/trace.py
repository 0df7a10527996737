"""One recorded pass through a network: what lies at the target layer, and gradients of any target with respect to it.

The pass up to the target layer runs once, without gradient, and serves all classes; only what lies behind the layer
is differentiated. A method sees a `Trace` and nothing of the network, so the same method reads a vision transformer
and a CNN. Nothing is left behind on the network: no hook, no gradient on a parameter, no change of mode.

The target layer of a transformer depends on how it pools. Where the class token is pooled it is the first layer norm
of the last block, since patches of the last block's output do not touch the logit; where patches are averaged it is
what is averaged. (With the wrong one of the two, maps of small models lose most of what they show.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.encoders.attention_gradients import HeadGradients, backward_through_attention
from wildseg.encoders.clip import Clip
from wildseg.encoders.vit import CLS, EVERY, Mix, ViT
from wildseg.errors import ModelError

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
    token 0 the class token; empty unless it was asked for.

    What not every network has, and is None there. pooled: (1 + h*w,) how much of each token is pooled, sums to 1.
    head: (M, C) weights of the linear classifier behind a mean over the activations. attention_backward: see
    `attention_gradients`. dense: cosines of every patch and text, see `Dense`. rescore: logits (n, M) of the image
    under masks (n, H', W') in [0, 1], by which its normalised pixels are multiplied; size: (H', W').
    """

    activations: Tensor
    classes: tuple[int, ...]
    num_classes: int
    backward: Callable[[Target, str], Tensor]
    attention: tuple[Tensor, ...] = ()
    pooled: Tensor | None = None
    head: Tensor | None = None
    attention_backward: Callable[[Target], Iterator[HeadGradients]] | None = None
    dense: Dense | None = None
    rescore: Callable[[Tensor], Tensor] | None = None
    size: tuple[int, int] = (0, 0)

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
    clip: Clip, pixels: Tensor, texts: Tensor, classes: Sequence[int], num_classes: int, attention: bool = False
) -> Trace:
    """Record one image in front of the image tower of a CLIP model.

    Args:
        clip: the model, with a vision transformer.
        pixels: (1, 3, h*p, w*q).
        texts: (M, d) unit vectors, classes first.
        classes: the K rows of `texts` asked about.
        num_classes: how many rows of `texts` are classes.
        attention: also record the attention of every block.
    """
    vit = clip.vit
    with torch.no_grad():
        tokens = vit.trunk(pixels, attention=attention)
        layer, head, last_attention = _target_layer(vit, tokens.values, attention)

    def backward(target: Target, pool: str) -> Tensor:
        with torch.enable_grad():
            leaf = layer.clone().requires_grad_()  # (1, 1 + h*w, C)
            logits = clip.logits(F.normalize(head(leaf, vit.pool if pool == "model" else "avg"), dim=-1), texts)
        return _to_grid(_differentiate(logits, leaf, target, classes), tokens.grid)

    @torch.no_grad()
    def dense(mix: Mix, residual: bool, mlp: bool) -> Tensor:
        features = F.normalize(vit.dense_features(tokens.values, mix, residual, mlp)[0], dim=-1)  # (h*w, d)
        return (features @ texts.T).T.unflatten(1, tokens.grid)

    @torch.no_grad()
    def rescore(masks: Tensor) -> Tensor:
        return clip.logits(F.normalize(vit.features(pixels * masks[:, None]), dim=-1), texts)

    def attention_backward(target: Target) -> Iterator[HeadGradients]:
        def scalars(values: Tensor) -> Tensor:
            logits = clip.logits(F.normalize(vit.pooled(values, vit.pool), dim=-1), texts)
            return target(logits.expand(len(classes), -1), classes)

        return backward_through_attention(vit, pixels, scalars)

    return Trace(
        _to_grid(layer, tokens.grid),
        tuple(classes),
        num_classes,
        backward,
        tuple(weights[0] for weights in (*tokens.attention, *last_attention)),
        _pooled(vit, values=tokens.values),
        _linear_head(vit, texts),
        attention_backward,
        dense,
        rescore,
        (pixels.shape[2], pixels.shape[3]),
    )


def _linear_head(vit: ViT, texts: Tensor) -> Tensor | None:
    """Return weights (M, C) where patches are averaged and projected, up to the feature's length; else None."""
    if vit.pool == "tok" or vit.visual.final_ln_after_pool:
        return None
    return texts if vit.visual.proj is None else texts @ vit.visual.proj.T


def _pooled(vit: ViT, values: Tensor) -> Tensor:
    weights = torch.zeros_like(values[0, :, 0])
    if vit.pool == "tok":
        weights[0] = 1
    else:
        weights[1:] = 1 / (len(weights) - 1)
    return weights


Head = Callable[[Tensor, str], Tensor]  # (B, 1 + h*w, C) at the target layer, and a pooling, to features (B, d)


def _target_layer(vit: ViT, values: Tensor, attention: bool) -> tuple[Tensor, Head, tuple[Tensor, ...]]:
    """Return the target layer's tokens, what leads from there to features, and the last block's attention."""
    last = vit.blocks[-1]
    normed = last.ln_1(values)
    if vit.pool == "tok":

        def from_norm(leaf: Tensor, pool: str) -> Tensor:
            rows = CLS if pool == "tok" else EVERY
            after, _ = vit.block(last, values, leaf, rows)
            return vit.pooled(after, pool)

        weights = vit.block(last, values, normed, attention=True)[1] if attention else None
        return normed, from_norm, () if weights is None else (weights,)
    after, weights = vit.block(last, values, normed, attention=attention)
    return vit.pool_input(after), lambda leaf, _: vit.projected(leaf[:, 1:]), () if weights is None else (weights,)


def _differentiate(logits: Tensor, leaf: Tensor, target: Target, classes: Sequence[int]) -> Tensor:
    """Return d target_i / d leaf for each class, (K, ...), from logits (1, M) of a leaf (1, ...)."""
    with torch.enable_grad():
        scalars = target(logits.expand(len(classes), -1), classes).unbind()
    # One forward pass and K backward ones: as fast as K copies in one batch, with a K-th of the memory.
    return torch.cat([torch.autograd.grad(scalar, leaf, retain_graph=True)[0] for scalar in scalars])


def _to_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)  # (B, 1 + h*w, C) -> (B, C, h, w)


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
