"""What a diagnosis finds: numbers, a verdict in words, a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman.diagnose import words
from elman.layers import Recurrent
from elman.params import Array

SURVIVES = 0.01  # the effective memory: how far back this share of the last step's gradient reaches
VANISHED = 1e-3  # below this share at the first step a gradient has vanished
EXPLODED = 10.0  # above this multiple, anywhere, it has exploded
LOW, HIGH = 0.05, 0.95  # beyond these a sigmoid is saturated; beyond -HIGH and HIGH a tanh is


class Saturation(NamedTuple):
    """Shares of a gate's activations, over all units and valid steps, at either end of its range.

    Below 0.05 and above 0.95 for a sigmoid, below -0.95 and above 0.95 for a tanh, exactly 0 for a relu (``low``).
    """

    low: float
    high: float

    @property
    def total(self) -> float:
        """The share at both ends."""
        return self.low + self.high


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """What one recurrent layer, or one direction of it, does to a gradient.

    The state of an LSTM is (h, c), and a gradient flows back on both. Its memory is read off the path on which more
    survives at each step, each path relative to its own end: what either of them still carries is not forgotten.
    Mostly that is c, whose path has no matrix in it.

    Steps back are counted from the end of each row's own walk: its last valid step, or, in a layer that runs in
    reverse, step 0. Where rows are shorter than k steps, both sides of the ratio at k leave them out.
    """

    name: str  # path in the model, such as "1" or "1.reverse"; "" where the model is this layer
    layer: Recurrent
    norms: Mapping[str, Array]  # "h", and "c": (T+1,) norm over rows and units of d(loss)/d(state), by time: before
    #   step 0, then after each step. In a layer that runs in reverse: after each step, then before the last one
    norms_back: Mapping[str, Array]  # the same k = 0..T steps back, of the loss at the last step alone
    surviving: Array  # (T+1,) norm k steps back as a share of that at the last step
    unit_norms: Array  # (H,) norm at the initial state, as a multiple of the mean (RMS) unit's norm at the last step
    saturation: Mapping[str, Saturation]  # by gate; "c" is tanh(c) of an LSTM, "h" the output of an RNN
    spectral_radius: Mapping[str, float]  # by gate: largest absolute eigenvalue of its block of weight_hh
    dead_units: tuple[int, ...]  # constant over the batch, or saturated at every step

    @property
    def n_steps(self) -> int:
        """Steps of the longest row."""
        return len(self.surviving) - 1

    @property
    def label(self) -> str:
        """The layer's path and kind."""
        return f"{self.name} {type(self.layer).__name__}".strip()

    @property
    def memory_steps(self) -> int:
        """Effective memory: the most steps back at which at least 1 % of the last step's gradient is left.

        ``n_steps`` means at least that: the gradient still lived at the initial state.
        """
        return int(np.flatnonzero(self.surviving >= SURVIVES * (1 - 1e-9)).max(initial=0))

    @property
    def memory(self) -> str:
        """The effective memory in words."""
        return f"at least {self.n_steps}" if self.memory_steps == self.n_steps else f"{self.memory_steps}"

    @property
    def factor_per_step(self) -> float:
        """By what the gradient is multiplied at each step back, in the geometric mean; 0 if none arrives."""
        alive = np.flatnonzero((self.surviving > 0) & np.isfinite(self.surviving))
        k = int(alive.max(initial=0))
        return float(self.surviving[k] ** (1 / k)) if k else (math.inf if not alive.size else 0.0)

    @property
    def vanishing_units(self) -> tuple[int, ...]:
        """Units whose initial state gets less than a thousandth of the gradient of the last step's mean unit."""
        return tuple(np.flatnonzero(self.unit_norms < VANISHED).tolist())

    @property
    def exploding_units(self) -> tuple[int, ...]:
        """Units whose initial state gets more than 10 times that gradient."""
        return tuple(np.flatnonzero(self.unit_norms > EXPLODED).tolist())

    @property
    def verdict(self) -> str:
        """In a word: "exploding" (in the norm at any step, or in one unit), "vanishing" (in the norm) or "healthy"."""
        if self.surviving.max() > EXPLODED or self.exploding_units:
            return "exploding"
        return "vanishing" if self.surviving[-1] < VANISHED else "healthy"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Further findings, a sentence each: saturated gates, dead units, units that differ from the whole."""
        return tuple(words.remarks(self))

    @property
    def explanation(self) -> str:
        """The verdict in a sentence."""
        return words.explanation(self)

    @property
    def remedy(self) -> str:
        """What to do about it, in sentences; empty if nothing is to be done."""
        return " ".join(words.remedies(self))

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON; a number that is not finite becomes None."""
        json: dict[str, Any] = as_json(
            {
                "name": self.name,
                "layer": repr(self.layer),
                "verdict": self.verdict,
                "explanation": self.explanation,
                "remarks": self.remarks,
                "remedy": self.remedy,
                "n_steps": self.n_steps,
                "memory_steps": self.memory_steps,
                "factor_per_step": self.factor_per_step,
                "surviving": self.surviving,
                "norms": self.norms,
                "norms_back": self.norms_back,
                "unit_norms": self.unit_norms,
                "vanishing_units": self.vanishing_units,
                "exploding_units": self.exploding_units,
                "dead_units": self.dead_units,
                "saturation": {gate: {"low": s.low, "high": s.high} for gate, s in self.saturation.items()},
                "spectral_radius": self.spectral_radius,
            }
        )
        return json


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """What a model does to the gradient of a batch: one `LayerFlow` a recurrent layer, and a verdict on the whole."""

    layers: tuple[LayerFlow, ...]
    loss: float  # of the batch
    n_rows: int

    def __getitem__(self, name: str | int) -> LayerFlow:
        if isinstance(name, int):
            return self.layers[name]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no recurrent layer {name!r}; there are {', '.join(repr(flow.name) for flow in self.layers)}")

    @property
    def verdict(self) -> str:
        """The worst of the layers' verdicts: "exploding", "vanishing" or "healthy"."""
        found = {layer.verdict for layer in self.layers}
        return next(word for word in ("exploding", "vanishing", "healthy") if word in found)

    @property
    def remedy(self) -> str:
        """What to do, one sentence after the other, each once."""
        return " ".join(dict.fromkeys(sentence for layer in self.layers for sentence in words.remedies(layer)))

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "loss": as_json(self.loss),
            "n_rows": self.n_rows,
            "verdict": self.verdict,
            "remedy": self.remedy,
            "layers": [layer.as_dict() for layer in self.layers],
        }

    def report(self) -> str:
        """Return it as text for a terminal: two tables, and the verdict on each layer."""
        return "\n".join(words.report(self))

    def __str__(self) -> str:
        return self.report()


def as_json(value: Any) -> Any:
    """Return a value as JSON; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [as_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
