"""Maps of a linear head on frozen features, and what refines them: the cheap arm of the leaderboard.

A map is the sigmoid (of a head on pixels the softmax) of a class at each cell, stretched to [0, 1] over the frame as
maps of `wildseg.cam` are. Refinements follow in order: `tiles` cuts a map to the tiles that name its class, `lposs` and
`propagate` are those of `wildseg.methods.refine` with their defaults, `lposs` on the frozen features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks import tile_labels
from benchmarks.frozen_features import STRIDE
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cam import patch_graph
from wildseg.cam.maps import normalise
from wildseg.cam.refinement import Refinement
from wildseg.cam.tiles import tile_weights
from wildseg.methods.refine import propagate
from wildseg.methods.refine.lposs import CONSTANTS

NEIGHBOURS, STEPS = 400, 10  # of lposs, its defaults
REFINEMENTS = ("tiles", "lposs", "propagate")


class Measured(Protocol):
    """What is needed of a data set with truth; see `benchmarks.photographs.Protocol`."""

    artifacts: Artifacts

    def frames(self, split: str) -> list[Frame]:
        """Return the frames of a split."""

    def truth(self, frame: Frame) -> np.ndarray:
        """Return the truth of a frame: (H, W) uint8 ids."""


@dataclass
class Head:
    """A linear head, the labels of tiles (r, c, K) of each frame, and the processor seconds of its training.

    `decide` makes probabilities of logits (K, h, w).
    """

    weight: Tensor
    bias: Tensor
    labels: Mapping[str, np.ndarray]
    decide: Callable[[Tensor], Tensor]
    seconds: float

    def answers(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of each class (K, h, w) at each cell, of features (D, h, w)."""
        logits = torch.einsum("kd,dhw->khw", self.weight, tensor(features))
        return self.decide(logits + self.bias[:, None, None]).numpy()


@dataclass
class LinearMaps:
    """Trains heads, each once, and reads maps.

    Attributes:
        data: frames and truth.
        num_classes: K.
        features: (D, h, w) of each frame.
        seconds: of the processor, of each map made, by frame.
    """

    data: Measured
    num_classes: int
    features: Mapping[str, np.ndarray]
    seconds: list[float] = field(default_factory=list)
    _heads: dict[tuple[object, ...], Head] = field(default_factory=dict)

    def head(self, grid: tuple[int, int], wrong: float = 0.0) -> Head:
        """Return the head that learned the labels of tiles of the training frames, with a share of wrong ticks."""
        if (grid, wrong) not in self._heads:
            labels = self._labels(grid, wrong)
            start = time.process_time()
            trained = [frame.name for frame in self.data.frames("train")]
            vectors = torch.cat([tile_labels.tile_means(tensor(self.features[name]), grid) for name in trained])
            found = tile_labels.fit(vectors, np.stack([labels[name] for name in trained]))
            self._heads[grid, wrong] = Head(*found, labels, torch.sigmoid, time.process_time() - start)
        return self._heads[grid, wrong]

    def pixel_head(self) -> Head:
        """Return the head that learned the truth of the training frames; labels are those of frames."""
        if ("pixels",) not in self._heads:
            start = time.process_time()
            vectors, shares = [], []
            for frame in self.data.frames("train"):
                own = tensor(self.features[frame.name])
                vectors.append(own.flatten(1).T)
                grid = (own.shape[1], own.shape[2])
                shares.append(tile_labels.shares_of_cells(self.data.truth(frame), grid, self.num_classes))
            flat = np.concatenate([one.reshape(-1, self.num_classes) for one in shares])
            found = tile_labels.fit_pixels(torch.cat(vectors), flat)
            taken = time.process_time() - start
            self._heads["pixels",] = Head(*found, self._labels((1, 1), 0.0), lambda z: z.softmax(0), taken)
        return self._heads["pixels",]

    def maps(self, head: Head, frame: Frame, refined_by: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes (k,) of a frame's labels, all where it has none, and their maps (k, h, w) in [0, 1]."""
        start = time.process_time()
        features, labels = self.features[frame.name], head.labels[frame.name]
        named = np.flatnonzero(labels.any((0, 1)))
        classes = named if len(named) else np.arange(self.num_classes)
        maps = stretched(head.answers(features)[classes])
        for name in refined_by:
            if name == "tiles" and len(named):
                maps = maps * tile_weights(labels, classes.tolist(), maps.shape[1:])
            elif name == "lposs":
                maps = stretched(spread(maps, tensor(features)))
            elif name == "propagate":
                maps = Refinement(propagate).refine_frame(
                    maps.astype(np.float32), self.data.artifacts.load_image(frame.name)
                )
        self.seconds.append(time.process_time() - start)
        return classes, maps

    def _labels(self, grid: tuple[int, int], wrong: float) -> dict[str, np.ndarray]:
        frames = self.data.frames("train") + self.data.frames("test")
        true = [tile_labels.labels_of_tiles(self.data.truth(frame), grid, self.num_classes) for frame in frames]
        ticked = tile_labels.with_errors(np.stack(true), wrong)
        return dict(zip((frame.name for frame in frames), ticked, strict=True))


def tensor(features: np.ndarray) -> Tensor:
    """Return features, which may be of a file that is read only, in single precision."""
    return torch.from_numpy(np.array(features, np.float32))


def stretched(maps: np.ndarray) -> np.ndarray:
    """Return each of (K, h, w) stretched to [0, 1]."""
    return normalise(torch.from_numpy(maps)).numpy()


def spread(maps: np.ndarray, features: Tensor) -> np.ndarray:
    """Return maps (K, h, w) propagated by `lposs` with its soft constants over features (D, h, w)."""
    alpha, gamma, sigma = CONSTANTS["soft"]
    grid = (features.shape[1], features.shape[2])
    places = patch_graph.places(grid, (grid[0] * STRIDE, grid[1] * STRIDE))
    graph = patch_graph.neighbour_graph(features.flatten(1).T, places, NEIGHBOURS, gamma, sigma)
    flat = maps.reshape(len(maps), -1)
    return patch_graph.label_propagation(flat, patch_graph.normalised(graph), alpha, STEPS).reshape(maps.shape)
