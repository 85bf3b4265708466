"""Batches of sequences: windows on one long stream of tokens, and buckets of sequences of like length.

A source of batches is a pure function of the step number, so a training can go on at any step as if it had never
stopped.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.layers.boundary import pad, unpad
from elman.params import Array

__all__ = ["Batch", "Batches", "Buckets", "TokenWindows", "pad", "unpad"]


class Batch(NamedTuple):
    """What one step of training takes."""

    x: Any  # (B, T, I), or token ids (B, T)
    targets: Any  # as the loss wants them
    lengths: Any = None  # (B,) valid steps of each row
    reset: bool = True  # False: the rows go on where the last batch's rows ended, so the state is carried over


class Batches(abc.ABC):
    """A source of batches, as many as `n_batches` (None: without end)."""

    n_batches: int | None

    @abc.abstractmethod
    def batch(self, step: int) -> Batch:
        """Return batch number `step`, always the same for the same number."""

    def from_step(self, step: int) -> Iterator[Batch]:
        """Yield the batches from number `step` on."""
        while self.n_batches is None or step < self.n_batches:
            yield self.batch(step)
            step += 1

    def __iter__(self) -> Iterator[Batch]:
        return self.from_step(0)


class TokenWindows(Batches):
    """A long stream of tokens, cut into B parts that are read side by side, T tokens at a time (truncated BPTT).

    Targets are the tokens that follow. State is carried from window to window and starts anew with each epoch. Windows
    are views on the stream: nothing is copied.

    Parameters
    ----------
    ids : (N,) integer tokens
    batch_size : B, the number of parts
    n_steps : T, the tokens of a window
    n_epochs : passes over the stream; None for ever
    keep_last : also yield the shorter window at the end of the stream
    """

    def __init__(
        self, ids: Array, batch_size: int, n_steps: int, *, n_epochs: int | None = None, keep_last: bool = False
    ) -> None:
        checks.positive("TokenWindows", batch_size=batch_size, n_steps=n_steps)
        ids = np.asarray(ids)
        part = (len(ids) - 1) // batch_size
        n_windows = -(-part // n_steps) if keep_last else part // n_steps
        if n_windows < 1:
            raise ValueError(
                f"TokenWindows: {batch_size} parts with windows of {n_steps} steps need more than "
                f"{batch_size * (1 if keep_last else n_steps)} tokens, got {len(ids)}; "
                "use a smaller batch_size or n_steps, or a longer text"
            )
        self.x = ids[: part * batch_size].reshape(batch_size, part)
        self.targets = ids[1 : part * batch_size + 1].reshape(batch_size, part)
        self.n_steps = n_steps
        self.n_windows = n_windows  # in one epoch
        self.n_batches = None if n_epochs is None else n_epochs * n_windows

    def batch(self, step: int) -> Batch:  # noqa: D102
        window = step % self.n_windows
        part = slice(window * self.n_steps, (window + 1) * self.n_steps)
        return Batch(self.x[:, part], self.targets[:, part], reset=window == 0)


class BucketOrder:
    """Which rows are in which batch: rows of like length together, in another order each epoch.

    Parameters
    ----------
    lengths : (K, N) K lengths of each of N rows; the last one decides, the others break ties
    batch_size : B; the last batch of an epoch may be smaller
    seed : of the shuffling
    """

    def __init__(self, lengths: Array, batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self.n_in_epoch = -(-lengths.shape[1] // batch_size)
        self._epoch, self._order = -1, np.empty(0, np.intp)

    def rows(self, step: int) -> Array:
        """Return the rows of the batch of a step, counted from 0."""
        epoch, k = divmod(step, self.n_in_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffle(epoch)
        return self._order[k * self._batch_size : (k + 1) * self._batch_size]

    def _shuffle(self, epoch: int) -> Array:
        """Sort by length with random ties, cut into batches, put these in random order, and a smaller one last.

        The smaller one is cut out at a random place, or its gradient, of few rows, would always be that of the longest.
        """
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._lengths.shape[1])
        order = order[np.lexsort(self._lengths[:, order])]
        n_full, n_rest = divmod(len(order), self._batch_size)
        shuffled = rng.permutation(n_full)
        at = int(rng.integers(n_full + 1)) * self._batch_size if n_rest else len(order)
        rest = order[at : at + n_rest]
        batches = np.concatenate([order[:at], order[at + n_rest :]]).reshape(-1, self._batch_size)[shuffled]
        return np.concatenate([batches.ravel(), rest])


class Buckets(Batches):
    """Sequences of unequal length in batches of like length, so that little is padding; shuffled anew each epoch.

    Parameters
    ----------
    x : list of (T_i, I), or of token ids (T_i,)
    targets : list of (T_i, ...), one target a step, or an array or list with one target a sequence
    batch_size : B; the last batch may be smaller
    seed : of the shuffling
    n_epochs : passes over the data; None for ever
    """

    def __init__(
        self, x: Sequence[Any], targets: Sequence[Any], batch_size: int, *, seed: int = 0, n_epochs: int | None = 1
    ) -> None:
        checks.positive("Buckets", batch_size=batch_size)
        if len(x) != len(targets) or not len(x):
            raise ValueError(f"Buckets: needs as many targets as sequences, at least one, got {len(targets)}, {len(x)}")
        self.x = [np.asarray(row) for row in x]
        self.targets = [np.asarray(row) for row in targets]
        self.seed = seed
        self.batch_size = batch_size
        self._lengths = np.array([len(row) for row in self.x])
        self._dtype = np.result_type(*{row.dtype for row in self.x if row.size} or {self.x[0].dtype})
        self._order = BucketOrder(self._lengths[None], batch_size, seed)
        self.n_in_epoch = self._order.n_in_epoch
        self.n_batches = None if n_epochs is None else n_epochs * self.n_in_epoch

    def batch(self, step: int) -> Batch:  # noqa: D102
        rows = self._order.rows(step)
        x, lengths = pad([self.x[row] for row in rows], self._dtype)
        targets = [self.targets[row] for row in rows]
        stepwise = targets[0].ndim > 0 and all(len(self.targets[row]) == self._lengths[row] for row in rows)
        return Batch(x, pad(targets, np.result_type(*targets))[0] if stepwise else np.stack(targets), lengths)
