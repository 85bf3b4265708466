"""Trees of arrays: nested tuples and NamedTuples, such as the states of a stack. An empty tuple is a node too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def tree_map(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Return the tree whose leaves are ``function(leaf, *leaves)``, the leaves at the same place in each tree."""
    if not isinstance(first, tuple):
        return function(first, *others)
    children = [tree_map(function, *nodes) for nodes in zip(first, *others, strict=True)]
    return type(first)(*children) if hasattr(first, "_fields") else tuple(children)


def tree_leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) in order; a path joins field names and positions by dots, such as ``1.h``."""
    if not isinstance(tree, tuple):
        yield path, tree
        return
    names = getattr(tree, "_fields", range(len(tree)))
    for name, child in zip(names, tree, strict=True):
        yield from tree_leaves(child, f"{path}.{name}" if path else str(name))
