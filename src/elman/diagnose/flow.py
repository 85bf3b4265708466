"""The gradient of every state through time, and what the gates and units do meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from elman import losses
from elman.diagnose.nonfinite import locate_nonfinite
from elman.diagnose.results import HIGH, LOW, GradientFlow, LayerFlow, Saturation
from elman.diagnose.walk import Place, recurrent_layers, recurrent_places
from elman.kernels.spec import GRUTape, LSTMTape, RNNTape
from elman.layers import LSTM, RNN, Layer, Recurrent
from elman.layers.boundary import Form, arrange, pad
from elman.losses import Loss
from elman.model import Model
from elman.params import Array
from elman.sequences import Batch
from elman.trees import tree_leaves, tree_map

CONSTANT = 1e-6  # a unit whose output moves less than this is constant


def gradient_flow(
    model: Model, batch: Any, *, loss: Callable[..., Loss] | None = None, state: Any = None
) -> GradientFlow:
    """Measure d(loss)/d(h_t) of every recurrent layer at every step, by backpropagation through time.

    ::

        flow = elman.diagnose.gradient_flow(model, batch)
        print(flow)                                  # tables and a verdict in words, with a remedy
        flow["1"].norms["h"], flow["1"].memory_steps

    Two backward passes on one tape: of the batch's loss (``norms``), and of its loss at each row's last valid step
    alone (``norms_back``, ``surviving``, the memory). Layers that run in reverse end their walk at step 0, and so are
    measured by the loss there. Where the loss does not look at that step, the sum of its outputs stands in.

    Parameters
    ----------
    model : Model; it is computed in float64, so that no small gradient is lost. Dropout is off
    batch : Batch, or (x, targets) or (x, targets, lengths), or x; in any form that the model takes
    loss : function (y, targets, lengths=) -> Loss(value, d_y). Absent: `cross_entropy` for integer targets and
        `mean_squared_error` for others (with one target a row, at its last valid step); without targets the sum of
        the outputs of the last valid step
    state : state before the first step, as for the model

    Raises
    ------
    ValueError, TypeError
        if there is nothing to measure: no recurrent layer, no valid step; and for what does not fit
    FloatingPointError
        if the outputs or the loss are not finite; the sentence says where

    Cost: that of one forward and two backward passes (three with reverse layers) in float64, and the eigenvalues of
    each recurrent matrix.
    """
    x, targets, lengths, full = _arranged(model.layer, batch)
    exact = model.astype(np.float64)
    if not any(True for _ in recurrent_layers(model.layer)):
        raise TypeError(f"gradient_flow: {model.layer!r} has no recurrent layer, so no gradient through time")
    if not lengths.max(initial=0):
        raise ValueError(f"gradient_flow: the batch has no valid step ({len(lengths)} rows), so nothing to measure")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        y, _, tape = exact.forward(x, state, lengths=None if full else lengths)
        value, d_y = _loss(y, targets, None if full else lengths, loss)
        if not (math.isfinite(value) and np.isfinite(y).all()):
            problem = locate_nonfinite(model.layer, value, y, exact.params.zeros_like(), ())
            raise FloatingPointError(f"gradient_flow: {problem}")
        passes = [exact.backward(tape, d) for d in (d_y, *_seeds(d_y, lengths, model.layer))]
        trees = [tree for result in passes for tree in (result.d_state, result.d_states)]
        places = recurrent_places(model.layer, "", exact.params, tape.layer, trees)
        return GradientFlow(tuple(_measure(place, lengths) for place in places), value, len(lengths))


def state_jacobian(model: Model, x: Any, state: Any = None) -> Array:
    """Return the exact Jacobian d(state after the last step) / d(state before the first) of one sequence, (S, S).

    The state is flat, all its arrays one after the other: h of an RNN or GRU, (h, c) of an LSTM, and those of each
    layer of a stack; S is their sum of sizes. Entry [i, j] is d(number i after) / d(number j before).

    Parameters
    ----------
    model : Model, computed in float64
    x : (T, F) one sequence, or (T,) token ids
    state : state before the first step, each array (1, H); None starts from zeros or the learned state

    Cost: one forward and one backward pass of S rows.
    """
    x = np.asarray(x)
    if x.ndim != (1 if model.layer.takes_tokens else 2):
        raise ValueError(f"state_jacobian: x must be one sequence, without the axis of a batch, got shape {x.shape}")
    exact = model.astype(np.float64)
    one = exact.zero_state(1)
    sizes = [leaf.shape[1] for _, leaf in tree_leaves(one)]
    S = sum(sizes)
    if not S:
        raise TypeError(f"state_jacobian: {model.layer!r} has no state")
    start = None if state is None else tree_map(lambda array: np.repeat(np.asarray(array), S, axis=0), state)
    units = iter(np.split(np.eye(S), np.cumsum(sizes)[:-1], axis=1))
    _, _, tape = exact.forward(np.broadcast_to(x, (S, *x.shape)), start)
    d_start = exact.backward(tape, None, tree_map(lambda _: next(units), one)).d_state
    return np.concatenate([leaf for _, leaf in tree_leaves(d_start)], axis=1)


def _arranged(layer: Layer, batch: Any) -> tuple[Array, Any, Array, bool]:
    """Return x (B, T, ...), targets alike, lengths (B,), and whether all rows are full."""
    batch = Batch(*batch) if isinstance(batch, tuple) else Batch(batch, None)
    x, form = arrange(
        "gradient_flow", batch.x, batch.lengths, tokens=layer.takes_tokens, size=layer.in_size, dtype=np.float64
    )
    T, B = x.shape[:2]
    lengths = np.full(B, T) if form.lengths is None else form.lengths
    targets = None if batch.targets is None else _arranged_targets(batch.targets, form, lengths)
    return x.swapaxes(0, 1), targets, lengths, form.lengths is None


def _arranged_targets(targets: Any, form: Form, lengths: Array) -> Any:
    if form.kind == "single":
        return np.asarray(targets)[None]
    if form.kind == "list" and all(np.ndim(row) and len(row) == n for row, n in zip(targets, lengths, strict=True)):
        return pad([np.asarray(row) for row in targets], np.asarray(targets[0]).dtype)[0]
    return np.asarray(targets) if isinstance(targets, list) else targets


def _loss(y: Array, targets: Any, lengths: Any, loss: Callable[..., Loss] | None) -> Loss:
    if loss is not None:
        return loss(y, targets, lengths=lengths)
    if targets is None:
        of_sum = losses.at_last_step(lambda last, _: Loss(float(last.sum()), np.ones_like(last)))
        return of_sum(y, np.zeros(len(y)), lengths=lengths)
    targets = np.asarray(targets)
    ids = targets.dtype.kind in "ui"
    loss = losses.cross_entropy if ids else losses.mean_squared_error
    if targets.ndim == (1 if ids else y.ndim - 1):
        loss = losses.at_last_step(loss)
    return loss(y, targets, lengths=lengths)


def _seeds(d_y: Array, lengths: Array, layer: Layer) -> Iterator[Array]:
    """Yield d_y at each row's last valid step alone, and, if a layer runs in reverse, at its first alone."""
    rows = np.flatnonzero(lengths > 0)
    reverse = any(inner.reverse for _, inner in recurrent_layers(layer))
    for at in (lengths[rows] - 1, np.zeros(len(rows), np.intp))[: 2 if reverse else 1]:
        seed = np.zeros_like(d_y)
        seed[rows, at] = d_y[rows, at] if d_y[rows, at].any() else 1
        yield seed


def _measure(place: Place, lengths: Array) -> LayerFlow:
    layer, reverse = place.layer, place.layer.reverse
    fields = layer.state_type._fields
    whole, alone = place.gradients[:2], place.gradients[4:6] if reverse else place.gradients[2:4]
    norms, norms_back, surviving, units = {}, {}, [], []
    for name, d_start, d_steps, d_start_alone, d_steps_alone in zip(fields, *whole, *alone, strict=True):
        norms[name] = _norm(_by_time(d_start, d_steps, lengths, reverse), (1, 2))
        back = _by_steps_back(_by_time(d_start_alone, d_steps_alone, lengths, reverse), lengths, reverse)
        norms_back[name] = _norm(back, (1, 2))
        surviving.append(_surviving(back, lengths))
        units.append(_share(_norm(d_start_alone, 0), _norm(back[0], (0, 1)) / math.sqrt(layer.hidden_size)))
    valid = np.arange(int(lengths.max()))[:, None] < lengths
    activations = _activations(layer, place.tape)
    saturated = {gate: _saturated(layer, gate, a[: len(valid)]) for gate, a in activations.items()}
    return LayerFlow(
        name=place.name,
        layer=layer,
        norms=norms,
        norms_back=norms_back,
        surviving=np.max(surviving, axis=0),
        unit_norms=np.max(units, axis=0),
        saturation={
            gate: Saturation(float(low[valid].mean()), float(high[valid].mean()))
            for gate, (low, high) in saturated.items()
        },
        spectral_radius=_spectral_radii(layer, place.params["weight_hh"]),
        dead_units=_dead_units(layer, place.tape, saturated, valid),
    )


def _by_time(d_start: Array, d_steps: Array, lengths: Array, reverse: bool) -> Array:
    """Return the gradients of all states, (T+1, B, H), where a tape has those states; 0 where a row has none.

    `d_start` (B, H) is of the initial states, `d_steps` (B, T, H) of those after each step, cut to the longest row.
    """
    T, rows = int(lengths.max()), np.arange(len(lengths))
    valid = (np.arange(T)[:, None] < lengths)[:, :, None]
    d = np.zeros((T + 1, *d_start.shape))
    (d[:T] if reverse else d[1:])[...] = np.where(valid, d_steps[:, :T].swapaxes(0, 1), 0)
    d[lengths if reverse else np.zeros_like(lengths), rows] = d_start
    return np.nan_to_num(d, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def _by_steps_back(d: Array, lengths: Array, reverse: bool) -> Array:
    """Return gradients by time as gradients k = 0..T steps back from the end of each row's walk; 0 beyond its start."""
    k = np.arange(len(d))[:, None]
    inside = k <= lengths
    at = np.where(inside, k if reverse else lengths - k, 0)
    return np.where(inside[:, :, None], d[at, np.arange(len(lengths))], 0)


def _surviving(back: Array, lengths: Array) -> Array:
    """Return the norm k steps back over that at the end, each over the rows that have k steps, (T+1,)."""
    ends = _norm(back[0], 1)  # (B,)
    k = np.arange(len(back))[:, None]
    return _share(_norm(back, (1, 2)), _norm(np.where((k <= lengths) & (lengths > 0), ends, 0), 1))


def _share(part: Array, whole: Array) -> Array:
    """Return part / whole; where whole is 0, 0."""
    share = np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)
    return np.nan_to_num(share, nan=np.inf, posinf=np.inf)


def _norm(values: Array, axes: int | tuple[int, ...]) -> Array:
    """Return the root of the sum of squares, also where the squares would leave the range of a double."""
    scale = np.abs(values).max(axis=axes, keepdims=True, initial=0)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1)
    norm: Array = np.squeeze(scale, axis=axes) * np.sqrt(np.square(values / scale).sum(axis=axes))
    return norm


def _activations(layer: Recurrent, tape: Any) -> dict[str, Array]:
    """Return the activated gates, each (T, B, H), by name."""
    after = slice(None, -1) if layer.reverse else slice(1, None)
    if isinstance(tape, RNNTape):
        return {"h": tape.h[after]}
    assert isinstance(tape, GRUTape | LSTMTape)
    names = layer.gate_names
    gates = dict(zip(names, np.split(tape.gates, len(names), axis=2), strict=True))
    return gates | {"c": np.tanh(tape.c[after])} if isinstance(tape, LSTMTape) else gates


def _saturated(layer: Recurrent, gate: str, values: Array) -> tuple[Array, Array]:
    """Return two masks of a gate's activations: at the low end of its range, and at the high end."""
    activation = "tanh" if gate in ("g", "n", "c") else "sigmoid"
    if isinstance(layer, RNN):
        activation = layer.activation
    if activation == "relu":
        return values == 0, np.zeros(values.shape, bool)
    return values < (-HIGH if activation == "tanh" else LOW), values > HIGH


def _spectral_radii(layer: Recurrent, weight_hh: Array) -> dict[str, float]:
    if not np.isfinite(weight_hh).all():
        return dict.fromkeys(layer.gate_names, math.inf)
    blocks = zip(layer.gate_names, np.split(weight_hh, len(layer.gate_names)), strict=True)
    return {gate: float(np.abs(np.linalg.eigvals(block)).max()) for gate, block in blocks}


def _dead_units(
    layer: Recurrent, tape: Any, saturated: Mapping[str, tuple[Array, Array]], valid: Array
) -> tuple[int, ...]:
    """Return the units that tell nothing: constant though the input is not, or stuck at every valid step.

    Stuck is the function that writes the state (h of an RNN, g of an LSTM, n of a GRU) if it is saturated throughout,
    and an LSTM's unit whose output gate is shut throughout.
    """
    writes = saturated[{"RNN": "h", "LSTM": "g", "GRU": "n"}[type(layer).__name__]]
    dead = (writes[0] | writes[1])[valid].all(axis=0)
    if isinstance(layer, LSTM):
        dead |= saturated["o"][0][valid].all(axis=0)
    if np.ptp(tape.x[: len(valid)][valid], axis=0).max(initial=0) > 0:
        h = (tape.h[:-1] if layer.reverse else tape.h[1:])[: len(valid)][valid]
        dead |= np.ptp(h, axis=0) <= CONSTANT * np.maximum(1, np.abs(h).max(axis=0))
    return tuple(np.flatnonzero(dead).tolist())
