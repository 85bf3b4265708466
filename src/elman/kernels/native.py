"""The compiled twin of the kernels: hands arrays to the native module, and computes nothing itself. See spec.py.

What it promises beyond the reference: each output is one sum in one order, whatever the batch, the number of threads or
the way a sequence is cut into chunks, so results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from elman import _native
from elman.kernels import reference
from elman.kernels.spec import (
    GRUState,
    GRUTape,
    KernelBackward,
    KernelForward,
    LSTMState,
    LSTMTape,
    RNNState,
    RNNTape,
    Steps,
    Weights,
)
from elman.padding import fill_padding
from elman.params import Array

# As the native module numbers them.
CELLS = {"tanh": 0, "relu": 1, "sigmoid": 2, "lstm": 3, "gru_after": 4, "gru_before": 5}
ACTIVATIONS = {"tanh": 0, "relu": 1, "sigmoid": 2}


def _rows(x: Array) -> Array:
    """Return x aligned, its last axis contiguous, the others with any strides that are whole numbers of its items."""
    contiguous = x.strides[-1] == x.itemsize or x.shape[-1] < 2
    if contiguous and x.flags.aligned and all(stride % x.itemsize == 0 for stride in x.strides):
        return x
    return _whole(x)


def _whole(x: Array) -> Array:
    """Return x aligned and contiguous."""
    return np.require(x, requirements=["C", "A"])


def _lengths(steps: Steps, T: int) -> Array | None:
    """Return the lengths (B,), or None where every step is valid."""
    if steps.lengths is None or (steps.lengths == T).all():
        return None
    return np.ascontiguousarray(steps.lengths, np.int64)


def _split(x: Array) -> tuple[Array | None, Array | None]:
    """Return (features, ids), one of them None."""
    if np.issubdtype(x.dtype, np.integer):
        return None, _rows(x.astype(np.int64, copy=False)[..., None])[..., 0]
    return _rows(x), None


# ------------------------------------------------------------------------------------------ products and activations


def project(x: Array, weight: Array, bias: Array | None) -> Array:  # noqa: D103  # as in spec.py
    return _project(x, weight, bias, None)


def _project(x: Array, weight: Array, bias: Array | None, packed: Any) -> Array:
    if np.issubdtype(x.dtype, np.integer):
        return reference.project(x, weight, bias)
    y = np.empty((*x.shape[:-1], len(weight)), weight.dtype)
    rows = _whole(x).reshape(-1, x.shape[-1])
    _native.linear(rows, weight, bias, packed, y.reshape(-1, len(weight)))
    return y


def project_backward(  # noqa: D103
    x: Array, weight: Array, d_y: Array, d_weight: Array, d_bias: Array | None
) -> Array | None:
    if np.issubdtype(x.dtype, np.integer):
        return reference.project_backward(x, weight, d_y, d_weight, d_bias)
    rows = _whole(d_y).reshape(-1, d_y.shape[-1])
    d_x = np.empty(x.shape, x.dtype)
    x_rows = _whole(x).reshape(-1, x.shape[-1])
    _native.linear_backward(x_rows, weight, rows, d_x.reshape(x_rows.shape), d_weight, d_bias)
    return d_x


def scatter_rows(ids: Array, rows: Array, table: Array) -> None:  # noqa: D103
    _native.scatter(_whole(ids.ravel().astype(np.int64, copy=False)), _whole(rows), table)


def activate(activation: str, x: Array) -> Array:  # noqa: D103
    x = _whole(x)
    y = np.empty_like(x)
    _native.activate(ACTIVATIONS[activation], x.reshape(-1), y.reshape(-1))
    return y


def softmax_cross_entropy(  # noqa: D103
    y: Array, targets: Array, smoothing: float = 0.0, scale: float = 1.0
) -> tuple[Array, Array]:
    if y.ndim == 3 and not y.flags.c_contiguous and y.swapaxes(0, 1).flags.c_contiguous:
        # as models give it: no copy, neither here nor where they take d_y
        losses, d_y = softmax_cross_entropy(y.swapaxes(0, 1), targets.T, smoothing, scale)
        return losses.T, d_y.swapaxes(0, 1)
    V = y.shape[-1]
    y = _whole(y)
    losses, d_y = np.empty(targets.shape, y.dtype), np.empty(y.shape, y.dtype)
    ids = np.ascontiguousarray(targets, np.int64)
    _native.cross_entropy(y.reshape(-1, V), ids.reshape(-1), smoothing, scale, losses.reshape(-1), d_y.reshape(-1, V))
    return losses, d_y


def adam(  # noqa: D103
    w: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, scale: float, epsilon: float
) -> None:
    _native.adam(w, _whole(g), m, v, rate, beta1, beta2, scale, epsilon)


def sum_of_squares(x: Array) -> float:  # noqa: D103
    floats = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    return float(_native.sum_of_squares(_whole(floats).reshape(-1)))


# ----------------------------------------------------------------------------------------------------- recurrences


class _Passed(NamedTuple):
    """What a forward pass gives before it is dressed as a `KernelForward`."""

    y: Array
    h: Array | None  # (T+1, B, H), the tape's, if kept
    c: Array | None
    gates: Array | None
    hidden_n: Array | None
    state: list[Array]  # h, and c of an LSTM


def _forward(
    cell: str, x: Array, state: tuple[Array, ...], weights: Weights, steps: Steps, keep: bool, packed: Any
) -> _Passed:
    T, B, H, dtype = len(x), x.shape[1], weights.weight_hh.shape[1], weights.weight_hh.dtype
    G = len(weights.weight_hh) // H
    features, ids = _split(x)
    lengths = _lengths(steps, T)
    start = [_whole(s) for s in state]
    last = [np.empty((B, H), dtype) for _ in state]
    h = c = gates = hidden_n = y = None
    after = slice(0, T) if steps.reverse else slice(1, T + 1)
    room = np.empty if lengths is None else np.zeros  # of what is never written at padding
    if keep:
        h = np.empty((T + 1, B, H), dtype)
        y = h[after]
        if cell == "lstm":
            c = np.empty((T + 1, B, H), dtype)
        if cell in ("lstm", "gru_after", "gru_before"):
            gates = room((T, B, G * H), dtype)
        if cell == "gru_after":
            hidden_n = room((T, B, H), dtype)
    else:
        y = np.empty((B, T, H), dtype).swapaxes(0, 1)  # batch first outside
    _native.forward(
        CELLS[cell],
        features,
        ids,
        weights.weight_ih,
        weights.weight_hh,
        weights.bias_ih,
        weights.bias_hh,
        packed,
        lengths,
        steps.reverse,
        start[0],
        start[1] if cell == "lstm" else None,
        y,
        gates,
        hidden_n,
        None if c is None else c[after],
        last[0],
        last[1] if cell == "lstm" else None,
    )
    for states, first, end in ((h, start[0], last[0]), (c, start[-1], last[-1])):
        if states is not None:
            states[T if steps.reverse else 0] = first
            if lengths is not None:  # there the state stands still
                fill_padding(states[after], lengths, first if steps.reverse else end)
    if lengths is not None and not steps.hold:
        y = y if h is None else y.copy()
        fill_padding(y, lengths)
    elif lengths is not None and h is None:
        fill_padding(y, lengths, start[0] if steps.reverse else last[0])
    return _Passed(y, h, c, gates, hidden_n, last)


def _backward(
    cell: str,
    x: Array,
    h: Array,
    c: Array | None,
    gates: Array | None,
    hidden_n: Array | None,
    weights: Weights,
    steps: Steps,
    d_y: Array,
    d_state: tuple[Array, ...],
    d_weights: Weights,
) -> tuple[Array | None, list[Array], list[Array]]:
    """Return d_x, the gradients of the first state, and those of the states on the way."""
    T = len(x)
    features, ids = _split(x)
    lengths = _lengths(steps, T)
    d_start = [np.array(d, order="C") for d in d_state]
    d_steps = [np.empty((T, *d.shape), d.dtype) for d in d_state]
    before, after = (slice(1, T + 1), slice(0, T)) if steps.reverse else (slice(0, T), slice(1, T + 1))
    d_x = None
    if ids is None:
        d_x = np.empty(x.shape, x.dtype)
        if lengths is not None:
            fill_padding(d_x, lengths)
    _native.backward(
        CELLS[cell],
        features,
        ids,
        weights.weight_ih,
        weights.weight_hh,
        lengths,
        steps.reverse,
        steps.hold,
        h[before],
        h[after],
        None if c is None else c[before],
        None if c is None else c[after],
        gates,
        hidden_n,
        _rows(d_y),
        d_start[0],
        d_start[1] if cell == "lstm" else None,
        d_steps[0],
        d_steps[1] if cell == "lstm" else None,
        d_x,
        d_weights.weight_ih,
        d_weights.weight_hh,
        d_weights.bias_ih,
        d_weights.bias_hh,
    )
    return d_x, d_start, d_steps


def rnn_forward(  # noqa: D103
    x: Array, state: RNNState, weights: Weights, steps: Steps, activation: str, *, keep: bool
) -> KernelForward:
    return _rnn_forward(x, state, weights, steps, activation, keep, None)


def _rnn_forward(
    x: Array, state: RNNState, weights: Weights, steps: Steps, activation: str, keep: bool, packed: Any
) -> KernelForward:
    p = _forward(activation, x, state, weights, steps, keep, packed)
    return KernelForward(p.y, RNNState(*p.state), None if p.h is None else RNNTape(x, p.h))


def rnn_backward(  # noqa: D103
    tape: RNNTape,
    weights: Weights,
    steps: Steps,
    activation: str,
    d_y: Array,
    d_state: RNNState,
    d_weights: Weights,
) -> KernelBackward:
    d_x, d_start, d_steps = _backward(
        activation, tape.x, tape.h, None, None, None, weights, steps, d_y, d_state, d_weights
    )
    return KernelBackward(d_x, RNNState(*d_start), RNNState(*d_steps))


def lstm_forward(  # noqa: D103
    x: Array, state: LSTMState, weights: Weights, steps: Steps, *, keep: bool
) -> KernelForward:
    return _lstm_forward(x, state, weights, steps, keep, None)


def _lstm_forward(x: Array, state: LSTMState, weights: Weights, steps: Steps, keep: bool, packed: Any) -> KernelForward:
    p = _forward("lstm", x, state, weights, steps, keep, packed)
    tape = None if p.h is None or p.c is None or p.gates is None else LSTMTape(x, p.h, p.c, p.gates)
    return KernelForward(p.y, LSTMState(*p.state), tape)


def lstm_backward(  # noqa: D103
    tape: LSTMTape, weights: Weights, steps: Steps, d_y: Array, d_state: LSTMState, d_weights: Weights
) -> KernelBackward:
    d_x, d_start, d_steps = _backward(
        "lstm", tape.x, tape.h, tape.c, tape.gates, None, weights, steps, d_y, d_state, d_weights
    )
    return KernelBackward(d_x, LSTMState(*d_start), LSTMState(*d_steps))


def gru_forward(  # noqa: D103
    x: Array, state: GRUState, weights: Weights, steps: Steps, reset_after: bool, *, keep: bool
) -> KernelForward:
    return _gru_forward(x, state, weights, steps, reset_after, keep, None)


def _gru_forward(
    x: Array, state: GRUState, weights: Weights, steps: Steps, reset_after: bool, keep: bool, packed: Any
) -> KernelForward:
    p = _forward("gru_after" if reset_after else "gru_before", x, state, weights, steps, keep, packed)
    tape = None if p.h is None or p.gates is None else GRUTape(x, p.h, p.gates, p.hidden_n)
    return KernelForward(p.y, GRUState(*p.state), tape)


def gru_backward(  # noqa: D103
    tape: GRUTape,
    weights: Weights,
    steps: Steps,
    reset_after: bool,
    d_y: Array,
    d_state: GRUState,
    d_weights: Weights,
) -> KernelBackward:
    cell = "gru_after" if reset_after else "gru_before"
    d_x, d_start, d_steps = _backward(
        cell, tape.x, tape.h, None, tape.gates, tape.hidden_n, weights, steps, d_y, d_state, d_weights
    )
    return KernelBackward(d_x, GRUState(*d_start), GRUState(*d_steps))


# ---------------------------------------------------------------------------------------------------- packed weights


def pack_recurrence(cell: str, weights: Weights, *, narrow: bool) -> Any:
    """Return the weights of a recurrence in the order in which the kernels read them; as bfloat16 if narrow."""
    return _native.pack_recurrent(CELLS[cell], *weights, narrow)


def pack_linear(weight: Array, bias: Array | None, *, narrow: bool) -> Any:
    """Return the weights of a Linear in the order in which the kernels read them; as bfloat16 if narrow."""
    return _native.pack_linear(weight, bias, narrow)


class PackedKernels:
    """The forward kernels, with weights that were packed before: an engine's twin. It keeps no tapes.

    Parameters
    ----------
    packed : packed weights by the address of weight_hh (of a recurrence) or of weight (of a Linear)
    """

    def __init__(self, packed: Mapping[int, Any]) -> None:
        self._packed = packed

    def _of(self, weight: Array) -> Any:
        return self._packed.get(weight.ctypes.data)

    def project(self, x: Array, weight: Array, bias: Array | None) -> Array:  # noqa: D102
        return _project(x, weight, bias, self._of(weight))

    def activate(self, activation: str, x: Array) -> Array:  # noqa: D102
        return activate(activation, x)

    def rnn_forward(  # noqa: D102
        self, x: Array, state: RNNState, weights: Weights, steps: Steps, activation: str, *, keep: bool
    ) -> KernelForward:
        return _rnn_forward(x, state, weights, steps, activation, keep, self._of(weights.weight_hh))

    def lstm_forward(  # noqa: D102
        self, x: Array, state: LSTMState, weights: Weights, steps: Steps, *, keep: bool
    ) -> KernelForward:
        return _lstm_forward(x, state, weights, steps, keep, self._of(weights.weight_hh))

    def gru_forward(  # noqa: D102
        self, x: Array, state: GRUState, weights: Weights, steps: Steps, reset_after: bool, *, keep: bool
    ) -> KernelForward:
        return _gru_forward(x, state, weights, steps, reset_after, keep, self._of(weights.weight_hh))
