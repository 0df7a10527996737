"""Detectors of random weights and a few thousand parameters, saved as the model hub has them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("lawn", "road", "sky", "red", "brick", "grass")


def owlv2(folder: Path) -> Path:
    """Save a tiny OWLv2 that looks at 64x64 pixels in patches of 16."""
    tokens = ["!", "<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=[], unk_token="<|endoftext|>", pad_token="!", model_max_length=32
    )
    torch.manual_seed(0)
    text = {"vocab_size": len(tokens), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2,
            "pad_token_id": 0}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 16}  # fmt: skip
    network = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=16))
    network.save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    """Save a tiny Grounding DINO."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *WORDS]
    folder.mkdir(parents=True)
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    torch.manual_seed(0)
    text = {"model_type": "bert", "vocab_size": len(tokens), "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    swin = {"model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1], "window_size": 4, "out_indices": [2, 3, 4]}  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=text, num_queries=12, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, max_text_len=32,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder
