"""Checkpoints of C-CAM: the authors' names of tensors, and those of this package.

P-CAM and the causal network are saved as ``resnet50.*`` and ``classifier.weight``; the same tensors stand there again
as ``stage*``, ``backbone.*`` and ``newly_added.*``. The causal network also has ``causal_predictor``: ``Wy`` is the
query, ``Wz`` the key, and ``causal_score`` is used by nothing. Location priors are in no checkpoint: they are sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from wildseg.cam.networks.checkpoint_head import check_classes
from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.build import LOADED
from wildseg.encoders.cnn.match_weights import match_weights
from wildseg.encoders.cnn.weight_file import read_weights

ENCODER = "resnet50."
HEAD = "classifier.weight"
PREDICTOR = {"causal_predictor.Wy.": "predictor.query.", "causal_predictor.Wz.": "predictor.key."}
UNUSED = ("stage", "backbone.", "newly_added.", "causal_predictor.causal_score.")  # copies, and what nothing uses
COUNTER = "num_batches_tracked"  # of normalisations, which some versions of torch did not save


@dataclass(frozen=True)
class Loaded:
    """The tensors of a checkpoint under a network's names, of so many of the network, and what was left out of it."""

    state: dict[str, Tensor]
    total: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as a few words."""
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{len(self.state)} of {self.total} tensors{left_out}"


def load_checkpoint(network: nn.Module, path: Path, key: str, new_head: bool) -> Loaded:
    """Load a checkpoint into P-CAM or the causal network; return what matched.

    Args:
        network: a `ClassifierNet` or a `CausalNet` on a backbone with ResNet's names.
        path: the authors' .pth file, or a .safetensors file, of the authors' names or of this package's.
        key: the parameter that names the file, for error lines.
        new_head: leave the head out, which stays random, where it is of another number of classes.

    Raises:
        DataError: the file cannot be read.
        ModelError: it lacks tensors of the network, or has them in another shape.
    """
    found = fit(network, read_weights(path, key), f"{key}: {path}", new_head)
    network.load_state_dict(found.state, strict=False)
    setattr(network, LOADED, f"{found} from {path.name}")
    return found


def fit(network: nn.Module, state: Mapping[str, Tensor], where: str, new_head: bool) -> Loaded:
    """Return the tensors of a checkpoint under the network's names; see `load_checkpoint`."""
    own = network.state_dict()
    needed = [name for name in own if not name.endswith(COUNTER)]
    if all(name in state for name in needed):
        taken, left_out = {name: state[name] for name in own if name in state}, [n for n in state if n not in own]
    else:
        taken, left_out = _renamed(network, state, where)
    if new_head and taken[HEAD].shape[0] != own[HEAD].shape[0]:
        left_out = [*left_out, HEAD]
        needed.remove(HEAD)
        del taken[HEAD]
    else:
        check_classes(taken[HEAD], own[HEAD], where)
    missing = [name for name in needed if name not in taken]
    unknown = [name for name in taken if name not in own]
    other = [
        f"{name} is {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in taken.items()
        if name in own and value.shape != own[name].shape
    ]
    wrong = [f"{len(missing)} of {len(own)} tensors missing, such as {missing[0]}"] if missing else []
    wrong += [f"{len(unknown)} that this network does not have, such as {unknown[0]}"] if unknown else []
    wrong += [f"{len(other)} of another shape, such as {other[0]}"] if other else []
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong)}")
    return Loaded(taken, len(own), tuple(left_out))


def _renamed(network: nn.Module, state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors with the authors' names by ours, and the beginnings of the names that are left out."""
    trunk = {name.removeprefix(ENCODER): value for name, value in state.items() if name.startswith(ENCODER)}
    if not trunk or HEAD not in state:
        raise ModelError(
            f"{where}: expected a checkpoint of C-CAM, with tensors {ENCODER}* and {HEAD}; found "
            f"{next(iter(state))} and {len(state) - 1} others"
        )
    encoder = getattr(network.get_submodule("backbone"), "encoder", None)
    if encoder is None:
        raise ModelError(f"{where}: expected a checkpoint of the chosen encoder, found one of a ResNet-50")
    matched = match_weights(encoder, trunk, (), where)
    taken = {f"backbone.encoder.{name}": value for name, value in matched.state.items()}
    taken[HEAD] = state[HEAD]
    rest = [name for name in state if not name.startswith(ENCODER) and name != HEAD]
    for theirs, ours in PREDICTOR.items():
        taken |= {name.replace(theirs, ours): state[name] for name in rest if name.startswith(theirs)}
    rest = [name for name in rest if not name.startswith(tuple(PREDICTOR))]
    if strange := [name for name in rest if not name.startswith(UNUSED)]:
        raise ModelError(f"{where}: {len(strange)} tensors of another architecture, such as {strange[0]}")
    beginnings = dict.fromkeys(
        ".".join(name.split(".")[: 2 if name.startswith("causal_predictor") else 1]) for name in rest
    )
    return taken, [*matched.left_out, *beginnings]
