"""Connectionist temporal classification in NumPy: the sum over all alignments, and its gradient.

A target of S labels is spread over the frames with blanks between its labels: the extended target has 2 S + 1 places,
``blank l_1 blank l_2 ... l_S blank``. An alignment stays at a place, goes to the next one, or jumps over a blank
between two different labels.

::

    a_t(s) = p_t(s) [a_{t-1}(s) + a_{t-1}(s-1) + jump(s) a_{t-1}(s-2)]              from the front
    b_t(s) = p_{t+1}(s) b_{t+1}(s) + p_{t+1}(s+1) b_{t+1}(s+1) + jump(s+2) p_{t+1}(s+2) b_{t+1}(s+2)     from the end
    P = sum_s a_t(s) b_t(s), the same for every t
    d(-log P)/d(log p_t(k)) = -sum over the places s of label k of a_t(s) b_t(s) / P

All of it in logarithms and in double, over the whole batch at once; only time is a loop.
Source: Graves, Fernandez, Gomez and Schmidhuber (2006).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elman.layers.boundary import pad
from elman.params import Array

LEAST_LOG = -7e11  # a probability whose logarithm is not above this counts as 0
NEVER = -1e30  # the logarithm of a probability of 0, kept finite so that differences are numbers


class Alignment(NamedTuple):
    """What the sum over all alignments gave."""

    losses: Array  # (B,) float64, -log P; +inf where P is 0
    d_y: Array  # (T, B, V) gradient of the sum of the finite losses, 0 elsewhere


def ctc(y: Array, lengths: Array, labels: list[Array], blank: int, from_logits: bool) -> Alignment:
    """Return -log P(target) of each row, and its gradient.

    Parameters
    ----------
    y : (T, B, V) logits, or log-probabilities; padding may hold anything
    lengths : (B,) frames of each row
    labels : B targets (S_i,)
    blank : the label that stands for nothing
    from_logits : y is logits, and the gradient goes through the softmax to them

    Cost: O(T B (S + V)); T B (2 S + 1) doubles are kept.
    """
    T, B, V = y.shape
    targets, sizes = pad(labels, np.intp)
    inside = (np.arange(T)[:, None] < lengths)[:, :, None]  # (T, B, 1)
    log_p = np.where(inside, y, 0).astype(np.float64)
    if from_logits:
        log_p -= log_p.max(axis=2, keepdims=True, initial=-np.inf)
        log_p -= np.log(np.exp(log_p).sum(axis=2, keepdims=True))
    places = np.full((B, 2 * targets.shape[1] + 1), blank)
    places[:, 1::2] = np.where(np.arange(targets.shape[1]) < sizes[:, None], targets, blank)
    jump = np.zeros(places.shape, bool)
    jump[:, 3::2] = places[:, 3::2] != places[:, 1:-2:2]
    emit = np.take_along_axis(log_p, places[None], axis=2)  # (T, B, 2 S + 1)
    emit[emit <= LEAST_LOG] = NEVER
    front, total = _from_front(emit, jump, lengths, sizes)
    share = _from_end(emit, jump, lengths, sizes)
    share += front
    possible = ~(total <= LEAST_LOG)  # NaN goes on to whom it concerns
    share -= np.where(possible, total, 0)[:, None]
    np.exp(share, out=share)  # of the places in every frame; it sums to 1
    labels = (places[:, :, None] == np.arange(V)).astype(np.float64)  # (B, 2 S + 1, V)
    d_y = -np.matmul(share.swapaxes(0, 1), labels).swapaxes(0, 1)
    if from_logits:
        d_y += np.exp(log_p)
    d_y = np.where(inside & possible[:, None], d_y, 0)
    return Alignment(np.where(possible, -total, np.inf) + 0.0, d_y.astype(y.dtype, copy=False))


def _from_front(emit: Array, jump: Array, lengths: Array, sizes: Array) -> tuple[Array, Array]:
    """Return log a_t(s), (T, B, 2 S + 1), and log P (B,)."""
    T, B, places = emit.shape
    rows = np.arange(B)
    before = np.full((B, places + 2), NEVER)  # two places in front, where nothing comes from
    before[:, 2] = 0  # before the first frame: at the blank in front ...
    front = np.empty_like(emit)
    ends = np.stack([2 * sizes, np.maximum(2 * sizes - 1, 0)])
    total = np.where(sizes == 0, 0.0, NEVER)  # of rows without frames
    for t in range(T):
        jumped = np.where(jump, before[:, :-2], NEVER)
        if t == 0:  # ... from where the first label can be reached too, but no jump
            jumped = np.full_like(jumped, NEVER)
        front[t] = _sum(before[:, 2:], before[:, 1:-1], jumped) + emit[t]
        np.maximum(front[t], NEVER, out=front[t])
        before[:, 2:] = front[t]
        last = lengths == t + 1
        if last.any():
            two = np.where(sizes > 0, front[t][rows, ends[1]], NEVER)
            total = np.where(last, np.logaddexp(front[t][rows, ends[0]], two), total)
    return front, total


def _from_end(emit: Array, jump: Array, lengths: Array, sizes: Array) -> Array:
    """Return log b_t(s), (T, B, 2 S + 1)."""
    T, B, places = emit.shape
    at = np.arange(places)
    end = np.where((at == 2 * sizes[:, None]) | (at == 2 * sizes[:, None] - 1), 0.0, NEVER)
    back = np.empty_like(emit)
    after = np.full((B, places + 2), NEVER)  # p b of the next frame, and two places behind, where nothing goes to
    may_jump = np.zeros_like(jump)
    may_jump[:, :-2] = jump[:, 2:]
    for t in range(T - 1, -1, -1):
        jumped = np.where(may_jump, after[:, 2:], NEVER)
        row = _sum(after[:, :-2], after[:, 1:-1], jumped)
        back[t] = np.where((lengths == t + 1)[:, None], end, np.where((lengths > t + 1)[:, None], row, NEVER))
        np.maximum(back[t] + emit[t], NEVER, out=after[:, :-2])
    return back


def _sum(a: Array, b: Array, c: Array) -> Array:
    """Return log(exp a + exp b + exp c)."""
    largest = np.maximum(np.maximum(a, b), c)
    total: Array = np.exp(a - largest) + np.exp(b - largest) + np.exp(c - largest)
    return np.log(total, out=total) + largest
