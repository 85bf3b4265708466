"""Vocabularies: encode and decode are inverse, unknown tokens are named, memory is bounded (cases G1, G6)."""

import tracemalloc

import numpy as np
import pytest

from elman import datasets
from elman.tasks.vocabulary import CHUNK, UNKNOWN, Vocabulary

TEXTS = ["Hello, world!\nIt's  two blanks.\t", "春眠不覺曉，處處聞啼鳥。\n", "a😀b\u0301 Zoë", "x"]


@pytest.mark.parametrize("level", ["char", "byte", "word"])
@pytest.mark.parametrize("text", TEXTS)
def test_decode_is_the_inverse_of_encode(level, text):
    vocabulary = Vocabulary.learn(text, level)
    ids = vocabulary.encode(text)
    assert ids.dtype.kind == "u"
    assert ids.max() < len(vocabulary)
    assert vocabulary.decode(ids) == text
    assert vocabulary.count_characters(ids) == len(text)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_characters_are_in_the_order_of_code_points():
    vocabulary = Vocabulary.learn("banana")
    assert vocabulary.tokens == ("a", "b", "n")
    assert vocabulary.counts == (3, 1, 2)


def test_tinyshakespeare_has_65_characters():
    text = datasets.tinyshakespeare()
    vocabulary = Vocabulary.learn(text)
    assert (len(text), len(vocabulary)) == (1_115_394, 65)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_long_texts_cross_the_chunks():
    text = "ab" * CHUNK + "春"
    vocabulary = Vocabulary.learn(text)
    assert vocabulary.counts == (CHUNK, CHUNK, 1)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_g1_unknown_characters_are_named_with_their_positions():
    vocabulary = Vocabulary.learn("Helloworld!")
    with pytest.raises(ValueError, match=r"prompt: the model does not know 'Z' at position 0, 'ë' at position 2"):
        vocabulary.encode("Zoë", where="prompt")
    assert vocabulary.decode(vocabulary.encode("Zoë", unknown="skip")) == "o"
    with pytest.raises(ValueError, match="no unknown token"):
        vocabulary.encode("Zoë", unknown="unk")


def test_rare_characters_share_the_unknown_token():
    vocabulary = Vocabulary.learn("aaabbcd", max_size=3)
    assert vocabulary.tokens == (UNKNOWN, "a", "b")
    assert vocabulary.counts == (2, 3, 2)
    assert vocabulary.encode("abcd", unknown="unk").tolist() == [1, 2, 0, 0]
    with pytest.raises(ValueError, match="'c' at position 2, 'd' at position 3"):
        vocabulary.encode("abcd")


def test_words_keep_the_blank_before_them_and_have_an_unknown_token():
    vocabulary = Vocabulary.learn("the cat sees the dog.", "word")
    assert set(vocabulary.tokens) == {UNKNOWN, "the", " cat", " sees", " the", " dog", "."}
    ids = vocabulary.encode("the bird.")
    assert [vocabulary.tokens[k] for k in ids] == ["the", UNKNOWN, "."]


def test_bytes_arrive_as_whole_characters():
    vocabulary = Vocabulary.learn("é", "byte")
    assert list(vocabulary.decode_stream([0xC3, 0xA9, 0xFF])) == ["", "é", "\ufffd", ""]


def test_g6_ids_are_small_and_peak_memory_is_below_four_times_the_text():
    text = datasets.tinyshakespeare() * 4
    tracemalloc.start()
    vocabulary = Vocabulary.learn(text)
    ids = vocabulary.encode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ids.dtype == np.uint8
    assert peak < 3 * len(text)  # beside the text itself


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {},
        {"level": "char", "tokens": ["a", "a"], "counts": [1, 1]},
        {"level": "char", "tokens": ["ab"], "counts": [1]},
        {"level": "char", "tokens": [1], "counts": [1]},
        {"level": "char", "tokens": ["a"], "counts": []},
        {"level": "verse", "tokens": ["a"], "counts": [1]},
    ],
)
def test_damaged_vocabularies_are_refused(damage):
    with pytest.raises(ValueError, match="ocabulary"):
        Vocabulary.from_json(damage)
