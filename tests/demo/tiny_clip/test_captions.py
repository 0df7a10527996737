"""What the tiny CLIP is told."""

import numpy as np

from wildseg_demo.tiny_clip.captions import SYNONYMS, fused_phrase, sentence
from wildseg_demo.world.surfaces import Surface


def test_no_name_stands_for_two_surfaces() -> None:
    names = [name for surface in Surface for name in SYNONYMS[surface]]
    assert len(names) == len(set(names))


def test_a_caption_names_every_surface_it_is_about() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        caption = sentence([Surface.CURB, Surface.WATER, Surface.LAWN], rng)
        for surface in (Surface.CURB, Surface.WATER, Surface.LAWN):
            assert any(name in caption for name in SYNONYMS[surface])
        assert not any(name in caption for name in SYNONYMS[Surface.SKY])


def test_the_two_main_names_are_also_taught_fused_by_a_comma() -> None:
    rng = np.random.default_rng(0)
    phrases = {fused_phrase(Surface.SKY, rng) for _ in range(200)}
    assert {"sky", "clouds", "sky, clouds"} <= phrases
