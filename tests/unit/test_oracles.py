"""Every law is seen to fail: faults are put into the library, and the law that should object must object."""

import dataclasses

import numpy as np
import pytest
import test_cases_a

import elman
import zoo
from elman import model as model_module
from elman.kernels import reference
from elman.layers import Dropout, Embedding, Layer, Linear, Recurrent, base
from elman.params import Params
from elman.trees import tree_map
from laws.laws import FLOAT64_ONLY, LAWS

FAULTS = []


def fault(*laws, layers):
    """Register a fault, the laws that must object to it, and the layers of the zoo in which they do."""

    def register(put):
        FAULTS.append((put, laws, layers.split()))
        return put

    return register


def wrap(patch, name, change, where=reference):
    """Put change(original) in the place of a function."""
    patch.setattr(where, name, change(getattr(where, name)))


# ------------------------------------------------------------------------------------------------ wrong gradients


@fault("gradient", layers="rnn-tanh stack-residual")
def wrong_derivative_of_tanh(patch):
    patch.setitem(reference.DERIVATIVES, "tanh", lambda y: 1 - np.abs(y))


@fault("gradient", layers="rnn-sigmoid")
def derivative_of_sigmoid_taken_at_y(patch):
    patch.setitem(reference.DERIVATIVES, "sigmoid", lambda y: reference.sigmoid(y) * (1 - reference.sigmoid(y)))


@fault("gradient", layers="lstm bidirectional-lstm sequential-language")
def two_gates_swapped_in_the_backward_pass(patch):
    def change(original):
        def backward(tape, *rest):
            i, f, g, o = np.split(tape.gates, 4, axis=-1)
            return original(tape._replace(gates=np.concatenate([f, i, g, o], axis=-1)), *rest)

        return backward

    wrap(patch, "lstm_backward", change)


@fault("gradient", layers="lstm gru-after rnn-tanh linear")
def bias_gradient_missing(patch):
    def change(original):
        return lambda *args: original(*args[:-1], None)

    wrap(patch, "project_backward", change)


@fault("gradient", layers="rnn-tanh lstm")
def recurrent_bias_gradient_missing(patch):
    def change(original):
        return lambda x, h, d_a, weights, d: original(x, h, d_a, weights, d._replace(bias_hh=None))

    wrap(patch, "finish_backward", change)


@fault("accumulation", layers="rnn-tanh lstm gru-before linear-relu")
def gradient_assigned_and_not_added(patch):
    def change(original):
        def backward(x, weight, d_y, d_weight, d_bias):
            d_weight[...] = 0
            return original(x, weight, d_y, d_weight, d_bias)

        return backward

    wrap(patch, "project_backward", change)


@fault("gradient", "chunking", "empty", layers="lstm")
def gradient_of_the_last_cell_dropped(patch):
    def change(original):
        def backward(tape, weights, steps, d_y, d_state, d_weights):
            return original(tape, weights, steps, d_y, d_state._replace(c=np.zeros_like(d_state.c)), d_weights)

        return backward

    wrap(patch, "lstm_backward", change)


@fault("gradient", "d_states", layers="lstm lstm-reverse")
def cell_gradient_not_carried_through_time(patch):
    def change(original):
        def backward(tape, weights, steps, d_y, d_state, d_weights):
            gates = tape.gates.copy()
            H = tape.h.shape[-1]
            gates[..., H : 2 * H] = 0  # as if every step forgot all
            return original(tape._replace(gates=gates), weights, steps, d_y, d_state, d_weights)

        return backward

    wrap(patch, "lstm_backward", change)


@fault("gradient", layers="gru-after gru-before gru-after-reverse")
def reset_modes_confused_in_the_forward_pass(patch):
    def change(original):
        def forward(x, state, weights, steps, reset_after, *, keep):
            wrong = original(x, state, weights, steps, not reset_after, keep=keep)
            return wrong._replace(tape=original(x, state, weights, steps, reset_after, keep=True).tape)

        return forward

    wrap(patch, "gru_forward", change)


@fault("gradient", layers="gru-after gru-before")
def z_and_one_minus_z_swapped_in_the_backward_pass(patch):
    def change(original):
        def backward(tape, *rest):
            gates = tape.gates.copy()
            H = tape.h.shape[-1]
            gates[..., H : 2 * H] = 1 - gates[..., H : 2 * H]
            return original(tape._replace(gates=gates), *rest)

        return backward

    wrap(patch, "gru_backward", change)


@fault("gradient", layers="dropout dropout-locked sequential-language stack-dropout")
def dropout_mask_not_reused_in_the_backward_pass(patch):
    def change(original):
        def backward(self, params, tape, *rest):
            return original(self, params, None if tape is None else np.roll(tape, 1, axis=-1), *rest)

        return backward

    wrap(patch, "_backward", change, Dropout)


@fault("gradient", "no_state_is_zeros", layers="rnn-learned lstm-learned gru-learned")
def gradient_of_the_learned_state_missing(patch):
    def change(original):
        def backward(self, params, tape, d_y, d_state, grads, context):
            result = original(self, params, tape, d_y, d_state, grads, context)
            for name in grads:
                if name.startswith("initial_"):
                    grads[name] = 0
            return result

        return backward

    wrap(patch, "_backward", change, Recurrent)


@fault("gradient", layers="embedding rnn-tokens lstm-tokens")
def repeated_tokens_counted_once(patch):
    def scatter_rows(ids, rows, table):
        table[ids.ravel()] += rows

    patch.setattr(reference, "scatter_rows", scatter_rows)


@fault("d_states", layers="rnn-tanh gru-before lstm-reverse stack-bidirectional")
def gradient_of_the_states_without_that_of_the_outputs(patch):
    for name in ("rnn_backward", "lstm_backward", "gru_backward"):

        def change(original):
            def backward(*args):
                d_y = args[-3]
                result = original(*args)
                return result._replace(d_states=result.d_states._replace(h=result.d_states.h - d_y))

            return backward

        wrap(patch, name, change)


@fault("chunking", layers="rnn-tanh gru-after lstm")
def backpropagation_ends_at_the_chunk(patch):
    def change(original):
        def backward(self, *args, **options):
            result = original(self, *args, **options)
            return result._replace(d_state=tree_map(np.zeros_like, result.d_state))

        return backward

    wrap(patch, "backward", change, Layer)


# ----------------------------------------------------------------------------------------- rows, lengths, padding


@fault("padding", "list", layers="rnn-tanh lstm gru-before bidirectional-gru")
def mask_dropped(patch):
    patch.setattr(reference, "valid_steps", lambda *_: None)


@fault("streaming", layers="rnn-tanh lstm gru-after")
@fault("row_alone", "full_lengths", layers="rnn-tanh lstm-reverse gru-after")
def last_valid_step_left_out(patch):
    def valid_steps(steps, T):
        return None if steps.lengths is None else (np.arange(T)[:, None] < steps.lengths - 1)[:, :, None]

    patch.setattr(reference, "valid_steps", valid_steps)


@fault("full_lengths", layers="rnn-reverse bidirectional-rnn")
def reverse_ignores_lengths(patch):
    def change(original):
        def forward(x, state, weights, steps, *rest, keep):
            return original(
                x, state, weights, steps._replace(lengths=None) if steps.reverse else steps, *rest, keep=keep
            )

        return forward

    wrap(patch, "rnn_forward", change)


@fault("padding", layers="linear embedding")
def padding_of_d_y_reaches_the_weights(patch):
    for kind in (Linear, Embedding):

        def change(original):
            def backward(self, params, tape, d_y, d_state, grads, context):
                return original(self, params, tape, d_y, d_state, grads, context._replace(lengths=None))

            return backward

        wrap(patch, "_backward", change, kind)


@fault("padding", layers="rnn-tanh gru-after lstm")
def state_held_in_the_padding_of_the_outputs(patch):
    patch.setattr(reference, "outputs", lambda h, steps, _: h[:-1] if steps.reverse else h[1:])


@fault("padding", layers="rnn-hold lstm-hold")
def zeros_instead_of_the_held_state(patch):
    wrap(patch, "outputs", lambda original: lambda h, steps, valid: original(h, steps._replace(hold=False), valid))


def _mix_rows(mix):
    def change(original):
        def forward(x, *rest, keep):
            return original(mix(x), *rest, keep=keep)

        return forward

    return change


@fault("row_alone", layers="rnn-tanh")
def rows_of_a_batch_influence_each_other(patch):
    wrap(patch, "rnn_forward", _mix_rows(lambda x: x + 0.1 * x.mean(axis=1, keepdims=True)))


@fault("batch_order", layers="rnn-tanh")
def place_in_the_batch_matters(patch):
    wrap(patch, "rnn_forward", _mix_rows(lambda x: x + 0.01 * np.arange(x.shape[1])[:, None].astype(x.dtype)))


@fault("single", "row_alone", layers="rnn-tanh")
def a_batch_of_one_is_special(patch):
    def change(original):
        def predict(self, params, x, state=None, *, lengths=None):
            y, end = original(self, params, x, state, lengths=lengths)
            return elman.layers.Output(y * 1.5 if np.ndim(x) == 2 else y, end)

        return predict

    wrap(patch, "predict", change, Layer)
    wrap(patch, "rnn_forward", _mix_rows(lambda x: x * 1.5 if x.shape[1] == 1 else x))


# --------------------------------------------------------------------------------------------- state, time, types


@fault("streaming", "chunking", "empty", layers="rnn-tanh stack-sizes")
def given_state_ignored(patch):
    def change(original):
        def forward(self, params, x, state, context):
            return original(self, params, x, self.zero_state(x.shape[1], params.dtype), context)

        return forward

    wrap(patch, "_forward", change, Recurrent)


@fault("streaming", layers="lstm stack-sizes residual-lstm")
def cell_forgotten_between_calls(patch):
    def change(original):
        def forward(*args, keep):
            result = original(*args, keep=keep)
            return result._replace(state=result.state._replace(c=np.zeros_like(result.state.c)))

        return forward

    wrap(patch, "lstm_forward", change)


@fault("no_state_is_zeros", layers="lstm gru-before rnn-learned")
def start_of_ones(patch):
    def change(original):
        def forward(self, params, x, state, context):
            if state is None:
                state = tree_map(np.ones_like, self.zero_state(x.shape[1], params.dtype))
            return original(self, params, x, state, context)

        return forward

    wrap(patch, "_forward", change, Recurrent)


@fault("purity", layers="rnn-tanh")
def state_is_a_view_of_the_output(patch):
    def change(original):
        def forward(x, state, weights, steps, *rest, keep):
            result = original(x, state, weights, steps, *rest, keep=keep)
            return result._replace(state=type(state)(result.y[-1]))

        return forward

    wrap(patch, "rnn_forward", change)


@fault("purity", "call_is_forward", layers="rnn-tanh gru-after")
def state_kept_in_the_layer(patch):
    kept = {}

    def change(original):
        def forward(self, params, x, state, context):
            y, end, tape = original(self, params, x, kept.get("state", state), context)
            kept["state"] = end
            return y, end, tape

        return forward

    wrap(patch, "_forward", change, Recurrent)


@fault("purity", "read_only", layers="rnn-tanh lstm")
def input_written_to(patch):
    for name in ("rnn_forward", "lstm_forward"):

        def change(original):
            def forward(x, *rest, keep):
                result = original(x.copy(), *rest, keep=keep)
                x *= 2
                return result

            return forward

        wrap(patch, name, change)


@fault("purity", layers="rnn-tanh lstm gru-before")
def tape_written_to(patch):
    for name in ("rnn_backward", "lstm_backward", "gru_backward"):

        def change(original):
            def backward(tape, *rest):
                result = original(tape, *rest)
                tape.h[1:] *= 0.5
                return result

            return backward

        wrap(patch, name, change)


@fault("purity", layers="dropout")
def input_handed_out_again(patch):
    def change(original):
        def call(self, params, x, *rest, **options):
            return original(self, params, x, *rest, **options)._replace(y=x)

        return call

    wrap(patch, "_call", change, Layer)


@fault("purity", layers="dropout sequential-dropout-first")
def global_generator_used(patch):
    def change(original):
        def forward(self, params, x, state, context):
            np.random.random(3)  # noqa: NPY002
            return original(self, params, x, state, context)

        return forward

    wrap(patch, "_forward", change, Dropout)


@fault("types", layers="rnn-tanh")
def numbers_become_double(patch):
    def change(original):
        def forward(*args, keep):
            result = original(*args, keep=keep)
            return result._replace(y=result.y.astype(np.float64))

        return forward

    wrap(patch, "rnn_forward", change)


@fault("float32", layers="rnn-tanh lstm")
def half_precision_inside(patch):
    def change(original):
        def project(x, weight, bias):
            y = original(x, weight, bias)
            return y.astype(np.float16).astype(y.dtype) if y.dtype == np.float32 else y

        return project

    wrap(patch, "project", change)


@fault("input_may_be_used_again", layers="rnn-tanh linear embedding gru-tokens")
def input_kept_by_reference(patch):
    class Uncopied(np.ndarray):
        def copy(self, order="C"):
            return self

    def change(original):
        def arrange(*args, **options):
            x, form = original(*args, **options)
            return x.view(Uncopied), form

        return arrange

    wrap(patch, "arrange", change, base)


@fault("strides", layers="rnn-tanh linear")
def memory_read_as_if_it_were_contiguous(patch):
    def change(original):
        def project(x, weight, bias):
            return original(np.ravel(x, order="K").reshape(x.shape), weight, bias)

        return project

    wrap(patch, "project", change)


# ---------------------------------------------------------------------------------------------- round trips, twins


@fault("file", layers="rnn-reverse gru-before linear-tanh lstm-hold bidirectional-gru")
def options_left_out_of_the_file(patch):
    def describe(layer):
        fields = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer) if not field.kw_only}
        return {
            "kind": type(layer).__name__,
            **{name: describe(value) if isinstance(value, Layer) else value for name, value in fields.items()},
        }

    patch.setattr(model_module, "describe", describe)


@fault("file", layers="lstm")
def file_holds_float32_only(patch):
    def change(original):
        return lambda path, tensors, about: original(
            path, {name: array.astype(np.float32) for name, array in tensors.items()}, about
        )

    wrap(patch, "write", change, model_module.storage)


@fault("pickle", layers="lstm stack-sizes")
def copies_lose_the_flat_vector(patch):
    patch.setattr(Params, "__reduce__", lambda self: (_apart, (self.shapes, dict(self), self.flat)))


def _apart(shapes, arrays, flat):
    params = Params(shapes, flat)
    params._arrays = arrays
    return params


@fault("twin", layers="lstm sequential-language")
def twin_with_a_term_missing(patch):
    class Other:
        __name__ = "other"

        def __getattr__(self, name):
            return getattr(reference, name)

        def lstm_backward(self, *args):
            result = reference.lstm_backward(*args)
            return result._replace(d_state=result.d_state._replace(h=0 * result.d_state.h))

    patch.setattr(elman.kernels, "_chosen", Other())


# ------------------------------------------------------------------------------------------------------ the tests


def objects(law, name):
    """Return whether a law fails for a layer, in at least one type and kind of batch."""
    for dtype in ("float64",) if law in FLOAT64_ONLY else zoo.DTYPES:
        for lengths in zoo.LENGTHS.values():
            try:
                LAWS[law](zoo.ZOO[name](), dtype, lengths)
            except (AssertionError, ValueError):  # a ValueError: read-only memory was written to
                return True
    return False


@pytest.mark.parametrize(
    ("put", "law", "layer"),
    [(put, law, layer) for put, laws, layers in FAULTS for law in laws for layer in layers],
)
def test_the_law_objects(put, law, layer, monkeypatch):
    monkeypatch.setattr(elman.kernels, "_chosen", reference)
    assert not objects(law, layer)
    with monkeypatch.context() as patch:
        put(patch)
        assert objects(law, layer)
    assert not objects(law, layer)


def test_every_law_is_seen_to_fail():
    assert {law for _, laws, _ in FAULTS for law in laws} == set(LAWS)


# Faults that are at one with themselves, so that no law can see them: only numbers from elsewhere can.


def permuted(order, blocks):
    """Return a change of a kernel that reads its gates in another order, forward and backward alike."""

    def rows(array):
        return None if array is None else np.concatenate([np.split(array, blocks)[k] for k in order])

    def change(original):
        def forward(x, state, weights, *rest, keep):
            return original(x, state, type(weights)(*map(rows, weights)), *rest, keep=keep)

        return forward

    return change


CONSISTENT = {
    "gates in the order i o f g": (
        lambda patch: wrap(patch, "lstm_forward", permuted([0, 2, 3, 1], 4)),
        lambda: test_cases_a.test_lstm_of_the_cases("float64"),
    ),
    "gates in the order z r n": (
        lambda patch: wrap(patch, "gru_forward", permuted([1, 0, 2], 3)),
        lambda: test_cases_a.test_a1_reset_gate_after_or_before_the_product("float64"),
    ),
    "reset modes exchanged": (
        lambda patch: wrap(
            patch,
            "gru_forward",
            lambda f: lambda x, s, w, steps, reset_after, *, keep: f(x, s, w, steps, not reset_after, keep=keep),
        ),
        lambda: test_cases_a.test_a1_reset_gate_after_or_before_the_product("float64"),
    ),
    "bias counted twice": (
        lambda patch: wrap(patch, "both", lambda original: lambda a, b: 2 * original(a, b)),
        lambda: test_cases_a.test_lstm_of_the_cases("float64"),
    ),
    "sigmoid that overflows": (
        lambda patch: patch.setattr(reference, "sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        lambda: test_cases_a.test_a9_sigmoid_neither_overflows_nor_warns("float64"),
    ),
    "sigmoid that is hard": (
        lambda patch: patch.setattr(reference, "sigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        lambda: test_cases_a.test_lstm_of_the_cases("float64"),
    ),
}


@pytest.mark.parametrize("name", CONSISTENT)
def test_the_numbers_object(name, monkeypatch):
    monkeypatch.setattr(elman.kernels, "_chosen", reference)
    put, check = CONSISTENT[name]
    check()
    with monkeypatch.context() as patch:
        put(patch)
        with pytest.raises((AssertionError, FloatingPointError)):
            check()
    check()
