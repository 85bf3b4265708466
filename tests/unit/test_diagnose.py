"""Diagnosis: the gradients are the true ones, the figures are exact, the words fit."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest

import elman
from elman import GRU, LSTM, RNN, Batch, Bidirectional, Dropout, Embedding, Linear, Model, Residual, Sequential
from elman.diagnose import LayerFlow, gradient_flow, locate_nonfinite, state_jacobian
from elman.layers import Recurrent
from elman.losses import Loss, at_last_step, cross_entropy, mean_squared_error
from elman.optim import clip_by_global_norm
from tolerances import GRADIENT
from zoo import random_params

EPS = 1e-6


def squares(y, targets, *, lengths=None):
    """Half the sum of squared differences, over the valid steps: a loss that is a plain sum over rows and steps."""
    difference = y - targets
    if lengths is not None:
        difference = np.where((np.arange(y.shape[1]) < np.asarray(lengths)[:, None])[:, :, None], difference, 0)
    return Loss(float((difference**2).sum()) / 2, difference)


def random_model(layer, seed=0):
    return Model(layer, random_params(layer, seed=seed))


# ----------------------------------------------------------------- the gradients, against pushing one state at a time


def pushed(layer, params, x, t, field, row, unit, eps):
    """Return the outputs of a recurrent layer if one number of the state after step t (-1: before step 0) is pushed."""
    if layer.reverse:
        turned = dataclasses.replace(layer, reverse=False)
        return pushed(turned, params, x[:, ::-1], t, field, row, unit, eps)[:, ::-1]
    model = Model(layer, params)
    head, state, tape = model.forward(x[:, : t + 1], model.zero_state(len(x)))
    head, state = head.copy(), type(state)(*(array.copy() for array in state))
    getattr(state, field)[row, unit] += eps
    if t >= 0:
        if field == "c":  # h_t is made of c_t
            output_gate = np.split(tape.layer[0].gates[t], 4, axis=1)[3]
            state = state._replace(h=output_gate * np.tanh(state.c))
        head[:, t] = state.h
    return np.concatenate([head, model(x[:, t + 1 :], state).y], axis=1)


def pushed_gradient(model, path, x, loss_of_y, t, field):
    """Return d(loss)/d(state after the layer's own t-th step) by central differences, (B, H)."""
    k, _, direction = path.partition(".")
    layers = model.layer.layers
    below = Model(Sequential(*layers[: int(k)]), sub(model, 0, int(k)))(x).y if int(k) else x
    layer, params = layers[int(k)], model.params.child(k)
    above = Sequential(*layers[int(k) + 1 :])
    halves = layer.children() if direction else {"": layer}
    H = halves[direction].hidden_size
    d = np.zeros((len(x), H))

    def loss(eps, row, unit):
        parts = []
        for name, half in halves.items():
            own = params.child(name) if name else params
            size = eps if name == direction else 0.0
            parts.append(pushed(half, own, below, t, field, row, unit, size))
        y = np.concatenate(parts, axis=2)
        return loss_of_y(Model(above, sub(model, int(k) + 1, len(layers)))(y).y)

    for row, unit in np.ndindex(*d.shape):
        d[row, unit] = (loss(EPS, row, unit) - loss(-EPS, row, unit)) / (2 * EPS)
    return d


def sub(model, first, last):
    """Return the parameters of layers first to last of a Sequential, as those of a Sequential of these."""
    part = Sequential(*model.layer.layers[first:last]).init(dtype=np.float64).params
    for name in part:
        k, _, inner = name.partition(".")
        part[name] = model.params[f"{int(k) + first}.{inner}"]
    return part


STACKS = {
    "rnn": lambda: Sequential(RNN(3, 4), Linear(4, 2)),
    "rnn-relu": lambda: Sequential(RNN(3, 4, activation="relu"), Linear(4, 2)),
    "lstm": lambda: Sequential(LSTM(3, 4), Linear(4, 2)),
    "gru": lambda: Sequential(GRU(3, 4), Linear(4, 2)),
    "gru-before": lambda: Sequential(GRU(3, 4, reset_after=False), Linear(4, 2)),
    "lstm-reverse": lambda: Sequential(LSTM(3, 4, reverse=True), Linear(4, 2)),
    "bidirectional": lambda: Sequential(Bidirectional(LSTM(3, 2)), Bidirectional(GRU(4, 3)), Linear(6, 2)),
    "stack": lambda: Sequential(GRU(3, 3), Dropout(0.5), LSTM(3, 2), Linear(2, 2)),
}


@pytest.mark.parametrize("name", STACKS)
def test_norms_are_those_of_the_true_gradients(name):
    model = random_model(STACKS[name]())
    rng = np.random.default_rng(3)
    T, x, targets = 4, rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 2))
    flow = gradient_flow(model, (x, targets), loss=squares)
    assert flow.loss == pytest.approx(squares(model(x).y, targets).value)
    for layer in flow.layers:
        end = 0 if layer.layer.reverse else T - 1
        for field in layer.norms:
            for t in range(-1, T):  # in the order in which the layer itself walks
                at = T - 1 - t if layer.layer.reverse else t + 1
                whole = pushed_gradient(model, layer.name, x, lambda y: squares(y, targets).value, t, field)
                assert layer.norms[field][at] == pytest.approx(np.linalg.norm(whole), rel=GRADIENT, abs=1e-9)
                alone = pushed_gradient(
                    model, layer.name, x, lambda y, e=end: squares(y[:, [e]], targets[:, [e]]).value, t, field
                )
                assert layer.norms_back[field][T - 1 - t] == pytest.approx(
                    np.linalg.norm(alone), rel=GRADIENT, abs=1e-9
                )


def test_the_oracle_can_see_a_wrong_gradient():
    model = random_model(STACKS["lstm"]())
    rng = np.random.default_rng(3)
    x, targets = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 2))
    norms = gradient_flow(model, (x, targets), loss=squares)["0"].norms["h"]
    other = pushed_gradient(model, "0", x, lambda y: squares(y, targets).value, 1, "h")
    assert abs(np.linalg.norm(other) - norms[3]) > 1e-3


@pytest.mark.parametrize("name", STACKS)
def test_a_ragged_batch_is_its_rows(name):
    model = random_model(STACKS[name]())
    rng = np.random.default_rng(4)
    lengths = [3, 6, 0, 1, 6]
    x = [rng.standard_normal((n, 3)) for n in lengths]
    targets = [rng.standard_normal((n, 2)) for n in lengths]
    flow = gradient_flow(model, (x, targets), loss=squares)
    padded, _ = elman.sequences.pad(x, np.float64)
    padded_targets, _ = elman.sequences.pad(targets, np.float64)
    for row, n in enumerate(lengths):
        padded[row, n:] = np.nan
    same = gradient_flow(model, Batch(padded, padded_targets, np.array(lengths)), loss=squares)
    singles = [
        gradient_flow(model, (a[None], b[None]), loss=squares) for a, b in zip(x, targets, strict=True) if len(a)
    ]
    for layer, again, *rows in zip(flow.layers, same.layers, *(single.layers for single in singles), strict=True):
        for field in layer.norms:
            np.testing.assert_array_equal(layer.norms[field], again.norms[field])
            assert layer.norms[field].shape == (7,)
            for ours, theirs in ((layer.norms, "norms"), (layer.norms_back, "norms_back")):
                total = np.zeros(7)
                for row in rows:
                    norm = getattr(row, theirs)[field]
                    total[: len(norm)] += norm**2
                np.testing.assert_allclose(ours[field], np.sqrt(total), rtol=1e-12, atol=1e-15)
        longest = [row for row in rows if row.n_steps == 6]
        for k in (4, 6):  # only the longest rows reach so far back
            share = max(
                math.sqrt(sum(row.norms_back[f][k] ** 2 for row in longest))
                / math.sqrt(sum(row.norms_back[f][0] ** 2 for row in longest))
                for f in layer.norms
            )
            assert layer.surviving[k] == pytest.approx(share, rel=1e-12)
        assert layer.surviving[0] == pytest.approx(1, rel=1e-15)


def test_forms_of_a_batch_agree():
    model = random_model(STACKS["stack"]())
    rng = np.random.default_rng(5)
    x, targets = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    flows = [
        gradient_flow(model, batch)
        for batch in (
            (x, targets),
            (x[None], targets[None]),
            Batch(x[None], targets[None]),
            ([x], [targets]),
            (x[None], targets[None], [5]),
        )
    ]
    expected = mean_squared_error(model(x).y, targets).value
    for flow in flows:
        assert flow.loss == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(flow["2"].norms["c"], flows[0]["2"].norms["c"], rtol=1e-13)


def test_losses_by_default():
    model = random_model(Sequential(Embedding(7, 3), LSTM(3, 4), Linear(4, 5)))
    rng = np.random.default_rng(6)
    ids, targets = rng.integers(7, size=(3, 4)), rng.integers(5, size=(3, 4))
    y = model(ids).y
    assert gradient_flow(model, (ids, targets)).loss == pytest.approx(cross_entropy(y, targets).value)
    assert gradient_flow(model, (ids, targets[:, -1])).loss == pytest.approx(
        cross_entropy(y[:, -1], targets[:, -1]).value
    )
    last = rng.standard_normal((3, 5))
    assert gradient_flow(model, (ids, last)).loss == pytest.approx(mean_squared_error(y[:, -1], last).value)
    assert gradient_flow(model, ids).loss == pytest.approx(y[:, -1].sum())
    lengths = np.array([2, 4, 0])
    flow = gradient_flow(model, Batch(ids, None, lengths))
    assert flow.loss == pytest.approx(y[0, 1].sum() + y[1, 3].sum())
    assert gradient_flow(model, list(ids)).loss == pytest.approx(y[:, -1].sum())
    scalar = gradient_flow(model, ([row[:n] for row, n in zip(ids, (2, 4, 1), strict=True)], [1, 0, 4]))
    assert scalar.loss == pytest.approx(
        np.mean([cross_entropy(y[r, n], t).value for r, n, t in ((0, 1, 1), (1, 3, 0), (2, 0, 4))])
    )


def test_a_loss_that_does_not_look_at_the_last_step_is_replaced_by_the_outputs_there():
    model = random_model(STACKS["gru"]())
    x = np.random.default_rng(7).standard_normal((2, 4, 3))

    def early(y, targets, *, lengths=None):
        d_y = np.zeros_like(y)
        d_y[:, 0] = 1
        return Loss(float(y[:, 0].sum()), d_y)

    flow = gradient_flow(model, (x, None), loss=early)
    np.testing.assert_allclose(flow["0"].norms_back["h"], gradient_flow(model, x)["0"].norms["h"][::-1], rtol=1e-13)
    assert (flow["0"].norms["h"][2:] == 0).all()


def test_at_last_step():
    y = np.arange(24.0).reshape(2, 3, 4)
    loss = at_last_step(cross_entropy)
    value, d_y = loss(y, np.array([1, 2]), lengths=[2, 3])
    expected = cross_entropy(y[[0, 1], [1, 2]], np.array([1, 2]))
    assert value == expected.value
    np.testing.assert_array_equal(d_y[[0, 1], [1, 2]], expected.d_y)
    assert np.count_nonzero(d_y) == np.count_nonzero(expected.d_y)
    np.testing.assert_array_equal(loss(y, np.array([1, 2])).d_y[:, :2], 0)
    assert loss(y, np.array([1, 2]), lengths=[0, 3]).value == cross_entropy(y[1, 2], np.array(2)).value


def test_it_is_computed_in_double_and_changes_nothing():
    model = Sequential(LSTM(3, 4), Linear(4, 2)).init(seed=0)
    before = model.params.flat.copy()
    x = np.random.default_rng(8).standard_normal((2, 900, 3)).astype(np.float32)
    flow = gradient_flow(model, x)
    np.testing.assert_array_equal(model.params.flat, before)
    assert model.params.dtype == np.float32
    assert 0 < flow["0"].surviving[-1] < 1e-45  # below what float32 can hold


# ------------------------------------------------------------------------------------------------------ exact figures


def diagonal_rnn(diagonal, **options):
    """Return an RNN without input and bias, whose units see only themselves."""
    model = RNN(1, len(diagonal), **options).init(dtype=np.float64)
    model.params.flat[:] = 0
    model.params["weight_hh"] = np.diag(diagonal)
    return model


def test_d5_vanishing_and_exploding_units():
    model = diagonal_rnn([0.5, 1.1, 0.9])
    flow = gradient_flow(model, np.zeros((1, 50, 1)))[0]
    np.testing.assert_allclose(flow.unit_norms, [8.881784e-16, 117.3909, 5.153775e-3], rtol=1e-6)
    np.testing.assert_allclose(flow.unit_norms, np.array([0.5, 1.1, 0.9]) ** 50, rtol=1e-13)
    assert flow.vanishing_units == (0,)
    assert flow.exploding_units == (1,)
    assert flow.verdict == "exploding"
    assert "By unit: 1 of 3 (0) is vanishing." in flow.remarks
    assert "By unit: 1 of 3 (1) is exploding." in flow.remarks
    assert flow.spectral_radius == {"h": pytest.approx(1.1)}
    expected = np.sqrt(0.25 ** np.arange(51) + 1.21 ** np.arange(51) + 0.81 ** np.arange(51))
    np.testing.assert_allclose(flow.norms["h"][::-1], expected, rtol=1e-13)
    assert flow.dead_units == ()  # the input is constant, so that the outputs are, too, says nothing
    np.testing.assert_allclose(state_jacobian(model, np.zeros((50, 1))), np.diag([0.5, 1.1, 0.9]) ** 50, rtol=1e-13)


def test_d5_in_float32():
    model = diagonal_rnn([0.5, 1.1, 0.9]).astype(np.float32)
    flow = gradient_flow(model, np.zeros((1, 50, 1)))[0]
    np.testing.assert_allclose(flow.unit_norms, [8.881784e-16, 117.3909, 5.153775e-3], rtol=2e-6)


def test_d1_the_norm_and_what_is_left_of_it():
    """Norms whose squares leave the range of the type: while clipping, and along 5000 exploding steps."""
    g = np.full(100, 1e20, np.float32)
    found = clip_by_global_norm([g], 1.0)
    assert found.norm == pytest.approx(1e21, rel=1e-6)
    np.testing.assert_allclose(g, 0.1, rtol=1e-6)
    flow = gradient_flow(diagonal_rnn([1.1]), np.zeros((1, 5000, 1)))[0]
    assert flow.surviving[-1] == pytest.approx(math.exp(5000 * math.log(1.1)), rel=1e-9)
    assert flow.surviving[-1] > 1e200  # whose square is no double


def test_c8_the_gradient_that_truncation_cuts_off():
    model = diagonal_rnn([0.5], activation="relu")
    model.params["weight_ih"] = 1
    x = np.ones((1, 4, 1))
    flow = gradient_flow(model, x)[0]
    np.testing.assert_array_equal(flow.norms["h"], [0.0625, 0.125, 0.25, 0.5, 1])
    h = np.concatenate([[0], model(x).y[0, :, 0]])
    np.testing.assert_array_equal(h, [0, 1, 1.5, 1.75, 1.875])
    terms = flow.norms["h"][1:] * h[:-1]  # d(loss)/d(weight_hh) of each step
    assert [terms[-k:].sum() for k in (4, 2, 1)] == [2.75, 2.5, 1.75]
    _, _, tape = model.forward(x)
    d_y = np.zeros((1, 4, 1))
    d_y[0, -1] = 1
    assert model.backward(tape, d_y).grads["weight_hh"][0, 0] == 2.75


def memory_of(a):
    return math.floor(math.log(0.01) / math.log(a))


@pytest.mark.parametrize("a", [0.3, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_memory_of_a_linear_network(a):
    model = diagonal_rnn([a] * 4, activation="relu")
    model.params["weight_ih"] = 1
    flow = gradient_flow(model, np.random.default_rng(0).random((3, 500, 1)))[0]
    assert flow.memory_steps == memory_of(a)
    assert flow.memory == str(memory_of(a))
    assert flow.factor_per_step == pytest.approx(a)
    np.testing.assert_allclose(flow.surviving, a ** np.arange(501), rtol=1e-10)


def test_memory_at_the_border():
    model = diagonal_rnn([0.1], activation="relu")
    model.params["weight_ih"] = 1
    assert gradient_flow(model, np.ones((1, 5, 1)))[0].memory_steps == 2  # exactly 1 %


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
def test_memory_of_an_lstm_is_that_of_its_cell(keep):
    """With no recurrent weights the path of h ends at once, and that of c is multiplied by the forget gate."""
    model = LSTM(1, 3).init(dtype=np.float64)
    model.params.flat[:] = 0
    model.params["bias_ih"][3:6] = math.log(keep / (1 - keep))
    flow = gradient_flow(model, np.zeros((2, 600, 1)))[0]
    np.testing.assert_allclose(flow.surviving, keep ** np.arange(601), rtol=1e-9)
    assert flow.memory_steps == memory_of(keep)
    assert (flow.norms_back["h"][1:] == 0).all()
    np.testing.assert_allclose(flow.unit_norms, keep**600, rtol=1e-9)


def test_memory_of_a_gru():
    model = GRU(1, 3).init(dtype=np.float64)
    model.params.flat[:] = 0
    model.params["bias_ih"][3:6] = math.log(9)
    flow = gradient_flow(model, np.zeros((2, 100, 1)))[0]
    np.testing.assert_allclose(flow.surviving, 0.9 ** np.arange(101), rtol=1e-9)
    assert flow.memory_steps == 43


def test_memory_that_outlasts_the_batch():
    flow = gradient_flow(diagonal_rnn([0.99]), np.zeros((1, 20, 1)))[0]
    assert (flow.memory_steps, flow.memory, flow.verdict) == (20, "at least 20", "healthy")
    assert flow.remedy == ""
    assert "At all 20 steps back" in flow.explanation


def test_memory_in_reverse_is_read_from_the_other_end():
    forward, reverse = diagonal_rnn([0.5]), diagonal_rnn([0.5], reverse=True)
    x = np.zeros((1, 8, 1))
    first, second = gradient_flow(forward, x)[0], gradient_flow(reverse, x)[0]
    np.testing.assert_array_equal(first.surviving, second.surviving)
    both = Bidirectional(RNN(1, 1)).init(dtype=np.float64)
    both.params.flat[:] = 0
    both.params["forward.weight_hh"], both.params["reverse.weight_hh"] = 0.5, 0.25
    flow = gradient_flow(both, x)
    assert [layer.name for layer in flow.layers] == ["forward", "reverse"]
    np.testing.assert_array_equal(flow["forward"].surviving, 0.5 ** np.arange(9))
    np.testing.assert_array_equal(flow["reverse"].surviving, 0.25 ** np.arange(9))


# --------------------------------------------------------------------------------------------------------- jacobian

CELLS = [
    RNN(2, 3),
    LSTM(2, 3),
    GRU(2, 3),
    GRU(2, 3, reset_after=False),
    Sequential(LSTM(2, 2), GRU(2, 3), Linear(3, 1)),
    Bidirectional(RNN(2, 2)),
]


@pytest.mark.parametrize("layer", CELLS, ids=repr)
def test_state_jacobian_against_differences(layer):
    model = random_model(layer)
    x = np.random.default_rng(9).standard_normal((5, 2))
    leaves = [leaf for _, leaf in elman.trees.tree_leaves(model.zero_state(1))]
    sizes = [leaf.shape[1] for leaf in leaves]
    S = sum(sizes)

    def tree(flat):
        parts = iter(np.split(flat[None], np.cumsum(sizes)[:-1], axis=1))
        return elman.trees.tree_map(lambda _: next(parts), model.zero_state(1))

    def end(flat):
        return np.concatenate([leaf[0] for _, leaf in elman.trees.tree_leaves(model(x[None], tree(flat)).state)])

    start = np.random.default_rng(10).standard_normal(S) / 2
    expected = np.zeros((S, S))
    for j in range(S):
        step = np.zeros(S)
        step[j] = EPS
        expected[:, j] = (end(start + step) - end(start - step)) / (2 * EPS)
    np.testing.assert_allclose(state_jacobian(model, x, tree(start)), expected, atol=1e-8)
    assert state_jacobian(model, x).shape == (S, S)


def test_state_jacobian_is_the_product_of_those_of_each_step():
    model = random_model(LSTM(2, 3))
    x = np.random.default_rng(11).standard_normal((4, 2))
    product, state = np.eye(6), model.zero_state(1)
    for t in range(4):
        product = state_jacobian(model, x[t : t + 1], state) @ product
        state = model(x[None, t : t + 1], state).state
    np.testing.assert_allclose(state_jacobian(model, x), product, atol=1e-14)


def test_state_jacobian_refuses():
    with pytest.raises(ValueError, match=r"x must be one sequence, .* got shape \(2, 4, 2\)"):
        state_jacobian(RNN(2, 3).init(), np.zeros((2, 4, 2)))
    with pytest.raises(TypeError, match="has no state"):
        state_jacobian(Linear(2, 3).init(), np.zeros((4, 2)))
    tokens = state_jacobian(RNN(7, 3, token_input=True).init(), np.array([1, 2]))
    assert tokens.shape == (3, 3)


# ------------------------------------------------------------------------------------------ gates, units, eigenvalues


def silent(layer, biases):
    """Return a model whose gates are what its biases make them: all weights are 0."""
    model = layer.init(dtype=np.float64)
    model.params.flat[:] = 0
    H = layer.hidden_size
    for name, bias in biases.items():
        g = layer.gate_names.index(name)
        model.params["bias_ih"][g * H : (g + 1) * H] = bias
    return model


def test_saturation_of_an_lstm():
    model = silent(LSTM(1, 4), {"i": [-9, 9, 0, 0], "f": [9, 9, 9, 0], "g": [-9, 9, 9, 0], "o": 2.9})
    flow = gradient_flow(model, Batch(np.zeros((2, 9, 1)), None, [9, 2]))[0]
    assert flow.saturation["i"] == (0.25, 0.25)
    assert flow.saturation["f"] == (0, 0.75)
    assert flow.saturation["g"] == (0.25, 0.5)
    assert flow.saturation["o"] == (0, 0)  # sigmoid(2.9) = 0.948
    assert flow.saturation["i"].total == 0.5
    assert 0 < flow.saturation["c"].high < 0.5
    assert flow.dead_units == (0, 1, 2)  # g is stuck
    assert any("Saturated: g is at the end of its range in 75% of all steps." in remark for remark in flow.remarks)
    assert not any("Saturated: f" in remark for remark in flow.remarks)  # a forget gate near 1 remembers


def test_saturation_of_rnn_and_gru():
    x = np.zeros((2, 3, 1))
    assert gradient_flow(silent(RNN(1, 2), {"h": [9, -9]}), x)[0].saturation["h"] == (0.5, 0.5)
    sigmoid = gradient_flow(silent(RNN(1, 4, activation="sigmoid"), {"h": [9, -9, 0, -9]}), x)[0]
    assert sigmoid.saturation["h"] == (0.5, 0.25)
    relu = gradient_flow(silent(RNN(1, 4, activation="relu"), {"h": [-1, 1, 99, 0.5]}), x)[0]
    assert relu.saturation["h"] == (0.25, 0)
    assert relu.dead_units == (0,)
    gru = gradient_flow(silent(GRU(1, 2), {"r": [-9, 0], "z": [9, -9], "n": [0, 9]}), x)[0]
    assert {gate: tuple(s) for gate, s in gru.saturation.items()} == {"r": (0.5, 0), "z": (0.5, 0.5), "n": (0, 0.5)}
    assert gru.dead_units == (1,)


def test_padding_counts_nowhere():
    model = random_model(Sequential(LSTM(2, 3), GRU(3, 2)))
    x = 20 * np.random.default_rng(12).standard_normal((3, 6, 2))
    lengths = [6, 2, 4]
    padded = x.copy()
    for row, n in enumerate(lengths):
        padded[row, n:] = np.nan
    one, two = (gradient_flow(model, Batch(values, None, lengths)) for values in (x, padded))
    assert json.dumps(one.as_dict()) == json.dumps(two.as_dict())
    rows = [gradient_flow(model, x[k : k + 1, :n])["0"] for k, n in enumerate(lengths)]
    for gate, share in one["0"].saturation.items():
        low = sum(row.saturation[gate].low * row.n_steps for row in rows) / sum(lengths)
        high = sum(row.saturation[gate].high * row.n_steps for row in rows) / sum(lengths)
        assert share == pytest.approx((low, high))


def test_dead_units():
    rng = np.random.default_rng(13)
    model = random_model(RNN(2, 4))
    model.params["weight_ih"][2], model.params["weight_hh"][2] = 0, 0  # sees nothing, but its bias
    model.params["weight_ih"][3], model.params["bias_ih"][3] = 0, 50  # saturated
    flow = gradient_flow(model, rng.standard_normal((3, 8, 2)))[0]
    assert flow.dead_units == (2, 3)
    assert any(remark.startswith("Dead units: 2 of 4 (2, 3) are constant") for remark in flow.remarks)
    assert "lower the learning rate" in flow.remedy
    shut = random_model(LSTM(2, 4))
    shut.params["bias_ih"][12 + 1] = -60  # the output gate of unit 1
    assert gradient_flow(shut, rng.standard_normal((3, 8, 2)))[0].dead_units == (1,)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_reverse_layer_is_a_forward_one_on_the_reversed_input(kind):
    forward = random_model(kind(2, 4))
    forward.params["weight_ih"][2::4], forward.params["weight_hh"][2::4] = 0, 0
    reverse = Model(dataclasses.replace(forward.layer, reverse=True), forward.params)
    x = 2 * np.random.default_rng(18).standard_normal((3, 5, 2))
    zero = np.zeros((3, 5, 4))
    one = gradient_flow(forward, (x, zero), loss=squares)[0]
    two = gradient_flow(reverse, (x[:, ::-1], zero), loss=squares)[0]
    assert one.saturation == two.saturation
    assert any(share.total > 0 for share in one.saturation.values())
    assert one.dead_units == two.dead_units
    assert kind is not RNN or one.dead_units == (2,)
    np.testing.assert_allclose(one.surviving, two.surviving, rtol=1e-12)
    for name, norm in one.norms.items():
        np.testing.assert_allclose(norm, two.norms[name][::-1], rtol=1e-12)


def test_spectral_radius_by_gate():
    model = random_model(GRU(2, 5))
    flow = gradient_flow(model, np.zeros((1, 2, 2)))[0]
    for g, gate in enumerate("rzn"):
        block = model.params["weight_hh"][5 * g : 5 * g + 5]
        assert flow.spectral_radius[gate] == pytest.approx(np.abs(np.linalg.eigvals(block)).max())
    fresh = gradient_flow(LSTM(2, 8).init(), np.zeros((1, 2, 2)))[0]
    assert set(fresh.spectral_radius) == set("ifgo")
    np.testing.assert_allclose(list(fresh.spectral_radius.values()), 1, rtol=1e-6)  # orthogonal


# ------------------------------------------------------------------------------------------------------------ walking


def test_layers_by_name():
    model = random_model(
        Sequential(
            Embedding(7, 4),
            Residual(Sequential(Linear(4, 3), GRU(3, 4))),
            Dropout(0.5),
            Residual(LSTM(4, 4)),
            Sequential(Bidirectional(RNN(4, 2)), Linear(4, 4)),
        )
    )
    ids = np.random.default_rng(14).integers(7, size=(2, 6))
    flow = gradient_flow(model, ids)
    assert [layer.label for layer in flow.layers] == ["1.1 GRU", "3 LSTM", "4.0.forward RNN", "4.0.reverse RNN"]
    assert flow["3"].layer == LSTM(4, 4)
    assert flow[0] is flow["1.1"]
    with pytest.raises(KeyError, match=r"no recurrent layer '7'; there are '1.1', '3', '4.0.forward', '4.0.reverse'"):
        flow["7"]
    assert gradient_flow(RNN(2, 3).init(), np.zeros((1, 2, 2)))[""].label == "RNN"


def test_residual_is_the_layer_inside():
    inner, x = LSTM(3, 3), np.random.default_rng(15).standard_normal((2, 5, 3))
    targets = np.zeros((2, 5, 3))
    around = random_model(Sequential(Residual(inner), Linear(3, 3)))
    y, _, tape = around.forward(x)
    d = around.backward(tape, squares(y, targets).d_y)
    flow = gradient_flow(around, (x, targets), loss=squares)["0"]
    expected = np.linalg.norm(d.d_states[0].h, axis=(0, 2))
    np.testing.assert_allclose(flow.norms["h"][1:], expected, rtol=1e-12)


def test_a_given_and_a_learned_initial_state():
    model = random_model(GRU(2, 3, learned_initial_state=True))
    x = np.random.default_rng(16).standard_normal((2, 4, 2))
    learned = gradient_flow(model, x)[0]
    start = elman.GRUState(np.broadcast_to(model.params["initial_h"], (2, 3)))
    np.testing.assert_array_equal(learned.norms["h"], gradient_flow(model, x, state=start)[0].norms["h"])
    assert (learned.norms["h"] != gradient_flow(model, x, state=model.zero_state(2))[0].norms["h"])[:-1].all()


def test_what_cannot_be_measured():
    with pytest.raises(TypeError, match="has no recurrent layer"):
        gradient_flow(Sequential(Linear(2, 3)).init(), np.zeros((1, 4, 2)))
    for x, lengths in ((np.zeros((2, 4, 2)), [0, 0]), (np.zeros((2, 0, 2)), None), (np.zeros((0, 4, 2)), None)):
        with pytest.raises(ValueError, match=r"gradient_flow: the batch has no valid step \(\d rows\)"):
            gradient_flow(RNN(2, 3).init(), Batch(x, None, lengths))
    with pytest.raises(ValueError, match=r"gradient_flow: x must be \(B, T, 2\) or \(T, 2\), got"):
        gradient_flow(RNN(2, 3).init(), np.zeros((2, 4, 5)))
    model = RNN(2, 3).init()
    model.params["weight_ih"][0] = np.nan
    with pytest.raises(FloatingPointError, match="gradient_flow: the outputs are not finite from time step t = 0 on"):
        gradient_flow(model, np.ones((1, 4, 2)))


# -------------------------------------------------------------------------------------------------------------- words


def flow_of(layer, surviving, **changes):
    H = layer.hidden_size
    radius = dict.fromkeys(layer.gate_names, 1.5)
    saturation = dict.fromkeys(layer.gate_names, elman.diagnose.Saturation(0.0, 0.0))
    fields = {"norms": {}, "norms_back": {}, "unit_norms": np.full(H, surviving[-1]), "dead_units": ()}
    fields |= {"saturation": saturation, "spectral_radius": radius, "surviving": np.asarray(surviving, float)}
    return LayerFlow(name="1", layer=layer, **(fields | changes))


HALVED, GROWN = 0.5 ** np.arange(101), 1.2 ** np.arange(31)


@pytest.mark.parametrize(
    ("layer", "surviving", "verdict", "explanation", "remedy"),
    [
        (RNN(1, 2), HALVED, "vanishing", "1 % .* survives 6 of 100 steps back", r"take GRU\(..., update_bias=4.6\)"),
        (LSTM(1, 2), HALVED, "vanishing", r"\(0.5 times a step\)", "forget_bias=4.6, input_bias=-4.6"),
        (GRU(1, 2), HALVED, "vanishing", "survives 6 of", r"start with GRU\(..., update_bias=4.6\)"),
        (GRU(1, 2, update_bias=5), HALVED, "vanishing", "survives 6 of", "shorten the sequences"),
        (LSTM(1, 2, forget_bias=5), HALVED, "vanishing", "survives 6 of", "let the loss look at more steps"),
        (RNN(1, 2), GROWN, "exploding", r"grows to 2.4e\+02 times .*, 30 steps back", "clip_norm=1.0.*radius, 1.5"),
        (LSTM(1, 2), GROWN, "exploding", r"\(1.2 times a step\)", r"Clip the gradient: train\(..., clip_norm"),
        (LSTM(1, 2), 0.99 ** np.arange(31), "healthy", "At all 30 steps back", ""),
        (LSTM(1, 2), 0.8 ** np.arange(25), "healthy", "survives 20 of 24 steps back", ""),
        (LSTM(1, 2), np.zeros(5), "vanishing", "No gradient .* reaches this layer at all", "forget_bias"),
    ],
)  # fmt: skip
def test_verdicts(layer, surviving, verdict, explanation, remedy):
    flow = flow_of(layer, surviving)
    assert flow.verdict == verdict
    assert re.search(explanation, flow.explanation)
    assert re.search(remedy, flow.remedy)
    assert bool(remedy) == bool(flow.remedy)


def test_the_worst_verdict_counts():
    good, bad = flow_of(GRU(1, 2), [1, 1, 1]), flow_of(GRU(1, 2), [1, 1, 1e-4])
    worst = flow_of(GRU(1, 2), [1, 30, 1])
    assert elman.diagnose.GradientFlow((good, bad), 0.0, 1).verdict == "vanishing"
    assert elman.diagnose.GradientFlow((worst, bad), 0.0, 1).verdict == "exploding"
    flow = elman.diagnose.GradientFlow((good, worst, worst), 0.0, 1)
    assert flow.remedy == "Clip the gradient: train(..., clip_norm=1.0)."  # once


def test_saturated_gates_have_a_remedy():
    stuck = elman.diagnose.Saturation(0.3, 0.4)
    flow = flow_of(GRU(1, 2), [1, 1], saturation={"r": stuck, "z": stuck, "n": elman.diagnose.Saturation(0.0, 0.1)})
    assert flow.remarks == ("Saturated: r is at the end of its range in 70% of all steps.",)
    assert "Scale the inputs" in flow.remedy


def test_report_and_json():
    model = random_model(Sequential(Embedding(7, 3), Bidirectional(LSTM(3, 4)), GRU(8, 2), Linear(2, 7)))
    ids = np.random.default_rng(17).integers(7, size=(3, 9))
    flow = gradient_flow(model, (ids[:, :-1], ids[:, 1:]))
    lines = str(flow).splitlines()
    assert lines[0] == f"Gradient flow of 3 rows over up to 8 steps, loss {flow.loss:.6g}"
    for layer in flow.layers:
        assert any(line.startswith(f"{layer.label}: {layer.verdict}. {layer.explanation}") for line in lines)
        assert sum(line.startswith(layer.label) for line in lines) == 2 + len(layer.saturation)
    content = json.loads(json.dumps(flow.as_dict(), allow_nan=False))
    assert content["verdict"] == flow.verdict
    first = content["layers"][0]
    assert first["name"] == "1.forward"
    np.testing.assert_array_equal(first["norms"]["c"], flow[0].norms["c"])
    assert first["memory_steps"] == flow[0].memory_steps


def test_overflow_is_exploding_not_a_failure():
    flow = gradient_flow(diagonal_rnn([1e3, 0.5]), np.zeros((2, 200, 1)))
    assert flow[0].verdict == "exploding"
    assert np.isinf(flow[0].surviving[-1])
    assert 0 in flow[0].exploding_units
    json.dumps(flow.as_dict(), allow_nan=False)
    assert "inf times" in flow.report()


# ----------------------------------------------------------------------------------------------- what is not a number


def located(layer, *, loss=1.0, y=None, bad=(), steps=None):
    """Call locate_nonfinite with NaN in the named gradients, and in the states' gradients at (layer index, steps)."""
    model = layer.init()
    x = np.zeros((2, 6), int) if layer.takes_tokens else np.zeros((2, 6, layer.in_size))
    out, _, tape = model.forward(x)
    result = model.backward(tape, np.zeros_like(out))
    for name in bad:
        result.grads[name].flat[0] = np.nan
    for path, leaf in elman.trees.tree_leaves(result.d_states):
        for t in (steps or {}).get(path, ()):
            leaf[1, t, 0] = np.inf
    return locate_nonfinite(layer, loss, out if y is None else y, result.grads, result.d_states)


NET = Sequential(Embedding(5, 3), LSTM(3, 4), Bidirectional(GRU(4, 2)), Linear(4, 5))


def test_locate_in_gradients():
    found = located(NET, bad=["0.weight", "1.weight_ih", "1.weight_hh"], steps={"1.h": range(4), "1.c": range(3)})
    assert found == (
        "the gradient of 1.weight_ih (and 2 more) is not finite, in LSTM(input_size=3, hidden_size=4): "
        "d(loss)/d(state) broke, going backward, at time step t = 3"
    )
    found = located(NET, bad=["2.reverse.bias_hh"], steps={"2.1.h": (4, 5)})
    assert "the gradient of 2.reverse.bias_hh is not finite, in GRU(" in found
    assert found.endswith("at time step t = 4")  # in reverse, going backward is going up
    found = located(NET, bad=["3.weight"])
    assert found == "the gradient of 3.weight is not finite, in Linear(input_size=4, output_size=5)"
    found = located(RNN(2, 3), bad=["bias_ih"], steps={"h": (2,)})
    assert found.startswith("the gradient of bias_ih is not finite, in RNN(input_size=2, hidden_size=3): d(loss)")
    found = located(Sequential(Residual(RNN(3, 3)), Linear(3, 2)), bad=["0.bias_ih"], steps={"0.h": (2, 1)})
    assert "in RNN(input_size=3, hidden_size=3)" in found
    assert found.endswith("t = 2")


def test_locate_in_outputs_and_loss():
    y = np.zeros((2, 6, 5))
    y[1, 3:] = np.nan
    assert located(NET, y=y, loss=math.nan) == "the outputs are not finite from time step t = 3 on"
    assert located(NET, y=list(y), loss=math.nan) == "the outputs are not finite from time step t = 3 on"
    assert located(NET, y=y[1]) == "the outputs are not finite from time step t = 3 on"
    both = located(NET, y=y, bad=["3.bias"])
    assert both.startswith("the outputs are not finite from time step t = 3 on, and the gradient of 3.bias is not")
    assert located(NET, loss=math.inf) == "the loss is inf, though the outputs are finite"
    assert located(NET) == "the norm of the gradient is not finite, though all its numbers are"


def test_locate_while_training():
    """A recurrent matrix of 1e20: the state stays 0, its gradient leaves float32 after two steps back."""
    model = Sequential(RNN(2, 3), Linear(3, 2)).init()
    model.params["0.weight_hh"] = 1e20 * np.eye(3)
    x, targets = np.zeros((2, 6, 2)), np.zeros((2, 6), int)
    only_last = at_last_step(lambda y, t: cross_entropy(y, t))
    training = elman.train(model, [(x, targets[:, 0])], loss=only_last)
    with pytest.raises(FloatingPointError) as caught:
        next(training)
    assert str(caught.value).startswith(
        "train: step 1: the gradient of 0.weight_ih (and 3 more) is not finite, in RNN(input_size=2, hidden_size=3): "
        "d(loss)/d(state) broke, going backward, at time step t = 3; this step did not change the weights."
    )


def test_every_recurrent_layer_is_known():
    """A new kind of recurrent layer must say what its gates do."""
    assert {kind for kind in elman.layers.KINDS.values() if issubclass(kind, Recurrent)} == {RNN, LSTM, GRU}
