"""What a recogniser hears: frames of features, their slopes, their normalisation, and stacks of neighbours."""

from __future__ import annotations

import numpy as np

from elman.params import Array

DELTA_REACH = 2  # frames to each side that a slope is fitted to
LEAST_SCALE = 1e-3  # of a feature that hardly varies, in silence


def deltas(x: Array, order: int = 2) -> Array:
    """Return features (T, F) with their slopes beside them, and the slopes of these, (T, (order + 1) F).

    ::

        d_t = sum_{n=1..2} n (x_{t+n} - x_{t-n}) / (2 sum n^2)          the first and last frame stand still outside
    """
    parts = [x]
    for _ in range(order if len(x) else 0):
        x = parts[-1]
        padded = np.concatenate([x[:1].repeat(DELTA_REACH, 0), x, x[-1:].repeat(DELTA_REACH, 0)])
        slope = np.zeros_like(x)
        for n in range(1, DELTA_REACH + 1):
            slope += n * (padded[DELTA_REACH + n : len(x) + DELTA_REACH + n] - padded[DELTA_REACH - n : -DELTA_REACH - n])
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
    return frames.mean(axis=0, dtype=np.float64), np.maximum(frames.std(axis=0, dtype=np.float64), LEAST_SCALE)


def stack_frames(x: Array, width: int, stride: int) -> Array:
    """Return each `width` neighbouring frames of (T, F) side by side, every `stride` frames, (ceil(T / stride), W F).

    The last frame is repeated where the stack reaches beyond the end.
    """
    T = len(x)
    if not T or width == stride == 1:
        return x
    at = np.minimum(np.arange(0, T, stride)[:, None] + np.arange(width), T - 1)
    return x[at].reshape(len(at), -1)
