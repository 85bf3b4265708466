"""Engine and Stream: what people do with them, and what they do wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest

import elman
import zoo
from elman import GRU, LSTM, RNN, Bidirectional, Dropout, Embedding, Linear, Residual, Sequential, kernels, stack
from elman.trees import tree_map
from native_cases import fresh, given, model, needs_native, settings
from tolerances import assert_close, assert_same, exactly, leaves


class NoNative:
    """Stands for an installation without the compiled module."""

    @staticmethod
    def raises():
        raise ImportError("not built")


@pytest.fixture(params=zoo.TWINS)
def twin(request, monkeypatch):
    """Engines with packed weights, and engines as they are without the compiled module."""
    with elman.use_kernels(request.param):
        if request.param == "reference":
            monkeypatch.setattr(kernels, "native_module", NoNative.raises)
        yield request.param


def steps(stream, x):
    """Return the outputs of a stream for x (B, T, ...), or (T, ...) for a stream of one sequence."""
    axis = 0 if stream.batch_size is None else 1
    return np.stack([stream.step(np.take(x, t, axis)) for t in range(x.shape[axis])], axis=axis)


CAUSAL = sorted(
    name for name, make in zoo.ZOO.items() if make().is_causal and make().in_size is not None and "hold" not in name
)


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_an_engine_gives_what_the_model_gives(name, dtype, twin):
    made = model(zoo.ZOO[name](), dtype)
    x, state = given(made, zoo.B, zoo.T)
    engine = elman.Engine(made)
    for lengths in zoo.LENGTHS.values():
        assert_same(tuple(engine(x, state, lengths=lengths)), tuple(made(x, state, lengths=lengths)))
        assert_same(tuple(engine(x, lengths=lengths)), tuple(made(x, lengths=lengths)))
    assert_same(tuple(engine(x[0])), tuple(made(x[0])))
    assert_same(tuple(engine(list(x))), tuple(made(list(x))))


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_gives_what_the_model_gives(name, dtype, twin):
    made = model(zoo.ZOO[name](), dtype)
    x, state = given(made, zoo.B, zoo.T)
    same = assert_same if twin == "native" else assert_close
    stream = elman.Engine(made).stream(zoo.B)
    assert type(stream._steps).__name__ == {"native": "_NativeSteps", "reference": "_PythonSteps"}[twin]
    y, end = made(x)
    same((steps(stream, x), stream.state), (y, end))
    stream.state = state
    y, end = made(x, state)
    same((steps(stream, x), stream.state), (y, end))
    one = elman.Engine(made).stream()
    y, end = made(x[2])
    same((steps(one, x[2]), one.state), (y, end))


def test_reset_begins_anew_all_rows_or_some(twin):
    for layer in (LSTM(3, 5), stack(GRU, [3, 4, 5], residual=True), LSTM(3, 5, learned_initial_state=True)):
        made = model(layer)
        x, _ = given(made, 4, 6)
        stream = elman.Engine(made).stream(4)
        fresh_state = stream.state
        first = steps(stream, x)
        for rows in (2, -1, [0, 3], np.array([True, False, True, False]), np.int64(1), [], slice(1, 3)):
            before = stream.state
            stream.reset(rows)
            chosen = np.zeros(4, bool)
            chosen[rows] = True
            for (_, now), (_, was), (_, new) in zip(*map(leaves, (stream.state, before, fresh_state)), strict=True):
                assert (now[chosen] == new[chosen]).all()
                assert (now[~chosen] == was[~chosen]).all()
            y = steps(stream, x)
            assert (y[chosen] == first[chosen]).all()
            assert not (y[~chosen] == first[~chosen]).any(axis=(1, 2)).any() or not (~chosen).any()
        stream.reset()
        assert_same((stream.state, steps(stream, x)), (fresh_state, first))
        for wrong in (4, -5, [0, 4], [True, False], 1.5):
            before = stream.state
            with pytest.raises(IndexError):
                stream.reset(wrong)
            assert_same(stream.state, before)


def test_the_state_can_be_got_and_set(twin):
    made = model(stack(LSTM, [3, 4, 5]))
    x, state = given(made, 2, 6)
    engine = elman.Engine(made)
    stream, other = engine.stream(2), engine.stream(2)
    steps(stream, x[:, :4])
    kept = stream.state
    expected = steps(stream, x[:, 4:])
    other.state = kept
    assert_same(steps(other, x[:, 4:]), expected)
    assert_same(kept, made(x[:, :4]).state)  # a copy: later steps did not change it
    assert type(kept[0]).__name__ == "LSTMState"
    other.state = made(x[:, :4]).state
    assert_same(steps(other, x[:, 4:]), expected)
    before = other.state
    for wrong in (None, (), kept[0], state[:1], tree_map(lambda s: s[:1], state), "ab"):
        with pytest.raises(ValueError, match=r"Stream: state must hold arrays \[\(2, 4\)"):
            other.state = wrong
        assert_same(other.state, before)


def test_out_is_filled_and_returned(twin):
    made = model(Sequential(LSTM(3, 5), Linear(5, 2)))
    x, _ = given(made, 4, 6)
    expected = made(x).y
    stream = elman.Engine(made).stream(4)
    out = np.full((4, 2), np.nan, np.float32)
    for t in range(6):
        assert stream.step(x[:, t], out=out) is out
        np.testing.assert_allclose(out, expected[:, t], rtol=1e-5, atol=1e-6)
    one = elman.Engine(made).stream()
    into = np.zeros((6, 2), np.float32)
    for t in range(6):
        one.step(x[0, t], out=into[t])
    np.testing.assert_allclose(into, expected[0], rtol=1e-5, atol=1e-6)
    assert one.step(x[0, 0]) is not one.step(x[0, 1])  # without `out` each output has memory of its own


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Linear(130, 130),
        lambda: Residual(Linear(130, 130, activation="tanh")),
        lambda: LSTM(130, 130),
        lambda: Sequential(Residual(GRU(130, 130)), Residual(Linear(130, 130))),
    ],
)
def test_out_may_lie_where_x_lies(layer, twin):
    made = model(layer())
    x, _ = given(made, 3, 1)
    engine = elman.Engine(made)
    expected = engine.stream(3).step(x[:, 0])
    memory = np.zeros(3 * 130 + 70, np.float32)
    for start_x, start_out in ((0, 0), (0, 7), (70, 0), (7, 0), (0, 70)):
        place = memory[start_x : start_x + 390].reshape(3, 130)
        place[...] = x[:, 0]
        out = memory[start_out : start_out + 390].reshape(3, 130)
        assert_same(engine.stream(3).step(place, out=out), expected)


WHERE = "Stream of LSTM(input_size=3, hidden_size=4): "
TOKENS = "Stream of LSTM(input_size=7, hidden_size=4, token_input=True): "
ENGINE = "; sequences of several steps go through the engine"


@pytest.mark.parametrize(
    ("rows", "x", "kind", "sentence"),
    [
        (None, np.zeros(4), ValueError, "x must be (3,), one step, got (4,)"),
        (None, np.zeros((5, 3)), ValueError, f"x must be (3,), one step, got (5, 3){ENGINE}"),
        (None, 1.0, ValueError, "x must be (3,), one step, got ()"),
        (2, np.zeros((3, 3)), ValueError, "x must be (2, 3), one step, got (3, 3)"),
        (2, np.zeros((2, 5, 3)), ValueError, f"x must be (2, 3), one step, got (2, 5, 3){ENGINE}"),
        (2, np.zeros((2, 1, 3)), ValueError, f"x must be (2, 3), one step, got (2, 1, 3){ENGINE}"),
        (2, np.zeros(3), ValueError, "x must be (2, 3), one step, got (3,)"),
        (2, np.zeros(6), ValueError, "x must be (2, 3), one step, got (6,)"),
        (1, np.zeros((3, 1)), ValueError, "x must be (1, 3), one step, got (3, 1)"),
        (
            2,
            np.zeros((2, 3), complex),
            TypeError,
            "x must hold real numbers (bool, integer or float), got dtype complex128",
        ),
        (None, "abc", TypeError, "x must hold real numbers (bool, integer or float), got dtype <U3"),
    ],
)
def test_features_that_do_not_fit_are_refused_in_words(rows, x, kind, sentence, twin):
    stream = elman.Engine(model(LSTM(3, 4))).stream(rows)
    stream.step(np.ones(3) if rows is None else np.ones((rows, 3)))
    before, out = stream.state, np.full((4,) if rows is None else (rows, 4), 7, np.float32)
    with pytest.raises(kind, match=exactly(WHERE + sentence)):
        stream.step(x, out=out)
    assert_same(stream.state, before)
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("rows", "x", "kind", "sentence"),
    [
        (None, 7, ValueError, "token ids must be 0 to 6, got 7 in row 0 at step 0"),
        (None, -1, ValueError, "token ids must be 0 to 6, got -1 in row 0 at step 0"),
        (None, 1.0, TypeError, "x must hold integer token ids, got dtype float64"),
        (None, 2**70, TypeError, "x must hold integer token ids, got dtype object"),
        (None, "a", TypeError, "x must hold integer token ids, got dtype <U1"),
        (None, np.array([1, 2]), ValueError, f"x must be (), one step, got (2,){ENGINE}"),
        (2, np.array([1, 7]), ValueError, "token ids must be 0 to 6, got 7 in row 1 at step 0"),
        (
            2,
            np.array([1, 2**63 + 1], np.uint64),
            ValueError,
            "token ids must be 0 to 6, got 9223372036854775809 in row 1 at step 0",
        ),
        (2, np.array([1.5, 2]), TypeError, "x must hold integer token ids, got dtype float64"),
        (2, np.array([True, False]), TypeError, "x must hold integer token ids, got dtype bool"),
        (2, np.array([1, 2, 3]), ValueError, "x must be (2,), one step, got (3,)"),
        (2, 1, ValueError, "x must be (2,), one step, got (1,)"),
        (2, np.ones((2, 3), int), ValueError, f"x must be (2,), one step, got (2, 3){ENGINE}"),
    ],
)
def test_tokens_that_do_not_fit_are_refused_in_words(rows, x, kind, sentence, twin):
    stream = elman.Engine(model(LSTM(7, 4, token_input=True))).stream(rows)
    stream.step(1 if rows is None else np.ones(rows, int))
    before = stream.state
    with pytest.raises(kind, match=exactly(TOKENS + sentence)):
        stream.step(x)
    assert_same(stream.state, before)


def read_only(shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(4),
        np.zeros((2, 2), np.float32),
        np.zeros(8, np.float32)[::2],
        np.zeros(4, np.float32)[::-1],
        np.zeros(5, np.float32),
        read_only(4),
        np.ndarray((4,), np.float32, np.zeros(17, "u1").data, 1),
        [0.0] * 4,
        1.0,
    ],
)
def test_an_out_that_does_not_fit_is_refused(out, twin):
    stream = elman.Engine(model(LSTM(3, 4))).stream()
    before = stream.state
    with pytest.raises(ValueError, match=r"\AStream.step: out must be a contiguous \(4,\) float32, got "):
        stream.step(np.ones(3, np.float32), out=out)
    assert_same(stream.state, before)


def test_what_can_be_cast_is_cast(twin):
    engine = elman.Engine(model(LSTM(3, 4)))
    expected = engine(np.array([[1, 0, 2]])).y[0]
    for x in ([1, 0, 2], np.array([1, 0, 2]), np.float16([1, 0, 2]), np.array([1.0, 0, 2]), np.array([[1, 0, 2]])):
        assert_same(engine.stream().step(x), expected)
    assert_same(engine.stream(1).step([1, 0, 2]), expected[None])
    assert_same(engine.stream().step(np.array([True, False, True])), engine(np.array([[1, 0, 1]])).y[0])
    tokens = elman.Engine(model(LSTM(7, 4, token_input=True)))
    expected = tokens(np.array([5])).y[0]
    for x in (5, np.int8(5), np.uint64(5), np.array(5), np.array([5])):
        assert_same(tokens.stream().step(x), expected)
    for x in ([5], np.array([5], np.uint8), np.array([5])):
        assert_same(tokens.stream(1).step(x), expected[None])


@pytest.mark.parametrize(
    "layer",
    [
        LSTM(3, 4, reverse=True),
        Bidirectional(GRU(3, 4)),
        stack(LSTM, [3, 4, 4], bidirectional=True),
        Sequential(RNN(3, 4), Residual(RNN(4, 4, reverse=True))),
    ],
)
def test_what_needs_the_end_of_a_sequence_refuses_to_stream(layer, twin):
    engine = elman.Engine(model(layer))
    with pytest.raises(ValueError, match="needs the end of a sequence before its first output"):
        engine.stream()
    with pytest.raises(ValueError, match="so it cannot go step by step; call the engine on whole sequences"):
        engine.stream(3)


def test_a_layer_without_a_size_refuses_to_stream(twin):
    with pytest.raises(ValueError, match=exactly("Stream: Dropout(p=0.5) does not say how many features a step has")):
        elman.Engine(Dropout(0.5).init()).stream()


@pytest.mark.parametrize(("rows", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_number_of_rows_that_is_none(rows, kind, twin):
    with pytest.raises(kind, match="Stream: batch_size must be"):
        elman.Engine(model(LSTM(3, 4))).stream(rows)


def test_precisions(twin):
    made = model(LSTM(3, 4))
    with pytest.raises(
        ValueError, match="Engine: precision must be one of 'float32', 'float64', 'bfloat16', got 'int8'"
    ):
        elman.Engine(made, precision="int8")
    for dtype, precision in (("float32", "float64"), ("float64", "float32"), ("float64", "bfloat16")):
        with pytest.raises(ValueError, match=f"Engine: precision='{precision}' needs a model of another type"):
            elman.Engine(made.astype(dtype), precision=precision)
    assert elman.Engine(made, precision="float32").precision == elman.Engine(made).precision == "float32"
    with pytest.raises(TypeError, match=r"Engine: model must be a Model, such as layer.init\(\) makes, got LSTM"):
        elman.Engine(LSTM(3, 4))


@needs_native
def test_bfloat16_rounds_weights_to_the_nearest_and_nothing_else():
    made = model(Sequential(LSTM(5, 33), GRU(33, 17, reset_after=False), RNN(17, 6), Linear(6, 3)))
    x, _ = given(made, 3, 7)
    rounded = elman.Model(made.layer, made.params.copy())
    for name, array in rounded.params.items():
        if "weight" in name:
            bits = array.view(np.uint32)
            bits[...] = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    narrow = elman.Engine(made, precision="bfloat16")
    assert_same(tuple(narrow(x)), tuple(rounded(x)))
    stream = narrow.stream(3)
    assert_same(steps(stream, x), rounded(x).y)
    big = model(LSTM(256, 256))
    packed = [elman.Engine(big, precision=p).nbytes - big.params.flat.nbytes for p in ("float32", "bfloat16")]
    assert packed[1] < 0.51 * packed[0]


def test_bfloat16_needs_the_native_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "native_module", NoNative.raises)
    with pytest.raises(ImportError, match="not built"):
        elman.Engine(model(LSTM(3, 4)), precision="bfloat16")


def test_an_engine_does_not_change_with_its_model(twin):
    made = model(Sequential(Embedding(7, 3), LSTM(3, 5), Linear(5, 2)))
    x, _ = given(made, 2, 6)
    engine = elman.Engine(made)
    stream = engine.stream(2)
    expected = engine(x)
    made.params.flat[...] = 0
    assert_same(tuple(engine(x)), tuple(expected))
    assert_same(steps(stream, x), expected.y)
    assert (made(x).y == 0).all()
    assert not engine._params.flat.flags.writeable
    assert not any(array.flags.writeable for array in engine._params.values())
    assert not any(array.flags.writeable for array in engine._params.child("1").values())


def test_streams_of_one_engine_do_not_meet(twin):
    made = model(LSTM(3, 5))
    x, _ = given(made, 3, 6)
    engine = elman.Engine(made)
    streams = [engine.stream() for _ in range(3)]
    y = np.stack([[stream.step(x[b, t]) for b, stream in enumerate(streams)] for t in range(6)], axis=1)
    for b in range(3):
        assert_same(y[b], steps(engine.stream(), x[b]))


def test_what_is_said_of_an_engine(twin):
    made = model(LSTM(3, 4))
    engine = elman.Engine(made)
    assert repr(engine) == "Engine(LSTM(input_size=3, hidden_size=4), precision='float32')"
    assert engine.nbytes >= made.params.flat.nbytes * (2 if twin == "native" else 1)
    assert 0 < engine.stream().nbytes < engine.stream(10).nbytes


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="a folder that hides the compiled module")
def test_without_the_compiled_module_engines_compute_with_numpy():
    code = """
import sys
sys.modules["elman._native"] = None
import numpy as np, elman
with elman.use_kernels("reference"):
    made = elman.LSTM(3, 4).init()
    engine = elman.Engine(made)
    stream = engine.stream()
    x = np.ones((5, 3), np.float32)
    y = np.stack([stream.step(v) for v in x])
    print(np.abs(y - made(x).y).max() < 1e-6, engine.nbytes == made.params.flat.nbytes)
"""
    assert fresh(code) == "True True\n"


@needs_native
def test_streams_share_the_tables_of_their_engine():
    engine = elman.Engine(Sequential(Embedding(500, 64), LSTM(64, 8)).init())
    before = engine.nbytes
    first = engine.stream()
    shared = engine.nbytes
    assert shared == before + 4 * 500 * 64
    streams = [engine.stream(rows) for rows in (None, 1, 3)]
    assert engine.nbytes == shared
    assert engine._chain is engine._chain
    assert all(stream.nbytes < 4 * 500 * 64 for stream in [first, *streams])


@needs_native
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_a_stream_of_a_large_vocabulary_costs_no_table():
    code = """
import os, elman
from elman import Embedding, LSTM, Sequential
held = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
engine = elman.Engine(Sequential(Embedding(50_000, 128), LSTM(128, 4)).init())
streams = [engine.stream()]
before = held()
streams += [engine.stream() for _ in range(8)]
print((held() - before) < 50_000 * 128 * 4)
"""
    assert fresh(code).strip() == "True"


@needs_native
def test_more_threads_than_at_the_beginning_are_no_trouble():
    made = LSTM(64, 640).init()
    x = np.random.default_rng(0).standard_normal((4, 5, 64)).astype(np.float32)
    with settings(threads=1):
        expected, _ = made(x)
        stream = elman.Engine(made).stream(4)
    with settings(threads=4):
        assert_same(steps(stream, x), expected)
        held = stream.nbytes
        stream.reset()
        assert_same(steps(stream, x), expected)
        assert stream.nbytes == held  # it grew once


@needs_native
def test_where_the_reference_is_chosen_an_engine_computes_with_it():
    made = stack(LSTM, [3, 4, 4]).init()
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    with elman.use_kernels("reference"):
        engine = elman.Engine(made)
        assert engine.nbytes == made.params.flat.nbytes
        stream = engine.stream()
        assert type(stream._steps).__name__ == "_PythonSteps"
        assert_close(steps(stream, x), made(x).y)
        with pytest.raises(ValueError, match="needs the native kernels, but the reference is chosen"):
            elman.Engine(made, precision="bfloat16")
