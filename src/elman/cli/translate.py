"""``elman translate``: train a translator on pairs of lines, translate with it, and measure it."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import math
import os
import statistics
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from elman.cli.console import fail, failures, note, progress_bar, refuse_to_replace
from elman.cli.train_options import Cell, Length, refuse_changes, refuse_out, run_of
from elman.cli.translate_run import TranslateRun
from elman.tasks.translate import (
    LengthNorm,
    Recipe,
    Tokens,
    Translation,
    Translator,
    bleu,
    chrf,
    read_pairs,
    split_pairs,
)
from elman.tasks.translate.data import LinePair
from elman.tasks.translate.metrics import HAN, Bleu
from elman.tasks.translate.tokens import UNKNOWN
from elman.tasks.translate.translator import IdPair

app = typer.Typer(help="Translation: train, run, evaluate.", no_args_is_help=True)
MANY_UNKNOWN = 0.2  # of the tokens
BLOCK = 256  # lines that are translated at once, at the most
READ_BYTES = 1 << 16  # at a time


class Level(str, Enum):
    """What a token is."""

    char = "char"
    word = "word"
    space = "space"
    bpe = "bpe"
    unigram = "unigram"


class Attends(str, Enum):
    """How attention scores."""

    general = "general"
    dot = "dot"
    additive = "additive"
    none = "none"


class Norm(str, Enum):
    """How translations of different length are compared."""

    mean = "mean"
    gnmt = "gnmt"
    none = "none"


Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Two files, line by line translations of each other, or one with tabs between both."),
]
Encoding = Annotated[str, typer.Option(help="Encoding of the files.")]
Beam = Annotated[int, typer.Option(min=1, help="Translations kept at each step; 1 is greedy and fast.")]
NormOption = Annotated[Norm, typer.Option(help="Compare by the mean a token, as GNMT does, or by nothing.")]
Alpha = Annotated[float, typer.Option(help="Strength of --norm; above 1 favours long translations.")]


@app.command()
def train(
    context: typer.Context,
    files: Files = None,
    out: Annotated[Path, typer.Option(help="The model to write.")] = Path("model.elman"),
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was stopped: the model it wrote.")] = None,
    dev: Annotated[list[Path] | None, typer.Option(help="Held-out pairs: give it twice for two files.")] = None,
    validation: Annotated[float, typer.Option(help="Share of the sources held out, without --dev.")] = 0.05,
    swap: Annotated[bool, typer.Option("--swap", help="Translate from the second file or column.")] = False,
    source_level: Annotated[Level | None, typer.Option(help="What a token to read is.  [default: by the text]")] = None,
    target_level: Annotated[
        Level | None, typer.Option(help="What a token to write is.  [default: by the text]")
    ] = None,
    max_vocabulary: Annotated[int, typer.Option(min=4, help="Most frequent tokens to keep, a side.")] = 8000,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer tokens are unknown; unigram has no use for it.")] = 2,
    joint: Annotated[bool, typer.Option("--joint", help="One vocabulary, of one level, for both sides.")] = False,
    lower: Annotated[bool, typer.Option("--lower", help="Lower-case what is read.")] = False,
    cell: Annotated[Cell, typer.Option(help="Which recurrence.")] = Cell.lstm,
    hidden: Annotated[int, typer.Option(min=2, help="Units of each recurrent layer.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers, a side.")] = 1,
    embedding: Annotated[int, typer.Option(min=1, help="Features of a token.")] = 256,
    dropout: Annotated[float, typer.Option(help="Probability of dropout, while training.")] = 0.3,
    attention: Annotated[Attends, typer.Option(help="How attention scores.")] = Attends.general,
    shortcut: Annotated[bool, typer.Option("--shortcut", help="Short cuts in the encoder, where sizes allow.")] = False,
    lexicon: Annotated[bool, typer.Option("--lexicon", help="Count a lexicon from the pairs: for few pairs.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates in all.  [default: 3000]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pairs, instead of --steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="About how long, instead of --steps.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pairs in a batch.")] = 64,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam after its rise; it falls to 0.")] = 2e-3,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    smoothing: Annotated[float, typer.Option(help="Label smoothing.")] = 0.1,
    patience: Annotated[int, typer.Option(min=0, help="Validations without a better one to end after; 0: never.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Leave out pairs with more on a side.")] = 100,
    encoding: Encoding = "utf-8",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same model; not with unigram, which draws its own.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that --out names.")] = False,
) -> None:
    """Train a translator on pairs of lines.

    Ctrl-C saves and says how to go on.
    """
    with failures():
        length = Length.of(steps, epochs, minutes)
        if resume is not None:
            refuse_changes(context, {"files", "resume", "overwrite", "dev"})
            _resume(resume, files, dev).start()
            return
        paths = _one_or_two(files, "name the pairs to learn from: elman translate train FILE [FILE]")
        dev_paths = None if dev is None else _one_or_two(dev, "")
        refuse_out(out, [*paths, *(dev_paths or [])], overwrite)
        recipe = Recipe(
            batch_size=batch,
            learning_rate=rate,
            clip_norm=clip,
            label_smoothing=smoothing,
            validation=0.0 if dev_paths else validation,
            patience=patience,
            max_tokens=max_tokens,
            seed=seed,
        )
        about = {
            "files": [str(path.absolute()) for path in paths],
            "dev": [str(path.absolute()) for path in dev_paths or []],
            "swap": swap,
            "encoding": encoding,
            "history": [],
        }
        pairs, held_out = _read(about, recipe, paths, dev_paths or [])
        about["digest"] = _digest(pairs, held_out)
        levels = _levels(source_level, target_level, joint, pairs)
        learn = partial(Tokens.learn, max_size=max_vocabulary, min_count=min_count)
        if joint:
            lines = [line for side in zip(*pairs, strict=True) for line in side]
            source = target = learn(lines, levels[0], lower=lower)
        else:
            source = learn([a for a, _ in pairs], levels[0], lower=lower)
            target = learn([b for _, b in pairs], levels[1])
        translator = Translator.build(
            source,
            target,
            cell=cell.value,
            embedding_size=embedding,
            hidden_size=hidden,
            n_layers=layers,
            dropout=dropout,
            attention=attention.value,
            shortcut=shortcut,
            seed=seed,
        )
        pairs, ids, held_out = _short(translator, pairs, held_out, recipe)
        for k, side in enumerate(("source", "target")):
            _refuse_unknown(side, [pair[k] for pair in ids], min_count)
        if lexicon:
            if attention is Attends.none:
                fail("--lexicon is read by attention; leave --attention none out")
            translator.learn_lexicon(ids)
        recipe = _with_length(recipe, translator, ids, length)
        training = translator.training(ids, recipe)
        TranslateRun(translator, pairs, held_out, recipe, out, about, training).start()


@app.command("run")
def translate(
    model: Annotated[Path, typer.Argument(help="A model of elman translate train.")],
    beam: Beam = 5,
    nbest: Annotated[int, typer.Option(min=1, help="Translations of each line, with their scores.")] = 1,
    norm: NormOption = Norm.mean,
    alpha: Alpha = 1.0,
    attention: Annotated[
        Path | None, typer.Option(help="Draw where each token looked, to this .png, .svg or .pdf; a number a line.")
    ] = None,
) -> None:
    """Translate the standard input, each line as it comes; it gives one, or with --nbest score, tab and text for each.

    What is not a terminal is read and written as UTF-8.
    """
    with failures():
        if nbest > beam:
            fail(f"--nbest {nbest} needs a --beam of at least that, got {beam}")
        length_norm = LengthNorm(norm.value, alpha)
        if sys.stdin is None:
            fail(f"there is no standard input to translate: elman translate run {model} < FILE")
        if sys.stdout is None:
            fail(f"there is no standard output to write to: elman translate run {model} > FILE")
        if attention is not None:
            from elman import plots

            plots.kind_of(attention)
            plots.new_figure(1, 1)  # fails now where matplotlib is missing
            if not attention.parent.is_dir():
                fail(f"{attention}: there is no folder {attention.parent}")
        translator = Translator.load(model)
        if attention is not None and translator.layer.attention == "none":
            fail(f"{model}: has no attention to draw")
        _set_output()
        lines = _prompted() if sys.stdin.isatty() else _piped()
        done = 0
        for block in lines:
            found = translator.translate(
                block, beam=beam, n_best=nbest, norm=length_norm, attention=attention is not None
            )
            for translations in found:
                _print(translations, nbest)
            sys.stdout.flush()
            for number, (best, *_) in enumerate(found, start=done + 1):
                if attention is not None and best.attention is not None:
                    _draw(best, attention, number)
            done += len(found)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model of elman translate train.")],
    files: Files = None,
    beam: Beam = 5,
    norm: NormOption = Norm.mean,
    alpha: Alpha = 1.0,
    tokenize: Annotated[
        str | None,
        typer.Option(
            help="Tokeniser of sacrebleu: char, zh, 13a, none, ...  [default: char where there are no blanks]"
        ),
    ] = None,
    swap: Annotated[bool, typer.Option("--swap", help="Translate from the second file or column.")] = False,
    encoding: Encoding = "utf-8",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a translator on pairs that it has not seen: BLEU and chrF of its translations, and nats a token."""
    with failures():
        paths = _one_or_two(files, "name the pairs to measure on: elman translate eval MODEL FILE [FILE]")
        length_norm = LengthNorm(norm.value, alpha)
        translator = Translator.load(model)
        pairs = _pairs(paths, encoding, swap)
        sources, references = [a for a, _ in pairs], [b for _, b in pairs]
        if tokenize is None:
            tokenize = "char" if _is_solid(references) else "13a"
        _score(["a"], ["a"], tokenize)  # fails before the work, if it does
        with progress_bar() as bar:
            task = bar.add_task("translating", total=len(pairs))
            found = translator.translate(
                sources,
                beam=beam,
                norm=length_norm,
                progress=lambda done: bar.update(task, completed=done),
            )
        texts = [translations[0].text for translations in found]
        score = _score(texts, references, tokenize)
        nats = translator.evaluate(translator.encode(pairs))
        if as_json:
            result = {**score._asdict(), "chrf": chrf(texts, references), "nats_per_token": nats, "pairs": len(pairs)}
            print(
                json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in result.items()})
            )
        else:
            print(f"BLEU            {score.bleu:.2f}")
            print(f"precisions      {' '.join(f'{p:.1f}' for p in score.precisions)}")
            print(f"brevity         {score.brevity_penalty:.3f}")
            print(f"signature       {score.signature}")
            print(f"chrF            {chrf(texts, references):.2f}")
            print(f"nats per token  {nats:.4f}")
            print(f"measured on     {len(pairs):,} pairs, beam {beam}, length norm {norm.value} {alpha:g}")


# --------------------------------------------------------------------------------------------------------- helpers


def _score(texts: list[str], references: list[str], tokenize: str) -> Bleu:
    """Return BLEU, and say what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        score = bleu(texts, references, tokenize=tokenize)
    for warning in caught:
        note(f"warning: {warning.message}")
    return score


def _refuse_unknown(side: str, ids: Sequence[list[int]], min_count: int) -> None:
    """Fail where no token of a language is known, and note where many are not."""
    share = sum(line.count(UNKNOWN) for line in ids) / max(sum(map(len, ids)), 1)
    words = f"of the tokens of the {side} occur less than --min-count {min_count} times; a lower one keeps them"
    if share == 1:
        fail(f"all {words}")
    if share > MANY_UNKNOWN:
        note(f"{100 * share:.0f} % {words}, and what is unknown cannot be learned")


def _one_or_two(files: Sequence[Path] | None, words: str) -> list[Path]:
    if not files:
        fail(words)
    if len(files) > 2:
        fail(f"give two files, or one with tabs, got {len(files)}")
    return list(files)


def _pairs(files: Sequence[str | Path], encoding: str, swap: bool) -> list[LinePair]:
    """Return the pairs of one file or two, swapped if asked for, and say how many have an empty side."""
    found = read_pairs(files[0], files[1] if len(files) > 1 else None, encoding, keep_empty=True)
    pairs = [pair for pair in found if all(pair)]
    _left_out(len(found) - len(pairs), "an empty side", str(files[0]))
    return [(b, a) for a, b in pairs] if swap else pairs


def _read(
    about: dict[str, Any], recipe: Recipe, files: Sequence[str | Path], dev: Sequence[str | Path]
) -> tuple[list[LinePair], list[LinePair]]:
    """Return the pairs to train on and those held out."""
    pairs = _pairs(files, about["encoding"], about["swap"])
    if dev:
        return pairs, _pairs(dev, about["encoding"], about["swap"])
    kept, held_out = split_pairs(pairs, recipe.validation, seed=recipe.seed)
    if not kept:
        fail(f"no pair to train on: --validation {recipe.validation:g} holds out all {len(pairs):,}")
    if recipe.patience and not held_out:
        fail(f"--patience {recipe.patience} needs held-out pairs; give --dev, or a --validation above 0")
    return kept, held_out


def _short(
    translator: Translator, pairs: list[LinePair], held_out: list[LinePair], recipe: Recipe
) -> tuple[list[LinePair], list[IdPair], list[LinePair]]:
    """Return the pairs that are not too long, their ids, and such held-out pairs; say how many are too long."""
    why = f"more than {recipe.max_tokens:,} tokens (--max-tokens)"
    ids = translator.encode(pairs)
    kept = [k for k, pair in enumerate(ids) if max(map(len, pair)) <= recipe.max_tokens]
    if not kept:
        fail(f"no pair to train on: all {len(pairs):,} have {why}")
    short = [
        pair
        for pair, sides in zip(held_out, translator.encode(held_out), strict=True)
        if max(map(len, sides)) <= recipe.max_tokens
    ]
    if recipe.patience and not short:
        fail(f"--patience {recipe.patience} needs held-out pairs, but all {len(held_out):,} have {why}")
    _left_out(len(pairs) - len(kept), why)
    _left_out(len(held_out) - len(short), why, "held out")
    return [pairs[k] for k in kept], [ids[k] for k in kept], short


def _left_out(n: int, why: str, where: str = "") -> None:
    if n:
        note(f"{where + ': ' if where else ''}{n:,} pair{'s' if n > 1 else ''} left out: {why}")


def _digest(*parts: list[LinePair]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _is_solid(lines: Sequence[str]) -> bool:
    """Return whether lines are of a language without blanks between words."""
    return sum(len(HAN.findall(line)) > len(line) / 3 and " " not in line.strip() for line in lines) > len(lines) / 3


def _levels(source: Level | None, target: Level | None, joint: bool, pairs: Sequence[LinePair]) -> tuple[str, str]:
    """Return the levels of both sides: as asked for, or characters for a language without blanks, else words.

    With one vocabulary there is one level: the one asked for, or characters if either language has no blanks.
    """
    if joint and source and target and source is not target:
        fail(f"--joint has one vocabulary, but two levels are asked for: {source.value} and {target.value}")
    if joint:
        source = target = source or target
    by_text = ["char" if _is_solid([pair[side] for pair in pairs[:1000]]) else "word" for side in (0, 1)]
    if joint:
        by_text = [min(by_text)] * 2
    return (source.value if source else by_text[0]), (target.value if target else by_text[1])


def _set_output() -> None:
    """Write UTF-8 to files and pipes; a terminal that lacks a character shows a question mark."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(**{"errors": "replace"} if sys.stdout.isatty() else {"encoding": "utf-8"})


def _prompted() -> Iterator[list[str]]:
    """Yield lines that somebody types."""
    note("Type a line to translate; Ctrl-D ends.")
    while True:
        try:
            if sys.stdout.isatty():
                yield [input("> ")]
            else:  # the prompt is for who types, not for the file
                print("> ", end="", file=sys.stderr, flush=True)
                yield [input()]
        except EOFError:
            return


def _piped() -> Iterator[list[str]]:
    """Yield the lines of a pipe or a file: those that are there by now, at the most BLOCK at once."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape"), translate=True
    )
    descriptor = sys.stdin.fileno()
    rest, n_before, data = "", 0, b" "
    while data:
        data = os.read(descriptor, READ_BYTES)  # waits for a byte, not for all of them
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        if not data and rest:
            lines.append(rest)
        bad = next((k for k, line in enumerate(lines) if not _is_text(line)), len(lines))
        for start in range(0, bad, BLOCK):
            yield lines[start : min(start + BLOCK, bad)]
        if bad < len(lines):
            fail(f"line {n_before + bad + 1:,} of the standard input is not UTF-8")
        n_before += len(lines)


def _is_text(line: str) -> bool:
    """Return whether a line holds no byte that could not be decoded."""
    return line.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in line)


def _print(translations: list[Translation], nbest: int) -> None:
    if nbest == 1:
        print(translations[0].text)
        return
    for translation in translations:
        print(f"{translation.score:.4f}\t{translation.text}")
    print()


def _draw(translation: Translation, path: Path, number: int) -> None:
    """Draw a picture of the first line to `path`, of others beside it with their number."""
    from elman import plots

    assert translation.attention is not None
    at = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
    plots.plot_attention(translation.attention, translation.source_pieces, translation.target_pieces, at)


def _resume(path: Path, files: list[Path] | None, dev: list[Path] | None) -> TranslateRun:
    """Return the run that a file of a stopped run goes on with."""
    translator, about, tensors = Translator.load_all(path)
    run = run_of(path, about, "translate", ("step", "nats", "loss"))
    try:
        recipe = Recipe.from_json(run.get("recipe"))
    except ValueError as error:
        fail(f"{path}: {error}")
    if "training" not in about:
        fail(f"{path} has finished its training; train another with elman translate train FILE --out OTHER")
    places = _are_paths(run.get("files"), 1) and _are_paths(run.get("dev"), 0)
    if not places or not isinstance(run.get("encoding"), str) or type(run.get("swap")) is not bool:
        fail(f"{path}: damaged: it does not say what it was trained on")
    run["files"] = [str(file) for file in _one_or_two(files, "")] if files else run["files"]
    run["dev"] = [str(file) for file in _one_or_two(dev, "")] if dev else run["dev"]
    for name in (*run["files"], *run["dev"]):
        refuse_to_replace(path, Path(name))
        if not Path(name).exists():
            fail(f"{name}: not there any more; say where it is: elman translate train FILE [FILE] --resume {path}")
    pairs, held_out = _read(run, recipe, run["files"], run["dev"])
    if _digest(pairs, held_out) != run.get("digest"):
        fail(f"{run['files'][0]}: not the pairs that the run began with, so it cannot go on as it began")
    best = tensors.get("best/weights")
    if best is not None and best.shape != translator.model.params.flat.shape:
        fail(f"{path}: damaged: best/weights must be {translator.model.params.flat.shape}, got {best.shape}")
    pairs, ids, held_out = _short(translator, pairs, held_out, recipe)
    training = translator.training(ids, recipe, resume=path)
    return TranslateRun(translator, pairs, held_out, recipe, path, run, training, best)


def _are_paths(value: Any, least: int) -> bool:
    return isinstance(value, list) and least <= len(value) <= 2 and all(isinstance(path, str) for path in value)


def _with_length(recipe: Recipe, translator: Translator, ids: list[IdPair], length: Length) -> Recipe:
    """Return the recipe with the number of steps that --steps, --epochs or --minutes ask for."""

    def step_seconds() -> float:
        trial = Translator(translator.model.copy(), translator.source, translator.target)
        trial.lexicon = translator.lexicon
        records = trial.training(ids, replace(recipe, n_steps=13))
        return statistics.mean([record.seconds for record in records][1:])

    steps = length.in_steps(len(ids) / recipe.batch_size, step_seconds, share=0.9)
    return recipe if steps is None else replace(recipe, n_steps=steps)
