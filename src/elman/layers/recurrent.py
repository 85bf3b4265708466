"""What RNN, LSTM and GRU share: parameters, initial values, states, the learned initial state."""

from __future__ import annotations

import abc
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from elman import checks
from elman.kernels.spec import KernelBackward, KernelForward, Steps, Weights
from elman.layers.base import Context, Layer
from elman.layers.initial import glorot, orthogonal
from elman.params import Array, Params, Shapes


@dataclass(frozen=True, repr=False)
class Recurrent(Layer):
    """A recurrent layer: one recurrence between two matrix products.

    Parameters
    ----------
    input_size : I, features of an input step (or ids in the vocabulary, with token_input)
    hidden_size : H, features of the state and of an output step
    bias : False leaves both biases out
    reverse : run from the last step to the first; outputs stay in time order
    learned_initial_state : make the state before the first step a parameter (used where no state is passed)
    token_input : x is token ids (B, T), each standing for a one-hot step: a row gather, no one-hot array
    padded_output : "zero", or "hold" to output the standing state at padded steps
    """

    input_size: int
    hidden_size: int
    _: KW_ONLY
    bias: bool = True
    reverse: bool = False
    learned_initial_state: bool = False
    token_input: bool = False
    padded_output: str = "zero"

    gate_names: ClassVar[tuple[str, ...]]
    state_type: ClassVar[type[Any]]

    def __post_init__(self) -> None:
        name = type(self).__name__
        checks.positive(name, input_size=self.input_size, hidden_size=self.hidden_size)
        checks.flags(
            name,
            bias=self.bias,
            reverse=self.reverse,
            learned_initial_state=self.learned_initial_state,
            token_input=self.token_input,
        )
        checks.one_of(name, "padded_output", self.padded_output, ["zero", "hold"])

    @property
    def in_size(self) -> int:  # noqa: D102
        return self.input_size

    @property
    def out_size(self) -> int:  # noqa: D102
        return self.hidden_size

    @property
    def takes_tokens(self) -> bool:  # noqa: D102
        return self.token_input

    @property
    def is_causal(self) -> bool:  # noqa: D102
        return not self.reverse

    def shapes(self) -> Shapes:  # noqa: D102
        I, H, G = self.input_size, self.hidden_size, len(self.gate_names)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (G * H, I), "weight_hh": (G * H, H)}
        if self.bias:
            shapes |= {"bias_ih": (G * H,), "bias_hh": (G * H,)}
        if self.learned_initial_state:
            shapes |= {f"initial_{name}": (H,) for name in self.state_type._fields}
        return shapes

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw Glorot input weights and orthogonal recurrent weights, gate by gate; biases and states start at 0."""
        I, H = self.input_size, self.hidden_size
        for g in range(len(self.gate_names)):
            params["weight_ih"][g * H : (g + 1) * H] = glorot(rng, H, I)
            params["weight_hh"][g * H : (g + 1) * H] = orthogonal(rng, H)

    def zero_state(self, batch_size: int, dtype: Any = np.float32) -> Any:  # noqa: D102
        return self.state_type(*(np.zeros((batch_size, self.hidden_size), dtype) for _ in self.state_type._fields))

    def final_output(self, state: Any) -> Array:  # noqa: D102
        h: Array = state.h
        return h

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        B, H = x.shape[1], self.hidden_size
        given = state is not None
        if given:
            state = checks.state_arrays(self, self.state_type, state, B, H, params.dtype)
        elif self.learned_initial_state:
            fields = self.state_type._fields
            state = self.state_type(*(np.broadcast_to(params[f"initial_{name}"], (B, H)) for name in fields))
        else:
            state = self.zero_state(B, params.dtype)
        y, state, tape = self._run(x, state, _weights(params), self._steps(context), context)
        return y, state, (tape, given)

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        kernel_tape, given = tape
        d_x, d_state, d_states = self._run_backward(
            kernel_tape, _weights(params), self._steps(context), d_y, d_state, _weights(grads)
        )
        if self.learned_initial_state and not given:
            for name, d in zip(self.state_type._fields, d_state, strict=True):
                grads[f"initial_{name}"] += d.sum(axis=0)
        return d_x, d_state, d_states

    @property
    @abc.abstractmethod
    def kernel_name(self) -> str:
        """The name by which the native kernels know this kind of cell."""

    def _steps(self, context: Context) -> Steps:
        return Steps(context.lengths, self.reverse, self.padded_output == "hold")

    @abc.abstractmethod
    def _run(self, x: Array, state: Any, weights: Weights, steps: Steps, context: Context) -> KernelForward:
        """Call the forward kernel."""

    @abc.abstractmethod
    def _run_backward(
        self, tape: Any, weights: Weights, steps: Steps, d_y: Array, d_state: Any, d_weights: Weights
    ) -> KernelBackward:
        """Call the backward kernel."""


def _weights(params: Params) -> Weights:
    return Weights(params["weight_ih"], params["weight_hh"], params.get("bias_ih"), params.get("bias_hh"))
