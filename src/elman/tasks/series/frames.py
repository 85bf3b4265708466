"""Data frames in long form, one row a time step of one series, through narwhals: pandas, Polars, PyArrow and more."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from elman import checks
from elman.params import Array
from elman.tasks.series.inputs import Sequences

OFFSET = re.compile(r"(.*\d:\d\d\S*?)\s*(?:(Z|UTC)|([+-]\d\d):?(\d\d)?)", re.IGNORECASE)  # date, offset of the time


def is_long(frame: Any) -> bool:
    """Return whether a data frame has the columns ``id`` and ``time``."""
    return {"id", "time"} <= {str(name) for name in frame.columns}


def from_frame(
    frame: Any,
    *,
    id: str | None = "id",  # noqa: A002  # the name of the column
    time: str | None = "time",
    values: list[str] | None = None,
    irregular: str = "error",
) -> Sequences:
    """Return the series of a data frame in long form, ordered by time, in the order in which their ids appear.

    Parameters
    ----------
    frame : any data frame that narwhals knows: pandas, Polars, PyArrow, Modin, ...
    id : column that tells the series apart; None: the frame is one series
    time : column of the time stamps, numbers or dates; None: the rows are in order. Dates with an offset such as
        +01:00 become those of UTC
    values : columns of the features; all others but id and time if absent
    irregular : what to do where steps are of unequal length. "error"; "feature" adds the length of each step, in units
        of the median step, as the last feature; "fill" puts rows of NaN where whole steps are missing

    Raises
    ------
    ImportError
        where narwhals is not installed
    ValueError
        for columns that are not there, rows without an id or a time, time stamps that repeat, and irregular ones unless
        told what to do
    """
    try:
        import narwhals as nw
    except ImportError as error:
        raise ImportError("data frames need narwhals, which is not installed: pip install elman[series]") from error
    table = nw.from_native(frame, eager_only=True)
    missing = [name for name in (id, time, *(values or [])) if name is not None and name not in table.columns]
    if missing:
        raise ValueError(f"from_frame: there is no column {missing[0]!r}; there are {', '.join(table.columns)}")
    names = [name for name in table.columns if name not in (id, time)] if values is None else list(values)
    columns = {name: table[name].to_numpy() for name in (id, time, *names) if name is not None}
    return from_columns(columns, id=id, time=time, values=names, irregular=irregular)


def from_columns(
    columns: dict[str, Any],
    *,
    id: str | None,  # noqa: A002  # the name of the column
    time: str | None,
    values: list[str],
    irregular: str = "error",
    first_row: int = 1,
) -> Sequences:
    """Return the series in columns of equal length, by name; see `from_frame`. Errors count rows from `first_row`."""
    checks.one_of("from_columns", "irregular", irregular, ["error", "feature", "fill"])
    if not values:
        raise ValueError("from_columns: there is no column of values beside those of ids and times")
    numbers = np.stack([_as_numbers(name, columns[name]) for name in values], axis=1)
    keys = np.zeros(len(numbers), np.intp) if id is None else _as_ids(id, columns[id], first_row)
    stamps = np.arange(len(numbers)) if time is None else _as_times(time, columns[time], first_row)
    unique, group = _groups(keys)
    by_group = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[by_group], np.arange(len(unique) + 1))
    rows, times, ids = [], [], []
    for k, (start, end) in enumerate(itertools.pairwise(ends)):
        of_series = by_group[start:end]
        if time is not None:
            of_series = of_series[np.argsort(stamps[of_series], kind="stable")]
        name = ONE if id is None else f"series {unique[k]}"
        series, stamp = regular(name, numbers[of_series], stamps[of_series], irregular)
        rows.append(series)
        times.append(stamp)
        ids.append(unique[k].item() if isinstance(unique[k], np.generic) else unique[k])
    added = ["step"] if irregular == "feature" else []
    return Sequences(rows, ids, times, [*values, *added])


ONE = "the series"  # in errors, where there are no ids


def _groups(keys: Array) -> tuple[Any, Array]:
    """Return the different keys in the order in which they appear, and the number of that of each row."""
    if keys.dtype == object:  # of kinds that may have no order
        numbers: dict[Any, int] = {}
        group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)
        return list(numbers), group
    unique, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    return unique[order], np.argsort(order)[group]


def regular(name: str, values: Array, stamps: Array, irregular: str) -> tuple[Array, Array]:
    """Return values (T, F) and stamps (T,) with steps of one length, or refuse, or with the lengths as a feature."""
    steps, unit = _steps(stamps)
    if len(steps) and steps.min() <= 0:
        at = int(np.argmin(steps > 0))
        hint = "keep one of them"
        if name == ONE:
            hint = "give the column that tells series apart as id, or time=None to take the rows in order"
        raise ValueError(f"{name}: two rows have the time {stamps[at + 1]}; {hint}")
    base = float(np.median(steps)) if len(steps) else 1.0
    if irregular == "feature":
        length = np.concatenate([[1.0], steps / base])[:, None]
        return np.concatenate([values, length], axis=1), stamps
    uneven = np.flatnonzero(np.abs(steps - base) > 1e-6 * base)
    if not len(uneven):
        return values, stamps
    at = int(uneven[0])
    sentence = (
        f"{name}: the step from {stamps[at]} to {stamps[at + 1]} is {steps[at] / base:.4g} times the usual one; "
        "fill the gap with irregular='fill', or give the length of the steps as a feature with irregular='feature'"
    )
    counts = np.rint(steps / base).astype(np.intp)
    if irregular != "fill" or np.abs(steps - counts * base).max() > 1e-6 * base:
        raise ValueError(sentence)
    places = np.concatenate([[0], np.cumsum(counts)])
    filled = np.full((places[-1] + 1, values.shape[1]), np.nan)
    filled[places] = values
    start = stamps.astype(f"datetime64[{unit}]") if unit else stamps
    step: Any = np.array(int(base), f"timedelta64[{unit}]") if unit else stamps.dtype.type(base)
    return filled, start[0] + step * np.arange(len(filled))


def _steps(stamps: Array) -> tuple[Array, str]:
    """Return the differences of time stamps as floats, and their unit: calendar months where that makes them equal."""
    if stamps.dtype.kind != "M":
        return np.diff(stamps.astype(np.float64)), ""
    months = stamps.astype("datetime64[M]")
    inside = (stamps - months).astype("timedelta64[s]")
    by_month = np.diff(months.astype(np.int64)).astype(np.float64)
    if len(stamps) > 2 and (inside == inside[0]).all() and by_month.min() >= 1:
        return by_month, "M"
    seconds = stamps.astype("datetime64[s]")
    if (seconds == stamps).all():
        return np.diff(seconds.astype(np.int64)).astype(np.float64), "s"
    return np.diff(stamps.astype("datetime64[ns]").astype(np.int64)).astype(np.float64), "ns"


def _as_ids(name: str, column: Any, first_row: int) -> Array:
    """Return ids; ValueError where one is missing or empty."""
    keys = np.asarray(column)
    if keys.dtype.kind in "OUSfM":
        for k, key in enumerate(keys.tolist()):
            if key is None or key != key or key in ("", b""):
                raise ValueError(f"column {name!r}, row {k + first_row}: {key!r} is no id; give each row one")
    return keys


def _as_times(name: str, column: Any, first_row: int) -> Array:
    """Return time stamps as numbers or datetime64; text in ISO 8601 is read, that with an offset as UTC."""
    array = np.asarray(column)
    if array.dtype.kind not in "iufM":
        array = _dates(name, [str(value).strip() for value in array], first_row)
    unknown = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
    if unknown.any():
        at = int(np.argmax(unknown))
        raise ValueError(f"column {name!r}, row {at + first_row}: {array[at]} is no time; give each row one")
    return array


def _dates(name: str, texts: list[str], first_row: int) -> Array:
    found = [OFFSET.fullmatch(text) for text in texts]
    if any(found):
        if not all(found):
            at = next(k for k, match in enumerate(found) if match is None)
            raise ValueError(
                f"column {name!r}, row {at + first_row}: {texts[at]!r} has no offset from UTC, as others have; "
                "give one to all or to none"
            )
        texts = [match[1] for match in found if match]
    try:
        dates = np.array(texts, "datetime64")
    except ValueError:
        at = next((k for k, text in enumerate(texts) if not _is_date(text)), 0)
        raise ValueError(
            f"column {name!r}, row {at + first_row}: {texts[at]!r} is no time; times are numbers or dates like "
            "2026-01-31 or 2026-01-31 12:00"
        ) from None
    return dates - np.array([_minutes(match) for match in found if match], "timedelta64[m]") if any(found) else dates


def _minutes(offset: re.Match[str]) -> int:
    """Return how far ahead of UTC a time is."""
    hours, minutes = offset[3] or "+0", offset[4] or "0"
    return 60 * int(hours) + int(hours[0] + minutes)


def _is_date(text: str) -> bool:
    try:
        np.array([text], "datetime64")
    except ValueError:
        return False
    return True


def _as_numbers(name: str, column: Any) -> Array:
    try:
        return np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} must hold numbers: {error}") from None
