"""What a forecaster trains on: windows of histories and the values that follow, cut anew in each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from elman.layers import Sequential
from elman.params import Array, Params
from elman.tasks.series.networks import EncoderDecoder, Network
from elman.tasks.series.outputs import Output
from elman.tasks.series.view import Seen, Units, View


class Window(NamedTuple):
    """A batch: histories (B, W, I), their lengths, futures (B, S, C), and targets in units of the series.

    A target of NaN is none. Targets are (B, W, S, D) where every step of the history predicts, (B, S, D) where only
    the last one does.
    """

    x: Array
    lengths: Array
    future: Array | None
    targets: Array


class Spans(NamedTuple):
    """Where windows lie: first step, length, and how many steps at their start predict nothing, each (B,)."""

    start: Array
    length: Array
    skip: Array

    def take(self, which: Array | slice) -> Spans:
        """Return some of them."""
        return Spans(self.start[which], self.length[which], self.skip[which])


class Known(NamedTuple):
    """Series as they were seen, with all that windows are cut from."""

    seen: Seen
    values: Array  # (n, T + S, D), NaN past the end and where missing
    units: Units
    covariates: Array | None  # (n, T + S, C), scaled
    lengths: Array  # (n,)


class Cutter:
    """Cuts windows out of known series for one strategy."""

    def __init__(self, view: View, strategy: str, horizon: int, known: Known, dtype: type) -> None:
        self.view = view
        self.strategy = strategy
        self.horizon = horizon  # S, steps that one output predicts: 1 for the recursive strategy
        self.known = known
        self.dtype = dtype
        self.inputs: Array = with_covariates(strategy, horizon, known.seen.inputs, known.covariates, 0).astype(dtype)

    def cut(self, rows: Array, spans: Spans, first: Array, end: Array) -> Window:
        """Return windows of series `rows` (B,), whose targets begin at `first` (B,) and stay before `end` (B,)."""
        starts, lengths = spans.start, spans.length
        W = int(lengths.max())
        steps = np.minimum(starts[:, None] + np.arange(W), self.inputs.shape[1] - 1)
        x = self.inputs[rows[:, None], steps]
        valid = np.arange(W) < lengths[:, None]
        x[~valid] = 0
        if self.strategy == "encoder-decoder":
            origins = starts + lengths - 1
            return Window(x, lengths, self.future(rows, origins), self._targets(rows, origins, first, end))
        targets = self._targets(rows[:, None], steps, first[:, None], end[:, None])
        targets[~valid | (np.arange(W) < spans.skip[:, None])] = np.nan
        return Window(x, lengths, None, targets)

    def _targets(self, rows: Array, origins: Array, first: Array, end: Array) -> Array:
        known = self.known
        ahead = origins[..., None] + np.arange(1, self.horizon + 1)
        values = known.values[rows[..., None], np.minimum(ahead, known.values.shape[1] - 1)]
        base = self.view.base(known.seen.filled, known.seen.level, rows, origins, self.horizon)
        targets = (values - base) / known.units.error[rows][..., None, :]
        outside = (ahead < first[..., None]) | (ahead >= end[..., None])
        targets[np.broadcast_to(outside, targets.shape[:-1])] = np.nan
        typed: Array = targets.astype(self.dtype)
        return typed

    def future(self, rows: Array, origins: Array) -> Array:
        """Return what a decoder reads: place in the horizon, last value, values whole seasons before, covariates."""
        known = self.known
        return future_inputs(self.view, self.horizon, known.seen, known.units, rows, origins, known.covariates).astype(
            self.dtype
        )


def with_covariates(strategy: str, horizon: int, inputs: Array, covariates: Array | None, before: int) -> Array:
    """Return inputs (n, T, I) with what is known of the steps that each predicts.

    The steps t+1..t+S side by side for the direct and the recursive strategy, step t for an encoder. `before` counts
    the steps of the covariates before the first input.
    """
    if covariates is None:
        return inputs
    T = inputs.shape[1]
    offsets = [0] if strategy == "encoder-decoder" else range(1, horizon + 1)
    last = covariates.shape[1] - 1
    parts = [covariates[:, np.minimum(before + offset + np.arange(T), last)] for offset in offsets]
    return np.concatenate([inputs, *parts], axis=2)


def future_inputs(
    view: View,
    horizon: int,
    seen: Seen,
    units: Units,
    rows: Array,
    origins: Array,
    covariates: Array | None,
) -> Array:
    """Return what a decoder reads about the steps after each origin, (B, S, C)."""
    scale, level = units.scale[rows][:, None], seen.level[rows, origins][:, None]
    last = seen.filled[rows, view.n_recent + origins][:, None]
    place = np.broadcast_to((np.arange(1, horizon + 1) / horizon)[:, None], (len(rows), horizon, 1))
    parts = [place, np.broadcast_to((last - level) / scale, (len(rows), horizon, level.shape[2]))]
    for season in view.seasons:
        parts.append((view.seasonal(seen.filled, rows, origins, horizon, season) - level) / scale)
    if covariates is not None:
        ahead = origins[:, None] + np.arange(1, horizon + 1)
        parts.append(covariates[rows[:, None], np.minimum(ahead, covariates.shape[1] - 1)])
    return np.concatenate(parts, axis=2)


class ForecastObjective:
    """The loss of a forecaster's outputs on windows."""

    def __init__(self, network: Network, output: Output, horizon: int, D: int) -> None:
        self.network = network
        self.output = output
        self.shape = (horizon, D, output.size)

    def loss(  # noqa: D102
        self, params: Params, batch: Window, grads: Params | None, rng: np.random.Generator | None
    ) -> float:
        if isinstance(self.network, EncoderDecoder):
            return self._sequence_loss(self.network, params, batch, grads, rng)
        return self._step_loss(self.network, params, batch, grads, rng)

    def _step_loss(
        self, layer: Sequential, params: Params, batch: Window, grads: Params | None, rng: np.random.Generator | None
    ) -> float:
        if grads is None:
            y = layer.predict(params, batch.x, lengths=batch.lengths).y
            return self.output.masked(y.reshape(*y.shape[:2], *self.shape), batch.targets)[0]
        y, _, tape = layer.forward(params, batch.x, lengths=batch.lengths, rng=rng)
        value, d_y = self.output.masked(y.reshape(*y.shape[:2], *self.shape), batch.targets)
        layer.backward(params, tape, d_y.reshape(y.shape), grads=grads)
        return value

    def _sequence_loss(
        self,
        pair: EncoderDecoder,
        params: Params,
        batch: Window,
        grads: Params | None,
        rng: np.random.Generator | None,
    ) -> float:
        encoder, decoder = params.child("encoder"), params.child("decoder")
        shape = (*batch.targets.shape, self.output.size)
        if grads is None:
            state = pair.encoder.predict(encoder, batch.x, lengths=batch.lengths).state
            y = pair.decoder.predict(decoder, batch.future, pair.start(state)).y
            return self.output.masked(y.reshape(shape), batch.targets)[0]
        _, state, read = pair.encoder.forward(encoder, batch.x, lengths=batch.lengths, rng=rng)
        y, _, written = pair.decoder.forward(decoder, batch.future, pair.start(state), rng=rng)
        value, d_y = self.output.masked(y.reshape(shape), batch.targets)
        back = pair.decoder.backward(decoder, written, d_y.reshape(y.shape), grads=grads.child("decoder"))
        pair.encoder.backward(encoder, read, None, back.d_state[: len(state)], grads=grads.child("encoder"))
        return value


class WindowSource:
    """Windows of many series: those before `ends` are trained on, those from there to `held_ends` are held out."""

    def __init__(
        self, cutter: Cutter, ends: Array, held_ends: Array, context_steps: int, warm_up: int, batch_size: int
    ) -> None:
        self.cutter = cutter
        self.ends = ends  # (n,) targets of the training stay before these
        self.held_ends = held_ends  # (n,)
        self.context_steps = context_steps
        self.warm_up = warm_up  # steps at the start of a window that predict nothing yet
        self.batch_size = batch_size
        self.stepwise = cutter.strategy != "encoder-decoder"
        self.stride = context_steps - warm_up if self.stepwise else max(1, cutter.horizon // 2, context_steps // 8)

    def n_batches(self) -> int:  # noqa: D102
        return -(-len(self._windows(0, self.ends)[0]) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Window, float]]:  # noqa: D102
        rows, spans = self._windows(int(rng.integers(self.stride)), self.ends)
        order = rng.permutation(len(rows))[: self.n_batches() * self.batch_size]
        for k in range(0, len(order), self.batch_size):
            batch = order[k : k + self.batch_size]
            series = rows[batch]
            window = self.cutter.cut(series, spans.take(batch), np.zeros_like(series), self.ends[series])
            if not np.isnan(window.targets).all():
                yield window, len(batch)

    def held_out(self) -> Iterator[tuple[Window, float]]:  # noqa: D102
        rows, spans = self._windows(0, self.held_ends)
        last = spans.start + spans.length - 1
        use = np.flatnonzero((self.held_ends > self.ends)[rows] & (last >= self.ends[rows] - 1))
        for k in range(0, len(use), self.batch_size):
            batch = use[k : k + self.batch_size]
            series = rows[batch]
            window = self.cutter.cut(series, spans.take(batch), self.ends[series], self.held_ends[series])
            n_targets = int((~np.isnan(window.targets)).sum())
            if n_targets:
                yield window, n_targets

    def _windows(self, offset: int, ends: Array) -> tuple[Array, Spans]:
        """Return the windows of all series, whose targets stay before `ends`, and the series of each."""
        rows, stops = [], []
        for row, end in enumerate(ends.tolist()):
            last = end - (1 if self.stepwise else self.cutter.horizon)  # one past the last origin
            if last < 1:
                continue
            shift = offset % self.stride if last > offset % self.stride else 0
            stops.append(np.arange(last - shift, 0, -self.stride))
            rows.append(np.full(len(stops[-1]), row, np.intp))
        if not rows:
            raise ValueError(
                f"no series is longer than the horizon of {self.cutter.horizon} steps, so there is nothing to fit"
            )
        owner, stop = np.concatenate(rows), np.concatenate(stops)
        start = np.maximum(stop - self.context_steps, 0)
        # Where a window begins inside of a series its first outputs know little, so they are not asked.
        skip = np.where(start > 0, self.warm_up if self.stepwise else 0, 0)
        return owner, Spans(start, stop - start, skip)
