"""What people pass as sequences, and what the estimators work on: a list of arrays (T_i, F)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from elman.params import Array


class Sequences(list[Array]):
    """A list of sequences (T_i, F) that also knows where they came from.

    Parameters
    ----------
    rows : arrays (T_i, F)
    ids : of each sequence, in the same order
    times : of each sequence, (T_i,) its time stamps
    names : of the F features
    """

    def __init__(
        self,
        rows: Iterable[Array],
        ids: Iterable[Any] = (),
        times: Iterable[Array] = (),
        names: Iterable[str] = (),
    ) -> None:
        super().__init__(rows)
        self.ids = list(ids) or list(range(len(self)))
        self.times = list(times)
        self.names = list(names)


def as_sequences(where: str, x: Any, *, missing: bool = False, shortest: int = 1) -> list[Array]:
    """Return x as a list of float64 arrays (T_i, F), all with the same F.

    Parameters
    ----------
    where : the estimator's name, for errors
    x : array (n, T, F); array (n, T), n sequences of one feature; a list of (T_i, F) or of (T_i,); a data frame, in
        long form if it has the columns ``id`` and ``time``, else like an array
    missing : whether NaN is allowed, for a missing value
    shortest : the least T_i

    Raises
    ------
    ValueError, TypeError
        for complex numbers, strings, unequal F, infinities, and NaN where it is not allowed
    """
    if hasattr(x, "columns"):
        from elman.tasks.series.frames import from_frame, is_long

        x = from_frame(x) if is_long(x) else np.asarray(x)
    if hasattr(x, "toarray"):
        raise TypeError(f"{where}: sparse data was passed, but sequences are dense; pass x.toarray()")
    rows = _rows(where, x)
    if not rows:
        raise ValueError(f"{where}: Found array with 0 sample(s): at least 1 sequence is needed")
    features = rows[0].shape[1]
    for k, row in enumerate(rows):
        if row.shape[1] != features:
            raise ValueError(
                f"{where}: sequence {k} has {row.shape[1]} features, the first one {features}; all need the same, "
                "and time is the first axis: (T, F)"
            )
        if features == 0:
            raise ValueError(f"{where}: found 0 feature(s) (shape={row.shape}) while a minimum of 1 is required.")
        if len(row) < shortest:
            raise ValueError(f"{where}: sequence {k} has {len(row)} steps; at least {shortest} are needed")
    whole = np.concatenate(rows, dtype=np.float64)  # one copy of all of them, as there may be thousands
    rows = cut_like(whole, rows)
    if not np.isfinite(whole).all():
        _refuse_what_is_not_finite(where, rows, missing)
    return rows


def cut_like(whole: Array, rows: list[Array]) -> list[Array]:
    """Return an array (sum of T_i, F) in views of the lengths of rows, (T_i, F)."""
    ends = itertools.accumulate([len(row) for row in rows], initial=0)
    return [whole[start:end] for start, end in itertools.pairwise(ends)]


def _refuse_what_is_not_finite(where: str, rows: list[Array], missing: bool) -> None:
    """Raise ValueError for the first infinity, and for the first NaN unless it is allowed."""
    for k, row in enumerate(rows):
        finite = np.isfinite(row)
        if finite.all():
            continue
        if np.isinf(row).any():
            t, f = np.argwhere(np.isinf(row))[0]
            raise ValueError(f"{where}: sequence {k} has an infinity at [{t}, {f}]")
        if not missing:
            t, f = np.argwhere(~finite)[0]
            raise ValueError(
                f"{where}: sequence {k} has a NaN at [{t}, {f}]; pass missing='mask' to treat NaN as missing"
            )


def _rows(where: str, x: Any) -> list[Array]:
    """Return x as arrays with two axes."""
    if isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1):
        rows = [_numbers(where, row) for row in x]
        if any(row.ndim not in (1, 2) for row in rows):
            shape = next(row.shape for row in rows if row.ndim not in (1, 2))
            hint = _RESHAPE if shape == () else "pass (T, F)"
            raise ValueError(f"{where}: each sequence must be (T,) or (T, F), got {shape}; {hint}")
        return [row[:, None] if row.ndim == 1 else row for row in rows]
    array = _numbers(where, x)
    if array.ndim == 2:
        array = array[:, :, None]
        if array.shape[1] == 0:
            raise ValueError(f"{where}: found 0 feature(s) (shape={array.shape[:2]}) while a minimum of 1 is required.")
    if array.ndim != 3:
        hint = _RESHAPE if array.ndim == 1 else "join the feature axes: pass x.reshape(n, T, -1)"
        raise ValueError(f"{where}: X must be (n, T, F), (n, T) or a list of (T_i, F), got {array.shape}; {hint}")
    return list(array)


_RESHAPE = "Reshape your data: one sequence of one feature is X.reshape(1, -1)"


def _numbers(where: str, value: Any) -> Array:
    """Return real numbers as floats; integers, booleans and objects that hold numbers are cast."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind == "c":
        raise ValueError(f"{where}: Complex data not supported: got dtype {array.dtype}")
    if array.dtype.kind in "US":
        raise ValueError(f"{where}: sequences must hold real numbers, got strings; encode them first")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: sequences must hold real numbers, got dtype {array.dtype}: {error}") from None


def columns(x: Any) -> int | None:
    """Return the columns of a 2-D array, nested lists or a wide data frame; None for every other form of sequences."""
    if isinstance(x, list | tuple) and all(isinstance(row, list) for row in x):  # numbers in lists in a list
        x = np.array(x) if len({len(row) for row in x}) == 1 else x
    shape = getattr(x, "shape", None)
    if shape is None or len(shape) != 2 or getattr(x, "dtype", None) == np.dtype(object):
        return None
    if hasattr(x, "columns"):
        from elman.tasks.series.frames import is_long

        return None if is_long(x) else int(shape[1])
    return int(shape[1])


def refuse_other_features(where: str, rows: list[Array], expected: int) -> None:
    """Raise ValueError unless the sequences have as many features as those of the fit."""
    got = rows[0].shape[1]
    if got != expected:
        raise ValueError(
            f"{where}: X has {got} features, but {where} is expecting {expected} features as input; "
            f"got sequences (T, {got}), expected (T, {expected})"
        )
