"""The rendered field world: two drives as videos, with an exact truth mask for each frame."""
