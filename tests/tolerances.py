"""How close two results must be, said in one place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

PRINTED = 5.5e-7  # numbers given with six digits after the point
SAME = {"float32": 1e-5, "float64": 1e-12}  # one formula, summed in another order
ROUNDED = 1e-4  # float32 against float64
GRADIENT = 1e-7  # central difference against backpropagation, relative, in float64


def leaves(result: Any) -> list[tuple[str, np.ndarray]]:
    """Return (path, array) of all arrays in a result: trees, Params, lists; a missing one (None) is left out."""
    if isinstance(result, list | tuple):
        return [(f"[{k}]{path}", leaf) for k, item in enumerate(result) for path, leaf in leaves(item)]
    if hasattr(result, "keys"):
        return [(f".{name}", result[name]) for name in result]
    return [] if result is None else [("", np.asarray(result))]


def assert_same(actual: Any, expected: Any) -> None:
    """Assert that two results have the same structure, shapes, types and bits."""
    first, second = leaves(actual), leaves(expected)
    assert [path for path, _ in first] == [path for path, _ in second]
    for (path, a), (_, b) in zip(first, second, strict=True):
        assert a.shape == b.shape, f"{path}: shapes {a.shape} and {b.shape}"
        assert a.dtype == b.dtype, f"{path}: types {a.dtype} and {b.dtype}"
        assert a.tobytes() == b.tobytes(), f"{path}: bits differ in {np.sum(a != b)} of {a.size} places"


def assert_close(actual: Any, expected: Any, tolerance: float | None = None) -> None:
    """Assert that two results have the same structure and shapes, and nearly the same numbers."""
    first, second = leaves(actual), leaves(expected)
    assert [path for path, _ in first] == [path for path, _ in second]
    for (path, a), (_, b) in zip(first, second, strict=True):
        assert a.shape == b.shape, f"{path}: shapes {a.shape} and {b.shape}"
        limit = SAME[a.dtype.name] if tolerance is None else tolerance
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit * scale, err_msg=path)


def exactly(sentence: str) -> str:
    """Return the pattern, for pytest.raises, of this sentence and no other."""
    return rf"\A{re.escape(sentence)}\Z"
