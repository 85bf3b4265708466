"""Translators: what they learn, how they go on, what they write, and their files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import elman
from elman import plots, storage
from elman.tasks.translate import LengthNorm, Recipe, Tokens, Translator
from elman.tasks.translate.tokens import END, UNKNOWN
from elman.tasks.translate.translator import _copied

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = dict(zip(NAMES, "零一二三四五六七八九", strict=True))


def number_pairs(n, seed=0, longest=5):
    """Return pairs of spoken digits, in English and in Chinese, turned round: the order must be learned, too."""
    rng = np.random.default_rng(seed)
    names = list(DIGITS)
    rows = [[names[k] for k in rng.integers(0, 10, rng.integers(1, longest + 1))] for _ in range(n)]
    return [(" ".join(row), "".join(DIGITS[name] for name in reversed(row))) for row in rows]


def build(pairs, **options):
    source = Tokens.learn([a for a, _ in pairs], "space")
    target = Tokens.learn([b for _, b in pairs], "char")
    sizes = {"embedding_size": 16, "hidden_size": 32, "dropout": 0.1, "seed": 1}
    return Translator.build(source, target, **{**sizes, **options})


PAIRS = number_pairs(400)
RECIPE = Recipe(n_steps=400, batch_size=32, learning_rate=1e-2, warmup_steps=20)


@pytest.fixture(scope="module")
def trained():
    translator = build(PAIRS)
    list(translator.training(translator.encode(PAIRS), RECIPE))
    return translator


def test_it_learns_words_and_order(trained):
    unseen = [pair for pair in number_pairs(80, seed=9) if pair not in PAIRS]
    assert len(unseen) > 20
    for beam in (1, 4):
        found = trained.translate([a for a, _ in unseen], beam=beam)
        right = sum(one[0].text == b for one, (_, b) in zip(found, unseen, strict=True))
        assert right > 0.7 * len(unseen)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("attention", ["dot", "additive", "none"])
def test_every_kind_learns(cell, attention):
    translator = build(PAIRS, cell=cell, attention=attention, n_layers=2 if cell == "gru" else 1, dropout=0.05)
    ids = translator.encode(PAIRS)
    before = translator.evaluate(ids)
    list(translator.training(ids, Recipe(n_steps=60, batch_size=32, learning_rate=1e-2, warmup_steps=10)))
    assert translator.evaluate(ids) < 0.75 * before


def test_attention_looks_at_the_word_that_is_translated(trained):
    (found,) = trained.translate(["one two three"], attention=True)
    best = found[0]
    assert best.text == "三二一"
    assert best.source_pieces == ["one", "two", "three"]
    assert best.target_pieces == ["三", "二", "一", "</s>"]
    assert best.attention.shape == (4, 3)
    np.testing.assert_allclose(best.attention.sum(axis=1), 1, rtol=1e-5)


def test_tokens_of_a_picture_are_no_formulas(tmp_path):
    pytest.importorskip("matplotlib")
    plots.plot_attention(np.eye(2), ["$5", "\\frac$"], ["$\\x$", "_$^$"], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes()


def test_n_best_is_sorted_and_reads_differently(trained):
    (found,) = trained.translate(["four five"], beam=6, n_best=6)
    assert len({one.text for one in found}) == len(found) > 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].text == "五四"
    assert found[0].score == pytest.approx(found[0].log_prob / 3)
    assert found[0].attention is None


def test_n_best_has_n_texts_though_some_read_alike(trained):
    """One unknown token and many of them are written as the same word."""
    translator = build(PAIRS)
    translator.model.params["output.1.bias"][[UNKNOWN, END]] += 3
    (found,) = translator.translate(["x"], beam=4, n_best=4)
    ids = translator._search([[UNKNOWN]], 4, 4, None, False, lambda _: None, 0)[0]
    assert len(translator._write(ids, "x", ["x"], True, 4)) < 4
    assert len({one.text for one in found}) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_lines_of_any_kind(trained):
    lines = ["", "  \t", "one", " ".join(["two"] * 500), "猫 one", "ONE ☃ \ud83d", "one"]
    found = [one[0].text for one in trained.translate(lines, beam=2, batch_size=3)]
    assert found[0] == found[1] == ""
    assert found[2] == found[6] == "一"
    assert found[3]
    assert len(found) == len(lines)
    assert trained.translate([]) == []
    alone = [trained.translate([line], beam=2)[0][0].text for line in lines]
    assert alone == found


def test_the_unknown_token_becomes_what_attention_points_at(trained):
    pairs = [(a.replace("nine", "Tom"), b.replace("九", "汤")) for a, b in PAIRS]
    source = Tokens(trained.source.level, tuple(t for t in trained.source.texts if t != "nine"), lower=True)
    target = Tokens(trained.target.level, tuple(t for t in trained.target.texts if t != "九"))
    translator = Translator.build(source, target, embedding_size=16, hidden_size=32, dropout=0.1, seed=1)
    list(translator.training(translator.encode(pairs), RECIPE))
    (found,) = translator.translate(["one Ann three"], attention=True)
    assert found[0].text == "三Ann一"
    assert found[0].target_pieces[1] == "Ann"
    assert translator.translate(["one Ann three"], replace_unknown=False)[0][0].text == "三\ufffd一"
    assert UNKNOWN in translator.target.encode("三九一")


def test_a_word_that_several_unknown_tokens_look_at_is_written_once():
    words = [(0, "Zyzzyva"), (0, "Zyzzyva"), (8, "likes"), (0, "Zyzzyva"), (14, "Tom")]
    assert _copied([UNKNOWN, UNKNOWN, 5, UNKNOWN, UNKNOWN], words) == ["Zyzzyva", "", "likes", "Zyzzyva", "Tom"]


@pytest.mark.parametrize("stop", [1, 37, 60])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stop):
    whole = build(PAIRS)
    recipe = Recipe(n_steps=60, batch_size=32, warmup_steps=5, seed=3)
    losses = [record.loss for record in whole.training(whole.encode(PAIRS), recipe)]

    first = build(PAIRS)
    training = first.training(first.encode(PAIRS), recipe)
    for _ in range(stop):
        next(training)
    first.save_training(tmp_path / "m.elman", training)
    second = Translator.load(tmp_path / "m.elman")
    rest = [r.loss for r in second.training(second.encode(PAIRS), recipe, resume=tmp_path / "m.elman")]
    assert rest == losses[stop:]
    assert second.model.params.flat.tobytes() == whole.model.params.flat.tobytes()


def test_round_trip_through_a_file(trained, tmp_path):
    trained.save(tmp_path / "m.elman", about={"note": "x"})
    again, about, _ = Translator.load_all(tmp_path / "m.elman")
    assert (again.source, again.target, again.max_ratio) == (trained.source, trained.target, trained.max_ratio)
    assert about["note"] == "x"
    assert again.translate(["nine one"])[0][0] == trained.translate(["nine one"])[0][0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda about: about.pop("tokens"),
        lambda about: about["tokens"].pop("source"),
        lambda about: about["tokens"].update(max_ratio="much"),
        lambda about: about["tokens"].update(max_ratio=-1),
        lambda about: about["tokens"]["target"]["texts"].pop(),
        lambda about: about["tokens"]["source"]["texts"].append("ten"),
        lambda about: about.update(task="language"),
        lambda about: about["layer"].update(attention="best"),
        lambda about: about["layer"].update(decoder=about["layer"]["output"]),
    ],
)
def test_damaged_files_are_refused(trained, tmp_path, damage):
    trained.save(tmp_path / "m.elman")
    tensors, about = storage.read(tmp_path / "m.elman")
    about = json.loads(json.dumps(about))
    damage(about)
    storage.write(tmp_path / "m.elman", tensors, {k: v for k, v in about.items() if k != "format"})
    with pytest.raises(ValueError, match=r"m\.elman: (damaged|holds)"):
        Translator.load(tmp_path / "m.elman")


def test_another_kind_of_model_is_no_translator(tmp_path):
    elman.GRU(2, 3).init().save(tmp_path / "m.elman")
    with pytest.raises(ValueError, match="holds a model, but not one that translates"):
        Translator.load(tmp_path / "m.elman")
    with pytest.raises(ValueError, match="is not an EncoderDecoder"):
        Translator(elman.GRU(2, 3).init(), Tokens.learn(["a"]), Tokens.learn(["a"]))


def test_evaluate_is_the_mean_over_tokens_and_ends(trained):
    (ids,) = trained.encode([("one two", "二一")])
    (found,) = trained.translate(["one two"])
    assert found[0].text == "二一"
    assert trained.evaluate([ids]) == pytest.approx(-found[0].log_prob / 3, rel=1e-4)


def test_one_long_pair_does_not_pad_a_whole_batch(trained):
    ids = [*trained.encode(PAIRS[:70]), ([3, 4] * 300, [5] * 40), ([3], [4] * 500)]
    sizes = []

    def watched(batches):
        for batch in batches:
            sizes.append((len(batch.targets), max(batch.targets.shape[1], batch.x.source.shape[1])))
            yield batch

    nats = trained.evaluate(ids, batch_tokens=200, progress=watched)
    assert sum(rows for rows, _ in sizes) == len(ids)
    assert all(rows == 1 or rows * longest <= 200 for rows, longest in sizes)
    assert max(rows for rows, _ in sizes) > 20
    counts = [len(target) + 1 for _, target in ids]
    each = [trained.evaluate([pair]) for pair in ids]
    assert nats == pytest.approx(np.average(each, weights=counts), rel=1e-5)


def test_the_norm_of_length_is_handed_on(trained):
    texts = {}
    for norm in (LengthNorm("none"), LengthNorm("mean"), LengthNorm("gnmt", 0.6)):
        (found,) = trained.translate(["one"], beam=3, norm=norm)
        texts[norm.kind] = found[0]
        length = len(found[0].target_pieces)
        assert found[0].score == pytest.approx(found[0].log_prob / norm(length))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        ({"validation": 1.0}, "validation must be at least 0 and at most 0.9"),
        ({"patience": -1}, "patience must be an int of at least 0"),
        ({"seed": 0.5}, "seed must be an int of at least 0"),
    ],
)
def test_recipes_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**options)


def test_recipes_through_json():
    recipe = Recipe(n_steps=7, patience=3)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    for damaged in (None, {}, {**recipe.to_json(), "n_steps": "7"}, {**recipe.to_json(), "more": 1}):
        with pytest.raises(ValueError, match=r"damaged recipe|must be"):
            Recipe.from_json(damaged)


def test_what_cannot_be_built_or_trained():
    with pytest.raises(ValueError, match="hidden_size must be even"):
        build(PAIRS, hidden_size=33)
    with pytest.raises(ValueError, match="cell must be one of"):
        build(PAIRS, cell="lstn")
    translator = build(PAIRS)
    with pytest.raises(ValueError, match="no pair to train on: all 400 have more than max_tokens = 1"):
        translator.training([([3] * 5, [3] * 5)] * 400, Recipe(max_tokens=1))


def test_the_end_is_never_in_the_middle(trained):
    for found in trained.translate([a for a, _ in PAIRS[:20]], beam=3, n_best=3):
        for one in found:
            assert "</s>" not in one.text
            assert one.target_pieces.index("</s>") == len(one.target_pieces) - 1
    assert END == 2
