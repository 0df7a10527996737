"""One image on its way through a CLIP tower, held at the target layer: what lies there, and what leads on from it.

The pass up to the target layer runs once, without gradient, for all classes and for several images at a time; only what
lies behind it is differentiated. Transformers and ResNets implement the same interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from wildseg.cam.blocks import Blocks
from wildseg.encoders.attention import AttentionMatrices, AttentionOverride, AttentionRecorder
from wildseg.encoders.attention_gradients import HeadGradients

Scalars = Callable[[Tensor], Tensor]  # features (1, d), not normalised, to (K,)


@dataclass(frozen=True)
class RecordConfig:
    """What is recorded of a forward pass.

    attention: record the attention of every block. averaged: from the number of blocks to those over which the mean of
    their attention is wanted. pos_embed_interpolation: how position embeddings are resampled, see
    `wildseg.encoders.positions`. outputs: record the tokens that leave each block. encoder: a second network that sees
    the same pixels when a method calls for it, (1, 3, H', W') to (1, C, h', w').
    """

    attention: bool = False
    averaged: Callable[[int], Collection[int]] | None = None
    pos_embed_interpolation: str = "bicubic"
    outputs: bool = False
    encoder: Callable[[Tensor], Tensor] | None = None

    def recorder(self, blocks: int) -> AttentionRecorder:
        """Return what sees the attention of a tower of so many blocks."""
        averaged = self.averaged(blocks) if self.averaged else ()
        return AttentionRecorder(averaged, self.attention, outputs=[] if self.outputs else None)


@dataclass(frozen=True)
class RecordedAttention:
    """The recorded attention of one image: rows are queries and sum to 1, mean over heads, token 0 the class token.

    each: one (1 + h*w, 1 + h*w) per block, or none. mean: over the configured blocks, or None.
    """

    per_block: Sequence[Tensor] = ()
    mean: Tensor | None = None

    @classmethod
    def of(cls, recorder: AttentionRecorder, image: int) -> RecordedAttention:
        """Take what was seen of one image of a batch."""
        return cls(
            AttentionMatrices([(q[image], k[image]) for q, k in recorder.pairs]),
            None if recorder.mean is None else recorder.mean[image],
        )


class TowerState(ABC):
    """One image at the target layer.

    layer: (1, C, h, w). pooled: (1 + h*w,) how much of each token is pooled, sums to 1. recorded: its attention.
    """

    layer: Tensor
    pooled: Tensor
    recorded: RecordedAttention

    @abstractmethod
    def features(self, layer: Tensor, pool: str) -> Tensor:
        """Return features (1, d), not normalised, from what may stand in place of `layer`; can be differentiated.

        Args:
            layer: (1, C, h, w).
            pool: ``model`` as trained, ``patches`` for the mean over patches in any case.
        """

    @abstractmethod
    def dense(self, override: AttentionOverride, residual: bool, mlp: bool) -> Tensor:
        """Return one feature per patch, (h*w, d), not normalised, where `override` replaces the last attention.

        Args:
            override: see `wildseg.encoders.attention.AttentionOverride`.
            residual: keep the path around the attention, if there is one.
            mlp: keep the block's second half, if there is one.
        """

    @abstractmethod
    def values(self) -> Tensor:
        """Return the values of the last attention at each patch, token 0 left out: (heads, h*w, C/heads)."""

    @abstractmethod
    def read_out(self, mixed: Tensor) -> Tensor:
        """Return features (N, d), not normalised, of what an attention made of `values`, (heads, N, C/heads).

        There is neither a residual path nor a second half.
        """

    @abstractmethod
    def attention_gradients(self, scalars: Scalars) -> Iterator[HeadGradients]:
        """Yield the attention of every block, last to first, and the gradients of K scalars of the features at it."""

    def blocks(self) -> Blocks | None:
        """Return the blocks of a transformer, which a method may run itself."""
        return None

    def head(self, _texts: Tensor) -> Tensor | None:
        """Return weights (M, C) where logits are linear in `layer`'s mean, but for the feature's length; or None."""
        return None
