"""Built-in candidate templates for `clip.templates: sharpest`."""

from __future__ import annotations

# In addition to the 80 published with CLIP for ImageNet. Simple ones first: of equals, the first wins.
PLAIN = ("a photo of {}.", "{}", "a photo of a {}.")
CLIP_ES = ("a clean origami {}.", "a rendering of a weird {}.")  # its choice for PASCAL VOC, and the runner-up
SCENES = (  # of ViLD (Gu et al. 2022), without their variants by size
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
)


def builtin_templates() -> tuple[str, ...]:
    """Return the built-in candidates, each once; imports open_clip, which has the published ones."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    published = [sentence("{}") for sentence in OPENAI_IMAGENET_TEMPLATES]
    return tuple(dict.fromkeys([*PLAIN, *CLIP_ES, *SCENES, *published]))
