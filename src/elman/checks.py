"""The one place that words errors of shape, type and range: where, what, expected, got, hint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from elman.params import Array


def positive(where: object, **sizes: int) -> None:
    """Raise ValueError unless every size is an integer of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"{where}: {name} must be an int, got {type(size).__name__} {size!r}")
        if size < 1:
            raise ValueError(f"{where}: {name} must be at least 1, got {size}")


def flags(where: object, **values: Any) -> None:
    """Raise TypeError unless every value is True or False."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{where}: {name} must be True or False, got {value!r}")


def no_bias_to_set(where: object, has_bias: bool, **options: tuple[float, float]) -> None:
    """Raise ValueError where there is no bias, but one of the options (value, default) sets its start."""
    for name, (value, default) in options.items():
        in_range(where, name, value, -np.inf)
        if not has_bias and value != default:
            raise ValueError(f"{where}: {name}={value} has nothing to set, for bias=False")


def memory(where: object, steps: float | None, has_bias: bool, **options: tuple[float, float]) -> None:
    """Raise ValueError unless biases can be drawn for memories of 1 to so many steps: no other option sets them."""
    if steps is None:
        return
    in_range(where, "memory_steps", steps, 1, open_high=True)
    if not has_bias:
        raise ValueError(f"{where}: memory_steps={steps} has no biases to draw, for bias=False")
    for name, (value, default) in options.items():
        if value != default:
            raise ValueError(f"{where}: memory_steps draws {name}; pass one of them")


def one_of(where: object, name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError unless value is one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def in_range(
    where: object,
    name: str,
    value: Any,
    low: float,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise ValueError unless low <= value <= high, either bound left out if it is open; NaN is in no range."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{where}: {name} must be a number, got {type(value).__name__} {value!r}")
    above = low < value if open_low else low <= value
    if not above or not (value < high if open_high else value <= high):
        bounds = f"{'above' if open_low else 'at least'} {low:g}"
        bounds += "" if high == np.inf else f" and {'below' if open_high else 'at most'} {high:g}"
        raise ValueError(f"{where}: {name} must be {bounds}, got {value}")


def generator(where: object, rng: Any) -> None:
    """Raise TypeError unless rng is None or a generator of NumPy."""
    if not isinstance(rng, np.random.Generator | None):
        raise TypeError(f"{where}: rng must be a numpy.random.Generator, such as default_rng(0), got {rng!r}")


def any_array(value: Any) -> Array:
    """Return value as an array; nested lists of unequal length give an empty one of objects."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.empty(0, object)


def real_array(where: object, name: str, value: Any, dtype: Any) -> Array:
    """Return value as an array of dtype: bool, integer and float types are cast, others refused by name."""
    array = any_array(value)
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"{where}: {name} must hold real numbers (bool, integer or float), got dtype {array.dtype}"
            + ("; are the rows of unequal length? pass a list of (T, F) arrays" if array.dtype == object else "")
        )
    cast: Array = array.astype(dtype, copy=False)
    return cast


def sequence_input(where: object, x: Any, input_size: int | None, dtype: Any) -> Array:
    """Return x as (B, T, F) or (T, F) of dtype, with F = input_size (any F if None)."""
    array = real_array(where, "x", x, dtype)
    size = "F" if input_size is None else input_size
    if array.ndim not in (2, 3) or (input_size is not None and array.shape[-1] != input_size):
        hint = ""
        if array.ndim == 1 or (input_size == 1 and array.ndim == 2):
            hint = "; for sequences of one feature pass x[..., None]"
        elif array.ndim == 3 and array.shape[1] == input_size:
            hint = "; features come last: pass x.swapaxes(1, 2)"
        elif array.ndim > 3:
            hint = "; join the feature axes: pass x.reshape(B, T, -1)"
        raise ValueError(f"{where}: x must be (B, T, {size}) or (T, {size}), got {array.shape}{hint}")
    return array


def token_input(where: object, x: Any) -> Array:
    """Return ids x as an integer array (B, T) or (T,)."""
    array = any_array(x)
    if array.size == 0 and array.dtype.kind == "f":  # what an empty list becomes
        array = array.astype(np.intp)
    if array.dtype.kind not in "ui":
        raise TypeError(f"{where}: x must hold integer token ids, got dtype {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"{where}: x must be token ids (B, T) or (T,), got {array.shape}")
    return array


def token_range(where: object, x: Array, vocabulary_size: int) -> None:
    """Raise ValueError unless every id of x (T, B) is below the size of the vocabulary and not negative."""
    if x.size and (x.min() < 0 or x.max() >= vocabulary_size):
        t, b = np.argwhere((x < 0) | (x >= vocabulary_size))[0]
        raise ValueError(f"{where}: token ids must be 0 to {vocabulary_size - 1}, got {x[t, b]} in row {b} at step {t}")


def one_step(where: object, x: Array, rows: int | None, *size: int) -> Array:
    """Return x, one step of `rows` sequences, as (rows, *size); x of a single one (None) has no first axis."""
    shape = size if rows is None else (rows, *size)
    if x.shape != shape and ((rows or 1) > 1 or x.shape not in (size, (1, *size))):
        hint = "; sequences of several steps go through the engine" if x.ndim > len(shape) else ""
        raise ValueError(f"{where}: x must be {shape}, one step, got {x.shape}{hint}")
    return np.require(x.reshape(rows or 1, *size), requirements=["C", "A"])


def row_lengths(where: object, lengths: Any, B: int, T: int) -> Array:
    """Return lengths as (B,) integers from 0 to T."""
    try:
        array = np.asarray(lengths)
    except ValueError:
        raise ValueError(f"{where}: lengths must be ({B},) integers, got {lengths!r}") from None
    if array.dtype.kind not in "ui" and not (array.size == 0 and array.dtype.kind == "f"):
        raise TypeError(f"{where}: lengths must be integers, got dtype {array.dtype}")
    if array.shape != (B,):
        raise ValueError(f"{where}: lengths must be ({B},), one a row of the batch, got {array.shape}")
    array = array.astype(np.intp)
    wrong = np.flatnonzero((array < 0) | (array > T))
    if wrong.size:
        row = wrong[0]
        raise ValueError(f"{where}: lengths must be 0 to T = {T}, got {array[row]} in row {row}")
    return array


def state_arrays(where: object, kind: type[tuple[Any, ...]], state: Any, B: int, H: int, dtype: Any) -> Any:
    """Return state as a NamedTuple of type `kind` of arrays (B, H) of dtype, each (B, H)."""
    fields: Sequence[str] = kind._fields  # type: ignore[attr-defined]
    if not isinstance(state, tuple | list) or len(state) != len(fields):
        got = f"{type(state).__name__} of {len(state)}" if isinstance(state, tuple | list) else type(state).__name__
        raise TypeError(f"{where}: state must be {kind.__name__}({', '.join(fields)}), got {got}")
    arrays = [real_array(where, f"state.{name}", value, dtype) for name, value in zip(fields, state, strict=True)]
    for name, array in zip(fields, arrays, strict=True):
        if array.shape != (B, H):
            hint = ""
            if array.ndim == 2 and array.shape[1] == H:
                hint = f"; x has {B} rows, the state was made for {array.shape[0]}"
            elif array.ndim == 3:
                hint = "; a state has no axis for layers or time: a stack takes a tuple with one state a layer"
            raise ValueError(f"{where}: state.{name} must be (B, H) = ({B}, {H}), got {array.shape}{hint}")
    return kind(*arrays)


def gradient_input(where: object, name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the gradient of an output as an array of the output's shape and type."""
    array = real_array(where, name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{where}: {name} must have the shape of the output, {shape}, got {array.shape}")
    return array


def state_gradient(where: object, zeros: Any, value: Any) -> Any:
    """Return the gradient of a state as a tree like `zeros`; None stands for zeros at any place."""
    if value is None:
        return zeros
    if not isinstance(zeros, tuple):
        return gradient_input(where, "d_state", value, zeros.shape, zeros.dtype).copy()
    if not isinstance(value, tuple | list) or len(value) != len(zeros):
        raise TypeError(f"{where}: d_state must have the form of the state, a tuple of {len(zeros)}, got {value!r}")
    children = [state_gradient(where, zero, d) for zero, d in zip(zeros, value, strict=True)]
    return type(zeros)(*children) if hasattr(zeros, "_fields") else tuple(children)


def state_tuple(where: object, state: Any, n: int) -> tuple[Any, ...]:
    """Return the states of n layers; None stands for the start of each."""
    if state is None:
        return (None,) * n
    if not isinstance(state, tuple | list) or hasattr(state, "_fields") or len(state) != n:
        got = f"a tuple of {len(state)}" if type(state) in (tuple, list) else type(state).__name__
        raise TypeError(f"{where}: state must be a tuple of {n}, one a layer (() or None where it has none), got {got}")
    return tuple(state)
