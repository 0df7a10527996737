"""All artifacts of a project: paths, formats, and a save_/load_ pair for each.

No other room defines paths. Files are written atomically: see `wildseg.core.files`. No format can run code
when it is read: JPEG, PNG, CSV, JSON, npz without objects, safetensors.
"""

from __future__ import annotations

from wildseg.artifacts.boxes import Boxes, FrameBoxes, Listing
from wildseg.artifacts.frames import SPLITS, Frame
from wildseg.artifacts.labels import Labels
from wildseg.artifacts.map_network import MapNetworkFiles
from wildseg.artifacts.maps import Maps
from wildseg.artifacts.prompts import DroppedPhrase, PromptFiles, PromptSet
from wildseg.artifacts.report import ReportFiles
from wildseg.artifacts.rounds import RoundMasks
from wildseg.artifacts.supervision import Supervision
from wildseg.artifacts.truth import Truth

__all__ = ["SPLITS", "Artifacts", "DroppedPhrase", "Frame", "FrameBoxes", "Listing", "PromptSet"]


class Artifacts(Supervision, Labels, PromptFiles, Maps, Boxes, Truth, MapNetworkFiles, RoundMasks, ReportFiles):
    """The files of one project folder, by kind: each is a file of `wildseg.artifacts`."""
