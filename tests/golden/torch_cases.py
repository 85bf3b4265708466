"""Cases that PyTorch and Elman both compute: what PyTorch calls what, how ours runs a case, how results compare.

A case is a configuration and named arrays, all of them in PyTorch's layout:

    config      kind, options, input_size, hidden_size, num_layers, bidirectional, bias
    x           (B, T, I) and, where rows have lengths, lengths (B,)
    h0, c0      (D*L, B, H) initial states, layer-major: layer 0 forward, layer 0 reverse, layer 1 forward, ...
    param/NAME  such as param/weight_ih_l1_reverse
    d_y, d_h_n, d_c_n   weights of the loss  sum(d_y y) + sum(d_h_n h_n) + sum(d_c_n c_n)

and the results  y, h_n, c_n, d_x, d_h0, d_c0, grad/NAME  and, where known, d_h and d_c (D*L, B, T, H), the gradient of
every state on the way.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import elman
from elman.layers import KINDS, Layer
from elman.model import Model
from elman.params import Array, Params

HERE = Path(__file__).parent
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


class Case(NamedTuple):
    """A configuration and its arrays, inputs and results."""

    config: dict[str, Any]
    arrays: dict[str, Array]

    def part(self, prefix: str) -> dict[str, Array]:
        """Return the arrays under a prefix, such as "param", without it."""
        return {name[len(prefix) + 1 :]: a for name, a in self.arrays.items() if name.startswith(f"{prefix}/")}


def load_cases(file: str) -> dict[str, Case]:
    """Return the cases of a golden file by name."""
    with np.load(HERE / file, allow_pickle=False) as opened:
        index, numbers = json.loads(str(opened["cases"])), opened["numbers"]
    cases, start = {}, 0
    for name, case in index.items():
        arrays = {}
        for key, (dtype, shape) in case["arrays"].items():
            size = math.prod(shape)
            arrays[key] = numbers[start : start + size].reshape(shape).astype(dtype)
            start += size
        cases[name] = Case(case["config"], arrays)
    assert start == len(numbers), f"{file}: {len(numbers)} numbers, its index names {start}"
    return cases


# ------------------------------------------------------------------------------------------------- names and layouts


def our_name(torch_name: str, bidirectional: bool) -> str:
    """Return our name of a parameter: weight_ih_l1_reverse is 1.reverse.weight_ih."""
    match = re.fullmatch(r"((?:weight|bias)_(?:ih|hh))_l(\d+)(_reverse)?", torch_name)
    assert match is not None, torch_name
    name, layer, reverse = match.groups()
    direction = ("reverse." if reverse else "forward.") if bidirectional else ""
    return f"{layer}.{direction}{name}"


def network(config: dict[str, Any]) -> Layer:
    """Return the stack of layers that one PyTorch module stands for."""
    layers: list[Layer] = []
    size = config["input_size"]
    for _ in range(config["num_layers"]):
        layer = KINDS[config["kind"]](size, config["hidden_size"], bias=config["bias"], **config["options"])
        layers.append(elman.Bidirectional(layer) if config["bidirectional"] else layer)
        size = config["hidden_size"] * (1 + config["bidirectional"])
    return elman.Sequential(*layers)


def network_params(case: Case, dtype: Any) -> Params:
    """Return the case's parameters under our names, each of them set."""
    params = Params(network(case.config).shapes(), dtype=dtype)
    given = {our_name(name, case.config["bidirectional"]): a for name, a in case.part("param").items()}
    assert given.keys() == params.keys()
    for name, array in given.items():
        assert params[name].shape == array.shape
        params[name] = array
    return params


def stack_state(config: dict[str, Any], *arrays: Array | None) -> Any:
    """Return h (D*L, B, H), and c for an LSTM, as the state of our stack; None stays None."""
    if arrays[0] is None:
        return None
    kind = KINDS[config["kind"]].state_type
    states = [kind(*fields) for fields in zip(*arrays, strict=True)]
    if config["bidirectional"]:
        return tuple(zip(states[::2], states[1::2], strict=True))
    return tuple(states)


def module_states(config: dict[str, Any], state: Any) -> list[Array]:
    """Return the state of our stack, or a tree like it, as [h (D*L, ...)], or [h, c] for an LSTM."""
    states = [direction for layer in state for direction in layer] if config["bidirectional"] else list(state)
    return [np.stack(field) for field in zip(*states, strict=True)]


# ---------------------------------------------------------------------------------------------------- run and compare


def run(case: Case, dtype: Any, params: Params | None = None) -> dict[str, Array]:
    """Return what Elman computes for the inputs of a case, under the names of the results."""
    config, arrays = case
    fields = ["h", "c"] if config["kind"] == "LSTM" else ["h"]
    model = Model(network(config), network_params(case, dtype) if params is None else params)
    state = stack_state(config, *(arrays.get(f"{field}0") for field in fields))
    y, end, tape = model.forward(arrays["x"], state, lengths=arrays.get("lengths"))
    d_end = stack_state(config, *(arrays[f"d_{field}_n"] for field in fields))
    grads, d_x, d_state, d_states = model.backward(tape, arrays["d_y"], d_end)
    results = {"y": y, "d_x": d_x}
    for field, last, d_first, d_path in zip(
        fields, *(module_states(config, tree) for tree in (end, d_state, d_states)), strict=True
    ):
        results |= {f"{field}_n": last, f"d_{field}0": d_first, f"d_{field}": d_path}
    theirs = {our_name(name, config["bidirectional"]): name for name in case.part("param")}
    return results | {f"grad/{theirs[name]}": array for name, array in grads.items()}


def compare(case: Case, results: dict[str, Array], tolerance: float) -> None:
    """Assert that every result that the case knows is there, of the right shape, and near."""
    inputs = {"x", "lengths", "h0", "c0", "d_y", "d_h_n", "d_c_n", *(f"param/{name}" for name in case.part("param"))}
    expected = {name: array for name, array in case.arrays.items() if name not in inputs}
    assert {"y", "d_x", "h_n", *(f"grad/{name}" for name in case.part("param"))} <= expected.keys()
    for name, array in expected.items():
        close(name, results[name], array, tolerance)


def close(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Assert equal shapes, and a difference of at most tolerance * max(1, size of the number)."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{name}: shape {ours.shape}, expected {theirs.shape}"
    excess = np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))
    assert excess.size == 0 or excess.max() <= tolerance, f"{name}: off by {excess.max():.3g}, tolerance {tolerance:g}"
