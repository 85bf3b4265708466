"""Connectionist temporal classification (CTC): labels for a sequence without saying when each of them comes.

A model gives, for each frame, a probability to every label and to the blank, which stands for nothing. A path through
the frames is read by merging what repeats and then dropping the blanks: ``a a - a b b`` reads "aab". The loss is -log
of the sum over all paths that read as the target.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.kernels import ctc as reference
from elman.kernels.ctc_beam import Beam, Transitions, viterbi
from elman.layers.boundary import pad, unpad
from elman.losses import Loss
from elman.params import Array

IMPOSSIBLE = ["error", "skip"]
AVERAGES = ["sample", "label"]


class CTCLoss(NamedTuple):
    """The loss of a batch."""

    value: float  # mean over the samples that count
    d_y: Any  # gradient of the value, in the form of y
    losses: Array  # (B,) float64, -log P of each sample in nats; +inf where no path reads as the target
    skipped: int  # samples that did not count, since no path reads as their target


def frames_needed(target: Any) -> int:
    """Return how many frames a target needs at the least: one a label, and a blank between equal neighbours."""
    labels = np.asarray(target)
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def ctc_loss(
    y: Any,
    targets: Sequence[Any],
    *,
    lengths: Any = None,
    blank: int = 0,
    from_logits: bool = True,
    impossible: str = "error",
    average: str = "sample",
) -> CTCLoss:
    """Mean of -log P(target) over the samples, in nats, and its gradient.

    Parameters
    ----------
    y : (B, T, V) or a list of (T_i, V): logits, or log-probabilities with from_logits=False
    targets : B sequences of labels from 0 to V - 1 without the blank; an empty one stands for silence
    lengths : (B,) frames of each sample
    blank : the label that stands for nothing, any of 0 to V - 1
    from_logits : False takes y as log-probabilities and gives the gradient with respect to them. It is that of the
        formula, for every number on its own: log-probabilities that are not normalised are not normalised here
    impossible : "error" refuses a sample with fewer frames than its target needs; "skip" leaves it out of the mean,
        gives it a gradient of 0, and counts it. So it does where a path exists, but has a probability of 0
    average : "sample" is the mean over samples; "label" divides each loss by the number of its labels first, at least
        1, as PyTorch's "mean" does

    Returns
    -------
    CTCLoss(value, d_y, losses, skipped)
        0 with a zero gradient, and a warning, where no sample counts

    Raises
    ------
    ValueError
        naming the sample: too few frames, a label out of range, the blank in a target

    Cost: O(T B (S + V)) for S labels. Source: Graves, Fernandez, Gomez and Schmidhuber (2006).
    """
    checks.one_of("ctc_loss", "impossible", impossible, IMPOSSIBLE)
    checks.one_of("ctc_loss", "average", average, AVERAGES)
    y, lengths, listed = _frames("ctc_loss", y, lengths)
    B, _, V = y.shape
    checks.blank_label("ctc_loss", blank, V)
    labels = checks.label_sequences("ctc_loss", targets, B, V, blank)
    if impossible == "error":
        for k, (target, length) in enumerate(zip(labels, lengths.tolist(), strict=True)):
            checks.enough_frames(k, len(target), frames_needed(target), length)
    padded, sizes = pad(labels, np.intp)
    losses, d_y = reference.ctc(y.swapaxes(0, 1), lengths, padded, sizes, blank, from_logits)
    counts = ~np.isposinf(losses) if impossible == "skip" else np.ones(B, bool)
    n = int(counts.sum())
    if n == 0:
        warnings.warn("ctc_loss: no sample counts: the loss is 0 and so is its gradient", stacklevel=2)
    weights = counts / max(n, 1)
    if average == "label":
        weights = weights / np.maximum(sizes, 1)
    value = float((losses[counts] * weights[counts]).sum())
    d_y = d_y.swapaxes(0, 1) * weights.astype(d_y.dtype)[:, None, None]
    return CTCLoss(value, unpad(d_y, lengths) if listed else d_y, losses, B - n)


@dataclass(frozen=True)
class CTC:
    """The CTC loss as `elman.train` wants it: a function (y, targets, lengths=) -> (value, d_y). See `ctc_loss`.

    With impossible="skip", a batch with samples that were left out warns how many.
    """

    blank: int = 0
    impossible: str = "error"
    average: str = "sample"

    def __post_init__(self) -> None:
        checks.one_of("CTC", "impossible", self.impossible, IMPOSSIBLE)
        checks.one_of("CTC", "average", self.average, AVERAGES)

    def __call__(self, y: Any, targets: Any, *, lengths: Any = None) -> Loss:
        """Return the loss and its gradient with respect to the logits y, (B, T, V) or a list of (T_i, V)."""
        loss = ctc_loss(y, targets, lengths=lengths, blank=self.blank, impossible=self.impossible, average=self.average)
        if loss.skipped:
            warnings.warn(f"CTC: left out {loss.skipped} of {len(loss.losses)} samples: too few frames", stacklevel=2)
        return Loss(loss.value, loss.d_y)


def greedy(y: Any, *, lengths: Any = None, blank: int = 0) -> list[Array]:
    """Return the labels of the likeliest path of each sample: the best label a frame, repeats merged, blanks dropped.

    Parameters
    ----------
    y : (B, T, V) or a list of (T_i, V): logits, probabilities or their logarithms
    lengths : (B,) frames of each sample
    blank : the label that stands for nothing
    """
    y, lengths, _ = _frames("greedy", y, lengths)
    checks.blank_label("greedy", blank, y.shape[2])
    return [collapse(row[:length].argmax(axis=1), blank) for row, length in zip(y, lengths.tolist(), strict=True)]


def collapse(path: Any, blank: int = 0) -> Array:
    """Return the labels that a path (T,) reads as: what repeats is merged first, then blanks are dropped."""
    path = np.asarray(path, np.intp)
    first = np.ones(len(path), bool)
    first[1:] = path[1:] != path[:-1]
    labels: Array = path[first & (path != blank)]
    return labels


class Hypothesis(NamedTuple):
    """A label sequence that a search found."""

    labels: Array  # (S,)
    score: float  # what it is ranked by: log P, and what the scorer added
    log_p: float  # logarithm of the probability of the labels, summed over the paths that the search kept, in nats
    frames: Array  # (S, 2) first and last frame of each label on the likeliest path that reads so; (0, 2) unless asked


class Scorer(abc.ABC):
    """What a search adds to the score of a sequence as it grows: a language model, say. Its states are numbers from 0.

    `start` is the state before the first label.
    """

    start: int = 0

    @abc.abstractmethod
    def row(self, state: int) -> tuple[Array, Array]:
        """Return, for each label, the state after it (V,) and what it adds (V,), in nats; -inf forbids it."""

    @abc.abstractmethod
    def final(self, state: int) -> float:
        """Return what the end of the sequence adds in a state, in nats."""


class PrefixBeam:
    """A prefix beam search that takes its frames as they come.

    ::

        search = PrefixBeam(V, width=50)
        for frames in ...:                          # (T, V) log-probabilities
            search.push(frames)
            print(search.best()[0].labels)

    Parameters
    ----------
    V : labels, the blank among them
    width : sequences that are kept after each frame
    blank : the label that stands for nothing
    scorer : what is added to the score of a sequence as it grows

    Cost: O(T width V) time; the tree of all sequences ever kept, at most T width nodes.
    """

    def __init__(self, V: int, *, width: int = 50, blank: int = 0, scorer: Scorer | None = None) -> None:
        checks.positive("PrefixBeam", V=V, width=width)
        checks.blank_label("PrefixBeam", blank, V)
        self._scorer = scorer
        self._tables = None if scorer is None else _Tables(scorer, V)
        self._beam = Beam(V, width, blank, -1 if scorer is None else scorer.start)
        self._V, self._blank = V, blank
        self._seen: list[Array] = []

    def push(self, log_p: Any) -> None:
        """Read further frames, (T, V) log-probabilities."""
        log_p = checks.real_array("PrefixBeam", "log_p", log_p, np.float64)
        if log_p.ndim != 2 or log_p.shape[1] != self._V:
            raise ValueError(f"PrefixBeam: log_p must be (T, {self._V}), got {log_p.shape}")
        if np.isnan(log_p).any() or np.isposinf(log_p).any():
            raise ValueError("PrefixBeam: log_p has a NaN or an infinity: did the model diverge?")
        self._seen.append(log_p)
        for frame in log_p:
            self._beam.advance(frame, None if self._tables is None else self._tables.rows(self._beam.states))

    def best(self, n: int = 1, *, end: bool = False, times: bool = True) -> list[Hypothesis]:
        """Return the n best sequences so far, the best first; ties keep their order.

        Parameters
        ----------
        n : how many; fewer where fewer were found
        end : the sequence ends here, so the scorer has its last word
        times : also find the frames of each label, at a cost of O(T S) for each sequence
        """
        checks.positive("PrefixBeam.best", n=n)
        log_p = self._beam.acoustic
        scores = log_p + self._beam.extra
        if end and self._scorer is not None:
            scores = scores + np.array([self._scorer.final(int(state)) for state in self._beam.states])
        frames = np.concatenate([np.empty((0, self._V)), *self._seen])
        found = []
        for place in np.argsort(-scores, kind="stable")[:n]:
            labels = np.array(self._beam.labels(int(place)), np.intp)
            spans = _spans(frames, labels, self._blank) if times else np.empty((0, 2), np.intp)
            found.append(Hypothesis(labels, float(scores[place]), float(log_p[place]), spans))
        return found

    def shared(self) -> list[int]:
        """Return the labels that all sequences of the search begin with: these can change no more."""
        paths = [self._beam.labels(place) for place in range(len(self._beam.nodes))]
        first, last = min(paths), max(paths)
        n = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
        return first[:n]


def beam_search(
    y: Any,
    *,
    lengths: Any = None,
    width: int = 50,
    blank: int = 0,
    from_logits: bool = True,
    n_best: int = 1,
    scorer: Scorer | None = None,
) -> list[list[Hypothesis]]:
    """Return the n best label sequences of each sample, by prefix beam search.

    Parameters
    ----------
    y : (B, T, V) or a list of (T_i, V): logits, or log-probabilities with from_logits=False
    lengths : (B,) frames of each sample
    width : sequences that are kept after each frame. 1 follows one; V^T would search all of them
    blank : the label that stands for nothing
    n_best : how many to return, at most `width`; fewer where fewer were found
    scorer : what is added to the score of a sequence as it grows
    """
    y, lengths, _ = _frames("beam_search", y, lengths)
    results = []
    for row, length in zip(y, lengths.tolist(), strict=True):
        search = PrefixBeam(y.shape[2], width=width, blank=blank, scorer=scorer)
        search.push(log_softmax(row[:length]) if from_logits else row[:length])
        results.append(search.best(n_best, end=True))
    return results


def align(y: Any, target: Any, *, blank: int = 0, from_logits: bool = True) -> Array:
    """Return the first and last frame (S, 2) of each label of a known target, on its likeliest path (Viterbi).

    y : (T, V) logits, or log-probabilities with from_logits=False; target : (S,) labels
    """
    y, lengths, _ = _frames("align", [y], None)
    checks.blank_label("align", blank, y.shape[2])
    (labels,) = checks.label_sequences("align", [target], 1, y.shape[2], blank)
    checks.enough_frames(0, len(labels), frames_needed(labels), int(lengths[0]))
    return _spans(log_softmax(y[0]) if from_logits else y[0], labels, blank)


def log_softmax(y: Array) -> Array:
    """Return log softmax over the last axis, in double."""
    y = y.astype(np.float64)
    y -= y.max(axis=-1, keepdims=True, initial=-np.inf)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


def _spans(log_p: Array, labels: Array, blank: int) -> Array:
    """Return first and last frame (S, 2) of each label on the likeliest path."""
    path = viterbi(log_p, labels, blank)
    at = 2 * np.arange(len(labels)) + 1
    return np.stack([np.searchsorted(path, at), np.searchsorted(path, at, side="right") - 1], axis=1)


class _Tables:
    """The rows of a scorer that were asked for, each only once."""

    def __init__(self, scorer: Scorer, V: int) -> None:
        self._scorer = scorer
        self._row = np.full(64, -1)  # of a state
        self._following = np.empty((64, V), np.intp)
        self._scores = np.empty((64, V))
        self._n = 0

    def rows(self, states: Array) -> Transitions:
        """Return the transitions of states (N,)."""
        while states.max() >= len(self._row):
            self._row = np.concatenate([self._row, np.full(len(self._row), -1)])
        for state in np.unique(states[self._row[states] < 0]):
            if self._n == len(self._scores):
                self._following = np.concatenate([self._following, np.empty_like(self._following)])
                self._scores = np.concatenate([self._scores, np.empty_like(self._scores)])
            self._following[self._n], self._scores[self._n] = self._scorer.row(int(state))
            self._row[state] = self._n
            self._n += 1
        at = self._row[states]
        return Transitions(self._following[at], self._scores[at])


def _frames(where: str, y: Any, lengths: Any) -> tuple[Array, Array, bool]:
    """Return y (B, T, V) of floats, lengths (B,), and whether y was a list."""
    listed = isinstance(y, list)
    if listed:
        if lengths is not None:
            raise ValueError(f"{where}: a list of sequences has lengths of its own; pass no lengths")
        rows = [np.asarray(row) for row in y]
        y, lengths = pad(rows, rows[0].dtype if rows else np.float32, (1,))
    y = np.asarray(y)
    if y.dtype.kind != "f":
        raise TypeError(f"{where}: y must hold floats, the outputs of a model, got dtype {y.dtype}")
    if y.ndim != 3:
        raise ValueError(f"{where}: y must be (B, T, V) or a list of (T_i, V), got {y.shape}")
    B, T, _ = y.shape
    return y, np.full(B, T) if lengths is None else checks.row_lengths(where, lengths, B, T), listed
