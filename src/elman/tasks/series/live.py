"""Series that go on: what is known of each, values read into it, and the states of millions in flat arrays."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman.layers import Sequential
from elman.params import Array, Params
from elman.tasks.series import networks
from elman.tasks.series.networks import EncoderDecoder, Network
from elman.tasks.series.outputs import Output
from elman.tasks.series.view import Memory, Seen, Units, View
from elman.tasks.series.windows import future_inputs, with_covariates
from elman.trees import tree_leaves, tree_map


class Live(NamedTuple):
    """What is known of n series at one moment; each array has n rows."""

    memory: Memory
    units: Units
    state: Any  # of the network's recurrent part


class Outlook(NamedTuple):
    """Forecasts of n series: ``base + scale * (what the network gave)``; scale is the error of their units."""

    values: Array  # (n, S, D, P), in units of the series
    base: Array  # (n, S, D)
    scale: Array  # (n, 1, D)


def take(tree: Any, rows: Any) -> Any:
    """Return some rows of every array."""
    return tree_map(lambda array: array[rows], tree)


def join(tree: Any, rows: Any, part: Any) -> None:
    """Write a part back into some rows of every array, in place."""
    for (_, whole), (_, array) in zip(tree_leaves(tree), tree_leaves(part), strict=True):
        whole[rows] = array


@dataclass(frozen=True)
class Reader:
    """The arithmetic of forecasting: a view, a network and its parameters. It holds no state.

    Parameters
    ----------
    view, network, params, output : the parts
    strategy : "direct", "recursive" or "encoder-decoder"
    horizon : S, steps ahead
    n_paths : futures to draw for a recursive Gaussian forecast
    """

    view: View
    network: Network
    params: Params
    output: Output
    strategy: str
    horizon: int
    n_paths: int

    def body(self) -> networks.Split:
        """Return the part of the network that keeps the state, and what reads it: the head, or a decoder."""
        if isinstance(self.network, EncoderDecoder):
            params = self.params.child("encoder")
            return networks.Split(self.network.encoder, params, self.params.child("decoder"))
        return networks.split(self.network, self.params)

    def start(self, units: Units) -> Live:
        """Return series before their first value."""
        body = self.body()
        return Live(self.view.start(units), units, body.body.zero_state(len(units.mean), self.params.dtype))

    def read(self, live: Live, values: Array, lengths: Array | None = None, covariates: Array | None = None) -> Live:
        """Return the series after further values.

        Parameters
        ----------
        live : n series
        values : (n, T, D), NaN where one is missing
        lengths : (n,) valid steps of each row
        covariates : (n, T + S, C) scaled, from the first of these steps on, to S steps past the last
        """
        seen = self.view.look(live.memory, values, live.units, lengths)
        steps_out = 1 if self.strategy == "recursive" else self.horizon
        inputs = with_covariates(self.strategy, steps_out, seen.inputs, covariates, 0).astype(self.params.dtype)
        body = self.body()
        state = body.body.predict(body.body_params, inputs, live.state, lengths=lengths).state
        return Live(seen.memory, live.units, state)

    def every_step(self, live: Live, values: Array, lengths: Array) -> Array:
        """Return the forecast of the step after each, (n, T, D); for the direct strategy with a horizon of 1."""
        assert isinstance(self.network, Sequential)
        seen = self.view.look(live.memory, values, live.units, lengths)
        y = self.network.predict(self.params, seen.inputs.astype(self.params.dtype), lengths=lengths).y
        n, T, D = values.shape
        rows, steps = np.broadcast_to(np.arange(n)[:, None], (n, T)), np.broadcast_to(np.arange(T), (n, T))
        base = self.view.base(seen.filled, seen.level, rows, steps, 1)[:, :, 0]
        points: Array = base + live.units.error[:, None] * self.output.center(y.reshape(n, T, D, self.output.size))
        return points

    def outlook(self, live: Live, future: Array | None = None, rng: np.random.Generator | None = None) -> Outlook:
        """Return forecasts from where the series are.

        Parameters
        ----------
        live : n series
        future : (n, S, C) scaled covariates of the next steps
        rng : draws the futures of a recursive Gaussian forecast
        """
        if self.strategy == "recursive":
            return self._recursive(live, future, rng)
        scale = live.units.error[:, None]
        base = self._base(live, self.horizon)
        n, S, D = base.shape
        if isinstance(self.network, EncoderDecoder):
            pair, rows = self.network, np.arange(n)
            inputs = future_inputs(self.view, S, _now(live), live.units, rows, np.full(n, -1), None)
            if future is not None:
                inputs = np.concatenate([inputs, future], axis=2)
            decoder = self.params.child("decoder")
            out = pair.decoder.predict(decoder, inputs.astype(self.params.dtype), pair.start(live.state)).y
        else:
            body = self.body()
            out = networks.linear(body.head, body.body.final_output(live.state))
        return Outlook(out.reshape(n, S, D, self.output.size), base, scale)

    def _base(self, live: Live, horizon: int) -> Array:
        n = len(live.units.mean)
        now = _now(live)
        return self.view.base(now.filled, now.level, np.arange(n), np.full(n, -1), horizon)

    def _recursive(self, live: Live, future: Array | None, rng: np.random.Generator | None) -> Outlook:
        """Predict one step, read it as if it had happened, and go on; normal outputs draw many futures."""
        n, D = live.units.mean.shape
        base, scale = np.repeat(live.memory.level[:, None], self.horizon, axis=1), live.units.error[:, None]
        draws = self.output.kind == "gaussian"
        paths = self.n_paths if draws else 1
        rng = rng or np.random.default_rng(0)
        live = take(live, np.repeat(np.arange(n), paths))
        futures = None if future is None else np.repeat(future, paths, axis=0)
        steps = []
        for k in range(self.horizon):
            body = self.body()
            out = networks.linear(body.head, body.body.final_output(live.state)).reshape(n * paths, D, self.output.size)
            value = self.output.center(out)
            if draws:
                noise = rng.standard_normal((paths // 2 + paths % 2, D))  # the same for all series, whoever is beside
                noise = np.tile(np.concatenate([noise, -noise])[:paths], (n, 1))  # in pairs, mean 0
                value = value + noise * (self.output.quantiles(out, [NORMAL_1])[..., 0] - value)
            value = self._base(live, 1)[:, 0] + live.units.error * value
            steps.append(value)
            if k + 1 < self.horizon:
                ahead = None if futures is None else futures[:, k : k + 2]
                live = self.read(live, value[:, None], covariates=ahead)
        drawn = (np.stack(steps, axis=1).reshape(n, paths, self.horizon, D) - base[:, None]) / scale[:, None]
        if not draws:
            return Outlook(drawn[:, 0, :, :, None], base, scale)
        sigma = np.maximum(drawn.std(axis=1), 1e-6)
        return Outlook(np.stack([drawn.mean(axis=1), np.log(sigma)], axis=-1), base, scale)


NORMAL_1 = 0.8413447460685429  # the share of a normal distribution below one standard deviation


def _now(live: Live) -> Seen:
    """Return the last values as a stretch whose last step, -1, is now."""
    return Seen(np.empty(0), live.memory.recent, live.memory.level[:, None], live.memory)


def distinct(where: str, ids: Any) -> list[Hashable]:
    """Return ids of series as a list; ValueError where one comes twice, or where one text was given for the list."""
    if isinstance(ids, str | bytes):
        raise ValueError(f"{where}: series_ids must be a list of ids, got {ids!r}; pass [{ids!r}]")
    found: list[Hashable] = list(ids)
    if len(set(found)) < len(found):
        twice = next(key for k, key in enumerate(found) if key in found[:k])
        raise ValueError(f"{where}: series {twice!r} is given twice; give each once a call")
    return found


def end(where: str, store: Store | None, ids: Any) -> None:
    """Forget live series; KeyError for one that is not there, and then none is forgotten."""
    for series_id in (found := distinct(where, ids)):
        if store is None or series_id not in store:
            raise KeyError(f"{where}: no live series {series_id!r}")
    if store is not None:
        store.remove(found)


class Store:
    """The states of many series, each a row of a few flat arrays, found by id.

    Parameters
    ----------
    one : the state of a single series, a tree of arrays (1, ...), the form of all
    """

    def __init__(self, one: Any) -> None:
        self.rows: dict[Hashable, int] = {}
        self.arrays: Any = tree_map(lambda array: np.repeat(array, 8, axis=0), one)
        self._capacity = 8
        self._free: list[int] = []  # rows of series that have ended

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, series_id: Hashable) -> bool:
        return series_id in self.rows

    def numbers(self, ids: Iterable[Hashable]) -> Array:
        """Return the rows of some ids; KeyError for one that is not there."""
        return np.array([self.rows[i] for i in ids], np.intp)

    def get(self, rows: Any) -> Any:
        """Return the states of some rows."""
        return take(self.arrays, rows)

    def put(self, rows: Any, states: Any) -> None:
        """Write the states of some rows."""
        join(self.arrays, rows, states)

    def add(self, ids: Sequence[Hashable], states: Any) -> None:
        """Begin, or begin again, the series `ids` with these states."""
        for series_id in ids:
            if series_id not in self.rows:
                self.rows[series_id] = self._free.pop() if self._free else len(self.rows)
        if len(self.rows) > self._capacity:
            capacity = max(len(self.rows), 2 * self._capacity)
            more = capacity - self._capacity
            self.arrays = tree_map(
                lambda array: np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)]), self.arrays
            )
            self._capacity = capacity
        self.put(self.numbers(ids), states)

    def remove(self, ids: Iterable[Hashable]) -> None:
        """Forget series; the next ones that are added take their rows."""
        self._free += [self.rows.pop(series_id) for series_id in ids]

    @property
    def bytes_per_series(self) -> int:
        """Bytes of the arrays for one series."""
        return sum(array[0].nbytes for _, array in tree_leaves(self.arrays))

    @property
    def bytes_of_index(self) -> int:
        """Bytes of the table of ids, without the ids themselves."""
        return sys.getsizeof(self.rows)
