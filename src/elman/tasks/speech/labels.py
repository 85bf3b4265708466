"""Labels of a recogniser: the letters (or words) that it writes, and the blank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman import checks
from elman.params import Array

BLANK = 0


@dataclass(frozen=True)
class Labels:
    """What a recogniser can write: label 0 is the blank, label k the symbol number k - 1.

    Parameters
    ----------
    symbols : letters, the space among them, or words
    level : "char": a text is its letters; "word": a text is words with spaces between them
    """

    symbols: tuple[str, ...]
    level: str = "char"

    def __post_init__(self) -> None:
        checks.one_of("Labels", "level", self.level, ["char", "word"])
        if not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ValueError("Labels: needs at least one symbol, and none of them twice")
        if any(not s or (self.level == "char" and len(s) != 1) for s in self.symbols):
            raise ValueError(f"Labels: symbols of level {self.level} must be single {self.level}s")

    @classmethod
    def learn(cls, texts: Iterable[str], level: str = "char") -> Labels:
        """Return the labels that some texts are made of, in order."""
        found = {symbol for text in texts for symbol in (text if level == "char" else text.split())}
        return cls(tuple(sorted(found)), level)

    def __len__(self) -> int:
        return len(self.symbols) + 1

    def encode(self, text: str, where: str = "text") -> Array:
        """Return the labels (S,) of a text; ValueError for what cannot be written with them."""
        symbols = list(text) if self.level == "char" else text.split()
        ids = {symbol: k for k, symbol in enumerate(self.symbols, 1)}
        unknown = sorted(set(symbols) - ids.keys())
        if unknown:
            raise ValueError(f"{where}: the recogniser cannot write {', '.join(map(repr, unknown[:5]))}")
        return np.array([ids[symbol] for symbol in symbols], np.intp)

    def decode(self, labels: Sequence[int] | Array) -> str:
        """Return the text of labels, which have no blank among them."""
        joint = "" if self.level == "char" else " "
        return joint.join(self.symbols[int(k) - 1] for k in labels)

    def to_json(self) -> dict[str, Any]:
        """Return what a file says about the labels."""
        return {"symbols": list(self.symbols), "level": self.level}

    @classmethod
    def from_json(cls, value: Any) -> Labels:
        """Return the labels in a file; ValueError where it is damaged."""
        if not isinstance(value, dict) or not isinstance(value.get("symbols"), list):
            raise ValueError(f"labels must be an object with symbols, got {value!r:.40}")
        if not all(isinstance(symbol, str) for symbol in value["symbols"]):
            raise ValueError("labels must be strings")
        return cls(tuple(value["symbols"]), str(value.get("level")))
