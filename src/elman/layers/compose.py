"""Layers made of layers: one after the other, both directions, around a short cut, and stacks of them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman import checks
from elman.layers.base import Context, Layer
from elman.layers.dropout import Dropout
from elman.layers.recurrent import Recurrent
from elman.params import Array, Params, Shapes


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Layer):
    """Layers one after the other. Its state is a tuple with one state a layer, () for a layer that has none.

    ::

        Sequential(Embedding(65, 64), LSTM(64, 128), Linear(128, 65))

    Parameters are named by position: ``1.weight_ih``. The next layer gets a layer's output, h, never its cell c.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("Sequential: needs at least one layer")
        size = None
        for k, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential: argument {k} must be a layer, got {type(layer).__name__}")
            if k and layer.takes_tokens:
                raise ValueError(f"Sequential: layer {k}, {layer!r}, takes token ids, so it can only come first")
            if size is not None and layer.in_size not in (None, size):
                raise ValueError(f"Sequential: layer {k}, {layer!r}, takes {layer.in_size} features, but gets {size}")
            size = layer.out_size or size
        object.__setattr__(self, "layers", layers)

    @property
    def in_size(self) -> int | None:  # noqa: D102
        return next((size for size in (layer.in_size for layer in self.layers) if size is not None), None)

    @property
    def out_size(self) -> int | None:  # noqa: D102
        return next((size for size in (layer.out_size for layer in reversed(self.layers)) if size is not None), None)

    @property
    def takes_tokens(self) -> bool:  # noqa: D102
        return self.layers[0].takes_tokens

    def children(self) -> dict[str, Layer]:  # noqa: D102
        return {str(k): layer for k, layer in enumerate(self.layers)}

    def final_output(self, state: Any) -> Array:
        """Return the output of the last layer at each row's last valid step, (B, D*H).

        Raises TypeError where the last layer (Dropout aside) keeps no state, for then its output is not in the state.
        """
        for layer, layer_state in zip(reversed(self.layers), reversed(state), strict=True):
            if not isinstance(layer, Dropout):
                return layer.final_output(layer_state)
        return super().final_output(state)

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        given = checks.state_tuple(self, state, len(self.layers))
        ends, tapes = [], []
        for (name, layer), start in zip(self.children().items(), given, strict=True):
            x, end, tape = layer._forward(params.child(name), x, start, context)
            ends.append(end)
            tapes.append(tape if context.keep else None)
        return x, tuple(ends), tuple(tapes)

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        d: Array | None = d_y
        d_starts, d_paths = [], []
        for (name, layer), layer_tape, d_end in reversed(
            list(zip(self.children().items(), tape, d_state, strict=True))
        ):
            assert d is not None  # only the first layer takes tokens
            d, d_start, d_path = layer._backward(params.child(name), layer_tape, d, d_end, grads.child(name), context)
            d_starts.append(d_start)
            d_paths.append(d_path)
        return d, tuple(reversed(d_starts)), tuple(reversed(d_paths))

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"


@dataclass(frozen=True, repr=False)
class Bidirectional(Layer):
    """A recurrent layer run in both directions: y_t = [forward h_t, reverse h_t], (B, T, 2 H).

    The state is a pair (forward, reverse). ``y[:, -1]`` is not the final output, for there the reverse direction has
    seen one step only: use `final_output`. It cannot stream, since it needs the end of the sequence.

    Parameters
    ----------
    layer : RNN, LSTM or GRU; both directions get parameters of their own, ``forward.*`` and ``reverse.*``
    """

    layer: Recurrent

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Recurrent) or self.layer.reverse:
            raise TypeError(f"Bidirectional: layer must be an RNN, LSTM or GRU that runs forward, got {self.layer!r}")

    @property
    def in_size(self) -> int:  # noqa: D102
        return self.layer.in_size

    @property
    def out_size(self) -> int:  # noqa: D102
        return 2 * self.layer.out_size

    @property
    def takes_tokens(self) -> bool:  # noqa: D102
        return self.layer.takes_tokens

    def children(self) -> dict[str, Layer]:  # noqa: D102
        return {"forward": self.layer, "reverse": dataclasses.replace(self.layer, reverse=True)}

    def final_output(self, state: Any) -> Array:  # noqa: D102
        return np.concatenate([end.h for end in state], axis=1)

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        given = checks.state_tuple(self, state, 2)
        halves = [
            layer._forward(params.child(name), x, start, context)
            for (name, layer), start in zip(self.children().items(), given, strict=True)
        ]
        y, ends, tapes = zip(*halves, strict=True)
        return np.concatenate(y, axis=2), ends, tapes

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        halves = [
            layer._backward(params.child(name), half, d_half, d_end, grads.child(name), context)
            for (name, layer), half, d_half, d_end in zip(
                self.children().items(), tape, np.split(d_y, 2, axis=2), d_state, strict=True
            )
        ]
        d_x, d_starts, d_paths = zip(*halves, strict=True)
        return None if self.takes_tokens else d_x[0] + d_x[1], d_starts, d_paths


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """A layer with a short cut around it: y = x + layer(x). Its parameters and state are the layer's.

    Parameters
    ----------
    layer : any layer whose outputs are as many as its inputs
    """

    layer: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"Residual: layer must be a layer, got {type(self.layer).__name__}")
        if self.layer.takes_tokens or self.layer.out_size not in (None, self.layer.in_size):
            raise ValueError(f"Residual: layer must give as many features as it takes, got {self.layer!r}")

    @property
    def in_size(self) -> int | None:  # noqa: D102
        return self.layer.in_size

    @property
    def out_size(self) -> int | None:  # noqa: D102
        return self.layer.out_size

    @property
    def is_causal(self) -> bool:  # noqa: D102
        return self.layer.is_causal

    def children(self) -> dict[str, Layer]:  # noqa: D102
        return self.layer.children()

    def shapes(self) -> Shapes:  # noqa: D102
        return self.layer.shapes()

    def fill(self, params: Params, rng: np.random.Generator) -> None:  # noqa: D102
        self.layer.fill(params, rng)

    def zero_state(self, batch_size: int, dtype: Any = np.float32) -> Any:  # noqa: D102
        return self.layer.zero_state(batch_size, dtype)

    def final_output(self, state: Any) -> Array:
        """Refuse: the last output also needs the last input, which no state holds."""
        raise TypeError(f"{self!r}: has no final output from the state alone; put the last layer outside of Residual")

    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        y, end, tape = self.layer._forward(params, x, state, context)
        return x + y, end, tape

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        d_x, d_start, d_path = self.layer._backward(params, tape, d_y, d_state, grads, context)
        assert d_x is not None
        return d_x + d_y, d_start, d_path


def stack(
    cell: Callable[[int, int], Recurrent],
    sizes: Sequence[int],
    *,
    dropout: float = 0.0,
    locked: bool = False,
    bidirectional: bool = False,
    residual: bool = False,
) -> Sequential:
    """Return recurrent layers on top of each other, of any sizes.

    Parameters
    ----------
    cell : LSTM, GRU, RNN, or any function (input_size, hidden_size) -> layer, such as
        functools.partial(GRU, reset_after=False)
    sizes : [I, H_1, ..., H_L], the features of the input and of each layer
    dropout : probability of dropout between layers, never after the last one; locked as in `Dropout`
    bidirectional : run each layer in both directions; it then gives 2 H_l features
    residual : put a short cut around each layer whose input and output have the same size

    Warns
    -----
    UserWarning
        if dropout is asked for with a single layer, where it has no effect
    """
    if len(sizes) < 2:
        raise ValueError(f"stack: sizes must hold the input size and at least one hidden size, got {list(sizes)}")
    if dropout and len(sizes) == 2:
        warnings.warn(
            f"stack: dropout={dropout} has no effect on a single layer, for it acts between layers; "
            "put a Dropout layer before or after it",
            stacklevel=2,
        )
    layers: list[Layer] = []
    size = sizes[0]
    for k, hidden_size in enumerate(sizes[1:]):
        if k and dropout:
            layers.append(Dropout(dropout, locked=locked))
        layer: Layer = cell(size, hidden_size)
        if bidirectional:
            layer = Bidirectional(layer)  # type: ignore[arg-type]  # it refuses what is not recurrent
        if residual and layer.in_size == layer.out_size and not layer.takes_tokens:
            layer = Residual(layer)
        layers.append(layer)
        size = layer.out_size or size
    return Sequential(*layers)
