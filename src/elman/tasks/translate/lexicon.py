"""A lexicon from pairs alone: which token of one language is translated to which of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman.params import Array


def learn_lexicon(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], n_source: int, n_target: int, *, rounds: int = 6
) -> Array:
    """Return p(target token | source token), (n_source, n_target), by IBM model 1.

    ::

        p(f -> e)   = c(f, e) / sum_e c(f, e)
        c(f, e)     = sum over pairs and their tokens e of p(f -> e) / sum_f' p(f' -> e)

    Each round divides every target token among the source tokens of its sentence and counts anew (expectation
    maximisation). Tokens that no pair holds have a row of zeros.
    Source: Brown, Della Pietra, Della Pietra and Mercer (1993).

    Parameters
    ----------
    pairs : (source ids, target ids)
    n_source, n_target : sizes of the vocabularies
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
    table = np.zeros((n_source, n_target))
    table.ravel()[met] = p
    return table


def factorise(table: Array, rank: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Return u (n, rank) and v (m, rank) whose product u v^T is near a table (n, m).

    Truncated singular values, by random projections (Halko, Martinsson and Tropp 2011), split evenly.
    """
    rng = np.random.default_rng(seed)
    n = min(rank, *table.shape)
    basis = table @ rng.standard_normal((table.shape[1], min(n + 16, *table.shape)))
    for _ in range(3):
        basis = table @ (table.T @ np.linalg.qr(basis)[0])
    q = np.linalg.qr(basis)[0]
    u, s, v = np.linalg.svd(q.T @ table, full_matrices=False)
    root = np.sqrt(s[:n])
    first, second = np.zeros((table.shape[0], rank)), np.zeros((table.shape[1], rank))
    first[:, :n], second[:, :n] = (q @ u)[:, :n] * root, v[:n].T * root
    return first, second
