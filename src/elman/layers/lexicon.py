"""A lexicon within a decoder: what attention points at makes its translations likelier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from elman.params import Array

BACKGROUND = 0.1  # share of the background in what a lexicon says


class Lexicon(NamedTuple):
    """What each source token is translated to, known from elsewhere; it is data, and no parameter."""

    ids: Array  # (V_source, k) target tokens
    p: Array  # (V_source, k) their probabilities; at most 1 in all, 0 fills up
    background: Array  # (V,) probability of each target token, whatever the source; above 0


class Words(NamedTuple):
    """What a lexicon says of a batch of sources: all of it that is not background is in a few columns of each row.

    ::

        log(0.9 p + 0.1 background) = log(0.1 background) + log1p(odds)        odds = 0.9 p / (0.1 background)

    Each source has U target tokens that its tokens may be translated to, and elsewhere the odds are 0.
    """

    ids: Array  # (B, U) the target tokens; a row with fewer repeats its first
    odds: Array  # (B, T, U) of each for the token of each step; repeated ones too
    first: Array  # (B, 1, U) 1 where a token occurs for the first time, 0 where it is a repeated one
    known: Array  # (V,) log(0.1 background)

    def rows(self, rows: Array) -> Words:
        """Return what is said of some rows of the batch."""
        return Words(self.ids[rows], self.odds[rows], self.first[rows], self.known)

    def add_to(self, y: Array, weights: Array) -> Array:
        """Add what the lexicon says to y (B, S, V), in place, where attention points by weights (B, S, T).

        Return 1 + the odds (B, S, U), for `backward`.
        """
        y += self.known
        odds = weights @ self.odds
        place = self._place(y)
        y[place] += np.log1p(odds)
        odds += 1
        return odds

    def backward(self, d_y: Array, odds: Array) -> Array:
        """Return the gradient of the weights (B, S, T), given that of y (B, S, V) and what `add_to` returned."""
        d = d_y[self._place(d_y)]
        d *= self.first
        d /= odds
        d_weights: Array = d @ self.odds.swapaxes(1, 2)
        return d_weights

    def _place(self, y: Array) -> tuple[Array, Array, Array]:
        B, S, _ = y.shape
        return np.arange(B)[:, None, None], np.arange(S)[:, None], self.ids[:, None]


def look_up(lexicon: Lexicon, source: Array, dtype: Any) -> Words:
    """Return what a lexicon says of sources (T, B)."""
    T, B = source.shape
    V = len(lexicon.background)
    background = BACKGROUND * lexicon.background
    ids = source.swapaxes(0, 1)
    targets = lexicon.ids[ids].astype(np.int64, copy=False)  # (B, T, k)
    odds = (1 - BACKGROUND) * lexicon.p[ids] / background[targets]
    row, step = np.arange(B)[:, None, None], np.arange(T)[:, None]
    met, place = np.unique((targets + V * row).ravel(), return_inverse=True)
    of = met // V  # the row of each token that is met
    starts = np.searchsorted(of, np.arange(B + 1))
    counts = np.diff(starts)
    U = int(counts.max(initial=0))
    column = np.arange(len(met)) - starts[of]
    first = np.arange(U) < counts[:, None]
    words = np.zeros((B, U), np.int64)
    words[of, column] = met % V
    table = np.zeros((B, T, U), dtype)
    np.add.at(table, (row, step, column[place].reshape(targets.shape)), odds.astype(dtype))
    if U:
        words = np.where(first, words, words[:, :1])
        table = np.where(first[:, None], table, table[:, :, :1])
    return Words(words, table, first[:, None].astype(dtype), np.log(background).astype(dtype))
