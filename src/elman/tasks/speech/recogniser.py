"""A recogniser: front end, network and labels; from sound to text."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.ctc import CTC, Hypothesis, PrefixBeam, Scorer, collapse, frames_needed, log_softmax, runs
from elman.layers import GRU, LSTM, RNN, Bidirectional, Dropout, Layer, Linear, Recurrent, Sequential
from elman.model import Model, load_all
from elman.optim import AdamW, Cosine, Warmup
from elman.params import Array
from elman.sequences import pad
from elman.tasks.speech.augment import Augment
from elman.tasks.speech.batches import Utterances
from elman.tasks.speech.features import deltas, moments
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import BLANK, Labels
from elman.train import Record, Training, train

CELLS: dict[str, type[Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
AVERAGE = "training/average"  # the tensor of the averaged weights, in the file of a training


class Example(NamedTuple):
    """An utterance to learn from: raw features (T, F), what was said, and by whom ("" where nobody knows)."""

    x: Array
    text: str
    speaker: str = ""


@dataclass(frozen=True)
class Recipe:
    """How a recogniser is trained."""

    n_epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 2e-3  # at the start, after the warm-up; it falls to 0 along half a cosine
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    average: float = 0.998  # share of the averaged weights that stays, each step; they are what is used
    validation: float = 0.05  # share of the utterances that is held out
    speed: float = 0.1  # these as in `Augment`
    warp: float = 0.0
    time_masks: int = 2
    feature_masks: int = 0
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        checks.positive("Recipe", n_epochs=self.n_epochs, batch_size=self.batch_size)
        for name in ("warmup_steps", "weight_decay", "noise", "time_masks", "feature_masks"):
            checks.in_range("Recipe", name, getattr(self, name), 0)
        checks.in_range("Recipe", "learning_rate", self.learning_rate, 0, 1, open_low=True)
        checks.in_range("Recipe", "clip_norm", self.clip_norm, 0, open_low=True)
        checks.in_range("Recipe", "average", self.average, 0, 1, open_high=True)
        checks.in_range("Recipe", "validation", self.validation, 0, 0.9)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"Recipe: seed must be an int of at least 0, got {self.seed!r}")

    @property
    def augment(self) -> Augment:
        """How utterances are varied."""
        return Augment(
            speed=self.speed,
            warp=self.warp,
            time_masks=self.time_masks,
            feature_masks=self.feature_masks,
            noise=self.noise,
        )

    def split(self, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """Return the utterances to train on and those held out: every n-th one, so that all speakers are in both."""
        n_held = int(len(examples) * self.validation)
        held = set(np.linspace(0, len(examples) - 1, n_held).round().astype(int).tolist()) if n_held else set()
        return [e for k, e in enumerate(examples) if k not in held], [examples[k] for k in sorted(held)]


class Word(NamedTuple):
    """A word, and when it was said."""

    text: str
    start_seconds: float
    stop_seconds: float


class Transcript(NamedTuple):
    """What a recogniser heard."""

    text: str
    words: list[Word]
    score: float  # what the transcript is ranked by, in nats
    log_p: float  # logarithm of its probability, in nats


class Recogniser:
    """From sound to text: a front end, a network that gives each step a probability for every label, and the labels.

    ::

        recogniser = Recogniser.build(FrontEnd(), Labels.learn(texts), examples)
        for record in recogniser.training(examples, Recipe(n_epochs=20)):
            print(record.step, record.loss)
        print(recogniser.transcribe(audio.samples).text)

    Parameters
    ----------
    model : Model, steps (B, T, F) -> logits (B, T, V)
    front : FrontEnd that makes these steps
    labels : Labels of V, the blank is label 0
    start : mean and deviation of the training features, which front.normal="running" begins with
    """

    def __init__(self, model: Model, front: FrontEnd, labels: Labels, start: tuple[Array, Array]) -> None:
        if (model.layer.in_size, model.layer.out_size) != (front.size, len(labels)):
            raise ValueError(
                f"Recogniser: the model takes {model.layer.in_size} features and gives {model.layer.out_size} labels, "
                f"but the front end gives {front.size}, and there are {len(labels)} labels with the blank"
            )
        size = (front.raw_size * (front.delta_order + 1),)
        if np.shape(start[0]) != size or np.shape(start[1]) != size:
            raise ValueError(f"Recogniser: start must be mean and deviation {size}, got {np.shape(start[0])}")
        self.model, self.front, self.labels = model, front, labels
        self.start = (np.asarray(start[0], np.float64), np.asarray(start[1], np.float64))

    @classmethod
    def build(
        cls,
        front: FrontEnd,
        labels: Labels,
        examples: Sequence[Example],
        *,
        cell: str = "lstm",
        hidden_size: int = 128,
        n_layers: int = 2,
        bidirectional: bool = True,
        dropout: float = 0.3,
        seed: int = 0,
    ) -> Recogniser:
        """Return an untrained recogniser: recurrent layers with locked dropout after each, and a linear layer on top.

        Parameters
        ----------
        front, labels : its two ends
        examples : the training data, whose mean and deviation it keeps
        cell : "rnn", "lstm" or "gru"
        hidden_size, n_layers : sizes, of each direction
        bidirectional : False for a recogniser that can listen live
        dropout : probability, the same features in all steps of an utterance
        seed : of the initial weights
        """
        checks.one_of("Recogniser", "cell", cell, CELLS)
        checks.positive("Recogniser", hidden_size=hidden_size, n_layers=n_layers)
        layers: list[Layer] = []
        size = front.size
        for _ in range(n_layers):
            one = CELLS[cell](size, hidden_size)
            layers.append(Bidirectional(one) if bidirectional else one)
            size = layers[-1].out_size or size
            if dropout:
                layers.append(Dropout(dropout, locked=True))
        model = Sequential(*layers, Linear(size, len(labels))).init(seed)
        return cls(model, front, labels, moments([deltas(e.x, front.delta_order) for e in examples]))

    @property
    def is_live(self) -> bool:
        """Whether it can listen while somebody speaks: nothing in it needs what comes later."""
        return self.model.layer.is_causal and self.front.normal == "running" and not self.front.delta_order

    # ---------------------------------------------------------------------------------------------------- training

    def training(
        self, examples: Sequence[Example], recipe: Recipe, *, resume: str | os.PathLike[str] | None = None
    ) -> RecogniserTraining:
        """Return the training on some utterances: an iterator of records that changes the model in place.

        ValueError names an utterance whose text is too long for its sound, or has other letters than the labels.
        """
        return RecogniserTraining(self, examples, recipe, resume)

    def steps(self, examples: Sequence[Example]) -> list[Array]:
        """Return the steps of the model (T_i, F) for some utterances, normalised as the front end says.

        With front.normal="speaker", by the mean and deviation of all of a speaker's utterances among these.
        """
        return [
            self.front.steps(e.x, speaker=normal) for e, normal in zip(examples, self.normals(examples), strict=True)
        ]

    def normals(self, examples: Sequence[Example]) -> list[tuple[Array, Array] | None]:
        """Return mean and deviation that each utterance is normalised by; None stands for its own."""
        if self.front.normal == "running":
            return [self.start] * len(examples)
        if self.front.normal == "utterance":
            return [None] * len(examples)
        by_speaker: dict[str, list[Array]] = {}
        for e in examples:
            by_speaker.setdefault(e.speaker, []).append(deltas(e.x, self.front.delta_order))
        found = {name: moments(xs) for name, xs in by_speaker.items()}
        return [found[e.speaker] for e in examples]

    # ------------------------------------------------------------------------------------------------- recognition

    def logits(
        self,
        steps: Sequence[Array],
        *,
        batch_size: int = 32,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> list[Array]:
        """Return logits (T_i, V) for steps (T_i, F) of some utterances, computed in batches of like length."""
        order = np.argsort([len(x) for x in steps], kind="stable")
        parts = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
        found: list[Array] = [np.empty(0)] * len(steps)
        for part in progress(parts):
            x, lengths = pad([steps[k] for k in part], np.float32, (self.front.size,))
            y = self.model(x, lengths=lengths).y
            for k, row, length in zip(part, y, lengths, strict=True):
                found[k] = row[:length]
        return found

    def transcribe(self, samples: Array, rate_hz: int | None = None, **search: Any) -> Transcript:
        """Return what was said in samples (N,) from -1 to 1. `search` as in `decode`."""
        return self.transcripts(samples, rate_hz, **search)[0]

    def transcripts(self, samples: Array, rate_hz: int | None = None, **search: Any) -> list[Transcript]:
        """Return the best transcripts of samples (N,) from -1 to 1, the best first. `search` as in `decode`."""
        raw = self.front.frames(np.asarray(samples, np.float32), rate_hz)
        return self.decode(self.posteriors(raw), **search)

    def posteriors(self, raw: Array) -> Array:
        """Return log-probabilities (T, V) of each label for raw features (T, F) of one utterance."""
        steps = self.steps([Example(raw, "")])
        return log_softmax(self.model(steps[0]).y) if len(steps[0]) else np.empty((0, len(self.labels)))

    def decode(
        self, log_p: Array, *, width: int = 1, n_best: int = 1, scorer: Scorer | None = None
    ) -> list[Transcript]:
        """Return the best transcripts for log-probabilities (T, V), the best first.

        Parameters
        ----------
        log_p : from `posteriors`
        width : of the prefix beam search; 1 without a scorer reads the likeliest path
        n_best : how many
        scorer : a language model or hot words, see `elman.tasks.speech.scorers`
        """
        checks.positive("decode", width=width, n_best=n_best)
        if width == 1 and scorer is None:
            path = log_p.argmax(axis=1) if len(log_p) else np.empty(0, np.intp)
            total = float(log_p.max(axis=1).sum()) if len(log_p) else 0.0
            return [self.transcript(Hypothesis(collapse(path, BLANK), total, total, runs(path, BLANK)))]
        search = PrefixBeam(len(self.labels), width=width, blank=BLANK, scorer=scorer)
        search.push(log_p)
        return [self.transcript(found) for found in search.best(n_best, end=True)]

    def transcript(self, found: Hypothesis) -> Transcript:
        """Return the text of what a search found, and when each word was said."""
        words: list[Word] = []
        step = self.front.step_seconds
        symbols = [self.labels.symbols[int(k) - 1] for k in found.labels]
        open_word = False
        for symbol, (first, last) in zip(symbols, found.frames.tolist(), strict=True):
            if self.labels.level == "char" and symbol == " ":
                open_word = False
                continue
            if open_word:
                before = words.pop()
                words.append(Word(before.text + symbol, before.start_seconds, (last + 1) * step))
            else:
                words.append(Word(symbol, first * step, (last + 1) * step))
            open_word = self.labels.level == "char"
        return Transcript(" ".join(word.text for word in words), words, found.score, found.log_p)

    # ------------------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str], *, about: Mapping[str, Any] | None = None) -> None:
        """Write model, front end and labels to one file, whole or not at all."""
        self.model.save(path, about=self.about(about), tensors=self.tensors())

    def about(self, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON of a file."""
        return {"task": "speech", "front": self.front.to_json(), "labels": self.labels.to_json(), **(about or {})}

    def tensors(self) -> dict[str, Array]:
        """Return the tensors of a file beside the weights."""
        return {"front/mean": self.start[0], "front/scale": self.start[1]}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recogniser:
        """Return the recogniser in a file; ValueError where it is damaged or holds another kind of model."""
        return cls.load_all(path)[0]

    @classmethod
    def load_all(cls, path: str | os.PathLike[str]) -> tuple[Recogniser, dict[str, Any]]:
        """Return the recogniser in a file, and what else the file says. Of a training, the averaged weights."""
        model, about, tensors = load_all(path)
        if about.get("task") != "speech":
            raise ValueError(f"{path}: holds a model, but not a recogniser of speech")
        try:
            average = tensors.get(AVERAGE)
            if average is not None:
                if average.shape != model.params.flat.shape:
                    raise ValueError(f"averaged weights must be {model.params.flat.shape}, got {average.shape}")
                model.params.flat[:] = average
            start = (tensors["front/mean"], tensors["front/scale"])
            front, labels = FrontEnd.from_json(about.get("front")), Labels.from_json(about.get("labels"))
            return cls(model, front, labels, start), about
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: damaged: {error}") from error
        except KeyError as error:
            raise ValueError(f"{path}: damaged: {error} is missing") from error


class RecogniserTraining:
    """A training in progress: iterate over it for records, save it at any point between them.

    `average` is a recogniser with the averaged weights, which are better than the last ones, and which `save` keeps.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        examples: Sequence[Example],
        recipe: Recipe,
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        if not examples:
            raise ValueError("training: there is no utterance to train on")
        self.recogniser, self.recipe, self.examples = recogniser, recipe, list(examples)
        front, labels = recogniser.front, recogniser.labels
        targets = [labels.encode(e.text, f"utterance {k}") for k, e in enumerate(examples)]
        for k, (e, target) in enumerate(zip(examples, targets, strict=True)):
            n, needed = -(-len(e.x) // front.stride), frames_needed(target)
            if n < needed:
                raise ValueError(
                    f"utterance {k} ({e.text[:40]!r}): is too short for its text: the model takes {n} steps of it, "
                    f"and needs {needed}; leave it out, or give the front end a smaller stride"
                )
        self._batches = Utterances(
            front,
            [e.x for e in examples],
            targets,
            recipe.batch_size,
            augment=recipe.augment,
            normals=recogniser.normals(examples),
            seed=recipe.seed,
        )
        self.n_in_epoch = self._batches.n_in_epoch
        self.n_steps = recipe.n_epochs * self.n_in_epoch
        schedule = Warmup(Cosine(recipe.learning_rate, total_steps=self.n_steps), warmup_steps=recipe.warmup_steps)
        self.inner: Training = train(
            recogniser.model,
            self._batches,
            loss=CTC(),
            optimizer=AdamW(schedule, weight_decay=recipe.weight_decay),
            clip_norm=recipe.clip_norm,
            n_steps=self.n_steps,
            seed=recipe.seed,
            resume=resume,
        )
        self.average = Recogniser(recogniser.model.copy(), front, labels, recogniser.start)
        if resume is not None:
            kept = load_all(resume)[2].get(AVERAGE)
            if kept is None or kept.shape != self.average.model.params.flat.shape:
                raise ValueError(f"{resume}: damaged: its averaged weights are missing")
            self.average.model.params.flat[:] = kept

    @property
    def step(self) -> int:
        """Steps done."""
        return self.inner.step

    @property
    def seconds(self) -> float:
        """Time of the steps, over all resumed parts."""
        return self.inner.seconds

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        record = next(self.inner)
        share = min(self.recipe.average, (record.step + 1) / (record.step + 20))
        flat = self.average.model.params.flat
        flat *= share
        flat += (1 - share) * self.recogniser.model.params.flat
        return record

    def save(self, path: str | os.PathLike[str], *, about: Mapping[str, Any] | None = None) -> None:
        """Write the recogniser and all that the training needs to go on, to the bit, to one file."""
        tensors = {**self.recogniser.tensors(), AVERAGE: self.average.model.params.flat}
        self.inner.save(path, about=self.recogniser.about(about), tensors=tensors)


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Return what a file says about a recipe."""
    return asdict(recipe)


def recipe_from_json(value: Any) -> Recipe:
    """Return the recipe that a file describes; ValueError where it is damaged."""
    known = {field.name: field for field in fields(Recipe)}
    if not isinstance(value, dict) or set(value) != set(known):
        raise ValueError(f"damaged: a recipe must have {', '.join(known)}")
    for name, number in value.items():
        whole = isinstance(known[name].default, int)
        if type(number) not in ((int,) if whole else (int, float)) or not math.isfinite(number):
            raise ValueError(f"damaged: recipe: {name} must be {'an int' if whole else 'a number'}, got {number!r}")
    return Recipe(**value)
