"""Grounding DINO (Liu et al., ECCV 2024): a detector that reads all phrases as one text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wildseg.errors import ModelError
from wildseg.labels.detection import Detect, class_of, loading, network_of

WORDS = 0.25  # a word is part of a box's label above this score, as published


def load(model: str, device: str) -> Detect:
    """Load ``IDEA-Research/grounding-dino-tiny`` or the like, from the hub or a folder.

    Raises:
        ModelError: there is none, or it is none of Grounding DINO.
    """
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    with loading(model, "Grounding DINO"):
        processor = GroundingDinoProcessor.from_pretrained(model)
        network = network_of(GroundingDinoForObjectDetection, model, device)
        most = network.config.max_text_len
    process = processor.post_process_grounded_object_detection
    box_threshold = "threshold" if "threshold" in inspect.signature(process).parameters else "box_threshold"

    def detect(image: np.ndarray, phrases: Sequence[Sequence[str]], threshold: float) -> np.ndarray:
        inputs = processor(images=image.copy(), text=sentence(phrases), return_tensors="pt", truncation=False)
        if (length := inputs["input_ids"].shape[1]) > most:
            raise ModelError(f"grounding_dino: expected phrases of at most {most} tokens in all, found {length}; "
                             "give fewer classes or synonyms")  # fmt: skip
        inputs = inputs.to(device)
        with torch.inference_mode():
            outputs = network(**inputs)
        options: dict[str, Any] = {box_threshold: threshold, "text_threshold": WORDS, "target_sizes": [image.shape[:2]]}
        found = process(outputs, inputs["input_ids"], **options)[0]
        if not len(found["boxes"]):  # whose labels may still be one empty text
            return np.zeros((0, 6))
        labels = found["text_labels"] if "text_labels" in found else found["labels"]
        ids = np.array([class_of(words, phrases) for words in labels], float)
        boxes = np.column_stack([found["boxes"].cpu().double().numpy(), ids, found["scores"].cpu().double().numpy()])
        return boxes[ids > 0]

    return detect


def sentence(phrases: Sequence[Sequence[str]]) -> str:
    """Return all phrases in lower case, each ended by a dot: ``"road. curb. lawn."``."""
    return " ".join(f"{phrase.lower().rstrip('.')}." for own in phrases for phrase in own)
