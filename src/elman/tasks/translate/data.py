"""Pairs of lines: reading them, splitting them, and batches of pairs of like length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from elman import checks
from elman.layers import Lexicon, Pair
from elman.sequences import Batch, Batches, BucketOrder, pad
from elman.tasks.text import read_text
from elman.tasks.translate.tokens import BEGIN, END

LinePair = tuple[str, str]  # a line and its translation


def read_pairs(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    encoding: str = "utf-8",
    *,
    keep_empty: bool = False,
) -> list[LinePair]:
    """Return the pairs of two files with as many lines, or of one file with both between tabs (further columns go).

    Pairs with an empty side are left out, unless `keep_empty`.

    Raises
    ------
    ValueError
        where the files differ in their number of lines, or a line has no tab
    """
    if target is None:
        rows = [line.split("\t") for line in read_lines(source, encoding)]
        for number, row in enumerate(rows, start=1):
            if len(row) < 2 and row != [""]:
                raise ValueError(
                    f"{source}: line {number} has no tab between a line and its translation: {row[0]!r:.60}"
                )
        pairs = [(row[0], row[1]) for row in rows if len(row) > 1]
    else:
        first, second = read_lines(source, encoding), read_lines(target, encoding)
        if len(first) != len(second):
            raise ValueError(
                f"{Path(source)} has {len(first):,} lines, {Path(target)} has {len(second):,}: "
                "line k of one must be the translation of line k of the other"
            )
        pairs = list(zip(first, second, strict=True))
    pairs = [(a.strip(), b.strip()) for a, b in pairs]
    whole = [pair for pair in pairs if all(pair)]
    if not whole:
        raise ValueError(f"{source}: holds no pair of a line and its translation")
    return pairs if keep_empty else whole


def read_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[str]:
    """Return the lines of a file, whatever its line ends; an empty line at the very end does not count."""
    lines = read_text(path, encoding).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def split_pairs(pairs: Sequence[LinePair], *shares: float, seed: int = 0) -> list[list[LinePair]]:
    """Return parts of the pairs, the rest first and then one for each share, so that no source is in two of them.

    Pairs of one source (in lower case) stay together, in one part, so that a held-out sentence was never seen with
    another translation. A share above 0 gets one source at least, as long as one is left for the rest.

    Raises
    ------
    ValueError
        where the shares leave nothing for the rest
    """
    for share in shares:
        checks.in_range("split_pairs", "share", share, 0, 1, open_high=True)
    if sum(shares) >= 1:
        raise ValueError(f"split_pairs: shares must sum to less than 1, got {' + '.join(map(str, shares))}")
    groups: dict[str, list[LinePair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0].lower(), []).append(pair)
    names = sorted(groups)
    np.random.default_rng(seed).shuffle(names)
    parts, start = [], 0
    for share in shares:
        least = min(int(share > 0), max(len(names) - 1 - start, 0))
        stop = start + max(round(share * len(names)), least)
        parts.append([pair for name in names[start:stop] for pair in groups[name]])
        start = stop
    return [[pair for name in names[start:] for pair in groups[name]], *parts]


class _Rows:
    """Pairs of ids, and a batch of any of them."""

    def __init__(
        self, where: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], lexicon: Lexicon | None
    ) -> None:
        if not pairs:
            raise ValueError(f"{where}: needs at least one pair")
        self.source = [np.asarray(source, np.int32) for source, _ in pairs]
        self.target = [np.asarray([BEGIN, *target, END], np.int32) for _, target in pairs]
        self.sizes = np.array([[len(row) for row in self.source], [len(row) for row in self.target]])
        self.lexicon = lexicon

    def batch(self, rows: Iterable[int]) -> Batch:
        rows = list(rows)
        source, source_lengths = pad([self.source[row] for row in rows], np.int32)
        target, lengths = pad([self.target[row] for row in rows], np.int32)
        return Batch(Pair(source, target[:, :-1], source_lengths, self.lexicon), target[:, 1:], lengths - 1)


class PairBuckets(Batches):
    """Pairs of ids in batches of like length, shuffled anew each epoch; a function of the step number.

    Parameters
    ----------
    pairs : (source ids, target ids) of each pair, without begin and end
    batch_size : pairs in a batch; the last of an epoch may be smaller
    seed : of the shuffling
    n_epochs : passes over the pairs; None for ever
    lexicon : goes with every batch
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        batch_size: int,
        *,
        seed: int = 0,
        n_epochs: int | None = None,
        lexicon: Lexicon | None = None,
    ) -> None:
        checks.positive("PairBuckets", batch_size=batch_size)
        self._rows = _Rows("PairBuckets", pairs, lexicon)
        self._order = BucketOrder(self._rows.sizes, batch_size, seed)
        self.n_in_epoch = self._order.n_in_epoch
        self.n_batches = None if n_epochs is None else n_epochs * self.n_in_epoch

    def batch(self, step: int) -> Batch:  # noqa: D102
        return self._rows.batch(self._order.rows(step))


class SortedPairs(Batches):
    """Each pair of ids once, the shortest first, in batches that stay small however long a pair is.

    Parameters
    ----------
    pairs : (source ids, target ids) of each pair, without begin and end
    batch_size : pairs in a batch, at the most
    batch_tokens : tokens of either side in a batch with its padding, at the most; a longer pair is a batch of its own
    lexicon : goes with every batch
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        batch_size: int,
        batch_tokens: int,
        *,
        lexicon: Lexicon | None = None,
    ) -> None:
        checks.positive("SortedPairs", batch_size=batch_size, batch_tokens=batch_tokens)
        self._rows = _Rows("SortedPairs", pairs, lexicon)
        longest = self._rows.sizes.max(axis=0)
        self._cut: list[list[int]] = [[]]
        for row in np.argsort(longest, kind="stable").tolist():
            n = len(self._cut[-1])
            if n and (n == batch_size or (n + 1) * longest[row] > batch_tokens):
                self._cut.append([])
            self._cut[-1].append(row)
        self.n_batches = len(self._cut)

    def batch(self, step: int) -> Batch:  # noqa: D102
        return self._rows.batch(self._cut[step])
