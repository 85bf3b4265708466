"""JAX: `jit` and `lax.scan`, the input projection done for all steps at once (unrolling the scan rarely helps)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.contestants import Run
from benchmarks.speed.problem import Problem, Results


class Jax:
    """JAX; its threads follow the cores that the process may use."""

    def __init__(self, threads: int) -> None:
        del threads

    def inference(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        if problem.lengths is not None:
            return {}
        w, x = _weights(problem), _time_major(problem.x)

        run = jax.jit(partial(_layer, problem.cell.kind))
        return {"jit, scan": Run(lambda: jax.block_until_ready(run(w, x)), lambda: {"y": _batch_first(run(w, x)[0])})}

    def training(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        if problem.lengths is not None:
            return {}
        w, x, d_y = _weights(problem), _time_major(problem.x), _time_major(problem.d_y)

        @jax.jit
        def both(w: Any, x: Any, d_y: Any) -> Any:
            y, pull = jax.vjp(lambda w, x: _layer(problem.cell.kind, w, x)[0], w, x)
            return y, *pull(d_y)

        def results() -> Results:
            y, d_w, d_x = both(w, x, d_y)
            return {"y": _batch_first(y), "d_x": _batch_first(d_x), **{name: np.asarray(d) for name, d in d_w.items()}}

        return {"jit, scan": Run(lambda: jax.block_until_ready(both(w, x, d_y)), results)}

    def step(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        w, rows = _weights(problem), [jnp.asarray(row[None]) for row in problem.x[0]]
        start = (jnp.zeros((1, problem.cell.H)),) * (2 if problem.cell.kind == "LSTM" else 1)
        cell = CELLS[problem.cell.kind]

        @jax.jit
        def step(w: Any, row: Any, state: Any) -> Any:
            return cell(w, row @ w["weight_ih"].T + w["bias_ih"], state)

        state = start

        def call() -> Any:
            nonlocal state
            state = step(w, rows[0], state)
            return jax.block_until_ready(state)

        def results() -> Results:
            found, inner = [], start
            for row in rows:
                inner = step(w, row, inner)
                found.append(np.asarray(inner[0][0]))
            return {"y": np.stack(found)[None]}

        return {"jit": Run(call, results)}


def _lstm(w: Any, gates_x: Any, state: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(gates_x + h @ w["weight_hh"].T + w["bias_hh"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(w: Any, gates_x: Any, state: Any) -> Any:
    (h,) = state
    x_r, x_z, x_n = jnp.split(gates_x, 3, axis=1)
    h_r, h_z, h_n = jnp.split(h @ w["weight_hh"].T + w["bias_hh"], 3, axis=1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    return ((1 - z) * jnp.tanh(x_n + r * h_n) + z * h,)


def _rnn(w: Any, gates_x: Any, state: Any) -> Any:
    return (jnp.tanh(gates_x + state[0] @ w["weight_hh"].T + w["bias_hh"]),)


CELLS: dict[str, Callable[[Any, Any, Any], Any]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _layer(kind: str, w: Any, x: Any) -> Any:
    """Run a layer over x (T, B, I) and return y (T, B, H) and the state."""
    gates_x = x @ w["weight_ih"].T + w["bias_ih"]
    start = (jnp.zeros((x.shape[1], w["weight_hh"].shape[1])),) * (2 if kind == "LSTM" else 1)

    def step(state: Any, gates_x_t: Any) -> Any:
        state = CELLS[kind](w, gates_x_t, state)
        return state, state[0]

    state, y = jax.lax.scan(step, start, gates_x)
    return y, state


def _weights(problem: Problem) -> dict[str, Any]:
    return {name: jnp.asarray(array) for name, array in problem.weights.items()}


def _time_major(array: Any) -> Any:
    return jnp.asarray(np.ascontiguousarray(array.swapaxes(0, 1)))


def _batch_first(y: Any) -> Any:
    return np.asarray(y).swapaxes(0, 1)
