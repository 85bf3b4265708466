"""Stability of training: cases that users of recurrent networks have stumbled over, with the right numbers."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import elman
from elman.optim import clip_by_global_norm, clip_by_value, clip_per_parameter
from tolerances import assert_close, assert_same

CLIPS = (clip_by_global_norm, clip_by_value, clip_per_parameter)


@pytest.mark.parametrize(
    ("value", "n", "max_norm", "norm", "each"),
    [(1e20, 100, 1.0, 1e21, 0.1), (1e19, 128, 2.0, 1.1313708e20, 0.1767767), (3e38, 100, 1.0, 3e39, 0.1)],
)
def test_d1_clipping_a_huge_gradient(value, n, max_norm, norm, each):
    g = np.full(n, value, np.float32)
    found = clip_by_global_norm({"weight": g}, max_norm)
    assert found.norm == pytest.approx(norm, rel=1e-6)
    assert found.clipped_norm == pytest.approx(max_norm)
    assert found.nonfinite == ()
    np.testing.assert_allclose(g, each, rtol=1e-5)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_d1_a_gradient_that_is_not_finite_is_left_alone_and_named(clip, bad, dtype):
    params = elman.LSTM(2, 3).init(dtype=dtype).params
    params.flat[:] = 100
    params["weight_hh"][4, 1] = bad
    before = params.copy()
    found = clip(params, 1.0)
    assert not np.isfinite(found.norm)
    assert found.nonfinite == ("weight_hh",)
    assert_same(params, before)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_d1_it_never_reaches_the_weights(policy):
    model = elman.Sequential(elman.RNN(2, 3), elman.Linear(3, 2)).init(seed=0)
    before = model.copy()

    def broken(y, targets, *, lengths):
        d_y = np.zeros_like(y)
        d_y[0, 1, 0] = np.nan
        return elman.losses.Loss(1.0, d_y)

    x = np.ones((1, 3, 2))
    training = elman.train(model, [(x, x)], loss=broken, clip_norm=1.0, on_nonfinite=policy)
    if policy == "raise":
        with pytest.raises(FloatingPointError, match="this step did not change the weights"):
            next(training)
    else:
        assert next(training).nonfinite
    assert_same(model.params, before.params)


@pytest.mark.parametrize("clip", CLIPS)
def test_d3_an_exhausted_generator_clips_nothing_and_says_so(clip):
    arrays = [np.full(2, 3.0), np.full(2, 4.0)]
    generator = (array for array in arrays)
    found = clip(generator, 1.0)
    assert found.norm == pytest.approx(np.sqrt(50))
    assert max(np.abs(array).max() for array in arrays) <= 1
    with pytest.raises(ValueError, match="nothing to clip: no gradients were given; an iterator can be used up"):
        clip(generator, 1.0)
    with pytest.raises(ValueError, match="nothing to clip"):
        clip({}, 1.0)


@pytest.mark.parametrize("clip", CLIPS)
def test_d3_one_array_is_clipped_too(clip):
    g = np.array([3.0, 4.0])
    assert clip(g, 1.0).norm == 5
    assert np.abs(g).max() <= 1


def test_d7_dropout_stands_between_layers_only():
    with pytest.warns(UserWarning, match=r"dropout=0\.5 has no effect on a single layer"):
        elman.stack(elman.LSTM, [2, 3], dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = elman.stack(elman.LSTM, [2, 3, 3, 3], dropout=0.5)
        elman.stack(elman.LSTM, [2, 3])
    kinds = [type(child).__name__ for child in layer.layers]
    assert kinds == ["LSTM", "Dropout", "LSTM", "Dropout", "LSTM"]


def test_d7_dropout_is_off_in_use():
    x = np.random.default_rng(0).standard_normal((2, 4, 2))
    model = elman.stack(elman.GRU, [2, 3, 3, 3], dropout=0.5).init(seed=1)
    y = model(x).y
    assert_same(model(x).y, y)
    without = elman.stack(elman.GRU, [2, 3, 3, 3]).init(seed=1)
    assert_same(without.params.flat, model.params.flat)
    assert_same(without(x).y, y)
    assert_same(model.forward(x).y, y)
    noisy = [model.forward(x, rng=np.random.default_rng(seed)).y for seed in (1, 1, 2)]
    assert_same(noisy[0], noisy[1])
    assert np.abs(noisy[0] - noisy[2]).max() > 0.01
    assert np.abs(noisy[0] - y).max() > 0.01


@pytest.mark.parametrize("locked", [False, True])
def test_d7_the_mean_of_many_noisy_passes_is_the_pass_without_noise(locked):
    model = elman.Sequential(elman.Dropout(0.5, locked=locked), elman.Linear(3, 2)).init(seed=0, dtype="float64")
    row = np.random.default_rng(0).standard_normal((2, 3))
    noisy = model.forward(np.repeat(row[None], 10_000, axis=0), rng=np.random.default_rng(1)).y
    assert_close(noisy.mean(axis=0), model(row).y, 0.05)
    assert noisy.std(axis=0).min() > 0.1


def test_d7_locked_dropout_drops_the_same_features_at_every_step():
    x = np.ones((4, 6, 8), np.float32)
    for locked in (False, True):
        y, _, tape = elman.Dropout(0.5, locked=locked).init().forward(x, rng=np.random.default_rng(0))
        assert set(np.unique(y)) == {0.0, 2.0}
        assert (y == y[:, :1]).all() == locked
        assert not (y == y[:1]).all()
        d_x = elman.Dropout(0.5, locked=locked).init().backward(tape, x).d_x
        assert_same(d_x, y.copy())


SCRIPT = """
import hashlib, sys
import numpy as np
np.random.seed(3)
before = repr(np.random.get_state())
import elman
rng = np.random.default_rng(7)
x = [rng.standard_normal((n, 3)) for n in (5, 2, 7, 4, 1, 6)]
y = [(row[:, 0] > 0).astype(int) for row in x]
batches = elman.sequences.Buckets(x, y, 2, seed=7, n_epochs=3)
model = elman.Sequential(elman.stack(elman.LSTM, [3, 8, 8], dropout=0.2), elman.Linear(8, 2)).init(seed=7)
for record in elman.train(model, batches, seed=7, clip_norm=1.0):
    pass
assert record.step == 9
assert repr(np.random.get_state()) == before, "the global generator was moved"
print(hashlib.sha256(model.params.flat.tobytes()).hexdigest())
"""


def test_d10_same_seed_same_result_in_fresh_processes():
    digests = set()
    for hash_seed, threads in (("0", "1"), ("1", "2"), ("random", "8")):
        environment = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_d10_another_seed_gives_another_result():
    assert (elman.LSTM(2, 3).init(seed=7).params.flat == elman.LSTM(2, 3).init(seed=7).params.flat).all()
    assert not (elman.LSTM(2, 3).init(seed=7).params.flat == elman.LSTM(2, 3).init(seed=8).params.flat).all()
