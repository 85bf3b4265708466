"""The long-memory task and the comparison on it: what vanishes, what explodes, what is learned."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import elman
from elman.diagnose import gradient_flow
from elman.optim import Adam
from elman.tasks import memory
from elman.tasks.memory import FirstSymbol, accuracy, compare, contenders, exploding, tame
from elman.train import train
from tolerances import assert_same


def test_batches():
    task = FirstSymbol(20, n_symbols=3, n_noise=5, batch_size=400)
    x, symbols, lengths, reset = task.batch(7)
    assert x.shape == (400, 21, 8)
    assert x.dtype == np.float32
    assert (lengths, reset, task.n_batches, task.input_size) == (None, True, None, 8)
    np.testing.assert_array_equal(x[:, 0, :3], np.eye(3)[symbols])
    assert (x[:, 1:, :3] == 0).all()
    assert set(symbols) == {0, 1, 2}
    assert abs(x[:, :, 3:].mean()) < 0.02
    assert abs(x[:, :, 3:].std() - 1) < 0.02


def test_a_batch_depends_on_step_and_seed_only():
    task = FirstSymbol(5, seed=3)
    later = task.batch(9)
    task.batch(2)
    assert_same(task.batch(9)[:2], later[:2])
    assert_same(next(iter(task.from_step(9)))[:2], later[:2])
    assert not np.array_equal(task.batch(10).x, later.x)
    assert not np.array_equal(FirstSymbol(5, seed=4).batch(9).x, later.x)


def test_held_out_rows_are_others():
    task = FirstSymbol(5, batch_size=4)
    held_out = task.held_out(4)
    assert held_out.x.shape == (4, 6, task.input_size)
    assert not any(np.array_equal(held_out.x, task.batch(k).x) for k in range(50))
    assert_same(task.held_out(4)[:2], held_out[:2])


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="FirstSymbol: steps_back must be at least 1, got 0"):
        FirstSymbol(0)


def test_accuracy_and_loss():
    task = FirstSymbol(3, batch_size=6, n_symbols=4)
    batch = task.batch(0)
    model = elman.Sequential(elman.Linear(task.input_size, 4)).init(seed=0)
    y = model(batch.x).y
    assert accuracy(model, batch) == np.mean(y[:, -1].argmax(axis=1) == batch.targets)
    expected = elman.losses.cross_entropy(y[:, -1], batch.targets)
    found = memory.loss(y, batch.targets)
    assert found.value == expected.value
    np.testing.assert_array_equal(found.d_y[:, -1], expected.d_y)
    assert (found.d_y[:, :-1] == 0).all()


@pytest.mark.parametrize("hidden_size", [8, 24])
def test_contenders_are_of_equal_size_and_set_as_they_say(hidden_size):
    task = FirstSymbol(50)
    models = contenders(task, hidden_size=hidden_size, seed=2)
    sizes = {name: model.params.flat.size for name, model in models.items()}
    assert len(sizes) == 5
    assert max(sizes.values()) < 1.08 * min(sizes.values()), sizes
    lstm, gru = models["LSTM, set for 50 steps"], models["GRU, set for 50 steps"]
    H = hidden_size
    assert lstm.layer.layers[0].hidden_size == H
    bias = lstm.params["0.bias_ih"].reshape(4, H)
    np.testing.assert_allclose(bias, np.outer([-math.log(50), math.log(50), 0, 0], np.ones(H)), rtol=1e-6)
    n = gru.layer.layers[0].hidden_size
    np.testing.assert_allclose(gru.params["0.bias_ih"][n : 2 * n], math.log(50), rtol=1e-6)
    assert (models["LSTM, forget bias 1"].params["0.bias_ih"][H : 2 * H] == 1).all()
    assert (models["GRU, update bias 0"].params["0.bias_ih"] == 0).all()


def test_the_exploding_one():
    model = exploding(FirstSymbol(30), radius=1.5)
    radius = np.abs(np.linalg.eigvals(model.params["0.weight_hh"])).max()
    assert radius == pytest.approx(1.5, rel=1e-5)


def test_gradients_at_initialisation():
    """The tanh RNN, and an LSTM or GRU whose gates forget, lose it; those set for the task keep it; one explodes."""
    task = FirstSymbol(100)
    result = compare(task, n_updates=0)
    flows = {contender.name: contender.before for contender in result.contenders}
    for name in ("RNN, tanh", "LSTM, forget bias 1", "GRU, update bias 0"):
        assert flows[name].verdict == "vanishing"
        assert flows[name].memory_steps < 50
    for name in ("LSTM, set for 100 steps", "GRU, set for 100 steps"):
        assert flows[name].verdict == "healthy"
        assert flows[name].memory == "at least 101"
        assert 0.1 < flows[name].surviving[100] < 1
    assert flows["RNN, tanh"].surviving[100] < 1e-9
    assert result.exploding.verdict == "exploding"
    assert result.exploding.surviving[100] > 1000
    assert result.taming is None
    assert all(contender.after is None and contender.losses.size == 0 for contender in result.contenders)
    model = contenders(task)["RNN, tanh"]
    again = gradient_flow(model, task.held_out(32), loss=memory.loss)["0"]
    np.testing.assert_array_equal(again.surviving, flows["RNN, tanh"].surviving)


def test_an_lstm_with_a_forget_bias_of_one_forgets_too():
    """Without recurrent and input weights exactly sigmoid(1)^k is left: 0.73 a step, 2e-14 after 100."""
    task = FirstSymbol(100)
    model = contenders(task)["LSTM, forget bias 1"].astype(np.float64)
    model.params["0.weight_hh"] = 0
    model.params["0.weight_ih"] = 0
    model.params["0.bias_ih"][:24] = -40  # the input gate shut
    flow = gradient_flow(model, task.held_out(2), loss=memory.loss)["0"]
    sigmoid = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(flow.surviving, sigmoid ** np.arange(102), rtol=1e-6)
    assert flow.memory_steps == math.floor(math.log(0.01) / math.log(sigmoid)) == 14


def test_clipping_tames_what_explodes():
    seen = []

    def track(records, label):
        seen.append(label)
        return records

    result = tame(FirstSymbol(30, n_symbols=4), n_updates=150, track=track)
    c = result.curves
    assert len(c.norms) == len(c.losses) == len(c.free_norms) == 150
    assert c.norms[:50].min() > 10  # it explodes
    np.testing.assert_allclose(c.clipped_norms, np.minimum(c.norms, 1.0), rtol=1e-12)
    assert c.norms[0] == c.free_norms[0]  # the same weights and batches
    assert c.chance == math.log(4)
    assert c.losses[-20:].mean() < 0.3
    assert result.accuracy > 0.95
    assert c.free_losses[-20:].mean() > 1.3  # without clipping it only guesses
    assert result.free_accuracy < 0.4
    assert result.stopped == ""
    assert seen == ["exploding RNN, clipped", "exploding RNN, not clipped"]


def test_a_training_that_breaks_off_is_told(monkeypatch):
    monkeypatch.setattr(memory, "SGD", lambda _: elman.optim.SGD(1e38))
    result = tame(FirstSymbol(4), n_updates=10)
    assert result.stopped.startswith("train: step ")
    assert len(result.curves.free_losses) < 10


def test_the_short_of_it_can_be_learned():
    task = FirstSymbol(25, n_symbols=4)
    right = {}
    for name, model in contenders(task, hidden_size=16).items():
        list(train(model, task, loss=memory.loss, optimizer=Adam(0.01), clip_norm=1.0, n_steps=130))
        right[name] = accuracy(model, task.held_out(300))
    assert right["LSTM, set for 25 steps"] > 0.95
    assert right["GRU, set for 25 steps"] > 0.95
    assert right["GRU, update bias 0"] < 0.5


@pytest.fixture(scope="module")
def result():
    return compare(FirstSymbol(12, n_symbols=4, batch_size=8), n_updates=3, hidden_size=6)


def test_comparison_is_repeatable(result):
    again = compare(FirstSymbol(12, n_symbols=4, batch_size=8), n_updates=3, hidden_size=6)
    assert json.dumps(again.as_dict()) == json.dumps(result.as_dict())
    other = compare(FirstSymbol(12, n_symbols=4, batch_size=8), n_updates=3, hidden_size=6, seed=1)
    assert json.dumps(other.as_dict()) != json.dumps(result.as_dict())


def test_comparison_in_words_and_numbers(result):
    lines = str(result).splitlines()
    assert lines[0] == "Name the first of 4 symbols after 12 steps of noise (guessing: 25% right)"
    for contender in result.contenders:
        assert any(line.startswith(contender.name) and line.endswith(f"{contender.accuracy:.0%}") for line in lines)
    assert "At first a forget bias of 1 keeps 73% of an LSTM's cell at each step: 0.73^12 = 2e-02 over all." in lines
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert content["task"] == {"steps_back": 12, "n_symbols": 4, "n_noise": 8, "batch_size": 8, "seed": 0}
    assert [c["name"] for c in content["contenders"]] == [c.name for c in result.contenders]
    assert len(content["contenders"][0]["losses"]) == 3
    assert content["contenders"][0]["before"]["surviving"] == result.contenders[0].before.surviving.tolist()
    assert content["taming"]["norms"] == result.taming.curves.norms.tolist()


def test_comparison_is_drawn(result, tmp_path):
    pytest.importorskip("matplotlib")
    result.plot(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").stat().st_size > 50_000


@pytest.mark.slow
def test_the_whole_comparison():
    result = compare()
    right = {contender.name: contender.accuracy for contender in result.contenders}
    assert right["LSTM, set for 100 steps"] > 0.95
    assert right["GRU, set for 100 steps"] > 0.95
    assert max(right[name] for name in ("RNN, tanh", "LSTM, forget bias 1", "GRU, update bias 0")) < 0.4
    assert result.taming.accuracy > 0.95
    assert result.taming.free_accuracy < 0.3
