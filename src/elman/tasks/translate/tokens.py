"""Tokens of a language: lines to ids and back, by characters, words or sub-words."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from elman import checks
from elman.tasks.translate.metrics import HAN
from elman.tasks.vocabulary import WORDS

UNKNOWN, BEGIN, END = 0, 1, 2  # ids that every vocabulary begins with
SPECIAL = ("<unk>", "<s>", "</s>")
SUBWORDS = ("bpe", "unigram")
LEVELS = ("char", "word", "space", *SUBWORDS)
BLANK = "▁"  # what stands for a blank inside of sub-words
_LETTER = rf"(?:(?!{HAN.pattern})\w)"
COPIED = re.compile(rf"{HAN.pattern}|{_LETTER}+(?:['’.-]{_LETTER}+)*|[^\w\s]")  # what is copied of a line as a whole


@dataclass(frozen=True)
class Tokens:
    """The tokens of one language. Token k has the id k; the first three are unknown, begin and end.

    Parameters
    ----------
    level : "char"; "word" splits words and marks; "space" what blanks separate, for text that is split already; "bpe"
        or "unigram" sub-words
    texts : the texts of the tokens; words and sub-words hold the blank before them
    lower : whether lines are lower-cased first
    rules : for sub-words, how to split, as JSON of the library tokenizers
    """

    level: str
    texts: tuple[str, ...]
    lower: bool = False
    rules: str = ""
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _splitter: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.one_of("Tokens", "level", self.level, LEVELS)
        checks.flags("Tokens", lower=self.lower)
        if self.texts[:3] != SPECIAL or len(set(self.texts)) != len(self.texts):
            raise ValueError(f"Tokens: texts must begin with {', '.join(SPECIAL)} and differ from each other")
        object.__setattr__(self, "_ids", {text: k for k, text in enumerate(self.texts) if k > END})
        object.__setattr__(self, "_splitter", _load_rules(self.rules) if self.level in SUBWORDS else None)

    @classmethod
    def learn(
        cls,
        lines: Iterable[str],
        level: str = "char",
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lower: bool = False,
    ) -> Tokens:
        """Return the tokens of some lines.

        Parameters
        ----------
        lines : texts of one language
        level, lower : see `Tokens`; what "unigram" learns is a little different each time, whatever the seed
        max_size : keep the most frequent only, the first three included; for sub-words 4,000 if absent
        min_count : keep what occurs at least so often; the rest is unknown, and a model that has seen unknown tokens
            knows what to do with them. Of "bpe", pieces that are joined at least so often; "unigram" has no use for it
        """
        checks.one_of("Tokens", "level", level, LEVELS)
        checks.positive("Tokens", min_count=min_count)
        if max_size is not None:
            checks.positive("Tokens", max_size=max_size)
        lines = [tidy(line, lower) for line in lines]
        if level in SUBWORDS:
            rules = _train_subwords(lines, level, max_size or 4000, min_count)
            splitter = _load_rules(rules)
            texts = tuple(splitter.id_to_token(k) for k in range(splitter.get_vocab_size()))
            return cls(level, texts, lower, rules)
        counted = Counter(piece for line in lines for piece in _split(line, level))
        kept = [piece for piece in counted if counted[piece] >= min_count and piece not in SPECIAL]
        kept.sort(key=lambda piece: (-counted[piece], piece))
        if max_size is not None:
            kept = kept[: max(max_size - len(SPECIAL), 0)]
        return cls(level, (*SPECIAL, *kept), lower)

    def __len__(self) -> int:
        return len(self.texts)

    def split(self, line: str) -> tuple[list[int], list[str]]:
        """Return the ids of a line, and the text that each of them stands for, as it is in the line, without blanks."""
        ids, places, text = self._place(line)
        return ids, [text[start:end].strip() for start, end in places]

    def words(self, line: str) -> list[tuple[int, str]]:
        """Return for each id of a line the word that it is a part of, and where in the line that begins.

        It is what to copy where a translation has no token for it. A character of a language without blanks stays as it
        is, and what stands for a blank belongs to the word after it.
        """
        _, places, text = self._place(line)
        if self.level in ("word", "space"):
            return [(start, text[start:end].strip()) for start, end in places]
        spans = [match.span() for match in COPIED.finditer(text)]
        ends = [end for _, end in spans]
        found = []
        for start, end in places:
            first, last = spans[bisect_right(ends, start)]
            piece = text[start:end].strip()
            found.append((start, piece) if len(piece) > last - first else (first, text[first:last]))
        return found

    def _place(self, line: str) -> tuple[list[int], list[tuple[int, int]], str]:
        """Return the ids of a line, from where to where each goes in the tidy line, and that line, not lower-cased."""
        text = tidy(line)
        read = tidy(line, self.lower)
        if len(read) != len(text):  # a capital whose small letter is two characters
            text = read
        if self._splitter is None:
            pieces = _split(read, self.level)
            return [self._ids.get(piece, UNKNOWN) for piece in pieces], _places(pieces, self.level), text
        encoding = self._splitter.encode(read, add_special_tokens=False)
        ids = [i if i > END else UNKNOWN for i in encoding.ids]  # a line that spells </s> does not end there
        places = [
            (start, start if token == BLANK else end)
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        ]
        return ids, places, text

    def encode(self, line: str) -> list[int]:
        """Return the ids of a line."""
        return self.split(line)[0]

    def decode(self, ids: Iterable[int], unknown: Sequence[str] | None = None) -> str:
        """Return the line of ids, begin and end left out.

        Parameters
        ----------
        ids : (S,)
        unknown : (S,) what to write for each id if it is the unknown one, nothing where it is empty; without it, U+FFFD
        """
        pieces = []
        for k, i in enumerate(ids):
            if i == UNKNOWN:
                text = "\ufffd" if unknown is None else unknown[k]
                pieces += [self._as_piece(text)] if text else []
            elif i not in (BEGIN, END):
                pieces.append(self.texts[i])
        if self.level == "space":
            return " ".join(pieces)
        text = "".join(pieces)
        return (text.replace(BLANK, " ") if self.level in SUBWORDS else text).strip()

    def _as_piece(self, text: str) -> str:
        """Return a text of another language as a piece of this one: words bring a blank of their own."""
        if self.level == "word":
            return " " + text
        return BLANK + text if self.level in SUBWORDS else text

    def to_json(self) -> dict[str, Any]:
        """Return the tokens as JSON."""
        return {"level": self.level, "texts": list(self.texts), "lower": self.lower, "rules": self.rules}

    @classmethod
    def from_json(cls, value: Any) -> Tokens:
        """Return the tokens that `to_json` gave; ValueError where it is damaged."""
        try:
            texts = tuple(value["texts"])
            if not all(isinstance(text, str) for text in (*texts, value["rules"])):
                raise TypeError("texts and rules must be texts")
            tokens = cls(value["level"], texts, value["lower"], value["rules"])
            if tokens._splitter is not None and tokens._splitter.get_vocab(with_added_tokens=True) != {
                text: k for k, text in enumerate(texts)
            }:
                raise ValueError("the rules are of another vocabulary")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"damaged tokens: {error!r}") from error
        return tokens


def tidy(line: str, lower: bool = False) -> str:
    """Return a line with single blanks between words and none around it, lower-cased if asked for."""
    line = " ".join(line.split())
    return line.lower() if lower else line


def _split(line: str, level: str) -> list[str]:
    """Return the pieces of a tidy line; words and marks with the blank before them."""
    if level == "space":
        return line.split()
    if level == "word":
        return [match.group() for match in WORDS.finditer(" " + line)] if line else []
    return list(line)


def _places(pieces: list[str], level: str) -> list[tuple[int, int]]:
    """Return from where to where each of the pieces of `_split` goes in its line."""
    between = int(level == "space")
    stops = list(accumulate(len(piece) + between for piece in pieces))
    if level == "word":  # the first has a blank that the line has not
        stops = [stop - 1 for stop in stops]
    return list(zip([0, *stops], [stop - between for stop in stops], strict=False))


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ImportError("sub-words need the library tokenizers: pip install 'elman[text]'") from None
    return tokenizers


def _train_subwords(lines: list[str], level: str, size: int, min_count: int) -> str:
    """Return rules learned from lines: byte-pair encoding (Sennrich et al. 2016) or unigram (Kudo 2018)."""
    library = _library()
    special = list(SPECIAL)
    if level == "bpe":
        splitter = library.Tokenizer(library.models.BPE(unk_token=SPECIAL[UNKNOWN]))
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            limit_alphabet=max(size - len(special), 0),  # the most frequent characters
            min_frequency=max(min_count, 2),
            special_tokens=special,
            show_progress=False,
        )
    else:
        splitter = library.Tokenizer(library.models.Unigram())
        trainer = library.trainers.UnigramTrainer(
            vocab_size=size, special_tokens=special, unk_token=SPECIAL[UNKNOWN], show_progress=False
        )
    splitter.pre_tokenizer = library.pre_tokenizers.Metaspace(BLANK)
    try:
        splitter.train_from_iterator(lines, trainer)
    except Exception as error:  # the library raises nothing narrower
        why = str(error)[:1].lower() + str(error)[1:]
        raise ValueError(f"{level}: {size:,} tokens at the most (max_size, --max-vocabulary): {why}") from error
    return str(splitter.to_str())


def _load_rules(rules: str) -> Any:
    library = _library()
    try:
        json.loads(rules)
        return library.Tokenizer.from_str(rules)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"the rules of sub-words cannot be read: {error}") from error
