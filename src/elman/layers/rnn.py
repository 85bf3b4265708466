"""RNN: the simple recurrent network of Elman (1990)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from elman import checks, kernels
from elman.kernels.reference import ACTIVATIONS
from elman.kernels.spec import KernelBackward, KernelForward, RNNState, Steps, Weights
from elman.layers.base import Context
from elman.layers.recurrent import Recurrent
from elman.params import Array


@dataclass(frozen=True, repr=False)
class RNN(Recurrent):
    """A simple recurrent network, with memory in one vector h.

    ::

        h_t = f(weight_ih x_t + bias_ih + weight_hh h_{t-1} + bias_hh)

    Its gradient through time is a product of T Jacobians, so it vanishes or explodes over long spans: see
    `elman.diagnose.gradient_flow`.

    Parameters
    ----------
    input_size, hidden_size, and the keywords of `Recurrent`
    activation : "tanh", "relu" or "sigmoid"

    Cost: 2 T B H (I + H) flops forward, twice that backward; a tape of T B (I + H) numbers.
    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
    """

    _: KW_ONLY
    activation: str = "tanh"

    gate_names = ("h",)
    state_type = RNNState

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("RNN", "activation", self.activation, ACTIVATIONS)

    @property
    def kernel_name(self) -> str:  # noqa: D102
        return self.activation

    def _run(self, x: Array, state: Any, weights: Weights, steps: Steps, context: Context) -> KernelForward:
        return context.kernels().rnn_forward(x, state, weights, steps, self.activation, keep=context.keep)

    def _run_backward(
        self, tape: Any, weights: Weights, steps: Steps, d_y: Array, d_state: Any, d_weights: Weights
    ) -> KernelBackward:
        return kernels.active().rnn_backward(tape, weights, steps, self.activation, d_y, d_state, d_weights)
