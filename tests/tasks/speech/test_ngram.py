"""N-gram models and what they and hot words add to a search."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from elman.ctc import beam_search
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.ngram import BEGIN, END, UNKNOWN, NGram
from elman.tasks.speech.scorers import SymbolScorer, WordScorer
from tolerances import exactly

ARPA = """a comment

\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-0.7 one -0.2
-0.5\ttwo
-0.9 </s>

\\2-grams:
-0.1 <s> one
-0.4 one two

\\end\\
"""


def nats(log10: float) -> float:
    return log10 * math.log(10)


@pytest.mark.parametrize("pack", [False, True])
def test_an_arpa_file(tmp_path, pack):
    path = tmp_path / "m.arpa"
    path.write_bytes(gzip.compress(ARPA.encode()) if pack else ARPA.encode())
    model = NGram.load(path)
    assert model.order == 2
    assert model.vocabulary == {"one", "two"}
    assert model.score("one", [BEGIN]) == pytest.approx(nats(-0.1))
    assert model.score("two", [BEGIN]) == pytest.approx(nats(-0.3 - 0.5))  # backs off
    assert model.score("one", ["two"]) == pytest.approx(nats(-0.7))  # a history without a weight
    assert model.score(END, ["one"]) == pytest.approx(nats(-0.2 - 0.9))
    assert model.score("three", ["one"]) == -math.inf
    assert model.log_probability(["one", "two"]) == pytest.approx(nats(-0.1 - 0.4 - 0.9))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ((ARPA, ""), "not a whole ARPA file: there is no \\data\\ in it"),
        (("\\end\\\n", ""), "not a whole ARPA file: it ends without \\end\\, so it is cut short"),
        (("ngram 2=2", "ngram 2=3"), "announces 3 2-grams, but has 2"),
        (("ngram 2=2", "ngram x"), "line 5: expected 'ngram N=COUNT', got 'ngram x'"),
        (("\\2-grams:", "\\3-grams:"), "line 13: \\3-grams: was not announced in \\data\\"),
        (
            ("-0.4 one two", "-0.4 one"),
            "line 15: expected a log10 probability, 2 tokens and maybe a back-off weight, got '-0.4 one'",
        ),
        (
            ("-0.4 one", "nan one"),
            "line 15: expected a log10 probability, 2 tokens and maybe a back-off weight, got 'nan one two'",
        ),
    ],
)
def test_damaged_arpa_files(tmp_path, change, sentence):
    path = tmp_path / "m.arpa"
    path.write_text(ARPA.replace(*change), encoding="utf-8")
    with pytest.raises(ValueError, match=exactly(f"{path}: {sentence}")):
        NGram.load(path)


def test_a_learned_model_sums_to_one_and_survives_a_file(tmp_path):
    sentences = ["the cat sat", "the dog sat", "a cat", "", "the the"]
    for order in (1, 2, 3, 4):
        model = NGram.learn([s.split() for s in sentences], order)
        tokens = [*model.vocabulary, END, UNKNOWN]
        for history in ([BEGIN], ["the"], ["the", "cat"], ["never", "heard"], [BEGIN, "the", "the"]):
            assert sum(math.exp(model.score(token, history)) for token in tokens) == pytest.approx(1, rel=1e-12)
        model.save(tmp_path / "m.arpa")
        again = NGram.load(tmp_path / "m.arpa")
        for sentence in ("the cat sat", "a dog", "new words"):
            assert again.log_probability(sentence.split()) == pytest.approx(model.log_probability(sentence.split()))
    assert model.score("sat", ["cat"]) > model.score("the", ["cat"])


def search(log_p, labels, scorer=None, **options):
    found = beam_search(log_p[None], from_logits=False, width=200, scorer=scorer, **options)[0]
    return [labels.decode(h.labels) for h in found], [h.score for h in found]


LETTERS = Labels(tuple(" ABT"))


def spelled(text: str, other: str, share: float) -> np.ndarray:
    """Return frames that say a text with some doubt: (T, V) log-probabilities."""
    p = np.full((2 * len(text), 5), 1e-6)
    for k, (letter, doubt) in enumerate(zip(text, other, strict=True)):
        p[2 * k, LETTERS.encode(letter)[0]] += 1 - share
        p[2 * k, LETTERS.encode(doubt)[0]] += share
        p[2 * k + 1, 0] = 1
    return np.log(p / p.sum(axis=1, keepdims=True))


def test_a_word_model_corrects_what_was_heard():
    frames = spelled("BAB TAT", "BAT TAT", 0.4)
    assert search(frames, LETTERS)[0][0] == "BAB TAT"
    model = NGram.learn([["BAT", "TAT"], ["BAT"], ["TAT"]], 2)
    assert search(frames, LETTERS, WordScorer(LETTERS, model, weight=1.0))[0][0] == "BAT TAT"
    assert search(frames, LETTERS, WordScorer(LETTERS, model, weight=0.0))[0][0] == "BAB TAT"


def test_the_score_is_the_sum_of_its_parts():
    frames = spelled("BAT TAT", "BAB TAB", 0.3)
    model = NGram.learn([["BAT", "TAT"], ["BAT"], ["TAT"]], 2)
    scorer = WordScorer(LETTERS, model, weight=0.7, bonus=0.4, hot_words=["BAT"], hot_bonus=2.0)
    (best,) = beam_search(frames[None], from_logits=False, width=200, scorer=scorer)[0]
    added = 0.7 * model.log_probability(["BAT", "TAT"]) + 2 * 0.4 + 2.0
    assert LETTERS.decode(best.labels) == "BAT TAT"
    assert best.score == pytest.approx(best.log_p + added, rel=1e-9)


def test_hot_words_are_favoured_and_paid_back():
    frames = spelled("BAB", "BAT", 0.3)
    assert search(frames, LETTERS)[0][0] == "BAB"
    hot = WordScorer(LETTERS, hot_words=["BAT"], hot_bonus=3.0)
    texts, scores = search(frames, LETTERS, hot, n_best=50)
    assert texts[0] == "BAT"
    plain_texts, plain_scores = search(frames, LETTERS, n_best=50)
    plain = dict(zip(plain_texts, plain_scores, strict=True))
    for text, score in zip(texts, scores, strict=True):
        if text in plain:  # each word but the hot one has what it had without
            assert score == pytest.approx(plain[text] + 3.0 * text.split().count("BAT"), abs=1e-9)


def test_a_closed_vocabulary_writes_known_words_only():
    frames = spelled("BAB TAT", "BAB TAT", 0.0)
    model = NGram.learn([["BAT"], ["TAT"]], 1)
    found = search(frames, LETTERS, WordScorer(LETTERS, model, closed=True), n_best=20)
    assert {word for text, score in zip(*found, strict=True) if score > -math.inf for word in text.split()} <= {
        "BAT",
        "TAT",
    }


def test_a_model_of_letters_and_one_of_word_labels():
    frames = spelled("BAB", "BAT", 0.4)
    letters = NGram.learn([list("BAT"), list("BAT"), ["B", "A", "T", "<space>", "B"]], 3)
    assert search(frames, LETTERS, SymbolScorer(letters, LETTERS, weight=1.0))[0][0] == "BAT"
    words = Labels(("ONE", "TWO"), "word")
    p = np.log(np.array([[0.1, 0.5, 0.4], [0.98, 0.01, 0.01], [0.1, 0.5, 0.4]]))
    assert search(p, words)[0][0] == "ONE ONE"
    model = NGram.learn([["ONE", "TWO"]] * 3, 2)
    assert search(p, words, SymbolScorer(model, words, weight=1.0))[0][0] == "ONE TWO"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="for words use SymbolScorer"):
        WordScorer(Labels(("ONE",), "word"))
    with pytest.raises(ValueError, match="cannot write 'Z'"):
        WordScorer(LETTERS, hot_words=["BAZ"])
    with pytest.raises(ValueError, match="needs a model that knows the words"):
        WordScorer(LETTERS, closed=True)
