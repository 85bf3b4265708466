"""A lexicon from pairs alone: which token of one language is translated to which of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman.layers import Lexicon
from elman.params import Array
from elman.tasks.translate.tokens import END


def learn_lexicon(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    n_source: int,
    n_target: int,
    *,
    size: int = 16,
    rounds: int = 6,
) -> Lexicon:
    """Return what each source token is translated to, by IBM model 1, and how often each target token occurs.

    ::

        p(f -> e)   = c(f, e) / sum_e c(f, e)
        c(f, e)     = sum over pairs and their tokens e of p(f -> e) / sum_f' p(f' -> e)

    Each round divides every target token among the source tokens of its sentence and counts anew (expectation
    maximisation). Tokens that no pair holds have no translation. The end counts in the background only.
    Source: Brown, Della Pietra, Della Pietra and Mercer (1993).

    Parameters
    ----------
    pairs : (source ids, target ids)
    n_source, n_target : sizes of the vocabularies
    size : translations to keep of each token, the likeliest
    rounds : of counting
    """
    cells, groups, n_groups = [], [], 0  # each (f, e) that meet, as one number, and which target token it belongs to
    for source, target in pairs:
        f, e = np.asarray(source, np.int64), np.asarray(target, np.int64)
        cells.append((f[None, :] * n_target + e[:, None]).ravel())
        groups.append(np.repeat(np.arange(n_groups, n_groups + len(e)), len(f)))
        n_groups += len(e)
    met, cell = np.unique(np.concatenate(cells), return_inverse=True)
    group = np.concatenate(groups)
    row = met // n_target
    p: Array = np.ones(len(met))
    for _ in range(rounds):
        share = p[cell] / np.bincount(group, p[cell], n_groups)[group]
        p = np.bincount(cell, share, len(met))
        p = p / np.bincount(row, p, n_source)[row]
    return Lexicon(*_likeliest(met, p, n_source, n_target, size), _background(pairs, n_target))


def _likeliest(met: Array, p: Array, n_source: int, n_target: int, size: int) -> tuple[Array, Array]:
    """Return the likeliest translations of each source token and their probabilities, (n_source, size)."""
    row, column = np.divmod(met, n_target)
    order = np.lexsort((-p, row))  # by source token, the likeliest first
    row, column, p = row[order], column[order], p[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < size
    ids, likely = np.zeros((n_source, size), np.int32), np.zeros((n_source, size), np.float32)
    ids[row[kept], rank[kept]], likely[row[kept], rank[kept]] = column[kept], p[kept]
    return ids, likely


def _background(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], n_target: int) -> Array:
    """Return the frequency of each target token, the end included, (n_target,); a little for those that never occur."""
    occurring = np.concatenate([np.asarray([*target, END], np.int64) for _, target in pairs])
    counts = np.bincount(occurring, minlength=n_target) + 0.1
    shares: Array = (counts / counts.sum()).astype(np.float32)
    return shares
