"""Dropout: noise while training, nothing at all in use."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from elman import checks
from elman.layers.base import Context, Layer
from elman.params import Array, Params


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Set features to 0 with probability p and divide the others by 1 - p, only where ``forward`` is given an rng.

    Parameters
    ----------
    p : probability of dropping, 0 <= p < 1
    locked : drop the same features at every step of a sequence (Gal and Ghahramani 2016), not others at each

    Without an rng, and when a model is called, the layer passes its input on.
    """

    p: float
    _: KW_ONLY
    locked: bool = False

    def __post_init__(self) -> None:
        checks.in_range("Dropout", "p", self.p, 0, 1, open_high=True)
        checks.flags("Dropout", locked=self.locked)

    @property
    def in_size(self) -> None:  # noqa: D102
        return None

    @property
    def out_size(self) -> None:  # noqa: D102
        return None

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        if context.rng is None or self.p == 0:
            return x, (), None
        shape = (1, *x.shape[1:]) if self.locked else x.shape
        kept = context.rng.random(shape, np.float32) >= self.p
        scale = kept / x.dtype.type(1 - self.p)
        return x * scale, (), scale

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        return d_y if tape is None else d_y * tape, (), ()
