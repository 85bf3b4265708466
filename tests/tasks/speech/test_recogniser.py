"""Recognisers: they learn, they go on to the bit, whole files and pieces agree, files are checked."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import RATE, TONES, say

import elman
from elman.ctc import Scorer, log_softmax
from elman.tasks.speech.augment import Augment
from elman.tasks.speech.batches import Utterances
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.live import Live
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser, recipe_from_json, recipe_to_json
from tolerances import assert_same, exactly

RNG = np.random.default_rng


def texts(n, seed):
    rng = RNG(seed)
    return [" ".join(rng.choice(list(TONES), rng.integers(1, 5))) for _ in range(n)]


def test_both_kinds_hear_recordings_they_never_heard(offline, live):
    rng = RNG(7)
    for recogniser in (offline, live):
        right = [recogniser.transcribe(say(text, rng)).text == text for text in texts(20, 8)]
        assert np.mean(right) >= 0.9


def test_words_have_their_times(offline):
    rng = RNG(1)
    silence = rng.normal(0, 0.003, RATE // 2).astype(np.float32)
    spoken = np.concatenate([silence, say("LOW", rng), silence, say("HIGH", rng)])
    found = offline.transcribe(spoken)
    assert found.text == "LOW HIGH"
    low, high = found.words
    assert 0.45 < low.start_seconds < low.stop_seconds < 1.0
    assert 1.1 < high.start_seconds < high.stop_seconds < len(spoken) / RATE + 0.05


def test_other_rates_are_brought_to_its_own(offline):
    assert offline.transcribe(say("LOW MID HIGH", RNG(3), 16000), 16000).text == "LOW MID HIGH"


@pytest.mark.parametrize("samples", [0, 1, 50, 199, 200, 300])
def test_next_to_nothing_is_heard_as_nothing_much(offline, live, samples):
    quiet = np.zeros(samples, np.float32)
    for recogniser in (offline, live):
        found = recogniser.transcribe(quiet)
        assert len(found.words) <= 1
        assert np.isfinite(found.score)
        assert recogniser.transcribe(quiet, width=10).text in ("", *TONES)


def test_the_beam_ranks_transcripts(offline):
    spoken = say("LOW HIGH", RNG(2))
    found = offline.transcripts(spoken, width=20, n_best=5)
    assert found[0].text == "LOW HIGH"
    assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    assert len({t.text for t in found}) == len(found) == 5


CUTS = [1, 7, 80, 100, 799, 4000]


@pytest.mark.parametrize("n", CUTS)
def test_pieces_and_the_whole_agree(live, n):
    """The frames, and so the steps, are the same bits; the network is the same to rounding under the NumPy twin."""
    spoken = say("MID LOW HIGH LOW", RNG(5))[:20_000]
    whole = Live(live)
    first = whole.push(spoken)
    last = whole.end()
    pieces = Live(live)
    final = []
    for k in range(0, len(spoken), n):
        heard = pieces.push(spoken[k : k + n])
        final += heard.final
        assert heard.audio_seconds == pytest.approx(min(k + n, len(spoken)) / RATE)
        assert heard.latency_seconds > 0
    final += pieces.end().final
    assert final == first.final + last.final == whole.text.split() == ["MID", "LOW", "HIGH", "LOW"]
    assert live.transcribe(spoken).text == whole.text


def test_logits_of_pieces_and_of_the_whole(live):
    steps = live.steps([Example(live.front.frames(say("MID LOW", RNG(6))), "")])[0]
    whole = live.model(steps[None]).y[0]
    state, parts = None, []
    for k in range(0, len(steps), 3):
        y, state = live.model(steps[None, k : k + 3], state)
        parts.append(y[0])
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-5)


def test_under_the_native_kernels_pieces_and_the_whole_are_the_same_bits(live):
    pytest.importorskip("elman._native", reason="the native kernels are not built")
    steps = live.steps([Example(live.front.frames(say("MID LOW HIGH", RNG(6))), "")])[0]
    with elman.use_kernels("native"):
        whole = live.model(steps[None]).y[0]
        for n in (1, 2, 3, 7, 50):
            state, parts = None, []
            for k in range(0, len(steps), n):
                y, state = live.model(steps[None, k : k + n], state)
                parts.append(y[0])
            assert_same(np.concatenate(parts), whole)


def test_live_with_a_beam_says_final_only_what_cannot_change(live):
    spoken = say("MID LOW HIGH", RNG(9))
    listener = Live(live, width=8)
    final = []
    for k in range(0, len(spoken), 400):
        final += listener.push(spoken[k : k + 400]).final
        assert final == listener._search.best()[0].labels.tolist() or len(final) <= 3
    final += listener.end().final
    assert final == live.transcribe(spoken, width=8).text.split() == ["MID", "LOW", "HIGH"]


class Ending(Scorer):
    """Favours nothing on the way, and at the end texts of four labels."""

    def row(self, state):
        return np.full(4, state + 1), np.zeros(4)

    def final(self, state):
        return 1000.0 if state == 4 else 0.0


def test_after_its_end_a_listener_says_what_it_decided(live):
    spoken = say("MID LOW HIGH", RNG(9))
    scorer = Ending()
    listener = Live(live, width=20, scorer=scorer)
    listener.push(spoken)
    partial = listener.text
    final = listener.end().final
    assert listener.text.split() == final == live.transcribe(spoken, width=20, scorer=scorer).text.split()
    assert len(final) == 4
    assert partial.split() == ["MID", "LOW", "HIGH"]
    with pytest.raises(ValueError, match="the sound has ended"):
        listener.push(spoken)


def test_recordings_shorter_than_a_frame_are_heard_as_nothing():
    for normal in ("utterance", "speaker", "running"):
        recogniser, examples = small(normal=normal)
        nothing = Example(recogniser.front.frames(np.zeros(10, np.float32)), "", "s9")
        assert nothing.x.shape[0] == 0
        steps = recogniser.steps([*examples, nothing])
        assert steps[-1].shape == (0, recogniser.front.size)
        assert [len(y) for y in recogniser.logits(steps)][-1] == 0
        assert recogniser.transcribe(np.zeros(10, np.float32)).text == ""
    recogniser, examples = small()
    next(recogniser.training([*examples, examples[0]._replace(x=nothing.x, text="")], Recipe(n_epochs=1)))


def test_a_model_that_reads_ahead_cannot_listen_live(offline):
    assert not offline.is_live
    with pytest.raises(ValueError, match="needs a model of one direction"):
        Live(offline)


def test_a_file_holds_the_whole_recogniser(offline, tmp_path):
    offline.save(tmp_path / "m.elman")
    again = Recogniser.load(tmp_path / "m.elman")
    assert (again.front, again.labels) == (offline.front, offline.labels)
    spoken = say("LOW HIGH", RNG(2))
    assert again.transcribe(spoken) == offline.transcribe(spoken)
    elman.LSTM(2, 3).init().save(tmp_path / "other.elman")
    with pytest.raises(
        ValueError, match=exactly(f"{tmp_path}/other.elman: holds a model, but not a recogniser of speech")
    ):
        Recogniser.load(tmp_path / "other.elman")
    for damage in ({"labels": {"symbols": ["A"], "level": "char"}}, {"front": {}}, {"labels": 3}):
        offline.model.save(tmp_path / "bad.elman", about=offline.about(damage), tensors=offline.tensors())
        with pytest.raises(ValueError, match=r"bad\.elman: damaged: "):
            Recogniser.load(tmp_path / "bad.elman")


def small(seed=0, **options):
    front = FrontEnd(rate_hz=RATE, bands=12, **options)
    rng = RNG(seed)
    examples = [Example(front.frames(say(text, rng)), text, f"s{k % 2}") for k, text in enumerate(texts(9, seed))]
    labels = Labels.learn([e.text for e in examples], "word")
    return Recogniser.build(front, labels, examples, hidden_size=5, n_layers=2, dropout=0.3), examples


@pytest.mark.parametrize("normal", ["utterance", "speaker", "running"])
def test_a_training_that_was_stopped_goes_on_to_the_bit(tmp_path, normal):
    recipe = Recipe(n_epochs=4, batch_size=4, warmup_steps=2)
    recogniser, examples = small(normal=normal)
    whole = recogniser.training(examples, recipe)
    losses = [record.loss for record in whole]
    recogniser, examples = small(normal=normal)
    stopped = recogniser.training(examples, recipe)
    first = [next(stopped).loss for _ in range(5)]
    stopped.save(tmp_path / "m.elman")
    recogniser, _ = small(normal=normal)
    resumed = recogniser.training(examples, recipe, resume=tmp_path / "m.elman")
    assert resumed.step == 5
    assert first + [record.loss for record in resumed] == losses
    assert_same(resumed.recogniser.model.params.flat, whole.recogniser.model.params.flat)
    assert_same(resumed.average.model.params.flat, whole.average.model.params.flat)
    in_file = Recogniser.load(tmp_path / "m.elman")
    assert_same(in_file.model.params.flat, stopped.average.model.params.flat)  # the averaged weights are what is used


def test_what_cannot_be_learned_is_named():
    recogniser, examples = small()
    with pytest.raises(ValueError, match=r"^utterance 1: the recogniser cannot write 'LOUD'$"):
        recogniser.training([examples[0], examples[1]._replace(text="LOUD")], Recipe())
    short = examples[0]._replace(x=examples[0].x[:4], text="LOW LOW")
    sentence = (
        "utterance 0 ('LOW LOW'): is too short for its text: the model takes 2 steps of it, and needs 3; leave it out, "
        "or give the front end a smaller stride"
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        recogniser.training([short], Recipe())
    with pytest.raises(ValueError, match="there is no utterance to train on"):
        recogniser.training([], Recipe())


def test_batches_are_a_function_of_the_step_number():
    recogniser, examples = small()
    targets = [recogniser.labels.encode(e.text) for e in examples]
    make = lambda: Utterances(  # noqa: E731
        recogniser.front, [e.x for e in examples], targets, 4, augment=Augment(speed=0.2, noise=0.3), seed=3
    )
    one, two = make(), make()
    for step in (7, 2, 0, 7):
        assert_same(one.batch(step).x, two.batch(step).x)
    epoch = [one.batch(k) for k in range(one.n_in_epoch)]
    assert sum(len(batch.targets) for batch in epoch) == 9
    again = [one.batch(k + one.n_in_epoch) for k in range(one.n_in_epoch)]
    assert any(a.x.shape != b.x.shape or not np.array_equal(a.x, b.x) for a, b in zip(epoch, again, strict=True))


def test_a_recipe_survives_json_and_is_checked():
    recipe = Recipe(n_epochs=3, noise=0.5)
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    for damage in ({"n_epochs": 0}, {"n_epochs": 2.5}, {"noise": -1}, {"seed": True}, {"average": 1.0}):
        with pytest.raises(ValueError, match=r"Recipe|recipe"):
            recipe_from_json({**recipe_to_json(recipe), **damage})
    train, held = Recipe(validation=0.25).split([Example(np.zeros((1, 1)), str(k)) for k in range(8)])
    assert ([e.text for e in held], len(train)) == (["0", "7"], 6)


def test_labels():
    letters = Labels.learn(["AB", "B A"])
    assert letters.symbols == (" ", "A", "B")
    assert letters.encode("A B").tolist() == [2, 1, 3]
    assert letters.decode([2, 1, 3]) == "A B"
    with pytest.raises(ValueError, match=exactly("text: the recogniser cannot write 'C', 'D'")):
        letters.encode("ACD")
    with pytest.raises(ValueError, match="none of them twice"):
        Labels(("A", "A"))
    with pytest.raises(ValueError, match="must be single chars"):
        Labels(("AB",))
    assert Labels.from_json(letters.to_json()) == letters


def test_posteriors_are_probabilities(offline):
    log_p = offline.posteriors(offline.front.frames(say("LOW", RNG(1))))
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-12)
    assert_same(log_softmax(log_p), log_softmax(log_p.copy()))
