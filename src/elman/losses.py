"""Losses: each returns its value and its gradient with respect to the outputs, averaged over the valid steps only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman import checks, kernels
from elman.layers.boundary import pad, unpad
from elman.params import Array


class Loss(NamedTuple):
    """A loss: its value (a float, summed in double) and d_y, its gradient in the form of y."""

    value: float
    d_y: Any


class _Prepared(NamedTuple):
    y: Array
    targets: Array
    valid: Array | None  # (B, T), or None where all count
    lengths: Array | None  # of a list


def cross_entropy(y: Any, targets: Any, *, lengths: Any = None, label_smoothing: float = 0.0) -> Loss:
    """Mean of -log softmax(y)[target] over the valid steps, in nats.

    With label smoothing e the target is a distribution: 1 - e for the target and e shared by all V outputs alike, so
    that the loss is (1 - e) times the plain one plus e times the mean of -log softmax(y) (Szegedy et al. 2016).

    Parameters
    ----------
    y : (B, T, V) logits, or (..., V) with one target each, or a list of (T_i, V)
    targets : (B, T) or (...) ids from 0 to V-1, or a list of (T_i,)
    lengths : (B,) valid steps of each row
    label_smoothing : e, 0 <= e < 1

    Returns
    -------
    Loss(value, d_y)
        0 with a zero gradient, and a warning, where no step is valid
    """
    checks.in_range("cross_entropy", "label_smoothing", label_smoothing, 0, 1, open_high=True)
    p = _prepare("cross_entropy", y, targets, lengths, ids=True)
    V = p.y.shape[-1]
    ids, counted = p.targets, p.targets
    if p.valid is not None:
        ids = np.where(p.valid.reshape(*p.valid.shape, *(1,) * (ids.ndim - 2)), ids, -1)
        counted = ids[p.valid]
    if counted.size and (counted.min() < 0 or counted.max() >= V):
        wrong = counted[(counted < 0) | (counted >= V)][0]
        raise ValueError(f"cross_entropy: targets must be 0 to {V - 1}, one of the {V} outputs, got {wrong}")
    losses, d_y = kernels.active().softmax_cross_entropy(p.y, ids, label_smoothing, 1 / max(counted.size, 1))
    return _mean("cross_entropy", losses, d_y, p, ready=True)


def binary_cross_entropy(y: Any, targets: Any, *, lengths: Any = None) -> Loss:
    """Mean of -t log sigmoid(y) - (1 - t) log sigmoid(-y) over all elements of the valid steps, y being logits.

    Parameters
    ----------
    y : (B, T, F) logits or a list of (T_i, F)
    targets : of the same shape, from 0 to 1
    lengths : (B,) valid steps of each row
    """
    p = _prepare("binary_cross_entropy", y, targets, lengths)
    if p.targets.size and not (p.targets.min() >= 0 and p.targets.max() <= 1):
        raise ValueError("binary_cross_entropy: targets must be from 0 to 1")
    losses = np.maximum(p.y, 0) - p.y * p.targets + np.log1p(np.exp(-np.abs(p.y)))
    small = np.exp(-np.abs(p.y))
    return _mean("binary_cross_entropy", losses, np.where(p.y >= 0, 1, small) / (1 + small) - p.targets, p)


def mean_squared_error(y: Any, targets: Any, *, lengths: Any = None) -> Loss:
    """Mean of (y - target)^2 over all elements of the valid steps.

    Parameters
    ----------
    y : (B, T, F) or a list of (T_i, F)
    targets : of the same shape
    lengths : (B,) valid steps of each row
    """
    p = _prepare("mean_squared_error", y, targets, lengths)
    difference = p.y - p.targets
    return _mean("mean_squared_error", difference * difference, 2 * difference, p)


def mean_absolute_error(y: Any, targets: Any, *, lengths: Any = None) -> Loss:
    """Mean of abs(y - target) over all elements of the valid steps; its gradient at 0 is 0.

    Parameters
    ----------
    y : (B, T, F) or a list of (T_i, F)
    targets : of the same shape
    lengths : (B,) valid steps of each row
    """
    p = _prepare("mean_absolute_error", y, targets, lengths)
    difference = p.y - p.targets
    return _mean("mean_absolute_error", np.abs(difference), np.sign(difference), p)


@dataclass(frozen=True)
class Smoothed:
    """Cross-entropy with label smoothing, as one loss to train with: ``loss=elman.losses.Smoothed(0.1)``."""

    label_smoothing: float

    def __post_init__(self) -> None:
        checks.in_range("Smoothed", "label_smoothing", self.label_smoothing, 0, 1, open_high=True)

    def __call__(self, y: Any, targets: Any, *, lengths: Any = None) -> Loss:
        """Return the loss and its gradient, as `cross_entropy`."""
        return cross_entropy(y, targets, lengths=lengths, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class AtLastStep:
    """A loss of each row's last valid step only, for one label or number a sequence.

    ::

        loss = elman.losses.at_last_step(elman.losses.cross_entropy)
        value, d_y = loss(y, labels, lengths=lengths)       # y (B, T, V), labels (B,)

    Rows of length 0 do not count.
    """

    loss: Callable[..., Loss]
    per_row = True  # it averages over rows, not over steps

    def __call__(self, y: Any, targets: Any, *, lengths: Any = None) -> Loss:
        """Return the loss of y (B, T, V) or a list of (T_i, V), with targets (B,) or (B, F); d_y is 0 elsewhere."""
        where, own_lengths = "at_last_step", None
        if isinstance(y, list):
            y, own_lengths = pad([np.asarray(row) for row in y], y[0].dtype if y else np.float32, (1,))
            lengths = own_lengths
        if np.ndim(y) != 3 or len(targets) != len(y):
            raise ValueError(
                f"{where}: needs y (B, T, V) and one target a row, got y {np.shape(y)}, {len(targets)} targets"
            )
        B, T = y.shape[:2]
        ends = np.full(B, T) if lengths is None else checks.row_lengths(where, lengths, B, T)
        rows = np.flatnonzero(ends > 0)
        place = (rows, ends[rows] - 1)
        value, d_last = self.loss(y[place], np.asarray(targets)[rows])
        d_y = np.zeros_like(y)
        d_y[place] = d_last
        return Loss(value, d_y if own_lengths is None else unpad(d_y, own_lengths))


def at_last_step(loss: Callable[..., Loss]) -> AtLastStep:
    """Return a loss that looks at each row's last valid step only. See `AtLastStep`."""
    return AtLastStep(loss)


def _prepare(name: str, y: Any, targets: Any, lengths: Any, *, ids: bool = False) -> _Prepared:
    """Return arrays, and the mask of what counts; padding is 0, but with ids, whose kernel leaves it out."""
    own_lengths = None
    if isinstance(y, list):
        if lengths is not None:
            raise ValueError(f"{name}: a list of sequences has lengths of its own; pass no lengths")
        y = [np.asarray(row) for row in y]
        if not isinstance(targets, list) or [len(row) for row in y] != [len(row) for row in targets]:
            raise ValueError(f"{name}: targets must be a list with the lengths of y")
        dtype = y[0].dtype if y else np.float32
        y, own_lengths = pad(y, dtype, (1,))
        targets, _ = pad(targets, np.intp if ids else dtype, y.shape[2:-1] if ids else y.shape[2:])
        lengths = own_lengths
    y = np.asarray(y)
    if y.dtype.kind != "f":
        raise TypeError(f"{name}: y must hold floats, the outputs of a model, got dtype {y.dtype}")
    expected = y.shape[:-1] if ids else y.shape
    if ids:
        targets = np.asarray(targets)
        if targets.dtype.kind not in "ui" and targets.size:
            raise TypeError(f"{name}: targets must be integer ids, got dtype {targets.dtype}")
        targets = targets.astype(np.intp, copy=False)
    else:
        targets = checks.real_array(name, "targets", targets, y.dtype)
    if targets.shape != expected:
        raise ValueError(f"{name}: targets must be {expected} for y {y.shape}, got {targets.shape}")
    valid = None
    if lengths is not None:
        if targets.ndim < 2:
            raise ValueError(f"{name}: lengths go with y (B, T, ...), got {y.shape}")
        B, T = y.shape[:2]
        valid = np.arange(T) < checks.row_lengths(name, lengths, B, T)[:, None]
        outer = valid.reshape(B, T, *(1,) * (y.ndim - 2))
        if not ids:  # the kernel of ids leaves out what does not count
            y, targets = np.where(outer, y, 0), np.where(outer, targets, 0)
    return _Prepared(y, targets, valid, own_lengths)


def _mean(name: str, losses: Array, d_y: Array, p: _Prepared, *, ready: bool = False) -> Loss:
    """Average the losses of all elements that count, and scale their gradient alike, unless both are `ready` for it."""
    n = losses.size
    if p.valid is not None:
        n = int(p.valid.sum()) * (losses.size // max(p.valid.size, 1))
    if p.valid is not None and not ready:
        losses = np.where(p.valid.reshape(*p.valid.shape, *(1,) * (losses.ndim - 2)), losses, 0)
        d_y[~p.valid] = 0
    if n == 0:
        warnings.warn(f"{name}: no step is valid: the loss is 0 and so is its gradient", stacklevel=3)
    if not ready:
        d_y /= d_y.dtype.type(max(n, 1))
    value = float(losses.sum(dtype=np.float64)) / max(n, 1)
    return Loss(value, d_y if not isinstance(p.lengths, np.ndarray) else unpad(d_y, p.lengths))
