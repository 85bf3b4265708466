"""The compiled twin of CTC: hands arrays to the native module, and computes nothing itself. See reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.ctc import reference
from elman.ctc.reference import Alignment
from elman.ctc.tables import Tables
from elman.kernels import native_module
from elman.params import Array

_native = native_module()


def ctc(y: Array, lengths: Array, labels: list[Array], blank: int, from_logits: bool) -> Alignment:  # noqa: D103
    if not y.size:
        return reference.ctc(y, lengths, labels, blank, from_logits)
    y = y if y.strides[-1] == y.itemsize or y.shape[-1] < 2 else np.ascontiguousarray(y)
    if y.dtype not in (np.float32, np.float64):
        y = y.astype(np.float64)
    starts = np.cumsum([0, *(len(target) for target in labels)], dtype=np.int64)
    targets = np.concatenate([np.empty(0, np.int64), *labels])
    losses = np.empty(y.shape[1])
    d_y = np.empty((y.shape[1], y.shape[0], y.shape[2]), y.dtype).swapaxes(0, 1)
    _native.ctc(y, np.ascontiguousarray(lengths, np.int64), targets, starts, blank, from_logits, losses, d_y)
    return Alignment(losses, d_y)


class Beam:
    """A prefix beam of the native module; as `reference_beam.Beam`."""

    def __init__(self, V: int, width: int, blank: int, start: int = -1) -> None:
        self._beam: Any = _native.Beam(V, width, blank, start)

    def read(self, log_p: Array, tables: Tables | None) -> None:
        """Read frames, (T, V) log-probabilities; tables of the scorer, if there is one."""
        log_p = np.ascontiguousarray(log_p)
        if tables is None:
            self._beam.advance(log_p)
            return
        while len(log_p):  # it stops where it meets a state whose row it does not know
            tables.know(self.states)
            done = self._beam.advance_scored(log_p, tables.row_of, tables.following, tables.scores)
            log_p = log_p[done:]

    @property
    def states(self) -> Array:
        """States of the scorer of the prefixes alive, (N,), the best first."""
        states: Array = self._beam.states
        return states

    @property
    def extra(self) -> Array:
        """What the scorer has added to each, (N,), in nats."""
        extra: Array = self._beam.extra
        return extra

    @property
    def acoustic(self) -> Array:
        """The logarithm of the probability of each, (N,), in nats."""
        total: Array = np.logaddexp(self._beam.in_blank, self._beam.in_label)
        return total

    def labels(self, place: int) -> list[int]:
        """Return the labels of the prefix at a place."""
        labels: list[int] = self._beam.labels(place)
        return labels
