"""Features: streaming and offline give the same frames; slopes, normalisation, stacking and variations."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import RATE, say

from elman.tasks.speech.augment import Augment, stretch, warp_matrix
from elman.tasks.speech.features import (
    FrameStream,
    RunningNormal,
    StackStream,
    deltas,
    moments,
    normalise,
    stack_frames,
)
from elman.tasks.speech.front import FrontEnd, StepStream
from tolerances import assert_same

SPEECH = say("LOW HIGH MID LOW", np.random.default_rng(0))
CUTS = [[], [1], [17, 18, 500], list(range(80, len(SPEECH), 80)), [len(SPEECH) - 3]]


def pieces(x, cuts):
    return np.split(x, cuts)


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("cuts", CUTS, ids=len)
def test_streamed_frames_are_the_frames_of_the_whole(kind, cuts):
    whole = FrameStream(kind, RATE, 13).push(SPEECH)
    stream = FrameStream(kind, RATE, 13)
    assert_same(np.concatenate([stream.push(piece) for piece in pieces(SPEECH, cuts)]), whole)
    assert len(whole) == (len(SPEECH) - RATE // 40) // (RATE // 100) + 1


def test_log_mel_frames_are_what_their_definition_says():
    """One frame by hand: window, power spectrum, triangles on the mel scale, logarithm."""
    x = SPEECH[1000:1200].astype(np.float64) * 32768
    x -= x.mean()
    x[1:], x[0] = x[1:] - 0.97 * x[:-1], x[0] - 0.97 * x[0]
    x *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 199)) ** 0.85  # Kaldi's window
    power = np.abs(np.fft.rfft(x, 256)) ** 2
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(RATE / 2), 22)
    at = mel(np.arange(129) * RATE / 256)
    bands = [
        np.clip(np.minimum((at - a) / (b - a), (c - at) / (c - b)), 0, None)
        for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    expected = np.log(np.array([power[:128] @ band[:128] for band in bands]))
    found = FrameStream("logmel", RATE, 20).push(SPEECH[1000:1200])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


def test_slopes():
    t = np.arange(20.0)
    x = np.stack([3 * t, t * t], axis=1)
    found = deltas(x, 2)
    assert found.shape == (20, 6)
    np.testing.assert_allclose(found[4:-4, 2], 3)
    np.testing.assert_allclose(found[4:-4, 3], 2 * t[4:-4])
    np.testing.assert_allclose(found[4:-4, 5], 2)
    assert_same(deltas(x, 0), x)
    assert deltas(x[:1]).shape == (1, 6)
    assert deltas(x[:0]).shape[0] == 0


def test_normalisation():
    x = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    found = normalise(x)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-5)
    assert found.dtype == np.float32
    assert np.isfinite(normalise(np.full((5, 4), 7, np.float32))).all()  # silence has no deviation
    both = moments([x[:20], x[20:]])
    np.testing.assert_allclose(normalise(x, *both), found, atol=1e-5)


@pytest.mark.parametrize("cuts", [[], [1, 2], [30], list(range(50))], ids=len)
def test_running_normalisation_is_bitwise_the_same_however_it_is_cut(cuts):
    x = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    start = (np.full(4, 2.0), np.full(4, 4.0))
    whole = RunningNormal(*start).push(x)
    stream = RunningNormal(*start)
    assert_same(np.concatenate([stream.push(piece) for piece in pieces(x, cuts)]), whole)
    by_hand = (100 * 2.0 + x[:11, 0].astype(np.float64).sum()) / 111
    square = (100 * (16.0 + 4.0) + (x[:11, 0].astype(np.float64) ** 2).sum()) / 111
    assert whole[10, 0] == pytest.approx((x[10, 0] - by_hand) / np.sqrt(square - by_hand**2), rel=1e-6)


@pytest.mark.parametrize(("width", "stride"), [(1, 1), (3, 3), (3, 2), (2, 3), (5, 1)])
@pytest.mark.parametrize("T", [0, 1, 2, 7, 12])
def test_stacked_streams(width, stride, T):
    x = np.arange(2 * T, dtype=np.float32).reshape(T, 2)
    whole = stack_frames(x, width, stride)
    assert len(whole) == -(-T // stride)
    for cut in range(T + 1):
        stream = StackStream(width, stride)
        parts = [stream.push(x[:cut]), stream.push(x[cut:])]
        rest = stream.end()
        joined = np.concatenate([*parts, *([] if rest is None else [rest])])
        assert np.array_equal(joined, whole.reshape(-1, 2 * width))


@pytest.mark.parametrize("cuts", CUTS, ids=len)
def test_a_stream_of_steps_is_the_steps_of_the_whole(cuts):
    front = FrontEnd(rate_hz=RATE, bands=20, normal="running")
    start = (np.full(20, 8.0), np.full(20, 3.0))
    whole = front.steps(front.frames(SPEECH), speaker=start)
    stream = StepStream(front, start)
    joined = np.concatenate([*(stream.push(piece) for piece in pieces(SPEECH, cuts)), stream.end()])
    assert_same(joined, whole)


def test_live_features_know_no_future():
    start = (np.zeros(40), np.ones(40))
    with pytest.raises(ValueError, match="need the whole utterance"):
        StepStream(FrontEnd(), start)
    with pytest.raises(ValueError, match="need frames of the future"):
        StepStream(FrontEnd(normal="running", delta_order=1), start)


def test_variations_come_from_their_seed_alone():
    front = FrontEnd(rate_hz=RATE, bands=20)
    raw = front.frames(SPEECH)
    augment = Augment(speed=0.1, time_masks=2, time_share=0.2, feature_masks=1, noise=0.2)
    global_state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, other = (front.steps(raw, augment=augment, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert_same(one, two)
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert np.array_equal(np.random.get_state()[1], global_state)  # noqa: NPY002
    assert_same(front.steps(raw, augment=Augment(), rng=np.random.default_rng(1)), front.steps(raw))


def test_masks_and_noise():
    x = np.ones((100, 30), np.float32)
    masked = Augment(time_masks=2, time_share=0.1).after(x, np.random.default_rng(3))
    silent = (masked == 0).all(axis=1)
    assert 1 <= silent.sum() <= 20
    assert (masked[~silent] == 1).all()
    banded = Augment(feature_masks=1, feature_share=0.5).after(x, np.random.default_rng(3))
    assert 1 <= (banded == 0).all(axis=0).sum() <= 15
    noisy = Augment(noise=0.5).after(np.zeros((2000, 10), np.float32), np.random.default_rng(3))
    assert noisy.std() == pytest.approx(0.5, rel=0.05)
    assert (x == 1).all()


def test_speed():
    t = np.linspace(0, 1, 101)[:, None]
    slower = stretch(t, 0.5)
    assert len(slower) == 202
    np.testing.assert_allclose(np.diff(slower[:, 0]), 1 / 201)
    assert len(stretch(t, 2.0)) == 50
    assert stretch(t[:1], 1.1).shape == (1, 1)


def test_a_warp_moves_a_peak_of_the_spectrum():
    bands = np.arange(40)
    cosines = np.cos(np.pi * np.arange(13)[:, None] * (bands + 0.5) / 40)
    spectrum = np.exp(-0.5 * ((bands - 20) / 4) ** 2)
    cepstra = cosines @ spectrum
    warped = np.linalg.pinv(cosines) @ warp_matrix(13, 1.1) @ cepstra
    assert int(warped.argmax()) == round(20 / 1.1)
    np.testing.assert_allclose(warp_matrix(13, 1.0), np.eye(13), atol=1e-12)
