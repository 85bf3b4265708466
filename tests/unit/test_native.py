"""The native kernels give the same bits: in any batch, on any threads, in any chunks, with any instruction set."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import elman
import zoo
from elman import GRU, LSTM, RNN, Embedding, Linear, Sequential, kernels, stack
from elman.trees import tree_map
from native_cases import CELLS, HIDDEN, SIZES, fresh, given, model, needs_native, passes, ragged, settings
from tolerances import SAME, assert_close, assert_same, leaves

pytestmark = needs_native

INSTRUCTION_SETS = kernels.native_module().instruction_sets() if "native" in zoo.TWINS else []
FUSED = [isa for isa in INSTRUCTION_SETS if isa != "baseline"]  # those with fused multiply-add


@pytest.fixture(autouse=True)
def _native():
    with elman.use_kernels("native"), settings():
        yield


def language_model():
    return Sequential(Embedding(11, 17), LSTM(17, 33), GRU(33, 20), Linear(20, 11))


STACKS = {
    "language": language_model,
    "tokens": lambda: Sequential(RNN(7, 18, token_input=True), Linear(18, 5, activation="sigmoid")),
    "gru-tokens": lambda: GRU(9, 21, token_input=True, learned_initial_state=True),
    "residual": lambda: stack(LSTM, [19, 19, 19], residual=True, dropout=0.2),
    "learned": lambda: LSTM(5, 33, learned_initial_state=True),
}
LAYERS = {**{name: partial(make, 33, 65) for name, make in CELLS.items()}, **STACKS}


# ------------------------------------------------------------------------------- right, before it is the same always


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_shapes_off_the_grid_of_vectors_agree_with_the_reference(cell, isa):
    for dtype in zoo.DTYPES:
        for I, H in SIZES:
            made = model(CELLS[cell](I, H), dtype)
            x, state = given(made, 5, 4)
            for lengths in (None, ragged(5, 4)):
                with elman.use_kernels("reference"):
                    expected = passes(made, x, state, lengths)
                with settings(isa=isa):
                    assert_close(passes(made, x, state, lengths), expected, 3 * SAME[dtype])


# ------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_of_a_batch_is_that_row_alone(cell, isa):
    with settings(isa=isa):
        for k, (I, H) in enumerate(SIZES):
            made = model(CELLS[cell](I, H), zoo.DTYPES[k % 2])
            x, state = given(made, 13, 3)
            y, end = made(x, state)
            for B in range(1, 13):  # the rows 13 - B to 12, so that no row has the same place in all batches
                part = tree_map(lambda leaf, B=B: leaf[-B:], state)
                assert_same(made(x[-B:], part), (y[-B:], tree_map(lambda leaf, B=B: leaf[-B:], end)))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_row_are_those_of_that_row_alone(cell):
    for k, (I, H) in enumerate(SIZES):
        made = model(CELLS[cell](I, H), zoo.DTYPES[k % 2])
        x, state = given(made, 13, 3)
        forward = made.forward(x, state)
        d_y, d_end = zoo.random_like(forward.y, 5), zoo.random_like(forward.state, 6)
        _, d_x, d_state, d_states = made.backward(forward.tape, d_y, d_end)
        for rows in (slice(0, 1), slice(12, 13), slice(3, 8), slice(2, 13)):

            def cut(tree, rows=rows):
                return tree_map(lambda leaf: leaf[rows], tree)

            part = made.forward(x[rows], cut(state))
            d = made.backward(part.tape, d_y[rows], cut(d_end))
            assert_same((d.d_x, d.d_state, d.d_states), (d_x[rows], cut(d_state), cut(d_states)))


# ------------------------------------------------------------------------------------------------------------- threads

# (B, T, I, H): rows are shared out; units are shared out, with barriers; rows with 2 threads and units with 3 and 4.
SHARED = [(17, 20, 33, 65), (2, 12, 65, 257), (9, 20, 33, 130)]


@pytest.mark.parametrize("layer", CELLS)
@pytest.mark.parametrize("shape", SHARED)
def test_any_number_of_threads(layer, shape):
    B, T, I, H = shape
    for dtype, lengths in (("float32", None), ("float32", ragged(B, T)), ("float64", None)):
        made = model(CELLS[layer](I, H), dtype)
        x, state = given(made, B, T)
        with settings(threads=1):
            expected = passes(made, x, state, lengths)
        for threads in (2, 3, 4):
            with settings(threads=threads):
                assert_same(passes(made, x, state, lengths), expected)
                assert_same(made(x, state, lengths=lengths), expected[:2])


@pytest.mark.parametrize("layer", [RNN, LSTM, partial(GRU, reset_after=False)])
def test_any_number_of_threads_in_reverse(layer):
    for B, T, I, H in SHARED:
        made = model(layer(I, H, reverse=True))
        x, state = given(made, B, T)
        results = []
        for threads in (1, 2, 4):
            with settings(threads=threads):
                results.append(passes(made, x, state, ragged(B, T)))
        assert_same(results[1:], [results[0]] * 2)


def test_products_activations_and_losses_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    made = model(Linear(130, 257, activation="tanh"))
    x, logits = rng.standard_normal((2, 37, 130)).astype("f4"), rng.standard_normal((401, 257)).astype("f4")
    one_row = rng.standard_normal((1, 3000)).astype("f4")  # its outputs are shared out
    wide = model(Linear(3000, 700))
    targets = rng.integers(0, 257, 401)
    results = []
    for threads in (1, 2, 3, 4):
        with settings(threads=threads):
            loss = kernels.active().softmax_cross_entropy(logits, targets)
            w, m, v = (np.ones(200_001, "f4") for _ in range(3))
            kernels.active().adam(w, np.resize(logits, w.shape), m, v, 0.01, 0.9, 0.99, 1.5, 1e-8)
            results.append((passes(made, x, ()), passes(wide, one_row, ()), loss, (w, m, v)))
    assert_same(results[1:], [results[0]] * 3)


ENGAGED = """
import os
from elman import kernels
from native_cases import CELLS, given, model
kernels.native_module().set_threads(4)
for cell, make in CELLS.items():
    for B, T, I, H in %r:
        made = model(make(I, H))
        x, state = given(made, B, T)
        child = os.fork()  # each begins with no threads but its own
        if child == 0:
            made(x, state)
            os._exit(len(os.listdir("/proc/self/task")))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_these_shapes_do_engage_threads():
    assert fresh(ENGAGED % SHARED).split() == ["4"] * len(CELLS) * len(SHARED)


# ---------------------------------------------------------------------------------------- chunks, streams and padding


@pytest.mark.parametrize("name", LAYERS)
def test_chunks_give_the_bits_of_one_call_gradients_too(name):
    """The gradients of the later chunk come first, and the earlier ones are added to them in place."""
    T, B = 29, 6  # more rows than a block of the sums of gradients has
    for dtype, threads, lengths in (("float32", 1, None), ("float64", 1, ragged(B, T)), ("float32", 2, ragged(B, T))):
        made = model(LAYERS[name](), dtype)
        x, state = given(made, B, T)
        with settings(threads=threads):
            whole = made.forward(x, state, lengths=lengths)
            d_y, d_end = zoo.random_like(whole.y, 5), zoo.random_like(whole.state, 6)
            expected = made.backward(whole.tape, d_y, d_end)
            chunks, end = [], state
            for start, stop in pairwise((0, 1, 8, 8, 24, T)):
                rest = None if lengths is None else np.clip(np.array(lengths) - start, 0, stop - start)
                chunk = made.forward(x[:, start:stop], end, lengths=rest)
                end = chunk.state
                chunks.append((start, stop, chunk))
            assert_same(np.concatenate([chunk.y for *_, chunk in chunks], axis=1), whole.y)
            assert_same(end, whole.state)
            grads, d_state, d_x = made.params.zeros_like(), d_end, []
            for start, stop, chunk in reversed(chunks):
                d = made.backward(chunk.tape, d_y[:, start:stop], d_state, grads=grads)
                d_state = d.d_state
                d_x.insert(0, d.d_x)
        assert_same(grads, expected.grads)
        assert_same(d_state, expected.d_state)
        if expected.d_x is not None:
            assert_same(np.concatenate(d_x, axis=1), expected.d_x)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_stream_gives_the_bits_of_one_call(name, isa):
    with settings(isa=isa):
        for dtype, precision in (("float32", None), ("float64", None), ("float32", "bfloat16")):
            made = model(LAYERS[name](), dtype)
            engine = elman.Engine(made, precision=precision)
            for B in (None, 1, 7):
                x, _ = given(made, B or 1, 9)
                y, end = engine(x)
                if precision is None:
                    assert_same((y, end), made(x))
                stream = engine.stream(B)
                assert type(stream._steps).__name__ == "_NativeSteps"
                steps = [stream.step(x[0, t] if B is None else np.ascontiguousarray(x[:, t])) for t in range(9)]
                assert_same(np.stack(steps, axis=-2).reshape(y.shape), y)
                assert_same(stream.state, end)


def test_streams_of_every_size():
    for I, H in SIZES:
        for cell, make in CELLS.items():
            made = model(make(I, H))
            x, _ = given(made, 3, 4)
            stream = elman.Engine(made).stream(3)
            steps = [stream.step(np.ascontiguousarray(x[:, t])) for t in range(4)]
            assert_same(np.stack(steps, axis=1), made(x).y), cell


@pytest.mark.parametrize("threads", [2, 4])
def test_a_stream_on_many_threads(threads):
    made = model(stack(LSTM, [130, 512, 512]))
    x, _ = given(made, 2, 4)
    with settings(threads=1):
        y = made(x).y
    with settings(threads=threads):
        stream = elman.Engine(made).stream(2)
        assert_same(np.stack([stream.step(np.ascontiguousarray(x[:, t])) for t in range(4)], axis=1), y)


@pytest.mark.parametrize("name", LAYERS)
def test_what_the_padding_holds_changes_no_bit(name):
    B, T = 9, 12
    made = model(LAYERS[name]())
    x, state = given(made, B, T)
    lengths = ragged(B, T)
    padding = np.arange(T) >= np.array(lengths)[:, None]
    for threads in (1, 2):
        with settings(threads=threads):
            clean = made.forward(x, state, lengths=lengths)
            d_y = zoo.random_like(clean.y, 5)
            expected = made.backward(clean.tape, d_y)
            for bad in (-1, 10**9) if made.layer.takes_tokens else (np.nan, np.inf):
                dirty, d_dirty = x.copy(), d_y.copy()
                dirty[padding], d_dirty[padding] = bad, np.nan
                forward = made.forward(dirty, state, lengths=lengths)
                assert_same(forward[:2], clean[:2])
                assert_same(made(dirty, state, lengths=lengths), clean[:2])
                assert_same(made.backward(forward.tape, d_dirty), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_batch_first_strided_and_reversed_memory_give_the_same_bits(name):
    made = model(LAYERS[name]())
    x, state = given(made, 4, 6)
    expected = passes(made, x, state)
    time_major = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    every_other = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2]
    backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    odd = np.zeros(x.shape, [("odd", "u1"), ("x", x.dtype)])["x"]
    odd[...] = x
    shifted = np.ndarray(x.shape, x.dtype, np.zeros(x.nbytes + 1, "u1").data, 1)
    shifted[...] = x
    assert not odd.flags.aligned
    assert not shifted.flags.aligned
    for same in (time_major, every_other, backwards, odd, shifted, x.astype(x.dtype.newbyteorder())):
        assert_same(passes(made, same, state), expected)
    if x.dtype.kind == "f":
        rows = np.zeros(x.shape[:2], [("odd", "u1"), ("x", x.dtype, x.shape[2:])])["x"]
        rows[...] = x
        assert_same(passes(made, rows, state), expected)


# ---------------------------------------------------------------------------------------------------- instruction sets


def everything(B=5, T=7):
    """Return results of all kernels, for shapes off the grid."""
    rng = np.random.default_rng(1)
    results = []
    for dtype in zoo.DTYPES:
        for k, H in enumerate(HIDDEN):
            layer = list(CELLS.values())[k % len(CELLS)](SIZES[k][0], H)
            made = model(layer, dtype)
            x, state = given(made, B, T)
            results.append(passes(made, x, state, ragged(B, T) if k % 2 else None))
            dense = model(Linear(SIZES[k][0], H, activation=("tanh", "sigmoid", "relu")[k % 3]), dtype)
            results.append(passes(dense, x, ()))
            logits = 3 * rng.standard_normal((6, H)).astype(dtype)
            results.append(kernels.active().softmax_cross_entropy(logits, rng.integers(0, H, 6), 0.1 * (k % 2), 0.5))
        w, g, m, v = rng.standard_normal((4, 401)).astype(dtype)
        kernels.active().adam(w, g, m, np.abs(v), 0.01, 0.9, 0.99, 1.5, 1e-8)
        results += [w, m, np.array(kernels.active().sum_of_squares(g))]
        made = model(language_model(), dtype)
        results.append(passes(made, *given(made, B, T)))
        made = model(LSTM(9, 300), dtype)  # sums long enough to be cut into slices
        results.append(passes(made, *given(made, 9, 3)))
        wide = model(Linear(1500, 20), dtype)
        results.append(passes(wide, *given(wide, 9, 3)))
        spread = np.concatenate([10.0 ** np.arange(-45, 4), [0, 87, 88.7, 709, np.inf]])
        for name in ("tanh", "sigmoid", "relu"):
            results.append(kernels.active().activate(name, np.concatenate([spread, -spread]).astype(dtype)))
    narrow = elman.Engine(model(stack(GRU, [17, 33, 20])), precision="bfloat16")
    results.append(narrow(rng.standard_normal((4, 6, 17))))
    return results


def digest(results):
    """Return a hash of the bits of results."""
    total = hashlib.sha256()
    for path, array in leaves(results):
        total.update(path.encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


@pytest.mark.skipif(len(FUSED) < 2, reason="this machine has one instruction set with fused multiply-add")
def test_instruction_sets_with_fused_multiply_add_give_the_same_bits():
    results = []
    for isa in FUSED:
        with settings(isa=isa):
            results.append(everything())
    assert_same(results[1:], results[:1] * (len(FUSED) - 1))


@pytest.mark.skipif(len(INSTRUCTION_SETS) < 2, reason="this machine has one instruction set")
def test_this_comparison_sees_one_rounding():
    """Without fused multiply-add every product is rounded once more: near, but not the same."""
    results = []
    for isa in (FUSED[0], "baseline"):
        with settings(isa=isa):
            results.append(everything())
    fused, plain = ([np.nan_to_num(array) for _, array in leaves(result)] for result in results)
    assert_close(fused, plain, 1e-4)
    assert np.mean([a.tobytes() != b.tobytes() for a, b in zip(fused, plain, strict=True)]) > 0.8
    with pytest.raises(AssertionError, match="bits differ"):
        assert_same(*results)
    assert digest(results[0]) != digest(results[1])


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_the_environment_forces_an_instruction_set(isa):
    code = "import test_native as t; print(t.kernels.native_module().instruction_set(), t.digest(t.everything()))"
    used, found = fresh(code, ELMAN_ISA=isa, ELMAN_KERNELS="native").split()
    assert used == isa
    with settings(isa=isa):
        assert digest(everything()) == found
