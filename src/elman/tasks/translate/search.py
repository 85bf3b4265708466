"""Beam search: the likeliest texts that a decoder can write, all texts of all sources as one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from elman import checks
from elman.params import Array
from elman.tasks.translate.tokens import BEGIN, END
from elman.trees import tree_map

NORMS = ("mean", "gnmt", "none")
GROUP = 64  # numbers whose largest is compared first where many are searched for a few


@dataclass(frozen=True)
class LengthNorm:
    """What the log-probability of a text of L tokens, its end counted, is divided by to compare texts of any length.

    ::

        mean    L^alpha
        gnmt    ((5 + L) / 6)^alpha        (Wu et al. 2016)
        none    1

    Without it, short texts win, for each token makes a text less likely.
    """

    kind: str = "mean"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        checks.one_of("LengthNorm", "kind", self.kind, NORMS)
        checks.in_range("LengthNorm", "alpha", self.alpha, 0, 10)

    def __call__(self, length: Any) -> Any:
        """Return the divisor for a length of at least 1."""
        if self.kind == "none":
            return 1.0
        return (length if self.kind == "mean" else (5 + length) / 6) ** self.alpha


class Hypothesis(NamedTuple):
    """A text that the search found."""

    ids: list[int]  # with the end
    log_prob: float  # in nats
    score: float  # log_prob / norm(len(ids))
    attention: Array | None  # (S, T) where each token looked, if asked for
    looked: list[int] | None  # (S,) where each token looked most; None without attention


class Writer(Protocol):
    """A decoder of B sources that writes K texts for each of them."""

    def step(self, ids: Array, state: Any) -> tuple[Array, Any, Array | None]:
        """Return logits (B, K, V), state and attention (B, K, T) or None after the last tokens ids (B, K)."""

    def keep(self, rows: Array) -> None:
        """Go on with these of the B sources only."""


class _Step(NamedTuple):
    """What one step of the search chose."""

    place: Array  # (B,) where each source is in the arrays below, -1 where it is not
    tokens: Array  # (b, K)
    parents: Array  # (b, K) which text of the step before each goes on
    attention: Array | None  # (b, k, T) of the texts of the step before, if asked for
    looked: Array | None  # (b, k) the place of the largest, which is all that is kept otherwise


def beam_search(
    writer: Writer,
    state: Any,
    n_sources: int,
    *,
    beam: int = 5,
    n_best: int = 1,
    max_length: Array | int = 100,
    norm: LengthNorm | None = None,
    attention: bool = False,
    forbidden: tuple[int, ...] = (BEGIN,),
    progress: Callable[[int], None] = lambda _: None,
) -> list[list[Hypothesis]]:
    """Return the n best texts for each source, the best first.

    At each step all ways to go on by one token are compared by log-probability, and the `beam` best stay; those that
    end are finished. A source is done when no unfinished text can still get among its n best, even if all its further
    tokens were certain up to the greatest length; so the search never stops too early. A beam of 1 is greedy; one as
    wide as there are texts is exhaustive.

    Parameters
    ----------
    writer : Writer of n_sources sources
    state : before the first token, each array (n_sources, H)
    n_sources : B
    beam : texts that are kept at each step
    n_best : texts to return, at the most `beam`
    max_length : (B,) or one for all: the greatest length with the end, which is then forced
    norm : LengthNorm, the mean by token if absent
    attention : also return where each token looked, not only where it looked most
    forbidden : ids that are never written
    progress : called with the number of sources that are done by then

    Raises
    ------
    FloatingPointError
        where logits are NaN or +inf, or a source has no text that is possible
    """
    checks.positive("beam_search", beam=beam, n_best=n_best)
    if n_best > beam:
        raise ValueError(f"beam_search: n_best must be at most beam = {beam}, got {n_best}")
    norm = norm or LengthNorm()
    limits = np.broadcast_to(np.asarray(max_length), (n_sources,))
    checks.positive("beam_search", max_length=int(limits.min(initial=1)))
    finished: list[list[tuple[float, float, int, int]]] = [[] for _ in range(n_sources)]  # score, log_prob, step, k
    history: list[_Step] = []
    rows = np.arange(n_sources)
    ids = np.full((n_sources, 1), BEGIN)
    totals = np.zeros((n_sources, 1))
    while len(rows):
        step = len(history) + 1
        logits, state, weights = writer.step(ids, state)
        largest = logits.max(axis=2)  # NaN where any is
        if not (largest < np.inf).all():
            raise FloatingPointError(
                f"beam_search: the outputs of the model are not finite numbers at step {step}; it diverged"
            )
        chosen, parents, tokens = _choose(logits, largest, totals, beam, limits[rows] <= step, forbidden)
        place = np.full(n_sources, -1)
        place[rows] = np.arange(len(rows))
        looked = None if weights is None else weights.argmax(axis=2)
        history.append(_Step(place, tokens, parents, weights if attention else None, looked))
        ended = (tokens == END) & np.isfinite(chosen)
        for b, k in np.argwhere(ended):
            log_prob = float(chosen[b, k])
            finished[rows[b]].append((log_prob / norm(step), log_prob, step, int(k)))
        totals = np.where(ended, -np.inf, chosen)
        going = _can_improve(totals.max(axis=1) / norm(limits[rows]), rows, finished, n_best)
        at = (np.arange(len(rows))[:, None] * ids.shape[1] + parents)[going].ravel()
        state = tree_map(lambda s, at=at: s[at], state)
        if not going.all():
            writer.keep(np.flatnonzero(going))
            progress(n_sources - int(going.sum()))
        rows, ids, totals = rows[going], tokens[going], totals[going]
    if not all(finished):
        raise FloatingPointError("beam_search: the model gives no text any probability; it diverged")
    return [_texts(finished[row], history, row, n_best) for row in range(n_sources)]


def _choose(
    logits: Array, largest: Array, totals: Array, beam: int, last: Array, forbidden: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """Return the log-probabilities, parents and tokens (b, beam) of the best ways to go on, the best first."""
    b, k, V = logits.shape
    with np.errstate(invalid="ignore"):  # of a model that diverged
        log_sum = np.log(np.exp(logits - largest[:, :, None]).sum(axis=2, dtype=np.float64)) + largest
    offset = totals - log_sum  # (b, k)
    values = logits + offset[:, :, None].astype(logits.dtype)
    values[largest == -np.inf] = -np.inf  # a text that nothing can go on
    values[:, :, list(forbidden)] = -np.inf
    if last.any():
        end = values[last, :, END]
        values[last] = -np.inf
        values[last, :, END] = end
    best = _largest(values, min(beam, k * V))
    parents, tokens = np.divmod(best, V)
    sources = np.arange(b)[:, None]
    exact = logits[sources, parents, tokens] + offset[sources, parents]
    chosen = np.where(np.isfinite(values[sources, parents, tokens]), exact, -np.inf)
    return chosen, parents, tokens


def _largest(values: Array, n: int) -> Array:
    """Return the places of the n largest of values (b, k, V), each row of k V numbers for itself, the largest first."""
    b, k, V = values.shape
    flat = values.reshape(b, k * V)
    found = np.empty((b, n), np.intp)
    bound = np.full(b, -np.inf)
    groups = V // GROUP  # of GROUP numbers of a text: the n largest are not below the n-th of the largest of groups
    if k * groups >= n:
        largest = values[:, :, : groups * GROUP].reshape(b, k, GROUP, groups).max(axis=2).reshape(b, k * groups)
        bound = np.partition(largest, k * groups - n, axis=1)[:, k * groups - n]
    plain = ~np.isfinite(bound)  # where there are too few numbers, the groups say nothing
    if plain.any():
        found[plain] = np.argpartition(-flat[plain], n - 1, axis=1)[:, :n]
    row, place = np.nonzero(flat >= np.where(plain, np.inf, bound)[:, None])
    order = np.lexsort((place, -flat[row, place], row))
    starts = np.searchsorted(row, np.flatnonzero(~plain))
    found[~plain] = place[order][starts[:, None] + np.arange(n)]
    picked = np.take_along_axis(flat, found, axis=1)
    return np.take_along_axis(found, np.lexsort((found, -picked), axis=1), axis=1)


def _can_improve(bounds: Array, rows: Array, finished: list[list[Any]], n_best: int) -> Array:
    """Return which sources have an unfinished text that may still become one of the n best."""
    going = np.isfinite(bounds)
    for b in np.flatnonzero(going):
        done = finished[rows[b]]
        if len(done) >= n_best:
            going[b] = bounds[b] > sorted((item[0] for item in done), reverse=True)[n_best - 1]
    return going


def _texts(finished: list[tuple[float, float, int, int]], history: list[_Step], row: int, n: int) -> list[Hypothesis]:
    """Return the n best finished texts of a source, read back from their ends."""
    found = []
    for score, log_prob, step, k in sorted(finished, key=lambda item: (-item[0], item[2], item[3]))[:n]:
        ids: list[int] = []
        weights, looked = [], []
        for past in reversed(history[:step]):
            b = past.place[row]
            ids.append(int(past.tokens[b, k]))
            k = int(past.parents[b, k])
            if past.attention is not None:
                weights.append(past.attention[b, k])
            if past.looked is not None:
                looked.append(int(past.looked[b, k]))
        attention = np.stack(weights[::-1]) if weights else None
        found.append(Hypothesis(ids[::-1], log_prob, score, attention, looked[::-1] or None))
    return found
