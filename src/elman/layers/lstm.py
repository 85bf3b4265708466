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
    memory_steps : draw both instead, so that the units begin with memories of 1 to so many steps: log(U(1, T)), and its
        negative for the input gate

    Cost: 8 T B H (I + H) flops forward, twice that backward; a tape of T B (I + 6 H) numbers.
    Source: Hochreiter and Schmidhuber (1997); forget gate: Gers, Schmidhuber and Cummins (2000); memory_steps: Tallec
    and Ollivier (2018).
    """

    _: KW_ONLY
    forget_bias: float = 1.0
    input_bias: float = 0.0
    memory_steps: float | None = None

    gate_names = ("i", "f", "g", "o")
    state_type = LSTMState

    def __post_init__(self) -> None:
        super().__post_init__()
        own = {"forget_bias": (self.forget_bias, 1.0), "input_bias": (self.input_bias, 0.0)}
        checks.no_bias_to_set("LSTM", self.bias, **own)
        checks.memory("LSTM", self.memory_steps, self.bias, **own)

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw weights as every recurrent layer does, and set the biases of the input and the forget gate."""
        super().fill(params, rng)
        if self.bias:
            forget: Any = self.forget_bias
            enter: Any = self.input_bias
            if self.memory_steps is not None:
                forget = np.log(rng.uniform(1, self.memory_steps, self.hidden_size))
                enter = -forget
            params["bias_ih"][: self.hidden_size] = enter
            params["bias_ih"][self.hidden_size : 2 * self.hidden_size] = forget

    @property
    def kernel_name(self) -> str:  # noqa: D102
        return "lstm"

    def _run(self, x: Array, state: Any, weights: Weights, steps: Steps, context: Context) -> KernelForward:
        return context.kernels().lstm_forward(x, state, weights, steps, keep=context.keep)

    def _run_backward(
        self, tape: Any, weights: Weights, steps: Steps, d_y: Array, d_state: Any, d_weights: Weights
    ) -> KernelBackward:
        return kernels.active().lstm_backward(tape, weights, steps, d_y, d_state, d_weights)
