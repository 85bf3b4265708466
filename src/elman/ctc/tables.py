"""The transitions of a scorer, in tables that both twins of the search read: a row for each state asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elman.params import Array


class Tables:
    """The rows of a scorer, each asked for only once.

    Parameters
    ----------
    row : function of a state, returns the state after each label (V,) and what each adds (V,), in nats
    V : labels

    Attributes
    ----------
    row_of : (states,) the row of a state, -1 where it is not known yet
    following, scores : (rows, V)
    """

    def __init__(self, row: Callable[[int], tuple[Array, Array]], V: int) -> None:
        self._row = row
        self._n = 0
        self.row_of = np.full(64, -1, np.int64)
        self.following = np.zeros((64, V), np.int64)
        self.scores = np.zeros((64, V))

    def know(self, states: Array) -> None:
        """Ask the scorer for the rows of states (N,) that are not known yet."""
        while states.max() >= len(self.row_of):
            self.row_of = np.concatenate([self.row_of, np.full(len(self.row_of), -1, np.int64)])
        for state in np.unique(states[self.row_of[states] < 0]):
            if self._n == len(self.scores):
                self.following = np.concatenate([self.following, np.zeros_like(self.following)])
                self.scores = np.concatenate([self.scores, np.zeros_like(self.scores)])
            following, scores = self._row(int(state))
            if np.min(following) < 0 or np.isnan(scores).any() or np.max(scores) == np.inf:
                raise ValueError(
                    f"beam search: the scorer's row of state {state} must hold states from 0 and scores that are "
                    "numbers or -inf"
                )
            self.following[self._n], self.scores[self._n] = following, scores
            self.row_of[state] = self._n
            self._n += 1
