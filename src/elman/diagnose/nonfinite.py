"""What is not a number, and where it came from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from elman.diagnose.walk import all_layers, parts_of, recurrent_layers
from elman.layers import Layer, Recurrent
from elman.params import Params
from elman.trees import tree_leaves


def locate_nonfinite(layer: Layer, loss: float, y: Any, grads: Params, d_states: Any) -> str:
    """Return a phrase that says where a loss or a gradient stopped being finite.

    What is not finite spreads: forward in time and upwards from where it arose in the outputs, back in time and
    downwards in the gradients. So the first step of the outputs is named, and of the gradients the topmost layer, its
    parameters, and the last step.

    Parameters
    ----------
    layer : Layer
    loss : value of the loss
    y : outputs, in any form
    grads : Params, gradients of the parameters
    d_states : gradients of the states, as `Layer.backward` returns them; () where unknown
    """
    parts = []
    step = _first_step(y)
    if step is not None:
        parts.append(f"the outputs are not finite from time step t = {step} on")
    elif not math.isfinite(loss):
        parts.append(f"the loss is {loss}, though the outputs are finite")
    wrong = [name for name, gradient in grads.items() if not np.isfinite(gradient).all()]
    if wrong:
        parts.append(_gradient_phrase(layer, wrong, d_states))
    return ", and ".join(parts) or "the norm of the gradient is not finite, though all its numbers are"


def _gradient_phrase(layer: Layer, wrong: list[str], d_states: Any) -> str:
    """Name the topmost parameter with a gradient that is not finite, its layer, and the step where it began."""
    name = _topmost(layer, wrong)
    path, _, _ = name.rpartition(".")
    holders = dict(all_layers(layer))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    phrase = f"the gradient of {name}{more} is not finite, in {holders.get(path, layer)!r}"
    recurrent = list(recurrent_layers(layer))
    for (at, inner), states in reversed(list(zip(recurrent, parts_of(layer, d_states), strict=False))):
        steps = [step for _, d in tree_leaves(states) for step in _nonfinite_steps(d)]
        if steps:
            where = "" if at == path else f" in {inner!r}"
            return f"{phrase}: d(loss)/d(state){where} broke, going backward, at time step t = {_origin(inner, steps)}"
    return phrase


def _origin(layer: Recurrent, steps: Iterable[int]) -> int:
    """Return which of the steps the backward pass came to first."""
    return min(steps) if layer.reverse else max(steps)


def _topmost(layer: Layer, names: list[str]) -> str:
    """Return the first parameter of the topmost layer among the names, which come in the order of the layers."""
    paths = [path for path, _ in all_layers(layer)]
    top = max((name.rpartition(".")[0] for name in names), key=lambda path: paths.index(path) if path in paths else -1)
    return next(name for name in names if name.rpartition(".")[0] == top)


def _nonfinite_steps(values: Any) -> list[int]:
    """Return the steps at which values (B, T, F), (T, F), or a list of (T_i, F), are not finite."""
    if isinstance(values, list):
        return sorted({step for row in values for step in _nonfinite_steps(row)})
    finite = np.isfinite(values).all(axis=-1)
    steps: list[int] = np.flatnonzero(~(finite if finite.ndim == 1 else finite.all(axis=0))).tolist()
    return steps


def _first_step(y: Any) -> int | None:
    steps = _nonfinite_steps(y)
    return steps[0] if steps else None
