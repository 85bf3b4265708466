"""Model: a layer and its parameters, bound together. What people hold, call, save and load."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from elman import checks, storage
from elman.layers import KINDS, Backward, Forward, Layer, Output, Tape
from elman.params import Array, Params, count
from elman.version import __version__

MAX_DEPTH = 64  # of layers inside layers, in a file


class Model:
    """A layer and its parameters.

    Calling a model predicts; ``forward`` remembers; ``backward`` adds to gradients. A model holds no state: that of a
    sequence goes in and comes out, so the same call gives the same answer, whatever came before.

    Parameters
    ----------
    layer : Layer
    params : Params with the layer's shapes
    """

    __slots__ = ("layer", "params")

    def __init__(self, layer: Layer, params: Params) -> None:
        if params.shapes != layer.shapes():
            raise ValueError(f"Model: params do not have the shapes of {layer!r}")
        self.layer = layer
        self.params = params

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Output:
        """Return (y, state): outputs of every step, and the state after the last. Shapes as in `Layer.forward`."""
        return self.layer.predict(self.params, x, state, lengths=lengths)

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> Forward:
        """Return (y, state, tape); with an rng, dropout is on. See `Layer.forward`."""
        return self.layer.forward(self.params, x, state, lengths=lengths, rng=rng)

    def backward(self, tape: Tape, d_y: Any, d_state: Any = None, *, grads: Params | None = None) -> Backward:
        """Return (grads, d_x, d_state, d_states) by backpropagation through time. See `Layer.backward`."""
        return self.layer.backward(self.params, tape, d_y, d_state, grads=grads)

    def zero_state(self, batch_size: int) -> Any:
        """Return the state of zeros for a batch, each array (B, H)."""
        return self.layer.zero_state(batch_size, self.params.dtype)

    def final_output(self, state: Any) -> Array:
        """Return the output at each row's last valid step, (B, D*H), from the state that a call returned."""
        return self.layer.final_output(state)

    def astype(self, dtype: Any) -> Model:
        """Return a copy of type float32 or float64."""
        checks.one_of("Model.astype", "dtype", np.dtype(dtype).name, ["float32", "float64"])
        return Model(self.layer, self.params.astype(dtype))

    def copy(self) -> Model:
        """Return a model with parameters of its own."""
        return Model(self.layer, self.params.copy())

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        about: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Array] | None = None,
    ) -> None:
        """Write the model to one ``.elman`` file, whole or not at all.

        Parameters
        ----------
        path : where to write; an earlier file is replaced only when the new one is complete
        about : further things to know, as JSON (a vocabulary, the state of a training)
        tensors : further arrays, each name with a slash in it, such as ``training/moment``
        """
        tensors = tensors or {}
        if any("/" not in name for name in tensors):
            raise ValueError("Model.save: names of further tensors need a slash, such as 'training/moment'")
        own = {"version": __version__, "dtype": self.params.dtype.name, "layer": describe(self.layer)}
        taken = sorted((own.keys() | {"format"}) & (about or {}).keys())
        if taken:
            raise ValueError(f"Model.save: about must not hold {', '.join(taken)}: the file has its own")
        description = {**own, **(about or {})}
        storage.write(path, {**self.params, **tensors}, description)

    def __repr__(self) -> str:
        return f"Model of {self.layer!r}\n{self.params!r}"


def load(path: str | os.PathLike[str]) -> Model:
    """Return the model in an ``.elman`` file. Nothing in the file is executed; damaged files raise ValueError."""
    return load_all(path)[0]


def load_all(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any], dict[str, Array]]:
    """Return the model, the JSON beside it, and the further tensors of an ``.elman`` file."""
    tensors, about = storage.read(path)
    try:
        layer = build(about.get("layer"))
        shapes = layer.shapes()
        size = count(shapes)
        expected = f"{layer!r} has {size:,} parameters"
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    further = {name: tensors.pop(name) for name in list(tensors) if "/" in name}
    held = sum(array.size for array in tensors.values())
    dtypes = {array.dtype.name for array in tensors.values()} or {str(about.get("dtype", "float32"))}
    if held != size or len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(f"{path}: damaged: {expected}, the file {held:,} of {sorted(dtypes)}")
    params = Params(shapes, dtype=dtypes.pop())
    unknown, missing = sorted(tensors.keys() - params.keys()), sorted(params.keys() - tensors.keys())
    if unknown or missing:
        raise ValueError(f"{path}: damaged: tensors missing: {missing}, not of this model: {unknown}")
    for name, array in tensors.items():
        if array.shape != params[name].shape:
            raise ValueError(f"{path}: damaged: {name} must be {params[name].shape}, got {array.shape}")
        params[name] = array
    return Model(layer, params), about, further


def describe(layer: Layer) -> dict[str, Any]:
    """Return a layer as JSON: its kind and its fields."""
    fields: dict[str, Any] = {"kind": type(layer).__name__}
    for field in dataclasses.fields(layer):  # type: ignore[arg-type]
        value = getattr(layer, field.name)
        if isinstance(value, tuple):
            value = [describe(child) for child in value]
        elif isinstance(value, np.generic):  # a size or an option that came out of an array
            value = value.item()
        fields[field.name] = describe(value) if isinstance(value, Layer) else value
    return fields


def build(description: Any, depth: int = 0) -> Layer:
    """Return the layer that JSON from `describe` describes.

    Raises ValueError or TypeError for a kind or a field that is not known, and for values out of range.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"layers inside layers more than {MAX_DEPTH} deep")
    if not isinstance(description, dict) or description.get("kind") not in KINDS:
        kind = description.get("kind") if isinstance(description, dict) else description
        raise ValueError(f"no such kind of layer: {kind!r}")
    kind = KINDS[description["kind"]]
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in description.items():
        if name == "kind":
            continue
        if name not in known:
            raise ValueError(f"{kind.__name__} has no option {name!r}")
        if name == "layers":
            values[name] = tuple(build(child, depth + 1) for child in value)
            continue
        if isinstance(value, dict):
            value = build(value, depth + 1)
        default = known[name].default
        if isinstance(default, bool | str) and type(value) is not type(default):
            raise TypeError(f"{kind.__name__}: {name} must be a {type(default).__name__}, got {value!r}")
        if isinstance(default, float) and type(value) not in (int, float):
            raise TypeError(f"{kind.__name__}: {name} must be a number, got {value!r}")
        values[name] = value
    layers = values.pop("layers", ())
    return kind(*layers, **values)
