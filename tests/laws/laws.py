"""What is true of any layer: each law is a function ``law_xxx(layer, dtype, lengths)`` that raises AssertionError."""

from __future__ import annotations

import copy
import pickle
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import elman
import tolerances
import zoo
from elman import kernels
from elman.kernels.spec import KernelForward, LSTMState, Steps
from elman.layers import Recurrent
from elman.trees import tree_leaves, tree_map
from tolerances import assert_close, assert_same

# ------------------------------------------------------------------------------------------------------- helpers


def run(case: zoo.Case, state: Any = "given", rng_seed: int | None = None) -> tuple[Any, Any]:
    """Return (forward, backward) of a case."""
    rng = None if rng_seed is None else np.random.default_rng(rng_seed)
    state = case.state if isinstance(state, str) else state
    forward = case.model.forward(case.x, state, lengths=case.lengths, rng=rng)
    return forward, case.model.backward(forward.tape, case.d_y, case.d_state)


def results(forward: Any, backward: Any) -> tuple[Any, ...]:
    """Return all that two passes give, but for the tape."""
    return (forward.y, forward.state, *backward)


def valid_steps(case: zoo.Case) -> np.ndarray:
    """Return the mask of valid steps (B, T)."""
    B, T = case.x.shape[:2]
    return np.ones((B, T), bool) if case.lengths is None else np.arange(T) < np.array(case.lengths)[:, None]


def probe(case: zoo.Case, params: Any, x: Any, state: Any, rng_seed: int | None) -> float:
    """Return a loss that all outputs and all of the final state enter, so that d_y and d_state are its gradients."""
    rng = None if rng_seed is None else np.random.default_rng(rng_seed)
    y, end, _ = case.model.layer.forward(params, x, state, lengths=case.lengths, rng=rng)
    total = np.sum(y * case.d_y)
    for (_, leaf), (_, d) in zip(tree_leaves(end), tree_leaves(case.d_state), strict=True):
        total += np.sum(leaf * d)
    return float(total)


def inner(first: Any, second: Any) -> float:
    """Return the inner product of two trees."""
    pairs = zip(tree_leaves(first), tree_leaves(second), strict=True)
    return float(sum(np.sum(a * b) for (_, a), (_, b) in pairs))


def cut(case: zoo.Case, start: int, stop: int) -> tuple[np.ndarray, Any]:
    """Return x and lengths of the steps from start to stop."""
    lengths = None if case.lengths is None else np.clip(np.array(case.lengths) - start, 0, stop - start)
    return case.x[:, start:stop], lengths


def same_or_close(actual: Any, expected: Any) -> None:
    """Assert equal bits where the twin promises them, else nearly equal numbers."""
    (assert_same if kernels.active().__name__ in zoo.EXACT_TWINS else assert_close)(actual, expected)


def learns_start(layer: elman.Layer) -> bool:
    """Return whether the state before the first step is a parameter."""
    return any("initial_" in name for name in zoo.random_params(layer))


# ----------------------------------------------------------------------------------------------------- gradients


def law_gradient(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Backpropagation equals the central difference, along a random direction of params, x and state at once."""
    case = zoo.case(layer, dtype, lengths)
    for state in (case.state, None):
        for rng_seed in (None, 5):
            if (rng_seed and "Dropout" not in repr(layer)) or (state is None and not learns_start(layer)):
                continue
            _, (grads, d_x, d_state, _) = run(case, state, rng_seed)
            rng = np.random.default_rng(4)
            direction = (
                rng.standard_normal(grads.flat.shape),
                () if d_x is None else rng.standard_normal(case.x.shape),
                () if state is None else zoo.random_like(case.state, 5),
            )
            direction = tree_map(lambda leaf, d=direction: leaf / np.sqrt(inner(d, d)), direction)
            exact = inner((grads.flat, () if d_x is None else d_x, () if state is None else d_state), direction)

            def loss(step: float, state: Any = state, rng_seed: int | None = rng_seed, d: Any = direction) -> float:
                moved = elman.Params(layer.shapes(), case.model.params.flat + step * d[0])
                x = case.x if isinstance(d[1], tuple) else case.x + step * d[1]
                start = None if state is None else tree_map(lambda s, v: s + step * v, state, d[2])
                return probe(case, moved, x, start, rng_seed)

            step = 1e-5
            measured = (loss(step) - loss(-step)) / (2 * step)
            assert abs(measured - exact) <= tolerances.GRADIENT * max(abs(measured), abs(exact), 1e-2), (
                f"gradient {exact!r}, measured {measured!r}"
            )


class Noisy:
    """A twin of the kernels that adds given noise to every state, by walking in single steps through another twin."""

    def __init__(self, twin: Any, noise: Any) -> None:
        self._twin, self._noise = twin, iter(noise)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    def rnn_forward(self, *args: Any, keep: bool) -> KernelForward:
        return self._walk(self._twin.rnn_forward, *args)

    def lstm_forward(self, *args: Any, keep: bool) -> KernelForward:
        return self._walk(self._twin.lstm_forward, *args)

    def gru_forward(self, *args: Any, keep: bool) -> KernelForward:
        return self._walk(self._twin.gru_forward, *args)

    def _walk(self, forward: Any, x: Any, state: Any, weights: Any, steps: Steps, *options: Any) -> KernelForward:
        noise = next(self._noise)
        T = len(x)
        y = np.empty((T, *state.h.shape))
        for t in reversed(range(T)) if steps.reverse else range(T):
            valid = np.ones((len(state.h), 1), bool) if steps.lengths is None else (steps.lengths > t)[:, None]
            one = Steps(valid[:, 0].astype(np.intp), steps.reverse, steps.hold)
            _, state, _ = forward(x[t : t + 1], state, weights, one, *options, keep=False)
            if isinstance(state, LSTMState):
                c = state.c + noise.c[t]
                h = np.where(valid, state.h / np.tanh(state.c) * np.tanh(c), state.h)
                state = LSTMState(h + noise.h[t], c)
            else:
                state = type(state)(state.h + noise.h[t])
            y[t] = np.where(valid | steps.hold, state.h, 0)
        return KernelForward(y, state, None)


def law_d_states(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """The gradient of every state on the way equals the central difference, with noise added to those states."""
    case = zoo.case(layer, dtype, lengths)
    twin = kernels.active()
    _, backward = run(case, rng_seed=5)
    paths = [d.swapaxes(0, 1) for _, d in tree_leaves(backward.d_states)]
    direction = [zoo.random_like(d, k) for k, d in enumerate(paths)]
    if not paths:
        return
    scale = np.sqrt(sum(np.sum(d * d) for d in direction))

    def loss(step: float) -> float:
        moved = iter([step / scale * d for d in direction])
        kinds = [type(node) for node in _state_nodes(backward.d_states)]
        noise = [kind(*(next(moved) for _ in kind._fields)) for kind in kinds]
        before, kernels._chosen = kernels._chosen, Noisy(twin, noise)
        try:
            return probe(case, case.model.params, case.x, case.state, 5)
        finally:
            kernels._chosen = before

    step = 1e-5
    measured = (loss(step) - loss(-step)) / (2 * step)
    exact = sum(np.sum(d * v) for d, v in zip(paths, direction, strict=True)) / scale
    assert abs(measured - exact) <= tolerances.GRADIENT * max(abs(measured), abs(exact), 1e-2), (
        f"d_states {exact!r}, measured {measured!r}"
    )


def _state_nodes(tree: Any) -> list[Any]:
    """Return the NamedTuples of a tree of states, in order."""
    return [tree] if hasattr(tree, "_fields") else [node for child in tree for node in _state_nodes(child)]


def law_accumulation(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Backward adds to grads: twice gives twice as much, and what was there stays."""
    case = zoo.case(layer, dtype, lengths)
    for state in (case.state, None):
        forward, once = run(case, state)
        grads = case.model.params.zeros_like()
        for _ in range(2):
            returned = case.model.backward(forward.tape, case.d_y, case.d_state, grads=grads).grads
            assert returned is grads
        assert_close(grads.flat, 2 * once.grads.flat)
        start = zoo.random_params(layer, dtype, seed=9)
        grads = case.model.backward(forward.tape, case.d_y, case.d_state, grads=start.copy()).grads
        assert_close(grads.flat - start.flat, once.grads.flat)


# ------------------------------------------------------------------------------------- time: streams and chunks


def law_streaming(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Step by step, with the state handed on, gives what one call gives; the row past its length stands still."""
    case = zoo.case(layer, dtype, lengths)
    whole = case.model(case.x, case.state, lengths=case.lengths)
    state, outputs = case.state, []
    for t in range(zoo.T):
        x, rest = cut(case, t, t + 1)
        y, state = case.model(x, state, lengths=rest)
        outputs.append(y)
    same_or_close((np.concatenate(outputs, axis=1), state), whole)


def law_chunking(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Chunks, also empty ones, with d_state handed back, give the outputs and the gradients of one call."""
    case = zoo.case(layer, dtype, lengths)
    for state in (case.state, None):
        forward, backward = run(case, state)
        for cuts in ((0, 2, 2, 5), (0, 1, 5), (0, 5, 5)):
            chunks, end = [], state
            for start, stop in pairwise(cuts):
                x, rest = cut(case, start, stop)
                chunk = case.model.forward(x, end, lengths=rest)
                end = chunk.state
                chunks.append((start, stop, chunk))
            same_or_close(np.concatenate([chunk.y for _, _, chunk in chunks], axis=1), forward.y)
            same_or_close(end, forward.state)
            grads, d_end, d_x = case.model.params.zeros_like(), case.d_state, []
            for start, stop, chunk in reversed(chunks):
                d = case.model.backward(chunk.tape, case.d_y[:, start:stop], d_end, grads=grads)
                d_end = d.d_state
                d_x.insert(0, d.d_x)
            assert_close(grads, backward.grads)
            assert_close(d_end, backward.d_state)
            if backward.d_x is not None:
                assert_close(np.concatenate(d_x, axis=1), backward.d_x)


# -------------------------------------------------------------------------------------------- rows and padding


def law_padding(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """What the padding of x and of d_y holds changes no bit; outputs and d_x are 0 there, or hold the last state."""
    case = zoo.case(layer, dtype, lengths if lengths is not None else (zoo.T - 1,) * zoo.B)
    padding = ~valid_steps(case)
    clean = run(case)
    bad_values = (-1, 10**9) if layer.takes_tokens else (np.nan, -np.inf)
    for bad in bad_values:
        x, d_y = case.x.copy(), case.d_y.copy()
        x[padding] = bad
        if not zoo.holds(layer):
            d_y[padding] = np.nan
        assert_same(results(*run(case._replace(x=x, d_y=d_y))), results(*clean))
        assert_same(case.model(x, case.state, lengths=case.lengths), clean[0][:2])
    y, d_x = clean[0].y, clean[1].d_x
    if not zoo.holds(layer):
        assert (y[padding] == 0).all()
    elif isinstance(layer, Recurrent):
        standing = clean[0].state.h if not layer.reverse else case.state.h
        for row, length in enumerate(case.lengths):
            assert (y[row, length:] == standing[row]).all()
    if d_x is not None:
        assert (d_x[padding] == 0).all()


def law_full_lengths(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Lengths that say "all of it" change no bit, and padding on the right changes nothing but its own outputs."""
    case = zoo.case(layer, dtype, None)
    plain = run(case)
    full = case._replace(lengths=[zoo.T] * zoo.B)
    assert_same(results(*run(full)), results(*plain))
    more = [np.concatenate([a, a[:, :2]], axis=1) for a in (case.x, case.d_y)]
    if zoo.holds(layer):  # there the standing state is an output, so its gradient would count
        more[1][:, zoo.T :] = 0
    forward, backward = run(full._replace(x=more[0], d_y=more[1]))
    assert_close((forward.y[:, : zoo.T], forward.state), plain[0][:2])
    assert_close((backward.grads, backward.d_state), (plain[1].grads, plain[1].d_state))
    if backward.d_x is not None:
        assert_close(backward.d_x[:, : zoo.T], plain[1].d_x)


def law_batch_order(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Rows in another order give the results in that order, and the same gradients."""
    case = zoo.case(layer, dtype, lengths)
    p = np.random.default_rng(6).permutation(zoo.B)
    moved = zoo.Case(
        case.model,
        case.x[p],
        tree_map(lambda s: s[p], case.state),
        None if lengths is None else np.array(lengths)[p],
        case.d_y[p],
        tree_map(lambda s: s[p], case.d_state),
    )
    forward, backward = run(case)
    forward_p, backward_p = run(moved)
    same_or_close(forward_p[:2], (forward.y[p], tree_map(lambda s: s[p], forward.state)))
    assert_close(backward_p.grads, backward.grads)
    d_x = None if backward.d_x is None else backward.d_x[p]
    same_or_close(
        backward_p[1:],
        (d_x, tree_map(lambda s: s[p], backward.d_state), tree_map(lambda s: s[p], backward.d_states)),
    )


def law_row_alone(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """A row of a batch gives what that row alone gives, and the gradients of the rows add up to the batch's."""
    case = zoo.case(layer, dtype, lengths)
    forward, backward = run(case)
    grads = case.model.params.zeros_like()
    for k in range(zoo.B):
        row = slice(k, k + 1)
        alone = case.model.forward(
            case.x[row],
            tree_map(lambda s, row=row: s[row], case.state),
            lengths=None if lengths is None else [lengths[k]],
        )
        same_or_close(alone[:2], (forward.y[row], tree_map(lambda s, row=row: s[row], forward.state)))
        d_state = tree_map(lambda s, row=row: s[row], case.d_state)
        d = case.model.backward(alone.tape, case.d_y[row], d_state, grads=grads)
        same_or_close(d.d_state, tree_map(lambda s, row=row: s[row], backward.d_state))
        if d.d_x is not None:
            same_or_close(d.d_x, backward.d_x[row])
    assert_close(grads, backward.grads)


def law_list(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """A list of sequences gives, as lists, what the padded batch with lengths gives."""
    case = zoo.case(layer, dtype, lengths)
    forward, backward = run(case)
    ends = lengths or (zoo.T,) * zoo.B
    y, state, tape = case.model.forward([row[:end] for row, end in zip(case.x, ends, strict=True)], case.state)
    assert isinstance(y, list)
    same_or_close(y, [row[:end] for row, end in zip(forward.y, ends, strict=True)])
    same_or_close(state, forward.state)
    d_y = case.d_y.copy()
    if not zoo.holds(layer):
        d = case.model.backward(tape, [row[:end] for row, end in zip(d_y, ends, strict=True)], case.d_state)
        assert_close(d.grads, backward.grads)
        same_or_close(d.d_state, backward.d_state)
        if d.d_x is not None:
            same_or_close(d.d_x, [row[:end] for row, end in zip(backward.d_x, ends, strict=True)])


def law_single(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """One sequence (T, F) gives what a batch of one gives, without the axis B."""
    case = zoo.case(layer, dtype, None if lengths is None else lengths[:1], B=1)
    forward, backward = run(case)
    y, state, tape = case.model.forward(
        case.x[0], case.state, lengths=None if case.lengths is None else case.lengths[0]
    )
    assert_same((y, state), (forward.y[0], forward.state))
    d = case.model.backward(tape, case.d_y[0], case.d_state)
    assert_same((d.grads, d.d_state), (backward.grads, backward.d_state))
    assert_same(d.d_states, tree_map(lambda s: s[0], backward.d_states))
    assert_same(d.d_x, None if backward.d_x is None else backward.d_x[0])
    assert_same(case.model(case.x[0], case.state, lengths=case.lengths).y, y)


def law_empty(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """T = 0, B = 0 and rows of length 0 are legal: the state stands still and its gradient goes straight through."""
    for B, T, ends in ((3, 0, None), (0, 5, None), (0, 0, []), (3, 0, [0, 0, 0]), (3, 4, [0, 0, 0])):
        case = zoo.case(layer, dtype, ends, B=B, T=T)
        d_y = np.zeros_like(case.d_y) if zoo.holds(layer) else case.d_y
        forward, backward = run(case._replace(d_y=d_y))
        assert forward.y.shape == case.d_y.shape
        assert forward.y.dtype == dtype
        assert_same(forward.state, case.state)
        assert_same(backward.d_state, case.d_state)
        for (_, ours), (_, theirs) in zip(tree_leaves(backward.d_state), tree_leaves(case.d_state), strict=True):
            assert not np.shares_memory(ours, theirs)
        if T == 0 or ends:
            assert not backward.grads.flat.any()
        if backward.d_x is not None:
            assert backward.d_x.shape == case.x.shape
            assert not backward.d_x.any()
        start = case.model(case.x, lengths=ends).state
        if not learns_start(layer):
            assert_same(start, case.model.zero_state(B))
        assert [leaf.shape for _, leaf in tree_leaves(start)] == [leaf.shape for _, leaf in tree_leaves(case.state)]
    case = zoo.case(layer, dtype)
    y, _, tape = case.model.forward([])
    assert y == []
    assert case.model.backward(tape, []).d_x in ([], None)


# ----------------------------------------------------------------------------------------------- purity and types


def law_purity(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Nothing that goes in is changed, nothing that comes out is shared with it, and two calls give the same bits."""
    case = zoo.case(layer, dtype, lengths)
    arrays = [case.x, case.d_y, case.model.params.flat]
    arrays += [leaf for tree in (case.state, case.d_state) for _, leaf in tree_leaves(tree)]
    before = copy.deepcopy((case.x, case.state, case.d_y, case.d_state, case.model.params.flat))
    global_state = repr(np.random.get_state())  # noqa: NPY002
    first = run(case)
    remembered = [leaf.copy() for leaf in _arrays(first[0].tape)]
    sealed = copy.deepcopy(results(*first))
    called = case.model(case.x, case.state, lengths=case.lengths)
    again = case.model.backward(first[0].tape, case.d_y, case.d_state)
    assert_same(results(first[0], again), sealed)
    assert_same(results(*run(case)), sealed)
    assert_same(results(*first), sealed)
    assert_same(remembered, _arrays(first[0].tape))
    assert_same((case.x, case.state, case.d_y, case.d_state, case.model.params.flat), before)
    assert repr(np.random.get_state()) == global_state  # noqa: NPY002
    if "Dropout" in repr(layer):
        assert_same(results(*run(case, rng_seed=5)), results(*run(case, rng_seed=5)))
        assert_same(results(*run(case)), sealed)
    for out in (called, first[1]):
        for path, leaf in tolerances.leaves(tuple(out)):
            for array in arrays:
                assert not np.shares_memory(leaf, array), f"{path} shares memory with an input"
    for y, state in (called, first[0][:2]):
        for path, leaf in tree_leaves(state):
            assert not np.shares_memory(y, leaf), f"state {path} shares memory with y"
    assert not first[0].y.flags.writeable  # the tape shares its memory
    assert called.y.flags.writeable


def _arrays(tree: Any) -> list[np.ndarray]:
    """Return all arrays inside a tape."""
    if isinstance(tree, np.ndarray):
        return [tree]
    return [array for child in tree for array in _arrays(child)] if isinstance(tree, tuple) else []


def law_read_only(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Inputs and parameters that cannot be written to are enough."""
    case = zoo.case(layer, dtype, lengths)
    expected = results(*run(case))
    case.model.params.flat.flags.writeable = False
    model = elman.Model(layer, elman.Params(layer.shapes(), case.model.params.flat))
    for array in [case.x, case.d_y, *(leaf for tree in case[2::3] for _, leaf in tree_leaves(tree))]:
        array.flags.writeable = False
    assert_same(results(*run(case._replace(model=model))), expected)
    assert_same(tuple(model(case.x, case.state, lengths=lengths)), expected[:2])


def law_input_may_be_used_again(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """What happens to the input after the forward pass does not matter to the backward pass."""
    case = zoo.case(layer, dtype, lengths)
    expected = results(*run(case))
    forward = case.model.forward(case.x, case.state, lengths=lengths)
    case.x[...] = 0
    assert_same(results(forward, case.model.backward(forward.tape, case.d_y, case.d_state)), expected)


def law_call_is_forward(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """A call, which remembers nothing, gives the bits of forward."""
    case = zoo.case(layer, dtype, lengths)
    for state in (case.state, None):
        called = case.model(case.x, state, lengths=lengths)
        assert_same(called, elman.layers.Output(*case.model.forward(case.x, state, lengths=lengths)[:2]))


def law_no_state_is_zeros(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Without a state a layer starts from zeros, or from its learned state."""
    case = zoo.case(layer, dtype, lengths)
    if not learns_start(layer):
        zeros = case.model.zero_state(zoo.B)
        assert_same(results(*run(case, None)), results(*run(case, zeros)))
    elif isinstance(layer, Recurrent):
        names = layer.state_type._fields
        start = layer.state_type(*(np.tile(case.model.params[f"initial_{name}"], (zoo.B, 1)) for name in names))
        forward, backward = run(case, None)
        assert_same(forward[:2], run(case, start)[0][:2])
        for name, d in zip(names, backward.d_state, strict=True):
            assert_close(backward.grads[f"initial_{name}"], d.sum(axis=0))


def law_types(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """All that comes out has the type of the model, and inputs of other real types are cast to it."""
    case = zoo.case(layer, dtype, lengths)
    for path, leaf in tolerances.leaves(results(*run(case))):
        assert leaf.dtype == dtype, f"{path} is {leaf.dtype}"
    if layer.takes_tokens:
        kinds = ["int8", "uint16", "int32", "uint64"]
    else:
        kinds = ["float16", "int8", "int64", "bool", "float64", "float32"]
    small = (case.x > 0).astype(dtype) if not layer.takes_tokens else case.x
    expected = results(*run(case._replace(x=small)))
    for kind in kinds:
        assert_same(results(*run(case._replace(x=small.astype(kind)))), expected)


def law_strides(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Views with any strides are as good as contiguous arrays, for x, state and d_y."""
    case = zoo.case(layer, dtype, lengths)
    expected = results(*run(case))
    for arrange in (
        np.asfortranarray,
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.broadcast_to(a[:, :, None], (*a.shape[:2], 3, *a.shape[2:]))[:, :, 1],
    ):
        moved = case._replace(
            x=arrange(case.x),
            d_y=arrange(case.d_y),
            state=tree_map(arrange, case.state),
            d_state=tree_map(arrange, case.d_state),
        )
        assert_close(results(*run(moved)), expected)
        assert_close(tuple(case.model(moved.x, moved.state, lengths=lengths)), expected[:2])


def law_float32(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """In float32 outputs and gradients are those of float64, rounded."""
    case = zoo.case(layer, "float32", lengths)
    double = case._replace(
        model=case.model.astype("float64"),
        x=case.x if layer.takes_tokens else case.x.astype("float64"),
        state=tree_map(lambda s: s.astype("float64"), case.state),
    )
    assert_close(results(*run(case)), results(*run(double)), tolerances.ROUNDED)


# ---------------------------------------------------------------------------------------------------- round trips


def law_file(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """A model that was saved and loaded is the same layer with the same bits."""
    case = zoo.case(layer, dtype, lengths)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.elman"
        case.model.save(path)
        loaded = elman.load(path)
        assert list(Path(folder).iterdir()) == [path]
        first = path.read_bytes()
        loaded.save(path)
        assert path.read_bytes() == first
    _assert_same_model(case, loaded)


def law_pickle(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """Pickled and deep-copied models are the same, with parameters of their own that are still views of one vector."""
    case = zoo.case(layer, dtype, lengths)
    for other in (pickle.loads(pickle.dumps(case.model)), copy.deepcopy(case.model), case.model.copy()):
        _assert_same_model(case, other)
        assert not np.shares_memory(other.params.flat, case.model.params.flat)
        other.params.flat[:] = np.arange(other.params.flat.size)
        assert (np.concatenate([np.empty(0), *(a.ravel() for a in other.params.values())]) == other.params.flat).all()
        if "0" in layer.children() and other.params.child("0").flat.size:
            assert np.shares_memory(other.params.child("0").flat, other.params.flat)
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert hash(copy.deepcopy(layer)) == hash(layer)


def _assert_same_model(case: zoo.Case, other: elman.Model) -> None:
    assert other.layer == case.model.layer
    assert repr(other.layer) == repr(case.model.layer)
    assert other.params.shapes == case.model.params.shapes
    assert other.params.dtype == case.model.params.dtype
    assert_same(other.params, case.model.params)
    assert_same(results(*run(case._replace(model=other))), results(*run(case)))


# ---------------------------------------------------------------------------------------------------------- twins


def law_twin(layer: elman.Layer, dtype: str, lengths: Any) -> None:
    """The active twin and the reference give the same outputs and gradients, and tapes of the same form."""
    case = zoo.case(layer, dtype, lengths)
    for reverse_tapes in (False, True):
        forward, backward = run(case)
        with elman.use_kernels("reference"):
            reference, reference_backward = run(case)
        if reverse_tapes:  # each twin reads the other's tape
            backward = case.model.backward(reference.tape, case.d_y, case.d_state)
        assert_close(results(forward, backward), results(reference, reference_backward))
        ours, theirs = _arrays(forward.tape), _arrays(reference.tape)
        assert [(a.shape, a.dtype) for a in ours] == [(a.shape, a.dtype) for a in theirs]


LAWS = {name.removeprefix("law_"): law for name, law in sorted(vars().items()) if name.startswith("law_")}
FLOAT64_ONLY = {"gradient", "d_states", "float32"}  # central differences, or a law of its own types
CAUSAL_ONLY = {"streaming", "chunking"}
ONE_LENGTH = {"empty", "full_lengths", "pickle", "file"}  # lengths are their own, or play no part
