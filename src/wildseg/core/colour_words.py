"""What colour the classes of fields and streets are shown in, by the words of their names, in the singular."""

from __future__ import annotations

IRREGULAR = {"men": "man", "women": "woman", "children": "child"}  # plurals, beside those that English's rules make


def _by_word(words_by_colour: dict[str, str]) -> dict[str, str]:
    return {word: colour for colour, words in words_by_colour.items() for word in words.split(", ")}


# What is seen, and what grounds are made of. Any two colours are at least 15 apart in Lab.
THINGS = _by_word({
    "#8fc7f0": "sky, cloud",
    "#2f6fd0": "water, river, lake, pond, sea, ocean, stream, creek, canal, pool",
    "#3fa7a3": "puddle, wetland, swamp, marsh, bog",
    "#b0f0f2": "snow, ice, glacier",
    "#1f6b35": "tree, vegetation, forest, wood, woodland, canopy, foliage, conifer, palm, plant",
    "#5f8f2f": "bush, shrub, hedge, undergrowth, bramble, fern, weed, moss",
    "#8fd068": "grass, lawn, meadow, turf, pasture",
    "#a9b52c": "crop, tall grass, high grass, wheat, corn, maize, cornfield, reed, hay, straw",
    "#8a5a33": "soil, dirt, earth, bare ground, bare soil, clay, farmland, ploughed field",
    "#553822": "mud, peat, manure",
    "#e6d09a": "sand, beach, dune, desert",
    "#b3a17f": "gravel, pebble, grit, rubble, debris",
    "#735f92": "rock, stone, boulder, cliff, mountain, cobble, cobblestone, scree",
    "#a3762a": "log, trunk, stump, timber, branch, driftwood, bark",
    "#c96f3f": "leaf, leaf litter, litter, mulch, wood chip, woodchip",
    "#464a51": "asphalt, tarmac, bitumen",
    "#91969b": "concrete, cement",
    "#b0452f": "brick, red brick, red paving",
    "#dda63a": "yellow brick, yellow paving",
    "#d3a5c9": "sidewalk, pavement, footpath, walkway, paving, plaza",
    "#c0c2c5": "curb, kerb, curbstone, kerbstone, curb stone, kerb stone",
    "#ffe44d": "lane line, lane marking, road marking, road line, marking, crosswalk, crossing, zebra, line",
    "#cf9484": "building, house, barn, shed, hut, facade, roof, bridge, tunnel, ruin",
    "#8888cc": "wall, barrier, guard rail, guardrail, concrete block",
    "#a8648f": "fence, gate, railing, rail fence",
    "#8c2fa8": "rail, railway, railroad, rail track, tram track",
    "#4f8aa6": "pole, post, pylon, mast, lamp post, street light, street lamp, power line, cable, wire",
    "#f08a1d": "traffic light, traffic cone, cone, bollard",
    "#d4d400": "traffic sign, sign, signpost, billboard",
    "#dc1f43": "person, human, pedestrian, people, man, woman, child, worker",
    "#ff6f61": "rider, cyclist, motorcyclist",
    "#10108e": "car, vehicle, van, caravan",
    "#3f3fc8": "truck, lorry, trailer, tractor, bus, excavator, train, tram",
    "#7a1030": "bicycle, bike, motorcycle, motorbike, scooter",
    "#e25fd0": "animal, dog, cat, horse, cow, calf, sheep, deer, goat, bird",
    "#ff9fc0": "flower, blossom",
    "#ff4a00": "fire, flame, smoke, lava",
    "#4a3a6e": "obstacle, object, container, box, bench, bin, trash can, hydrant",
})  # fmt: skip

# Where a name says no more than the colour: a red path.
COLOUR_WORDS = _by_word({
    "#d62828": "red",
    "#f77f00": "orange",
    "#f2c500": "yellow",
    "#2e9e44": "green",
    "#20b2aa": "turquoise, teal, cyan",
    "#2456c8": "blue",
    "#7b35b5": "purple, violet",
    "#e86aa6": "pink, magenta",
    "#7a4a26": "brown",
    "#8c8c8c": "grey, gray",
    "#d9d9d2": "white",
    "#303036": "black",
})  # fmt: skip

# Of anything: named last.
SURFACES = _by_word({
    "#6b6f74": "road, street, driveway, drivable, lane, highway, carriageway, parking, parking lot, bus lane, runway",
    "#c4955a": "path, trail, track, footway, way, bike lane, bike path, bicycle lane, bicycle path, cycle path",
    "#8a5a33": "ground, terrain, floor, land, field, surface, slope, hill",
})  # fmt: skip
