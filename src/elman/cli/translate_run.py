"""A training of a translator as the command line does it: with samples, and the best weights kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from elman.cli.console import err, note
from elman.cli.run import OVERFITS, Run, clock, show_number, show_perplexity, why_worse
from elman.params import Array
from elman.tasks.translate import Recipe, Translator
from elman.tasks.translate.data import LinePair
from elman.train import Training

VALIDATION_PAIRS = 2000  # at the most, each time
SAMPLES = 2  # shown at each validation
VALIDATIONS = 20  # in a run


class TranslateRun(Run):
    """A training of a translator: validations show samples, and the best of the weights they saw are the result."""

    command = "translate"

    def __init__(
        self,
        translator: Translator,
        pairs: list[LinePair],
        held_out: list[LinePair],
        recipe: Recipe,
        out: Path,
        about: dict[str, Any],
        training: Training,
        best: Array | None = None,
    ) -> None:
        self.lm: Any = translator  # what Run saves
        self.translator = translator
        self.n_pairs = len(pairs)
        self.held_out_pairs = held_out[:VALIDATION_PAIRS]
        self.held_out_ids = translator.encode(self.held_out_pairs)
        self.recipe: Any = recipe
        self.best = best  # the weights of the best validation
        self._set_out(out, about, training, recipe.n_steps, VALIDATIONS)

    def _introduce(self) -> None:
        t = self.translator
        err.print(
            f"{t.model.params.flat.size:,} parameters, reads {len(t.source):,} tokens ({t.source.level}), writes "
            f"{len(t.target):,} ({t.target.level}); {self.n_pairs:,} pairs to train on, "
            f"{len(self.held_out_pairs):,} for validations; {self.recipe.n_steps:,} steps of "
            f"{self.recipe.batch_size} pairs",
            soft_wrap=not err.is_terminal,
        )

    def _validate(self, step: int) -> None:
        if not self.held_out_pairs:
            return
        history = self.about["history"]
        nats = self.translator.evaluate(self.held_out_ids)
        history.append([step, nats, self.loss])
        best = min(range(len(history)), key=lambda k: history[k][1])
        if best == len(history) - 1:
            self.best = self.translator.model.params.flat.copy()
        self.enough = 0 < self.recipe.patience <= len(history) - 1 - best
        shown = self.held_out_pairs[(len(history) - 1) % len(self.held_out_pairs) :][:SAMPLES]
        for (line, _), found in zip(shown, self.translator.translate([a for a, _ in shown], beam=1), strict=True):
            note(f"  step {step:,}: {line} → {found[0].text}")

    def _run_json(self) -> dict[str, Any]:
        return {**self.about, "recipe": self.recipe.to_json()}

    def _save(self) -> None:
        tensors = {} if self.best is None else {"best/weights": self.best}
        self.translator.save_training(self.out, self.training, about={"run": self._run_json()}, tensors=tensors)
        self.saved_at = time.monotonic()

    def _finish(self) -> None:
        # The finished model does not carry the moments of the optimiser.
        history = self.about["history"]
        if self.best is not None:
            self.translator.model.params.flat[:] = self.best
        self._or_elsewhere(lambda: self.translator.save(self.out, about={"run": self._finished_json()}))
        note(f"Trained {self.training.step:,} steps in {clock(self.training.seconds)}.")
        if history:
            self._judge(history)
        note(f"Wrote {self.out} ({self.out.stat().st_size / 1e6:.1f} MB).\nTry:  elman translate run {self.out}")

    def _judge(self, history: list[list[Any]]) -> None:
        """Say how well held-out translations are predicted, and at which step that was best."""
        step, nats, loss = min(history, key=lambda entry: entry[1])
        note(f"Held-out translations: {show_number(nats)} nats a token, perplexity {show_perplexity(nats)}.")
        if history[-1][1] > nats + OVERFITS:
            kept = f"These are the weights of step {step:,}; at step {history[-1][0]:,} it was {history[-1][1]:.4f}"
            note(f"{kept}: {why_worse(loss, history[-1][2])}.")
