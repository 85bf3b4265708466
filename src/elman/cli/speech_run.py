"""The training of a recogniser as the command line does it: progress, validation, saving, and an end by Ctrl-C."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elman.cli.console import err, note
from elman.cli.run import Run, clock
from elman.ctc import greedy
from elman.tasks.speech.labels import BLANK
from elman.tasks.speech.metrics import character_errors, word_errors
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser, RecogniserTraining, recipe_to_json


class SpeechRun(Run):
    """A training of a recogniser: what is validated, written and tested are its averaged weights."""

    command = "speech"
    smoothing = 0.95
    columns = (
        "loss {task.fields[loss]:.2f}",
        "val {task.fields[val]}",
        "grad {task.fields[before]:.1f}→{task.fields[after]:.1f}",
    )
    line = "loss {loss:.2f}  val {val}  grad {before:.1f}→{after:.1f}"

    def __init__(
        self,
        recogniser: Recogniser,
        held: Sequence[Example],
        recipe: Recipe,
        out: Path,
        about: dict[str, Any],
        training: RecogniserTraining,
    ) -> None:
        self.recogniser = recogniser
        self.held = held
        self.recipe: Any = recipe
        self._set_out(out, {"digest": self.digest(training.examples), **about}, training, training.n_steps)

    @staticmethod
    def digest(examples: Sequence[Example]) -> str:
        """Return a fingerprint of recordings and their texts, to know them again."""
        found = hashlib.sha256()
        for e in examples:
            found.update(np.ascontiguousarray(e.x).tobytes() + e.text.encode("utf-8") + b"\0")
        return found.hexdigest()

    def _introduce(self) -> None:
        examples = self.training.examples
        seconds = sum(len(e.x) for e in examples) * self.recogniser.front.shift_ms / 1000
        err.print(
            f"{self.recogniser.model.params.flat.size:,} parameters, {len(self.recogniser.labels)} labels; "
            f"{len(examples):,} recordings to train on ({clock(seconds)} minutes), {len(self.held):,} held out; "
            f"{self.n_steps:,} steps of {self.recipe.batch_size} recordings",
            soft_wrap=not err.is_terminal,
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

    def _finish(self) -> None:
        # The finished recogniser has the averaged weights, and no moments.
        self._or_elsewhere(lambda: self.training.average.save(self.out, about={"run": self._finished_json()}))
        note(f"Trained {self.n_steps:,} steps in {clock(self.training.seconds)}.")
        if self.about["history"]:
            note(f"Recordings held out: {self._last_validation()}, in percent of {len(self.held)} recordings.")
        attempt = f"transcribe {self.out} FILE.wav" + (" --live" if self.recogniser.is_live else "")
        if self.recogniser.front.kind == "cepstra":  # which no sound can be turned into here
            attempt = f"eval {self.out} an4"
        note(f"Wrote {self.out} ({self.out.stat().st_size / 1e6:.1f} MB).\nTry:  elman speech {attempt}")
