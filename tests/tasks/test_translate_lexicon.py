"""The lexicon: IBM model 1 against its definition, its file, and what it does to a model."""

import numpy as np
import pytest

from elman import storage
from elman.tasks.translate import Recipe, Tokens, Translator
from elman.tasks.translate.lexicon import learn_lexicon

# The classical example: das Haus, das Buch, ein Buch.
DAS, HAUS, BUCH, EIN = 3, 4, 5, 6
THE, HOUSE, BOOK, A = 3, 4, 5, 6
PAIRS = [([DAS, HAUS], [THE, HOUSE]), ([DAS, BUCH], [THE, BOOK]), ([EIN, BUCH], [A, BOOK])]


def table(lexicon):
    dense = np.zeros((len(lexicon.ids), len(lexicon.background)))
    np.add.at(dense, (np.arange(len(dense))[:, None], lexicon.ids), lexicon.p)
    return dense


def by_the_definition(pairs, n_source, n_target, rounds):
    p = np.ones((n_source, n_target))
    for _ in range(rounds):
        counts = np.zeros_like(p)
        for source, target in pairs:
            for e in target:
                total = sum(p[f, e] for f in source)
                for f in source:
                    counts[f, e] += p[f, e] / total
        p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    return p


@pytest.mark.parametrize("rounds", [1, 3])
def test_it_is_model_1(rounds):
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(3, 9, 4).tolist(), rng.integers(3, 11, 3).tolist()) for _ in range(12)] + PAIRS
    ours = learn_lexicon(pairs, 10, 12, rounds=rounds)
    np.testing.assert_allclose(table(ours), by_the_definition(pairs, 10, 12, rounds), atol=1e-6)


def test_the_classical_example():
    p = table(learn_lexicon(PAIRS, 8, 7, rounds=30))
    assert [p[f].argmax() for f in (DAS, HAUS, BUCH, EIN)] == [THE, HOUSE, BOOK, A]
    assert p[DAS, THE] > 0.95
    assert (p[7] == 0).all()  # in no pair


def test_the_background_is_how_often_each_token_occurs():
    background = learn_lexicon(PAIRS, 8, 7).background
    np.testing.assert_allclose(background, np.array([0.1, 0.1, 3.1, 2.1, 1.1, 2.1, 1.1]) / 9.7, rtol=1e-6)


def test_the_likeliest_are_kept():
    lexicon = learn_lexicon(PAIRS, 8, 7, size=1)
    assert lexicon.ids.shape == lexicon.p.shape == (8, 1)
    assert lexicon.ids[DAS, 0] == THE


LINES = [("das Haus", "the house"), ("das Buch", "the book"), ("ein Buch", "a book"), ("ein Haus", "a house")] * 2


@pytest.fixture
def translator():
    source, target = (Tokens.learn([pair[k] for pair in LINES], "space") for k in (0, 1))
    translator = Translator.build(source, target, embedding_size=8, hidden_size=8, dropout=0.0)
    translator.learn_lexicon(translator.encode(LINES))
    return translator


def test_a_model_begins_with_what_the_lexicon_says(translator):
    ids = translator.encode(LINES)
    known = translator.evaluate(ids)
    translator.lexicon = None
    assert known < translator.evaluate(ids) - 0.2


def test_it_goes_into_the_file_and_into_a_training_that_goes_on(translator, tmp_path):
    ids = translator.encode(LINES)
    training = translator.training(ids, Recipe(n_steps=20, batch_size=4, learning_rate=1e-2))
    for _ in range(10):
        next(training)
    translator.save_training(tmp_path / "part.elman", training)
    list(training)
    translator.save(tmp_path / "whole.elman")
    again = Translator.load(tmp_path / "part.elman")
    list(again.training(ids, Recipe(n_steps=20, batch_size=4, learning_rate=1e-2), resume=tmp_path / "part.elman"))
    assert again.model.params.flat.tobytes() == translator.model.params.flat.tobytes()
    loaded = Translator.load(tmp_path / "whole.elman")
    assert all(np.array_equal(a, b) for a, b in zip(loaded.lexicon, translator.lexicon, strict=True))
    assert loaded.translate(["das Buch"])[0][0].text == translator.translate(["das Buch"])[0][0].text


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("lexicon/p"),
        lambda t: t.update({"lexicon/ids": t["lexicon/ids"] + 100}),
        lambda t: t.update({"lexicon/ids": t["lexicon/ids"].astype(np.float32)}),
        lambda t: t.update({"lexicon/p": -t["lexicon/p"]}),
        lambda t: t.update({"lexicon/p": t["lexicon/p"] * np.nan}),
        lambda t: t.update({"lexicon/background": t["lexicon/background"] * 0}),
        lambda t: t.update({"lexicon/background": t["lexicon/background"][:-1]}),
    ],
)
def test_a_damaged_lexicon_is_refused(translator, tmp_path, change):
    translator.save(tmp_path / "m.elman")
    tensors, about = storage.read(tmp_path / "m.elman")
    change(tensors)
    storage.write(tmp_path / "m.elman", tensors, {k: v for k, v in about.items() if k != "format"})
    with pytest.raises(ValueError, match=r"m\.elman: damaged: .*lexicon"):
        Translator.load(tmp_path / "m.elman")


def test_without_attention_there_is_nothing_to_read_it(translator):
    source, target = translator.source, translator.target
    blind = Translator.build(source, target, embedding_size=8, hidden_size=8, attention="none")
    blind.lexicon = translator.lexicon
    with pytest.raises(ValueError, match="a lexicon is read by attention, and there is none"):
        blind.translate(["das Haus"])
