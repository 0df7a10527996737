"""Checkpoints of CLIMS: the authors' names of tensors, and those of this package.

The improved variant and its baseline classifier are saved as ``resnet50.*`` and ``classifier.weight``; the same tensors
stand there again as ``stage*``, ``backbone.*`` and ``newly_added.*``. The camera-ready variant is saved as ``conv1``,
``bn1``, ``layer*`` and ``cam_head``, whose first channel, background, no loss has trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wildseg.cam.networks.checkpoint_head import check_classes
from wildseg.cam.networks.classifier import ClassifierNet
from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.match_weights import WeightMatch, match_weights
from wildseg.encoders.cnn.weight_file import read_weights

IMPROVED = "resnet50."
ALIASES = ("stage", "backbone.", "newly_added.")
BOTTLENECK = "cam_head.0."
CAMERA_READY = "cam_head.1.weight"
HEAD = "classifier.weight"
LAST = "last."
COUNTER = "num_batches_tracked"  # of normalisations, which some versions of torch did not save


def load_checkpoint(network: ClassifierNet, path: Path, key: str, other_classes: bool) -> WeightMatch:
    """Load a checkpoint into a network; return what matched, under this package's names, and what was left out.

    Args:
        network: with a `ResidualHead` where the checkpoint is of the camera-ready variant.
        path: the authors' .pth file, or a .safetensors file, of the authors' names or of this package's.
        key: the parameter that names the file, for error lines.
        other_classes: leave the head out, which stays as it is, where it is of another number of classes.

    Raises:
        DataError: the file cannot be read.
        ModelError: it lacks tensors of the network, or has them in another shape.
    """
    found = fit(network, read_weights(path, key), f"{key}: {path}", other_classes)
    network.load_state_dict(found.state, strict=False)
    return found


def fit(network: ClassifierNet, state: Mapping[str, Tensor], where: str, other_classes: bool) -> WeightMatch:
    """Return the tensors of a checkpoint under the network's names; see `load_checkpoint`."""
    own = network.state_dict()
    if all(name in state for name in own if not name.endswith(COUNTER)):
        return _checked(own, {name: state[name] for name in own if name in state}, state, where, other_classes)
    trunk, head, rest = _parts(state, where)
    encoder = getattr(network.backbone, "encoder", None)
    if encoder is None:
        raise ModelError(f"{where}: expected a checkpoint of the chosen encoder, found one of a ResNet-50")
    matched = match_weights(encoder, trunk, (), where)
    taken = {f"backbone.encoder.{name}": value for name, value in matched.state.items()}
    found = _checked(own, taken | head, state, where, other_classes)
    return WeightMatch(found.state, tuple(dict.fromkeys([*matched.left_out, *rest, *found.left_out])))


def _parts(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Return the backbone by the authors' names, the head by ours, and the beginnings of what is left out."""
    if CAMERA_READY in state:
        trunk = {name: value for name, value in state.items() if not name.startswith("cam_head.")}
        head = {f"{LAST}{n.removeprefix(BOTTLENECK)}": v for n, v in state.items() if n.startswith(BOTTLENECK)}
        return trunk, {**head, HEAD: state[CAMERA_READY][1:]}, []
    trunk = {name.removeprefix(IMPROVED): value for name, value in state.items() if name.startswith(IMPROVED)}
    if not trunk or HEAD not in state:
        raise ModelError(
            f"{where}: expected a checkpoint of CLIMS, with tensors {IMPROVED}* and {HEAD}, or with {CAMERA_READY}; "
            f"found {next(iter(state))} and {len(state) - 1} others"
        )
    others = [name for name in state if not name.startswith(IMPROVED) and name != HEAD]
    strange = [name for name in others if not name.startswith(ALIASES)]
    if strange:
        raise ModelError(f"{where}: {len(strange)} tensors of another architecture, such as {strange[0]}")
    return trunk, {HEAD: state[HEAD]}, list(dict.fromkeys(name.split(".")[0] for name in others))


def _checked(
    own: Mapping[str, Tensor], taken: dict[str, Tensor], state: Mapping[str, Tensor], where: str, other_classes: bool
) -> WeightMatch:
    left_out = []
    if other_classes and taken[HEAD].shape[0] != own[HEAD].shape[0]:
        del taken[HEAD]
        left_out.append(HEAD if HEAD in state else CAMERA_READY)
    else:
        check_classes(taken[HEAD], own[HEAD], where)
    missing = [n for n in own if n not in taken and not n.endswith(COUNTER) and not (left_out and n == HEAD)]
    unknown = [name for name in taken if name not in own]
    other = [
        f"{name} is {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in taken.items()
        if name in own and value.shape != own[name].shape
    ]
    wrong = [f"{len(missing)} of {len(own)} tensors missing, such as {missing[0]}"] if missing else []
    wrong += [f"{len(unknown)} that this variant does not have, such as {unknown[0]}"] if unknown else []
    wrong += [f"{len(other)} of another shape, such as {other[0]}"] if other else []
    if wrong:
        raise ModelError(f"{where} does not fit this network: {'; '.join(wrong)}")
    return WeightMatch(taken, tuple(left_out))
