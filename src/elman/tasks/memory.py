"""The long-memory task: name the first of many symbols, after nothing but noise; and who can learn it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from elman import checks, losses, plots
from elman.diagnose import LayerFlow, gradient_flow
from elman.diagnose.results import as_json
from elman.diagnose.words import table
from elman.layers import GRU, LSTM, RNN, Layer, Linear, Recurrent, Sequential
from elman.model import Model
from elman.optim import SGD, Adam, Optimizer
from elman.params import Array, count
from elman.sequences import Batch, Batches
from elman.train import Record, train

loss = losses.at_last_step(losses.cross_entropy)  # of y (B, T+1, K) and the first symbols (B,)

# Wraps a training, given a label for it, to show progress.
Track: TypeAlias = Callable[[Iterable[Record], str], Iterable[Record]]

# ------------------------------------------------------------------------------------------------------------- task


@dataclass(frozen=True)
class FirstSymbol(Batches):
    """Batches of the task: one of K symbols, then T steps of noise, at the last of which the symbol is to be named.

    x is (B, T+1, K+N): the symbol as a one-hot vector at step 0, and N features of standard normal noise at every
    step. Targets are the symbols, (B,). There is no end, and batch number k is always the same.

    Parameters
    ----------
    steps_back : T, how many steps the symbol lies behind
    n_symbols : K
    n_noise : N
    batch_size : B
    seed : of all draws
    """

    steps_back: int = 100
    _: KW_ONLY
    n_symbols: int = 8
    n_noise: int = 8
    batch_size: int = 32
    seed: int = 0

    n_batches = None

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("steps_back", "n_symbols", "n_noise", "batch_size")}
        checks.positive("FirstSymbol", **sizes)

    @property
    def input_size(self) -> int:
        """K + N."""
        return self.n_symbols + self.n_noise

    def batch(self, step: int) -> Batch:  # noqa: D102
        rng = np.random.default_rng([self.seed, step])
        B, K = self.batch_size, self.n_symbols
        x = np.zeros((B, self.steps_back + 1, self.input_size), np.float32)
        x[:, :, K:] = rng.standard_normal((B, self.steps_back + 1, self.n_noise))
        symbols = rng.integers(K, size=B)
        x[np.arange(B), 0, symbols] = 1
        return Batch(x, symbols)

    def held_out(self, n_rows: int) -> Batch:
        """Return rows that no training on this task sees."""
        return replace(self, batch_size=n_rows, seed=self.seed + 1_000_003).batch(0)


def accuracy(model: Model, batch: Batch) -> float:
    """Return the share of rows whose symbol the model names."""
    with np.errstate(over="ignore", invalid="ignore"):  # a model whose training broke off names nothing right
        y, _ = model(batch.x)
    return float((y[:, -1].argmax(axis=-1) == batch.targets).mean())


# ------------------------------------------------------------------------------------------------------- contenders


def contenders(task: FirstSymbol, *, hidden_size: int = 24, seed: int = 0) -> dict[str, Model]:
    """Return five models of about as many parameters, by what they are.

    Parameters
    ----------
    task : FirstSymbol
    hidden_size : H of the LSTM. The others get the hidden size that comes nearest to its number of parameters
    seed : of the initial weights
    """
    I, T = task.input_size, task.steps_back
    keep = math.log(max(T, 2))  # sigmoid(log T) = T / (T + 1): kept for about T steps (Tallec and Ollivier 2018)
    n = count(_classifier(LSTM(I, hidden_size), task).shapes())
    cells: dict[str, Callable[[int], Recurrent]] = {
        "RNN, tanh": lambda H: RNN(I, H),
        "LSTM, forget bias 1": lambda H: LSTM(I, H),
        f"LSTM, set for {T} steps": lambda H: LSTM(I, H, forget_bias=keep, input_bias=-keep),
        "GRU, update bias 0": lambda H: GRU(I, H),
        f"GRU, set for {T} steps": lambda H: GRU(I, H, update_bias=keep),
    }
    return {name: _of_size(cell, task, n).init(seed) for name, cell in cells.items()}


def exploding(task: FirstSymbol, *, hidden_size: int = 48, radius: float = 1.5, seed: int = 0) -> Model:
    """Return an RNN whose recurrent matrix is `radius` times an orthogonal one, with small input weights."""
    model = _classifier(RNN(task.input_size, hidden_size), task).init(seed)
    model.params["0.weight_hh"] *= radius
    model.params["0.weight_ih"] *= 0.1  # large ones would saturate the tanh, whose small slope hides the radius
    return model


def _classifier(layer: Recurrent, task: FirstSymbol) -> Sequential:
    return Sequential(layer, Linear(layer.hidden_size, task.n_symbols))


def _of_size(cell: Callable[[int], Recurrent], task: FirstSymbol, n_parameters: int) -> Layer:
    """Return the classifier of such cells whose number of parameters is nearest to n_parameters."""
    candidates = (_classifier(cell(H), task) for H in range(1, 2 + math.isqrt(n_parameters)))
    return min(candidates, key=lambda layer: abs(count(layer.shapes()) - n_parameters))


# ------------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True, eq=False)
class Contender:
    """One model of the comparison, before and after training."""

    name: str
    n_parameters: int
    before: LayerFlow
    after: LayerFlow | None  # None without training
    accuracy: float  # after it, on held-out rows
    losses: Array  # (n,) of each update


@dataclass(frozen=True, eq=False)
class Taming:
    """An exploding network, trained with and without clipping, from the same weights on the same batches."""

    task: FirstSymbol
    curves: plots.Clipping
    radius: float  # spectral radius of the recurrent matrix, at first
    accuracy: float  # after training with clipping
    free_accuracy: float  # and without
    stopped: str  # why the training without clipping broke off, if it did


@dataclass(frozen=True, eq=False)
class Comparison:
    """Who remembers for T steps: gradients before and after training, and a gradient that explodes, tamed."""

    task: FirstSymbol
    contenders: tuple[Contender, ...]
    exploding: LayerFlow  # at first, on the same task
    taming: Taming | None  # None without training

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw it: the gradient's way back before and after training, and below it the effect of clipping."""
        before, after = [], []
        for contender, (colour, style) in zip(self.contenders, _LOOKS, strict=True):
            label = f"{contender.name}: {contender.before.memory.replace('at least', '≥')}"
            before.append(plots.Curve(label, contender.before.surviving, colour, style))
            if contender.after is not None:
                label = f"{contender.name}: {contender.accuracy:.0%}"
                after.append(plots.Curve(label, contender.after.surviving, colour, style))
        radius = f"spectral radius {self.exploding.spectral_radius['h']:.2g}"
        before.append(plots.Curve(f"RNN, {radius}: explodes", self.exploding.surviving, plots.ORANGE))
        taming, title = self.taming, ""
        if taming is not None:
            title = f"Exploding gradient: RNN, spectral radius {taming.radius:.2g}, {taming.task.steps_back} steps"
        plots.plot_comparison(
            path,
            before,
            after,
            None if taming is None else taming.curves,
            at_step=self.task.steps_back,
            labels_say=("Effective memory in steps", f"Symbols named right, of {self.task.n_symbols}"),
            clipping_title=title,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "task": _task_as_dict(self.task),
            "contenders": [_contender_as_dict(contender) for contender in self.contenders],
            "exploding": self.exploding.as_dict(),
            "taming": None if self.taming is None else _taming_as_dict(self.taming),
        }

    def report(self) -> str:
        """Return it as text for a terminal."""
        return "\n".join(_report(self))

    def __str__(self) -> str:
        return self.report()


def compare(
    task: FirstSymbol | None = None,
    *,
    n_updates: int = 300,
    hidden_size: int = 24,
    seed: int = 0,
    track: Track = lambda records, _: records,
) -> Comparison:
    """Train RNN, LSTM and GRU side by side on the long-memory task, and an exploding RNN with and without clipping.

    All contenders have about as many parameters, and learn by Adam(0.01) with the gradient clipped at 1. The
    exploding network learns a shorter memory by SGD(0.1), which takes steps as large as the gradient.

    Parameters
    ----------
    task : FirstSymbol of 100 steps if absent
    n_updates : of each training; 0 measures the gradients at initialisation only
    hidden_size : of the LSTM; see `contenders`
    seed : of the initial weights
    track : wraps each training, given a label for it, to show progress
    """
    task = FirstSymbol(seed=seed) if task is None else task
    models = contenders(task, hidden_size=hidden_size, seed=seed)
    found = tuple(_compete(name, model, task, n_updates, track) for name, model in models.items())
    flow = _flow(exploding(task, seed=seed), task)
    taming = tame(task, n_updates=n_updates, seed=seed, track=track) if n_updates else None
    return Comparison(task, found, flow, taming)


def tame(
    task: FirstSymbol,
    *,
    n_updates: int = 300,
    clip_norm: float = 1.0,
    seed: int = 0,
    track: Track = lambda records, _: records,
) -> Taming:
    """Train an exploding RNN twice, with and without clipping, on the task cut to at most 30 steps."""
    task = replace(task, steps_back=min(task.steps_back, 30))
    tamed, free = exploding(task, seed=seed), exploding(task, seed=seed)
    radius = float(np.abs(np.linalg.eigvals(tamed.params["0.weight_hh"].astype(np.float64))).max())
    records, _ = _learn(tamed, task, n_updates, SGD(0.1), clip_norm, track, "exploding RNN, clipped")
    free_records, stopped = _learn(free, task, n_updates, SGD(0.1), None, track, "exploding RNN, not clipped")
    curves = plots.Clipping(
        clip_norm=clip_norm,
        norms=_column(records, "norm"),
        clipped_norms=_column(records, "clipped_norm"),
        losses=_column(records, "loss"),
        free_norms=_column(free_records, "norm"),
        free_losses=_column(free_records, "loss"),
        chance=math.log(task.n_symbols),
    )
    test = task.held_out(500)
    return Taming(task, curves, radius, accuracy(tamed, test), accuracy(free, test), stopped)


def _compete(name: str, model: Model, task: FirstSymbol, n_updates: int, track: Track) -> Contender:
    before = _flow(model, task)
    records = _learn(model, task, n_updates, Adam(0.01), 1.0, track, name)[0] if n_updates else []
    after = _flow(model, task) if n_updates else None
    right = accuracy(model, task.held_out(500))
    return Contender(name, model.params.flat.size, before, after, right, _column(records, "loss"))


def _flow(model: Model, task: FirstSymbol) -> LayerFlow:
    return gradient_flow(model, task.held_out(32), loss=loss)[0]


def _learn(
    model: Model,
    task: FirstSymbol,
    n_updates: int,
    optimizer: Optimizer,
    clip_norm: float | None,
    track: Track,
    label: str,
) -> tuple[list[Record], str]:
    """Train a model; return the records, and why it broke off, if it did."""
    training = train(model, task, loss=loss, optimizer=optimizer, clip_norm=clip_norm, n_steps=n_updates)
    records: list[Record] = []
    try:
        records.extend(track(training, label))
    except FloatingPointError as error:
        return records, str(error)
    return records, ""


def _column(records: list[Record], name: str) -> Array:
    return np.array([getattr(record, name) for record in records])


# ----------------------------------------------------------------------------------------------------------- words

_LOOKS: tuple[tuple[str, Any], ...] = (  # colour and line of each contender
    (plots.RED, "-"),
    (plots.SKY, plots.DASHES),
    (plots.BLUE, "-"),
    (plots.PURPLE, plots.DASHES),
    (plots.GREEN, plots.DASH_DOT),
)


def _report(comparison: Comparison) -> Iterable[str]:
    task = comparison.task
    guessing = f"guessing: {1 / task.n_symbols:.0%} right"
    yield f"Name the first of {task.n_symbols} symbols after {task.steps_back} steps of noise ({guessing})"
    yield ""
    rows = [("model", "units", "parameters", "memory at first", "after training", "right")]
    for c in comparison.contenders:
        after = ("", "") if c.after is None else (f"{c.after.memory} steps", f"{c.accuracy:.0%}")
        rows.append(
            (c.name, f"{c.before.layer.hidden_size}", f"{c.n_parameters:,}", f"{c.before.memory} steps", *after)
        )
    yield from table(rows)
    yield ""
    T, kept = task.steps_back, 1 / (1 + math.exp(-1))
    left = f"{kept:.2f}^{T} = {kept**T:.0e}"
    yield f"At first a forget bias of 1 keeps {kept:.0%} of an LSTM's cell at each step: {left} over all."
    yield f"Set for {T} steps, the gates keep {T / (T + 1):.1%} at each: {(T / (T + 1)) ** T:.0%} over all."
    yield ""
    flow = comparison.exploding
    yield f"RNN with a spectral radius of {flow.spectral_radius['h']:.2g}: {flow.verdict}. {flow.explanation}"
    if comparison.taming is not None:
        yield from _taming_report(comparison.taming)


def _taming_report(taming: Taming) -> Iterable[str]:
    c = taming.curves
    yield f"Trained to remember {taming.task.steps_back} steps by SGD:"
    yield ""
    rows = [("gradient", "largest norm", "and as used", "loss at the end", "right")]
    ends = [f"{losses[-20:].mean():.4f}" if losses.size else "" for losses in (c.losses, c.free_losses)]
    used = f"{c.clipped_norms.max(initial=0):.4g}"
    rows.append(
        (f"clipped at {c.clip_norm:g}", f"{c.norms.max(initial=0):.4g}", used, ends[0], f"{taming.accuracy:.0%}")
    )
    largest = f"{c.free_norms.max(initial=0):.4g}"
    rows.append(("not clipped", largest, largest, ends[1], f"{taming.free_accuracy:.0%}"))
    yield from table(rows)
    if taming.stopped:
        yield taming.stopped


def _task_as_dict(task: FirstSymbol) -> dict[str, Any]:
    names = ("steps_back", "n_symbols", "n_noise", "batch_size", "seed")
    return {name: getattr(task, name) for name in names}


def _contender_as_dict(contender: Contender) -> dict[str, Any]:
    json: dict[str, Any] = as_json(
        {
            "name": contender.name,
            "n_parameters": contender.n_parameters,
            "before": contender.before.as_dict(),
            "after": None if contender.after is None else contender.after.as_dict(),
            "accuracy": contender.accuracy,
            "losses": contender.losses,
        }
    )
    return json


def _taming_as_dict(taming: Taming) -> dict[str, Any]:
    json: dict[str, Any] = as_json(
        {
            "task": _task_as_dict(taming.task),
            "spectral_radius": taming.radius,
            "accuracy": taming.accuracy,
            "free_accuracy": taming.free_accuracy,
            "stopped": taming.stopped,
            **taming.curves._asdict(),
        }
    )
    return json
