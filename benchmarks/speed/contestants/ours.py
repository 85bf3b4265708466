"""Elman: an Engine for inference and streams, the model for training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import elman
from benchmarks.speed.contestants import Run
from benchmarks.speed.problem import Problem


class Elman:
    """Ours, as its users call it. Without native kernels there is no Engine, and the model itself is measured."""

    def __init__(self, threads: int) -> None:
        if hasattr(elman, "set_num_threads"):
            elman.set_num_threads(threads)  # the BLAS of NumPy reads the environment

    def inference(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        way = "Engine" if hasattr(elman, "Engine") else "Model"
        predict = elman.Engine(problem.model) if way == "Engine" else problem.model
        options = {} if problem.lengths is None else {"lengths": problem.lengths}
        call = partial(predict, problem.x, **options)
        return {way: Run(call, lambda: {"y": call()[0]})}

    def training(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        model = problem.model

        def call() -> Any:
            y, _, tape = model.forward(problem.x, lengths=problem.lengths)
            return y, model.backward(tape, problem.d_y)

        def results() -> dict[str, Any]:
            y, back = call()
            return {"y": y, "d_x": back.d_x, **back.grads}

        return {"Model": Run(call, results)}

    def step(self, problem: Problem) -> dict[str, Run]:  # noqa: D102
        rows = [np.ascontiguousarray(row) for row in problem.x[0]]
        if not hasattr(elman, "Engine"):
            return {"Model": _model_steps(problem.model, rows)}
        engine = elman.Engine(problem.model)

        def results() -> dict[str, Any]:
            stream = engine.stream()
            return {"y": np.stack([np.array(stream.step(row)) for row in rows])[None]}

        return {"Stream": Run(partial(engine.stream().step, rows[0]), results)}


def _model_steps(model: elman.Model, rows: list[Any]) -> Run:
    state: Any = None

    def step(row: Any) -> Any:
        nonlocal state
        y, state = model(row[None], state)
        return y

    def results() -> dict[str, Any]:
        nonlocal state
        state = None
        return {"y": np.concatenate([step(row) for row in rows])[None]}

    return Run(partial(step, rows[0]), results)
