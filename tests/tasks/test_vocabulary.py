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


def test_the_unknown_token_is_advised_where_there_is_one():
    with pytest.raises(ValueError, match=r"unknown='unk' \(--unknown unk\)"):
        Vocabulary.learn("aaabbcd", max_size=3).encode("x")
    with pytest.raises(ValueError, match=r"unknown='skip' \(--unknown skip\)"):
        Vocabulary.learn("aaabbcd").encode("x")


def test_sizes_that_hold_nothing():
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"max_size must be at least 1, got {size}"):
            Vocabulary.learn("ab", max_size=size)
    with pytest.raises(TypeError, match="max_size must be an int"):
        Vocabulary.learn("ab", max_size=2.5)
    for level in ("char", "word"):
        with pytest.raises(ValueError, match="max_size must be at least 2, the unknown token and another one"):
            Vocabulary.learn("a b", level, max_size=1)
    assert Vocabulary.learn("aaa", max_size=1).tokens == ("a",)
    with pytest.raises(ValueError, match="there are always 256 bytes; leave max_size out, got 9"):
        Vocabulary.learn("ab", "byte", max_size=9)


@pytest.mark.parametrize(("level", "lengths"), [("char", [1] * 9), ("byte", [1, 1, 1, 0, 1, 1, 1, 1, 1, 1])])
def test_lengths_of_characters_and_bytes(level, lengths):
    vocabulary = Vocabulary.learn("Zoë sees.", level)
    ids, found = vocabulary.encode_lengths("Zoë sees.")
    assert found.dtype == np.uint32
    assert found.tolist() == lengths
    assert np.array_equal(ids, vocabulary.encode("Zoë sees."))


def test_lengths_of_words_are_those_of_the_text():
    vocabulary = Vocabulary.learn("the cat", "word")
    ids, lengths = vocabulary.encode_lengths("the zebra's cat")
    assert ids.tolist()[1] == vocabulary.unknown_id
    assert lengths.tolist() == [3, 8, 4]
    assert lengths.dtype == np.uint32
    assert vocabulary.count_characters(ids) is None
    assert vocabulary.count_characters(ids[[0, 2]]) == 7
    left = Vocabulary.learn("ab").encode_lengths("axb", unknown="skip")
    assert [array.tolist() for array in left] == [[0, 1], [1, 1]]


def test_bytes_that_are_no_text_stay_what_they_are():
    vocabulary = Vocabulary.learn("a", "byte")
    assert vocabulary.encode("a\udce9").tolist() == [97, 0xE9]
    assert Vocabulary.learn("\udce9", "byte").counts[0xE9] == 1


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
        {"level": "char", "tokens": ["a"], "counts": [-1]},
        {"level": "char", "tokens": ["a"], "counts": [10**400]},
        {"level": "char", "tokens": ["a"], "counts": [True]},
        {"level": "char", "tokens": ["a"], "counts": 7},
        {"level": "byte", "tokens": ["a"], "counts": [1] * 256},
        {"level": "word", "tokens": ["a"], "counts": [1]},
        {"level": ["char"], "tokens": ["a"], "counts": [1]},
        {"level": "verse", "tokens": ["a"], "counts": [1]},
    ],
)
def test_damaged_vocabularies_are_refused(damage):
    with pytest.raises(ValueError, match="ocabulary"):
        Vocabulary.from_json(damage)
