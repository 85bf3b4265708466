"""CTC in both twins: losses and gradients agree, beams are the same bits; threads and batches change nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import elman
from elman.ctc import PrefixBeam, Scorer, beam_search, ctc_loss, log_softmax
from tolerances import assert_same

pytest.importorskip("elman._native", reason="the native kernels are not built")


def draw(seed: int, dtype: str = "float64"):
    rng = np.random.default_rng(seed)
    B, T, V = int(rng.integers(1, 6)), int(rng.integers(1, 50)), int(rng.integers(2, 12))
    blank = int(rng.integers(V))
    y = (rng.normal(size=(B, T, V)) * rng.choice([1, 5, 300])).astype(dtype)
    lengths = rng.integers(0, T + 1, B)
    labels = np.delete(np.arange(V), blank)
    targets = [rng.choice(labels, rng.integers(0, T // 2 + 1)) for _ in range(B)]
    for row, length in zip(y, lengths, strict=True):
        row[length:] = np.nan
    return y, targets, {"lengths": lengths, "blank": blank, "impossible": "skip", "from_logits": bool(seed % 2)}


@pytest.mark.filterwarnings("ignore:ctc_loss. no sample counts")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(60))
def test_losses_and_gradients_agree(seed, dtype):
    y, targets, options = draw(seed, dtype)
    found = {}
    for twin in ("native", "reference"):
        with elman.use_kernels(twin):
            found[twin] = ctc_loss(y, targets, **options)
    ours, theirs = found["native"], found["reference"]
    assert ours.skipped == theirs.skipped
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-11, atol=1e-11)
    assert ours.d_y.dtype == y.dtype
    np.testing.assert_allclose(ours.d_y, theirs.d_y, rtol=0, atol=1e-10 if dtype == "float64" else 1e-6)


def test_gradient_of_the_native_twin():
    rng = np.random.default_rng(3)
    y, direction = rng.normal(size=(2, 4, 14, 6))
    options = {"targets": [[1, 1, 3, 5], [4, 0], [3], []], "lengths": [14, 5, 2, 0], "blank": 2}
    with elman.use_kernels("native"):
        up, down = (ctc_loss(y + s * direction, **options).value for s in (1e-5, -1e-5))
        found = float((ctc_loss(y, **options).d_y * direction).sum())
    assert found == pytest.approx((up - down) / 2e-5, rel=1e-7)


def test_sharp_and_long_sequences():
    """Paths of 10^-4000 of the best one count where they are the only ones left."""
    y = np.full((1, 3000, 4), -50.0)
    y[..., 1] = 0
    target = [[1, 2, 3] * 60]
    losses = []
    for twin in ("native", "reference"):
        with elman.use_kernels(twin):
            losses.append(ctc_loss(y, target).value)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert 1000 < losses[0] < np.inf


@pytest.mark.filterwarnings("ignore:ctc_loss. no sample counts")
@pytest.mark.parametrize("v", [-1e9, -1e11, -1e12, -1e15, -1e18, -1e19, -1e25, -1e30, float(np.finfo(np.float32).min)])
def test_what_is_next_to_impossible(v):
    """Masks of very small logits: the loss is what it is, or, from -7e11 down, that of a probability of 0."""
    y = np.zeros((1, 5, 4))
    y[0, 1, :2] = v
    y[0, 1, 2:] = v
    y[0, 1, 3] = 0
    for twin in ("native", "reference"):
        with elman.use_kernels(twin):
            found = ctc_loss(y, [[1, 2]], impossible="skip")
        assert found.skipped == int(v < -7e11), twin
        if not found.skipped:
            assert found.value == pytest.approx(-v, rel=1e-6), twin


def test_nan_goes_on_to_its_own_row():
    y = np.random.default_rng(0).normal(size=(2, 4, 3))
    y[1, 2, 1] = np.nan
    with elman.use_kernels("native"):
        found = ctc_loss(y, [[1], [1]])
    assert np.isfinite(found.losses[0])
    assert np.isnan(found.losses[1])


def test_neither_batch_nor_threads_change_a_bit():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(8, 120, 20)).astype(np.float32)
    targets = [rng.integers(1, 20, 30) for _ in range(8)]
    before = elman.get_num_threads()
    with elman.use_kernels("native"):
        whole = []
        for n in (1, 2, 3):
            elman.set_num_threads(n)
            whole.append(ctc_loss(y, targets))
        elman.set_num_threads(before)
        for other in whole[1:]:
            assert_same(other.losses, whole[0].losses)
            assert_same(other.d_y, whole[0].d_y)
        for k in range(8):
            alone = ctc_loss(y[k : k + 1], [targets[k]])
            assert_same(alone.losses, whole[0].losses[k : k + 1])
            assert_same(alone.d_y[0] * np.float32(1 / 8), whole[0].d_y[k])


class Favour(Scorer):
    """States are how many labels came; the scores depend on both."""

    def row(self, state):
        return np.full(6, state + 1), np.sin(np.arange(6.0) + state)

    def final(self, state):
        return 0.1 * state


@pytest.mark.parametrize("scorer", [None, Favour()])
@pytest.mark.parametrize("width", [1, 7, 50])
def test_beams_are_the_same_bits(width, scorer):
    rng = np.random.default_rng(width)
    for _ in range(5):
        y = 2 * rng.normal(size=(1, 50, 6))
        found = []
        for twin in ("native", "reference"):
            with elman.use_kernels(twin):
                found.append(beam_search(y, width=width, n_best=width, scorer=scorer)[0])
        for one, other in zip(*found, strict=True):
            assert one.labels.tolist() == other.labels.tolist()
            assert one.score == other.score
            assert one.log_p == other.log_p


def test_ties_go_the_same_way():
    found = []
    for twin in ("native", "reference"):
        with elman.use_kernels(twin):
            found.append([h.labels.tolist() for h in beam_search(np.zeros((1, 4, 4)), width=6, n_best=6)[0]])
    assert found[0] == found[1]
    assert found[0][0] == [1, 2]  # the lower labels come first


def test_searches_run_side_by_side():
    """The search lets go of Python's lock, and searches share nothing."""
    log_p = log_softmax(2 * np.random.default_rng(0).normal(size=(300, 20)))
    results = [None] * 4

    def search(k):
        beam = PrefixBeam(20, width=20)
        beam.push(log_p)
        results[k] = beam.best()[0].score

    with elman.use_kernels("native"):
        threads = [threading.Thread(target=search, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(results)) == 1


def test_the_door_refuses_what_would_read_out_of_bounds():
    from elman import _native

    y, d_y, losses = np.zeros((4, 2, 3)), np.zeros((4, 2, 3)), np.zeros(2)
    good = {"lengths": [4, 2], "targets": [1, 2, 1], "starts": [0, 2, 3], "blank": 0}

    def call(**changes):
        given = {
            name: value if name == "blank" else np.array(value, np.int64) for name, value in {**good, **changes}.items()
        }
        _native.ctc(y, *given.values(), True, losses, d_y)

    call()
    for changes in (
        {"lengths": [4, 5]},
        {"lengths": [-1, 2]},
        {"lengths": [4]},
        {"targets": [1, 3, 1]},
        {"targets": [1, -1, 1]},
        {"starts": [0, 4, 3]},
        {"starts": [0, 2, 4]},
        {"starts": [0, 2]},
        {"blank": 3},
    ):
        with pytest.raises(ValueError, match="native kernels: ctc: "):
            call(**changes)
    beam = _native.Beam(3, 5, 0, 0)
    with pytest.raises(ValueError, match="as many labels as the beam"):
        beam.advance(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="a row of the transitions is missing"):
        beam.advance_scored(np.zeros((2, 3)), np.array([7]), np.zeros((1, 3), np.int64), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="there is no such prefix"):
        beam.labels(9)
