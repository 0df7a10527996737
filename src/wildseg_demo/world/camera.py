"""A pinhole camera on a ground robot: poses along the path, rays through pixels, points to pixels.

World axes in metres: x to the right of the first pose, y forward, z up; the ground is z = 0.
"""

from dataclasses import dataclass

import numpy as np

from wildseg_demo.world.noise import Field
from wildseg_demo.world.terrain import Bend


@dataclass(frozen=True)
class Camera:
    """How the camera sits on the robot, and how the robot sways.

    Attributes:
        height: metres above ground.
        pitch: radians, positive is down.
        field_of_view: horizontal, radians.
        lateral: metres right of the path's centre line.
        phase: radians, shifts the sway.
    """

    height: float
    pitch: float
    field_of_view: float
    lateral: float
    phase: float

    def pose_at(self, bend: Bend, travelled: float) -> "Pose":
        """Position and orientation of the camera after `travelled` metres along the path."""
        heading = np.arctan2(bend.at(travelled + 2) - bend.at(travelled), 2.0)
        return Pose(
            x=bend.at(travelled) + self.lateral + 0.15 * np.sin(0.7 * travelled),
            y=travelled,
            z=self.height,
            yaw=float(heading + 0.06 * np.sin(0.9 * travelled + self.phase)),
            pitch=float(self.pitch + 0.012 * np.sin(2.3 * travelled)),
            roll=float(0.015 * np.sin(1.7 * travelled)),
            field_of_view=self.field_of_view,
        )


@dataclass(frozen=True)
class Pose:
    """One camera position and orientation; angles in radians, yaw positive to the right, pitch down."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    roll: float
    field_of_view: float

    def focal(self, width: int) -> float:
        """Focal length in pixels of an image that is `width` pixels wide."""
        return float(width / 2 / np.tan(self.field_of_view / 2))

    def rays(self, width: int, height: int) -> tuple[Field, Field, Field]:
        """Directions through all pixel centres, (height, width) each: right, forward, up (not unit length)."""
        focal = self.focal(width)
        across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(focal)
        down = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(focal))[:, None]
        cos_roll, sin_roll = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        across, down = cos_roll * across - sin_roll * down, sin_roll * across + cos_roll * down  # (H, W)
        cos_pitch, sin_pitch = np.float32(np.cos(self.pitch)), np.float32(np.sin(self.pitch))
        level = cos_pitch - down * sin_pitch
        cos_yaw, sin_yaw = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        return (
            across * cos_yaw + level * sin_yaw,
            level * cos_yaw - across * sin_yaw,
            -(down * cos_pitch + sin_pitch),
        )

    def ground_point(self, x: float, y: float, width: int, height: int) -> tuple[float, float, float]:
        """Where a point on the ground appears.

        Args:
            x: world x in metres.
            y: world y in metres.
            width: of the image in pixels.
            height: of the image in pixels.

        Returns:
            Column and row in pixels (both may lie outside the image), and the depth in metres along the
            optical axis (not positive: behind the camera).
        """
        east, north = x - self.x, y - self.y
        ahead = east * np.sin(self.yaw) + north * np.cos(self.yaw)
        right = east * np.cos(self.yaw) - north * np.sin(self.yaw)
        depth = ahead * np.cos(self.pitch) + self.z * np.sin(self.pitch)
        if depth <= 0:
            return 0.0, 0.0, float(depth)
        across = right / depth
        down = (self.z * np.cos(self.pitch) - ahead * np.sin(self.pitch)) / depth
        column = np.cos(self.roll) * across + np.sin(self.roll) * down
        row = np.cos(self.roll) * down - np.sin(self.roll) * across
        focal = self.focal(width)
        return float(width / 2 + focal * column), float(height / 2 + focal * row), float(depth)


def draw_camera(rng: np.random.Generator) -> Camera:
    """Mount a camera: 0.6 to 1.2 m high, pitched 4 to 18 degrees down, 65 to 88 degrees wide."""
    return Camera(
        height=float(rng.uniform(0.6, 1.2)),
        pitch=float(np.deg2rad(rng.uniform(4, 18))),
        field_of_view=float(np.deg2rad(rng.uniform(65, 88))),
        lateral=float(rng.uniform(-0.4, 0.4)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )
