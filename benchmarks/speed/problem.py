"""The same weights and inputs for everybody, and the right results: those of the NumPy twin in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import elman
from benchmarks.speed.grid import Cell

Array: TypeAlias = np.ndarray[Any, Any]
Results: TypeAlias = dict[str, Array]  # y (B, T, H); of training also d_x (B, T, I) and the gradients of the weights

STREAM_STEPS = 10  # that a stream is checked over
TOLERANCE = 1e-4  # of the largest number of each array


@dataclass(frozen=True)
class Problem:
    """What a contestant computes: a layer's weights, x (B, T, I), lengths (B,) or None, d_y (B, T, H), in float32."""

    cell: Cell
    model: elman.Model
    x: Array
    lengths: Array | None
    d_y: Array

    @property
    def weights(self) -> dict[str, Array]:
        """weight_ih (G*H, I), weight_hh (G*H, H), bias_ih, bias_hh (G*H,), in PyTorch's order of gates."""
        return dict(self.model.params)

    @property
    def share(self) -> float:
        """Valid steps of all steps."""
        return 1.0 if self.lengths is None else float(self.lengths.mean() / self.cell.T)

    def without_lengths(self) -> Problem:
        """Return the same batch with all of its rows full."""
        return Problem(self.cell, self.model, self.x, None, self.d_y)

    def expected(self) -> Results:
        """Return the right results."""
        model = self.model.astype(np.float64)
        with elman.use_kernels("reference"):
            y, _, tape = model.forward(self.x, lengths=self.lengths)
            if self.cell.work != "training":
                return {"y": y}
            back = model.backward(tape, self.d_y)
        return {"y": y, "d_x": back.d_x, **back.grads}


def make(cell: Cell, seed: int = 0) -> Problem:
    """Return the problem of a cell. That of a step is a stream of ten, so that a state that gets lost is seen."""
    rng = np.random.default_rng(seed)
    model = getattr(elman, cell.kind)(cell.I, cell.H).init(seed=rng)
    for name in ("bias_ih", "bias_hh"):
        model.params[name] += rng.uniform(-0.1, 0.1, model.params[name].shape)
    T = STREAM_STEPS if cell.work == "step" else cell.T
    lengths = None
    if cell.ragged:
        lengths = rng.integers(1, T, cell.B, endpoint=True)
        lengths[rng.integers(cell.B)] = T
    x = rng.standard_normal((cell.B, T, cell.I), np.float32)
    return Problem(cell, model, x, lengths, rng.standard_normal((cell.B, T, cell.H), np.float32))


def deviation(results: Results, expected: Results) -> float:
    """Return the largest difference, as a part of the largest number of its array; ValueError if it is too large."""
    worst = 0.0
    for name, right in expected.items():
        found = np.asarray(results[name], np.float64)
        if found.shape != right.shape:
            raise ValueError(f"{name} is {found.shape}, not {right.shape}")
        off = float(np.abs(found - right).max(initial=0) / (np.abs(right).max(initial=0) or 1))
        if not off <= TOLERANCE:  # NaN is too large
            raise ValueError(f"{name} is off by {off:.2g} of its largest number, more than {TOLERANCE:g}")
        worst = max(worst, off)
    return worst
