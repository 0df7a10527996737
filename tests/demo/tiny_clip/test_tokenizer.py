"""The cut vocabulary."""

import pytest
from open_clip.tokenizer import SimpleTokenizer

from wildseg.encoders.tokenizer import FULL_VOCABULARY, cut_tokenizer


def test_nothing_cut_is_the_stock_tokenizer() -> None:
    text = "a photo of kerb stones, 3 puddles & naïve lawn."
    assert cut_tokenizer(FULL_VOCABULARY, 77).encode(text) == SimpleTokenizer().encode(text)


def test_words_whose_merges_survive_are_the_same_tokens_as_before() -> None:
    stock, cut = SimpleTokenizer(), cut_tokenizer(2014, 32)
    surviving = [word for word in ("a", "photo", "of", "the", "in", "this", "day") if max(stock.encode(word)) < 2012]
    assert len(surviving) >= 5
    for word in surviving:
        assert cut.encode(word) == stock.encode(word)


def test_every_text_can_still_be_written_and_read_back() -> None:
    cut, stock = cut_tokenizer(2014, 32), SimpleTokenizer()
    text = "yellow brick path, bitumen überholspur 42"
    tokens = cut.encode(text)
    assert max(tokens) < 2012
    assert cut.decode(tokens) == stock.decode(stock.encode(text))


def test_special_tokens_are_the_last_two_of_the_table() -> None:
    tokens = cut_tokenizer(2014, 32)(["a photo of sky, clouds."])
    assert tokens.shape == (1, 32)
    assert tokens[0, 0] == 2012
    assert tokens.max() == 2013


@pytest.mark.parametrize("size", [0, 513, 49409])
def test_an_impossible_vocabulary_is_refused_with_its_size(size: int) -> None:
    with pytest.raises(ValueError, match=f"got {size}"):
        cut_tokenizer(size, 32)
