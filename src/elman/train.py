"""Training by truncated backpropagation through time: an iterator of records, no callbacks, with exact resume."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from elman import checks, diagnose, losses, optim
from elman.layers import Layer
from elman.losses import Loss
from elman.model import Model, load_all
from elman.params import Array, Params
from elman.sequences import Batch
from elman.trees import tree_leaves, tree_map

MAX_STEPS = 10**9  # that a recipe may ask for


class Record(NamedTuple):
    """What one step of training did."""

    step: int  # steps done, this one included
    loss: float  # before the update
    norm: float  # global norm of the gradient before clipping
    clipped_norm: float  # and after
    learning_rate: float
    tokens: int  # valid steps of the batch
    seconds: float  # that the step took
    tokens_per_second: float
    nonfinite: str = ""  # where a loss or gradient was not finite; then nothing was changed


class Evaluation(NamedTuple):
    """Mean loss over all valid steps of some batches."""

    loss: float
    tokens: int


@dataclass(frozen=True)
class Clip:
    """One of the ways to clip, and its limit."""

    kind: str  # "clip_norm", "clip_value" or "clip_each"
    limit: float

    def __call__(self, grads: Params) -> optim.Clipped:
        """Clip gradients in place."""
        functions = {
            "clip_norm": optim.clip_by_global_norm,
            "clip_value": optim.clip_by_value,
            "clip_each": optim.clip_per_parameter,
        }
        return functions[self.kind](grads, self.limit)


class Training:
    """A training in progress: iterate over it for records, save it at any point between them.

    Made by `train`. ``step`` counts the steps done. ``seconds`` sums the time of the steps, over all resumed parts.
    """

    def __init__(
        self,
        model: Model,
        batches: Iterable[Any],
        *,
        loss: Callable[..., Loss],
        optimizer: optim.Optimizer,
        clip: Clip,
        n_steps: int | None,
        seed: int,
        on_nonfinite: str,
    ) -> None:
        self.model = model
        self.step = 0
        self.seconds = 0.0
        self.n_steps = n_steps
        self._batches = batches
        self._position: Iterator[Any] | None = None
        self._loss = loss
        self._optimizer = optimizer
        self._moments = optimizer.init(model.params)
        self._grads = model.params.zeros_like()
        self._clip = clip
        self._rng = np.random.default_rng(seed)
        self._state: Any = None
        self._on_nonfinite = on_nonfinite

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self.n_steps is not None and self.step >= self.n_steps:
            raise StopIteration
        if self._position is None:
            self._position = _from_step(self._batches, self.step)
        batch = next(self._position)
        return self._train_on(Batch(*batch))

    def _train_on(self, batch: Batch) -> Record:
        start = time.perf_counter()
        model, layer = self.model, self.model.layer
        where = f"train: step {self.step + 1}"
        size = measure(where, model, batch)
        if batch.reset:
            self._state = None
        else:
            _refuse_to_carry(where, layer)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for
            y, state, tape = model.forward(batch.x, self._state, lengths=batch.lengths, rng=self._rng)
            value, d_y = self._loss(y, batch.targets, lengths=batch.lengths)
            self._grads.flat[:] = 0
            result = model.backward(tape, d_y, grads=self._grads)
            clipped = self._clip(self._grads)
        rate = self._optimizer.rate(self._moments.step)
        problem = ""
        # Optimisers square the gradient, so one whose square is no number would freeze weights for good.
        if math.isfinite(value) and clipped.clipped_norm < np.sqrt(np.finfo(model.params.dtype).max):
            self._moments = self._optimizer.update(model.params, self._grads, self._moments)
            self._state = state
        else:
            problem = f"{where}: {diagnose.locate_nonfinite(layer, value, y, self._grads, result.d_states)}"
            if self._on_nonfinite == "raise":
                raise FloatingPointError(
                    f"{problem}; this step did not change the weights. Clip the gradient or lower the learning rate"
                )
            self._state = None
        self.step += 1
        seconds = time.perf_counter() - start
        self.seconds += seconds
        return Record(
            self.step,
            value,
            clipped.norm,
            clipped.clipped_norm,
            rate,
            size.tokens,
            seconds,
            size.tokens / seconds,
            problem,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        about: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Array] | None = None,
    ) -> None:
        """Write the model and all that the training needs to go on, to the bit, to one ``.elman`` file.

        The file is also a model: `elman.load` reads it.
        """
        training = {
            "step": self.step,
            "updates": self._moments.step,
            "seconds": self.seconds,
            **self._rules(),
            "rng": self._rng.bit_generator.state,
            "carries_state": self._state is not None,
        }
        arrays: dict[str, Array] = {f"training/moment{k}": m.flat for k, m in enumerate(self._moments.moments)}
        if self._state is not None:
            arrays |= {f"training/state/{name}": array for name, array in tree_leaves(self._state)}
        self.model.save(path, about={**(about or {}), "training": training}, tensors={**arrays, **(tensors or {})})

    def _rules(self) -> dict[str, str]:
        """Return what must be the same for a resumed training to give the same bits."""
        loss = getattr(self._loss, "__qualname__", None) or repr(self._loss)
        return {"optimizer": repr(self._optimizer), "clip": repr(self._clip), "loss": loss}

    def restore(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Take over weights, moments, random state, carried state and data position from a file of `save`.

        Returns the file's JSON. Raises ValueError where the file holds no training, or one of another model, optimiser,
        clipping or loss.
        """
        model, about, tensors = load_all(path)
        training = about.get("training")
        if not isinstance(training, dict):
            raise ValueError(f"{path}: holds a model, but no training to go on with")
        for name, ours, theirs in (
            ("layer", self.model.layer, model.layer),
            ("dtype", self.model.params.dtype, model.params.dtype),
            *((rule, ours, training.get(rule)) for rule, ours in self._rules().items()),
        ):
            if ours != theirs:
                raise ValueError(f"{path}: was trained with {name} {theirs}, cannot go on with {ours}")
        try:
            for k, moment in enumerate(self._moments.moments):
                found = tensors[f"training/moment{k}"]
                if found.shape != moment.flat.shape:
                    raise ValueError(f"moment {k} must be {moment.flat.shape}, got {found.shape}")
                moment.flat[:] = found
            self._rng.bit_generator.state = training["rng"]
            state = None
            if training["carries_state"]:
                named = {name: array for name, array in tensors.items() if name.startswith("training/state/")}
                B = next(iter(named.values())).shape[0] if named else 0
                paths = iter([name for name, _ in tree_leaves(model.zero_state(B))])
                state = tree_map(lambda _: named[f"training/state/{next(paths)}"], model.zero_state(B))
            step, updates, seconds = int(training["step"]), int(training["updates"]), float(training["seconds"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError(f"{path}: damaged: its training cannot be read ({error!r})") from error
        self.model.params.flat[:] = model.params.flat
        self._moments = optim.OptimizerState(updates, self._moments.moments)
        self._state, self.step, self.seconds, self._position = state, step, seconds, None
        return about


def train(
    model: Model,
    batches: Iterable[Any],
    *,
    loss: Callable[..., Loss] = losses.cross_entropy,
    optimizer: optim.Optimizer | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    clip_each: float | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    on_nonfinite: str = "raise",
    resume: str | os.PathLike[str] | None = None,
) -> Training:
    """Train a model in place, step by step.

    ::

        for record in elman.train(model, batches, optimizer=elman.optim.Adam(3e-3), clip_norm=1.0):
            print(record.step, record.loss)

    Parameters
    ----------
    model : changed in place by every step
    batches : an iterable of `Batch` or of (x, targets) pairs. A batch with ``reset=False`` goes on with the state
        of the one before: backpropagation is cut between them, the state is not
    loss : function (y, targets, lengths=) -> Loss(value, d_y), of `elman.losses` or your own
    optimizer : Adam(1e-3) if absent
    clip_norm, clip_value, clip_each : at most one; see `clip_by_global_norm`, `clip_by_value` and `clip_per_parameter`
        of `elman.optim`
    n_steps : stop after so many steps in all; None: when the batches end
    seed : draws the dropout masks
    on_nonfinite : "raise" (FloatingPointError) or "skip" when a loss or gradient is not finite; it never
        reaches the weights
    resume : file of `Training.save` to go on with; the same batches from their start must be given again

    Returns
    -------
    Training
        an iterator of `Record`; its ``save`` writes model and training to one file
    """
    checks.one_of("train", "on_nonfinite", on_nonfinite, ["raise", "skip"])
    if n_steps is not None:
        checks.positive("train", n_steps=n_steps)
    limits = {"clip_norm": clip_norm, "clip_value": clip_value, "clip_each": clip_each}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if len(given) > 1:
        raise ValueError("train: give at most one of clip_norm, clip_value and clip_each")
    for name, limit in given.items():
        checks.in_range("train", name, limit, 0, open_low=True)
    clip = Clip(*next(iter(given.items()), ("clip_norm", math.inf)))
    training = Training(
        model,
        batches,
        loss=loss,
        optimizer=optim.Adam() if optimizer is None else optimizer,
        clip=clip,
        n_steps=n_steps,
        seed=seed,
        on_nonfinite=on_nonfinite,
    )
    if resume is not None:
        training.restore(resume)
    return training


def evaluate(model: Model, batches: Iterable[Any], *, loss: Callable[..., Loss] = losses.cross_entropy) -> Evaluation:
    """Return the mean loss over all valid steps of the batches, with the state carried over where they say so.

    A loss of `losses.at_last_step` is averaged over rows.
    """
    total, terms, tokens, state = 0.0, 0, 0, None
    for item in batches:
        batch = Batch(*item)
        if not batch.reset:
            _refuse_to_carry("evaluate", model.layer)
        size = measure("evaluate", model, batch)
        y, state = model(batch.x, None if batch.reset else state, lengths=batch.lengths)
        n = size.rows if getattr(loss, "per_row", False) else size.tokens
        if n:
            total += loss(y, batch.targets, lengths=batch.lengths)[0] * n
        terms += n
        tokens += size.tokens
    return Evaluation(total / terms if terms else math.nan, tokens)


def _from_step(batches: Iterable[Any], step: int) -> Iterator[Any]:
    """Return the batches from number `step` on: at once where the source can, else by drawing and dropping."""
    from_step = getattr(batches, "from_step", None)
    return iter(from_step(step)) if from_step is not None else islice(iter(batches), step, None)


class Size(NamedTuple):
    """What a batch holds."""

    rows: int  # that have a valid step
    tokens: int  # valid steps


def measure(where: str, model: Model, batch: Batch) -> Size:
    """Return the size of a batch; ValueError if a valid step of x or of its targets is not finite."""
    with np.errstate(over="ignore"):
        x, form = model.layer.arrange(batch.x, batch.lengths, model.params.dtype)
    T, B = form.shape
    if not model.layer.takes_tokens:
        _refuse_nonfinite(where, "x", x.swapaxes(0, 1)[0] if form.kind == "single" else x.swapaxes(0, 1))
    targets = batch.targets
    if isinstance(targets, np.ndarray) and targets.dtype.kind == "f":
        if form.valid is not None and targets.shape[:2] == (B, T):
            targets = np.where(form.valid.swapaxes(0, 1).reshape(B, T, *(1,) * (targets.ndim - 2)), targets, 0)
        _refuse_nonfinite(where, "targets", targets)
    if form.lengths is None:
        return Size(B if T else 0, T * B)
    return Size(int((form.lengths > 0).sum()), int(form.lengths.sum()))


def _refuse_to_carry(where: str, layer: Layer) -> None:
    if not layer.is_causal:
        raise ValueError(f"{where}: {layer!r} reads from the end of a sequence, so no state can be carried over")


def _refuse_nonfinite(where: str, name: str, values: Array) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        at = ", ".join(map(str, np.argwhere(~finite)[0]))
        raise ValueError(f"{where}: {name} has a NaN or an infinity at [{at}]; fill it or leave the sequence out")
