"""A lexicon within a decoder: what attention points at makes its translations likelier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from elman.params import Array

BACKGROUND = 0.1  # share of the background in what a lexicon says
LEAST = 1e-30  # of the background, so that odds are finite


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
    """Return what a lexicon says of sources (T, B); ValueError for ids and a background that cannot be."""
    T, B = source.shape
    V = len(lexicon.background)
    if not (lexicon.background >= LEAST).all():
        raise ValueError(f"EncoderDecoder: the background of a lexicon must be at least {LEAST:g}")
    background = BACKGROUND * lexicon.background.astype(dtype)
    ids = source.swapaxes(0, 1)
    targets = lexicon.ids[ids]  # (B, T, k)
    if targets.size and not 0 <= targets.min() <= targets.max() < V:
        raise ValueError(f"EncoderDecoder: a lexicon must name target tokens from 0 to {V - 1}")
    odds = (1 - BACKGROUND) * lexicon.p[ids].astype(dtype) / background[targets]
    row, step = np.arange(B)[:, None, None], np.arange(T)[:, None]
    named = np.zeros((B, V), bool)
    named[row, targets] = True
    column = np.cumsum(named, axis=1) - 1  # of each token that a row names
    counts = named.sum(axis=1)
    first = np.arange(counts.max(initial=0)) < counts[:, None]  # (B, U)
    words = np.zeros(first.shape, np.intp)
    words[first] = np.nonzero(named)[1]
    table = np.zeros((B, T, first.shape[1]), dtype)
    np.add.at(table, (row, step, column[row, targets]), odds)
    np.copyto(words, words[:, :1].copy(), where=~first)
    np.copyto(table, table[:, :, :1].copy(), where=~first[:, None])
    return Words(words, table, first[:, None].astype(dtype), np.log(background))
