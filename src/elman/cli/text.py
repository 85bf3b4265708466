"""``elman text``: train a language model on a text, write with it, and measure it."""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from elman.cli.console import INTERRUPTED, Interrupt, err, fail, failures, note, progress_bar
from elman.params import Array
from elman.sequences import TokenWindows
from elman.tasks.language import LanguageModel, Recipe, digest, read_source, recipe_from_json, recipe_to_json
from elman.tasks.vocabulary import Vocabulary
from elman.train import Record, Training

app = typer.Typer(help="Language models: train, generate, evaluate.", no_args_is_help=True)

SAVE_EVERY_SECONDS = 60
LOG_EVERY_SECONDS = 10  # where there is no terminal for a bar
VALIDATIONS = 10  # in a run
VALIDATION_TOKENS = 200_000  # at the most, each time


class Level(str, Enum):
    """What a token is."""

    char = "char"
    byte = "byte"
    word = "word"


class Cell(str, Enum):
    """Which recurrence."""

    lstm = "lstm"
    gru = "gru"
    rnn = "rnn"


class Unknown(str, Enum):
    """What to do with characters that the model does not know."""

    error = "error"
    skip = "skip"
    unk = "unk"


@app.command()
def train(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The text to learn from.")] = None,
    out: Annotated[Path, typer.Option(help="The model to write.")] = Path("model.elman"),
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was stopped: the model it wrote.")] = None,
    level: Annotated[Level, typer.Option(help="What a token is.")] = Level.char,
    cell: Annotated[Cell, typer.Option(help="Which recurrence.")] = Cell.lstm,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each recurrent layer.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    embedding: Annotated[int, typer.Option(min=1, help="Features of a token.")] = 64,
    dropout: Annotated[float, typer.Option(help="Probability of dropout, while training.")] = 0.0,
    max_vocabulary: Annotated[int | None, typer.Option(min=2, help="Keep the most frequent tokens only.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates in all.  [default: 1500]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the text, instead of --steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="About how long, instead of --steps.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Parts of the text read side by side.")] = 64,
    window: Annotated[int, typer.Option(min=1, help="Tokens between two cuts of the backpropagation.")] = 64,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam at the start; it falls to 0.")] = 3e-3,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    validation: Annotated[float, typer.Option(help="Share of the text, at its end, that is held out.")] = 0.1,
    encoding: Annotated[str, typer.Option(help="Encoding of the file.")] = "utf-8",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same model.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that --out names.")] = False,
) -> None:
    """Train a language model on a text.

    Ctrl-C saves and says how to go on.
    """
    with failures():
        if sum(value is not None for value in (steps, epochs, minutes)) > 1:
            fail("give only one of --steps, --epochs and --minutes")
        length = {"steps": steps, "epochs": epochs, "minutes": minutes}
        if resume is not None:
            given = [p for p in context.params if str(context.get_parameter_source(p)).endswith("COMMANDLINE")]
            changed = sorted(set(given) - {"file", "resume", "overwrite", *length})
            if changed:
                fail(f"--resume goes on as the run began; leave out {', '.join('--' + name for name in changed)}")
            run = _resume(resume, file, length)
        else:
            if file is None:
                fail("name the text to learn from: elman text train FILE")
            if out.exists() and not overwrite:
                fail(f"{out} exists; give --out another name, go on with it by --resume {out}, or add --overwrite")
            source = read_source(file, level.value, encoding)
            vocabulary = Vocabulary.learn(source, level.value, max_size=max_vocabulary)
            lm = LanguageModel.build(
                vocabulary,
                cell=cell.value,
                embedding_size=embedding,
                hidden_size=hidden,
                n_layers=layers,
                dropout=dropout,
                seed=seed,
            )
            ids = vocabulary.encode(source, unknown="unk" if vocabulary.unknown_id is not None else "error")
            del source
            recipe = Recipe(
                batch_size=batch,
                window_steps=window,
                learning_rate=rate,
                clip_norm=clip,
                validation=validation,
                seed=seed,
            )
            recipe = _with_length(recipe, lm, ids, length)
            about = {"file": str(file.absolute()), "encoding": encoding, "digest": digest(ids), "history": []}
            run = _Run(lm, ids, recipe, out, about, lm.training(ids, recipe))
        run.start()


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="A model of elman text train.")],
    prompt: Annotated[str, typer.Option(help="Text to go on with.")] = "",
    tokens: Annotated[int, typer.Option(min=0, help="How many tokens at the most.")] = 500,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest; below 1: safer; above: bolder.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest tokens with this much together.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same text.")] = None,
    stop: Annotated[str | None, typer.Option(help="End before this text.")] = None,
    unknown: Annotated[Unknown, typer.Option(help="Characters of the prompt that it does not know.")] = Unknown.error,
) -> None:
    """Write with a language model: the prompt, and what follows it, as it is drawn."""
    with failures():
        lm = LanguageModel.load(model)
        pieces = lm.generate(
            prompt,
            n_tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=stop,
            unknown=unknown.value,
        )
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
        try:
            print(prompt, end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
        finally:
            print(flush=True)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model of elman text train.")],
    file: Annotated[Path, typer.Argument(help="A text that it has not seen.")],
    rows: Annotated[int, typer.Option(min=1, help="Parts read side by side: 1 is exact, more are faster.")] = 1,
    encoding: Annotated[str, typer.Option(help="Encoding of the file.")] = "utf-8",
    unknown: Annotated[Unknown, typer.Option(help="Characters that the model does not know.")] = Unknown.error,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how well a language model predicts a text, each token from all those before it."""
    with failures():
        lm = LanguageModel.load(model)
        source = read_source(file, lm.vocabulary.level, encoding)
        ids = lm.vocabulary.encode(source, unknown=unknown.value, where=str(file))
        n_characters = None
        if lm.vocabulary.level == "word" and rows == 1:
            n_characters = len(source) - lm.vocabulary.count_characters(ids[:1])
        if lm.vocabulary.level == "char" and len(ids) < len(source):
            note(f"left out {len(source) - len(ids):,} characters that the model does not know")
        with progress_bar() as bar:
            score = lm.evaluate(
                ids,
                n_rows=rows,
                n_characters=n_characters,
                progress=lambda batches: bar.track(batches, total=_n_batches(batches), description="evaluating"),
            )
        if as_json:
            print(json.dumps(score._asdict()))
            return
        token = "character" if lm.vocabulary.level == "char" else lm.vocabulary.level
        print(f"perplexity      {score.perplexity:.4f} a {token}")
        if lm.vocabulary.level != "char":
            print(f"nats per {token}   {score.nats_per_token:.4f}")
        print(f"nats per char   {score.nats_per_char:.4f}")
        print(f"bits per char   {score.bits_per_char:.4f}")
        print(f"measured on     {score.tokens:,} {token}s, {score.characters:,} characters")


class _Run:
    """A training as the command line does it: with progress, validation, saving, and an end by Ctrl-C."""

    def __init__(
        self, lm: LanguageModel, ids: Array, recipe: Recipe, out: Path, about: dict[str, Any], training: Training
    ) -> None:
        self.lm = lm
        self.ids = ids
        self.recipe = recipe
        self.out = out
        self.about = about  # of the run: where the text lies, and the validations so far
        self.training = training
        self.held_out = recipe.split(ids)[1][:VALIDATION_TOKENS]
        self.validate_every = max(1, recipe.n_steps // VALIDATIONS)
        self.saved_at = time.monotonic()
        self.logged_at = 0.0

    def start(self) -> None:
        """Train to the end, or until interrupted."""
        self._save()  # now, so that a place that cannot be written to is known before the work
        part, windows = self.recipe.split(self.ids)[0], self.recipe.windows(self.ids)
        err.print(
            f"{self.lm.model.params.flat.size:,} parameters, vocabulary of {len(self.lm.vocabulary):,}; "
            f"{len(part):,} tokens to train on, {len(self.held_out):,} held out; "
            f"{self.recipe.n_steps:,} steps of {windows.x.shape[0]} x {windows.n_steps} tokens",
            soft_wrap=not err.is_terminal,
        )
        with Interrupt() as interrupt, self._bar() as bar:
            task = bar.add_task(
                "training",
                total=self.recipe.n_steps,
                completed=self.training.step,
                loss=math.nan,
                val=self._last_validation(),
                before=math.nan,
                after=math.nan,
                speed=0.0,
            )
            for record in self.training:
                if record.step % self.validate_every == 0 or record.step == self.recipe.n_steps:
                    self._validate(record.step)
                self._show(bar, task, record)
                if time.monotonic() - self.saved_at > SAVE_EVERY_SECONDS and record.step < self.recipe.n_steps:
                    self._save_or_warn()
                if interrupt.wished:
                    break
        if self.training.step >= self.recipe.n_steps:
            self._finish()
        else:
            self._stop()

    def _bar(self) -> Progress:
        return progress_bar(
            "loss {task.fields[loss]:.3f}",
            "val {task.fields[val]}",
            "grad {task.fields[before]:.2f}→{task.fields[after]:.2f}",
            "{task.fields[speed]:,.0f} tok/s",
        )

    def _show(self, bar: Progress, task: TaskID, record: Record) -> None:
        seen = bar.tasks[0].fields
        loss = record.loss if math.isnan(seen["loss"]) else 0.9 * seen["loss"] + 0.1 * record.loss
        speed = record.tokens_per_second if not seen["speed"] else 0.9 * seen["speed"] + 0.1 * record.tokens_per_second
        val = self._last_validation()
        bar.update(
            task, completed=record.step, loss=loss, val=val, before=record.norm, after=record.clipped_norm, speed=speed
        )
        if not err.is_terminal and time.monotonic() - self.logged_at > LOG_EVERY_SECONDS:
            self.logged_at = time.monotonic()
            left = (self.recipe.n_steps - record.step) * self.training.seconds / record.step
            note(
                f"step {record.step:,}/{self.recipe.n_steps:,}  loss {loss:.3f}  val {val}  "
                f"grad {record.norm:.2f}→{record.clipped_norm:.2f}  {speed:,.0f} tok/s  {_clock(left)} left"
            )

    def _validate(self, step: int) -> None:
        if len(self.held_out) >= 2:
            nats = self.lm.evaluate(self.held_out, n_rows=max(1, min(64, len(self.held_out) // 64))).nats_per_token
            self.about["history"].append([step, nats])

    def _last_validation(self) -> str:
        return f"{self.about['history'][-1][1]:.3f}" if self.about["history"] else "-"

    def _save(self) -> None:
        self.lm.save_training(self.out, self.training, about={"run": self._run_json()})
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
        self._or_elsewhere(self._save)
        note(
            f"Stopped after step {self.training.step:,} of {self.recipe.n_steps:,}; everything is saved.\n"
            f"Go on with:  elman text train --resume {self.out}"
        )
        raise typer.Exit(INTERRUPTED)

    def _finish(self) -> None:
        # The finished model carries neither the moments of the optimiser nor the place of the text.
        run = {"recipe": recipe_to_json(self.recipe), "history": self.about["history"]}
        self._or_elsewhere(lambda: self.lm.save(self.out, about={"run": run}))
        note(f"Trained {self.recipe.n_steps:,} steps in {_clock(self.training.seconds)}.")
        if self.about["history"]:
            history = self.about["history"]
            nats = history[-1][1]
            unit = "char" if self.lm.vocabulary.level == "char" else self.lm.vocabulary.level
            note(
                f"Held-out text: {nats:.4f} nats a {unit} ({nats / math.log(2):.3f} bits), "
                f"perplexity {math.exp(min(nats, 700)):.3f}."
            )
            best = min(history, key=lambda entry: entry[1])
            if best[1] < nats - 0.02:
                note(f"It was {best[1]:.4f} at step {best[0]:,}: the model overfits; fewer --steps or --dropout help.")
        note(
            f"Wrote {self.out} ({self.out.stat().st_size / 1e6:.1f} MB).\n"
            f'Try:  elman text generate {self.out} --prompt "..."'
        )

    def _or_elsewhere(self, save: Any) -> None:
        """Save, or, where that is impossible, save to the folder for temporary files, rather than lose the work."""
        try:
            save()
        except OSError as error:
            wanted, self.out = self.out, Path(tempfile.gettempdir()) / f"{os.getpid()}-{self.out.name}"
            save()
            note(f"{error.strerror}; so the model went to {self.out} instead of {wanted}")


def _resume(path: Path, file: Path | None, length: dict[str, Any]) -> _Run:
    """Return the run that a file of a stopped run goes on with, or, from a finished model with a length, a new run."""
    lm, about = LanguageModel.load_all(path)
    run = about.get("run")
    if not isinstance(run, dict) or not isinstance(run.get("history"), list):
        fail(f"{path}: does not say how it was trained; it was not written by elman text train")
    recipe = recipe_from_json(run.get("recipe"))
    finished = "training" not in about
    wants_length = any(value is not None for value in length.values())
    if finished and not (wants_length and file):
        fail(
            f"{path} has finished its {recipe.n_steps:,} steps; "
            f"to train it further: elman text train FILE --resume {path} --steps N"
        )
    if wants_length and not finished:
        fail(
            f"{path} is at step {about['training'].get('step')} of {recipe.n_steps:,}, over which its learning rate "
            "falls; leave --steps, --epochs and --minutes out"
        )
    file = file or Path(str(run.get("file")))
    encoding = str(run.get("encoding", "utf-8"))
    if not file.exists():
        fail(f"{file}: the text is not there any more; say where it is: elman text train FILE --resume {path}")
    ids = lm.read(file, encoding, unknown="unk" if lm.vocabulary.unknown_id is not None else "error")
    if finished:
        recipe = _with_length(recipe, lm, ids, length)
        about = {"file": str(file.absolute()), "encoding": encoding, "digest": digest(ids), "history": []}
        return _Run(lm, ids, recipe, path, about, lm.training(ids, recipe))
    if digest(ids) != run.get("digest"):
        fail(f"{file}: not the text that the run began with, so it cannot go on as it began")
    return _Run(lm, ids, recipe, path, run, lm.training(ids, recipe, resume=path))


def _with_length(recipe: Recipe, lm: LanguageModel, ids: Array, length: dict[str, Any]) -> Recipe:
    """Return the recipe with the number of steps that --steps, --epochs or --minutes ask for."""
    steps, epochs, minutes = length["steps"], length["epochs"], length["minutes"]
    if epochs is not None:
        if not epochs > 0:
            fail(f"--epochs must be above 0, got {epochs}")
        steps = max(1, round(epochs * recipe.windows(ids).n_windows))
    if minutes is not None:
        if not 0 < minutes < math.inf:
            fail(f"--minutes must be above 0, got {minutes}")
        note("timing a few steps ...")
        trial = LanguageModel(lm.model.copy(), lm.vocabulary)
        seconds = [record.seconds for record in trial.training(ids, replace(recipe, n_steps=6))][1:]
        steps = max(1, int(minutes * 60 * 0.95 / statistics.median(seconds)))
    return recipe if steps is None else replace(recipe, n_steps=steps)


def _n_batches(batches: Any) -> int | None:
    return batches.n_batches if isinstance(batches, TokenWindows) else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
