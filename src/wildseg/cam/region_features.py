"""Features of the patches of a frame, by which its regions are found, looked up and named.

K, the keys, are the patches behind a middle block of the image tower, or those of a second encoder: what looks alike
has like ones. V, the values, are the dense features of NACLIP, which texts are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.engine import input_size
from wildseg.cam.maps import resample_maps
from wildseg.cam.neighbourhood import neighbourhood
from wildseg.cam.record import tower_states
from wildseg.cam.regions import Regions, regions
from wildseg.cam.tower_state import RecordConfig
from wildseg.encoders.clip import Clip, resize

if TYPE_CHECKING:
    from wildseg.cam.params import Cam

MIDDLE = 0.75  # of the blocks: 9 of 12, as in SC-CLIP
SIGMA = 5.0  # of the neighbourhood in patches, as NACLIP published


@dataclass(frozen=True)
class RegionReader:
    """Finds the regions of a frame.

    clip: the model. clusters: of k-means. scale, max_side, pos_embed_interpolation: as for maps. encoder: a second one,
    from the pixels (1, 3, H', W') in front of CLIP to features (1, C, h, w); None takes a middle block.
    """

    clip: Clip
    clusters: int
    scale: float
    max_side: int | None
    pos_embed_interpolation: str
    encoder: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(
        cls, clip: Clip, cam: Cam, clusters: int, scale: float, encoder: Callable[[Tensor], Tensor] | None
    ) -> RegionReader:
        """Return that of a section cam: frames are as large in front of the network as for maps, but for `scale`."""
        return cls(clip, clusters, scale, cam.max_side, cam.pos_embed_interpolation, encoder)

    @torch.no_grad()
    def read(self, image: np.ndarray) -> Regions:
        """Return the regions of an image (H, W, 3) uint8 RGB."""
        tower = self.clip.tower(self.pos_embed_interpolation)
        size = input_size((image.shape[0], image.shape[1]), tower.patch, self.scale, self.max_side)
        pixels = self.clip.pixels([resize(image, size)])
        (state,) = tower_states(tower, pixels, RecordConfig(outputs=self.encoder is None))
        grid = (state.layer.shape[2], state.layer.shape[3])
        near = neighbourhood(*grid, SIGMA).to(pixels)

        def neighbour_attention(_query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return dense.attention(key, key, near) @ value

        values = F.normalize(state.dense(neighbour_attention, residual=False, mlp=False), dim=-1)  # (h*w, d)
        if self.encoder is not None:
            keys = resample_maps(self.encoder(pixels)[0], grid).flatten(1).T
        elif (blocks := state.blocks()) is not None:
            outputs = blocks.outputs() or [blocks.embedded()]  # a single block: what enters it
            keys = outputs[min(len(outputs), max(1, round(MIDDLE * len(blocks)))) - 1][1:]
        else:  # a ResNet: its last stage
            keys = state.layer[0].flatten(1).T
        return regions(keys.cpu().numpy(), values.cpu().numpy(), grid, self.clusters)
