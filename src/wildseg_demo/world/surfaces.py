"""What the rendered world is made of: ten surfaces, in the order of their ids in truth masks."""

from enum import IntEnum


class Surface(IntEnum):
    """Id of a surface in a truth mask; 0 (background) never occurs in a rendered world."""

    SKY = 1
    TREE = 2
    CEMENT_ROAD = 3
    LANE_LINE = 4
    CURB = 5
    RED_BRICK_PATH = 6
    YELLOW_BRICK_PATH = 7
    SOIL = 8
    LAWN = 9
    WATER = 10


NAMES: tuple[str, ...] = tuple(surface.name.lower() for surface in Surface)
