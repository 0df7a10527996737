"""CLIP's byte-pair tokenizer with a vocabulary cut short, so that a small text encoder needs a small table.

A byte-pair vocabulary is 256 bytes, the same 256 ending a word, one entry per merge in order of frequency, and
two special tokens. Keeping only the first merges leaves every text encodable; rare words become more pieces.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

FULL_VOCABULARY = 49408  # of the tokenizer that open_clip installs
_BYTE_TOKENS = 512
_SPECIAL_TOKENS = ("<start_of_text>", "<end_of_text>")


def cut_tokenizer(vocab_size: int, context_length: int) -> "SimpleTokenizer":
    """The tokenizer that open_clip installs, reduced to its first `vocab_size - 514` merges.

    Args:
        vocab_size: entries of the text encoder's embedding table, 514 to 49408.
        context_length: tokens per text; longer texts are truncated, shorter ones padded with 0.

    Returns:
        A tokenizer that turns texts into (N, context_length) token ids.

    Raises:
        ValueError: if no such vocabulary exists.
    """
    from open_clip.tokenizer import SimpleTokenizer

    smallest = _BYTE_TOKENS + len(_SPECIAL_TOKENS)
    if not smallest <= vocab_size <= FULL_VOCABULARY:
        raise ValueError(
            f"vocab_size must be between {smallest} (no merges) and {FULL_VOCABULARY} (all merges), got "
            f"{vocab_size}; it is `text_cfg.vocab_size` in the model's config"
        )
    tokenizer = SimpleTokenizer(context_length=context_length)
    merges = vocab_size - smallest
    kept = [*list(tokenizer.encoder)[: _BYTE_TOKENS + merges], *_SPECIAL_TOKENS]
    tokenizer.encoder = {token: index for index, token in enumerate(kept)}
    tokenizer.decoder = dict(enumerate(kept))
    tokenizer.bpe_ranks = {pair: rank for pair, rank in tokenizer.bpe_ranks.items() if rank < merges}
    tokenizer.vocab_size = vocab_size
    tokenizer.all_special_ids = [tokenizer.encoder[token] for token in _SPECIAL_TOKENS]
    tokenizer.sot_token_id, tokenizer.eot_token_id = tokenizer.all_special_ids
    return tokenizer
