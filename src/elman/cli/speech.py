"""``elman speech``: train a recogniser on recordings, transcribe with it, offline or live, and measure it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from elman.cli.console import fail, failures, note, progress_bar, refuse_to_replace
from elman.cli.speech_run import SpeechRun
from elman.cli.train_options import Cell, refuse_changes, refuse_out, run_of
from elman.ctc import Scorer, log_softmax
from elman.params import Array
from elman.tasks.speech.audio import Resampler, pcm_chunks, read_audio
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.lists import NAMES, read_examples
from elman.tasks.speech.live import Heard, Live
from elman.tasks.speech.metrics import Errors, character_errors, confusions, word_errors
from elman.tasks.speech.ngram import NGram
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser, Transcript, recipe_from_json
from elman.tasks.speech.scorers import SymbolScorer, WordScorer

app = typer.Typer(help="Speech recognition: train, transcribe offline or live, evaluate.", no_args_is_help=True)


class Features(str, Enum):
    """What the recogniser hears."""

    logmel = "logmel"
    mfcc = "mfcc"
    cepstra = "cepstra"


class Level(str, Enum):
    """What a label is."""

    char = "char"
    word = "word"


class Normal(str, Enum):
    """Over what features are normalised."""

    utterance = "utterance"
    speaker = "speaker"
    running = "running"


Width = Annotated[int, typer.Option(min=1, help="Sequences that the search keeps; 1 without a model: none.")]
LanguageModelFile = Annotated[Path | None, typer.Option(help="An n-gram model: an ARPA file.")]
Weight = Annotated[float, typer.Option(help="How much the n-gram model counts.")]
Bonus = Annotated[float, typer.Option(help="Nats for each word, against too few of them.")]
HotWords = Annotated[list[str] | None, typer.Option("--hot", help="A word to favour; may be given often.")]
HotBonus = Annotated[float, typer.Option(help="Nats for each hot word.")]


@app.command()
def train(
    context: typer.Context,
    recordings: Annotated[
        str | None, typer.Argument(help="A list: lines of file <tab> text <tab> speaker. Or: an4, fsdd.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The model to write.")] = Path("speech.elman"),
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was stopped: the model it wrote.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="One direction, running normalisation: it can listen live.")
    ] = False,
    level: Annotated[Level, typer.Option(help="What a label is.")] = Level.char,
    features: Annotated[Features | None, typer.Option(help="What it hears.  [default: logmel; an4: cepstra]")] = None,
    rate_hz: Annotated[int, typer.Option(min=1000, help="Samples a second that recordings are brought to.")] = 16000,
    bands: Annotated[int, typer.Option(min=1, help="Mel filters.")] = 40,
    slopes: Annotated[int, typer.Option(min=0, max=2, help="Orders of slopes beside the features.")] = 0,
    normal: Annotated[
        Normal | None, typer.Option(help="Normalise over what.  [default: utterance; live: running]")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Neighbouring frames of one step.")] = 3,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one step to the next.")] = 3,
    cell: Annotated[Cell, typer.Option(help="Which recurrence.")] = Cell.lstm,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each recurrent layer and direction.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 2,
    dropout: Annotated[float, typer.Option(help="Probability of dropout, while training.")] = 0.3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the recordings.")] = 40,
    batch: Annotated[int, typer.Option(min=1, help="Recordings of one step.")] = 16,
    rate: Annotated[float, typer.Option(help="Learning rate at the start; it falls to 0.")] = 2e-3,
    speed: Annotated[float, typer.Option(help="Vary the speed by so much, while training.")] = 0.1,
    warp: Annotated[float, typer.Option(help="Vary the vocal tract by so much, while training.")] = 0.0,
    time_masks: Annotated[int, typer.Option(min=0, help="Gaps in time, while training.")] = 2,
    feature_masks: Annotated[int, typer.Option(min=0, help="Gaps in frequency, while training.")] = 0,
    noise: Annotated[float, typer.Option(help="Noise on the features, while training.")] = 0.3,
    validation: Annotated[float, typer.Option(help="Share of the recordings that is held out.")] = 0.05,
    encoding: Annotated[str, typer.Option(help="Encoding of the list.")] = "utf-8",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same model.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that --out names.")] = False,
) -> None:
    """Train a recogniser on recordings and what was said in them.

    Ctrl-C saves and says how to go on.
    """
    with failures():
        if resume is not None:
            refuse_changes(context, {"recordings", "resume", "overwrite"})
            _resume(resume, recordings).start()
            return
        if recordings is None:
            fail("name the list of recordings to learn from: elman speech train LIST")
        refuse_out(out, [Path(recordings)], overwrite)
        chosen = features.value if features else "cepstra" if recordings == "an4" else "logmel"
        over = normal.value if normal else "running" if live else "utterance"
        if live and (slopes or over != "running"):
            fail("--live hears no future: leave --slopes and --normal out")
        front = FrontEnd(
            kind=chosen,
            rate_hz=rate_hz,
            bands=bands,
            delta_order=slopes,
            normal=over,
            width=frames,
            stride=stride,
        )
        recipe = Recipe(
            n_epochs=epochs,
            batch_size=batch,
            learning_rate=rate,
            validation=validation,
            speed=speed,
            warp=warp,
            time_masks=time_masks,
            feature_masks=feature_masks,
            noise=noise,
            seed=seed,
        )
        examples = _read(recordings, front, encoding=encoding)
        labels = Labels.learn((e.text for e in examples), level.value)
        recogniser = Recogniser.build(
            front,
            labels,
            examples,
            cell=cell.value,
            hidden_size=hidden,
            n_layers=layers,
            bidirectional=not live,
            dropout=dropout,
            seed=seed,
        )
        place = (
            recordings if recordings in NAMES and not Path(recordings).exists() else str(Path(recordings).absolute())
        )
        about = {"recordings": place, "encoding": encoding, "history": []}
        training, held = recipe.split(examples)
        SpeechRun(recogniser, held, recipe, out, about, recogniser.training(training, recipe)).start()


@app.command()
def transcribe(
    model: Annotated[Path, typer.Argument(help="A model of elman speech train.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings; with --live, - is raw 16-bit samples from a pipe.")],
    live: Annotated[bool, typer.Option("--live", help="Print words as the sound goes in.")] = False,
    chunk_ms: Annotated[float, typer.Option(min=1, help="Length of each piece, with --live.")] = 100.0,
    rate_hz: Annotated[int | None, typer.Option(min=1000, help="Samples a second of raw sound.")] = None,
    width: Width = 1,
    lm: LanguageModelFile = None,
    lm_weight: Weight = 0.5,
    lm_bonus: Bonus = 0.5,
    hot: HotWords = None,
    hot_bonus: HotBonus = 5.0,
    n_best: Annotated[int, typer.Option(min=1, help="How many transcripts of each recording.")] = 1,
    times: Annotated[bool, typer.Option("--times", help="Show when each word was said.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each recording or event.")] = False,
) -> None:
    """Write down what was said in recordings, or, with --live, while it is said."""
    with failures():
        recogniser = Recogniser.load(model)
        scorer = _scorer(recogniser.labels, lm, lm_weight, lm_bonus, hot or [], hot_bonus)
        if n_best > 1 and width == 1:
            fail("--n-best needs a search that keeps several: give --width too, such as --width 50")
        if live:
            if len(files) != 1:
                fail("--live listens to one recording at a time")
            _listen(recogniser, files[0], chunk_ms, rate_hz, width, scorer, as_json)
            return
        failed = False
        for file in files:
            try:
                audio = read_audio(file, recogniser.front.rate_hz)
            except (OSError, ValueError) as error:
                if len(files) == 1:
                    raise
                failed = True
                note(f"elman: {error}")
                continue
            for remark in audio.notes:
                note(f"{file}: {remark}")
            found = recogniser.transcripts(audio.samples, width=width, scorer=scorer, n_best=n_best)
            _print_transcripts(file, found, len(files) > 1, times, as_json)
        if failed:
            raise typer.Exit(1)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model of elman speech train.")],
    recordings: Annotated[
        str, typer.Argument(help="A list of recordings it has not heard. Or: an4, fsdd (their tests).")
    ],
    width: Width = 1,
    lm: LanguageModelFile = None,
    lm_weight: Weight = 0.5,
    lm_bonus: Bonus = 0.5,
    hot: HotWords = None,
    hot_bonus: HotBonus = 5.0,
    n_confusions: Annotated[int, typer.Option("--confusions", min=0, help="How many confusions to show.")] = 10,
    encoding: Annotated[str, typer.Option(help="Encoding of the list.")] = "utf-8",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a recogniser: word and character error rates, and what it takes for what."""
    with failures():
        recogniser = Recogniser.load(model)
        scorer = _scorer(recogniser.labels, lm, lm_weight, lm_bonus, hot or [], hot_bonus)
        examples = _read(recordings, recogniser.front, test=True, encoding=encoding)
        with progress_bar() as bar:
            logits = recogniser.logits(
                recogniser.steps(examples), progress=lambda parts: bar.track(list(parts), description="listening")
            )
            written = [
                recogniser.decode(log_softmax(y), width=width, scorer=scorer)[0].text
                for y in bar.track(logits, description="searching")
            ]
        said = [e.text for e in examples]
        words, letters, table = word_errors(said, written), character_errors(said, written), confusions(said, written)
        if as_json:
            shown = [confusion._asdict() for confusion in table[:n_confusions]]
            print(json.dumps({"words": words._asdict(), "characters": letters._asdict(), "confusions": shown}))
            return
        print(_rate("words", words))
        print(_rate("characters", letters))
        if table and n_confusions:
            print("\nsaid            written         times")
            for confusion in table[:n_confusions]:
                print(f"{confusion.said or '-':<15} {confusion.written or '-':<15} {confusion.times:>5}")


def _rate(name: str, errors: Errors) -> str:
    kinds = f"{errors.substitutions} substituted, {errors.deletions} left out, {errors.insertions} added"
    return f"{name:<11} {100 * errors.rate:6.2f} % errors: {kinds}, of {errors.length:,}"


def _read(source: str, front: FrontEnd, *, test: bool = False, encoding: str = "utf-8") -> list[Example]:
    """Return the utterances of a list or corpus, with a bar."""
    with progress_bar() as bar:
        return read_examples(
            source,
            front,
            test=test,
            encoding=encoding,
            progress=lambda lines: bar.track(list(lines), description="reading"),
            warn=note,
        )


def _scorer(
    labels: Labels, lm: Path | None, weight: float, bonus: float, hot: list[str], hot_bonus: float
) -> Scorer | None:
    """Return the scorer that the options ask for."""
    if lm is None and not hot:
        return None
    ngram = None if lm is None else NGram.load(lm)
    if labels.level == "word" or (ngram is not None and ngram.vocabulary and _is_of_letters(ngram)):
        if hot or ngram is None:
            fail("--hot needs a recogniser of letters, and a model of words")
        return SymbolScorer(ngram, labels, weight=weight, bonus=bonus)
    return WordScorer(labels, ngram, weight=weight, bonus=bonus, hot_words=hot, hot_bonus=hot_bonus)


def _is_of_letters(ngram: NGram) -> bool:
    """Whether the tokens of a model are letters."""
    return "<space>" in ngram.vocabulary and all(len(t) == 1 or t == "<space>" for t in ngram.vocabulary)


def _print_transcripts(file: Path, found: list[Transcript], named: bool, times: bool, as_json: bool) -> None:
    for rank, transcript in enumerate(found):
        if as_json:
            words = [word._asdict() for word in transcript.words]
            print(
                json.dumps(
                    {
                        "file": str(file),
                        "rank": rank,
                        "text": transcript.text,
                        "score": transcript.score,
                        "log_p": transcript.log_p,
                        "words": words,
                    },
                    ensure_ascii=False,
                )
            )
            continue
        score = f"{transcript.score:9.3f}  " if len(found) > 1 else ""
        print(f"{f'{file}: ' if named else ''}{score}{transcript.text}")
        if times:
            for word in transcript.words:
                print(f"  {word.start_seconds:7.2f} - {word.stop_seconds:7.2f}  {word.text}")


def _listen(
    recogniser: Recogniser,
    file: Path,
    chunk_ms: float,
    rate_hz: int | None,
    width: int,
    scorer: Scorer | None,
    as_json: bool,
) -> None:
    """Print words as the sound goes in, and in the end what it cost."""
    listener = Live(recogniser, width=width, scorer=scorer)
    piped = str(file) == "-"
    if rate_hz is not None and not piped:
        fail("--rate-hz is for raw samples from a pipe; a file says its own")
    source = rate_hz or listener.rate_hz
    n_samples = max(1, round(source * chunk_ms / 1000))
    pieces: Iterator[Array]
    if piped:
        resampler = Resampler(source, listener.rate_hz)
        raw = pcm_chunks(sys.stdin.buffer, n_samples)
        pieces = (resampler.push(piece) for piece in raw)
    else:
        resampler = Resampler(listener.rate_hz, listener.rate_hz)
        audio = read_audio(file, listener.rate_hz)
        for remark in audio.notes:
            note(f"{file}: {remark}")
        n_samples = max(1, round(listener.rate_hz * chunk_ms / 1000))
        pieces = (audio.samples[k : k + n_samples] for k in range(0, len(audio.samples), n_samples))
    latencies, heard = [], None
    for piece in pieces:
        heard = listener.push(piece)
        latencies.append(heard.latency_seconds)
        _print_heard(heard, as_json)
    rest = resampler.push(np.empty(0, np.float32), end=True)
    if len(rest):
        heard = listener.push(rest)
        latencies.append(heard.latency_seconds)
        _print_heard(heard, as_json)
    if heard is None:
        fail(f"{'standard input' if piped else file}: no sound came")
    heard = listener.end()
    _print_heard(heard, as_json)
    latencies_ms = 1000 * np.array(latencies)
    print(listener.text) if not as_json else print(json.dumps({"text": listener.text}, ensure_ascii=False))
    share = 100 * listener.seconds / max(heard.audio_seconds, 1e-9)
    note(
        f"{heard.audio_seconds:.2f} s of sound in pieces of {chunk_ms:g} ms: latency of a piece "
        f"{np.median(latencies_ms):.2f} ms (median), {np.percentile(latencies_ms, 99):.2f} ms (99 %), "
        f"{latencies_ms.max():.2f} ms (most); {share:.2f} % of real time"
    )


def _print_heard(heard: Heard, as_json: bool) -> None:
    latency_ms = 1000 * heard.latency_seconds
    if as_json:
        event = {
            "seconds": round(heard.audio_seconds, 3),
            "final": heard.final,
            "partial": heard.partial,
            "latency_ms": round(latency_ms, 3),
        }
        print(json.dumps(event, ensure_ascii=False), flush=True)
    else:
        words = f"{' '.join(heard.final):<24}  {heard.partial}"
        print(f"{heard.audio_seconds:8.2f} s  {latency_ms:6.2f} ms  {words}".rstrip(), flush=True)


def _resume(path: Path, recordings: str | None) -> SpeechRun:
    """Return the run that a file of a stopped run goes on with."""
    recogniser, about = Recogniser.load_all(path)
    run = run_of(path, about, "speech", ("step", "words", "letters", "loss"))
    try:
        recipe = recipe_from_json(run.get("recipe"))
    except ValueError as error:
        fail(f"{path}: {error}")
    if "training" not in about:
        fail(f"{path} has finished its {recipe.n_epochs} epochs; there is nothing to go on with")
    source = recordings or str(run.get("recordings"))
    if source not in NAMES:
        refuse_to_replace(path, Path(source))
        if not Path(source).exists():
            fail(f"{source}: the list is not there any more; say where: elman speech train LIST --resume {path}")
    examples = _read(source, recogniser.front, encoding=str(run.get("encoding", "utf-8")))
    training, held = recipe.split(examples)
    if run.get("digest") != SpeechRun.digest(training):
        fail(f"{source}: not the recordings that the run began with, so it cannot go on as it began")
    return SpeechRun(recogniser, held, recipe, path, run, recogniser.training(training, recipe, resume=path))
