"""The NumPy twin of the kernels: the definition of correct, written to be read. See spec.py for the equations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

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
from elman.params import Array

BLOCK = 1 << 14  # numbers that are updated at once: with all that is in between they stay in the cache

# ---------------------------------------------------------------------------------------------------- activations


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) without overflow; below the exponent's range it is the least normal number."""
    least = -708 if x.dtype == np.float64 else -87
    y = np.maximum(x, least)
    np.negative(y, out=y)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def relu(x: Array) -> Array:
    """Return max(x, 0); NaN passes."""
    return np.maximum(x, 0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": relu, "sigmoid": sigmoid}
# The derivatives, as functions of the activated value y = f(x).
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: (y > 0).astype(y.dtype),
    "sigmoid": lambda y: y * (1 - y),
}


def activate(activation: str, x: Array) -> Array:
    """Return f(x), elementwise, for the activation of that name."""
    return ACTIVATIONS[activation](x)


# ------------------------------------------------------------------------------ products over all T*B rows at once


def project(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return ``x weight^T + bias``, (..., O), for rows x (..., I), or gathered columns for ids x (...)."""
    if np.issubdtype(x.dtype, np.integer):
        y: Array = np.ascontiguousarray(weight.T)[x]
    else:
        y = x.reshape(-1, x.shape[-1]) @ weight.T
        y = y.reshape(*x.shape[:-1], len(weight))
    if bias is not None:
        y += bias
    return y


def project_backward(x: Array, weight: Array, d_y: Array, d_weight: Array, d_bias: Array | None) -> Array | None:
    """Add to the gradients of `project` and return d_x (..., I), or None for ids."""
    rows = d_y.reshape(-1, d_y.shape[-1])
    if d_bias is not None:
        d_bias += rows.sum(axis=0)
    if np.issubdtype(x.dtype, np.integer):
        scatter_rows(x, rows, d_weight.T)
        return None
    d_weight += rows.T @ x.reshape(-1, x.shape[-1])
    d_x: Array = (rows @ weight).reshape(x.shape)
    return d_x


def scatter_rows(ids: Array, rows: Array, table: Array) -> None:
    """Add each of rows (N, O) to the row of table (V, O) that ids (N entries) names."""
    ids = ids.ravel()
    if not ids.size:
        return
    order = np.argsort(ids, kind="stable")
    named, starts = np.unique(ids[order], return_index=True)
    table[named] += np.add.reduceat(rows[order], starts, axis=0)


def softmax_cross_entropy(y: Array, targets: Array, smoothing: float = 0.0, scale: float = 1.0) -> tuple[Array, Array]:
    """Return the loss of each row of logits y (..., V), and its gradient with respect to y times scale.

    The loss is (1 - smoothing) (-log softmax(y)[target]) + smoothing (mean of -log softmax(y)). Where the target is
    negative, it and its gradient are 0, whatever y is.
    """
    counts = targets >= 0
    d_y = np.where(counts[..., None], y, 0)
    d_y -= d_y.max(axis=-1, keepdims=True, initial=-np.inf)
    at = np.maximum(targets, 0)[..., None]
    losses = (smoothing - 1) * np.take_along_axis(d_y, at, axis=-1)
    if smoothing:
        losses -= smoothing * d_y.mean(axis=-1, keepdims=True)
    np.exp(d_y, out=d_y)
    total = d_y.sum(axis=-1, keepdims=True)
    losses += np.log(total)
    d_y *= scale / total
    d_y -= scale * smoothing / max(y.shape[-1], 1)
    np.put_along_axis(d_y, at, np.take_along_axis(d_y, at, axis=-1) - scale * (1 - smoothing), axis=-1)
    d_y[~counts] = 0
    losses[~counts] = 0
    return losses[..., 0], d_y


def adam(
    w: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, scale: float, epsilon: float
) -> None:
    """Do Adam's update in place on vectors w (N,) with gradients g and moments m and v."""
    for start in range(0, len(w), BLOCK):
        w_at, g_at, m_at, v_at = (vector[start : start + BLOCK] for vector in (w, g, m, v))
        m_at *= beta1
        m_at += (1 - beta1) * g_at
        v_at *= beta2
        v_at += (1 - beta2) * (g_at * g_at)
        w_at -= rate * m_at / (scale * np.sqrt(v_at) + epsilon)


def sum_of_squares(x: Array) -> float:
    """Return the sum of the squares of x, float32 or float64 of any shape, in double."""
    return float(np.square(x, dtype=np.float64).sum())


# --------------------------------------------------------------------------------------------- walking over time


def time_steps(T: int, reverse: bool) -> Iterator[tuple[int, int, int]]:
    """Yield (t, before, after): the step, and where the states before and after it lie in an array of T+1 states."""
    if reverse:
        return ((t, t + 1, t) for t in range(T - 1, -1, -1))
    return ((t, t, t + 1) for t in range(T))


def backward_steps(T: int, reverse: bool) -> Iterator[tuple[int, int, int]]:
    """Yield the same triples in the opposite order."""
    return ((t, after, before) for t, before, after in time_steps(T, not reverse))


def valid_steps(steps: Steps, T: int) -> Array | None:
    """Return the mask of valid steps (T, B, 1), or None where every step is valid."""
    if steps.lengths is None or (steps.lengths == T).all():
        return None
    return (np.arange(T)[:, None] < steps.lengths)[:, :, None]


def outputs(h: Array, steps: Steps, valid: Array | None) -> Array:
    """Return the outputs (T, B, H): the states after each step, 0 at padding unless held."""
    y = h[:-1] if steps.reverse else h[1:]
    return y if valid is None or steps.hold else np.where(valid, y, 0)


def states(first: Array, T: int) -> Array:
    """Return room for T+1 states (T+1, B, H), all of them still unset."""
    return np.empty((T + 1, *first.shape), first.dtype)


def output_gradient(d_y: Array, steps: Steps, valid: Array | None) -> Array:
    """Return d_y as it reaches the states: padding that is not held was never an output."""
    return d_y if valid is None or steps.hold else np.where(valid, d_y, 0)


def states_before(h: Array, steps: Steps) -> Array:
    """Return the states before each step, (T, B, H)."""
    return h[1:] if steps.reverse else h[:-1]


def both(first: Array | None, second: Array | None) -> Array | None:
    """Return the sum of two biases, either of which may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def finish_backward(tape_x: Array, h_before: Array, d_a: Array, weights: Weights, d_weights: Weights) -> Array | None:
    """Turn the gradient of all pre-activations d_a (T, B, GH) into the gradients of the weights, and return d_x."""
    GH = d_a.shape[-1]
    d_weights.weight_hh[...] += d_a.reshape(-1, GH).T @ h_before.reshape(-1, h_before.shape[-1])
    if d_weights.bias_hh is not None:
        d_weights.bias_hh[...] += d_a.sum(axis=(0, 1))
    return project_backward(tape_x, weights.weight_ih, d_a, d_weights.weight_ih, d_weights.bias_ih)


# ----------------------------------------------------------------------------------------------------------- RNN


def rnn_forward(
    x: Array, state: RNNState, weights: Weights, steps: Steps, activation: str, *, keep: bool
) -> KernelForward:
    """Run a simple recurrent network: ``h_t = f(W x_t + U h_{t-1} + b)``, (T, B, I) -> (T, B, H)."""
    T = len(x)
    f = ACTIVATIONS[activation]
    valid = valid_steps(steps, T)
    a = project(x, weights.weight_ih, both(weights.bias_ih, weights.bias_hh))
    h = states(state.h, T)
    h[T if steps.reverse else 0] = state.h
    for t, before, after in time_steps(T, steps.reverse):
        h[after] = f(a[t] + h[before] @ weights.weight_hh.T)
        if valid is not None:
            np.copyto(h[after], h[before], where=~valid[t])
    last = h[0 if steps.reverse else T].copy()
    return KernelForward(outputs(h, steps, valid), RNNState(last), RNNTape(x, h) if keep else None)


def rnn_backward(
    tape: RNNTape,
    weights: Weights,
    steps: Steps,
    activation: str,
    d_y: Array,
    d_state: RNNState,
    d_weights: Weights,
) -> KernelBackward:
    """Backpropagate through time: d_a_t = f'(a_t) d_h_t and d_h_{t-1} = d_y_{t-1} + U^T d_a_t."""
    x, h = tape
    T = len(x)
    valid = valid_steps(steps, T)
    d_y = output_gradient(d_y, steps, valid)
    slope = DERIVATIVES[activation]
    d_h = np.empty_like(d_y)
    d_a = np.empty_like(d_y)
    carry = d_state.h
    for t, _, after in backward_steps(T, steps.reverse):
        d_h[t] = d_y[t] + carry
        d_a[t] = d_h[t] * slope(h[after])
        if valid is not None:
            np.copyto(d_a[t], 0, where=~valid[t])
        carry = d_a[t] @ weights.weight_hh
        if valid is not None:
            carry += np.where(valid[t], 0, d_h[t])
    d_x = finish_backward(x, states_before(h, steps), d_a, weights, d_weights)
    return KernelBackward(d_x, RNNState(carry), RNNState(d_h))


# ---------------------------------------------------------------------------------------------------------- LSTM


def lstm_forward(x: Array, state: LSTMState, weights: Weights, steps: Steps, *, keep: bool) -> KernelForward:
    """Run an LSTM (Hochreiter and Schmidhuber 1997, with Gers' forget gate), (T, B, I) -> (T, B, H)."""
    T = len(x)
    valid = valid_steps(steps, T)
    gates = project(x, weights.weight_ih, both(weights.bias_ih, weights.bias_hh))
    i, f, g, o = np.split(gates, 4, axis=2)  # views (T, B, H)
    h, c = states(state.h, T), states(state.c, T)
    h[T if steps.reverse else 0] = state.h
    c[T if steps.reverse else 0] = state.c
    for t, before, after in time_steps(T, steps.reverse):
        gates[t] += h[before] @ weights.weight_hh.T
        i[t], f[t], g[t], o[t] = sigmoid(i[t]), sigmoid(f[t]), np.tanh(g[t]), sigmoid(o[t])
        c[after] = f[t] * c[before] + i[t] * g[t]
        h[after] = o[t] * np.tanh(c[after])
        if valid is not None:
            np.copyto(h[after], h[before], where=~valid[t])
            np.copyto(c[after], c[before], where=~valid[t])
    end = 0 if steps.reverse else T
    last = LSTMState(h[end].copy(), c[end].copy())
    return KernelForward(outputs(h, steps, valid), last, LSTMTape(x, h, c, gates) if keep else None)


def lstm_backward(
    tape: LSTMTape, weights: Weights, steps: Steps, d_y: Array, d_state: LSTMState, d_weights: Weights
) -> KernelBackward:
    """Backpropagate through time; the cell's own path is d_c_{t-1} = f_t d_c_t, without a matrix or a squashing."""
    x, h, c, gates = tape
    T = len(x)
    valid = valid_steps(steps, T)
    d_y = output_gradient(d_y, steps, valid)
    d_h, d_c = np.empty_like(d_y), np.empty_like(d_y)
    d_a = np.empty_like(gates)
    i, f, g, o = np.split(gates, 4, axis=2)  # views (T, B, H)
    d_i, d_f, d_g, d_o = np.split(d_a, 4, axis=2)
    carry_h, carry_c = d_state
    for t, before, after in backward_steps(T, steps.reverse):
        tanh_c = np.tanh(c[after])
        d_h[t] = d_y[t] + carry_h
        d_c[t] = carry_c + d_h[t] * o[t] * (1 - tanh_c * tanh_c)
        if valid is not None:
            d_c[t] = np.where(valid[t], d_c[t], carry_c)
        d_i[t] = d_c[t] * g[t] * i[t] * (1 - i[t])
        d_f[t] = d_c[t] * c[before] * f[t] * (1 - f[t])
        d_g[t] = d_c[t] * i[t] * (1 - g[t] * g[t])
        d_o[t] = d_h[t] * tanh_c * o[t] * (1 - o[t])
        if valid is not None:
            np.copyto(d_a[t], 0, where=~valid[t])
        carry_h = d_a[t] @ weights.weight_hh
        carry_c = d_c[t] * f[t]
        if valid is not None:
            carry_h += np.where(valid[t], 0, d_h[t])
            carry_c = np.where(valid[t], carry_c, d_c[t])
    d_x = finish_backward(x, states_before(h, steps), d_a, weights, d_weights)
    return KernelBackward(d_x, LSTMState(carry_h, carry_c), LSTMState(d_h, d_c))


# ----------------------------------------------------------------------------------------------------------- GRU


def gru_forward(
    x: Array, state: GRUState, weights: Weights, steps: Steps, reset_after: bool, *, keep: bool
) -> KernelForward:
    """Run a GRU (Cho et al. 2014; with reset_after as in cuDNN and PyTorch), (T, B, I) -> (T, B, H)."""
    T, H = len(x), state.h.shape[1]
    valid = valid_steps(steps, T)
    U = weights.weight_hh
    bias_hh = weights.bias_hh if weights.bias_hh is not None else np.zeros(3 * H, U.dtype)
    gates = project(x, weights.weight_ih, weights.bias_ih)
    gates[..., : 2 * H] += bias_hh[: 2 * H]
    if not reset_after:
        gates[..., 2 * H :] += bias_hh[2 * H :]
    rz, (r, z, n) = gates[..., : 2 * H], np.split(gates, 3, axis=2)  # views
    hidden_n = np.empty((T, *state.h.shape), state.h.dtype) if reset_after and keep else None
    h = states(state.h, T)
    h[T if steps.reverse else 0] = state.h
    for t, before, after in time_steps(T, steps.reverse):
        if reset_after:
            hidden = h[before] @ U.T
            rz[t] = sigmoid(rz[t] + hidden[:, : 2 * H])
            u_n = hidden[:, 2 * H :] + bias_hh[2 * H :]
            if hidden_n is not None:
                hidden_n[t] = u_n
            n[t] = np.tanh(n[t] + r[t] * u_n)
        else:
            rz[t] = sigmoid(rz[t] + h[before] @ U[: 2 * H].T)
            n[t] = np.tanh(n[t] + (r[t] * h[before]) @ U[2 * H :].T)
        h[after] = (1 - z[t]) * n[t] + z[t] * h[before]
        if valid is not None:
            np.copyto(h[after], h[before], where=~valid[t])
    last = GRUState(h[0 if steps.reverse else T].copy())
    return KernelForward(outputs(h, steps, valid), last, GRUTape(x, h, gates, hidden_n) if keep else None)


def gru_backward(
    tape: GRUTape,
    weights: Weights,
    steps: Steps,
    reset_after: bool,
    d_y: Array,
    d_state: GRUState,
    d_weights: Weights,
) -> KernelBackward:
    """Backpropagate through time, in either mode of the reset gate."""
    x, h, gates, hidden_n = tape
    T, H = len(x), h.shape[-1]
    valid = valid_steps(steps, T)
    d_y = output_gradient(d_y, steps, valid)
    U = weights.weight_hh
    d_h = np.empty_like(d_y)
    d_a = np.empty_like(gates)  # of the input's pre-activations
    d_u_n = np.empty_like(d_y) if reset_after else None  # of U_n h_{t-1} + b_hh_n, where it differs from d_n
    r, z, n = np.split(gates, 3, axis=2)  # views (T, B, H)
    d_r, d_z, d_n = np.split(d_a, 3, axis=2)
    carry = d_state.h
    for t, before, _ in backward_steps(T, steps.reverse):
        d_h[t] = d_y[t] + carry
        d_z[t] = d_h[t] * (h[before] - n[t]) * z[t] * (1 - z[t])
        d_n[t] = d_h[t] * (1 - z[t]) * (1 - n[t] * n[t])
        if valid is not None:
            np.copyto(d_a[t, :, H:], 0, where=~valid[t])
        through_reset = d_n[t] @ U[2 * H :] if d_u_n is None else d_n[t] * r[t]
        reset = through_reset * h[before] if hidden_n is None else d_n[t] * hidden_n[t]
        d_r[t] = reset * r[t] * (1 - r[t])
        carry = d_h[t] * z[t] + d_a[t, :, : 2 * H] @ U[: 2 * H]
        if d_u_n is None:
            carry += through_reset * r[t]
        else:
            d_u_n[t] = through_reset
            carry += through_reset @ U[2 * H :]
        if valid is not None:
            carry = np.where(valid[t], carry, d_h[t])
    h_before = states_before(h, steps)
    if d_u_n is None:
        d_u_n, seen = d_a[..., 2 * H :], gates[..., :H] * h_before
    else:
        seen = h_before
    d_weights.weight_hh[: 2 * H] += d_a[..., : 2 * H].reshape(-1, 2 * H).T @ h_before.reshape(-1, H)
    d_weights.weight_hh[2 * H :] += d_u_n.reshape(-1, H).T @ seen.reshape(-1, H)
    if d_weights.bias_hh is not None:
        d_weights.bias_hh[: 2 * H] += d_a[..., : 2 * H].sum(axis=(0, 1))
        d_weights.bias_hh[2 * H :] += d_u_n.sum(axis=(0, 1))
    d_x = project_backward(x, weights.weight_ih, d_a, d_weights.weight_ih, d_weights.bias_ih)
    return KernelBackward(d_x, GRUState(carry), GRUState(d_h))
