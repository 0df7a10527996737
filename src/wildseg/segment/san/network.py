"""The side adapter network: masks by a side adapter, their classes by a frozen CLIP with one forward pass.

Xu et al., Side Adapter Network for Open-Vocabulary Semantic Segmentation, CVPR 2023 (arXiv:2302.12242). CLIP sees the
image at another resolution than the side adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wildseg.core.errors import ModelError
from wildseg.segment.anysize import AnySize
from wildseg.segment.san.frozen import FrozenClip
from wildseg.segment.san.heads import MaskHeads
from wildseg.segment.san.matching import Weights
from wildseg.segment.san.recognition import recognise, run_shared, taps
from wildseg.segment.san.side import SideAdapter, SideTokens
from wildseg.segment.san.supervision import Proposals, SetLoss

if TYPE_CHECKING:  # prediction trains nothing
    from wildseg.segment.objective import Criterion
    from wildseg.training.objective import Term

MULTIPLE = 32  # pixels, to which images are padded, or to the next multiple that has a patch of CLIP
LEAST = 1e-30  # score of a class in a pixel, so that its logarithm is finite where no mask is
TEXTS, MEANT, DIGEST = "texts", "meant", "clip_digest"  # of its state: the former two are the vocabulary's
CLIP_NORM = 0.01  # of the gradient in training, as published


@dataclass(frozen=True)
class Sizes:
    """Sizes of the side adapter, with their published values.

    Attributes:
        queries: masks that are proposed.
        width: channels of a token.
        depth: blocks.
        heads: of an attention.
        clip_scale: resolution of CLIP's image relative to the side adapter's.
    """

    queries: int = 100
    width: int = 240
    depth: int = 8
    heads: int = 6
    clip_scale: float = 0.5


class San(AnySize, nn.Module):
    """From images (B, 3, H, W), of any H and W, to logits (B, K, H, W).

    The softmax of the logits are scores ``sum_q softmax(classes_q)[k] * sigmoid(mask_q)``, which sum to 1 over k. CLIP
    is no part of its weights, save for the position embedding, which is trained; its digest is. It brings a loss and
    settings of the optimiser: `SupervisesItself` and `ConfiguresOptimizer` of `wildseg.segment.objective`.

    Attributes:
        encoder: the side adapter.
        decoder: masks and biases.
        clip_positions: (1 + h*w, D) CLIP's position embedding.
        learned: (2, d) embeddings of the background and of no object.
        texts: (C, d) unit embeddings of the classes.
        meant: (K,) whether an id means something.
        clip_digest: (32,) uint8, see `FrozenClip`.
    """

    def __init__(
        self,
        clip: FrozenClip,
        texts: Tensor,
        meant: Tensor,
        sizes: Sizes,
        weights: Weights,
        points: int,
        gradient_clip: float | None = CLIP_NORM,
    ) -> None:
        """Put a side adapter with random weights beside a CLIP.

        Args:
            clip: stays as it is.
            texts: (C, d) unit embeddings of the classes; id k + 1 is the k-th.
            meant: (C + 1,) bool, whether an id means something; 0 is the background.
            sizes: of the side adapter.
            weights: of the loss.
            points: at which masks are compared in training.
            gradient_clip: largest norm of the gradient; None does not clip.
        """
        super().__init__()
        self.clip, self.sizes, self.weights, self.points = clip, sizes, weights, points
        self.gradient_clip = gradient_clip
        widths = [clip.width] * len(taps(clip.depth)[: sizes.depth + 1])
        patch = max(clip.visual.patch_size)
        self.multiple = next(side for side in count(MULTIPLE, MULTIPLE) if int(side * sizes.clip_scale) >= patch)
        self.encoder: SideAdapter = SideAdapter(widths, sizes.queries, sizes.width, sizes.depth, sizes.heads)
        self.decoder = MaskHeads(sizes.width, clip.heads)
        self.clip_positions = nn.Parameter(clip.visual.positional_embedding.detach().clone())
        self.learned = nn.Parameter(torch.randn(2, clip.features) * clip.features**-0.5)
        self.texts: Tensor
        self.meant: Tensor
        self.register_buffer(TEXTS, texts.clone())
        self.register_buffer(MEANT, meant.clone())
        self.register_buffer(DIGEST, clip.digest.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of normalised images (B, 3, H, W)."""
        padded = self._padded(images)
        tower = self.clip.tower(self.clip_positions)
        shared = run_shared(tower, self._for_clip(padded))
        tokens = self.encoder(padded, shared.maps[: len(self.encoder.fusions)])
        masks, biases = self.decoder(tokens)
        shares = self.classify(recognise(tower, shared.tokens, biases)).softmax(-1)[..., :-1]  # (B, Q, K)
        enlarged = functional.interpolate(masks.float(), padded.shape[-2:], mode="bilinear", align_corners=False)
        inside = enlarged[..., : images.shape[-2], : images.shape[-1]].sigmoid()  # (B, Q, H, W)
        with torch.autocast(images.device.type, enabled=False):  # small scores are 0 in half precision
            return torch.einsum("bqk,bqyx->bkyx", shares, inside).clamp(min=LEAST).log()

    def training_outputs(self, images: Tensor) -> list[Proposals]:
        """Return the proposals after the last block but one and the last, of normalised images (B, 3, H, W)."""
        padded = self._padded(images)
        tower = self.clip.tower(self.clip_positions)
        shared = run_shared(tower, self._for_clip(padded))
        numbers = range(max(1, self.sizes.depth - 1), self.sizes.depth + 1)
        found = []
        for tokens in self.encoder.after(padded, shared.maps[: len(self.encoder.fusions)], numbers):
            masks, biases = self.decoder(SideTokens(*tokens))
            found.append(Proposals(self.classify(recognise(tower, shared.tokens, biases)), masks))
        return found

    def loss_terms(self, outputs: list[Proposals], target: Tensor, criterion: Criterion) -> dict[str, Term]:
        """Return the terms ``classes``, ``masks`` and ``dice`` of the last block, and ``auxiliary`` of that before it.

        The chosen loss has no part in them but for its class weights. See `wildseg.segment.objective.SupervisesItself`.
        """
        padded = self.padded_size(*target.shape[1:])
        factors = None if criterion.weights is None else criterion.weights[: len(self.meant)]
        loss = SetLoss(self.weights, self.points, padded, factors, criterion.total)
        *earlier, terms = (loss(proposals, target) for proposals in outputs)
        if earlier:
            terms["auxiliary"] = torch.stack([term for found in earlier for term in found.values()]).sum()
        return terms

    def optimizer_settings(self) -> dict[str, Any]:
        """Return the published schedule, a polynomial of power 0.9 without warm-up, and the norm of the gradient."""
        return {"schedule": "poly", "power": 0.9, "warmup": 0.0, "clip": self.gradient_clip}

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Return the mask queries and all position embeddings."""
        side = self.encoder
        return side.queries, side.query_positions, side.positions, self.clip_positions

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (B, Q, K + 1), the last that of no object, of unit features (B, Q, d)."""
        background, nothing = functional.normalize(self.learned, dim=-1)[:, None]
        with torch.autocast(features.device.type, enabled=False):  # a hundredfold cosine needs single precision
            logits = self.clip.scale * features.float() @ torch.cat([background, self.texts, nothing]).T
        invalid = torch.cat([~self.meant, self.meant.new_zeros(1)])
        return logits.masked_fill(invalid, torch.finfo(logits.dtype).min)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) to which an image is padded."""
        # Only positive numbers are divided: the division of ONNX rounds towards zero.
        multiple = self.multiple
        return (height + multiple - 1) // multiple * multiple, (width + multiple - 1) // multiple * multiple

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Load weights that were trained beside the same CLIP; see `torch.nn.Module.load_state_dict`.

        Raises:
            ModelError: they were trained beside another one.
        """
        digest = state_dict.get(DIGEST)
        found, own = "" if digest is None else bytes(digest.tolist()).hex(), self.clip.hexdigest
        if found and found != own:
            raise ModelError(
                f"train.encoder: expected the weights of {self.clip.name} that this model was trained with (SHA-256 "
                f"{found[:16]}), found others ({own[:16]}); put the former back, or run 'dvc repro train'"
            )
        return super().load_state_dict(state_dict, *args, **options)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> San:
        self.clip.visual._apply(fn)  # CLIP goes along to another device
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bottom, right = self.padded_size(height, width)
        return functional.pad(images, (0, right - width, 0, bottom - height))  # with the mean colour, as published

    def _for_clip(self, padded: Tensor) -> Tensor:
        """Return the padded images at CLIP's resolution, sides rounded down; pixels are distant by the exact scale."""
        return functional.interpolate(padded, scale_factor=self.sizes.clip_scale, mode="bilinear", align_corners=False)
