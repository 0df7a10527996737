"""Multi-head attention whose weights can be recorded or replaced.

``A = softmax(q k^T / sqrt(d))`` for each head, its output ``A v``. Token 0 is the class token where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# q, k and v of one head, (T, d) each, to the output that replaces its attention's, (T, d).
AttentionOverride = Callable[[Tensor, Tensor, Tensor], Tensor]

# Weights of all heads at once would be heads x T x T numbers, gigabytes for a large frame; so many are there at a time.
# 28 MB is also just below the threshold above which the C library maps fresh pages at each allocation.
ROOM = 7 * 2**20


class AttentionMatrices(Sequence[Tensor]):
    """The attention of block after block, (B, T, T) each, mean over heads; each is computed on access.

    Only queries and keys are stored, since all matrices of a large frame would need gigabytes.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take q and k of each block, (B, heads, T, d); or (heads, T, d) of one image, for matrices (T, T)."""
        self._pairs = pairs

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._pairs)

    def __getitem__(self, block: Any) -> Any:  # noqa: ANN401
        """Return one matrix, or a list of them for a slice."""
        if isinstance(block, slice):
            return [_weigh(*pair) for pair in self._pairs[block]]
        return _weigh(*self._pairs[block])


def _weigh(query: Tensor, key: Tensor) -> Tensor:
    return attention_weights(query, key) if query.ndim == 4 else attention_weights(query[None], key[None])[0]


@dataclass
class AttentionRecorder:
    """Records the attention of blocks during a forward pass: of each block, or the mean over some.

    averaged: indices of the blocks, from 0, to average over. keep_all: record every block. The records, rows
    are queries and sum to 1, mean over heads: `per_block`, one (B, T, T) per block in their order; `mean`, (B, T, T).
    outputs: where it is a list, the tokens that leave each block that is run as a whole are appended, (B, T, D).
    """

    averaged: Collection[int] = ()
    keep_all: bool = False
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    mean: Tensor | None = None
    outputs: list[Tensor] | None = None

    @property
    def per_block(self) -> AttentionMatrices:
        """The attention of every block."""
        return AttentionMatrices(self.pairs)

    def needs_weights(self, block: int) -> bool:
        """Return whether the weights of a block must be computed in the forward pass."""
        return block in self.averaged

    def observe(self, block: int, query: Tensor, key: Tensor) -> None:
        """Record a block that is not run as a whole, by its q and k, (B, heads, T, d)."""
        if self.keep_all:
            self.pairs.append((query, key))
        if self.needs_weights(block):
            self.accumulate(block, attention_weights(query, key))

    def accumulate(self, block: int, weights: Tensor) -> None:
        """Add the weights of a block, (B, T, T), to the mean if it is averaged; they are changed in place."""
        if block in self.averaged:
            share = weights.div_(len(self.averaged))
            self.mean = share if self.mean is None else self.mean.add_(share)


def attend(
    layer: nn.MultiheadAttention,
    queries: Tensor,
    context: Tensor,
    weights: bool = False,
    visible: Tensor | None = None,
    keep: list[tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention of `queries` (B, R, D) over `context` (B, T, D).

    Returns (B, R, D), and the weights (B, R, T), mean over heads, if requested; nothing can be
    differentiated then. `visible` says which of the context each query may see, bool of (R, T) or of what
    broadcasts to (B, heads, R, T); None for all of it. `keep` is given q and k of all
    heads.
    """
    query, key, value = queries_keys_values(layer, queries, context)
    if keep is not None:
        keep.append((query, key))
    if weights and visible is None:
        mixed, mean = attend_with_weights(query, key, value)
    else:
        mixed, mean = F.scaled_dot_product_attention(query, key, value, attn_mask=visible), None
    return layer.out_proj(join_heads(mixed)), mean


def queries_keys_values(
    layer: nn.MultiheadAttention, queries: Tensor, context: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q of `queries` (B, R, D), k and v of `context` (B, T, D): (B, heads, R or T, D/heads) each."""
    width, heads = layer.embed_dim, layer.num_heads
    matrix, bias = layer.in_proj_weight, layer.in_proj_bias
    first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
    query = split_heads(F.linear(queries, matrix[:width], first), heads)
    key, value = (split_heads(part, heads) for part in F.linear(context, matrix[width:], rest).chunk(2, dim=-1))
    return query, key, value


@torch.no_grad()
def attend_with_weights(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention's output (B, heads, R, d), and its weights (B, R, T), mean over heads.

    Args:
        query: (B, heads, R, d).
        key: (B, heads, T, d).
        value: (B, heads, T, d).
    """
    mixed, mean = torch.empty_like(query), query.new_empty(len(query), query.shape[2], key.shape[2])
    for rows, weights in _in_parts(query, key):
        mixed[:, :, rows] = weights @ value
        torch.mean(weights, 1, out=mean[:, rows])
    return mixed, mean


@torch.no_grad()
def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Return the weights (B, R, T), mean over heads, of q (B, heads, R, d) and k (B, heads, T, d)."""
    mean = query.new_empty(len(query), query.shape[2], key.shape[2])
    for rows, weights in _in_parts(query, key):
        torch.mean(weights, 1, out=mean[:, rows])
    return mean


def _in_parts(query: Tensor, key: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows, and their weights for every head, (B, heads, rows, T), until all are done."""
    batch, heads, rows, width = query.shape
    step = max(1, ROOM // (batch * heads * key.shape[2]))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        weights = (query[:, :, part] * width**-0.5) @ key.transpose(2, 3)
        torch.softmax(weights, -1, out=weights)
        yield part, weights


def override_by_head(override: AttentionOverride, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what `override` makes of each image and head of (B, heads, T, d), heads joined: (B, T, heads * d)."""
    parts = zip(query, key, value, strict=True)
    images = [torch.stack([override(*head) for head in zip(*image, strict=True)]) for image in parts]
    return join_heads(torch.stack(images))


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Return (B, heads, T, D/heads) from (B, T, D)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """Return (B, T, D) from (B, heads, T, D/heads)."""
    return tokens.transpose(1, 2).flatten(2)
