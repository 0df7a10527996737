"""The tiny CLIP itself: an unmodified open_clip model built from the config that ships with its weights."""

from pathlib import Path

import open_clip
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from wildseg.encoders import captions
from wildseg.encoders.tokenizer import cut_tokenizer

NAME = "wildseg-tiny"


def new_model(config: Path) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """The model of a config file with fresh weights, and its tokenizer."""
    open_clip.add_model_config(config)
    model = open_clip.create_model(config.stem)
    tokenizer = cut_tokenizer(model.vocab_size, model.context_length)
    return model, tokenizer


def load_model(config: Path, weights: Path) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """The model with trained weights, in evaluation mode, and its tokenizer."""
    model, tokenizer = new_model(config)
    model.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return model.eval(), tokenizer


def save_weights(state: dict[str, Tensor], path: Path) -> None:
    """Write weights in half precision, to a temporary name first; they declare how they were taught."""
    partial = path.with_suffix(".partial")
    halved = {name: value.half().contiguous() for name, value in state.items()}
    save_file(halved, partial, metadata=captions.REGIONS)
    partial.chmod(0o644)
    partial.replace(path)
