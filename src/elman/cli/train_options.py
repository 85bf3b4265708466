"""What the commands that train share: options that go together, files that must not be lost, runs that go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import typer

from elman import storage
from elman.cli.console import fail, note, refuse_to_replace
from elman.train import MAX_STEPS


class Cell(str, Enum):
    """Which recurrence."""

    lstm = "lstm"
    gru = "gru"
    rnn = "rnn"


class Length(NamedTuple):
    """What --steps, --epochs and --minutes ask for, one of them at the most."""

    steps: int | None
    epochs: float | None
    minutes: float | None

    @classmethod
    def of(cls, steps: int | None, epochs: float | None, minutes: float | None) -> Length:
        """Return them, or end with a sentence where more than one is given."""
        if sum(value is not None for value in (steps, epochs, minutes)) > 1:
            fail("give only one of --steps, --epochs and --minutes")
        return cls(steps, epochs, minutes)

    @property
    def is_given(self) -> bool:
        """Whether any of them is."""
        return self != (None, None, None)

    def in_steps(self, epoch_steps: float, step_seconds: Callable[[], float], *, share: float) -> int | None:
        """Return how many steps that is; None where nothing is asked for.

        Parameters
        ----------
        epoch_steps : steps of one pass over the data
        step_seconds : does some steps on trial and returns the time of one, in seconds
        share : of the minutes that steps may take; the rest is for validations and saving
        """
        if self.epochs is not None:
            if not 0 < self.epochs < math.inf:
                fail(f"--epochs must be above 0 and finite, got {self.epochs}")
            return _whole(self.epochs * epoch_steps, f"--epochs {self.epochs:g}")
        if self.minutes is not None:
            if not 0 < self.minutes < math.inf:
                fail(f"--minutes must be above 0 and finite, got {self.minutes}")
            note("timing a few steps ...")
            return _whole(self.minutes * 60 * share / step_seconds(), f"--minutes {self.minutes:g}")
        return self.steps


def _whole(steps: float, option: str) -> int:
    """Return a number of steps, at least 1."""
    if not steps <= MAX_STEPS:
        fail(f"{option} makes {steps:.4g} steps; at most {MAX_STEPS:,} can be done")
    return max(1, round(steps))


def refuse_changes(context: typer.Context, allowed: set[str]) -> None:
    """End with a sentence if options are given that a run which goes on cannot change."""
    given = [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
    changed = sorted(set(given) - allowed)
    if changed:
        names = ", ".join("--" + name.replace("_", "-") for name in changed)
        fail(f"--resume goes on as the run began; leave out {names}")


def refuse_out(out: Path, files: Sequence[Path], overwrite: bool, *, goes_on: bool = True) -> None:
    """End with a sentence if to write the model would destroy what is read, or anything else that is no model.

    `goes_on` says whether the command can go on with a run that was stopped.
    """
    refuse_to_replace(out, *files)
    if not out.exists():
        return
    if not overwrite:
        go_on = f"go on with it by --resume {out}, " if goes_on else ""
        fail(f"{out} exists; give --out another name, {go_on}or add --overwrite")
    try:
        storage.read(out)
    except ValueError:
        fail(f"{out} is not an .elman file; give --out another name")


def run_of(path: Path, about: dict[str, Any], command: str, validation: Sequence[str]) -> dict[str, Any]:
    """Return what a file says about its run; `validation` names the numbers of an entry of its history."""
    run = about.get("run")
    if not isinstance(run, dict) or not isinstance(run.get("history"), list):
        fail(f"{path}: does not say how it was trained; it was not written by elman {command} train")
    for entry in run["history"]:
        right = isinstance(entry, list) and len(entry) == len(validation)
        if not right or not all(type(value) in (int, float) for value in entry):
            fail(f"{path}: damaged: a validation must be [{', '.join(validation)}], got {entry!r}")
    return run
