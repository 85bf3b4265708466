"""A training as the command line does it: with progress, validation, saving, and an end by Ctrl-C."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.progress import Progress, TaskID

from elman.cli.console import INTERRUPTED, NARROW, Interrupt, err, fail, note, progress_bar
from elman.params import Array
from elman.tasks.language import LanguageModel, Recipe, recipe_to_json
from elman.train import Record, Training

SAVE_EVERY_SECONDS = 60
LOG_EVERY_SECONDS = 10  # where there is no terminal for a bar
VALIDATIONS = 10  # in a run
VALIDATION_TOKENS = 200_000  # at the most, each time
OF_A_RUN = {"file", "files", "dev", "recordings", "digest", "loss"}  # what a finished model does not say
OVERFITS = 0.02  # nats by which the held-out text must have become worse


class Run:
    """A training as the command line does it: with progress, validation, saving, and an end by Ctrl-C."""

    command = "text"  # of `elman`, that goes on with the run
    enough = False  # whether to end before the last step
    smoothing = 0.9  # of the loss that is shown
    columns: tuple[str, ...] = (  # of the bar, and below what a line says where there is none
        "loss {task.fields[loss]:.3f}",
        "val {task.fields[val]}",
        "grad {task.fields[before]:.2f}→{task.fields[after]:.2f}",
        "{task.fields[speed]:,.0f} tok/s",
    )
    line = "loss {loss:.3f}  val {val}  grad {before:.2f}→{after:.2f}  {speed:,.0f} tok/s"

    def __init__(
        self, lm: LanguageModel, ids: Array, recipe: Recipe, out: Path, about: dict[str, Any], training: Training
    ) -> None:
        self.lm = lm
        self.ids = ids
        self.recipe = recipe
        self.held_out = recipe.split(ids)[1][:VALIDATION_TOKENS]
        self._set_out(out, about, training, recipe.n_steps)

    def _set_out(self, out: Path, about: dict[str, Any], training: Any, n_steps: int, times: int = VALIDATIONS) -> None:
        """Note where a run of so many steps goes to, with a validation so many times on the way."""
        self.out = out
        self.about = about  # of the run: where its data lie, and the validations so far
        self.training = training
        self.n_steps = n_steps
        self.validate_every = max(1, n_steps // times)
        loss = about.get("loss")
        self.loss = loss if isinstance(loss, float) else math.nan  # of the training, smoothed, as is the speed
        self.speed = 0.0
        self.saved_at = time.monotonic()
        self.logged_at = 0.0

    def start(self) -> None:
        """Train to the end, or until interrupted."""
        self._save()  # now, so that a place that cannot be written to is known before the work
        self._introduce()
        try:
            self._train()
        except FloatingPointError as error:
            self._diverged(error)
        if self.training.step >= self.n_steps or self.enough:
            self._finish()
        else:
            self._stop()

    def _introduce(self) -> None:
        (part, rest), windows = self.recipe.split(self.ids), self.recipe.windows(self.ids)
        cut = f", the first {len(self.held_out):,} of them for validations" if len(rest) > len(self.held_out) else ""
        err.print(
            f"{self.lm.model.params.flat.size:,} parameters, vocabulary of {len(self.lm.vocabulary):,}; "
            f"{len(part):,} tokens to train on, {len(rest):,} held out{cut}; "
            f"{self.recipe.n_steps:,} steps of {windows.x.shape[0]} x {windows.n_steps} tokens",
            soft_wrap=not err.is_terminal,
        )

    def _train(self) -> None:
        with Interrupt() as interrupt, self._bar() as bar:
            task = bar.add_task(
                "training" if err.width >= NARROW else "",
                total=self.n_steps,
                completed=self.training.step,
                loss=math.nan,
                val=self._last_validation(),
                before=math.nan,
                after=math.nan,
                speed=0.0,
            )
            for record in self.training:
                self._smooth(record)
                if record.step % self.validate_every == 0 or record.step == self.n_steps:
                    self._validate(record.step)
                self._show(bar, task, record)
                if time.monotonic() - self.saved_at > SAVE_EVERY_SECONDS and record.step < self.n_steps:
                    self._save_or_warn()
                if interrupt.wished or self.enough:
                    break

    def _bar(self) -> Progress:
        return progress_bar(*self.columns)

    def _smooth(self, record: Record) -> None:
        kept = self.smoothing
        self.loss = record.loss if math.isnan(self.loss) else kept * self.loss + (1 - kept) * record.loss
        self.about["loss"] = self.loss  # a run that is resumed goes on from it
        self.speed = 0.9 * self.speed + 0.1 * record.tokens_per_second if self.speed else record.tokens_per_second

    def _show(self, bar: Progress, task: TaskID, record: Record) -> None:
        shown: dict[str, Any] = {
            "loss": self.loss,
            "val": self._last_validation(),
            "before": record.norm,
            "after": record.clipped_norm,
            "speed": self.speed,
        }
        bar.update(task, completed=record.step, **shown)
        if not err.is_terminal and time.monotonic() - self.logged_at > LOG_EVERY_SECONDS:
            self.logged_at = time.monotonic()
            left = (self.n_steps - record.step) * self.training.seconds / record.step
            note(f"step {record.step:,}/{self.n_steps:,}  {self.line.format(**shown)}  {clock(left)} left")

    def _validate(self, step: int) -> None:
        if len(self.held_out) >= 2:
            nats = self.lm.evaluate(self.held_out, n_rows=max(1, min(64, len(self.held_out) // 64))).nats_per_token
            self.about["history"].append([step, nats, self.loss])

    def _last_validation(self) -> str:
        return f"{self.about['history'][-1][1]:.3f}" if self.about["history"] else "-"

    def _save(self) -> None:
        self.lm.save_training(self.out, self.training, about={"run": self._run_json()})
        self.saved_at = time.monotonic()

    def _run_json(self) -> dict[str, Any]:
        return {**self.about, "recipe": recipe_to_json(self.recipe)}

    def _finished_json(self) -> dict[str, Any]:
        """Return what a finished model says of its run: not where its data lie, nor what only a resumed run needs."""
        return {name: value for name, value in self._run_json().items() if name not in OF_A_RUN}

    def _save_or_warn(self) -> None:
        try:
            self._save()
        except OSError as error:
            self.saved_at = time.monotonic()
            note(f"{error.strerror}; training goes on and tries again in {SAVE_EVERY_SECONDS} seconds")

    def _stop(self) -> None:
        self._or_elsewhere(self._save)
        note(
            f"Stopped after step {self.training.step:,} of {self.n_steps:,}; everything is saved.\n"
            f"Go on with:  elman {self.command} train --resume {self.out}"
        )
        raise typer.Exit(INTERRUPTED)

    def _finish(self) -> None:
        # The finished model does not carry the moments of the optimiser.
        self._or_elsewhere(lambda: self.lm.save(self.out, about={"run": self._finished_json()}))
        note(f"Trained {self.recipe.n_steps:,} steps in {clock(self.training.seconds)}.")
        if self.about["history"]:
            self._judge(self.about["history"])
        note(
            f"Wrote {self.out} ({self.out.stat().st_size / 1e6:.1f} MB).\n"
            f'Try:  elman text generate {self.out} --prompt "..."'
        )

    def _judge(self, history: list[list[Any]]) -> None:
        """Say how well the held-out text is predicted, and whether that was better before."""
        _, nats, loss = history[-1]
        note(
            f"Held-out text: {show_number(nats)} nats a {self.lm.vocabulary.level} "
            f"({show_number(nats / math.log(2))} bits), "
            f"perplexity {show_perplexity(nats)}."
        )
        best_step, best_nats, best_loss = min(history, key=lambda entry: entry[1])
        if best_nats < nats - OVERFITS:
            note(f"It was {best_nats:.4f} at step {best_step:,}: {why_worse(best_loss, loss)}.")

    def _diverged(self, error: FloatingPointError) -> NoReturn:
        """Save the weights as they were before the step that failed, and say what to do."""
        self._or_elsewhere(self._save)
        fail(
            f"{error}; the weights after step {self.training.step:,} are saved in {self.out}, but to go on from them "
            f"would end the same way: train anew with --rate {self.recipe.learning_rate / 10:g}, "
            f"and --overwrite or another --out"
        )

    def _or_elsewhere(self, save: Callable[[], None]) -> None:
        """Save, or, where that is impossible, save to the folder for temporary files, rather than lose the work."""
        try:
            save()
        except OSError as error:
            wanted, self.out = self.out, Path(tempfile.gettempdir()) / f"{os.getpid()}-{self.out.name}"
            save()
            note(f"{error.strerror}; so the model went to {self.out} instead of {wanted}")


def why_worse(best_loss: float, loss: float) -> str:
    """Return why a validation was better before, and what helps, by the training's loss then and now."""
    if loss < best_loss:
        return "the model overfits; fewer --steps or more --dropout help"
    return "the training became worse too; a lower --rate helps"


def show_perplexity(nats: float) -> str:
    """Return exp(nats) in few digits, however large."""
    return f"exp({nats:.4g})" if nats > 709 else show_number(math.exp(nats))  # beyond lies no double


def show_number(value: float) -> str:
    """Return a number in few digits, however large."""
    return f"{value:.4f}" if value < 1e5 else f"{value:.4g}"


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
