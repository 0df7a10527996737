"""Fractal noise, the raw material of every texture in the rendered world.

Noise is drawn once, in the frequency domain, as square tiles that repeat without a seam; a texture then
only samples values. Amplitude falls with spatial frequency k as k ** -falloff.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE = 512  # side of a tile in texels; a power of two, so that wrapping is a bit mask
_SLOWEST_WAVES = 3.0  # waves per tile below which amplitude is zero: without them no tile has a bright side

Field = NDArray[np.floating[Any]]  # float32 in practice


class Tiles(NamedTuple):
    """The four tiles in use, (TILE, TILE) float32 each, mean 0 and standard deviation 1."""

    smooth: Field
    lumpy: Field
    grainy: Field
    fine: Field


def fractal_tile(rng: np.random.Generator, falloff: float) -> Field:
    """A tileable noise image, (TILE, TILE) float32, mean 0 and standard deviation 1."""
    waves = np.fft.fftfreq(TILE) * TILE
    frequency = np.hypot(waves[:, None], waves[None, :])
    amplitude = np.where(frequency < _SLOWEST_WAVES, 0.0, np.maximum(frequency, 1.0) ** -falloff)
    spectrum = rng.normal(size=(TILE, TILE)) + 1j * rng.normal(size=(TILE, TILE))
    tile = np.fft.ifft2(amplitude * spectrum).real
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


@cache
def tiles() -> Tiles:
    """The tiles shared by all worlds; worlds differ in where they sample them."""
    rng = np.random.default_rng(20240229)
    return Tiles(*(fractal_tile(rng, falloff) for falloff in (1.6, 1.3, 1.0, 0.5)))


def lookup(tile: Field, x: Field, y: Field, texel: float) -> Field:
    """Noise at points of a plane.

    Args:
        tile: (TILE, TILE), repeated in both directions.
        x: coordinates, any shape.
        y: coordinates, same shape as x.
        texel: size of one texel in the unit of x and y.

    Returns:
        The nearest texel's value at every point, shape of x.
    """
    # Truncation, not floor: it costs half as much, and only doubles the texel at zero.
    column = (x * np.float32(1 / texel)).astype(np.int32) & (TILE - 1)
    row = (y * np.float32(1 / texel)).astype(np.int32) & (TILE - 1)
    return tile.take(row * TILE + column)
