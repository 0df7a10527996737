"""True optical flow between two frames of a world, from its geometry, and what both of them show.

The ground is the plane z = 0, a tree a billboard that scales with its distance, the sky and the far tree line are
infinitely far away. Curbs stand out of the plane and water mirrors what is above it: their motion is not known here.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.camera import Pose
from wildseg_demo.world.ground import hit_ground
from wildseg_demo.world.noise import Field
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.trees import Tree, draw_trees
from wildseg_demo.world.world import HEIGHT, WIDTH, World

_HORIZON = -0.002  # as in `world`: rays flatter than this see sky
_GROUND, _FAR, _UNKNOWN = -1, -2, -3  # what a pixel shows, where it is no tree
_NEAR = 1.0  # pixels, beyond which a point that comes back was another one


class Motion(NamedTuple):
    """True flow (HEIGHT, WIDTH, 2) float32 in pixels, and what is known of it: (HEIGHT, WIDTH) bool each.

    known: flow is defined. visible: known, and the other frame shows the same point.
    """

    flow: Field
    known: NDArray[np.bool_]
    visible: NDArray[np.bool_]


@dataclass(frozen=True)
class _View:
    """What the pixels of a frame show: indices of trees or one of the constants above, and rays (H, W) each."""

    pose: Pose
    shown: NDArray[np.int32]
    rays: tuple[Field, Field, Field]


def motion(world: World, travelled: float, other: float) -> Motion:
    """Return the true flow from the frame after `travelled` metres to that after `other` metres."""
    here, there = _view(world, travelled), _view(world, other)
    flow, known = _flow(world, here, there.pose)
    back, known_there = _flow(world, there, here.pose)
    rows, columns = np.indices(known.shape)
    x, y = np.rint(columns + flow[..., 0]), np.rint(rows + flow[..., 1])
    inside = known & (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    to = np.where(inside, y, 0).astype(np.intp), np.where(inside, x, 0).astype(np.intp)
    # What is seen there is the same thing, and comes back: to the pixel, but for what rounding the place does.
    scale = np.maximum(1, np.abs(back[to]).max(axis=-1) / 8)
    returned = np.abs(flow + back[to]).max(axis=-1) < _NEAR * scale
    visible = inside & known_there[to] & (here.shown == there.shown[to]) & returned
    return Motion(flow, known, visible)


def _view(world: World, travelled: float) -> _View:
    pose = world.camera.pose_at(world.terrain.bend, travelled)
    rays = pose.rays(WIDTH, HEIGHT)
    east, north, up = (part.ravel() for part in rays)
    flat = np.full(east.shape, _FAR, np.int32)
    below = np.flatnonzero(up <= _HORIZON * np.hypot(east, north))
    surface = hit_ground(world.terrain, pose, east[below], north[below], up[below]).surface
    flat[below] = np.where(np.isin(surface, (Surface.CURB, Surface.WATER)), _UNKNOWN, _GROUND)
    shown = flat.reshape(HEIGHT, WIDTH)
    depths = [_foot(world, tree, pose)[2] for tree in world.trees]
    for index in np.argsort(depths)[::-1].tolist():  # far to near, as they are drawn
        canvas, mask = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
        draw_trees(canvas, mask, [world.trees[index]], world.terrain.bend, pose, world.appearance)
        shown[mask > 0] = index
    return _View(pose, shown, rays)


def _flow(world: World, view: _View, other: Pose) -> tuple[Field, NDArray[np.bool_]]:
    """Where the points that a view shows are in the image of another pose, and which are before that camera."""
    east, north, up = view.rays
    places = np.indices(view.shown.shape).astype(np.float64)
    rows, columns = places[0], places[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = view.pose.z / -up
    ground = view.shown == _GROUND
    # A point at infinity is its direction: what moves the camera does not move it.
    x = np.where(ground, view.pose.x + reach * east - other.x, east)
    y = np.where(ground, view.pose.y + reach * north - other.y, north)
    z = np.where(ground, -other.z, up)
    to_column, to_row, depth = _project(other, x, y, z)
    for index in np.unique(view.shown[view.shown >= 0]).tolist():
        tree, chosen = world.trees[index], view.shown == index
        column, row, near = _foot(world, tree, view.pose)
        column_there, row_there, far = _foot(world, tree, other)
        growth = near / far if far > 0 else 0.0
        to_column[chosen] = column_there + (columns[chosen] - column) * growth
        to_row[chosen] = row_there + (rows[chosen] - row) * growth
        depth[chosen] = far
    flow = np.stack([to_column - columns, to_row - rows], axis=-1)
    known = (view.shown != _UNKNOWN) & (depth > 0)
    return np.where(known[..., None], flow, 0).astype(np.float32), known


def _project(pose: Pose, x: Field, y: Field, z: Field) -> tuple[Field, Field, Field]:
    """Where points relative to the camera appear: column and row of pixels, centres at whole numbers, and depth."""
    ahead = x * np.sin(pose.yaw) + y * np.cos(pose.yaw)
    right = x * np.cos(pose.yaw) - y * np.sin(pose.yaw)
    depth = ahead * np.cos(pose.pitch) - z * np.sin(pose.pitch)
    with np.errstate(divide="ignore", invalid="ignore"):
        across, down = right / depth, (-z * np.cos(pose.pitch) - ahead * np.sin(pose.pitch)) / depth
    column = np.cos(pose.roll) * across + np.sin(pose.roll) * down
    row = np.cos(pose.roll) * down - np.sin(pose.roll) * across
    focal = pose.focal(WIDTH)
    return WIDTH / 2 + focal * column - 0.5, HEIGHT / 2 + focal * row - 0.5, depth


def _foot(world: World, tree: Tree, pose: Pose) -> tuple[float, float, float]:
    """Where a tree stands in the image, and its depth."""
    return pose.ground_point(tree.u + world.terrain.bend.at(tree.y), tree.y, WIDTH, HEIGHT)
