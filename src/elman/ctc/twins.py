"""Which twin computes CTC: the one that computes the layers, see `elman.kernels`."""

from __future__ import annotations

from typing import Protocol

from elman import kernels
from elman.ctc import reference, reference_beam
from elman.ctc.reference import Alignment
from elman.ctc.tables import Tables
from elman.params import Array


class AnyBeam(Protocol):
    """What both twins of a prefix beam do."""

    @property
    def states(self) -> Array:
        """States of the scorer of the prefixes alive, (N,), the best first."""

    @property
    def extra(self) -> Array:
        """What the scorer has added to each, (N,), in nats."""

    @property
    def acoustic(self) -> Array:
        """The logarithm of the probability of each, (N,), in nats."""

    def read(self, log_p: Array, tables: Tables | None) -> None:
        """Read frames (T, V)."""

    def labels(self, place: int) -> list[int]:
        """Return the labels of the prefix at a place."""


def new_beam(V: int, width: int, blank: int, start: int) -> AnyBeam:
    """Return a beam of the twin that computes now."""
    if _is_native():
        from elman.ctc import native

        return native.Beam(V, width, blank, start)
    return reference_beam.Beam(V, width, blank, start)


def loss(y: Array, lengths: Array, targets: list[Array], blank: int, from_logits: bool) -> Alignment:
    """Return -log P and its gradient for each row, by the twin that computes now. See `reference.ctc`."""
    if _is_native():
        from elman.ctc import native

        return native.ctc(y, lengths, targets, blank, from_logits)
    return reference.ctc(y, lengths, targets, blank, from_logits)


def _is_native() -> bool:
    return kernels.active() is not kernels.reference
