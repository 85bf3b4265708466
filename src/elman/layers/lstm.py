"""LSTM: long short-term memory."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from elman import checks, kernels
from elman.kernels.spec import KernelBackward, KernelForward, LSTMState, Steps, Weights
from elman.layers.base import Context
from elman.layers.recurrent import Recurrent
from elman.params import Array, Params


@dataclass(frozen=True, repr=False)
class LSTM(Recurrent):
    """Long short-term memory: a cell c that is added to, behind gates, so that its gradient need not vanish.

    ::

        i, f, o = sigmoid(...)     g = tanh(...)     each of  weight_ih x_t + bias_ih + weight_hh h_{t-1} + bias_hh
        c_t = f c_{t-1} + i g
        h_t = o tanh(c_t)

    Parameters
    ----------
    input_size, hidden_size, and the keywords of `Recurrent`
    forget_bias : initial bias of the forget gate. 1 keeps about 73 % of the cell a step (sigmoid(1)); for memories of
        T steps start near log(T) (Tallec and Ollivier 2018)
    input_bias : initial bias of the input gate. With a forget bias of log(T), -log(T) keeps noise from filling the cell

    Cost: 8 T B H (I + H) flops forward, twice that backward; a tape of T B (I + 6 H) numbers.
    Source: Hochreiter and Schmidhuber (1997); forget gate: Gers, Schmidhuber and Cummins (2000).
    """

    _: KW_ONLY
    forget_bias: float = 1.0
    input_bias: float = 0.0

    gate_names = ("i", "f", "g", "o")
    state_type = LSTMState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.no_bias_to_set("LSTM", self.bias, forget_bias=(self.forget_bias, 1.0), input_bias=(self.input_bias, 0.0))

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw weights as every recurrent layer does, and set the biases of the input and the forget gate."""
        super().fill(params, rng)
        if self.bias:
            params["bias_ih"][: self.hidden_size] = self.input_bias
            params["bias_ih"][self.hidden_size : 2 * self.hidden_size] = self.forget_bias

    @property
    def kernel_name(self) -> str:  # noqa: D102
        return "lstm"

    def _run(self, x: Array, state: Any, weights: Weights, steps: Steps, context: Context) -> KernelForward:
        return context.kernels().lstm_forward(x, state, weights, steps, keep=context.keep)

    def _run_backward(
        self, tape: Any, weights: Weights, steps: Steps, d_y: Array, d_state: Any, d_weights: Weights
    ) -> KernelBackward:
        return kernels.active().lstm_backward(tape, weights, steps, d_y, d_state, d_weights)
