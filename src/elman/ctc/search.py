"""From the outputs of a model to labels: the likeliest path, prefix beam search, alignment."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.ctc.checks import blank_label, enough_frames, label_sequences
from elman.ctc.loss import frames_needed, frames_of
from elman.ctc.reference_beam import viterbi
from elman.ctc.tables import Tables
from elman.ctc.twins import new_beam
from elman.params import Array


def greedy(y: Any, *, lengths: Any = None, blank: int = 0) -> list[Array]:
    """Return the labels of the likeliest path of each sample: the best label a frame, repeats merged, blanks dropped.

    Parameters
    ----------
    y : (B, T, V) or a list of (T_i, V): logits, probabilities or their logarithms
    lengths : (B,) frames of each sample
    blank : the label that stands for nothing
    """
    y, lengths, _ = frames_of("greedy", y, lengths)
    blank_label("greedy", blank, y.shape[2])
    return [collapse(row[:length].argmax(axis=1), blank) for row, length in zip(y, lengths.tolist(), strict=True)]


def collapse(path: Any, blank: int = 0) -> Array:
    """Return the labels that a path (T,) reads as: what repeats is merged first, then blanks are dropped."""
    path = np.asarray(path, np.intp)
    labels: Array = path[runs(path, blank)[:, 0]]
    return labels


def runs(path: Any, blank: int = 0) -> Array:
    """Return the first and last frame (S, 2) of each label that a path (T,) reads as."""
    path = np.asarray(path, np.intp)
    borders = np.flatnonzero(path[1:] != path[:-1])
    first = np.concatenate([[0], borders + 1])[: len(path)]
    last = np.concatenate([borders, [len(path) - 1]])[: len(path)]
    spans = np.stack([first, last], axis=1).astype(np.intp)
    named: Array = spans[path[first.astype(np.intp)] != blank]
    return named


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
        blank_label("PrefixBeam", blank, V)
        self._scorer = scorer
        self._tables = None if scorer is None else Tables(scorer.row, V)
        self._beam = new_beam(V, width, blank, -1 if scorer is None else scorer.start)
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
        self._beam.read(log_p, self._tables)

    def best(self, n: int = 1, *, end: bool = False, times: bool = True) -> list[Hypothesis]:
        """Return the n best sequences so far, the best first; ties keep their order.

        Parameters
        ----------
        n : how many; fewer where fewer were found
        end : the sequence ends here, so the scorer has its last word
        times : also find the frames of each label, at a cost of O(T S) time and 2 T S bytes for each sequence
        """
        checks.positive("PrefixBeam.best", n=n)
        log_p = self._beam.acoustic
        scores = log_p + self._beam.extra
        if end and self._scorer is not None:
            scores = scores + np.array([self._scorer.final(int(state)) for state in self._beam.states])
        frames = np.concatenate([np.empty((0, self._V)), *self._seen]) if times else None
        found = []
        for place in np.argsort(-scores, kind="stable")[:n]:
            labels = np.array(self._beam.labels(int(place)), np.intp)
            spans = np.empty((0, 2), np.intp) if frames is None else _spans(frames, labels, self._blank)
            found.append(Hypothesis(labels, float(scores[place]), float(log_p[place]), spans))
        return found

    def shared(self) -> list[int]:
        """Return the labels that all sequences of the search begin with: these can change no more."""
        paths = [self._beam.labels(place) for place in range(len(self._beam.states))]
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
    y, lengths, _ = frames_of("beam_search", y, lengths)
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
    y, lengths, _ = frames_of("align", [y], None)
    blank_label("align", blank, y.shape[2])
    (labels,) = label_sequences("align", [target], 1, y.shape[2], blank)
    enough_frames(0, len(labels), frames_needed(labels), int(lengths[0]))
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
