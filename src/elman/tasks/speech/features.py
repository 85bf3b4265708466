"""What a recogniser hears: frames of features, their slopes, their normalisation, and stacks of neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.params import Array
from elman.tasks.speech.audio import NEEDED

DELTA_REACH = 2  # frames to each side that a slope is fitted to
LEAST_SCALE = 1e-3  # of a feature that hardly varies, in silence


class FrameStream:
    """Filter banks or cepstra of a sound as it comes in, by kaldi-native-fbank.

    However the sound is cut into pieces, the frames are the same, for each is computed from its own window alone.

    Parameters
    ----------
    kind : "logmel" (natural logarithm of the energy in each band) or "mfcc"
    rate_hz : of the samples
    size : bands of "logmel", cepstra of "mfcc"
    bands : mel filters under "mfcc"
    shift_ms, window_ms : of the frames
    """

    def __init__(
        self, kind: str, rate_hz: int, size: int, *, bands: int = 40, shift_ms: float = 10.0, window_ms: float = 25.0
    ) -> None:
        try:
            import kaldi_native_fbank as kaldi
        except ImportError as error:
            raise ImportError(NEEDED) from error
        options: Any = kaldi.FbankOptions() if kind == "logmel" else kaldi.MfccOptions()
        options.frame_opts.samp_freq = rate_hz
        options.frame_opts.frame_shift_ms = shift_ms
        options.frame_opts.frame_length_ms = window_ms
        options.frame_opts.dither = 0  # the same sound, the same frames
        options.mel_opts.num_bins = size if kind == "logmel" else bands
        if kind == "mfcc":
            options.num_ceps = size
            options.use_energy = False
        self._online: Any = kaldi.OnlineFbank(options) if kind == "logmel" else kaldi.OnlineMfcc(options)
        self._rate_hz, self._size, self._taken = rate_hz, size, 0

    def push(self, samples: Array) -> Array:
        """Return the frames (T, F) that samples (N,) from -1 to 1 complete; T may be 0."""
        if len(samples):
            self._online.accept_waveform(self._rate_hz, samples * np.float32(32768))  # Kaldi's scale
        ready = self._online.num_frames_ready
        frames = np.empty((ready - self._taken, self._size), np.float32)
        for k in range(self._taken, ready):
            frames[k - self._taken] = self._online.get_frame(k)
        self._online.pop(ready - self._taken)
        self._taken = ready
        return frames


class RunningNormal:
    """Normalisation by what was heard so far, for streams: each frame by itself and all before it.

    ::

        mean_t = (n prior_mean + x_1 + ... + x_t) / (n + t)           the deviation likewise, from the squares

    Parameters
    ----------
    mean, scale : (F,) of the training data, which count as much as `weight` frames
    """

    def __init__(self, mean: Array, scale: Array, weight: float = 100.0) -> None:
        mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
        self._count = weight
        self._sum = weight * mean
        self._squares = weight * (scale * scale + mean * mean)

    def push(self, x: Array) -> Array:
        """Return normalised frames (T, F). Sums run frame by frame, so that no cut changes a bit."""
        if not len(x):
            return x
        values = x.astype(np.float64)
        sums = np.cumsum(np.concatenate([self._sum[None], values]), axis=0)[1:]
        squares = np.cumsum(np.concatenate([self._squares[None], values * values]), axis=0)[1:]
        counts = self._count + np.arange(1, len(x) + 1)[:, None]
        self._count, self._sum, self._squares = self._count + len(x), sums[-1], squares[-1]
        mean = sums / counts
        scale = np.sqrt(np.maximum(squares / counts - mean * mean, LEAST_SCALE**2))
        normal: Array = ((values - mean) / scale).astype(x.dtype)
        return normal


class StackStream:
    """`stack_frames` for a stream: a step comes out when its last frame is in; `end` gives those that reach beyond."""

    def __init__(self, width: int, stride: int) -> None:
        self._width, self._stride = width, stride
        self._kept: Array | None = None  # frames that a later step still needs
        self._skip = 0  # frames to leave out before the next step

    def push(self, x: Array) -> Array:
        """Return the steps (T', W F) that frames (T, F) complete."""
        kept = x if self._kept is None else np.concatenate([self._kept, x])
        skipped = min(self._skip, len(kept))
        kept, self._skip = kept[skipped:], self._skip - skipped
        n = max(0, (len(kept) - self._width) // self._stride + 1)
        at = np.arange(n)[:, None] * self._stride + np.arange(self._width)
        used = min(n * self._stride, len(kept))
        self._skip += n * self._stride - used
        self._kept = kept[used:]
        steps: Array = kept[at].reshape(n, self._width * x.shape[1])
        return steps

    def end(self) -> Array | None:
        """Return the last steps, the last frame repeated; None where there is nothing left."""
        if self._kept is None or not len(self._kept):
            return None
        steps = stack_frames(self._kept, self._width, self._stride)
        self._kept = self._kept[:0]
        return steps


def deltas(x: Array, order: int = 2) -> Array:
    """Return features (T, F) with their slopes beside them, and the slopes of these, (T, (order + 1) F).

    ::

        d_t = sum_{n=1..2} n (x_{t+n} - x_{t-n}) / (2 sum n^2)          the first and last frame stand still outside
    """
    parts = [x]
    for _ in range(order if len(x) else 0):
        x = parts[-1]
        at, slope = np.arange(len(x)), np.zeros_like(x)
        for n in range(1, DELTA_REACH + 1):
            slope += n * (x[np.minimum(at + n, len(x) - 1)] - x[np.maximum(at - n, 0)])
        parts.append(slope / x.dtype.type(2 * sum(n * n for n in range(1, DELTA_REACH + 1))))
    return np.concatenate(parts, axis=1) if len(parts) > 1 else x


def normalise(x: Array, mean: Array | None = None, scale: Array | None = None) -> Array:
    """Return (x - mean) / scale for features (T, F); without them, those of the utterance itself."""
    if not len(x):
        return x
    if mean is None or scale is None:
        mean, scale = moments([x])
    normal: Array = (x - mean) / scale
    return normal.astype(x.dtype, copy=False)


def moments(utterances: list[Array]) -> tuple[Array, Array]:
    """Return mean and standard deviation (F,) over all frames of some utterances (T_i, F): of a speaker, say."""
    frames = np.concatenate(utterances)
    if not len(frames):
        return np.zeros(frames.shape[1]), np.ones(frames.shape[1])
    return frames.mean(axis=0, dtype=np.float64), np.maximum(frames.std(axis=0, dtype=np.float64), LEAST_SCALE)


def stack_frames(x: Array, width: int, stride: int) -> Array:
    """Return each `width` neighbouring frames of (T, F) side by side, every `stride` frames, (ceil(T / stride), W F).

    The last frame is repeated where the stack reaches beyond the end.
    """
    T = len(x)
    if not T:
        return x.reshape(0, width * x.shape[1])
    if width == stride == 1:
        return x
    at = np.minimum(np.arange(0, T, stride)[:, None] + np.arange(width), T - 1)
    steps: Array = x[at].reshape(len(at), -1)
    return steps
