"""The zoo: every kind of layer with every option, and the inputs to try them with. A new layer joins by one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from elman import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    Linear,
    Model,
    Params,
    Residual,
    Sequential,
    kernels,
    stack,
)
from elman.layers import Layer, Recurrent
from elman.trees import tree_map

I, H, V = 3, 4, 7
B, T = 4, 5
LENGTHS = {"full": None, "ragged": (3, 5, 0, 1)}  # of the B rows
DTYPES = ("float32", "float64")


def _twins() -> tuple[str, ...]:
    """Return the twins that this installation has; with ELMAN_REQUIRE_NATIVE the native one must be among them."""
    try:
        kernels.native_module()
    except ImportError:
        if os.environ.get("ELMAN_REQUIRE_NATIVE"):
            raise
        return ("reference",)
    return ("reference", "native")


TWINS = _twins()
EXACT_TWINS = ("elman.kernels.native",)  # the same bits however a sequence or a batch is cut

ZOO: dict[str, Callable[[], Layer]] = {
    "rnn-tanh": lambda: RNN(I, H),
    "rnn-relu": lambda: RNN(I, H, activation="relu"),
    "rnn-sigmoid": lambda: RNN(I, H, activation="sigmoid"),
    "rnn-reverse": lambda: RNN(I, H, reverse=True),
    "rnn-no-bias": lambda: RNN(I, H, bias=False),
    "rnn-learned": lambda: RNN(I, H, learned_initial_state=True),
    "rnn-tokens": lambda: RNN(V, H, token_input=True),
    "rnn-hold": lambda: RNN(I, H, padded_output="hold"),
    "rnn-one-unit": lambda: RNN(1, 1),
    "lstm": lambda: LSTM(I, H),
    "lstm-reverse": lambda: LSTM(I, H, reverse=True),
    "lstm-no-bias": lambda: LSTM(I, H, bias=False),
    "lstm-learned": lambda: LSTM(I, H, learned_initial_state=True),
    "lstm-learned-reverse": lambda: LSTM(I, H, learned_initial_state=True, reverse=True),
    "lstm-tokens": lambda: LSTM(V, H, token_input=True),
    "lstm-hold": lambda: LSTM(I, H, padded_output="hold"),
    "gru-after": lambda: GRU(I, H),
    "gru-before": lambda: GRU(I, H, reset_after=False),
    "gru-after-reverse": lambda: GRU(I, H, reverse=True),
    "gru-before-reverse": lambda: GRU(I, H, reset_after=False, reverse=True),
    "gru-after-no-bias": lambda: GRU(I, H, bias=False),
    "gru-before-no-bias": lambda: GRU(I, H, reset_after=False, bias=False),
    "gru-learned": lambda: GRU(I, H, learned_initial_state=True),
    "gru-tokens": lambda: GRU(V, H, token_input=True),
    "gru-before-hold-reverse": lambda: GRU(I, H, reset_after=False, padded_output="hold", reverse=True),
    "linear": lambda: Linear(I, H),
    "linear-no-bias": lambda: Linear(I, H, bias=False),
    "linear-tanh": lambda: Linear(I, H, activation="tanh"),
    "linear-relu": lambda: Linear(I, H, activation="relu"),
    "linear-sigmoid": lambda: Linear(I, H, activation="sigmoid"),
    "embedding": lambda: Embedding(V, H),
    "dropout": lambda: Dropout(0.4),
    "dropout-locked": lambda: Dropout(0.4, locked=True),
    "dropout-off": lambda: Dropout(0.0),
    "bidirectional-rnn": lambda: Bidirectional(RNN(I, H)),
    "bidirectional-lstm": lambda: Bidirectional(LSTM(I, H, learned_initial_state=True)),
    "bidirectional-gru": lambda: Bidirectional(GRU(I, H, reset_after=False)),
    "bidirectional-tokens": lambda: Bidirectional(GRU(V, H, token_input=True)),
    "bidirectional-hold": lambda: Bidirectional(LSTM(I, H, padded_output="hold")),
    "residual-lstm": lambda: Residual(LSTM(H, H)),
    "residual-dropout": lambda: Residual(Dropout(0.4)),
    "residual-mixed": lambda: Residual(Sequential(Linear(I, H), GRU(H, I))),
    "residual-above-hold": lambda: Sequential(RNN(I, H, padded_output="hold"), Residual(GRU(H, H))),
    "sequential-language": lambda: Sequential(Embedding(V, I), LSTM(I, H), Dropout(0.3), Linear(H, V)),
    "sequential-nested": lambda: Sequential(Sequential(Linear(I, 2), GRU(2, H)), Sequential(RNN(H, 2), Linear(2, I))),
    "sequential-hold-linear": lambda: Sequential(LSTM(I, H, padded_output="hold"), Linear(H, 2)),
    "sequential-hold-dropout": lambda: Sequential(GRU(I, H, padded_output="hold"), Dropout(0.4, locked=True)),
    "sequential-dropout-first": lambda: Sequential(Dropout(0.4), RNN(I, H)),
    "stack-sizes": lambda: stack(LSTM, [I, 5, 2, H]),
    "stack-dropout": lambda: stack(partial(GRU, reset_after=False), [I, H, H], dropout=0.3, locked=True),
    "stack-residual": lambda: stack(partial(RNN, learned_initial_state=True), [I, H, H, H], residual=True),
    "stack-bidirectional": lambda: stack(LSTM, [I, 2, 2], bidirectional=True, residual=True, dropout=0.2),
}


class Case(NamedTuple):
    """A model with random numbers in all its parameters, and something to run it on."""

    model: Model
    x: np.ndarray  # (B, T, I) or ids (B, T)
    state: Any  # random, not zeros
    lengths: Any
    d_y: np.ndarray
    d_state: Any


def random_params(layer: Layer, dtype: Any = "float64", seed: int = 0) -> Params:
    """Return parameters that are distinct and not near 0 in any place, biases too."""
    params = Params(layer.shapes(), dtype=np.float64)
    rng = np.random.default_rng([seed, 1])
    params.flat[:] = rng.uniform(0.1, 0.7, params.flat.size) * rng.choice([-1, 1], params.flat.size)
    return params.astype(dtype)


def random_x(layer: Layer, B: int, T: int, dtype: Any = "float64", seed: int = 0) -> np.ndarray:
    """Return an input (B, T, F), or ids (B, T) of which some occur more than once."""
    rng = np.random.default_rng([seed, 2])
    if layer.takes_tokens:
        return rng.integers(0, layer.in_size, (B, T))
    return rng.standard_normal((B, T, layer.in_size or I)).astype(dtype)


def random_like(tree: Any, seed: int) -> Any:
    """Return a tree of random numbers with the shapes and types of another."""
    rng = np.random.default_rng([seed, 3])
    return tree_map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), tree)


def case(layer: Layer, dtype: Any = "float64", lengths: Any = None, *, seed: int = 0, B: int = B, T: int = T) -> Case:
    """Return a model of the layer and something to run it on."""
    x = random_x(layer, B, T, dtype, seed)
    state = random_like(layer.zero_state(B, dtype), seed)
    features = layer.out_size or x.shape[-1]
    d_y = random_like(np.empty((B, T, features), dtype), seed + 10)
    d_state = random_like(state, seed + 20)
    return Case(Model(layer, random_params(layer, dtype, seed)), x, state, lengths, d_y, d_state)


def holds(layer: Layer) -> bool:
    """Return whether outputs at padded steps are the standing state, so that they are outputs like the others."""
    if isinstance(layer, Recurrent):
        return layer.padded_output == "hold"
    if isinstance(layer, Sequential):
        top = next((child for child in reversed(layer.layers) if not isinstance(child, Dropout)), None)
        below = Sequential(*layer.layers[:-1]) if isinstance(layer.layers[-1], Residual) else None
        return top is not None and (holds(top) or (below is not None and holds(below)))
    return isinstance(layer, Bidirectional | Residual) and holds(layer.layer)
