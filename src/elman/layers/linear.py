"""Linear: the layer without memory."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from elman import checks, kernels
from elman.kernels.reference import ACTIVATIONS, DERIVATIVES
from elman.layers.base import Context, Layer
from elman.layers.initial import glorot
from elman.padding import fill_padding, without_padding
from elman.params import Array, Params, Shapes


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """A layer without memory, ``y_t = f(weight x_t + bias)``, the same at every step.

    Parameters
    ----------
    input_size : I
    output_size : O
    bias : False leaves the bias out
    activation : None for the identity, "tanh", "relu" or "sigmoid"

    Cost: 2 T B I O flops forward, twice that backward; a tape of T B (I + O) numbers.
    """

    input_size: int
    output_size: int
    _: KW_ONLY
    bias: bool = True
    activation: str | None = None

    def __post_init__(self) -> None:
        checks.positive("Linear", input_size=self.input_size, output_size=self.output_size)
        checks.flags("Linear", bias=self.bias)
        checks.one_of("Linear", "activation", self.activation, [None, *ACTIVATIONS])

    @property
    def in_size(self) -> int:  # noqa: D102
        return self.input_size

    @property
    def out_size(self) -> int:  # noqa: D102
        return self.output_size

    def shapes(self) -> Shapes:  # noqa: D102
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.output_size, self.input_size)}
        return shapes | ({"bias": (self.output_size,)} if self.bias else {})

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw Glorot weights; the bias starts at 0."""
        params["weight"] = glorot(rng, self.output_size, self.input_size)

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        y = context.kernels().project(x, params["weight"], params.get("bias"))
        if self.activation is not None:
            y = context.kernels().activate(self.activation, y)
        if context.lengths is not None:
            fill_padding(y, context.lengths)
        return y, (), (x, None if self.activation is None else y)

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        x, y = tape
        if context.lengths is not None:
            d_y = without_padding(d_y, context.lengths)
        if self.activation is not None:
            d_y = d_y * DERIVATIVES[self.activation](y)
        d_x = kernels.active().project_backward(x, params["weight"], d_y, grads["weight"], grads.get("bias"))
        return d_x, (), ()
