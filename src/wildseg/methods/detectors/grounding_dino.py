"""Grounding DINO (Liu et al., ECCV 2024): a detector that reads all phrases as one text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wildseg.core.errors import ModelError
from wildseg.labels.detection import Detect, fetched_model, load_network

WORDS = 0.25  # a token is part of a box's label above this score, as published


def load(model: str, device: str) -> Detect:
    """Load ``IDEA-Research/grounding-dino-tiny`` or the like, from the hub or a folder.

    Raises:
        ModelError: there is none, or it is none of Grounding DINO.
    """
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    with fetched_model(model, "Grounding DINO", GroundingDinoForObjectDetection) as folder:
        processor = GroundingDinoProcessor.from_pretrained(folder)
        network = load_network(GroundingDinoForObjectDetection, folder, device)
        most = network.config.max_text_len
        dot = processor.tokenizer.convert_tokens_to_ids(".")

    def detect(image: np.ndarray, phrases: Sequence[Sequence[str]], threshold: float) -> np.ndarray:
        inputs = processor(images=image.copy(), text=sentence(phrases), return_tensors="pt", truncation=False)
        tokens = inputs["input_ids"][0].tolist()
        if len(tokens) > most:
            raise ModelError(f"grounding_dino: expected phrases of at most {most} tokens in all, found {len(tokens)}; "
                             "give fewer classes or synonyms")  # fmt: skip
        with torch.inference_mode():
            outputs = network(**inputs.to(device))
        scores = outputs.logits[0].sigmoid().cpu().double().numpy()[:, : len(tokens)]  # (queries, tokens)
        centre, side = np.split(outputs.pred_boxes[0].cpu().double().numpy(), 2, axis=1)  # in shares of the frame
        corners = np.hstack([centre - side / 2, centre + side / 2]) * np.tile(image.shape[1::-1], 2)
        phrase = phrase_of([token == dot for token in tokens])
        owner = [index for index, own in enumerate(phrases, 1) for _ in own]
        ids = np.array([class_of(row, phrase, owner, threshold) for row in scores])
        boxes = np.column_stack([corners, ids, scores.max(1)])
        return boxes[(scores.max(1) > threshold) & (ids > 0)]

    return detect


def sentence(phrases: Sequence[Sequence[str]]) -> str:
    """Return all phrases in lower case, each ended by a dot: ``"road. curb. lawn."``.

    Dots and question marks within a phrase become spaces: the network takes what follows them for another phrase.
    """
    plain = str.maketrans(".?", "  ")
    return " ".join(f"{' '.join(phrase.lower().translate(plain).split())}." for own in phrases for phrase in own)


def phrase_of(dots: Sequence[bool]) -> np.ndarray:
    """Return the number of the phrase of each token, from 0; -1 of dots, and of the first and last token, no words.

    Args:
        dots: which tokens are dots, each of which ends a phrase.
    """
    phrase = np.cumsum(dots)
    phrase[np.asarray(dots, bool)] = -1
    phrase[[0, -1]] = -1
    return phrase


def class_of(scores: np.ndarray, phrase: np.ndarray, owner: Sequence[int], threshold: float) -> int:
    """Return the class of a box, from 1, or 0: that of the phrase which shares most tokens with those that stand out.

    These are the tokens above 0.25; where none is, the best one, if it is above the threshold. What counts is the share
    of common tokens among those of both; of equals, the phrase with the best token. A token is known by its place:
    "path" in "red path" is another than in "yellow path".

    Args:
        scores: (T,) of the box, for each token.
        phrase: (T,) number of the token's phrase, -1 of tokens that are in none.
        owner: the class of each phrase.
        threshold: the lowest score of a box.
    """
    words = np.where(phrase >= 0, scores, 0)
    if words.max() <= min(threshold, WORDS):
        return 0
    out = words > WORDS if words.max() > WORDS else words == words.max()
    shares = [
        (float((out & own).sum() / (out | own).sum()), float(words[own].max()), -number)
        for number in np.unique(phrase[phrase >= 0])
        for own in [phrase == number]
    ]
    return owner[-max(shares)[2]]
