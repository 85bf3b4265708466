"""The networks of the estimators: a stack of recurrent layers under a linear one, or an encoder and a decoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.layers import GRU, LSTM, RNN, Dropout, Layer, Linear, Recurrent, Sequential, stack
from elman.params import Array, Params, Shapes

CELLS: dict[str, type[Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class Sizes(NamedTuple):
    """What the user chooses about a network."""

    cell: str
    hidden_size: int
    n_layers: int
    dropout: float
    bidirectional: bool = False
    memory_steps: float | None = None


def tower(where: str, input_size: int, output_size: int, sizes: Sizes) -> Sequential:
    """Return recurrent layers and a linear layer on top: x (B, T, I) -> y (B, T, O)."""
    checks.one_of(where, "cell", sizes.cell, CELLS)
    checks.positive(where, hidden_size=sizes.hidden_size, n_layers=sizes.n_layers)
    checks.in_range(where, "dropout", sizes.dropout, 0, 1, open_high=True)
    cell: Any = CELLS[sizes.cell]
    if sizes.memory_steps is not None:
        if sizes.cell == "rnn":
            raise ValueError(f"{where}: memory_steps is for cells with gates, 'gru' and 'lstm'")
        cell = partial(cell, memory_steps=sizes.memory_steps)
    recurrent = stack(
        cell,
        [input_size] + [sizes.hidden_size] * sizes.n_layers,
        dropout=sizes.dropout if sizes.n_layers > 1 else 0.0,
        bidirectional=bool(sizes.bidirectional),
    )
    layers: list[Layer] = list(recurrent.layers)
    if sizes.dropout:
        layers.append(Dropout(sizes.dropout))
    return Sequential(*layers, Linear(recurrent.out_size or sizes.hidden_size, output_size))


class Split(NamedTuple):
    """A tower as two models that share its numbers: what keeps a state, and what reads it."""

    body: Layer
    body_params: Params
    head: Params  # weight (O, H), bias (O,)


def split(layer: Sequential, params: Params) -> Split:
    """Return the recurrent part of a tower, and the parameters of its linear layer."""
    last = len(layer.layers) - 1
    body = Sequential(*layer.layers[:last])
    flat = params.flat[: params.flat.size - params.child(str(last)).flat.size]
    return Split(body, Params(body.shapes(), flat), params.child(str(last)))


class Splitter:
    """`split` of one tower; of the parameters and gradients that came last it is remembered, but not in a pickle."""

    def __init__(self, layer: Sequential) -> None:
        self.layer = layer
        self._seen: list[tuple[Params, Split]] = []

    def __call__(self, params: Params) -> Split:
        """Return the recurrent part of the tower, and the parameters of its linear layer."""
        for seen, parts in self._seen:
            if seen is params:
                return parts
        parts = split(self.layer, params)
        self._seen = [*self._seen[-1:], (params, parts)]
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {"layer": self.layer, "_seen": []}


@dataclass(frozen=True)
class EncoderDecoder:
    """Two networks: one reads the history, the other starts from its state and writes the horizon.

    The decoder reads what is known of the future, not its own outputs, so that its errors do not add up and all of its
    steps are one call. Source: Sutskever, Vinyals and Le (2014), without their feedback of outputs.
    """

    encoder: Sequential
    decoder: Sequential

    def shapes(self) -> Shapes:
        """Return names and shapes: ``encoder.*`` and ``decoder.*``."""
        return {"encoder": self.encoder.shapes(), "decoder": self.decoder.shapes()}

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw initial values."""
        self.encoder.fill(params.child("encoder"), rng)
        self.decoder.fill(params.child("decoder"), rng)

    def start(self, state: Any) -> tuple[Any, ...]:
        """Return the state that the decoder begins with: the encoder's, () where the decoder has no state."""
        return (*state, *((),) * (len(self.decoder.layers) - len(state)))


Network = Sequential | EncoderDecoder


def encoder_decoder(where: str, input_size: int, future_size: int, output_size: int, sizes: Sizes) -> EncoderDecoder:
    """Return an encoder of histories (B, T, I) and a decoder of futures (B, S, C) -> (B, S, O)."""
    whole = tower(where, input_size, output_size, sizes)
    return EncoderDecoder(Sequential(*whole.layers[:-1]), tower(where, future_size, output_size, sizes))


def draw(network: Network, rng: np.random.Generator, dtype: Any) -> Params:
    """Return initial parameters of a network."""
    params = Params(network.shapes(), dtype=dtype)
    network.fill(params, rng)
    return params


def linear(head: Params, h: Array) -> Array:
    """Return ``h weight^T + bias``, (B, O), for outputs h (B, H) of a body."""
    y: Array = h @ head["weight"].T + head["bias"]
    return y
