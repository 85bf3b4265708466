"""N-gram models: read from ARPA files, or learned from a text; asked for the probability of a token after others."""

from __future__ import annotations

import gzip
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from elman import checks, storage

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MAX_ORDER = 10
MAX_BYTES = 1 << 30  # of an ARPA file, unpacked
FLOOR = -99.0  # log10 of a probability of 0, as ARPA files write it


class NGram:
    """A back-off model: p(w | h) is that of the longest n-gram known, times the back-off weights of the longer ones.

    Parameters
    ----------
    order : n of the longest n-grams
    log_p : natural logarithm of the probability of each n-gram, a tuple of tokens
    backoff : natural logarithm of the back-off weight of each n-gram that has one
    """

    def __init__(self, order: int, log_p: dict[tuple[str, ...], float], backoff: dict[tuple[str, ...], float]) -> None:
        self.order = order
        self.log_p = log_p
        self.backoff = backoff
        self.vocabulary = frozenset(gram[0] for gram in log_p if len(gram) == 1) - {BEGIN, END, UNKNOWN}

    def score(self, token: str, history: Sequence[str]) -> float:
        """Return log p(token | history) in nats; a token that the model does not know counts as <unk>.

        -inf where the model has no <unk>, and never saw the token.
        """
        if (token,) not in self.log_p:
            token = UNKNOWN
        context = self.context(history)
        total = 0.0
        while True:
            found = self.log_p.get((*context, token))
            if found is not None:
                return total + found
            if not context:
                return -math.inf
            total += self.backoff.get(context, 0.0)
            context = context[1:]

    def context(self, history: Sequence[str]) -> tuple[str, ...]:
        """Return the part of a history, the longest known end of it, that decides what comes next."""
        known = [t if (t,) in self.log_p else UNKNOWN for t in history[max(0, len(history) - self.order + 1) :]]
        context = tuple(known)
        while context and context not in self.backoff and context not in self.log_p:
            context = context[1:]
        return context

    def log_probability(self, tokens: Sequence[str]) -> float:
        """Return the log probability of a whole sentence, its end counted, in nats."""
        history = [BEGIN]
        total = 0.0
        for token in [*tokens, END]:
            total += self.score(token, history)
            history.append(token)
        return total

    @classmethod
    def learn(cls, sentences: Iterable[Sequence[str]], order: int = 3) -> NGram:
        """Return the model of some sentences (each a sequence of tokens), smoothed by Witten and Bell (1991).

        ::

            p(w | h) = (count(h w) + types(h) p(w | h')) / (count(h) + types(h))        h' is h without its first token

        types(h) is how many different tokens follow h; below the unigrams lies an even share for each token, <unk> one
        of them. The probabilities after every history sum to 1.
        """
        checks.positive("NGram.learn", order=order)
        checks.in_range("NGram.learn", "order", order, 1, MAX_ORDER)
        follow: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for sentence in sentences:
            tokens = [BEGIN, *sentence, END]
            for k in range(1, len(tokens)):
                for n in range(min(order, k + 1)):
                    history = tuple(tokens[k - n : k])
                    follow[history][tokens[k]] += 1
        if not follow:
            raise ValueError("NGram.learn: needs at least one sentence")
        even = 1 / (len(follow[()]) + 1)
        p: dict[tuple[str, ...], float] = {}
        backoff: dict[tuple[str, ...], float] = {}
        for history in sorted(follow, key=len):
            counts = follow[history]
            n, types = counts.total(), len(counts)
            for token, count in sorted(counts.items()):
                gram = (*history, token)
                lower = p[gram[1:]] if history else even
                p[gram] = (count + types * lower) / (n + types)
            if history:
                backoff[history] = math.log(types / (n + types))
            else:
                p[(UNKNOWN,)] = types * even / (n + types)
        log_p = {gram: math.log(value) for gram, value in p.items()}
        log_p[(BEGIN,)] = FLOOR * math.log(10)
        return cls(order, log_p, backoff)

    # ------------------------------------------------------------------------------------------------- ARPA files

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NGram:
        """Return the model in an ARPA file, which may be packed by gzip.

        Raises ValueError, naming the line, for what is not such a file, or cut short.
        """
        path = Path(path)
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        try:
            with gzip.open(path, "rb") if packed else open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: not a whole gzip file: {error}") from error
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES:,} bytes")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not an ARPA file: it is not UTF-8 at byte {error.start}") from error
        return cls._parse(str(path), text.splitlines())

    @classmethod
    def _parse(cls, where: str, lines: list[str]) -> NGram:
        counts: dict[int, int] = {}
        log_p: dict[tuple[str, ...], float] = {}
        backoff: dict[tuple[str, ...], float] = {}
        found: Counter[int] = Counter()
        part, section = 0, ""  # of the n-grams being read; where in the file
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or (not section and words[0] != "\\data\\"):  # what stands before \data\ is a comment
                continue
            if words[0].startswith("\\"):
                section = words[0]
                if section == "\\end\\":
                    break
                part = _part_of(section)
                if section != "\\data\\" and part not in counts:
                    raise ValueError(f"{where}: line {number}: {section} was not announced in \\data\\")
            elif section == "\\data\\":
                which, equals, count = line.removeprefix("ngram").strip().partition("=")
                if not (equals and which.strip().isdecimal() and count.strip().isdecimal()):
                    raise ValueError(f"{where}: line {number}: expected 'ngram N=COUNT', got {line.strip()!r:.60}")
                counts[int(which)] = int(count)
            else:
                gram, values = _gram(where, number, words, part)
                log_p[gram] = values[0]
                if len(values) > 1:
                    backoff[gram] = values[1]
                found[part] += 1
        if section != "\\end\\":
            reason = "it ends without \\end\\, so it is cut short" if section else "there is no \\data\\ in it"
            raise ValueError(f"{where}: not a whole ARPA file: {reason}")
        for n, announced in counts.items():
            if found[n] != announced:
                raise ValueError(f"{where}: announces {announced:,} {n}-grams, but has {found[n]:,}")
        order = max(counts, default=0)
        if not 1 <= order <= MAX_ORDER or sorted(counts) != list(range(1, order + 1)):
            raise ValueError(
                f"{where}: must have n-grams of orders 1 to N, N at most {MAX_ORDER}, got {sorted(counts)}"
            )
        return cls(order, log_p, backoff)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to an ARPA file, whole or not at all."""
        grams: dict[int, list[tuple[str, ...]]] = {n: [] for n in range(1, self.order + 1)}
        for gram in self.log_p:
            grams[len(gram)].append(gram)
        lines = ["\\data\\", *(f"ngram {n}={len(part)}" for n, part in grams.items())]
        for n, part in grams.items():
            lines += ["", f"\\{n}-grams:"]
            for gram in sorted(part):
                line = f"{self.log_p[gram] / math.log(10):.7f}\t{' '.join(gram)}"
                if gram in self.backoff:
                    line += f"\t{self.backoff[gram] / math.log(10):.7f}"
                lines.append(line)
        storage.write_bytes(path, "\n".join([*lines, "", "\\end\\", ""]).encode("utf-8"))


def _part_of(section: str) -> int:
    """Return N of a line that begins the N-grams, 0 for any other."""
    number = section.removeprefix("\\").removesuffix("-grams:")
    return int(number) if number.isdecimal() else 0


def _gram(where: str, number: int, words: list[str], n: int) -> tuple[tuple[str, ...], list[float]]:
    """Return an n-gram and its log probability, and, if it has one, its log back-off weight, in nats."""
    gram = tuple(words[1 : n + 1])
    try:
        values = [float(word) * math.log(10) for word in (words[0], *words[n + 1 :])]
    except ValueError:
        values = []
    if len(gram) != n or not 1 <= len(values) <= 2 or any(math.isnan(value) for value in values):
        raise ValueError(
            f"{where}: line {number}: expected a log10 probability, {n} token{'s' if n > 1 else ''} and maybe a "
            f"back-off weight, got {' '.join(words)!r:.60}"
        )
    return gram, values
