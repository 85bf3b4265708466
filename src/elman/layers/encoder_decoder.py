"""EncoderDecoder: one network reads a sequence of tokens, another writes one, looking at what was read."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.layers import attention
from elman.layers.attention import Attention, Memory
from elman.layers.base import Context, Layer
from elman.layers.boundary import Form, arrange
from elman.layers.compose import Sequential
from elman.layers.lexicon import Lexicon, look_up
from elman.layers.linear import Linear
from elman.padding import fill_padding
from elman.params import Array, Params, Shapes
from elman.trees import tree_leaves, tree_map


class Pair(NamedTuple):
    """What an `EncoderDecoder` takes: two batches of token ids with rows that belong together."""

    source: Any  # (B, T) to read, or (T,), or a list of (T_i,)
    target: Any  # (B, S) that go into the decoder, in the same form
    source_lengths: Any = None  # (B,); those of the target are the lengths of the call
    lexicon: Lexicon | None = None


class _Arranged(NamedTuple):
    """A pair as kernels take it."""

    source: Array  # (T, B)
    target: Array  # (S, B)
    source_lengths: Any  # (B,) or () where all rows are full
    source_valid: Any  # (T, B, 1) or ()
    lexicon: Any  # or ()


@dataclass(frozen=True, repr=False)
class EncoderDecoder(Layer):
    """An encoder, a decoder that starts from what it gave last, attention over its outputs, and an output layer.

    ::

        m_1 ... m_T = encoder(source)
        s_0         = tanh(bridge.weight [m_1, m_T] + bridge.bias)     each array of the decoder's state
        q_1 ... q_S = decoder(target; s_0)
        y_s         = output(attention(q_s; m_1 ... m_T))
        y_s        += log(0.9 sum_t a_st lexicon(source_t) + 0.1 background)     where x has a lexicon

    x is a `Pair` (source, target, source_lengths, lexicon), the target being what goes into the decoder (teacher
    forcing); the state is the decoder's, and None starts from the encoder; ``lengths`` are those of the target. Nothing
    that attention gives enters the recurrence, so the whole target is one call of its kernel: see docs/decisions.

    Parameters
    ----------
    encoder : token ids (B, T) -> (B, T, M); both directions of a bidirectional one end in m_1 and m_T
    decoder : token ids (B, S) -> (B, S, D), causal
    output : features (B, S, O) -> logits (B, S, V)
    attention : "dot", "general" or "additive" as in `Attention`, or "none": the decoder sees m_1 and m_T only
    attention_size : O, features of what attention gives

    With a lexicon, where attention points (a_st) matters from the first step on, and the network learns what the
    lexicon does not know: inflection, order, and which of several words.

    Source: Cho et al. (2014); Sutskever, Vinyals and Le (2014); Bahdanau, Cho and Bengio (2015); Luong et al. (2015);
    lexicon: Arthur, Neubig and Nakamura (2016).
    """

    encoder: Layer
    decoder: Layer
    output: Layer
    _: KW_ONLY
    attention: str = "general"
    attention_size: int = 256

    def __post_init__(self) -> None:
        name = "EncoderDecoder"
        checks.one_of(name, "attention", self.attention, [*attention.KINDS, "none"])
        checks.positive(name, attention_size=self.attention_size)
        for part in ("encoder", "decoder", "output"):
            layer = getattr(self, part)
            if not isinstance(layer, Layer):
                raise TypeError(f"{name}: {part} must be a layer, got {type(layer).__name__}")
            if layer.takes_tokens != (part != "output"):
                raise ValueError(f"{name}: {part} must take {'features' if part == 'output' else 'token ids'}")
        if not self.decoder.is_causal or not self._state_sizes:
            raise ValueError(f"{name}: decoder must be causal and have a state, got {self.decoder!r}")
        if self.attention != "none":
            self.attend  # noqa: B018  # refuses sizes that do not fit
        size = self.decoder.out_size if self.attention == "none" else self.attention_size
        if self.output.in_size not in (None, size):
            raise ValueError(f"{name}: output takes {self.output.in_size} features, but gets {size}")

    @property
    def in_size(self) -> int | None:  # noqa: D102
        return self.decoder.in_size

    @property
    def out_size(self) -> int | None:  # noqa: D102
        return self.output.out_size

    @property
    def takes_tokens(self) -> bool:  # noqa: D102
        return True

    @property
    def is_causal(self) -> bool:  # noqa: D102
        return False

    @property
    def attend(self) -> Attention:
        """The attention between the decoder and the output."""
        D, M = self.decoder.out_size, self.encoder.out_size
        assert D is not None
        assert M is not None
        return Attention(self.attention, D, M, self.attention_size)

    @property
    def _state_sizes(self) -> list[int]:
        return [leaf.shape[1] for _, leaf in tree_leaves(self.decoder.zero_state(0))]

    def children(self) -> dict[str, Layer]:  # noqa: D102
        M = self.encoder.out_size
        assert M is not None
        bridge = Linear(2 * M, sum(self._state_sizes), activation="tanh")
        return {"encoder": self.encoder, "bridge": bridge, "decoder": self.decoder, "output": self.output}

    def shapes(self) -> Shapes:  # noqa: D102
        return {**super().shapes(), **({} if self.attention == "none" else {"attention": self.attend.shapes()})}

    def fill(self, params: Params, rng: np.random.Generator) -> None:  # noqa: D102
        super().fill(params, rng)
        if self.attention != "none":
            self.attend.fill(params.child("attention"), rng)

    def zero_state(self, batch_size: int, dtype: Any = np.float32) -> Any:
        """Return a state of zeros of the decoder."""
        return self.decoder.zero_state(batch_size, dtype)

    def arrange(self, x: Any, lengths: Any, dtype: Any) -> tuple[Any, Form]:  # noqa: D102
        name = "EncoderDecoder"
        if not isinstance(x, tuple) or len(x) not in (2, 3, 4):
            raise TypeError(f"{name}: x must be a Pair(source, target, source_lengths), got {type(x).__name__}")
        pair = Pair(*x)
        source, form = self._arrange_source(pair.source, pair.source_lengths, dtype)
        target, target_form = arrange(
            f"{name}: target", pair.target, lengths, tokens=True, size=self.decoder.in_size, dtype=dtype
        )
        if form.shape[1] != target_form.shape[1]:
            raise ValueError(f"{name}: {form.shape[1]} rows of the source, but {target_form.shape[1]} of the target")
        lengths, valid = ((), ()) if form.valid is None else (form.lengths, form.valid)
        if pair.lexicon is not None:
            self.check_lexicon(pair.lexicon)
        return _Arranged(source, target, lengths, valid, () if pair.lexicon is None else pair.lexicon), target_form

    def check_lexicon(self, lexicon: Lexicon) -> None:
        """Raise ValueError where a lexicon is not one for this layer."""
        shapes = tuple(np.shape(part) for part in lexicon)
        n_source, V = self.encoder.in_size, self.out_size
        if self.attention == "none":
            raise ValueError("EncoderDecoder: a lexicon is read by attention, and there is none")
        if len(shapes) != 3 or shapes[0] != shapes[1] or shapes[0][:1] != (n_source,) or shapes[2] != (V,):
            raise ValueError(
                f"EncoderDecoder: a lexicon must be ids and p ({n_source}, k) and background ({V},), got {shapes}"
            )

    def _arrange_source(self, source: Any, lengths: Any, dtype: Any) -> tuple[Array, Form]:
        """Return the source time-major, with a step of padding where there is none at all."""
        size = self.encoder.in_size
        x, form = arrange("EncoderDecoder: source", source, lengths, tokens=True, size=size, dtype=dtype)
        if len(x):
            return x, form
        B = x.shape[1]
        padding = np.zeros((1, B), x.dtype)
        return padding, form._replace(lengths=np.zeros(B, np.intp), valid=np.zeros((1, B, 1), bool), shape=(1, B))

    # ------------------------------------------------------------------------------------------- both parts at once

    def _forward(self, params: Params, x: Any, state: Any, context: Context) -> tuple[Array, Any, Any]:
        reading = Context(x.source_lengths, x.source_valid, context.rng, context.keep, context.twin)
        if isinstance(x.source_valid, tuple):
            reading = _plain(context)
        memory, start, read_tape = self._read(params, x.source, reading, x.lexicon or None)
        q, end, decoder_tape = self.decoder._forward(
            params.child("decoder"), x.target, start if state is None else state, context
        )
        attention_tape = None
        if memory is not None:
            q, attention_tape = self.attend.forward(params.child("attention"), q, memory)
        y, _, output_tape = self.output._forward(params.child("output"), q, None, context)
        odds = None
        if memory is not None and memory.words is not None and attention_tape is not None:
            last = self.output.layers[-1] if isinstance(self.output, Sequential) else self.output
            if not (isinstance(last, Linear) and last.activation is None):
                y = y.copy()  # its tape may hold it
            odds = memory.words.add_to(y.swapaxes(0, 1), attention_tape.weights)
            if context.lengths is not None:
                fill_padding(y, context.lengths)
        return y, end, (reading, read_tape, decoder_tape, attention_tape, output_tape, state is None, odds)

    def _read(
        self, params: Params, source: Array, context: Context, lexicon: Lexicon | None = None
    ) -> tuple[Memory | None, Any, Any]:
        """Return the memory for attention, the start of the decoder, and the tapes."""
        values, _, encoder_tape = self.encoder._forward(params.child("encoder"), source, None, context)
        bridge = self.children()["bridge"]
        ends = values[_ends(context, *values.shape[:2])].swapaxes(0, 1).reshape(1, values.shape[1], -1)
        joined, _, bridge_tape = bridge._forward(params.child("bridge"), ends, None, _plain(context))
        parts = iter(np.split(joined[0], np.cumsum(self._state_sizes)[:-1], axis=1))
        start = tree_map(lambda _: np.ascontiguousarray(next(parts)), self.decoder.zero_state(0))
        memory = None
        if self.attention != "none":
            memory = self.attend.read(params.child("attention"), values, context.valid)
        if memory is not None and lexicon is not None:
            memory = memory._replace(words=look_up(lexicon, source, params.dtype))
        return memory, start, (encoder_tape, bridge_tape, values.shape)

    def _backward(
        self, params: Params, tape: Any, d_y: Array, d_state: Any, grads: Params, context: Context
    ) -> tuple[Array | None, Any, Any]:
        reading, (encoder_tape, bridge_tape, shape), decoder_tape, attention_tape, output_tape, bridged, odds = tape
        at_end = self.output.zero_state(shape[1], params.dtype)
        d_q, _, _ = self.output._backward(
            params.child("output"), output_tape, d_y, at_end, grads.child("output"), context
        )
        assert d_q is not None
        d_values = np.zeros(shape, params.dtype)
        if attention_tape is not None:
            d_weights = None
            words = attention_tape.memory.words
            if odds is not None and words is not None:
                d_weights = words.backward(d_y.swapaxes(0, 1), odds)
                if context.valid is not None:  # padding was never an output
                    d_weights[~context.valid[:, :, 0].T] = 0
            d_q, d_values = self.attend.backward(
                params.child("attention"), attention_tape, d_q, grads.child("attention"), d_weights
            )
        _, d_start, d_states = self.decoder._backward(
            params.child("decoder"), decoder_tape, d_q, d_state, grads.child("decoder"), context
        )
        if bridged:
            joined = np.concatenate([d for _, d in tree_leaves(d_start)], axis=1)[None]
            bridge = self.children()["bridge"]
            d_ends, _, _ = bridge._backward(
                params.child("bridge"), bridge_tape, joined, (), grads.child("bridge"), _plain(reading)
            )
            assert d_ends is not None
            first, last = d_ends[0].reshape(shape[1], 2, shape[2]).swapaxes(0, 1)
            steps, rows = _ends(reading, *shape[:2])
            d_values[steps[0], rows] += first
            d_values[steps[1], rows] += last
        end = self.encoder.zero_state(shape[1], params.dtype)
        self.encoder._backward(params.child("encoder"), encoder_tape, d_values, end, grads.child("encoder"), reading)
        return None, d_start, d_states

    # -------------------------------------------------------------------------------------------- one token at a time

    def read(
        self, params: Params, source: Any, *, lengths: Any = None, lexicon: Lexicon | None = None
    ) -> tuple[Memory | None, Any]:
        """Return the memory of a batch of sources (B, T) and the decoder's first state: what `step` goes on from."""
        x, form = self._arrange_source(source, lengths, params.dtype)
        if lexicon is not None:
            self.check_lexicon(lexicon)
        return self._read(params, x, Context(form.lengths, form.valid, None, keep=False), lexicon)[:2]

    def step(self, params: Params, ids: Array, state: Any, memory: Memory | None) -> tuple[Array, Any, Array | None]:
        """Write one token of K texts for each of B sources: all of them are one batch.

        Parameters
        ----------
        ids : (B, K) the last token of each text
        state : of the decoder, each array (B*K, H)
        memory : of the B sources

        Returns
        -------
        logits (B, K, V), the state after the token, and where attention looked (B, K, T), None where there is none
        """
        B, K = ids.shape
        context = Context(None, None, None, keep=False)
        q, state, _ = self.decoder._forward(params.child("decoder"), ids.reshape(1, B * K), state, context)
        weights = None
        if memory is not None:
            queries = q.reshape(B, K, q.shape[2]).swapaxes(0, 1)
            attended, tape = self.attend.forward(params.child("attention"), queries, memory)
            q, weights = np.ascontiguousarray(attended.swapaxes(0, 1)).reshape(1, B * K, -1), tape.weights
        y, _, _ = self.output._forward(params.child("output"), q, None, context)
        y = y.reshape(B, K, y.shape[2])
        if memory is not None and memory.words is not None and weights is not None:
            memory.words.add_to(y, weights)
        return y, state, weights


def _plain(context: Context) -> Context:
    """Return the context of one step, which every row has."""
    return Context(None, None, context.rng, context.keep, context.twin)


def _ends(context: Context, T: int, B: int) -> tuple[Array, Array]:
    """Return the first and the last valid step of each row, (2, B), and the rows, for an array (T, B, ...)."""
    last = np.full(B, T) if context.lengths is None else context.lengths
    return np.stack([np.zeros(B, np.intp), np.maximum(last - 1, 0)]), np.arange(B)
