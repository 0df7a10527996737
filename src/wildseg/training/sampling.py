"""Which training items a step takes, by its number alone, and the latest of them in memory.

So a run that was killed goes on with exactly the batches it would have seen, and batches may be made in any process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from wildseg.training.seeds import derive

Item = TypeVar("Item")

CACHE_BYTES = 256 * 2**20  # decoded frames of one process; more frames than fit are decoded again when needed


def item_at(position: int, number: int, seed: int) -> int:
    """Return the `position`-th drawn of `number` items: all are shuffled, used once, shuffled anew."""
    turn, place = divmod(position, number)
    return int(_shuffled(number, seed, turn)[place])


@lru_cache(maxsize=2)
def _shuffled(number: int, seed: int, turn: int) -> np.ndarray:
    return np.random.default_rng(derive(seed, "shuffle", turn)).permutation(number)


class DecodedCache(Generic[Item]):
    """Decoded items by number; the latest used stay in memory up to a fixed number of bytes."""

    def __init__(self, read: Callable[[int], Item], size: Callable[[Item], int], limit: int = CACHE_BYTES) -> None:
        """Remember how to read an item, and how many bytes one takes; nothing is read yet."""
        self._read = read
        self._size = size
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._free = limit

    def __len__(self) -> int:
        """Return how many items are in memory."""
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        """Return an item, from memory or read anew."""
        if index in self._items:
            self._items.move_to_end(index)
            return self._items[index]
        item = self._read(index)
        self._items[index] = item
        self._free -= self._size(item)
        while self._free < 0:
            self._free += self._size(self._items.popitem(last=False)[1])
        return item
