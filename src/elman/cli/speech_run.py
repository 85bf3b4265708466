"""The training of a recogniser as the command line does it: progress, validation, saving, and an end by Ctrl-C."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import typer
from rich.progress import Progress

from elman.cli.console import INTERRUPTED, NARROW, Interrupt, err, fail, note, progress_bar
from elman.cli.run import LOG_EVERY_SECONDS, SAVE_EVERY_SECONDS, VALIDATIONS, clock, save_or_elsewhere
from elman.ctc import greedy
from elman.tasks.speech.labels import BLANK
from elman.tasks.speech.metrics import character_errors, word_errors
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser, RecogniserTraining, recipe_to_json
from elman.train import Record


class SpeechRun:
    """A training of a recogniser, with what a terminal shows of it."""

    def __init__(
        self,
        recogniser: Recogniser,
        held: Sequence[Example],
        recipe: Recipe,
        out: Path,
        about: dict[str, Any],
        training: RecogniserTraining,
    ) -> None:
        self.recogniser, self.held, self.recipe, self.out, self.training = recogniser, held, recipe, out, training
        self.about = {"digest": self.digest(training.examples), **about}  # and the validations so far
        self.validate_every = max(1, training.n_steps // VALIDATIONS)
        self.loss = math.nan  # smoothed
        self.saved_at = time.monotonic()
        self.logged_at = 0.0

    @staticmethod
    def digest(examples: Sequence[Example]) -> str:
        """Return a fingerprint of recordings and their texts, to know them again."""
        found = hashlib.sha256()
        for e in examples:
            found.update(np.ascontiguousarray(e.x).tobytes() + e.text.encode("utf-8") + b"\0")
        return found.hexdigest()

    def start(self) -> None:
        """Train to the end, or until interrupted."""
        self._save()  # now, so that a place that cannot be written to is known before the work
        examples = self.training.examples
        seconds = sum(len(e.x) for e in examples) * self.recogniser.front.shift_ms / 1000
        err.print(
            f"{self.recogniser.model.params.flat.size:,} parameters, {len(self.recogniser.labels)} labels; "
            f"{len(examples):,} recordings to train on ({clock(seconds)} minutes), {len(self.held):,} held out; "
            f"{self.training.n_steps:,} steps of {self.recipe.batch_size} recordings",
            soft_wrap=not err.is_terminal,
        )
        try:
            self._train()
        except FloatingPointError as error:
            self._diverged(error)
        if self.training.step >= self.training.n_steps:
            self._finish()
        else:
            self._stop()

    def _train(self) -> None:
        with Interrupt() as interrupt, self._bar() as bar:
            task = bar.add_task(
                "training" if err.width >= NARROW else "",
                total=self.training.n_steps,
                completed=self.training.step,
                loss=math.nan,
                val=self._last_validation(),
                before=math.nan,
                after=math.nan,
            )
            for record in self.training:
                self.loss = record.loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * record.loss
                if record.step % self.validate_every == 0 or record.step == self.training.n_steps:
                    self._validate(record.step)
                bar.update(
                    task,
                    completed=record.step,
                    loss=self.loss,
                    val=self._last_validation(),
                    before=record.norm,
                    after=record.clipped_norm,
                )
                self._log(record)
                if time.monotonic() - self.saved_at > SAVE_EVERY_SECONDS and record.step < self.training.n_steps:
                    self._save_or_warn()
                if interrupt.wished:
                    break

    def _bar(self) -> Progress:
        return progress_bar(
            "loss {task.fields[loss]:.2f}",
            "val {task.fields[val]}",
            "grad {task.fields[before]:.1f}→{task.fields[after]:.1f}",
        )

    def _log(self, record: Record) -> None:
        if err.is_terminal or time.monotonic() - self.logged_at <= LOG_EVERY_SECONDS:
            return
        self.logged_at = time.monotonic()
        left = (self.training.n_steps - record.step) * self.training.seconds / record.step
        note(
            f"step {record.step:,}/{self.training.n_steps:,}  loss {self.loss:.2f}  val {self._last_validation()}  "
            f"grad {record.norm:.1f}→{record.clipped_norm:.1f}  {clock(left)} left"
        )

    def _validate(self, step: int) -> None:
        if not self.held:
            return
        average = self.training.average
        found = greedy(average.logits(average.steps(self.held)), blank=BLANK)
        written = [" ".join(average.labels.decode(labels).split()) for labels in found]
        said = [e.text for e in self.held]
        rates = [word_errors(said, written).rate, character_errors(said, written).rate]
        self.about["history"].append([step, *rates, self.loss])

    def _last_validation(self) -> str:
        if not self.about["history"]:
            return "-"
        _, words, letters, _ = self.about["history"][-1]
        return f"WER {100 * words:.1f} CER {100 * letters:.1f}"

    def _save(self) -> None:
        self.training.save(self.out, about={"run": self._run_json()})
        self.saved_at = time.monotonic()

    def _run_json(self) -> dict[str, Any]:
        return {**self.about, "recipe": recipe_to_json(self.recipe)}

    def _save_or_warn(self) -> None:
        try:
            self._save()
        except OSError as error:
            self.saved_at = time.monotonic()
            note(f"{error.strerror}; training goes on and tries again in {SAVE_EVERY_SECONDS} seconds")

    def _stop(self) -> None:
        self.out = save_or_elsewhere(self.out, lambda out: self.training.save(out, about={"run": self._run_json()}))
        note(
            f"Stopped after step {self.training.step:,} of {self.training.n_steps:,}; everything is saved.\n"
            f"Go on with:  elman speech train --resume {self.out}"
        )
        raise typer.Exit(INTERRUPTED)

    def _finish(self) -> None:
        # The finished recogniser has the averaged weights, and neither moments nor the place of the recordings.
        run = {name: value for name, value in self._run_json().items() if name not in ("recordings", "digest")}
        self.out = save_or_elsewhere(self.out, lambda out: self.training.average.save(out, about={"run": run}))
        note(f"Trained {self.training.n_steps:,} steps in {clock(self.training.seconds)}.")
        if self.about["history"]:
            note(f"Recordings held out: {self._last_validation()}, in percent of {len(self.held)} recordings.")
        listen = " --live" if self.recogniser.is_live else ""
        note(
            f"Wrote {self.out} ({self.out.stat().st_size / 1e6:.1f} MB).\n"
            f"Try:  elman speech transcribe {self.out} FILE.wav{listen}"
        )

    def _diverged(self, error: FloatingPointError) -> NoReturn:
        """Save the weights as they were before the step that failed, and say what to do."""
        self._save()
        fail(
            f"{error}; the weights after step {self.training.step:,} are saved in {self.out}, but to go on from them "
            f"would end the same way: train anew with --rate {self.recipe.learning_rate / 10:g}, "
            f"and --overwrite or another --out"
        )
