"""Prefix beam search in NumPy: the likeliest label sequences, each summed over its paths, frame by frame.

A prefix is what was read so far. Of each one two probabilities are kept: of its paths that end in a blank, and of those
that end in its last label. The prefixes form a tree, so that the same sequence is never held twice.

::

    stay:    blank'(l)  = p(blank) [blank(l) + label(l)]
             label'(l)  = p(last(l)) label(l)
    extend:  label'(lk) += p(k) [blank(l) + label(l)]       for k other than last(l)
             label'(lk) += p(k) blank(l)                    for k = last(l): only after a blank

All of it in logarithms and in double; one frame is one pass over the prefixes times the labels.
Source: Graves, Mohamed and Hinton (2013), Hannun, Maas, Jurafsky and Ng (2014).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elman.ctc.tables import Tables
from elman.params import Array


class Transitions(NamedTuple):
    """What a scorer adds to a sequence when it goes on with a label, for states that are numbers."""

    following: Array  # (N, V) state after each label
    scores: Array  # (N, V) what is added, in nats; -inf forbids


class Beam:
    """The prefixes that are alive, the best first. Deterministic: ties go to the older prefix, then the lower label.

    Parameters
    ----------
    V : labels, the blank among them
    width : prefixes that are kept after each frame
    blank : the label that stands for nothing
    start : state of the scorer before the first label; -1 without a scorer
    """

    def __init__(self, V: int, width: int, blank: int, start: int = -1) -> None:
        self.V, self.width, self.blank = V, width, blank
        self._parents, self._labels = [-1], [-1]  # of the nodes of the tree
        self._children: dict[int, int] = {}  # (node V + label) -> node
        self._place = np.full(1024, -1)  # of a node among the prefixes alive
        self.nodes = np.zeros(1, np.intp)
        self.states = np.full(1, start)
        self.extra = np.zeros(1)  # what the scorer has added
        self.in_blank = np.zeros(1)
        self.in_label = np.full(1, -np.inf)

    def read(self, log_p: Array, tables: Tables | None) -> None:
        """Read frames, (T, V) log-probabilities; tables of the scorer, if there is one."""
        for frame in log_p:
            transitions = None
            if tables is not None:
                tables.know(self.states)
                rows = tables.row_of[self.states]
                transitions = Transitions(tables.following[rows], tables.scores[rows])
            self.advance(frame, transitions)

    def advance(self, log_p: Array, transitions: Transitions | None = None) -> None:
        """Read one frame, (V,) log-probabilities; transitions (N, V) of the prefixes alive, if there is a scorer."""
        N, V = len(self.nodes), self.V
        parents = np.array([self._parents[node] for node in self.nodes])
        last = np.array([self._labels[node] for node in self.nodes])
        both = np.logaddexp(self.in_blank, self.in_label)
        stay_blank = both + log_p[self.blank]
        named = last >= 0
        stay_label = np.where(named, self.in_label + log_p[np.where(named, last, 0)], -np.inf)
        grown = both[:, None] + log_p
        rows = np.flatnonzero(named)
        grown[rows, last[rows]] = self.in_blank[rows] + log_p[last[rows]]
        grown[:, self.blank] = -np.inf
        self._place[self.nodes] = np.arange(N)
        at = np.where(parents >= 0, self._place[parents], -1)  # where the parent stands, if it is alive
        self._place[self.nodes] = -1
        met = np.flatnonzero(at >= 0)
        stay_label[met] = np.logaddexp(stay_label[met], grown[at[met], last[met]])
        grown[at[met], last[met]] = -np.inf
        scores = np.empty(N + N * V)
        scores[:N] = np.logaddexp(stay_blank, stay_label) + self.extra
        added = grown + self.extra[:, None]
        if transitions is not None:
            added += transitions.scores
        scores[N:] = added.ravel()
        best = _best(scores, self.width)
        best = best[scores[best] > -np.inf]
        if not len(best):  # nothing has a probability: go on from where it stood
            return
        new = best >= N
        source = np.where(new, (best - N) // V, best)
        label = np.where(new, (best - N) % V, 0)
        nodes = self.nodes[source]
        nodes[new] = [self._child(int(n), int(k)) for n, k in zip(nodes[new], label[new], strict=True)]
        self.in_blank = np.where(new, -np.inf, stay_blank[source])
        self.in_label = np.where(new, grown[source, label], stay_label[source])
        self.extra = self.extra[source]
        self.states = self.states[source]
        if transitions is not None:
            self.extra = self.extra + np.where(new, transitions.scores[source, label], 0)
            self.states = np.where(new, transitions.following[source, label], self.states)
        self.nodes = nodes

    @property
    def acoustic(self) -> Array:
        """The logarithm of the probability of each prefix, (N,), in nats."""
        total: Array = np.logaddexp(self.in_blank, self.in_label)
        return total

    def labels(self, place: int) -> list[int]:
        """Return the labels of the prefix at a place."""
        node, found = int(self.nodes[place]), []
        while node > 0:
            found.append(self._labels[node])
            node = self._parents[node]
        return found[::-1]

    def _child(self, node: int, label: int) -> int:
        key = node * self.V + label
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = len(self._parents)
            self._parents.append(node)
            self._labels.append(label)
            if child >= len(self._place):
                self._place = np.concatenate([self._place, np.full(len(self._place), -1)])
        return child


def _best(scores: Array, n: int) -> Array:
    """Return the places of the n largest scores, the largest first, equal ones in order of their places."""
    if len(scores) > n:
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        above, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        candidates = np.sort(np.concatenate([above, equal[: n - len(above)]]))
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")]


def viterbi(log_p: Array, target: Array, blank: int) -> Array:
    """Return the likeliest path (T,) of places in the extended target (odd: label (place - 1) / 2; even: blank).

    log_p (T, V) log-probabilities; target (S,) labels, for which there are frames enough.
    """
    T, S = len(log_p), len(target)
    places = np.full(2 * S + 1, blank)
    places[1::2] = target
    jump = np.zeros(2 * S + 1, bool)
    jump[3::2] = target[1:] != target[:-1]
    score = np.full(2 * S + 3, -np.inf)  # two places in front
    score[2] = 0
    back = np.zeros((T, 2 * S + 1), np.int8)
    for t in range(T):
        moves = np.stack([score[2:], score[1:-1], np.where(jump & (t > 0), score[:-2], -np.inf)])
        back[t] = moves.argmax(axis=0)
        score[2:] = moves.max(axis=0) + log_p[t, places]
    path = np.empty(T, np.intp)
    at = 2 * S if not S or score[-1] >= score[-2] else 2 * S - 1
    for t in range(T - 1, -1, -1):
        path[t] = at
        at -= int(back[t, at])
    return path
