"""Manners of NumPy: cases that users of recurrent networks have stumbled over."""

import numpy as np
import pytest

import elman
from tolerances import assert_close, assert_same, exactly

WHERE = "LSTM(input_size=3, hidden_size=4)"


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_k1_real_types_are_cast_to_that_of_the_model(kind, dtype):
    model = elman.LSTM(3, 4).init(dtype=dtype)
    x = np.random.default_rng(0).integers(0, 2, (2, 5, 3)).astype(kind)
    y, state, tape = model.forward(x)
    grads, d_x, d_state, d_states = model.backward(tape, np.ones(y.shape, kind))
    for array in (y, *state, grads.flat, d_x, *d_state, *d_states):
        assert array.dtype == dtype
    assert_same(y.copy(), model(x.astype(dtype)).y)


@pytest.mark.parametrize(
    ("x", "name"),
    [
        (np.zeros((2, 5, 3), complex), "complex128"),
        (np.zeros((2, 5, 3), object), "object"),
        (np.full((2, 5, 3), "a"), "<U1"),
        (np.full((2, 5, 3), b"a"), "|S1"),
        (np.zeros((2, 5, 3), "datetime64[s]"), "datetime64[s]"),
    ],
)
def test_k1_other_types_are_refused_by_name(x, name):
    model = elman.LSTM(3, 4).init()
    sentence = f"{WHERE}: x must hold real numbers (bool, integer or float), got dtype {name}"
    hint = "; are the rows of unequal length? pass a list of (T, F) arrays" if name == "object" else ""
    with pytest.raises(TypeError, match=exactly(sentence + hint)):
        model(x)


def test_k1_rows_of_unequal_length_that_are_no_list_of_sequences():
    model = elman.LSTM(3, 4).init()
    with pytest.raises(TypeError, match=r"are the rows of unequal length\? pass a list of \(T, F\) arrays"):
        model([[[1.0, 2, 3]], [[1.0, 2], [3.0]]])


@pytest.mark.parametrize("kind", ["float32", "float64", "bool", "complex64"])
def test_k1_token_ids_must_be_integers(kind):
    model = elman.Embedding(5, 2).init()
    sentence = f"Embedding(vocabulary_size=5, output_size=2): x must hold integer token ids, got dtype {kind}"
    with pytest.raises(TypeError, match=exactly(sentence)):
        model(np.ones((2, 3), kind))


def test_k3_one_sequence_has_two_axes():
    model = elman.LSTM(3, 4).init()
    x = np.random.default_rng(0).standard_normal((5, 3))
    y, state = model(x)
    assert y.shape == (5, 4)
    assert state.h.shape == (1, 4)
    assert_close(y, model(x[None]).y[0])


@pytest.mark.parametrize(
    ("size", "shape", "hint"),
    [
        (8, (5, 3, 7), ""),
        (8, (5, 8, 3), "; features come last: pass x.swapaxes(1, 2)"),
        (8, (5,), "; for sequences of one feature pass x[..., None]"),
        (1, (20, 30), "; for sequences of one feature pass x[..., None]"),
        (8, (5, 3, 2, 4), "; join the feature axes: pass x.reshape(B, T, -1)"),
        (8, (), ""),
        (8, (5, 7), ""),
    ],
)
def test_k3_the_wrong_shape_is_told_with_what_was_expected(size, shape, hint):
    model = elman.LSTM(size, 16).init()
    sentence = f"LSTM(input_size={size}, hidden_size=16): x must be (B, T, {size}) or (T, {size}), got {shape}{hint}"
    with pytest.raises(ValueError, match=exactly(sentence)):
        model(np.zeros(shape))
