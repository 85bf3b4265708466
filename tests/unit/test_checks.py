"""The wording of errors: where, what, expected, got, hint."""

import numpy as np
import pytest

import elman
from elman.kernels.spec import GRUState, LSTMState

LSTM = elman.LSTM(2, 3).init()
STACK = elman.Sequential(elman.Embedding(5, 2), elman.LSTM(2, 3), elman.Linear(3, 4)).init()
ONE = "LSTM(input_size=2, hidden_size=3)"
X = np.zeros((2, 4, 2))
IDS = np.zeros((2, 4), int)


def after_forward(model, x, **options):
    return model.forward(x, **options).tape


SENTENCES = [
    (
        lambda: elman.LSTM(8, 16).init()(np.zeros((5, 3, 7))),
        ValueError,
        "LSTM(input_size=8, hidden_size=16): x must be (B, T, 8) or (T, 8), got (5, 3, 7)",
    ),
    (
        lambda: elman.GRU(2, 3, reset_after=False, reverse=True).init()(np.zeros((4, 3))),
        ValueError,
        "GRU(input_size=2, hidden_size=3, reverse=True, reset_after=False): x must be (B, T, 2) or (T, 2), got (4, 3)",
    ),
    (
        lambda: elman.Dropout(0.5).init()(np.zeros(3)),
        ValueError,
        "Dropout(p=0.5): x must be (B, T, F) or (T, F), got (3,); for sequences of one feature pass x[..., None]",
    ),
    (
        lambda: LSTM([np.zeros((3, 2)), np.zeros((2, 5))]),
        ValueError,
        f"{ONE}: sequence 1: x must be (B, T, 2) or (T, 2), got (2, 5)",
    ),
    (
        lambda: LSTM([np.zeros((3, 2))], lengths=[3]),
        ValueError,
        f"{ONE}: a list of sequences has lengths of its own; pass no lengths",
    ),
    (
        lambda: LSTM(X, GRUState(np.zeros((2, 3)))),
        TypeError,
        f"{ONE}: state must be LSTMState(h, c), got GRUState of 1",
    ),
    (lambda: LSTM(X, np.zeros((2, 3))), TypeError, f"{ONE}: state must be LSTMState(h, c), got ndarray"),
    (
        lambda: LSTM(X, LSTMState(np.zeros((2, 3)), np.zeros((2, 4)))),
        ValueError,
        f"{ONE}: state.c must be (B, H) = (2, 3), got (2, 4)",
    ),
    (
        lambda: LSTM(X, LSTMState(np.zeros((5, 3)), np.zeros((5, 3)))),
        ValueError,
        f"{ONE}: state.h must be (B, H) = (2, 3), got (5, 3); x has 2 rows, the state was made for 5",
    ),
    (
        lambda: LSTM(X, LSTMState(np.zeros((2, 3)), np.zeros((2, 3), complex))),
        TypeError,
        f"{ONE}: state.c must hold real numbers (bool, integer or float), got dtype complex128",
    ),
    (
        lambda: STACK(IDS, LSTMState(np.zeros((2, 3)), np.zeros((2, 3)))),
        TypeError,
        f"{STACK.layer!r}: state must be a tuple of 3, one a layer (() or None where it has none), got LSTMState",
    ),
    (
        lambda: STACK(IDS, (None, None)),
        TypeError,
        f"{STACK.layer!r}: state must be a tuple of 3, one a layer (() or None where it has none), got a tuple of 2",
    ),
    (
        lambda: elman.Bidirectional(elman.RNN(2, 3)).init()(X, np.zeros((2, 3))),
        TypeError,
        "Bidirectional(layer=RNN(input_size=2, hidden_size=3)): state must be a tuple of 2, one a layer "
        "(() or None where it has none), got ndarray",
    ),
    (
        lambda: STACK([[0, 1, 7], [5, 0, 0]]),
        ValueError,
        f"{STACK.layer!r}: token ids must be 0 to 4, got 5 in row 1 at step 0",
    ),
    (
        lambda: STACK(np.array([[0, 1], [2, -1]])),
        ValueError,
        f"{STACK.layer!r}: token ids must be 0 to 4, got -1 in row 1 at step 1",
    ),
    (
        lambda: STACK(np.zeros((2, 4, 2), int)),
        ValueError,
        f"{STACK.layer!r}: x must be token ids (B, T) or (T,), got (2, 4, 2)",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, X), np.zeros((2, 4, 5))),
        ValueError,
        f"{ONE}: d_y must have the shape of the output, (2, 4, 3), got (2, 4, 5)",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, X[0]), np.zeros((1, 4, 3))),
        ValueError,
        f"{ONE}: d_y must have the shape of the output, (4, 3), got (1, 4, 3)",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, [X[0], X[0, :2]]), np.zeros((2, 4, 3))),
        ValueError,
        f"{ONE}: d_y must be a list of arrays like the outputs, of lengths [4, 2]",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, [X[0], X[0, :2]]), [np.zeros((4, 3)), np.zeros((3, 3))]),
        ValueError,
        f"{ONE}: d_y must be a list of arrays like the outputs, of lengths [4, 2]",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, X), None, LSTMState(np.zeros((2, 2)), np.zeros((2, 3)))),
        ValueError,
        f"{ONE}: d_state must have the shape of the output, (2, 3), got (2, 2)",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, X), np.zeros((2, 4, 3), complex)),
        TypeError,
        f"{ONE}: d_y must hold real numbers (bool, integer or float), got dtype complex128",
    ),
    (
        lambda: LSTM.backward(after_forward(LSTM, X), None, grads=elman.LSTM(2, 3, bias=False).init().params),
        ValueError,
        f"{ONE}: grads must have the names and shapes of params",
    ),
    (
        lambda: STACK.forward(IDS, rng=3),
        TypeError,
        f"{STACK.layer!r}: rng must be a numpy.random.Generator, such as default_rng(0), got 3",
    ),
    (lambda: elman.LSTM(0, 3), ValueError, "LSTM: input_size must be at least 1, got 0"),
    (lambda: elman.GRU(2, -3), ValueError, "GRU: hidden_size must be at least 1, got -3"),
    (lambda: elman.RNN(2.0, 3), TypeError, "RNN: input_size must be an int, got float 2.0"),
    (lambda: elman.Linear(True, 3), TypeError, "Linear: input_size must be an int, got bool True"),
    (lambda: elman.Embedding("5", 3), TypeError, "Embedding: vocabulary_size must be an int, got str '5'"),
    (
        lambda: elman.RNN(2, 3, activation="softmax"),
        ValueError,
        "RNN: activation must be one of 'tanh', 'relu', 'sigmoid', got 'softmax'",
    ),
    (
        lambda: elman.Linear(2, 3, activation="softmax"),
        ValueError,
        "Linear: activation must be one of None, 'tanh', 'relu', 'sigmoid', got 'softmax'",
    ),
    (lambda: elman.Dropout(1.0), ValueError, "Dropout: p must be at least 0 and below 1, got 1.0"),
    (lambda: elman.Dropout(-0.1), ValueError, "Dropout: p must be at least 0 and below 1, got -0.1"),
    (lambda: elman.Dropout(np.nan), ValueError, "Dropout: p must be at least 0 and below 1, got nan"),
    (
        lambda: elman.LSTM(2, 3).init(dtype="float16"),
        ValueError,
        f"{ONE}: dtype must be one of 'float32', 'float64', got 'float16'",
    ),
    (lambda: elman.Sequential(), ValueError, "Sequential: needs at least one layer"),
    (lambda: elman.Sequential("LSTM"), TypeError, "Sequential: argument 0 must be a layer, got str"),
    (
        lambda: elman.Sequential(elman.LSTM(2, 3), elman.Linear(4, 1)),
        ValueError,
        "Sequential: layer 1, Linear(input_size=4, output_size=1), takes 4 features, but gets 3",
    ),
    (
        lambda: elman.Sequential(elman.LSTM(2, 3), elman.Dropout(0.1), elman.Linear(4, 1)),
        ValueError,
        "Sequential: layer 2, Linear(input_size=4, output_size=1), takes 4 features, but gets 3",
    ),
    (
        lambda: elman.Sequential(elman.LSTM(2, 3), elman.Embedding(3, 2)),
        ValueError,
        "Sequential: layer 1, Embedding(vocabulary_size=3, output_size=2), takes token ids, so it can only come first",
    ),
    (
        lambda: elman.Bidirectional(elman.Linear(2, 3)),
        TypeError,
        "Bidirectional: layer must be an RNN, LSTM or GRU that runs forward, got Linear(input_size=2, output_size=3)",
    ),
    (
        lambda: elman.Bidirectional(elman.RNN(2, 3, reverse=True)),
        TypeError,
        "Bidirectional: layer must be an RNN, LSTM or GRU that runs forward, "
        "got RNN(input_size=2, hidden_size=3, reverse=True)",
    ),
    (
        lambda: elman.Residual(elman.LSTM(2, 3)),
        ValueError,
        f"Residual: layer must give as many features as it takes, got {ONE}",
    ),
    (lambda: elman.Residual("LSTM"), TypeError, "Residual: layer must be a layer, got str"),
    (
        lambda: elman.stack(elman.LSTM, [3]),
        ValueError,
        "stack: sizes must hold the input size and at least one hidden size, got [3]",
    ),
    (
        lambda: elman.Linear(2, 3).init().final_output(()),
        TypeError,
        "Linear(input_size=2, output_size=3): has no state, so no final output",
    ),
    (
        lambda: elman.Residual(elman.LSTM(3, 3)).init().final_output(None),
        TypeError,
        "Residual(layer=LSTM(input_size=3, hidden_size=3)): has no final output from the state alone; "
        "put the last layer outside of Residual",
    ),
]


@pytest.mark.parametrize(("action", "kind", "sentence"), SENTENCES, ids=[sentence for _, _, sentence in SENTENCES])
def test_sentence(action, kind, sentence):
    with pytest.raises((ValueError, TypeError)) as caught:
        action()
    assert (type(caught.value), str(caught.value)) == (kind, sentence)


def test_a_state_gradient_may_be_left_out_at_any_place():
    y, state, tape = STACK.forward(IDS)
    whole = STACK.backward(tape, np.ones_like(y), STACK.zero_state(2))
    for part in (None, (None, None, None), ((), LSTMState(None, None), ()), ((), (None, np.zeros((2, 3))), ())):
        assert (STACK.backward(tape, np.ones_like(y), part).grads.flat == whole.grads.flat).all()
    with pytest.raises(TypeError, match="d_state must have the form of the state, a tuple of 3"):
        STACK.backward(tape, None, state[1])


def test_a_state_may_be_a_plain_tuple_or_list_and_partly_left_out():
    h, c = np.ones((2, 3)), np.ones((2, 3))
    expected = LSTM(X, LSTMState(h, c)).y
    assert (LSTM(X, (h, c)).y == expected).all()
    assert (LSTM(X, [h.tolist(), c.tolist()]).y == expected).all()
    assert (STACK(IDS, [None, LSTMState(h, c), None]).y == STACK(IDS, ((), (h, c), ())).y).all()
