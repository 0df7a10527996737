"""What each stage leaves on disk: paths, formats, and a save_/load_ pair for each.

Nobody else writes paths. Files are written whole or not at all: see `wildseg.files`. No format here can run code when
it is read: JPEG, PNG, CSV, JSON, npz without objects, safetensors.
"""

from __future__ import annotations

from wildseg.formats.boxes import Boxes, FrameBoxes, Listing
from wildseg.formats.frames import SPLITS, Frame, KeyFrames
from wildseg.formats.labels import Labels
from wildseg.formats.maps import Maps
from wildseg.formats.masks import PseudoMasks
from wildseg.formats.prompts import Dropped, Prompts, Words
from wildseg.formats.segmenter import SegmenterFiles
from wildseg.formats.truth import Truth
from wildseg.formats.weak import WeakLabels

__all__ = ["SPLITS", "Artifacts", "Dropped", "Frame", "FrameBoxes", "Listing", "Words"]


class Artifacts(KeyFrames, Labels, Prompts, Maps, PseudoMasks, Boxes, WeakLabels, Truth, SegmenterFiles):
    """The files of one project folder, by kind: each is a file of `wildseg.formats`."""
