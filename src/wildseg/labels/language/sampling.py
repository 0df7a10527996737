"""Chooses the next token of each answer of a batch: what its grammar allows, and by noise of its own.

Sampling is by Gumbel's trick, the likeliest token after noise of each question's own seed, so that an answer does not
depend on what else is in its batch (but for rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wildseg.labels.language.grammar import Grammar, State, Tokens
from wildseg.labels.language.messages import ChatQuery

if TYPE_CHECKING:
    import torch

# Below it, scores divided by the temperature overflow, and the likeliest token wins anyway.
MIN_TEMPERATURE = 1e-4


class ConstrainedSampler:
    """A logits processor: rules out what the grammar does not allow, and adds the noise that makes a sample."""

    def __init__(
        self, queries: Sequence[ChatQuery], grammars: Sequence[Grammar | None], tokens: Tokens, length: int
    ) -> None:
        """Begin answers; `length` is that of the questions."""
        import torch

        self._asks, self._grammars, self._tokens, self._length = queries, grammars, tokens, length
        self._states: list[State] = [grammar.start if grammar else frozenset() for grammar in grammars]
        self._noise = [torch.Generator().manual_seed(query.seed) for query in queries]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, V) of the next tokens, after the tokens (B, length) so far."""
        import torch

        scores = scores.float().clone()
        for row, (query, grammar) in enumerate(zip(self._asks, self._grammars, strict=True)):
            if query.temperature > MIN_TEMPERATURE:
                uniform = torch.rand(scores.shape[1], generator=self._noise[row]).clamp(1e-20, 1 - 1e-7)
                scores[row] = scores[row] / query.temperature - (-uniform.log()).log().to(scores.device)
            if grammar is None:
                continue
            if input_ids.shape[1] > self._length:
                text = self._tokens.texts.get(int(input_ids[row, -1]), b"")
                self._states[row] = grammar.walk(self._states[row], text)
            allowed = self._tokens.allowed(grammar, self._states[row])
            kept = scores[row, allowed]
            scores[row] = -torch.inf
            scores[row, allowed] = kept
        return scores
