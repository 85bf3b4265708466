"""Layer: a frozen description of sizes and options, with pure methods."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elman import checks, kernels
from elman.kernels.spec import Kernels
from elman.layers.boundary import Form, arrange, inside, outside
from elman.padding import fill_padding
from elman.params import Array, Params, Shapes
from elman.trees import tree_map

if TYPE_CHECKING:
    from elman.model import Model


class Output(NamedTuple):
    """What a call returns: outputs (B, T, F) or (T, F) or a list of (T_i, F), and the state after the last step."""

    y: Any
    state: Any


class Forward(NamedTuple):
    """What ``forward`` returns: outputs and state as from a call, and the tape that ``backward`` reads."""

    y: Any
    state: Any
    tape: Tape


class Backward(NamedTuple):
    """What ``backward`` returns."""

    grads: Params  # gradients of the parameters
    d_x: Any  # gradient of x, in the form of x; None for token ids
    d_state: Any  # gradient of the initial state
    d_states: Any  # true gradient of every state on the way, in the form of the state, each (B, T, H) or (T, H)


class Context(NamedTuple):
    """What all layers of a stack share during one call."""

    lengths: Array | None  # (B,) or None where all rows are full
    valid: Array | None  # (T, B, 1) mask of valid steps, or None
    rng: np.random.Generator | None  # draws dropout masks; None: no dropout
    keep: bool  # whether a tape is wanted
    twin: Kernels | None = None  # kernels for this call only, such as an engine's

    def kernels(self) -> Kernels:
        """Return the kernels that compute the forward pass."""
        return self.twin or kernels.active()


class Tape(NamedTuple):
    """What a forward pass remembers. Treat it as sealed; `layer` is the tape of the layer itself."""

    layer: Any
    context: Context
    form: Form
    shape: tuple[int, ...]  # (T, B, F) of the outputs


class Layer(abc.ABC):
    """A layer: sizes and options, and pure methods. A stack of layers is a layer.

    Layers are frozen dataclasses without arrays in them: parameters and states go in and come out. ``init`` binds a
    layer to parameters of its own and returns a `Model`, which is what people hold, call, save and load.
    """

    # ------------------------------------------------------------------------------- what a kind of layer defines

    @property
    def takes_tokens(self) -> bool:
        """Whether x is integer ids (B, T), not features (B, T, F)."""
        return False

    @property
    def is_causal(self) -> bool:
        """Whether the output at t needs no input after t, so that the layer can run on a stream in chunks."""
        return all(layer.is_causal for layer in self.children().values())

    @property
    @abc.abstractmethod
    def in_size(self) -> int | None:
        """Features of an input step, or ids in the vocabulary; None takes any."""

    @property
    @abc.abstractmethod
    def out_size(self) -> int | None:
        """Features of an output step; None gives as many as the input has."""

    def shapes(self) -> Shapes:
        """Return the names and shapes of the parameters: those of the layers inside, unless there are own ones."""
        return {name: layer.shapes() for name, layer in self.children().items()}

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw initial values into the parameters."""
        for name, layer in self.children().items():
            layer.fill(params.child(name), rng)

    def children(self) -> dict[str, Layer]:
        """Return the layers inside this one, by the names of their parameters."""
        return {}

    def zero_state(self, batch_size: int, dtype: Any = np.float32) -> Any:
        """Return the state of zeros for a batch, each array (B, H); a tuple with one state for each layer inside."""
        return tuple(layer.zero_state(batch_size, dtype) for layer in self.children().values())

    def final_output(self, state: Any) -> Array:
        """Return the output at each row's last valid step (B, D*H): of a bidirectional layer both directions' last.

        ``y[:, -1]`` is not that: at padding it is 0, and there the reverse direction has seen one step only.
        """
        del state
        raise TypeError(f"{self!r}: has no state, so no final output")

    def arrange(self, x: Any, lengths: Any, dtype: Any) -> tuple[Any, Form]:
        """Return x as `_forward` takes it, time-major (T, B, F), and the form it came in, after all checks."""
        return arrange(self, x, lengths, tokens=self.takes_tokens, size=self.in_size, dtype=dtype)

    @abc.abstractmethod
    def _forward(self, params: Params, x: Array, state: Any, context: Context) -> tuple[Array, Any, Any]:
        """Return (y, state, tape), time-major; x (T, B, F) is finite at padding, and y must be too."""

    @abc.abstractmethod
    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        """Add to grads and return (d_x, d_state, d_states), time-major."""

    # ---------------------------------------------------------------------------------------------- what people use

    def init(self, seed: int | np.random.Generator = 0, *, dtype: Any = np.float32) -> Model:
        """Return a model of this layer with parameters drawn from `seed` (an int or a Generator)."""
        from elman.model import Model  # the one upward import: see docs/decisions/0002-layer-init.md

        checks.one_of(repr(self), "dtype", np.dtype(dtype).name, ["float32", "float64"])
        params = Params(self.shapes(), dtype=dtype)
        self.fill(params, np.random.default_rng(seed))
        return Model(self, params)

    def predict(
        self, params: Params, x: Any, state: Any = None, *, lengths: Any = None, twin: Kernels | None = None
    ) -> Output:
        """Return (y, state) without remembering anything; dropout is off. Shapes as in `forward`.

        A `twin` given here computes this call, whatever twin is active.
        """
        y, state, _ = self._call(params, x, state, lengths, None, keep=False, twin=twin)
        return Output(y, state)

    def forward(
        self,
        params: Params,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        rng: np.random.Generator | None = None,
    ) -> Forward:
        """Run the layer and return outputs, state and tape.

        Parameters
        ----------
        params : Params of this layer
        x : (B, T, F) a batch, (T, F) one sequence, or a list of (T_i, F); token ids drop the axis F
        state : state before the first step, each array (B, H); None starts from zeros or the learned state
        lengths : (B,) valid steps of each row; the rest is padding, whose content changes nothing
        rng : draws dropout masks; without it there is no dropout

        Returns
        -------
        Forward(y, state, tape)
            y in the form of x, 0 past a row's length. The tape shares memory with y, which is read-only for it.

        Raises
        ------
        ValueError, TypeError
            for what does not fit, naming the layer, what it expected and what it got
        """
        return self._call(params, x, state, lengths, rng, keep=True)

    def backward(
        self, params: Params, tape: Tape, d_y: Any, d_state: Any = None, *, grads: Params | None = None
    ) -> Backward:
        """Backpropagate through time.

        Parameters
        ----------
        params : Params, the same that `forward` had
        tape : from `forward`; it is only read
        d_y : gradient of the loss with respect to y, in the form of y; None for zeros
        d_state : gradient of the loss with respect to the returned state, in its form; None for zeros
        grads : Params to add to; a new one of zeros if absent

        Returns
        -------
        Backward(grads, d_x, d_state, d_states)
            d_states holds d(loss)/d(h_t), and d(c_t) for an LSTM, for every step: what diagnosis looks at.
        """
        where, dtype = self, params.dtype
        d_y = inside(where, "d_y", d_y, tape.shape, dtype, tape.form)
        d_state = checks.state_gradient(where, self.zero_state(tape.shape[1], dtype), d_state)
        if grads is None:
            grads = params.zeros_like()
        elif grads.shapes != params.shapes:
            raise ValueError(f"{where}: grads must have the names and shapes of params")
        d_x, d_state, d_states = self._backward(params, tape.layer, d_y, d_state, grads, tape.context)
        if d_x is not None:
            d_x = d_x.copy() if np.may_share_memory(d_x, d_y) else d_x
            if tape.context.lengths is not None:  # padding was never an input
                fill_padding(d_x, tape.context.lengths)
            d_x = outside(d_x, tape.form)
        return Backward(grads, d_x, d_state, tree_map(lambda d: outside(d, tape.form), d_states))

    def _call(
        self,
        params: Params,
        x: Any,
        state: Any,
        lengths: Any,
        rng: np.random.Generator | None,
        *,
        keep: bool,
        twin: Kernels | None = None,
    ) -> Forward:
        checks.generator(self, rng)
        x, form = self.arrange(x, lengths, params.dtype)
        if keep:
            x = tree_map(lambda a: a.copy(order="K"), x)  # whatever happens to the caller's array before the backward
        context = Context(form.lengths, form.valid, rng, keep, twin)
        y, state, tape = self._forward(params, x, state, context)
        y = y.copy() if y is x else y  # never the caller's own array
        if keep:  # the tape shares y's memory
            y = y.view()
            y.flags.writeable = False
        return Forward(outside(y, form), state, Tape(tape, context, form, y.shape))

    def __repr__(self) -> str:
        parts = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not field.kw_only or value != field.default:
                parts.append(f"{field.name}={value.item() if isinstance(value, np.generic) else value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"
