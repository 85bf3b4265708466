"""What the tests of the native kernels share: models whose numbers tell faults apart, and a guard for settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
import pytest

import elman
import zoo
from elman import GRU, LSTM, RNN, kernels
from elman.trees import tree_map

needs_native = pytest.mark.skipif("native" not in zoo.TWINS, reason="the native twin is not here")

CELLS = {
    "rnn": lambda I, H: RNN(I, H),
    "rnn-relu": lambda I, H: RNN(I, H, activation="relu"),
    "rnn-sigmoid": lambda I, H: RNN(I, H, activation="sigmoid"),
    "lstm": lambda I, H: LSTM(I, H),
    "gru-after": lambda I, H: GRU(I, H),
    "gru-before": lambda I, H: GRU(I, H, reset_after=False),
}
# Around the widths of vectors and of panels of vectors, for every instruction set.
HIDDEN = (1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 64, 65, 130)
SIZES = list(zip((130, 65, 64, 33, 31, 17, 16, 15, 7, 5, 3, 2, 1), HIDDEN, strict=True))


def model(layer: elman.Layer, dtype: Any = "float32", seed: int = 0) -> elman.Model:
    """Return a model with random numbers in all its parameters, small enough that no unit saturates."""
    made = layer.init(seed, dtype="float64")
    rng = np.random.default_rng([seed, 4])
    for name, array in made.params.items():
        array[...] = rng.standard_normal(array.shape) * (1.2 / np.sqrt(array.shape[-1]) if "weight" in name else 0.3)
    return made.astype(dtype)


def passes(made: elman.Model, x: Any, state: Any, lengths: Any = None, seed: int = 7) -> Any:
    """Return all that a forward and a backward pass give."""
    forward = made.forward(x, state, lengths=lengths)
    d_y = zoo.random_like(forward.y, seed)
    backward = made.backward(forward.tape, d_y, zoo.random_like(forward.state, seed + 1))
    return (forward.y, forward.state, *backward)


def given(made: elman.Model, B: int, T: int, seed: int = 0) -> tuple[np.ndarray, Any]:
    """Return an input and a state before it, neither of them zero."""
    dtype = made.params.dtype
    x = zoo.random_x(made.layer, B, T, dtype, seed)
    return x, tree_map(lambda leaf: leaf / 2, zoo.random_like(made.layer.zero_state(B, dtype), seed))


def ragged(B: int, T: int) -> list[int]:
    """Return lengths of B rows: 0, T and what lies between, in no order."""
    some = cycle((T, 0, T // 2, T - 1, 1))
    return [next(some) for _ in range(B)]


@contextmanager
def settings(*, threads: int | None = None, isa: str | None = None) -> Iterator[None]:
    """Compute with so many threads and that instruction set; afterwards all is as before."""
    native = kernels.native_module()
    before = native.threads(), native.instruction_set()
    try:
        if threads is not None:
            native.set_threads(threads)
        if isa is not None:
            native.use_instruction_set(isa)
        yield
    finally:
        native.set_threads(before[0])
        native.use_instruction_set(before[1])


def fresh(code: str, *, timeout: float = 120, **environment: str) -> str:
    """Return what code prints in a process of its own, which can import the tests."""
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.join(here, "unit"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
