"""Cross entropy: the mean of -log p(class) over all labelled pixels, with a weight for each class."""

from __future__ import annotations

from wildseg.segment.losses import cross_entropy_term

NEEDS: frozenset[str] = frozenset()

loss = cross_entropy_term
