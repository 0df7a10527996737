"""Records one forward pass of a CLIP model, or of any network at any layer, as a `Trace` for CAM methods.

The pass up to the target layer runs once, without gradient, and serves all classes; only what lies behind the layer
is differentiated. Nothing is left behind on the network: no hook, no gradient on a parameter, no change of mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam import resnet_state, vit_state
from wildseg.cam.tower_state import RecordConfig, TowerState
from wildseg.cam.trace import LastAttention, Target, Trace
from wildseg.core.errors import ModelError
from wildseg.encoders.attention import AttentionOverride
from wildseg.encoders.attention_gradients import HeadGradients
from wildseg.encoders.clip import Clip
from wildseg.encoders.resnet import ResNet
from wildseg.encoders.vit import ViT

DEFAULT_CONFIG = RecordConfig()


def record_clip(
    clip: Clip,
    pixels: Tensor,
    texts: Tensor,
    classes: Sequence[int],
    num_classes: int,
    config: RecordConfig = DEFAULT_CONFIG,
) -> Trace:
    """Record one image, (1, 3, h*p, w*q), in front of the image tower of a CLIP model; see `record_batch`."""
    return record_batch(clip, pixels, texts, [classes], num_classes, config)[0]


def record_batch(
    clip: Clip,
    pixels: Tensor,
    texts: Tensor,
    classes: Sequence[Sequence[int]],
    num_classes: int,
    config: RecordConfig = DEFAULT_CONFIG,
) -> list[Trace]:
    """Record images of one size in front of the image tower of a CLIP model.

    Args:
        clip: the model, with a vision transformer or a ResNet.
        pixels: (B, 3, h*p, w*q).
        texts: (M, d) unit vectors, classes first.
        classes: for each image the rows of `texts` of its K queried classes.
        num_classes: how many rows of `texts` are classes.
        config: what of its attention is recorded, and how position embeddings are resampled.

    Raises:
        ModelError: the tower is neither.
    """
    tower = clip.tower(config.pos_embed_interpolation)
    return [
        _trace(clip, tower, pixels[i : i + 1], texts, tuple(classes[i]), num_classes, config, state)
        for i, state in enumerate(tower_states(tower, pixels, config))
    ]


def tower_states(tower: ViT | ResNet, pixels: Tensor, config: RecordConfig) -> list[TowerState]:
    """Return images of one size, (B, 3, h*p, w*q), at the target layer of an image tower, one by one."""
    if isinstance(tower, ResNet):
        return resnet_state.read(tower, pixels, config)
    return vit_state.read(tower, pixels, config)


def _trace(
    clip: Clip,
    tower: ViT | ResNet,
    pixels: Tensor,
    texts: Tensor,
    classes: tuple[int, ...],
    num_classes: int,
    config: RecordConfig,
    state: TowerState,
) -> Trace:
    grid = (state.layer.shape[2], state.layer.shape[3])

    def logits(features: Tensor) -> Tensor:
        return clip.logits(F.normalize(features, dim=-1), texts)

    def backward(target: Target, pool: str) -> Tensor:
        with torch.enable_grad():
            leaf = state.layer.clone().requires_grad_()
            answer = logits(state.features(leaf, pool))
        return _differentiate(answer, leaf, target, classes)

    @torch.no_grad()
    def dense(override: AttentionOverride, residual: bool, mlp: bool) -> Tensor:
        features = F.normalize(state.dense(override, residual, mlp), dim=-1)  # (h*w, d)
        return (features @ texts.T).T.unflatten(1, grid)

    @torch.no_grad()
    def rescore(masks: Tensor) -> Tensor:
        return logits(tower.features(pixels * masks[:, None]))

    def attention_backward(target: Target) -> Iterator[HeadGradients]:
        return state.attention_gradients(lambda f: target(logits(f).expand(len(classes), -1), classes))

    return Trace(
        state.layer,
        classes,
        num_classes,
        backward,
        state.recorded.per_block,
        state.pooled,
        state.head(texts),
        attention_backward,
        dense,
        rescore,
        (pixels.shape[2], pixels.shape[3]),
        state.recorded.mean,
        "model" if clip.region_trained else "patches",
        texts,
        state.blocks(),
        _last_attention(tower, pixels, texts, config, state),
    )


def _last_attention(
    tower: ViT | ResNet, pixels: Tensor, texts: Tensor, config: RecordConfig, state: TowerState
) -> LastAttention:
    @torch.no_grad()
    def read_out(mixed: Tensor) -> Tensor:
        return (F.normalize(state.read_out(mixed), dim=-1) @ texts.T).T

    @torch.no_grad()
    def encode() -> Tensor:
        if config.encoder is None:
            raise ModelError("cam.method: it compares places by a second encoder; there is none")
        return config.encoder(pixels)

    def crop(rows: slice, columns: slice) -> LastAttention:
        part = pixels[:, :, rows, columns]
        return _last_attention(tower, part, texts, config, tower_states(tower, part, config)[0])

    grid = (state.layer.shape[2], state.layer.shape[3])
    return LastAttention(grid, state.values, read_out, encode, crop, tower.patch)


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
        classes: the K queried logits.
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
    """Cut the graph at `layer`: its output is replaced by a leaf tensor that gradients are taken with respect to."""
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
