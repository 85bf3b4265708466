"""CTC: the loss is the sum over all paths, the gradient is its gradient, and the searches find what they should."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import elman
from elman.ctc import (
    CTC,
    PrefixBeam,
    Scorer,
    align,
    beam_search,
    collapse,
    ctc_loss,
    frames_needed,
    greedy,
    log_softmax,
    runs,
)
from elman.ctc import reference as kernel
from tolerances import GRADIENT, exactly

RNG = np.random.default_rng


def sums(log_p: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """Return the log probability of every label sequence, from all paths one by one."""
    T, V = log_p.shape
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(V), repeat=T):
        read = tuple(k for k, _ in itertools.groupby(path) if k != blank)
        score = sum(log_p[t, k] for t, k in enumerate(path))
        total[read] = np.logaddexp(total.get(read, -np.inf), score)
    return total


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_the_loss_is_the_sum_over_all_paths(blank):
    y = 2 * RNG(blank).normal(size=(6, 3))
    for read, log_p in sums(log_softmax(y), blank).items():
        assert ctc_loss(y[None], [list(read)], blank=blank).value == pytest.approx(-log_p, rel=1e-12)
        assert frames_needed(read) <= 6


def central_difference(y, targets, lengths, direction, **options) -> float:
    step = 1e-5
    up, down = (ctc_loss(y + s * direction, targets, lengths=lengths, **options).value for s in (step, -step))
    return (up - down) / (2 * step)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("average", ["sample", "label"])
def test_gradient(from_logits, average):
    rng = RNG(3)
    y = rng.normal(size=(5, 12, 6))
    lengths = [12, 5, 1, 7, 0]
    targets = [[1, 1, 3, 5], [4, 0], [3], [], []]
    options = {"blank": 2, "from_logits": from_logits, "average": average}
    found = ctc_loss(y, targets, lengths=lengths, **options).d_y
    for _ in range(5):
        direction = rng.normal(size=y.shape)
        expected = central_difference(y, targets, lengths, direction, **options)
        assert float((found * direction).sum()) == pytest.approx(expected, rel=GRADIENT)


@pytest.mark.parametrize("fault", ["d_y *= 1.001", "jump[:] = False", "d_y[-1] = 0"])
def test_the_check_of_the_gradient_is_seen_to_fail(fault, monkeypatch):
    """A wrong gradient and a wrong sum are found by the two tests above."""
    rng = RNG(3)
    y = rng.normal(size=(1, 8, 4))
    direction = rng.normal(size=y.shape)
    right = kernel.ctc

    def wrong(*args):
        losses, d_y = right(*args)
        d_y, jump = d_y.copy(), np.ones(1)
        exec(fault)
        if not jump[0]:
            losses = losses + 0.01
        return kernel.Alignment(losses, d_y)

    monkeypatch.setattr("elman.ctc.reference.ctc", wrong)
    with elman.use_kernels("reference"):
        expected = central_difference(y, [[1, 2]], None, direction)
        found = float((ctc_loss(y, [[1, 2]]).d_y * direction).sum())
        summed = -sums(log_softmax(y[0]), 0)[1, 2]
        wrong_gradient = found != pytest.approx(expected, rel=GRADIENT)
        wrong_sum = ctc_loss(y, [[1, 2]]).value != pytest.approx(summed, rel=1e-12)
    assert wrong_gradient or wrong_sum


def test_each_row_stands_alone_and_padding_changes_nothing():
    rng = RNG(4)
    lengths, targets = [9, 4, 6], [[1, 2, 2], [3], [1, 2, 3, 1]]
    y = rng.normal(size=(3, 9, 4))
    y[1, 4:], y[2, 6:] = np.nan, np.inf
    whole = ctc_loss(y, targets, lengths=lengths)
    for k, length in enumerate(lengths):
        alone = ctc_loss(y[k : k + 1, :length], [targets[k]])
        assert whole.losses[k] == pytest.approx(alone.losses[0], rel=1e-14)
        np.testing.assert_allclose(3 * whole.d_y[k, :length], alone.d_y[0], rtol=0, atol=1e-14)
        assert not whole.d_y[k, length:].any()
    listed = ctc_loss([row[:n] for row, n in zip(y, lengths, strict=True)], targets)
    assert listed.value == whole.value
    assert [len(d) for d in listed.d_y] == lengths


def test_long_and_sharp_sequences_neither_overflow_nor_vanish():
    y = np.zeros((1, 3000, 4), np.float32)
    y[..., 1] = 90
    with np.errstate(all="raise", under="ignore"):
        found = ctc_loss(y, [[1, 2, 3] * 100])
    assert math.isfinite(found.value)
    assert np.isfinite(found.d_y).all()
    assert found.d_y.dtype == np.float32


def test_probability_zero_is_infinite_and_can_be_skipped():
    log_p = np.log(np.array([[[0.5, 0.5, 1e-300]]]))
    log_p[..., 2] = -np.inf
    assert ctc_loss(log_p, [[2]], from_logits=False).value == math.inf
    with pytest.warns(UserWarning, match="no sample counts"):
        assert ctc_loss(log_p, [[2]], from_logits=False, impossible="skip").skipped == 1


def test_nan_goes_on_to_whom_it_concerns():
    y = RNG(0).normal(size=(2, 4, 3))
    y[1, 2, 1] = np.nan
    found = ctc_loss(y, [[1], [1]])
    assert math.isfinite(found.losses[0])
    assert math.isnan(found.losses[1])
    assert math.isnan(found.value)


def test_training_takes_it_as_a_loss():
    model = elman.Sequential(elman.LSTM(2, 8), elman.Linear(8, 3)).init(seed=0)
    rng = RNG(0)
    x = rng.normal(size=(4, 10, 2))
    batches = [elman.Batch(x, [[1], [2, 1], [], [1, 1]], [10, 8, 3, 9])] * 100
    losses = [r.loss for r in elman.train(model, batches, loss=CTC(), optimizer=elman.optim.Adam(0.05), clip_norm=1.0)]
    assert losses[-1] < 0.1 * losses[0]
    read = greedy(model(x, lengths=[10, 8, 3, 9]).y, lengths=[10, 8, 3, 9])
    assert [r.tolist() for r in read] == [[1], [2, 1], [], [1, 1]]


@pytest.mark.parametrize(
    ("targets", "options", "error", "sentence"),
    [
        ([[1]], {}, ValueError, "ctc_loss: targets must be 2 sequences of labels, one a row of y, got 1"),
        ([[1], [0]], {}, ValueError, "ctc_loss: the target of sample 1 has 0 at place 0, which is the blank"),
        ([[1, 3], []], {}, ValueError, "ctc_loss: the target of sample 0 has 3 at place 1, but the labels are 0 to 2"),
        ([[1.5], []], {}, TypeError, "ctc_loss: the target of sample 0 must be (S,) integers, got (1,) of float64"),
        ([[1], []], {"blank": 3}, ValueError, "ctc_loss: blank must be one of the 3 labels, 0 to 2, got 3"),
        ([[1], []], {"impossible": "no"}, ValueError, "ctc_loss: impossible must be one of 'error', 'skip', got 'no'"),
    ],
)
def test_errors(targets, options, error, sentence):
    with pytest.raises(error, match=exactly(sentence)):
        ctc_loss(np.zeros((2, 4, 3)), targets, **options)


# ------------------------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_is_the_exhaustive_search(seed):
    rng = RNG(seed)
    T, V = int(rng.integers(1, 6)), int(rng.integers(2, 4))
    blank, y = int(rng.integers(V)), 2 * rng.normal(size=(T, V))
    expected = sorted(sums(log_softmax(y), blank).items(), key=lambda item: -item[1])
    found = beam_search(y[None], width=V**T + 1, blank=blank, n_best=V**T)[0]
    assert [tuple(h.labels.tolist()) for h in found] == [read for read, _ in expected]
    np.testing.assert_allclose([h.score for h in found], [p for _, p in expected], rtol=1e-10)


def test_a_beam_is_sorted_unique_and_deterministic():
    y = RNG(1).normal(size=(1, 40, 6))
    found = beam_search(y, width=20, n_best=20)[0]
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert len({tuple(h.labels.tolist()) for h in found}) == 20
    again = beam_search(y, width=20, n_best=20)[0]
    assert all(np.array_equal(a.labels, b.labels) and a.score == b.score for a, b in zip(found, again, strict=True))


def test_a_wider_beam_is_never_worse_than_greedy_on_its_own_terms():
    for seed in range(5):
        y = 2 * RNG(seed).normal(size=(1, 30, 5))
        best = beam_search(y, width=30)[0][0]
        read = greedy(y)[0]
        of = [-ctc_loss(y, [labels]).value for labels in (best.labels, read)]
        assert of[0] >= of[1] - 1e-9
        assert best.log_p <= of[0] + 1e-9  # the search sums some of the paths, never more than all


def test_a_beam_takes_frames_as_they_come():
    log_p = log_softmax(RNG(2).normal(size=(30, 5)))
    whole = PrefixBeam(5, width=10)
    whole.push(log_p)
    parts = PrefixBeam(5, width=10)
    for k in range(0, 30, 7):
        parts.push(log_p[k : k + 7])
        shared = parts.shared()
        assert all(h.labels.tolist()[: len(shared)] == shared for h in parts.best(10))
    for a, b in zip(whole.best(10), parts.best(10), strict=True):
        assert np.array_equal(a.labels, b.labels)
        assert a.score == b.score
        assert np.array_equal(a.frames, b.frames)


class Favour(Scorer):
    """Adds 3 nats for the label 2, and counts labels in its state; two at the most."""

    def row(self, state):
        following = np.full(3, state + 1)
        scores = np.array([0.0, 0.0, 3.0])
        if state >= 2:
            scores[:] = -np.inf
        return following, scores

    def final(self, state):
        return 0.5 * state


def test_a_scorer_changes_the_ranking_exactly():
    y = RNG(5).normal(size=(5, 3))
    expected = {}
    for read, log_p in sums(log_softmax(y), 0).items():
        if len(read) <= 2:
            expected[read] = log_p + 3 * read.count(2) + 0.5 * len(read)
    found = beam_search(y[None], width=3**5, n_best=3**5, scorer=Favour())[0]
    assert {tuple(h.labels.tolist()): pytest.approx(h.score, rel=1e-10) for h in found} == expected
    assert found[0].score == pytest.approx(max(expected.values()))


def test_alignment_is_the_likeliest_path():
    log_p = log_softmax(2 * RNG(6).normal(size=(6, 3)))
    for target in ([1], [1, 2], [2, 2], [1, 2, 1], []):
        best, spans = -np.inf, []
        for path in itertools.product(range(3), repeat=6):
            score = sum(log_p[t, k] for t, k in enumerate(path))
            if collapse(path).tolist() == target and score > best:
                best, t, spans = score, 0, []
                for k, group in itertools.groupby(path):
                    n = len(list(group))
                    spans += [[t, t + n - 1]] if k else []
                    t += n
        assert align(log_p, target, from_logits=False).tolist() == spans
    with pytest.raises(ValueError, match=r"needs at least 3 frames"):
        align(log_p[:2], [1, 1], from_logits=False)


def test_runs_of_a_path():
    assert runs([0, 1, 1, 0, 2, 2, 1]).tolist() == [[1, 2], [4, 5], [6, 6]]
    assert runs([1, 1, 0, 1], blank=1).tolist() == [[2, 2]]
    assert runs([]).shape == (0, 2)
    assert runs([0, 0]).shape == (0, 2)
    assert runs([3]).tolist() == [[0, 0]]


def test_no_frames_read_as_nothing():
    empty = np.zeros((1, 0, 3))
    assert greedy(empty)[0].tolist() == []
    (best,) = beam_search(empty)[0]
    assert (best.labels.tolist(), best.score) == ([], 0.0)
    assert ctc_loss(empty, [[]]).value == 0


def test_a_beam_refuses_what_is_no_log_probability():
    with pytest.raises(ValueError, match="did the model diverge"):
        PrefixBeam(3).push([[0.0, np.nan, 0.0]])
    with pytest.raises(ValueError, match=exactly("PrefixBeam: log_p must be (T, 3), got (1, 4)")):
        PrefixBeam(3).push(np.zeros((1, 4)))


@pytest.mark.parametrize("fault", ["state", "nan", "inf"])
def test_a_scorer_whose_row_is_damaged_is_refused(fault):
    class Damaged(Favour):
        def row(self, state):
            following, scores = np.zeros(3, np.int64), np.zeros(3)
            if fault == "state":
                following[1] = -1
            else:
                scores[1] = float(fault)
            return following, scores

    with pytest.raises(ValueError, match=r"^beam search: the scorer's row of state 0 must hold states from 0 and "):
        beam_search(np.full((1, 4, 3), -1.0), width=4, scorer=Damaged())
