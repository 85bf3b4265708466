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
MAX_COUNT = 1 << 53  # up to it, double counts exactly
CHUNK = 1 << 16  # characters at a time, so that what is in between stays small


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a model knows. Token k has the id k.

    Parameters
    ----------
    level : "char", "byte" or "word"
    tokens : the texts of the tokens, for words with the unknown one; for bytes there are always 256, and this is empty
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
            raise ValueError(f"Vocabulary: counts must be {len(self)}, one a token, got {len(self.counts)}")
        if not all(0 <= n <= MAX_COUNT for n in self.counts):
            raise ValueError(
                f"Vocabulary: counts must be 0 to {MAX_COUNT:,}, got {min(self.counts)}, {max(self.counts)}"
            )
        if self.level == "byte" and self.tokens:
            raise ValueError(f"Vocabulary: bytes need no tokens, got {len(self.tokens)}")
        if self.level == "word" and UNKNOWN not in self.tokens:
            raise ValueError(f"Vocabulary: tokens of words must hold the unknown one, {UNKNOWN!r}")
        object.__setattr__(self, "_ids", {token: k for k, token in enumerate(self.tokens)})

    @classmethod
    def learn(cls, text: str | bytes, level: str = "char", *, max_size: int | None = None) -> Vocabulary:
        """Return the vocabulary of a text.

        Parameters
        ----------
        text : str, or bytes for level "byte"
        level : "char", "byte" or "word"
        max_size : keep the most frequent tokens only; the others share one unknown token. Words always have that token.
            Not for bytes, of which there are always 256

        Raises
        ------
        ValueError
            where max_size leaves no token but the unknown one
        """
        checks.one_of("Vocabulary", "level", level, LEVELS)
        if max_size is not None:
            checks.positive("Vocabulary", max_size=max_size)
        if level == "byte":
            if max_size is not None:
                raise ValueError(f"Vocabulary: there are always 256 bytes; leave max_size out, got {max_size}")
            return cls(level, (), tuple(np.bincount(_bytes(text), minlength=256).tolist()))
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
        if with_unknown and max_size == 1:
            raise ValueError("Vocabulary: max_size must be at least 2, the unknown token and another one, got 1")
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
            return _bytes(text)
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

    def encode_lengths(self, text: str | bytes, *, unknown: str = "error", where: str = "text") -> tuple[Array, Array]:
        """Return the ids (N,) of a text, as `encode` does, and how many characters each stands for, (N,) uint32.

        These are exact where the text of an unknown word is no longer in its id. Of the bytes of a character, the first
        stands for it, the others for 0.
        """
        ids = self.encode(text, unknown=unknown, where=where)
        if self.level == "byte":
            return ids, ((ids & 0xC0) != 0x80).astype(np.uint32)
        if self.level == "char":
            return ids, np.broadcast_to(np.uint32(1), ids.shape)
        assert isinstance(text, str)
        return ids, np.fromiter((len(match.group()) for match in WORDS.finditer(text)), np.uint32, len(ids))

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
        advice = "unknown='skip' (--unknown skip) leaves such out"
        if self.unknown_id is not None:
            advice = "unknown='unk' (--unknown unk) takes the unknown token for such"
        raise ValueError(f"{where}: the model does not know {named}{more}; {advice}")

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

    def count_characters(self, ids: Array) -> int | None:
        """Return how many characters the text of ids has; None where unknown words hide it."""
        if self.level == "byte":
            return int(((ids & 0xC0) != 0x80).sum())  # the first byte of each character
        if self.level == "word" and (ids == self.unknown_id).any():
            return None
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


def _bytes(text: str | bytes) -> Array:
    """Return the bytes of a text; those that a terminal could not decode are the ones that it was given."""
    return np.frombuffer(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text, np.uint8)
