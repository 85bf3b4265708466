"""The boundary of a layer: what people pass becomes what kernels take, and back.

Outside: batch first ``(B, T, F)``, or one sequence ``(T, F)``, or a list of ``(T_i, F)``; token ids drop the axis F.
Inside: time-major ``(T, B, F)`` of the model's type, with a mask of the valid steps, and zeros at the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.padding import without_padding
from elman.params import Array


class Form(NamedTuple):
    """How a batch came in, so that results go out the same way."""

    kind: str  # "batch", "single" or "list"
    lengths: Array | None  # (B,), or None where every row is full
    valid: Array | None  # (T, B, 1) mask of the valid steps, or None likewise
    shape: tuple[int, int]  # (T, B)


def arrange(where: object, x: Any, lengths: Any, *, tokens: bool, size: int | None, dtype: Any) -> tuple[Array, Form]:
    """Return x time-major, (T, B, F) or ids (T, B), and the form it came in."""
    own_axes = 1 if tokens else 2  # of one sequence

    def check(name: object, value: Any) -> Array:
        return checks.token_input(name, value) if tokens else checks.sequence_input(name, value, size, dtype)

    kind, clear = "batch", True
    if isinstance(x, list) and all(checks.any_array(row).ndim == own_axes for row in x):
        if lengths is not None:
            raise ValueError(f"{where}: a list of sequences has lengths of its own; pass no lengths")
        kind, clear = "list", False
        where = str(where)
        rows = [check(f"{where}: sequence {k}", row) for k, row in enumerate(x)]
        x, lengths = pad(rows, np.intp if tokens else dtype, () if tokens else (size or 0,))
    else:
        x = check(where, x)
        if x.ndim == own_axes:
            kind, x = "single", x[None]
    B, T = x.shape[:2]
    x = x.swapaxes(0, 1)
    valid = None
    if lengths is not None:
        lengths = checks.row_lengths(where, np.atleast_1d(lengths) if kind == "single" else lengths, B, T)
        if (lengths == T).all():
            lengths = None
        else:
            valid = (np.arange(T)[:, None] < lengths)[:, :, None]
            x = without_padding(x, lengths) if clear else x
    if tokens and size is not None:
        checks.token_range(where, x, size)
    return x, Form(kind, lengths, valid, (T, B))


def outside(array: Array, form: Form) -> Any:
    """Return a time-major array (T, B, ...) in the form that the input had."""
    if form.kind == "single":
        return array[:, 0]
    array = array.swapaxes(0, 1)
    return unpad(array, form.lengths) if form.kind == "list" else array


def inside(where: object, name: str, value: Any, shape: tuple[int, ...], dtype: Any, form: Form) -> Array:
    """Return the gradient of an output, in the form of the output, as a time-major array of shape (T, B, ...)."""
    T, B, *inner = shape
    if value is None:
        return np.zeros(shape, dtype)
    if form.kind == "single":
        return checks.gradient_input(where, name, value, (T, *inner), dtype)[:, None]
    if form.kind == "list":
        expected = [T] * B if form.lengths is None else form.lengths.tolist()
        if not isinstance(value, list) or [len(row) for row in value] != expected:
            raise ValueError(f"{where}: {name} must be a list of arrays like the outputs, of lengths {expected}")
        value = pad(value, dtype, tuple(inner))[0]
    time_major: Array = checks.gradient_input(where, name, value, (B, T, *inner), dtype).swapaxes(0, 1)
    return time_major


def pad(sequences: Sequence[Any], dtype: Any, inner: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Return sequences (T_i, ...) as (B, T, ...), padded with zeros on the right, and lengths (B,).

    `inner` is the shape of one step, for the case that there is no sequence to tell it.
    """
    lengths = np.array([len(row) for row in sequences], np.intp)
    if sequences:
        inner = np.shape(sequences[0])[1:]
    padded = np.zeros((len(sequences), lengths.max(initial=0), *inner), dtype)
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        padded[row, :length] = sequence
    return padded, lengths


def unpad(padded: Array, lengths: Array | None) -> list[Array]:
    """Return the list of (T_i, ...) that the padded array (B, T, ...) holds."""
    if lengths is None:
        return list(padded)
    return [row[:length] for row, length in zip(padded, lengths, strict=True)]
