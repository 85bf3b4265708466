"""Embedding: a vector for every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from elman import checks, kernels
from elman.layers.base import Context, Layer
from elman.padding import fill_padding, without_padding
from elman.params import Array, Params, Shapes


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """A table of vectors: token ids (B, T) -> (B, T, output_size), a gather of rows.

    Parameters
    ----------
    vocabulary_size : V; ids are 0 to V-1
    output_size : features of each vector
    """

    vocabulary_size: int
    output_size: int

    def __post_init__(self) -> None:
        checks.positive("Embedding", vocabulary_size=self.vocabulary_size, output_size=self.output_size)

    @property
    def in_size(self) -> int:  # noqa: D102
        return self.vocabulary_size

    @property
    def out_size(self) -> int:  # noqa: D102
        return self.output_size

    @property
    def takes_tokens(self) -> bool:  # noqa: D102
        return True

    def shapes(self) -> Shapes:  # noqa: D102
        return {"weight": (self.vocabulary_size, self.output_size)}

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw standard normal vectors."""
        params["weight"] = rng.standard_normal((self.vocabulary_size, self.output_size))

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        y = params["weight"][x]
        if context.lengths is not None:
            fill_padding(y, context.lengths)
        return y, (), x

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        if context.lengths is not None:
            d_y = without_padding(d_y, context.lengths)
        kernels.active().scatter_rows(tape, d_y.reshape(-1, self.output_size), grads["weight"])
        return None, (), ()
