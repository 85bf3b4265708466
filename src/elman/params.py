"""Params: a tree of named arrays that are views into one flat vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# What a tree of parameters looks like: names to shapes, or to trees of their own.
Shapes: TypeAlias = "Mapping[str, tuple[int, ...] | Shapes]"


def count(shapes: Shapes) -> int:
    """Return how many numbers a tree of shapes holds."""
    return sum(count(shape) if isinstance(shape, Mapping) else math.prod(shape) for shape in shapes.values())


class Params(Mapping[str, Array]):
    """A tree of named arrays, all of them views into one flat vector.

    Gradients and the moments of optimisers have the same type, so that one operation on ``flat`` reaches all of them.
    A name joins the path in the tree by dots::

        params["1.weight_ih"]        an array (a view: writing into it changes the model)
        params.child("1")            the parameters of layer 1, a Params on its part of the flat vector
        for name, array in params.items(): ...

    Parameters
    ----------
    shapes : nested dict of names to shapes
    flat : (N,) the numbers, in the order of the names; zeros if absent
    dtype : type of the numbers if `flat` is absent
    """

    __slots__ = ("_arrays", "_children", "flat", "shapes")

    def __init__(self, shapes: Shapes, flat: Array | None = None, *, dtype: Any = np.float32) -> None:
        self.shapes = shapes
        size = count(shapes)
        self.flat: Array = np.zeros(size, dtype) if flat is None else flat
        if self.flat.shape != (size,):
            raise ValueError(f"Params: flat must be ({size},), got {self.flat.shape}")
        self._arrays: dict[str, Array] = {}
        self._children: dict[str, Params] = {}
        start = 0
        for name, shape in shapes.items():
            if isinstance(shape, Mapping):
                child = Params(shape, self.flat[start : start + count(shape)])
                self._children[name] = child
                self._arrays |= {f"{name}.{inner}": array for inner, array in child.items()}
                start += child.flat.size
            else:
                self._arrays[name] = self.flat[start : start + math.prod(shape)].reshape(shape)
                start += math.prod(shape)

    def child(self, name: str) -> Params:
        """Return the subtree `name`, which shares its numbers with this tree."""
        return self._children[name]

    def zeros_like(self) -> Params:
        """Return a tree of the same shapes and type, of zeros."""
        return Params(self.shapes, np.zeros_like(self.flat))

    def copy(self) -> Params:
        """Return a tree with numbers of its own."""
        return Params(self.shapes, self.flat.copy())

    def astype(self, dtype: Any) -> Params:
        """Return a copy of another type."""
        return Params(self.shapes, self.flat.astype(dtype))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.flat.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self.shapes == other.shapes and np.array_equal(self.flat, other.flat)

    __hash__ = None  # type: ignore[assignment]  # a Params can change

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._arrays[name][...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple[Any, ...]:  # pickled as one vector, so that the views are views again
        return Params, (self.shapes, self.flat)

    def __repr__(self) -> str:
        lines = [f"  {name} {array.shape}" for name, array in self.items()]
        return "\n".join([f"Params: {self.flat.size:,} numbers, {self.dtype}", *lines])
