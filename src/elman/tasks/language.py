"""Language models: trained on a text, they say how likely a text is, and write more of it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.engine import Engine
from elman.layers import GRU, LSTM, RNN, Dropout, Embedding, Layer, Linear, Recurrent, Sequential, stack
from elman.model import Model, load_all
from elman.optim import Adam, Cosine
from elman.params import Array
from elman.sequences import Batch, TokenWindows
from elman.tasks.sampling import check_options, draw, probabilities
from elman.tasks.text import read_bytes, read_text
from elman.tasks.vocabulary import Vocabulary
from elman.train import MAX_STEPS, Training, evaluate, train

CELLS: dict[str, type[Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


@dataclass(frozen=True)
class Recipe:
    """How a language model is trained: all that is needed to do it again, or to go on with it."""

    n_steps: int = 1500  # updates in all; the learning rate falls to 0 over them
    batch_size: int = 64  # parts of the text that are read side by side
    window_steps: int = 64  # tokens between two cuts of the backpropagation; the state is carried over
    learning_rate: float = 3e-3
    clip_norm: float = 1.0
    validation: float = 0.1  # share of the text, at its end, that is held out
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("n_steps", "batch_size", "window_steps")}
        checks.positive("Recipe", **sizes)
        if self.n_steps > MAX_STEPS:
            raise ValueError(f"Recipe: n_steps must be at most {MAX_STEPS:,}, got {self.n_steps:,}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ValueError(f"Recipe: seed must be an int of at least 0, got {self.seed!r}")
        checks.in_range("Recipe", "learning_rate", self.learning_rate, 0, open_low=True)
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"Recipe: learning_rate must be finite, got {self.learning_rate}")
        checks.in_range("Recipe", "clip_norm", self.clip_norm, 0, open_low=True)
        checks.in_range("Recipe", "validation", self.validation, 0, 0.9)

    def split(self, ids: Array) -> tuple[Array, Array]:
        """Return the part to train on and the held-out part of a text, views on it."""
        kept = len(ids) - int(len(ids) * self.validation)
        return ids[:kept], ids[kept:]

    def windows(self, ids: Array) -> TokenWindows:
        """Return the batches of the part to train on; a text too short for them gets smaller ones."""
        part = self.split(ids)[0]
        if len(part) < 2:
            raise ValueError(f"the text has {len(ids)} tokens, of which {len(part)} to train on; it needs at least 2")
        window_steps = min(self.window_steps, len(part) - 1)
        batch_size = max(1, min(self.batch_size, (len(part) - 1) // window_steps))
        return TokenWindows(part, batch_size, window_steps)


class Score(NamedTuple):
    """How well a model predicts a text, each token from all those before it.

    An unknown token counts with the probability of the unknown token: what it hides is not predicted.
    """

    nats_per_token: float
    nats_per_char: float  # nan where the number of characters is not known, or 0
    bits_per_char: float  # the same
    perplexity: float  # exp(nats per token)
    tokens: int  # predicted, that is, all but the first
    characters: int | None  # in them; None where unknown words hide how many


class LanguageModel:
    """A model of text: the network, and the vocabulary it was made for.

    ::

        lm = LanguageModel.build(Vocabulary.learn(text), hidden_size=256)
        ids = lm.vocabulary.encode(text)
        for record in lm.training(ids, Recipe(n_steps=500)):
            print(record.step, record.loss)
        print("".join(lm.generate("The ", n_tokens=200, seed=1)))

    Parameters
    ----------
    model : Model, token ids (B, T) -> logits (B, T, V)
    vocabulary : Vocabulary of V tokens
    """

    def __init__(self, model: Model, vocabulary: Vocabulary) -> None:
        if not model.layer.takes_tokens or {model.layer.in_size, model.layer.out_size} != {len(vocabulary)}:
            raise ValueError(f"LanguageModel: {model.layer!r} does not predict tokens of {len(vocabulary)}")
        if not model.layer.is_causal:
            raise ValueError(f"LanguageModel: {model.layer!r} reads ahead, so it would be told what it is to predict")
        self.model = model
        self.vocabulary = vocabulary

    @classmethod
    def build(
        cls,
        vocabulary: Vocabulary,
        *,
        cell: str = "lstm",
        embedding_size: int = 64,
        hidden_size: int = 256,
        n_layers: int = 1,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> LanguageModel:
        """Return an untrained model: embedding, a stack of recurrent layers, and a linear layer to the vocabulary.

        Parameters
        ----------
        vocabulary : Vocabulary
        cell : "rnn", "lstm" or "gru"
        embedding_size, hidden_size, n_layers : sizes
        dropout : probability, between layers and before the last
        seed : of the initial weights
        """
        checks.one_of("LanguageModel", "cell", cell, CELLS)
        checks.positive("LanguageModel", hidden_size=hidden_size, n_layers=n_layers)
        sizes = [embedding_size] + [hidden_size] * n_layers
        recurrent = stack(CELLS[cell], sizes, dropout=dropout if n_layers > 1 else 0.0)
        layers: list[Layer] = [Embedding(len(vocabulary), embedding_size), *recurrent.layers]
        if dropout:
            layers.append(Dropout(dropout))
        return cls(Sequential(*layers, Linear(hidden_size, len(vocabulary))).init(seed), vocabulary)

    # ---------------------------------------------------------------------------------------------------- training

    def read(self, path: str | os.PathLike[str], encoding: str = "utf-8", *, unknown: str = "error") -> Array:
        """Return the ids (N,) of a file's text; bytes are read as they are. Raises as `read_text` and `encode` do."""
        text = read_source(path, self.vocabulary.level, encoding)
        return self.vocabulary.encode(text, unknown=unknown, where=str(path))

    def training(self, ids: Array, recipe: Recipe, *, resume: str | os.PathLike[str] | None = None) -> Training:
        """Return the training of this model on a text: an iterator of records that changes the model in place.

        Parameters
        ----------
        ids : (N,) the whole text, held-out part included
        recipe : Recipe
        resume : file of `save_training` to go on with, to the bit
        """
        return train(
            self.model,
            recipe.windows(ids),
            optimizer=Adam(Cosine(recipe.learning_rate, total_steps=recipe.n_steps)),
            clip_norm=recipe.clip_norm,
            n_steps=recipe.n_steps,
            seed=recipe.seed,
            resume=resume,
        )

    def evaluate(
        self,
        ids: Array,
        *,
        n_rows: int = 1,
        lengths: Array | None = None,
        progress: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
    ) -> Score:
        """Return how well the model predicts a text (N,), its state carried over from the first token to the last.

        Parameters
        ----------
        ids : (N,) at least 2 tokens
        n_rows : 1 is exact; more read parts of the text side by side, faster, but each part starts without memory, and
            up to n_rows - 1 tokens at the end are left out
        lengths : (N,) characters of each token, from `Vocabulary.encode_lengths`. Without them, unknown words hide how
            many there are, and what is per character is nan
        progress : wraps the batches, to show progress
        """
        if len(ids) < 2:
            raise ValueError(f"evaluate: the text has {len(ids)} tokens; it needs at least 2, to predict one")
        if lengths is not None and np.shape(lengths) != np.shape(ids):
            raise ValueError(f"evaluate: lengths must be ({len(ids)},), one a token, got {np.shape(lengths)}")
        n_rows = min(n_rows, len(ids) - 1)
        windows = TokenWindows(ids, n_rows, 256, n_epochs=1, keep_last=True)
        with np.errstate(over="ignore", invalid="ignore"):  # of a model that diverged: the numbers say it
            nats, tokens = evaluate(self.model, progress(windows))
        if lengths is None:
            characters = self.vocabulary.count_characters(windows.targets)
        else:  # cut as the ids were
            characters = int(TokenWindows(lengths, n_rows, 256, keep_last=True).targets.sum(dtype=np.int64))
        per_char = nats * tokens / characters if characters else math.nan
        perplexity = math.inf if nats > 709 else math.exp(nats)
        return Score(nats, per_char, per_char / math.log(2), perplexity, tokens, characters)

    # -------------------------------------------------------------------------------------------------- generation

    def generate(
        self,
        prompt: str = "",
        *,
        n_tokens: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | np.random.Generator | None = None,
        stop: str | None = None,
        unknown: str = "error",
    ) -> Iterator[str]:
        """Yield the text that the model writes after a prompt, piece by piece, without the prompt.

        Parameters
        ----------
        prompt : text to go on with. Empty: begin as after a line end, or, where the model knows none, with a token
            drawn by its frequency
        n_tokens : how many tokens at the most
        temperature, top_k, top_p : see `elman.tasks.sampling.probabilities`
        seed : None draws a new text each time
        stop : end before this text
        unknown : what to do with characters of the prompt that the model does not know: "error", "skip" or "unk"

        Raises
        ------
        ValueError
            at once, for options out of range, unknown characters, and a model that knows no token but the unknown one
        """
        check_options(temperature, top_k, top_p)
        if n_tokens < 0 or stop == "":
            raise ValueError("generate: n_tokens must be at least 0, and stop a text of at least one character")
        if self.vocabulary.unknown_id is not None and len(self.vocabulary) == 1:
            raise ValueError("generate: the model knows no token but the unknown one, which is never written")
        ids = self.vocabulary.encode(prompt, unknown=unknown, where="prompt").tolist()
        rng = np.random.default_rng(seed)
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        pieces = self.vocabulary.decode_stream(self._draw_tokens(ids, n_tokens, rng, options))
        return pieces if stop is None else _until(pieces, stop)

    def _draw_tokens(
        self, ids: list[int], n_tokens: int, rng: np.random.Generator, options: dict[str, Any]
    ) -> Iterator[int]:
        if not ids and n_tokens:
            frequencies = self._frequencies()
            ids = self.vocabulary.encode("\n", unknown="skip").tolist()
            if not ids or not frequencies[ids[0]]:
                ids = [draw(frequencies if frequencies.any() else self._can_be_written(), rng)]
                n_tokens -= 1
                yield ids[0]
        hidden = self.vocabulary.unknown_id  # never written
        engine = Engine(self.model)
        stream = engine.stream()
        last = ids[-1:]
        if len(ids) > 1:
            stream.state = engine(np.array([ids[:-1]])).state
        for _ in range(n_tokens):
            with np.errstate(over="ignore", invalid="ignore"):  # of a model that diverged: `probabilities` refuses it
                logits = stream.step(last[0]).astype(np.float64)
            if hidden is not None:
                logits[hidden] = -np.inf
            last = [draw(probabilities(logits, **options), rng)]
            yield last[0]

    def _can_be_written(self) -> Array:
        """Return 1 for each token but the unknown one, (V,)."""
        ones = np.ones(len(self.vocabulary))
        if self.vocabulary.unknown_id is not None:
            ones[self.vocabulary.unknown_id] = 0
        return ones

    def _frequencies(self) -> Array:
        """Return how often each token was in the text, (V,), 0 for the unknown one."""
        return self._can_be_written() * np.array(self.vocabulary.counts, np.float64)

    # ------------------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str], *, about: dict[str, Any] | None = None) -> None:
        """Write model and vocabulary to one file, whole or not at all."""
        self.model.save(path, about=self._about(about))

    def save_training(
        self, path: str | os.PathLike[str], training: Training, *, about: dict[str, Any] | None = None
    ) -> None:
        """Write model, vocabulary, and all that the training needs to go on, to one file, whole or not at all."""
        training.save(path, about=self._about(about))

    def _about(self, about: dict[str, Any] | None) -> dict[str, Any]:
        return {"task": "language", "vocabulary": self.vocabulary.to_json(), **(about or {})}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LanguageModel:
        """Return the language model in a file; ValueError where it is damaged or holds another kind of model."""
        return cls.load_all(path)[0]

    @classmethod
    def load_all(cls, path: str | os.PathLike[str]) -> tuple[LanguageModel, dict[str, Any]]:
        """Return the language model in a file, and what else the file says."""
        model, about, _ = load_all(path)
        if about.get("task") != "language":
            raise ValueError(f"{path}: holds a model, but not a language model: there is no vocabulary in it")
        try:
            return cls(model, Vocabulary.from_json(about.get("vocabulary"))), about
        except ValueError as error:
            raise ValueError(f"{path}: damaged: {error}") from error


def read_source(path: str | os.PathLike[str], level: str, encoding: str = "utf-8") -> str | bytes:
    """Return the text of a file, or for level "byte" its bytes as they are; ValueError for bytes in an encoding."""
    if level == "byte" and encoding.lower() not in ("utf-8", "utf8"):
        raise ValueError(f"{path}: bytes are read as they are, in no encoding; leave --encoding {encoding} out")
    return read_bytes(path) if level == "byte" else read_text(path, encoding)


def digest(ids: Array) -> str:
    """Return a fingerprint of a text in tokens, to know it again."""
    return hashlib.sha256(np.ascontiguousarray(ids).data).hexdigest()


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON."""
    return asdict(recipe)


def recipe_from_json(value: Any) -> Recipe:
    """Return the recipe that `recipe_to_json` gave; ValueError where it is damaged."""
    known = {field.name for field in fields(Recipe)}
    if not isinstance(value, dict) or set(value) != known:
        raise ValueError(f"damaged recipe: {value!r}")
    try:
        return Recipe(**value)
    except TypeError as error:
        raise ValueError(f"damaged recipe: {error}") from error


def _until(pieces: Iterator[str], stop: str) -> Iterator[str]:
    """Yield the text before the first `stop`, holding back what may be its beginning."""
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            yield held[: held.index(stop)]
            return
        keep = max((n for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held
