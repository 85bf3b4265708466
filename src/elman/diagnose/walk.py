"""Walking through a model: its layers by the path of their parameters, and the parts of a tree that belong to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from elman.layers import EncoderDecoder, Layer, Recurrent, Residual
from elman.params import Params


def all_layers(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) of a layer and all within, from the bottom to the top; a path is that of the parameters."""
    if isinstance(layer, Residual):
        yield from all_layers(layer.layer, name)
        return
    yield name, layer
    for child_name, child in layer.children().items():
        yield from all_layers(child, f"{name}.{child_name}" if name else child_name)


def recurrent_layers(layer: Layer) -> Iterator[tuple[str, Recurrent]]:
    """Yield (path, layer) of the recurrent layers, from the bottom to the top."""
    return ((name, inner) for name, inner in all_layers(layer) if isinstance(inner, Recurrent))


def parts_of(layer: Layer, tree: Any) -> Iterator[Any]:
    """Yield the part of a tree of states that belongs to each recurrent layer."""
    if isinstance(layer, Residual):
        yield from parts_of(layer.layer, tree)
    elif isinstance(layer, Recurrent):
        yield tree
    elif isinstance(layer, EncoderDecoder):  # its state is the decoder's
        yield from (() for _ in recurrent_layers(layer.encoder))
        yield from parts_of(layer.decoder, tree)
    else:
        for child, part in zip(layer.children().values(), tree, strict=False):
            yield from parts_of(child, part)


class Place(NamedTuple):
    """A recurrent layer, what it remembers, and the gradients that came by."""

    name: str
    layer: Recurrent
    params: Params
    tape: Any  # of the kernel
    gradients: list[Any]  # (d_state, d_states) of the whole loss, of that at the last step, of that at the first


def recurrent_places(layer: Layer, name: str, params: Params, tape: Any, trees: list[Any]) -> Iterator[Place]:
    """Yield the place of each recurrent layer, given the tape of the whole and trees of gradients."""
    if isinstance(layer, Residual):
        yield from recurrent_places(layer.layer, name, params, tape, trees)
    elif isinstance(layer, Recurrent):
        yield Place(name, layer, params, tape[0], trees)
    else:
        for k, (child_name, child) in enumerate(layer.children().items()):
            path = f"{name}.{child_name}" if name else child_name
            inner = params.child(child_name)
            yield from recurrent_places(child, path, inner, tape[k], [tree[k] for tree in trees])
