"""Language models learn, measure, write and go on (cases G1, G2, D10)."""

import math

import numpy as np
import pytest

import elman
from elman import datasets
from elman.tasks.language import LanguageModel, Recipe, recipe_from_json, recipe_to_json
from elman.tasks.vocabulary import UNKNOWN, Vocabulary

VERSE = "Helloworld!"


def trained(text=VERSE, level="char", n_steps=120, **sizes):
    vocabulary = Vocabulary.learn(text, level)
    sizes = {"hidden_size": 16, "embedding_size": 8, **sizes}
    lm = LanguageModel.build(vocabulary, **sizes)
    recipe = Recipe(n_steps=n_steps, validation=0, learning_rate=0.03, batch_size=4, window_steps=16)
    records = list(lm.training(vocabulary.encode(text), recipe))
    return lm, records


@pytest.fixture(scope="module")
def verse():
    return trained()[0]


def test_learns_a_verse_by_heart(verse):
    assert "".join(verse.generate("H", n_tokens=10, temperature=0)) == "elloworld!"


@pytest.mark.parametrize("cell", ["rnn", "gru"])
@pytest.mark.parametrize("level", ["char", "byte", "word"])
def test_every_cell_and_level_learns(cell, level):
    text = "the cat sees the dog. " * 8
    lm, records = trained(text, level, 250, cell=cell)
    assert records[-1].loss < 0.25 < records[0].loss
    written = "".join(lm.generate("the cat", n_tokens=4, temperature=0))
    assert written
    assert text[7:].startswith(written)


def test_g1_the_empty_prompt_works(verse):
    text = "".join(verse.generate("", n_tokens=5, seed=0))
    assert len(text) == 5
    assert set(text) <= set(VERSE)


def test_g1_the_empty_prompt_begins_after_a_line_end_where_there_are_lines():
    lm, _ = trained("abc\nabc\nabc\nabc\nabc\n")
    assert "".join(lm.generate("", n_tokens=4, temperature=0)) == "abc\n"


@pytest.mark.parametrize("prompt", [" ", "Zoë"])
def test_g1_unknown_characters_in_the_prompt(verse, prompt):
    with pytest.raises(ValueError, match="prompt: the model does not know"):
        verse.generate(prompt)
    assert len("".join(verse.generate(prompt, n_tokens=3, unknown="skip", seed=0))) == 3


def test_same_seed_same_text(verse):
    texts = ["".join(verse.generate("", n_tokens=40, seed=seed, temperature=2.0)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_c2_writing_leaves_no_trace(verse):
    before = verse.model.params.flat.copy()
    first = "".join(verse.generate("H", n_tokens=5, temperature=0))
    list(verse.generate("rld", n_tokens=5))
    assert "".join(verse.generate("H", n_tokens=5, temperature=0)) == first
    assert np.array_equal(verse.model.params.flat, before)


@pytest.mark.parametrize(
    ("stop", "right"), [("wor", "ello"), ("rl", "ellowo"), ("!", "elloworld"), ("xyz", "elloworld!"), ("lo", "el")]
)
def test_writing_ends_before_the_stop_text(verse, stop, right):
    assert "".join(verse.generate("H", n_tokens=10, temperature=0, stop=stop)) == right


def test_no_tokens_no_text(verse):
    assert "".join(verse.generate("H", n_tokens=0)) == ""


def test_the_unknown_token_is_never_written():
    vocabulary = Vocabulary.learn("aaaabbbbcd", max_size=3)
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    assert UNKNOWN not in "".join(lm.generate("a", n_tokens=300, seed=0))


@pytest.mark.parametrize("level", ["char", "word"])
def test_the_unknown_token_does_not_begin_a_text_either(level):
    vocabulary = Vocabulary.learn("a b a b " + " ".join("cdefghijklmn"), level, max_size=3)
    assert vocabulary.counts[vocabulary.unknown_id] > 10
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    assert UNKNOWN not in "".join("".join(lm.generate("", n_tokens=1, seed=seed)) for seed in range(60))


def test_a_text_begins_by_frequency_and_without_any_by_chance():
    vocabulary = Vocabulary.learn("a" * 90 + "b" * 10 + "cd", max_size=3)
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    first = "".join("".join(lm.generate("", n_tokens=1, seed=seed)) for seed in range(100))
    assert 80 < first.count("a") < 100
    lm.vocabulary = Vocabulary(vocabulary.level, vocabulary.tokens, (0, 0, 0))
    first = "".join("".join(lm.generate("", n_tokens=1, seed=seed)) for seed in range(100))
    assert 30 < first.count("a") < 70
    assert set(first) == {"a", "b"}


def test_a_model_of_nothing_but_the_unknown_token_writes_nothing():
    lm = LanguageModel.build(Vocabulary("char", (UNKNOWN,), (3,)), hidden_size=2)
    with pytest.raises(ValueError, match="knows no token but the unknown one"):
        lm.generate("")


def test_pieces_come_one_by_one(verse):
    pieces = verse.generate("H", n_tokens=3, temperature=0)
    assert next(pieces) == "e"


def test_score_of_an_untrained_uniform_model_is_the_log_of_the_vocabulary():
    vocabulary = Vocabulary.learn("abcd" * 50)
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    lm.model.params.flat[:] = 0
    score = lm.evaluate(vocabulary.encode("abcd" * 50))
    assert score.tokens == score.characters == 199
    assert score.nats_per_token == pytest.approx(math.log(4), rel=1e-6)
    assert score.bits_per_char == pytest.approx(2, rel=1e-6)
    assert score.perplexity == pytest.approx(4, rel=1e-6)


def test_score_carries_the_state_over_all_windows():
    """The score of one row equals the mean over the outputs of one pass over the whole text."""
    text = datasets.tinyshakespeare()[:1500]
    vocabulary = Vocabulary.learn(text)
    lm = LanguageModel.build(vocabulary, hidden_size=8, seed=1)
    lm.model = lm.model.astype(np.float64)
    ids = vocabulary.encode(text)
    y, _ = lm.model(ids[None, :-1])
    assert lm.evaluate(ids).nats_per_token == pytest.approx(
        elman.losses.cross_entropy(y, ids[None, 1:]).value, rel=1e-12
    )


def test_bits_per_char_of_bytes_and_words_count_characters():
    text = "é" * 100
    vocabulary = Vocabulary.learn(text, "byte")
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    lm.model.params.flat[:] = 0
    score = lm.evaluate(vocabulary.encode(text))
    assert (score.tokens, score.characters) == (199, 99)  # the first byte is given, and with it the first character
    assert score.bits_per_char == pytest.approx(8 * 199 / 99, rel=1e-6)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5])
def test_score_per_character_of_unknown_words(n_rows):
    """With the lengths of the text the numbers are exact; without them they are no numbers, rather than wrong ones."""
    vocabulary = Vocabulary.learn("the cat sat", "word")
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    ids, lengths = vocabulary.encode_lengths("the zebra sat. " * 9)
    known = lm.evaluate(ids, n_rows=n_rows, lengths=lengths)
    kept = (len(ids) - 1) // n_rows * n_rows
    assert (known.tokens, known.characters) == (kept, lengths[1 : kept + 1].sum())
    assert known.nats_per_char == pytest.approx(known.nats_per_token * kept / known.characters)
    hidden = lm.evaluate(ids, n_rows=n_rows)
    assert math.isnan(hidden.nats_per_char)
    assert math.isnan(hidden.bits_per_char)
    assert hidden.characters is None
    assert hidden.nats_per_token == known.nats_per_token
    with pytest.raises(ValueError, match="evaluate: lengths must be"):
        lm.evaluate(ids, lengths=lengths[1:])


def test_an_unknown_character_is_one_character():
    vocabulary = Vocabulary.learn("aaabbcd", max_size=3)
    lm = LanguageModel.build(vocabulary, hidden_size=4)
    assert lm.evaluate(vocabulary.encode("abcdab", unknown="unk")).characters == 5


def test_a_perplexity_beyond_all_doubles_is_infinite():
    vocabulary = Vocabulary.learn("ab")
    lm = LanguageModel.build(vocabulary, hidden_size=2)
    lm.model.params.flat[:] = 0
    lm.model.params["2.bias"][:] = [5000, 0]
    assert lm.evaluate(vocabulary.encode("bbb")).perplexity == math.inf


def test_bytes_are_in_no_encoding(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"abc")
    lm = LanguageModel.build(Vocabulary.learn("abc", "byte"), hidden_size=2)
    assert lm.read(tmp_path / "t.txt").tolist() == [97, 98, 99]
    with pytest.raises(ValueError, match="leave --encoding gbk out"):
        lm.read(tmp_path / "t.txt", "gbk")


def test_resume_gives_the_same_bits(tmp_path):
    text = datasets.tinyshakespeare()[:3000]
    vocabulary = Vocabulary.learn(text)
    ids = vocabulary.encode(text)
    recipe = Recipe(n_steps=12, batch_size=4, window_steps=20)

    def fresh():
        return LanguageModel.build(vocabulary, hidden_size=12, n_layers=2, dropout=0.2, seed=3)

    whole = fresh()
    list(whole.training(ids, recipe))
    half = fresh()
    training = half.training(ids, recipe)
    for _ in range(5):
        next(training)
    half.save_training(tmp_path / "half.elman", training)
    other = LanguageModel.load(tmp_path / "half.elman")
    rest = list(other.training(ids, recipe, resume=tmp_path / "half.elman"))
    assert [record.step for record in rest] == list(range(6, 13))
    assert np.array_equal(other.model.params.flat, whole.model.params.flat)


def test_round_trip_through_a_file(verse, tmp_path):
    verse.save(tmp_path / "m.elman", about={"note": "x"})
    loaded, about = LanguageModel.load_all(tmp_path / "m.elman")
    assert loaded.vocabulary == verse.vocabulary
    assert about["note"] == "x"
    assert np.array_equal(loaded.model.params.flat, verse.model.params.flat)
    assert elman.load(tmp_path / "m.elman").layer == verse.model.layer


def test_other_models_are_refused(tmp_path):
    elman.Linear(2, 3).init().save(tmp_path / "m.elman")
    with pytest.raises(ValueError, match="not a language model"):
        LanguageModel.load(tmp_path / "m.elman")
    with pytest.raises(ValueError, match="does not predict tokens of 3"):
        LanguageModel(elman.Linear(2, 3).init(), Vocabulary.learn("abc"))
    ahead = elman.Sequential(elman.Embedding(3, 4), elman.Bidirectional(elman.RNN(4, 2)), elman.Linear(4, 3))
    with pytest.raises(ValueError, match="reads ahead"):
        LanguageModel(ahead.init(), Vocabulary.learn("abc"))


def test_recipe_as_json():
    recipe = Recipe(n_steps=7, learning_rate=0.1)
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    for damage in (None, {}, {**recipe_to_json(recipe), "n_steps": "many"}, {**recipe_to_json(recipe), "x": 1}):
        with pytest.raises((ValueError, TypeError)):
            recipe_from_json(damage)


@pytest.mark.parametrize(
    "option",
    [{"n_steps": 10**9 + 1}, {"learning_rate": math.inf}, {"seed": -1}, {"seed": "x"}, {"validation": math.nan}],
)
def test_recipes_out_of_range(option):
    with pytest.raises(ValueError, match=f"Recipe: {next(iter(option))} must be"):
        Recipe(**option)


def test_texts_too_short_to_train_on():
    vocabulary = Vocabulary.learn("a")
    lm = LanguageModel.build(vocabulary, hidden_size=2)
    with pytest.raises(ValueError, match="it needs at least 2"):
        lm.training(vocabulary.encode("a"), Recipe())
    with pytest.raises(ValueError, match="it needs at least 2"):
        lm.evaluate(vocabulary.encode("a"))


def test_tinyshakespeare_is_learnable():
    """A small model after some seconds: better than the frequencies of the characters, 3.3 nats, by far."""
    text = datasets.tinyshakespeare()
    vocabulary = Vocabulary.learn(text)
    ids = vocabulary.encode(text)
    recipe = Recipe(n_steps=200, batch_size=32, window_steps=24, learning_rate=2e-2)
    lm = LanguageModel.build(vocabulary, hidden_size=48, embedding_size=24)
    list(lm.training(ids, recipe))
    assert lm.evaluate(recipe.split(ids)[1][:20_000], n_rows=64).nats_per_char < 2.3
