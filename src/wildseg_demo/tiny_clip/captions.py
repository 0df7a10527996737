"""Words for surfaces, and sentences about regions."""

from collections.abc import Sequence

import numpy as np

from wildseg_demo.world.surfaces import Surface

# The first two of every list are what the shipped params.yaml asks for, and are said most often.
SYNONYMS: dict[Surface, tuple[str, ...]] = {
    Surface.SKY: ("sky", "clouds", "open sky", "cloudy sky", "blue sky"),
    Surface.TREE: ("tree", "bushes", "trees", "bush", "trees and bushes", "shrubs", "hedge", "forest"),
    Surface.CEMENT_ROAD: (
        "cement road",
        "grey pavement",
        "road",
        "concrete road",
        "asphalt road",
        "cement path",
        "grey concrete pavement",
    ),
    Surface.LANE_LINE: ("lane line", "road marking", "lane marking", "lane", "painted road line"),
    Surface.CURB: ("curb", "kerb stone", "kerb", "curbstone", "road curb", "raised kerb stone"),
    Surface.RED_BRICK_PATH: (
        "red brick path",
        "red paving",
        "red path",
        "red bricks",
        "red brick sidewalk",
    ),
    Surface.YELLOW_BRICK_PATH: (
        "yellow brick path",
        "yellow paving",
        "yellow path",
        "yellow bricks",
        "yellow brick sidewalk",
    ),
    Surface.SOIL: ("soil", "bare dirt", "dirt", "bare soil", "dirt ground", "mud", "earth"),
    Surface.LAWN: ("lawn", "grass", "green grass", "grass field", "meadow"),
    Surface.WATER: ("water", "pond", "puddle", "lake", "water surface"),
}
TEMPLATES = (
    "a photo of {}.",
    "a photo of the {}.",
    "{}",
    "a picture of {}.",
    "there is {} in the scene.",
    "a robot view of {}.",
    "a clean origami {}.",
    "an image with {}.",
    "a video frame of {}.",
)
_FUSED = 0.4  # share of single-surface phrases that list two or three synonyms: "lawn, grass"


def phrase(surface: Surface, rng: np.random.Generator) -> str:
    """One of a surface's names; its two main ones half the time."""
    names = SYNONYMS[surface]
    return names[int(rng.integers(2 if rng.random() < 0.5 else len(names)))]


def fused_phrase(surface: Surface, rng: np.random.Generator) -> str:
    """A name of the surface, or several that mean the same, separated by commas."""
    if rng.random() >= _FUSED:
        return phrase(surface, rng)
    names = SYNONYMS[surface]
    if rng.random() < 0.5:
        return ", ".join(names[:2])
    chosen = rng.permutation(len(names))[: int(rng.integers(2, 4))]
    return ", ".join(names[int(index)] for index in chosen)


def sentence(surfaces: Sequence[Surface], rng: np.random.Generator) -> str:
    """A caption that names the given surfaces and no others."""
    if len(surfaces) == 1:
        words = fused_phrase(surfaces[0], rng)
    else:
        names = [phrase(surface, rng) for surface in surfaces]
        words = ", ".join(names[:-1]) + " and " + names[-1]
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(words)
