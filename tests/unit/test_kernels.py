"""The reference twin's parts, and how a twin is chosen."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import elman
import zoo
from elman import kernels
from elman.kernels import reference, spec
from elman.kernels.spec import GRUState, LSTMState, RNNState, Steps, Weights
from tolerances import assert_close, assert_same


def twins():
    for name in zoo.TWINS:
        with kernels.use_kernels(name):
            yield pytest.param(kernels.active(), id=name)


TWINS = list(twins())


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_offers_all_functions_with_the_same_arguments(twin):
    for name, function in inspect.getmembers(spec.Kernels, inspect.isfunction):
        if not name.startswith("_"):
            wanted = list(inspect.signature(function).parameters.values())[1:]
            offered = list(inspect.signature(getattr(twin, name)).parameters.values())
            assert [(p.name, p.kind) for p in offered] == [(p.name, p.kind) for p in wanted], name


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_project_gathers_for_ids_what_it_multiplies_for_one_hot(twin, dtype):
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 6)).astype(dtype), rng.standard_normal(4).astype(dtype)
    ids = rng.integers(0, 6, (3, 2))
    one_hot = np.eye(6, dtype=dtype)[ids]
    d_y = rng.standard_normal((3, 2, 4)).astype(dtype)
    for b in (bias, None):
        assert_close(twin.project(ids, weight, b), twin.project(one_hot, weight, b))
        assert_close(twin.project(one_hot, weight, b), one_hot @ weight.T + (0 if b is None else b))
        sums = [(np.ones_like(weight), None if b is None else np.ones_like(b)) for _ in range(2)]
        assert twin.project_backward(ids, weight, d_y, *sums[0]) is None
        assert_close(twin.project_backward(one_hot, weight, d_y, *sums[1]), d_y @ weight)
        assert_close(sums[0], sums[1])


@pytest.mark.parametrize("twin", TWINS)
def test_scatter_adds_every_row_of_a_repeated_id(twin):
    rng = np.random.default_rng(0)
    for shape in ((0,), (1,), (50,), (6, 7), (0, 3)):
        ids = rng.integers(0, 5, shape)
        rows = rng.standard_normal((ids.size, 3))
        table = rng.standard_normal((5, 3))
        expected = table.copy()
        np.add.at(expected, ids.ravel(), rows)
        twin.scatter_rows(ids, rows, table)
        assert_close(table, expected)


def run(twin, cell, steps, keep, B=2, T=4):
    rng = np.random.default_rng(1)
    G, kind = {"rnn": (1, RNNState), "lstm": (4, LSTMState), "gru": (3, GRUState)}[cell]
    weights = Weights(*(rng.standard_normal(s) for s in ((G * 3, 2), (G * 3, 3), (G * 3,), (G * 3,))))
    state = kind(*(rng.standard_normal((B, 3)) for _ in kind._fields))
    options = {"rnn": ("tanh",), "lstm": (), "gru": (True,)}[cell]
    forward = getattr(twin, f"{cell}_forward")
    return forward(rng.standard_normal((T, B, 2)), state, weights, steps, *options, keep=keep), state


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("reverse", [False, True])
def test_tapes_have_the_documented_form(twin, cell, reverse):
    (y, state, tape), start = run(twin, cell, Steps(reverse=reverse), keep=True)
    assert type(tape).__name__ == f"{cell.upper()}Tape"
    assert tape.x.shape == (4, 2, 2)
    assert tape.h.shape == (5, 2, 3)
    first, last = (4, 0) if reverse else (0, 4)
    assert (tape.h[first] == start.h).all()
    assert (tape.h[last] == state.h).all()
    assert (y == (tape.h[:-1] if reverse else tape.h[1:])).all()
    if cell == "lstm":
        assert (tape.c[first] == start.c).all()
        assert (tape.c[last] == state.c).all()
        assert tape.gates.shape == (4, 2, 12)
    if cell == "gru":
        assert tape.gates.shape == (4, 2, 9)
        assert tape.hidden_n.shape == (4, 2, 3)


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_nothing_is_kept_unless_asked_for(twin, cell):
    (y, state, tape), _ = run(twin, cell, Steps(), keep=False)
    assert tape is None
    (kept_y, kept_state, _), _ = run(twin, cell, Steps(), keep=True)
    assert (y == kept_y).all()
    assert all((a == b).all() for a, b in zip(state, kept_state, strict=True))


def test_steps_are_walked_in_order():
    assert list(reference.time_steps(3, False)) == [(0, 0, 1), (1, 1, 2), (2, 2, 3)]
    assert list(reference.time_steps(3, True)) == [(2, 3, 2), (1, 2, 1), (0, 1, 0)]
    for reverse in (False, True):
        assert list(reference.backward_steps(3, reverse)) == list(reference.time_steps(3, reverse))[::-1]


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_activations_and_their_derivatives(name, dtype):
    x = np.array([-40, -3, -0.5, 0.25, 2, 40], dtype)
    y = reference.ACTIVATIONS[name](x)
    exact = {"tanh": np.tanh, "relu": lambda v: v * (v > 0), "sigmoid": lambda v: 1 / (1 + np.exp(-v))}[name]
    np.testing.assert_allclose(y, exact(x.astype(float)), rtol=1e-6 if dtype == "float32" else 1e-14)
    slope = reference.DERIVATIVES[name](y)
    assert slope.dtype == y.dtype == dtype
    step = 1e-6
    measured = (exact(x.astype(float) + step) - exact(x.astype(float) - step)) / (2 * step)
    np.testing.assert_allclose(slope, measured, atol=1e-9 if dtype == "float64" else 1e-6)
    assert np.isnan(reference.ACTIVATIONS[name](np.array([np.nan], dtype))).all()


def test_choosing_a_twin_for_a_block():
    before = kernels.active()
    with elman.use_kernels("reference"):
        assert kernels.active() is reference
        with elman.use_kernels("auto"):
            assert kernels.active() is not None
        assert kernels.active() is reference
    assert kernels.active() is before
    with pytest.raises(RuntimeError, match="inside"), elman.use_kernels("reference"):
        raise RuntimeError("inside")
    assert kernels.active() is before


def test_a_twin_that_does_not_exist():
    with (
        pytest.raises(ValueError, match="kernels must be one of auto, reference, native, got 'fast'"),
        elman.use_kernels("fast"),
    ):
        pass


@pytest.mark.skipif("native" in zoo.TWINS, reason="the native twin is here")
def test_the_native_twin_that_is_not_here():
    before = kernels.active()
    with pytest.raises(ImportError, match="no native kernels"), elman.use_kernels("native"):
        pass
    assert kernels.active() is before


def fresh(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_choosing_a_twin_by_the_environment():
    code = "import elman; elman.RNN(1, 1).init()([[1.0]]); elman.show_config()"
    done = fresh(code, ELMAN_KERNELS="reference")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kernels   reference (asked for: reference)")
    assert f"numpy     {np.__version__}" in done.stdout
    done = fresh(code, ELMAN_KERNELS="fast")
    assert done.returncode == 1
    assert "kernels must be one of auto, reference, native, got 'fast'" in done.stderr


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("V", [1, 5, 37, 300])
def test_softmax_cross_entropy_is_its_formula_where_targets_count(twin, dtype, smoothing, V):
    rng = np.random.default_rng(V)
    y, targets = 3 * rng.standard_normal((4, 3, V)).astype(dtype), rng.integers(0, V, (4, 3))
    counts = rng.random((4, 3)) < 0.7
    y[~counts] = np.nan  # whatever it is
    targets[~counts] = -rng.integers(1, 5, (~counts).sum())
    losses, d_y = twin.softmax_cross_entropy(y, targets, smoothing, 0.25)
    assert losses.dtype == d_y.dtype == dtype
    wanted, d_wanted = np.zeros((4, 3)), np.zeros((4, 3, V))
    for place in zip(*np.nonzero(counts), strict=True):
        e = np.exp(y[place].astype("f8"))
        log_p = np.log(e / e.sum())
        target = np.full(V, smoothing / V)
        target[targets[place]] += 1 - smoothing
        wanted[place] = -target @ log_p
        d_wanted[place] = 0.25 * (np.exp(log_p) - target)
    assert_close(losses, wanted)
    assert_close(d_y, d_wanted)
    time_major = np.ascontiguousarray(y.swapaxes(0, 1)).swapaxes(0, 1)
    again = twin.softmax_cross_entropy(time_major, targets, smoothing, 0.25)
    assert_same(again, (losses, d_y))


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("n", [0, 1, 17, 40_000])
def test_adam_is_its_formula_in_place(twin, dtype, n):
    rng = np.random.default_rng(0)
    w, g, m, v = rng.standard_normal((4, n)).astype(dtype)
    v = np.abs(v)
    wide_m = 0.9 * m.astype("f8") + 0.1 * g
    wide_v = 0.99 * v.astype("f8") + 0.01 * g.astype("f8") ** 2
    wanted = w - 0.01 * wide_m / (1.5 * np.sqrt(wide_v) + 1e-8)
    before = g.copy()
    twin.adam(w, g, m, v, 0.01, 0.9, 0.99, 1.5, 1e-8)
    assert w.dtype == dtype
    assert_close(w, wanted)
    assert_close(m, wide_m)
    assert_close(v, wide_v)
    assert_same(g, before)


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (15,), (16,), (33, 7), (40, 1001)])
def test_a_sum_of_squares_is_summed_in_double(twin, dtype, shape):
    x = 1e25 * np.random.default_rng(0).standard_normal(shape).astype(dtype)  # its squares are too large for a float32
    wide = x.astype("f8")
    for part, exact in ((x, wide), (x.T, wide.T), (x[..., ::2], wide[..., ::2])):
        assert twin.sum_of_squares(part) == pytest.approx(np.sum(exact**2), rel=1e-13)
    for odd in (np.inf, np.nan):
        assert not np.isfinite(twin.sum_of_squares(np.append(x, np.array(odd, dtype))))
