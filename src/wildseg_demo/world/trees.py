"""Trees and bushes: where they stand, the shadows they throw, and their billboards in the image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.appearance import Appearance
from wildseg_demo.world.camera import Pose
from wildseg_demo.world.noise import Field, lookup, tiles
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.terrain import CELL, COLUMNS, ROWS, U_MIN, Y_MIN, Bend, Terrain, column_of, row_of

_BARK = np.array([0.25, 0.18, 0.12], np.float32)
_NEAREST, _FARTHEST = 0.8, 60.0  # metres of depth between which a tree is drawn


@dataclass(frozen=True)
class Tree:
    """A tree or bush at path coordinates (u, y), `height` metres high; `seed` shifts its leaf noise."""

    u: float
    y: float
    height: float
    is_bush: bool
    seed: int

    @property
    def crown_radius(self) -> float:
        """Half the crown's width in metres."""
        return self.height * (0.7 if self.is_bush else 0.31)


def plant(terrain: Terrain, rng: np.random.Generator) -> list[Tree]:
    """Scatter trees and perhaps a hedge beside the built strip; none stand on paving or in water."""
    trees = [_scattered_tree(terrain, rng) for _ in range(rng.integers(4, 36))]
    if rng.random() < 0.35:
        trees += _hedge(terrain, rng)
    return [tree for tree in trees if terrain.surface_at(tree.u, tree.y) in (Surface.LAWN, Surface.SOIL)]


def _scattered_tree(terrain: Terrain, rng: np.random.Generator) -> Tree:
    away = float(rng.exponential(3.0) + 0.6)
    u = terrain.right + away if rng.random() < 0.5 else terrain.left - away
    is_bush = bool(rng.random() < 0.4)
    height = float(rng.uniform(0.5, 1.3) if is_bush else rng.uniform(3, 8))
    return Tree(u, float(rng.uniform(1.5, 72)), height, is_bush, int(rng.integers(1 << 16)))


def _hedge(terrain: Terrain, rng: np.random.Generator) -> list[Tree]:
    u = terrain.right + 0.8 if rng.random() < 0.5 else terrain.left - 0.8
    start, count = float(rng.uniform(0, 30)), int(rng.integers(8, 30))
    return [
        Tree(u, start + 0.8 * k, float(rng.uniform(0.7, 1.1)), True, int(rng.integers(1 << 16))) for k in range(count)
    ]


def cast_shadows(trees: list[Tree], bend: Bend, appearance: Appearance) -> NDArray[np.uint8]:
    """The share of sunlight that trees take from the ground: (ROWS, COLUMNS), 0 none to 255 all."""
    shadow = np.zeros((ROWS, COLUMNS), np.uint8)
    if not appearance.sunny:
        return shadow
    reach = 0.65 / np.tan(appearance.sun_elevation)  # the crown's centre is at about 0.65 of the tree's height
    for tree in trees:
        y = tree.y + tree.height * reach * np.sin(appearance.sun_azimuth)
        x = tree.u + bend.at(tree.y) + tree.height * reach * np.cos(appearance.sun_azimuth)
        _drop_shadow(shadow, x - bend.at(y), y, tree)
    return shadow


def _drop_shadow(shadow: NDArray[np.uint8], u: float, y: float, tree: Tree) -> None:
    radius = tree.crown_radius * 1.1
    rows = slice(row_of(y - 1.6 * radius), row_of(y + 1.6 * radius))
    columns = slice(column_of(u - 1.6 * radius), column_of(u + 1.6 * radius))
    du = (U_MIN + CELL * np.arange(columns.start, columns.stop, dtype=np.float32) - u)[None, :]
    dy = (Y_MIN + CELL * np.arange(rows.start, rows.stop, dtype=np.float32) - y)[:, None]
    u_grid, y_grid = np.broadcast_arrays(du + tree.seed % 97, dy + tree.seed % 31)
    leaves = lookup(tiles().lumpy, u_grid, y_grid, 0.012)
    distance = (du**2 + dy**2) / radius**2 + 0.4 * leaves
    taken = (255 * np.clip((1.1 - distance) * 3, 0, 1)).astype(np.uint8)
    np.maximum(shadow[rows, columns], taken, out=shadow[rows, columns])


def draw_trees(
    image: Field, mask: NDArray[np.uint8], trees: list[Tree], bend: Bend, pose: Pose, appearance: Appearance
) -> None:
    """Paint all visible trees into image and mask, far to near.

    Args:
        image: (H, W, 3) float32, written to.
        mask: (H, W) uint8, written to.
        trees: where they stand.
        bend: turns their path coordinates into world ones.
        pose: the camera's.
        appearance: colours and light.
    """
    height, width = mask.shape
    anchored = [(pose.ground_point(tree.u + bend.at(tree.y), tree.y, width, height), tree) for tree in trees]
    for (column, row, depth), tree in sorted(anchored, key=lambda item: -item[0][2]):
        if _NEAREST < depth < _FARTHEST:
            _draw_tree(image, mask, tree, column, row, pose.focal(width) / depth, depth, appearance)


def _draw_tree(
    image: Field,
    mask: NDArray[np.uint8],
    tree: Tree,
    column: float,
    row: float,
    pixels_per_metre: float,
    depth: float,
    appearance: Appearance,
) -> None:
    """One billboard whose foot stands at (column, row)."""
    height, width = mask.shape
    reach = 1.35 * tree.crown_radius * pixels_per_metre
    top = row - 1.15 * tree.height * pixels_per_metre
    columns = slice(max(0, int(column - reach)), max(0, min(width, int(column + reach) + 1)))
    rows = slice(max(0, int(top)), max(0, min(height, int(row) + 1)))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return
    across = (np.arange(columns.start, columns.stop, dtype=np.float32) - column) / pixels_per_metre
    above = (row - np.arange(rows.start, rows.stop, dtype=np.float32)) / pixels_per_metre
    u, v = np.meshgrid(across, above)  # metres right of and above the foot

    leaves, trunk = _silhouette(tree, u, v)
    mist = np.float32(1 - np.exp(-appearance.haze * depth))
    window, labels = image[rows, columns], mask[rows, columns]
    grain = lookup(tiles().grainy, u + tree.seed % 91, v + tree.seed % 57, 0.02)
    window[leaves] = (
        _foliage(tree, u[leaves], v[leaves], grain[leaves], appearance) * (1 - mist) + appearance.horizon * mist
    )
    window[trunk] = _BARK * (1 + 0.2 * grain[trunk, None]) * (1 - mist) + appearance.horizon * mist
    labels[leaves | trunk] = Surface.TREE


def _silhouette(tree: Tree, u: Field, v: Field) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points of a billboard are leaves and which are trunk."""
    size = 0.006 if tree.is_bush else 0.012
    ragged = lookup(tiles().lumpy, u + tree.seed % 391, v + tree.seed % 173, size)
    if tree.is_bush:
        round_ = (u / tree.crown_radius) ** 2 + ((v - 0.4 * tree.height) / (0.6 * tree.height)) ** 2
        leaves = (round_ + 0.25 * ragged < 1) & (v > 0)
        return leaves, np.zeros_like(leaves)
    round_ = (u / tree.crown_radius) ** 2 + ((v - 0.66 * tree.height) / (0.36 * tree.height)) ** 2
    leaves = round_ + 0.33 * ragged < 1
    half_trunk = 0.022 * tree.height + 0.02
    trunk = (np.abs(u) < half_trunk * (1.2 - 0.5 * v / tree.height)) & (v < 0.6 * tree.height) & (v > 0)
    return leaves, trunk & ~leaves


def _foliage(tree: Tree, u: Field, v: Field, grain: Field, appearance: Appearance) -> Field:
    """Leaf colours, (N, 3): lighter above and, under the sun, on one side."""
    light = 1 + 0.3 * grain + 0.4 * (v / tree.height - 0.55)
    if appearance.sunny:
        light -= 0.2 * np.clip(u / tree.crown_radius, -1, 1) * np.float32(np.cos(appearance.sun_azimuth))
    autumn, pale = (tree.seed % 37) / 37, (tree.seed % 101) / 101  # trees of one world differ a little
    own = np.array([1 + 0.4 * autumn, 1, 1], np.float32) * np.float32(0.8 + 0.5 * pale)
    return appearance.colours[Surface.TREE] * own * np.clip(light, 0.25, 2.2)[:, None]
