"""Cases E: what users of CTC and of error rates have stumbled over, and the right answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from elman import ctc
from elman.ctc import CTC, beam_search, ctc_loss, greedy
from tolerances import PRINTED, exactly

MATRIX = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.25, 0.25, 0.5]]))


def uniform(T: int) -> np.ndarray:
    return np.full((1, T, 3), np.log(1 / 3))


def loss_of(log_p, target, **options):
    return ctc_loss(log_p, [target], from_logits=False, **options).losses[0]


@pytest.mark.parametrize(
    ("T", "target", "expected"),
    [
        (2, [1], math.log(3)),
        (2, [1, 2], 2.197225),
        (3, [1, 1], 3.295837),
        (3, [1, 2, 1], 3.295837),
        (4, [1, 1], 2.785011),
    ],
)
def test_e1_what_can_be_aligned(T, target, expected):
    assert loss_of(uniform(T), target) == pytest.approx(expected, abs=PRINTED)


def test_e1_what_cannot_be_aligned_is_named():
    assert math.isinf(_skipped(uniform(2), [1, 1]))
    sentence = "sample 1: CTC needs at least 3 frames for its 2 labels (1 adjacent repeat), has 2"
    with pytest.raises(ValueError, match=exactly(sentence)):
        ctc_loss(np.concatenate([uniform(2)] * 2), [[1], [1, 1]], from_logits=False)
    with pytest.raises(ValueError, match=exactly("sample 0: CTC needs at least 1 frame for its 1 label, has 0")):
        ctc_loss(uniform(2), [[1]], lengths=[0])


def _skipped(log_p, target):
    with pytest.warns(UserWarning, match="no sample counts"):
        return loss_of(log_p, target, impossible="skip")


@pytest.mark.parametrize(
    ("target", "expected"),
    [([1], 1.820159), ([1, 2], 1.180908), ([2, 2], 3.015935), ([1, 1], 2.864704), ([], 5.298317)],
)
def test_e2_a_real_matrix(target, expected):
    assert loss_of(MATRIX[None], target) == pytest.approx(expected, abs=PRINTED)
    shifted = np.roll(MATRIX, -1, axis=1)  # labels 1, 2 are 0, 1 now, and the blank is 2
    moved = ctc_loss(shifted[None], [[k - 1 for k in target]], from_logits=False, blank=2).value
    assert moved == pytest.approx(expected, abs=PRINTED)


def test_e4_the_gradient_is_the_gradient():
    of_log_p = ctc_loss(uniform(2), [[1]], from_logits=False).d_y[0]
    np.testing.assert_allclose(of_log_p, [[-1 / 3, -2 / 3, 0]] * 2, rtol=0, atol=1e-12)
    of_logits = ctc_loss(np.zeros((1, 2, 3)), [[1]]).d_y[0]
    np.testing.assert_allclose(of_logits, [[0, -1 / 3, 1 / 3]] * 2, rtol=0, atol=1e-12)


def test_e5_one_bad_sample_does_not_kill_the_batch():
    y = np.random.default_rng(0).normal(size=(3, 2, 3))
    found = ctc_loss(y, [[1], [1, 1], [2, 1]], impossible="skip")
    assert found.skipped == 1
    assert math.isinf(found.losses[1])
    assert found.value == pytest.approx(found.losses[[0, 2]].mean(), rel=1e-15)
    assert not found.d_y[1].any()
    for k, target in ((0, [1]), (2, [2, 1])):
        alone = ctc_loss(y[k : k + 1], [target])
        np.testing.assert_allclose(2 * found.d_y[k], alone.d_y[0], rtol=1e-14)
    with pytest.warns(UserWarning, match=exactly("CTC: left out 1 of 3 samples: too few frames")):
        value, _ = CTC(impossible="skip")(y, [[1], [1, 1], [2, 1]])
    assert value == found.value


def test_e5_what_mean_divides_by():
    y = np.random.default_rng(0).normal(size=(2, 5, 3))
    targets = [[1, 2, 1], []]
    losses = ctc_loss(y, targets).losses
    assert ctc_loss(y, targets).value == pytest.approx(losses.mean())
    assert ctc_loss(y, targets, average="label").value == pytest.approx((losses[0] / 3 + losses[1]) / 2)


def test_e8_doubled_letters():
    frames = np.full((1, 5, 2), -20.0)
    frames[0, [0, 1, 3, 4], 1] = 0
    frames[0, 2, 0] = 0
    assert greedy(frames)[0].tolist() == [1, 1]
    (best,) = beam_search(frames, width=8)[0]
    assert best.labels.tolist() == [1, 1]
    assert best.frames.tolist() == [[0, 1], [3, 4]]
    assert ctc.collapse([1, 1, 0, 1, 1]).tolist() == [1, 1]


def test_e10_empty_references():
    pytest.importorskip("jiwer")
    from elman.tasks.speech.metrics import word_errors

    assert word_errors([""], [""]).rate == 0
    nothing_said = word_errors([""], ["a b"])
    assert (nothing_said.insertions, nothing_said.rate) == (2, 2.0)  # over 1, not over 0
    assert word_errors(["a b"], [""]).rate == 1.0
    corpus = word_errors(["", "a b c d"], ["x", "a b c"])
    assert (corpus.insertions, corpus.deletions, corpus.length, corpus.rate) == (1, 1, 4, 0.5)
