"""``elman text``: train a language model on a text, write with it, and measure it."""

from __future__ import annotations

import json
import math
import statistics
import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from elman.cli.console import fail, failures, note, progress_bar, refuse_to_replace
from elman.cli.run import Run, show_perplexity
from elman.cli.train_options import Cell, Length, refuse_changes, refuse_out, run_of
from elman.params import Array
from elman.sequences import TokenWindows
from elman.tasks.language import LanguageModel, Recipe, Score, digest, read_source, recipe_from_json
from elman.tasks.vocabulary import Vocabulary

app = typer.Typer(help="Language models: train, generate, evaluate.", no_args_is_help=True)


class Level(str, Enum):
    """What a token is."""

    char = "char"
    byte = "byte"
    word = "word"


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
        length = Length.of(steps, epochs, minutes)
        if resume is not None:
            refuse_changes(context, {"file", "resume", "overwrite", *Length._fields})
            _resume(resume, file, length).start()
            return
        if file is None:
            fail("name the text to learn from: elman text train FILE")
        if level is Level.byte and max_vocabulary is not None:
            fail("--level byte always has a vocabulary of 256; leave --max-vocabulary out")
        refuse_out(out, [file], overwrite)
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
        ids = vocabulary.encode(source, unknown=choose_unknown(None, vocabulary))
        del source
        recipe = Recipe(
            batch_size=batch, window_steps=window, learning_rate=rate, clip_norm=clip, validation=validation, seed=seed
        )
        _begin(lm, ids, recipe, length, file, encoding, out).start()


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
    unknown: Annotated[
        Unknown | None,
        typer.Option(help="Characters that the model does not know.  [default: unk if it has an unknown token]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how well a language model predicts a text, each token from all those before it."""
    with failures():
        lm = LanguageModel.load(model)
        source = read_source(file, lm.vocabulary.level, encoding)
        ids, lengths = lm.vocabulary.encode_lengths(
            source, unknown=choose_unknown(unknown, lm.vocabulary), where=str(file)
        )
        _note_unknown(lm.vocabulary, source, ids)
        with progress_bar() as bar:
            score = lm.evaluate(
                ids,
                n_rows=rows,
                lengths=lengths,
                progress=lambda batches: bar.track(batches, total=_n_batches(batches), description="evaluating"),
            )
        if as_json:  # which knows neither infinity nor NaN
            finite = {name: x if x is not None and math.isfinite(x) else None for name, x in score._asdict().items()}
            print(json.dumps(finite, allow_nan=False))
        else:
            _print_score(score, lm.vocabulary.level)


def _print_score(score: Score, level: str) -> None:
    token = "character" if level == "char" else level
    print(f"perplexity      {show_perplexity(score.nats_per_token)} a {token}")
    if level != "char":
        print(f"nats per {token}   {score.nats_per_token:.4f}")
    print(f"nats per char   {score.nats_per_char:.4f}")
    print(f"bits per char   {score.bits_per_char:.4f}")
    print(f"measured on     {score.tokens:,} {token}s, {score.characters:,} characters")


def choose_unknown(unknown: Unknown | None, vocabulary: Vocabulary) -> str:
    """Return what --unknown says, or, without it, "unk" where the vocabulary has an unknown token, else "error"."""
    if unknown is not None:
        return unknown.value
    return "error" if vocabulary.unknown_id is None else "unk"


def _note_unknown(vocabulary: Vocabulary, source: str | bytes, ids: Array) -> None:
    """Say how much of a text the model does not know, and what that means for the numbers."""
    if vocabulary.level == "char" and len(ids) < len(source):
        note(f"left out {len(source) - len(ids):,} characters that the model does not know")
    hidden = 0 if vocabulary.unknown_id is None else int(np.count_nonzero(ids == vocabulary.unknown_id))
    if hidden:
        note(
            f"{hidden:,} of {len(ids):,} tokens are unknown to the model: each counts with the probability of the "
            "unknown token, which hides its spelling, so the numbers are lower than those of a model that spells all"
        )


def _begin(lm: LanguageModel, ids: Array, recipe: Recipe, length: Length, file: Path, encoding: str, out: Path) -> Run:
    """Return a new run of a model on a text."""
    recipe = _with_length(recipe, lm, ids, length)
    about = {"file": str(file.absolute()), "encoding": encoding, "digest": digest(ids), "history": []}
    return Run(lm, ids, recipe, out, about, lm.training(ids, recipe))


def _resume(path: Path, file: Path | None, length: Length) -> Run:
    """Return the run that a file of a stopped run goes on with, or, from a finished model with a length, a new run."""
    lm, about = LanguageModel.load_all(path)
    run, recipe = _read_run(path, about)
    finished = "training" not in about
    if finished and not (length.is_given and file):
        fail(
            f"{path} has finished its {recipe.n_steps:,} steps; "
            f"to train it further: elman text train FILE --resume {path} --steps N"
        )
    if length.is_given and not finished:
        fail(
            f"{path} is at step {about['training']['step']:,} of {recipe.n_steps:,}, over which its learning rate "
            "falls; leave --steps, --epochs and --minutes out"
        )
    file = file or Path(str(run.get("file")))
    encoding = "utf-8" if lm.vocabulary.level == "byte" else str(run.get("encoding", "utf-8"))
    refuse_to_replace(path, file)
    if not file.exists():
        fail(f"{file}: the text is not there any more; say where it is: elman text train FILE --resume {path}")
    ids = lm.read(file, encoding, unknown=choose_unknown(None, lm.vocabulary))
    if finished:
        return _begin(lm, ids, recipe, length, file, encoding, path)
    if digest(ids) != run.get("digest"):
        fail(f"{file}: not the text that the run began with, so it cannot go on as it began")
    return Run(lm, ids, recipe, path, run, lm.training(ids, recipe, resume=path))


def _read_run(path: Path, about: dict[str, Any]) -> tuple[dict[str, Any], Recipe]:
    """Return what a file says about its run, after checks of all that is used of it, and the recipe."""
    run = run_of(path, about, "text", ("step", "nats", "loss"))
    try:
        recipe = recipe_from_json(run.get("recipe"))
    except ValueError as error:
        fail(f"{path}: {error}")
    if "training" in about:
        training = about["training"]
        step = training.get("step") if isinstance(training, dict) else None
        if type(step) is not int or not 0 <= step <= recipe.n_steps:
            fail(f"{path}: damaged: its training must be at a step of 0 to {recipe.n_steps:,}, got {step!r}")
        if type(training.get("seconds")) not in (int, float) or not 0 <= training["seconds"] < math.inf:
            fail(f"{path}: damaged: its training must say its seconds, got {training.get('seconds')!r}")
    return run, recipe


def _with_length(recipe: Recipe, lm: LanguageModel, ids: Array, length: Length) -> Recipe:
    """Return the recipe with the number of steps that --steps, --epochs or --minutes ask for."""

    def step_seconds() -> float:
        trial = LanguageModel(lm.model.copy(), lm.vocabulary)
        seconds: list[float] = [record.seconds for record in trial.training(ids, replace(recipe, n_steps=6))]
        return statistics.median(seconds[1:])

    steps = length.in_steps(recipe.windows(ids).n_windows, step_seconds, share=0.95)
    return recipe if steps is None else replace(recipe, n_steps=steps)


def _n_batches(batches: Any) -> int | None:
    return batches.n_batches if isinstance(batches, TokenWindows) else None
