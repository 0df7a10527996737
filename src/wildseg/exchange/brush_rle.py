"""Label Studio's run lengths of a brush: bits of an image of red, green, blue and alpha, of which alpha is the mask.

The format is that of the package @thi.ng/rle-pack: 32 bits of the number of values, 5 of a value's width less one,
four times 4 bits of the width of a run's length less one; then for each run one bit (1: all the same), 2 bits that
choose the width of the length, the length less one, and one value, or as many as the length says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wildseg.exchange.rle import counts_of

CHANNELS = 4
WORD = 8  # bits of a value
SIZES = (3, 4, 8, 16)  # bits of a length
HALF = 128  # a pixel counts from this alpha on: a brush has soft edges


def encode(mask: np.ndarray) -> list[int]:
    """Return the bytes of a mask, (H, W) bool."""
    parts = [f"{mask.size * CHANNELS:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    value = 0
    for count in (counts_of(mask.ravel()) * CHANNELS).tolist():
        while count:
            length = min(count, 1 << SIZES[-1])
            place = next(place for place, size in enumerate(SIZES) if length <= 1 << size)
            parts.append(f"1{place:02b}{length - 1:0{SIZES[place]}b}{value:08b}")
            count -= length
        value = 255 - value
    bits = "".join(parts)
    bits += "0" * (-len(bits) % 8)
    return np.packbits(np.frombuffer(bits.encode(), np.uint8) - ord("0")).tolist()


def decode(content: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Return the mask, (H, W) bool.

    Raises:
        ValueError: it is malformed, cut off, or of another size.
    """
    number = shape[0] * shape[1] * CHANNELS
    stream = _Bits(content)
    if (found := stream.read(32)) != number:
        raise ValueError(f"expected {number // CHANNELS} pixels, found {found / CHANNELS:g}")
    word = stream.read(5) + 1
    sizes = [stream.read(4) + 1 for _ in range(4)]
    values = np.zeros(number, np.uint8)
    place = 0
    while place < number:
        same = stream.read(1)
        length = 1 + stream.read(sizes[stream.read(2)])
        if place + length > number:
            raise ValueError("a run is longer than the image")
        if same:
            values[place : place + length] = stream.read(word) & 255
        else:
            values[place : place + length] = [stream.read(word) & 255 for _ in range(length)]
        place += length
    return values.reshape(*shape, CHANNELS)[..., 3] >= HALF


class _Bits:
    """A stream of bits, the highest of a byte first."""

    def __init__(self, content: Sequence[int]) -> None:
        try:
            raw = bytes(content)
        except (TypeError, ValueError) as error:
            raise ValueError("expected bytes, as numbers from 0 to 255") from error
        self._bits = (np.unpackbits(np.frombuffer(raw, np.uint8)) + ord("0")).tobytes()
        self._place = 0

    def read(self, number: int) -> int:
        """Return the number that the next bits are."""
        part = self._bits[self._place : self._place + number]
        if len(part) < number:
            raise ValueError("the run lengths are cut off")
        self._place += number
        return int(part, 2)
