"""Vocabularies: text to token ids and back, by characters (of any language), bytes, or words."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elman import checks
from elman.params import Array

UNKNOWN = "\ufffd"  # the token that stands for every token that has none of its own
LEVELS = ("char", "byte", "word")
# A word with the blank before it, a mark with the blank before it, or a blank: joined, the tokens are the text again.
WORDS = re.compile(r" ?\w+(?:['’]\w+)*| ?[^\w\s]|\s")
CHUNK = 1 << 16  # characters at a time, so that what is in between stays small


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a model knows. Token k has the id k.

    Parameters
    ----------
    level : "char", "byte" or "word"
    tokens : the texts of the tokens; for bytes there are always 256, and this is empty
    counts : how often each occurs in the text that the vocabulary was made from
    """

    level: str
    tokens: tuple[str, ...]
    counts: tuple[int, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.one_of("Vocabulary", "level", self.level, LEVELS)
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("Vocabulary: tokens must differ from each other")
        if len(self.counts) != len(self):
            raise ValueError(f"Vocabulary: counts must be {len(self)}, got {len(self.counts)}")
        object.__setattr__(self, "_ids", {token: k for k, token in enumerate(self.tokens)})

    @classmethod
    def learn(cls, text: str | bytes, level: str = "char", *, max_size: int | None = None) -> Vocabulary:
        """Return the vocabulary of a text.

        Parameters
        ----------
        text : str, or bytes for level "byte"
        level : "char", "byte" or "word"
        max_size : keep the most frequent tokens only; the others share one unknown token. Words always have that token
        """
        checks.one_of("Vocabulary", "level", level, LEVELS)
        if level == "byte":
            data = text.encode() if isinstance(text, str) else text
            counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
            return cls(level, (), tuple(counts.tolist()))
        if isinstance(text, bytes):
            raise TypeError(f"Vocabulary: level {level!r} needs str, got bytes")
        counted: Counter[str] = Counter()
        if level == "word":
            counted.update(match.group() for match in WORDS.finditer(text))
        else:
            for start in range(0, len(text), CHUNK):
                counted.update(text[start : start + CHUNK])
        kept = sorted(counted, key=lambda token: (-counted[token], token))
        with_unknown = level == "word" or (max_size is not None and len(kept) > max_size)
        if max_size is not None:
            kept = kept[: max_size - with_unknown]
        if level == "char":
            kept.sort()
        number = {token: counted[token] for token in kept if token != UNKNOWN}
        if with_unknown or UNKNOWN in kept:
            number = {UNKNOWN: counted.total() - sum(number.values()), **number}
        return cls(level, tuple(number), tuple(number.values()))

    def __len__(self) -> int:
        return 256 if self.level == "byte" else len(self.tokens)

    @property
    def unknown_id(self) -> int | None:
        """Id of the unknown token, None where there is none."""
        return self._ids.get(UNKNOWN)

    def encode(self, text: str | bytes, *, unknown: str = "error", where: str = "text") -> Array:
        """Return the ids (N,) of a text, in the smallest unsigned type that holds them.

        Parameters
        ----------
        text : str, or bytes for level "byte"
        unknown : "error"; "skip" leaves unknown tokens out; "unk" takes the unknown token, which words always do
        where : what the text is, for the error

        Raises
        ------
        ValueError
            naming the unknown characters and the position (from 0) of the first of each
        """
        checks.one_of("Vocabulary.encode", "unknown", unknown, ["error", "skip", "unk"])
        if self.level == "byte":
            return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
        if isinstance(text, bytes):
            raise TypeError(f"Vocabulary.encode: level {self.level!r} needs str, got bytes")
        missing = -1
        if self.unknown_id is not None and (unknown == "unk" or self.level == "word"):
            missing = self.unknown_id
        elif unknown == "unk":
            raise ValueError(f"{where}: the model has no unknown token, since it knew every character of its text")
        ids = self._encode_chars(text, missing) if self.level == "char" else self._encode_words(text, missing)
        if missing < 0 and unknown == "error":
            self._refuse_unknown(text, where)
        if missing < 0 and unknown == "skip":
            ids = ids[ids >= 0]
        return ids.astype(self.dtype, copy=False)

    @property
    def dtype(self) -> Any:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def _encode_chars(self, text: str, missing: int) -> Array:
        table = np.full(0x110000, missing, np.int32)
        for token, k in self._ids.items():
            table[ord(token)] = k
        small = self.dtype if missing >= 0 or not self._unknown_chars(text) else np.int32
        ids = np.empty(len(text), small)
        for start in range(0, len(text), CHUNK):
            codes = np.frombuffer(text[start : start + CHUNK].encode("utf-32-le", "surrogatepass"), np.uint32)
            ids[start : start + CHUNK] = table[codes]
        return ids

    def _encode_words(self, text: str, missing: int) -> Array:
        found = (self._ids.get(match.group(), missing) for match in WORDS.finditer(text))
        return np.fromiter(found, np.int32)

    def _unknown_chars(self, text: str) -> set[str]:
        seen: set[str] = set()
        for start in range(0, len(text), CHUNK):
            seen.update(text[start : start + CHUNK])
        return seen - self._ids.keys()

    def _refuse_unknown(self, text: str, where: str) -> None:
        unknown = self._unknown_chars(text) if self.level == "char" else set()
        if not unknown:
            return
        first = sorted((text.index(char), char) for char in unknown)
        named = ", ".join(f"{char!r} at position {position}" for position, char in first[:5])
        more = f" and {len(first) - 5} more" if len(first) > 5 else ""
        raise ValueError(
            f"{where}: the model does not know {named}{more}; unknown='skip' (--unknown skip) leaves such out"
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD."""
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of each id as soon as it is whole: a character of several bytes comes with its last one."""
        if self.level != "byte":
            yield from (self.tokens[k] for k in ids)
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        yield from (decoder.decode(bytes([k])) for k in ids)
        yield decoder.decode(b"", final=True)

    def count_characters(self, ids: Array) -> int:
        """Return how many characters the text of ids has; an unknown token counts as one."""
        if self.level == "byte":
            return int(((ids & 0xC0) != 0x80).sum())  # the first byte of each character
        return int(np.array([len(token) for token in self.tokens], np.int64)[ids].sum())

    def to_json(self) -> dict[str, Any]:
        """Return the vocabulary as JSON."""
        return {"level": self.level, "tokens": list(self.tokens), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, value: Any) -> Vocabulary:
        """Return the vocabulary that `to_json` gave; ValueError where it is damaged."""
        try:
            tokens, counts = tuple(value["tokens"]), tuple(value["counts"])
            if not all(isinstance(token, str) for token in tokens) or not all(type(n) is int for n in counts):
                raise TypeError("tokens must be texts, counts integers")
            if value["level"] == "char" and not all(len(token) == 1 for token in tokens):
                raise ValueError("tokens must be single characters")
            return cls(value["level"], tokens, counts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"damaged vocabulary: {error!r}") from error
