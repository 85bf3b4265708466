"""Engine and Stream: models in production.

An `Engine` is an immutable form of a model for inference, whose weights are packed once for the native kernels. Threads
may share it. A `Stream` is the one object that holds a state on purpose: sequences go through it step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from elman import checks, kernels
from elman.kernels.spec import Weights
from elman.layers import Dropout, Embedding, Layer, Linear, Output, Residual, Sequential
from elman.layers.recurrent import Recurrent
from elman.model import Model
from elman.params import Array, Params
from elman.trees import tree_leaves, tree_map

PRECISIONS = ("float32", "float64", "bfloat16")


class Engine:
    """An immutable, thread-safe, inference-only form of a model, with packed weights.

    ::

        engine = elman.Engine(model)
        y, state = engine(x)                 # as model(x), bit for bit under the native kernels
        stream = engine.stream()
        y_t = stream.step(x_t)               # one step at a time, in a fraction of a call's time

    Later changes of the model do not reach it. A call lets other Python threads run. Without the native kernels it
    computes with NumPy, and packs nothing; so it does where the reference twin is chosen when it is made.

    Parameters
    ----------
    model : Model
    precision : None for the model's own type; "bfloat16" stores the weights of recurrent and linear layers of a float32
        model in two bytes (arithmetic and states stay float32), so that a large layer at batch 1 waits for less memory

    Cost: a copy of the parameters and their packed form.
    """

    def __init__(self, model: Model, *, precision: str | None = None) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"Engine: model must be a Model, such as layer.init() makes, got {type(model).__name__}")
        own = model.params.dtype.name
        checks.one_of("Engine", "precision", own if precision is None else precision, PRECISIONS)
        if precision is not None and precision != own and (precision, own) != ("bfloat16", "float32"):
            raise ValueError(f"Engine: precision={precision!r} needs a model of another type; use model.astype first")
        self.layer = model.layer
        self.precision = precision or own
        self._params = model.params.copy()
        self._params.flat.flags.writeable = False
        self._params = Params(self._params.shapes, self._params.flat)  # so that its views are read-only too
        self._packed: dict[int, Any] = {}  # by the address of a weight
        self._twin: Any = None
        try:
            self._native = kernels.native_module()
        except ImportError:
            if self.precision == "bfloat16":
                raise
            return
        if kernels.active() is kernels.reference:  # asked for
            if self.precision == "bfloat16":
                raise ValueError("Engine: precision='bfloat16' needs the native kernels, but the reference is chosen")
            return
        from elman.kernels.native import PackedKernels

        self._pack(self.layer, self._params)
        self._twin = PackedKernels(self._packed)

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Output:
        """Return (y, state): outputs of every step, and the state after the last. Shapes as in `Layer.forward`."""
        return self.layer.predict(self._params, x, state, lengths=lengths, twin=self._twin)

    def stream(self, batch_size: int | None = None) -> Stream:
        """Return a `Stream` of one sequence, or of `batch_size` sequences that go in step.

        Raises ValueError for a layer that needs the end of the sequence, such as `Bidirectional`.
        """
        return Stream(self, batch_size)

    @cached_property
    def _chain(self) -> _Chain | None:
        """What the native streams of this engine share; None where the native stream lacks a layer of it."""
        return None if self._twin is None else _Chain.of(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters, of their packed form, and of the tables that streams share once there is one."""
        chain = self.__dict__.get("_chain")
        tables = 0 if chain is None else chain.program.nbytes
        return int(self._params.flat.nbytes + sum(packed.nbytes for packed in self._packed.values()) + tables)

    def __repr__(self) -> str:
        return f"Engine({self.layer!r}, precision={self.precision!r})"

    def _pack(self, layer: Layer, params: Params) -> None:
        """Pack the weights of a layer and of those inside it."""
        from elman.kernels import native

        if isinstance(layer, Residual):
            self._pack(layer.layer, params)
            return
        narrow = self.precision == "bfloat16"
        if isinstance(layer, Recurrent):
            weights = Weights(*(params.get(name) for name in Weights._fields))  # type: ignore[arg-type]
            packed = native.pack_recurrence(layer.kernel_name, weights, narrow=narrow)
            self._packed[params["weight_hh"].ctypes.data] = packed
        elif isinstance(layer, Linear):
            packed = native.pack_linear(params["weight"], params.get("bias"), narrow=narrow)
            self._packed[params["weight"].ctypes.data] = packed
        for name, child in layer.children().items():
            self._pack(child, params.child(name))


class Stream:
    """Sequences that go through a model step by step; the stream holds their state. Made by `Engine.stream`.

    ::

        stream = engine.stream()
        for x_t in source:
            y_t = stream.step(x_t)           # x_t (I,) -> y_t (O,), or ids for a model that takes tokens
        stream.reset()

    With a batch size B, x_t is (B, I) and y_t (B, O), and ``reset(rows)`` begins single rows anew. Any number
    of streams may use one engine at once, each from one thread at a time.
    """

    def __init__(self, engine: Engine, batch_size: int | None = None) -> None:
        layer = engine.layer
        if not layer.is_causal:
            raise ValueError(
                f"Stream: {layer!r} needs the end of a sequence before its first output (a layer runs in reverse), "
                "so it cannot go step by step; call the engine on whole sequences"
            )
        if batch_size is not None:
            checks.positive("Stream", batch_size=batch_size)
        if layer.in_size is None or layer.out_size is None:
            raise ValueError(f"Stream: {layer!r} does not say how many features a step has")
        self.engine = engine
        self.batch_size = batch_size
        self._B = 1 if batch_size is None else int(batch_size)
        self._dtype = engine._params.dtype
        self._start = _start_of(layer, engine._params, self._B)
        chain = engine._chain
        self._steps = _PythonSteps(engine, self._B) if chain is None else _NativeSteps(engine, chain, batch_size)
        self._quick_step: Callable[[Any, Array | None], Array | None] = self._steps.quick_step
        self.reset()

    def step(self, x: Any, out: Array | None = None) -> Array:
        """Take the next step x (I,), or (B, I), or ids, and return the output of that step, (O,) or (B, O).

        With `out`, a contiguous array of that shape, the output goes there and nothing is allocated.
        Raises ValueError or TypeError, the state being as before, for an x or an `out` that does not fit.
        """
        y = self._quick_step(x, out)
        return self._cast_step(x, out) if y is None else y

    def _cast_step(self, x: Any, out: Array | None) -> Array:
        """Take a step whose x is not of the right type yet, or refuse it in words."""
        x = self._checked(x)
        if out is None:
            out = np.empty(self._out_shape, self._dtype)
        if self._out_is_wrong(out):
            raise ValueError(
                f"Stream.step: out must be a contiguous {self._out_shape} {self._dtype}, "
                f"got {np.shape(out)} {getattr(out, 'dtype', type(out).__name__)}"
            )
        self._steps.step(x, out)
        return out

    def reset(self, rows: Any = None) -> None:
        """Begin anew, all rows or those that `rows` names (an index, a list of them, or a mask (B,))."""
        chosen: Any = slice(None) if rows is None else rows
        if isinstance(rows, list | tuple):
            chosen = np.array(rows, None if rows else np.intp)
        for view, start in zip(self._steps.states(), _leaves(self._start), strict=True):
            view[chosen] = start[chosen]

    @property
    def state(self) -> Any:
        """The state after the last step, as a call of the engine returns it; a copy. It can be set, too."""
        views = iter(self._steps.states())
        return tree_map(lambda _: next(views).copy(), self._start)

    @state.setter
    def state(self, state: Any) -> None:
        given, views = _leaves(state), self._steps.states()
        if [np.shape(leaf) for leaf in given] != [view.shape for view in views]:
            shapes = [view.shape for view in views]
            raise ValueError(f"Stream: state must hold arrays {shapes}, got {[np.shape(leaf) for leaf in given]}")
        for view, leaf in zip(views, given, strict=True):
            view[...] = leaf

    @property
    def nbytes(self) -> int:
        """Bytes that this stream holds, beyond the engine's."""
        return int(self._steps.nbytes)

    @property
    def _out_shape(self) -> tuple[int, ...]:
        size = self._steps.out_size
        return (size,) if self.batch_size is None else (self._B, size)

    def _out_is_wrong(self, out: Any) -> bool:
        right = isinstance(out, np.ndarray) and out.shape == self._out_shape and out.dtype == self._dtype
        return not (right and out.flags.carray)

    def _checked(self, x: Any) -> Any:
        """Return x (B, I) or ids (B,), of one row (I,) or an id, of the engine's type; raise in words where not."""
        layer, where = self.engine.layer, f"Stream of {self.engine.layer!r}"
        if not layer.takes_tokens:
            x = checks.real_array(where, "x", x, self._dtype)
            x = checks.one_step(where, x, self.batch_size, layer.in_size or 0)
            return x[0] if self.batch_size is None else x
        ids = checks.token_input(where, np.atleast_1d(checks.any_array(x)))
        ids = checks.one_step(where, ids, self.batch_size)
        checks.token_range(where, ids[None], layer.in_size or 0)
        return int(ids[0]) if self.batch_size is None else ids.astype(np.int64)


def _leaves(tree: Any) -> list[Array]:
    return [leaf for _, leaf in tree_leaves(tree)]


def _start_of(layer: Layer, params: Params, B: int) -> Any:
    """Return the state before the first step (B, H): zeros, or what was learned."""
    if isinstance(layer, Recurrent):
        if not layer.learned_initial_state:
            return layer.zero_state(B, params.dtype)
        fields = layer.state_type._fields
        shape = (B, layer.hidden_size)
        return layer.state_type(*(np.broadcast_to(params[f"initial_{name}"], shape) for name in fields))
    if isinstance(layer, Residual):
        return _start_of(layer.layer, params, B)
    children = layer.children()
    if not children:
        return layer.zero_state(B, params.dtype)
    return tuple(_start_of(child, params.child(name), B) for name, child in children.items())


class _NoNativeFormError(Exception):
    """The native stream has no such layer."""


class _Chain(NamedTuple):
    """The layers of an engine in the form of the native stream, with their weights."""

    program: Any
    recurrent: list[int]  # the places of the layers that have a state

    @classmethod
    def of(cls, engine: Engine) -> _Chain | None:
        """Return the chain of an engine's layers, or None where the native stream has no form of one."""
        program = getattr(engine._native, f"Program{8 * engine._params.dtype.itemsize}")()
        recurrent: list[int] = []
        try:
            count = _append(program, engine, engine.layer, engine._params, 0, recurrent)
        except _NoNativeFormError:
            return None
        return cls(program, recurrent) if count else None


class _NativeSteps:
    """Steps through a chain of layers in one native call each."""

    def __init__(self, engine: Engine, chain: _Chain, batch_size: int | None) -> None:
        kind = getattr(engine._native, f"Stream{8 * engine._params.dtype.itemsize}")
        self._stream = kind(chain.program, -1 if batch_size is None else batch_size)
        self._recurrent = chain.recurrent
        self.out_size = engine.layer.out_size or engine.layer.in_size or 0
        self.step = self.quick_step = self._stream.step  # None is the answer to what does not fit

    def states(self) -> list[Array]:
        return [view for place in self._recurrent for view in self._stream.states(place)]

    @property
    def nbytes(self) -> int:
        return int(self._stream.nbytes)


class _PythonSteps:
    """Steps by calls with sequences of one step: for layers that the native stream does not have, and for NumPy."""

    def __init__(self, engine: Engine, B: int) -> None:
        self._engine, self._B = engine, B
        self._tokens = engine.layer.takes_tokens
        self._state = tree_map(np.array, _start_of(engine.layer, engine._params, B))
        self.out_size = engine.layer.out_size or engine.layer.in_size or 0

    def quick_step(self, *_: Any) -> None:
        """Take no step: every x is looked at first."""

    def step(self, x: Any, out: Array) -> None:
        x = np.reshape(x, (self._B, 1) if self._tokens else (self._B, 1, -1))
        y, state = self._engine(x, self._state)
        out[...] = y[:, 0].reshape(out.shape)
        for view, leaf in zip(self.states(), _leaves(state), strict=True):
            view[...] = leaf

    def states(self) -> list[Array]:
        return _leaves(self._state)

    @property
    def nbytes(self) -> int:
        return sum(view.nbytes for view in self.states())


def _append(program: Any, engine: Engine, layer: Layer, params: Params, count: int, recurrent: list[int]) -> int:
    """Append a layer to a native program of `count` layers, and return how many it then has."""
    if isinstance(layer, Dropout):
        return count
    if isinstance(layer, Sequential):
        for name, child in layer.children().items():
            count = _append(program, engine, child, params.child(name), count, recurrent)
        return count
    if isinstance(layer, Residual):
        end = _append(program, engine, layer.layer, params, count, recurrent)
        if end == count:
            raise _NoNativeFormError
        program.add_output_of(count - 1)
        return end + 1
    if isinstance(layer, Embedding):
        program.embed(params["weight"])
    elif isinstance(layer, Linear):
        activation = -1 if layer.activation is None else ("tanh", "relu", "sigmoid").index(layer.activation)
        program.linear(engine._packed[params["weight"].ctypes.data], activation)
    elif isinstance(layer, Recurrent):
        program.recurrent(engine._packed[params["weight_hh"].ctypes.data], layer.token_input)
        recurrent.append(count)
    else:
        raise _NoNativeFormError
    return count + 1
