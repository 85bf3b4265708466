"""GRU: the gated recurrent unit, in both of its forms."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from elman import checks, kernels
from elman.kernels.spec import GRUState, KernelBackward, KernelForward, Steps, Weights
from elman.layers.base import Context
from elman.layers.recurrent import Recurrent
from elman.params import Array, Params


@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """A gated recurrent unit: the state is a gated mean of itself and a candidate n.

    ::

        r, z = sigmoid(weight_ih x_t + bias_ih + weight_hh h_{t-1} + bias_hh)
        n    = tanh(W_n x_t + b_ih_n + r (U_n h_{t-1} + b_hh_n))     reset_after=True: PyTorch, cuDNN, Keras 3
        n    = tanh(W_n x_t + b_ih_n + U_n (r h_{t-1}) + b_hh_n)     reset_after=False: the paper, ONNX's default
        h_t  = (1 - z) n + z h_{t-1}

    Parameters
    ----------
    input_size, hidden_size, and the keywords of `Recurrent`
    reset_after : where the reset gate r stands. The two forms are different functions, with weights of their own
    update_bias : initial bias of the update gate z; the larger, the longer the state is kept (log(T) for T steps)
    memory_steps : draw these biases instead, so that the units begin with memories of 1 to so many steps: log(U(1, T))

    Cost: 6 T B H (I + H) flops forward, twice that backward; a tape of T B (I + 5 H) numbers.
    Source: Cho et al. (2014); reset_after as in cuDNN; memory_steps: Tallec and Ollivier (2018).
    """

    _: KW_ONLY
    reset_after: bool = True
    update_bias: float = 0.0
    memory_steps: float | None = None

    gate_names = ("r", "z", "n")
    state_type = GRUState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flags("GRU", reset_after=self.reset_after)
        checks.no_bias_to_set("GRU", self.bias, update_bias=(self.update_bias, 0.0))
        checks.memory("GRU", self.memory_steps, self.bias, update_bias=(self.update_bias, 0.0))

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw weights as every recurrent layer does, and set the bias of the update gate."""
        super().fill(params, rng)
        if self.bias:
            update: Any = self.update_bias
            if self.memory_steps is not None:
                update = np.log(rng.uniform(1, self.memory_steps, self.hidden_size))
            params["bias_ih"][self.hidden_size : 2 * self.hidden_size] = update

    @property
    def kernel_name(self) -> str:  # noqa: D102
        return "gru_after" if self.reset_after else "gru_before"

    def _run(self, x: Array, state: Any, weights: Weights, steps: Steps, context: Context) -> KernelForward:
        return context.kernels().gru_forward(x, state, weights, steps, self.reset_after, keep=context.keep)

    def _run_backward(
        self, tape: Any, weights: Weights, steps: Steps, d_y: Array, d_state: Any, d_weights: Weights
    ) -> KernelBackward:
        return kernels.active().gru_backward(tape, weights, steps, self.reset_after, d_y, d_state, d_weights)
