"""OWLv2 (Minderer et al., NeurIPS 2023): an image-text model that has learnt to box what it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wildseg.core.errors import ModelError
from wildseg.labels.detection import Detect, fetched_model, load_network

TEMPLATE = "a photo of a {}"


def load(model: str, device: str) -> Detect:
    """Load ``google/owlv2-base-patch16-ensemble`` or the like, from the hub or a folder.

    Raises:
        ModelError: there is none, or it is none of OWLv2.
    """
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    with fetched_model(model, "OWLv2", Owlv2ForObjectDetection) as folder:
        processor = Owlv2Processor.from_pretrained(folder)
        network = load_network(Owlv2ForObjectDetection, folder, device)
        most = network.config.text_config.max_position_embeddings

    def detect(image: np.ndarray, phrases: Sequence[Sequence[str]], threshold: float) -> np.ndarray:
        asked = [(index, phrase) for index, own in enumerate(phrases, 1) for phrase in own]
        texts = [TEMPLATE.format(phrase) for _, phrase in asked]
        for text, tokens in zip(
            texts, processor.tokenizer(texts, truncation=False, verbose=False)["input_ids"], strict=True
        ):
            if len(tokens) > most:
                raise ModelError(f"owlv2: expected at most {most} tokens, found {len(tokens)} in {text!r}; give a "
                                 "shorter phrase")  # fmt: skip
        inputs = processor(text=[texts], images=image.copy(), return_tensors="pt", truncation=True).to(device)
        with torch.inference_mode():
            outputs = network(**inputs)
        # The frame is padded to a square, and boxes are shares of that; some versions would multiply by (W, H).
        side = max(image.shape[:2])
        found = processor.image_processor.post_process_object_detection(outputs, threshold, [(side, side)])[0]
        ids = np.array([index for index, _ in asked])[found["labels"].cpu().numpy()]
        return np.column_stack([found["boxes"].cpu().double().numpy(), ids, found["scores"].cpu().double().numpy()])

    return detect
