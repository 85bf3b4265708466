"""One value of one live series, quickly: the arithmetic of `View.look` and of a network call, and no more."""

from __future__ import annotations

import numpy as np

from elman.engine import Engine
from elman.model import Model
from elman.params import Array
from elman.tasks.series.live import Live, Reader
from elman.trees import tree_leaves, tree_map


class Ticker:
    """Moves single series on by one value, in place, in the flat arrays of a store.

    Parameters
    ----------
    reader : what computes; its parameters are copied, so a new one is needed after a fit
    """

    def __init__(self, reader: Reader) -> None:
        split = reader.body()
        self._view, self._output = reader.view, reader.output
        self._stream = Engine(Model(split.body, split.body_params)).stream()
        self._states = self._stream._steps.states()
        self._x = np.empty(split.body.in_size or 0, reader.params.dtype)
        self._y = np.empty(split.body.out_size or 0, reader.params.dtype)
        self._body, self._head = split.body, split.head

    def next_value(self, arrays: Live, row: int) -> Array:
        """Return the forecast (D,) of the next value; for the direct strategy, a horizon of 1 and no baseline."""
        state = tree_map(lambda leaf: leaf[row : row + 1], arrays.state)
        y = self._head["weight"] @ self._body.final_output(state)[0] + self._head["bias"]
        level, error = arrays.memory.level[row], arrays.units.error[row]
        forecast: Array = level + error * self._output.center(y.reshape(len(level), self._output.size))
        return forecast

    def tick(self, arrays: Live, row: int, values: Array) -> None:
        """Read values (D,), NaN where one is missing, into the series of a row."""
        view, memory, units = self._view, arrays.memory, arrays.units
        recent, level, n_seen = memory.recent[row], memory.level[row], memory.n_seen[row]
        known = values == values
        filled = values if known.all() else np.where(known, values, recent[-1])
        n_seen += known
        if view.scaling == "level":
            share = np.maximum(1 / np.maximum(n_seen, 1), 1 / view.level_steps)
            level[...] = np.where(known, level + share * (values - level), level)
        if len(recent) > 1:
            recent[:-1] = recent[1:]
        recent[-1] = filled
        D, scale, x = len(values), units.scale[row], self._x
        x[:D] = (filled - level) / scale
        at = D
        for lag in view.lags:
            x[at : at + D] = (recent[-lag] - level) / scale
            at += D
        if view.mask:
            x[at : at + D] = known
        leaves = [leaf[row : row + 1] for _, leaf in tree_leaves(arrays.state)]
        for inside, outside in zip(self._states, leaves, strict=True):
            inside[...] = outside
        self._stream.step(x, self._y)
        for inside, outside in zip(self._states, leaves, strict=True):
            outside[...] = inside
