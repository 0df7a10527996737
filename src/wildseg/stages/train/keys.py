"""The key of each round of a training: all that its network depends on, as one digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.core.files import sha256_of
from wildseg.encoders.weights import config_path, shared_config_path
from wildseg.execution import fingerprint
from wildseg.execution.result_store import fields_but, key_of, versions
from wildseg.execution.runtime import Runtime, gpus
from wildseg.segment import architecture
from wildseg.stages.train.inputs import TrainingInputs

if TYPE_CHECKING:
    from wildseg.segment.params import Train

# Masks are known by their content, and precision by what it comes to on this device. Later rounds have their own keys.
DECIDES_NO_NETWORK = ("supervision", "precision", "checkpoint_every", "rounds", "round_confidence")
LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pillow")


def keys(inputs: TrainingInputs, runtime: Runtime) -> list[str]:
    """Return the key of each round, hex: a round depends on the one before it and on the image labels.

    Raises:
        DataError: an input is gone.
    """
    found = [_key(inputs, runtime)]
    if inputs.params.train.rounds > 1:
        shared = [fingerprint.digest("wildseg.segment.rounds"), inputs.ids_by_frame()]
        for number in range(2, inputs.params.train.rounds + 1):
            found.append(key_of([found[-1], number, inputs.params.train.round_confidence, shared]))
    return found


def _key(inputs: TrainingInputs, runtime: Runtime) -> str:
    """Return the key of everything that the network of the first round depends on: hex."""
    section, config, context, data = inputs.params.train, inputs.config, inputs.context, inputs.data
    code = fingerprint.digest(
        "wildseg.segment.fit",
        f"wildseg.methods.architectures.{config.train.architecture}",
        f"wildseg.methods.losses.{config.train.loss}",
        "wildseg.artifacts.supervision",
    )
    # A file of encoder weights is known by its content, wherever the project lies; so here are the parameters as read.
    train = fields_but(section, *DECIDES_NO_NETWORK, *_unused(section), "options", "min_confidence")
    options = [config.options, config.loss_options]
    chosen: list[object] = [train, options, config.min_confidence, config.num_classes, config.ids]
    if architecture.needs_phrases(inputs.architecture):
        chosen += [inputs.phrases, _beside(inputs), versions("open_clip_torch", "scipy")]
    settings = [chosen, context.seed, context.precision, context.device.split(":")[0]]
    frames = [*data.train.frames, *data.val.frames]
    weights = config.train.encoder_weights
    files = inputs.artifacts.training_digests(section.supervision, frames, config.guided, weights)
    return key_of([settings, data.train.frames, data.val.frames, inputs.norm.mean, inputs.norm.std, files, code,
                   versions(*LIBRARIES), gpus(runtime)[:1]])  # fmt: skip


def _beside(inputs: TrainingInputs) -> list[str]:
    """Return the digests of the configs beside the weights of a CLIP, and of files that the options name."""
    config = inputs.config
    file = Path(config.train.encoder_weights or "")
    configs = (config_path(file, config.train.encoder), shared_config_path(file)) if file.is_file() else ()
    named = architecture.files_of(inputs.architecture, config.options, inputs.artifacts.root).values()
    return [sha256_of(path) for path in (*configs, *named) if path.is_file()]


def _unused(train: Train) -> list[str]:
    """Return the parameters that the others leave without an effect."""
    used = {"class_balanced_beta": train.class_weights == "class_balanced", "mean_teacher": train.teacher is not None}
    return [name for name, is_used in used.items() if not is_used]
