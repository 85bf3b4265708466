"""PyTorch: the modules nn.LSTM, nn.GRU and nn.RNN, and for single steps also their cells."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks.speed.contestants import Run
from benchmarks.speed.problem import Array, Problem, Results


class Torch:
    """PyTorch in eager mode; inference under `torch.inference_mode`, entered once for many calls."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def inference(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        module, x = _module(problem), _input(problem)
        call = partial(module, x)
        return {_way(x): Run(call, lambda: {"y": _batch_first(call()[0], problem)}, torch.inference_mode)}

    def training(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        module, x = _module(problem), _input(problem)
        leaf = (x if problem.lengths is None else x.data).requires_grad_()
        d_y = _input(problem, problem.d_y)
        d_y = d_y if problem.lengths is None else d_y.data
        parameters = {name: getattr(module, f"{name}_l0") for name in problem.weights}

        def call() -> Any:
            for tensor in (leaf, *parameters.values()):
                tensor.grad = None
            y = module(x)[0]
            (y if problem.lengths is None else y.data).backward(d_y)
            return y

        def results() -> Results:
            y = call()
            d_x = leaf.grad if problem.lengths is None else x._replace(data=leaf.grad)
            found = {name: p.grad.numpy() for name, p in parameters.items()}
            return {"y": _batch_first(y, problem), "d_x": _batch_first(d_x, problem), **found}

        return {_way(x): Run(call, results)}

    def step(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        cell = getattr(torch.nn, f"{problem.cell.kind}Cell")(problem.cell.I, problem.cell.H)
        _load(cell, problem, "")
        module = _module(problem)
        rows = torch.from_numpy(problem.x[0])  # (10, I)

        def cell_step(row: Any, state: Any) -> Any:
            state = cell(row, state)
            return (state[0] if isinstance(state, tuple) else state), state

        return {"module": _steps(module, rows[:, None, None]), "cell": _steps(cell_step, rows[:, None])}


def _steps(function: Any, rows: Any) -> Run:
    state: Any = None
    first = rows[0]

    def call() -> Any:
        nonlocal state
        y, state = function(first, state)
        return y

    def results() -> Results:
        found, inner = [], None
        for row in rows:
            y, inner = function(row, inner)
            found.append(y.numpy().reshape(-1))
        return {"y": np.stack(found)[None]}

    return Run(call, results, torch.inference_mode)


def _module(problem: Problem) -> Any:
    module = getattr(torch.nn, problem.cell.kind)(problem.cell.I, problem.cell.H)
    _load(module, problem, "_l0")
    return module


def _load(module: Any, problem: Problem, suffix: str) -> None:
    module.load_state_dict({f"{name}{suffix}": torch.from_numpy(w) for name, w in problem.weights.items()})


def _input(problem: Problem, array: Array | None = None) -> Any:
    """Return x, or another array (B, T, F), time-major, and packed where the rows have lengths."""
    array = problem.x if array is None else array
    tensor = torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1)))
    if problem.lengths is None:
        return tensor
    return pack_padded_sequence(tensor, torch.from_numpy(problem.lengths), enforce_sorted=False)


def _way(x: Any) -> str:
    return "packed" if isinstance(x, PackedSequence) else "module"


def _batch_first(y: Any, problem: Problem) -> Array:
    if problem.lengths is not None:
        y, _ = pad_packed_sequence(y, total_length=problem.cell.T)
    return y.detach().numpy().swapaxes(0, 1)
