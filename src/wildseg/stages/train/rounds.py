"""The inputs of a round of self-training after the first: the masks that the last round's model is sure of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from wildseg.artifacts.segmenter import read_weights
from wildseg.core.progress import track
from wildseg.segment import architecture, predict, rounds, supervision
from wildseg.stages.train.inputs import TrainingInputs


def next_round(first: TrainingInputs, number: int) -> TrainingInputs:
    """Write the masks of a round by the model that lies in models/segmenter, and return its inputs.

    Raises:
        DataError: labels are missing, or the model is sure of no pixel.
    """
    artifacts, context, frames = first.artifacts, first.context, first.data.train.frames
    processes, ids = context.distributed, first.ids_by_frame()
    processes.any(False)  # the main process has written the weights
    build = architecture.rebuilder(first.architecture, first.described, str(artifacts.segmenter_folder))
    state = read_weights(artifacts.segmenter_folder)
    predictor = predict.load(build, state, first.described, context.device, context.precision)
    share = [frames[index] for index in processes.share(len(frames))]
    shown = track(share, len(share), f"train: masks of round {number}") if processes.is_main else share
    least = first.params.train.round_confidence
    for frame, mask in rounds.relabel(predictor, shown, artifacts.load_image, ids.__getitem__, least):
        artifacts.save_round_mask(number, frame, mask)
    processes.any(False)  # all have written their share
    data = supervision.read(
        {"train": frames, "val": first.data.val.frames},
        artifacts.load_image,
        partial(artifacts.mask_of_round, number, frozenset(frames), first.data.val.load_mask),
        first.config.ids,
        supervision.Supervision(f"mask of round {number}", "train", "lower train.round_confidence"),
        processes,
    )
    return replace(first, data=replace(data, skipped=first.data.skipped + data.skipped))
