"""The cells that are measured: which layer, what work, which sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
KINDS = tuple(GATES)


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Parameters
    ----------
    kind : "LSTM", "GRU" (reset_after) or "RNN" (tanh), one layer; "character model" is a whole training step
    work : "inference" of whole sequences, "training" (forward, and backward to weights and input), or "step": one
        step of a stream, state in and out
    B, T, I, H : sequences, steps, input features, hidden units
    ragged : whether the rows have unequal lengths
    """

    kind: str
    work: str
    B: int
    T: int
    I: int
    H: int
    ragged: bool = False

    @property
    def name(self) -> str:
        """What tables, files and --cells call it."""
        return f"{self.kind} {self.work}{' ragged' * self.ragged} B{self.B} T{self.T} I{self.I} H{self.H}"

    @property
    def flops(self) -> int | None:
        """Multiplications and additions of the matrix products in one call; backward counts twice forward.

        None where the valid steps, and so the work, are not T B.
        """
        if self.kind not in GATES or self.ragged:
            return None
        forward = 2 * GATES[self.kind] * self.T * self.B * self.H * (self.I + self.H)
        return forward * (3 if self.work == "training" else 1)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights and of one bias in float32: what a step must read."""
        return 4 * GATES[self.kind] * self.H * (self.I + self.H + 1)

    @property
    def is_large(self) -> bool:
        """Whether matrix products of a good size make up the work."""
        return self.kind in GATES and self.H >= 512 and self.B >= 32 and not self.ragged


SEQUENCES = (  # B, T, I, H
    (1, 1000, 40, 128),
    (1, 200, 256, 256),
    (8, 100, 64, 128),
    (16, 50, 16, 32),
    (32, 100, 64, 128),
    (64, 50, 128, 256),
    (128, 100, 32, 64),
    (32, 50, 512, 512),
    (64, 35, 650, 650),
)
STEPS = ((32, 32), (64, 64), (64, 128), (128, 192), (256, 256), (128, 384), (256, 512))  # I, H
RAGGED = ((32, 100, 64, 128), (16, 1000, 40, 128))
CHARACTER = Cell("character model", "training", 64, 64, 64, 256)  # I is the size of the embedding

FULL = (
    *(Cell(kind, "step", 1, 1, *sizes) for kind in KINDS for sizes in STEPS),
    *(Cell(kind, work, *sizes) for work in ("inference", "training") for kind in KINDS for sizes in SEQUENCES),
    *(Cell(kind, work, *RAGGED[0], ragged=True) for work in ("inference", "training") for kind in KINDS),
    *(Cell("LSTM", work, *RAGGED[1], ragged=True) for work in ("inference", "training")),
    CHARACTER,
)

QUICK = (
    Cell("LSTM", "step", 1, 1, 64, 128),
    Cell("LSTM", "inference", 1, 1000, 40, 128),
    Cell("LSTM", "inference", 32, 100, 64, 128),
    Cell("LSTM", "inference", 64, 35, 650, 650),
    Cell("GRU", "inference", 64, 50, 128, 256),
    Cell("RNN", "inference", 128, 100, 32, 64),
    Cell("LSTM", "training", 32, 100, 64, 128),
    Cell("GRU", "training", 32, 100, 64, 128),
    Cell("LSTM", "inference", 32, 100, 64, 128, ragged=True),
    CHARACTER,
)


def select(cells: Iterable[Cell], patterns: Iterable[str]) -> list[Cell]:
    """Return the cells whose name has all the words of one of the patterns; all of them without patterns.

    ValueError where a pattern fits none.
    """
    cells, wanted = list(cells), [set(pattern.split()) for pattern in patterns]
    for words in wanted:
        if not any(words <= set(cell.name.split()) for cell in cells):
            raise ValueError(f"no cell has all of {' '.join(sorted(words))!r} in its name; --list shows the names")
    return [cell for cell in cells if not wanted or any(words <= set(cell.name.split()) for words in wanted)]
