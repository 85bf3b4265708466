"""Layers: their options, initial values, structure, and how they are told apart."""

import dataclasses
import inspect
from functools import partial

import numpy as np
import pytest

import elman
import zoo
from elman.layers import KINDS, Layer, Recurrent
from elman.layers.initial import glorot, orthogonal
from tolerances import assert_close, assert_same


def test_every_kind_of_layer_is_in_the_table_of_names():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    concrete = {k for k in below(Layer) if not inspect.isabstract(k) and k.__module__.startswith("elman")}
    assert set(KINDS.values()) == concrete
    assert all(name == kind.__name__ for name, kind in KINDS.items())


@pytest.mark.parametrize("name", zoo.ZOO)
def test_layers_are_frozen_values(name):
    layer, same = zoo.ZOO[name](), zoo.ZOO[name]()
    assert layer == same
    assert hash(layer) == hash(same)
    assert repr(layer) == repr(same)
    field = dataclasses.fields(layer)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(layer, field, None)
    assert not any(isinstance(getattr(layer, f.name), np.ndarray) for f in dataclasses.fields(layer))


def test_layers_of_the_zoo_differ():
    assert len({repr(make()) for make in zoo.ZOO.values()}) == len(zoo.ZOO)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_repr_is_the_code_that_makes_the_layer(name):
    layer = zoo.ZOO[name]()
    names = {kind: getattr(elman, kind) for kind in KINDS}
    assert eval(repr(layer), names) == layer


def test_repr_shows_what_is_not_the_default():
    assert repr(elman.LSTM(2, 3)) == "LSTM(input_size=2, hidden_size=3)"
    assert repr(elman.GRU(2, 3, bias=False)) == "GRU(input_size=2, hidden_size=3, bias=False)"
    assert repr(elman.Linear(np.int64(2), 3)) == "Linear(input_size=2, output_size=3)"


@pytest.mark.parametrize("name", zoo.ZOO)
def test_sizes_are_those_of_what_goes_in_and_comes_out(name):
    case = zoo.case(zoo.ZOO[name]())
    layer = case.model.layer
    y = case.model(case.x).y
    assert y.shape[-1] == (layer.out_size or case.x.shape[-1])
    if not layer.takes_tokens:
        assert case.x.shape[-1] == (layer.in_size or zoo.I)
    expected = elman.trees.tree_map(np.shape, layer.zero_state(zoo.B))
    assert elman.trees.tree_map(np.shape, case.model(case.x).state) == expected


def test_options_can_only_be_given_by_name():
    for kind in (elman.RNN, elman.LSTM, elman.GRU, elman.Linear):
        with pytest.raises(TypeError, match="positional argument"):
            kind(2, 3, False)
    with pytest.raises(TypeError, match="positional argument"):
        elman.Dropout(0.5, True)


# ------------------------------------------------------------------------------------------------ initial values


def test_recurrent_weights_are_orthogonal_gate_by_gate():
    for layer in (elman.RNN(3, 5), elman.LSTM(3, 5), elman.GRU(3, 5)):
        weight = layer.init(seed=2, dtype="float64").params["weight_hh"].reshape(-1, 5, 5)
        for block in weight:
            assert_close(block @ block.T, np.eye(5))
        assert len({block.tobytes() for block in weight}) == len(weight)


def test_input_weights_are_uniform_within_the_bound():
    rng = np.random.default_rng(0)
    weight = glorot(rng, 40, 60)
    bound = np.sqrt(6 / 100)
    assert np.abs(weight).max() < bound
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert orthogonal(rng, 1).shape == (1, 1)
    signs = [orthogonal(rng, 2)[0, 0] > 0 for _ in range(200)]
    assert 60 < sum(signs) < 140  # uniform over the orthogonal matrices, not only those of a sign


def test_biases_start_where_their_options_say():
    for layer, slot, value in (
        (elman.LSTM(2, 3), 1, 1),
        (elman.LSTM(2, 3, forget_bias=-2.5), 1, -2.5),
        (elman.GRU(2, 3), 1, 0),
        (elman.GRU(2, 3, update_bias=1.5), 1, 1.5),
        (elman.RNN(2, 3), 0, 0),
    ):
        params = layer.init().params
        expected = np.zeros((len(layer.gate_names), 3))
        expected[slot] = value
        assert (params["bias_ih"].reshape(-1, 3) == expected).all()
        assert not params["bias_hh"].any()
    elman.LSTM(2, 3, bias=False).init()
    learned = elman.LSTM(2, 3, learned_initial_state=True).init().params
    assert not learned["initial_h"].any()
    assert not learned["initial_c"].any()


@pytest.mark.parametrize(("make", "gate"), [(elman.LSTM, 1), (elman.GRU, 1)])
def test_memory_steps_draw_biases_for_memories_of_one_to_so_many_steps(make, gate):
    layer = make(2, 4000, memory_steps=100)
    bias = layer.init(3, dtype=np.float64).params["bias_ih"].reshape(-1, 4000)
    steps = np.exp(bias[gate])  # a gate of sigmoid(log n) = n / (n + 1) keeps for about n steps
    assert 1 <= steps.min() < 2
    assert 99 < steps.max() <= 100
    assert abs(steps.mean() - 50.5) < 2
    assert (bias[0] == (-bias[1] if make is elman.LSTM else 0)).all()
    assert not bias[2:].any()
    assert (layer.init(3).params.flat == layer.init(3).params.flat).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory_steps": 0.5}, "memory_steps must be"),
        ({"memory_steps": np.inf}, "memory_steps must be"),
        ({"memory_steps": "9"}, "memory_steps must be a number"),
        ({"memory_steps": 9, "bias": False}, "no biases to draw"),
    ],
)
def test_memory_steps_that_cannot_be(options, words):
    for make in (elman.LSTM, elman.GRU):
        with pytest.raises((ValueError, TypeError), match=words):
            make(2, 3, **options)
    with pytest.raises(ValueError, match="memory_steps draws forget_bias; pass one of them"):
        elman.LSTM(2, 3, memory_steps=9, forget_bias=2.0)
    with pytest.raises(ValueError, match="memory_steps draws update_bias; pass one of them"):
        elman.GRU(2, 3, memory_steps=9, update_bias=2.0)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_seeds(name):
    layer = zoo.ZOO[name]()
    model = layer.init(seed=5)
    assert_same(layer.init(seed=5).params, model.params)
    assert_same(layer.init(np.random.default_rng(5)).params, model.params)
    assert_same(layer.init(seed=5, dtype="float64").params.astype("float32"), model.params)
    if any(name.endswith(("weight_ih", "weight")) for name in model.params):
        assert (layer.init(seed=6).params.flat != model.params.flat).any()


def test_a_generator_moves_on():
    rng = np.random.default_rng(0)
    first, second = elman.RNN(2, 3).init(rng), elman.RNN(2, 3).init(rng)
    assert (first.params.flat != second.params.flat).any()


# ------------------------------------------------------------------------------------------------------ structure


@pytest.mark.parametrize(
    ("layer", "causal", "tokens"),
    [
        (elman.LSTM(2, 2), True, False),
        (elman.LSTM(2, 2, reverse=True), False, False),
        (elman.Bidirectional(elman.LSTM(2, 2)), False, False),
        (elman.Sequential(elman.Embedding(2, 2), elman.GRU(2, 2), elman.Dropout(0.1)), True, True),
        (elman.Sequential(elman.GRU(2, 2), elman.Sequential(elman.RNN(2, 2, reverse=True))), False, False),
        (elman.Residual(elman.GRU(2, 2, reverse=True)), False, False),
        (elman.Residual(elman.GRU(2, 2)), True, False),
        (elman.RNN(2, 2, token_input=True), True, True),
        (elman.Bidirectional(elman.RNN(2, 2, token_input=True)), False, True),
    ],
    ids=repr,
)
def test_what_a_layer_says_of_itself(layer, causal, tokens):
    assert layer.is_causal == causal
    assert layer.takes_tokens == tokens


def test_sizes_of_a_sequence_skip_layers_of_any_size():
    layer = elman.Sequential(elman.Dropout(0.1), elman.LSTM(2, 3), elman.Dropout(0.1))
    assert (layer.in_size, layer.out_size) == (2, 3)
    layer = elman.Sequential(elman.Dropout(0.1))
    assert (layer.in_size, layer.out_size) == (None, None)
    assert layer.init()(np.ones((2, 3, 7))).y.shape == (2, 3, 7)


def test_deep_nesting_takes_no_exponential_time():
    layer = elman.GRU(2, 2)
    for _ in range(60):
        layer = elman.Sequential(layer)
    assert (layer.in_size, layer.out_size) == (2, 2)


def test_stack():
    layer = elman.stack(partial(elman.GRU, reset_after=False), [3, 4, 4, 5], dropout=0.2, locked=True, residual=True)
    assert repr(layer.layers) == repr(
        (
            elman.GRU(3, 4, reset_after=False),
            elman.Dropout(0.2, locked=True),
            elman.Residual(elman.GRU(4, 4, reset_after=False)),
            elman.Dropout(0.2, locked=True),
            elman.GRU(4, 5, reset_after=False),
        )
    )
    layer = elman.stack(elman.LSTM, [4, 2, 3], bidirectional=True, residual=True)
    assert layer.layers == (
        elman.Residual(elman.Bidirectional(elman.LSTM(4, 2))),
        elman.Bidirectional(elman.LSTM(4, 3)),
    )
    assert elman.stack(partial(elman.RNN, token_input=True), [5, 5], residual=True).layers == (
        elman.RNN(5, 5, token_input=True),
    )


def test_final_output():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 2))
    for kind in (elman.RNN, elman.LSTM, elman.GRU):
        model = kind(2, 4).init()
        y, state = model(x, lengths=[5, 2, 3])
        assert_same(model.final_output(state), y[np.arange(3), [4, 1, 2]])
    model = elman.Sequential(elman.LSTM(2, 4), elman.Dropout(0.5)).init()
    assert_same(model.final_output(model(x).state), model(x).y[:, -1])
    above = elman.Sequential(elman.LSTM(2, 4), elman.Linear(4, 2)).init()
    with pytest.raises(TypeError, match="has no state, so no final output"):
        above.final_output(above(x).state)


def test_residual_adds_what_went_in():
    model = elman.Residual(elman.LSTM(3, 3)).init(seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    inner = elman.Model(elman.LSTM(3, 3), model.params)
    assert_same(model(x).y, x + inner(x).y)
    assert list(model.params) == list(inner.params)


def test_bidirectional_is_two_layers_side_by_side():
    layer = elman.Bidirectional(elman.GRU(3, 4, learned_initial_state=True))
    case = zoo.case(layer, "float64", (3, 5, 0, 1))
    children = layer.children()
    assert children == {"forward": layer.layer, "reverse": dataclasses.replace(layer.layer, reverse=True)}
    halves = [
        elman.Model(child, case.model.params.child(name))(case.x, part, lengths=case.lengths)
        for (name, child), part in zip(children.items(), case.state, strict=True)
    ]
    y, state = case.model(case.x, case.state, lengths=case.lengths)
    assert_same(y, np.concatenate([half.y for half in halves], axis=2))
    assert_same(state, tuple(half.state for half in halves))


def test_reverse_is_the_forward_layer_on_the_sequence_turned_round():
    for kind in (elman.RNN, elman.LSTM, elman.GRU):
        case = zoo.case(kind(3, 4), "float64")
        turned = elman.Model(kind(3, 4, reverse=True), case.model.params)
        y, state = case.model(case.x[:, ::-1], case.state)
        assert_close(turned(case.x, case.state), elman.layers.Output(y[:, ::-1], state))


def test_token_input_is_one_hot_input():
    for kind in (elman.RNN, elman.LSTM, elman.GRU):
        case = zoo.case(kind(zoo.V, 4, token_input=True), "float64", (3, 5, 0, 1))
        dense = elman.Model(kind(zoo.V, 4), case.model.params)
        forward = case.model.forward(case.x, case.state, lengths=case.lengths)
        one_hot = dense.forward(np.eye(zoo.V)[case.x], case.state, lengths=case.lengths)
        assert_close(forward[:2], one_hot[:2])
        grads = case.model.backward(forward.tape, case.d_y).grads
        assert_close(grads, dense.backward(one_hot.tape, case.d_y).grads)


@pytest.mark.parametrize("kind", [elman.RNN, elman.LSTM, elman.GRU, partial(elman.GRU, reset_after=False)])
def test_states_on_the_way_have_the_gradient_of_the_tail(kind):
    """d(loss)/d(h_t) is what the tail of the sequence, started from h_t, returns for its start, plus d_y_t."""
    case = zoo.case(kind(3, 4), "float64")
    forward = case.model.forward(case.x, case.state)
    d_states = case.model.backward(forward.tape, case.d_y, case.d_state).d_states
    for t in range(zoo.T):
        state = case.model(case.x[:, : t + 1], case.state).state
        tail = case.model.forward(case.x[:, t + 1 :], state)
        d_start = case.model.backward(tail.tape, case.d_y[:, t + 1 :], case.d_state).d_state
        d_h = d_start.h + case.d_y[:, t]
        assert_close(d_states.h[:, t], d_h)
        if isinstance(case.model.layer, elman.LSTM):  # c_t also acts through h_t = o_t tanh(c_t)
            tanh_c = np.tanh(state.c)
            assert_close(d_states.c[:, t], d_start.c + d_h * state.h / tanh_c * (1 - tanh_c**2))


def test_recurrent_layers_share_their_options():
    shared = {field.name for field in dataclasses.fields(Recurrent)}
    for kind in (elman.RNN, elman.LSTM, elman.GRU):
        assert shared <= {field.name for field in dataclasses.fields(kind)}
        assert [len(shape) for shape in kind(2, 3).shapes().values()] == [2, 2, 1, 1]
