"""The objective of C-CAM (Chen et al. 2022) that follows its P-CAM, a plain classifier: both chains and their maps.

P-CAM's maps of all training frames are cut to coarse masks, global sampling counts these into location priors, and the
category-causality chain is trained with them: ``CAM_cc``. The anatomy-causality chain keeps of it what lies where the
class was found in training frames: ``CAM_ac = CAM_cc * M_S``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.maps import resample_maps
from wildseg.cam.networks import classifier
from wildseg.cam.networks.bags import bag_loss
from wildseg.cam.networks.causal import CausalNet
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.engine import share_of_maximum
from wildseg.cam.networks.location_prior import LocationPrior
from wildseg.cam.networks.objective import MapObjective, TrainingFrames
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, ParamGroup, Term, decay_groups, freeze_norms
from wildseg.training.optim import OptimConfig

NAME = "network"  # the classifier of the category-causality chain, among an objective's networks
PCAM = "pcam"  # the classifier whose maps give coarse masks; it is not trained any more
PRIOR = "prior"


@dataclass(frozen=True)
class Chains:
    """What is done with P-CAM and its coarse masks.

    Attributes:
        anatomy: keep of each map what lies where the class was found in training frames.
        threshold: of P-CAM's maps in [0, 1], above which a place belongs to a coarse mask.
        min_share: share of the class's frames that must exceed for a place to count; see `LocationPrior.anatomy`.
        head_lr: factor on the head's learning rate.
        follow: start the causal network from P-CAM's weights, all but the head; else it stays as it was loaded.
    """

    anatomy: bool
    threshold: float
    min_share: float = 0.0
    head_lr: float = 10.0
    follow: bool = True


class CausalObjective(MapObjective):
    """Multi-label classification with location priors; its term is ``classification``."""

    def __init__(
        self,
        first: ClassifierObjective,
        pcam: ClassifierNet | None,
        causal: CausalNet | None,
        prior: LocationPrior,
        optim: OptimConfig,
        chains: Chains,
        context: TrainContext,
    ) -> None:
        """Gather the parts.

        Args:
            first: P-CAM, which is trained before.
            pcam: a network like P-CAM's, which takes over its weights; None where no coarse mask is needed any more,
                since `causal` has one class.
            causal: to be trained; None leaves the category-causality chain out, so that maps are P-CAM's.
            prior: to be sampled.
            optim: of the training of `causal`; of no steps without it.
            chains: what is done with P-CAM and its coarse masks.
            context: of the training.
        """
        networks = {PCAM: pcam, NAME: causal, PRIOR: prior}
        built = {name: network for name, network in networks.items() if network is not None}
        super().__init__(optim, first.crops, first.norm, first.stride, tuple(built), first=first, mirrored=False)
        self.networks = built
        self._pcam, self._causal, self._prior = pcam, causal, prior
        self._chains = chains
        self._context = context

    def follow(self, first: MapObjective, frames: TrainingFrames) -> None:
        """Take over P-CAM's weights but its head, and sample the priors from its maps of all training frames."""
        learned = first.networks[classifier.NAME]
        if self._pcam:
            self._pcam.load_state_dict(learned.state_dict())
        if self._causal and self._chains.follow:
            self._causal.backbone.load_state_dict(learned.get_submodule("backbone").state_dict())
        self._prior.sample(self._sampled(first, frames))

    def _sampled(self, first: MapObjective, frames: TrainingFrames) -> Iterator[Tensor]:
        """Yield the coarse masks (C, S, S) bool of each training frame."""
        for image, labels in zip(frames.images(), frames.labels, strict=True):
            present = labels.nonzero()[0].tolist()
            masks = torch.zeros(len(labels), self._prior.side, self._prior.side, dtype=torch.bool)
            if present:
                masks[present] = self._coarse(torch.from_numpy(frames.maps(first, image, present)))
            yield masks

    def _coarse(self, maps: Tensor) -> Tensor:
        """Return the coarse masks (K, S, S) bool of maps (K, h, w) in [0, 1]."""
        return resample_maps(maps, (self._prior.side, self._prior.side)) > self._chains.threshold

    def _queries(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return the places of any class in each image (B, S, S) of 0 and 1, by P-CAM's maps of the labels (B, C)."""
        queries = torch.zeros(len(pixels), self._prior.side, self._prior.side, device=pixels.device)
        if self._pcam:
            with torch.no_grad(), self._context.autocast():
                maps = self._pcam.class_maps(pixels).float()
            for query, own, present in zip(queries, maps, labels > 0, strict=True):
                if present.any():
                    query.copy_(self._coarse(share_of_maximum(own[present])).any(0))
        return queries

    def param_groups(self) -> list[ParamGroup]:
        """Return the parameters of backbone and predictor, and the head's at their own rate; P-CAM's stay."""
        if not self._causal:
            return decay_groups(self.networks.values())  # of a training of no steps
        parts = [self._causal.backbone, self._causal.predictor]
        return decay_groups(parts) + decay_groups([self._causal.classifier], self._chains.head_lr)

    def train_mode(self) -> None:
        """Train, with running statistics; P-CAM evaluates."""
        super().train_mode()
        if self._pcam:
            self._pcam.eval()
        if self._causal:
            freeze_norms(self._causal)

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the mean binary cross entropy over images and classes, or over tiles, where these have labels.

        Raises:
            ValueError: the category-causality chain is left out, so that there is nothing to train.
        """
        if not self._causal:
            raise ValueError("the anatomy-causality chain alone has no loss")
        queries = self._queries(batch["image"], batch["labels"])
        if "tiles" in batch:
            with self._context.autocast():
                maps = self._causal.class_maps(batch["image"], queries, self._prior.dictionary)
            return {"classification": bag_loss(maps, batch)}
        with self._context.autocast():
            logits = self._causal(batch["image"], queries, self._prior.dictionary)
        return {"classification": F.binary_cross_entropy_with_logits(logits.float(), batch["labels"])}

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return CAM_ac, CAM_cc or P-CAM times M_S, as the chains are chosen: (K, h, w)."""
        chosen = list(classes)
        with torch.no_grad():
            maps = self._class_maps(pixels, chosen)[0, chosen].relu()
            if not self._chains.anatomy:
                return maps
            anatomy = self._prior.anatomy(self._chains.min_share)[chosen]
            return maps * resample_maps(anatomy, (maps.shape[1], maps.shape[2]))

    def _class_maps(self, pixels: Tensor, classes: list[int]) -> Tensor:
        if self._pcam and not self._causal:
            return self._pcam.class_maps(pixels)
        causal: CausalNet = self.networks[NAME]  # type: ignore[assignment]
        labels = torch.zeros(1, len(self._prior.dictionary), device=pixels.device)
        labels[0, classes] = 1
        return causal.class_maps(pixels, self._queries(pixels, labels), self._prior.dictionary)
