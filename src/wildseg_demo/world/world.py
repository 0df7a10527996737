"""A world from a seed, and the frames and truth masks that a robot's camera sees in it."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.appearance import Appearance, draw_appearance
from wildseg_demo.world.camera import Camera, draw_camera
from wildseg_demo.world.ground import hit_ground, shade_ground
from wildseg_demo.world.layouts import build_terrain
from wildseg_demo.world.noise import Field
from wildseg_demo.world.sky import clouded_sky, far_trees, skyline
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.terrain import Terrain
from wildseg_demo.world.trees import Tree, cast_shadows, draw_trees, plant

WIDTH, HEIGHT = 224, 168
_SUPERSAMPLING = 2
_GAMMA = 1.15
_HORIZON = -0.002  # rays flatter than this see sky: the ground would be more than 300 m away


@dataclass(frozen=True)
class World:
    """One rendered place; the same seed always gives the same one.

    Attributes:
        seed: decides everything.
        terrain: the ground.
        trees: what stands on it.
        appearance: colours, light and weather.
        camera: how the robot sees it.
    """

    seed: int
    terrain: Terrain
    trees: list[Tree]
    appearance: Appearance
    camera: Camera

    @cached_property
    def shadow(self) -> NDArray[np.uint8]:
        """Tree shadows on the ground grid, 0 to 255."""
        return cast_shadows(self.trees, self.terrain.bend, self.appearance)

    def render(self, travelled: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What the camera sees after `travelled` metres along the path.

        Returns:
            The image, (HEIGHT, WIDTH, 3) uint8 RGB, and its truth, (HEIGHT, WIDTH) uint8 `Surface` ids.
        """
        width, height = WIDTH * _SUPERSAMPLING, HEIGHT * _SUPERSAMPLING
        pose = self.camera.pose_at(self.terrain.bend, travelled)
        east, north, up = (direction.ravel() for direction in pose.rays(width, height))
        image = np.empty((height * width, 3), np.float32)
        mask = np.empty(height * width, np.uint8)

        is_above = up > _HORIZON * np.hypot(east, north)
        above, below = np.flatnonzero(is_above), np.flatnonzero(~is_above)
        image[above], mask[above] = self._backdrop(east[above], north[above], up[above])
        hits = hit_ground(self.terrain, pose, east[below], north[below], up[below])
        image[below], mask[below] = shade_ground(hits, self.shadow, self.appearance), hits.surface

        picture, truth = image.reshape(height, width, 3), mask.reshape(height, width)
        draw_trees(picture, truth, self.trees, self.terrain.bend, pose, self.appearance)

        noise = np.random.default_rng([self.seed, round(travelled * 1000)])
        return _expose(picture, self.appearance, noise), _centre_samples(truth)

    def _backdrop(self, east: Field, north: Field, up: Field) -> tuple[Field, NDArray[np.uint8]]:
        """Sky and far trees along rays (N,): colours (N, 3) and surface ids (N,)."""
        azimuth, elevation = np.arctan2(east, north), up / np.hypot(east, north)
        colours = clouded_sky(azimuth, elevation, self.appearance)
        hidden = elevation < skyline(azimuth, self.appearance)
        colours[hidden] = far_trees(azimuth[hidden], elevation[hidden], self.appearance)
        return colours, np.where(hidden, Surface.TREE, Surface.SKY).astype(np.uint8)


def build_world(seed: int, layout: str | None = None) -> World:
    """Build the world of a seed.

    Args:
        seed: any non-negative integer.
        layout: a key of `layouts.LAYOUTS` that the place must have; None lets the seed decide.

    Returns:
        The world.
    """
    # One stream per part, so that a change to trees leaves every ground as it was.
    streams = [np.random.default_rng([seed, part]) for part in range(4)]
    terrain = build_terrain(streams[0], layout)
    return World(seed, terrain, plant(terrain, streams[1]), draw_appearance(streams[2]), draw_camera(streams[3]))


def _expose(image: Field, appearance: Appearance, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light to pixel values: white balance, pixel averaging, sensor noise, gamma."""
    averaged = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    averaged *= appearance.exposure * appearance.white_balance
    noisy = averaged + np.float32(appearance.sensor_noise) * rng.standard_normal(averaged.shape, np.float32)
    return (255 * np.clip(noisy, 0, 1) ** np.float32(1 / _GAMMA) + 0.5).astype(np.uint8)


def _centre_samples(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class at the middle of every pixel: averaging, right for colours, has no meaning for ids."""
    return np.ascontiguousarray(mask[_SUPERSAMPLING // 2 :: _SUPERSAMPLING, _SUPERSAMPLING // 2 :: _SUPERSAMPLING])
