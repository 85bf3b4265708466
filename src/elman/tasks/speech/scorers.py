"""What a language model and hot words add to the sequences of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from elman import checks
from elman.ctc import Scorer
from elman.params import Array
from elman.tasks.speech.labels import BLANK, Labels
from elman.tasks.speech.ngram import BEGIN, END, NGram

SPACE = "<space>"  # how models of letters write the space
UNHEARD = -15.0  # nats of a word that a model without <unk> does not know


class _Numbered(Scorer):
    """A scorer whose states are things, each with a number."""

    def __init__(self, first: Any) -> None:
        self._things: list[Any] = [first]
        self._numbers = {first: 0}

    def _number(self, thing: Any) -> int:
        number = self._numbers.setdefault(thing, len(self._things))
        if number == len(self._things):
            self._things.append(thing)
        return number


class SymbolScorer(_Numbered):
    """An n-gram model whose tokens are the labels themselves: of letters for letters, of words for words.

    Parameters
    ----------
    ngram : NGram; of letters, with "<space>" for the space
    labels : Labels
    weight : what the log probabilities are multiplied by
    bonus : nats for each label, against the pull to short sequences
    """

    def __init__(self, ngram: NGram, labels: Labels, *, weight: float = 0.5, bonus: float = 0.0) -> None:
        super().__init__(ngram.context([BEGIN]))
        checks.in_range("SymbolScorer", "weight", weight, 0)
        checks.in_range("SymbolScorer", "bonus", bonus, -math.inf)
        self._ngram, self._weight, self._bonus = ngram, weight, bonus
        self._tokens = [SPACE if symbol == " " else symbol for symbol in labels.symbols]

    def row(self, state: int) -> tuple[Array, Array]:  # noqa: D102
        history = self._things[state]
        following = np.full(len(self._tokens) + 1, state)
        scores = np.zeros(len(self._tokens) + 1)
        for k, token in enumerate(self._tokens, 1):
            following[k] = self._number(self._ngram.context((*history, token)))
            scores[k] = _weighted(self._weight, self._ngram.score(token, history)) + self._bonus
        return following, scores

    def final(self, state: int) -> float:  # noqa: D102
        return _weighted(self._weight, self._ngram.score(END, self._things[state]))


class WordScorer(_Numbered):
    """Words spelled in letters: a word model adds its score where a word ends; hot words are favoured letter by letter.

    Parameters
    ----------
    labels : Labels of level "char", the space among them
    ngram : NGram of words; None for hot words alone
    weight : what the log probabilities are multiplied by
    bonus : nats for each word, against the pull to few words
    hot_words : words to favour, such as names
    hot_bonus : nats for each of them; spread over its letters, and taken back where the word turns out to be another
    closed : forbid words that the model does not know
    """

    def __init__(
        self,
        labels: Labels,
        ngram: NGram | None = None,
        *,
        weight: float = 0.5,
        bonus: float = 0.0,
        hot_words: Sequence[str] = (),
        hot_bonus: float = 5.0,
        closed: bool = False,
    ) -> None:
        if labels.level != "char" or " " not in labels.symbols:
            raise ValueError("WordScorer: needs labels that are letters with a space; for words use SymbolScorer")
        checks.in_range("WordScorer", "weight", weight, 0)
        checks.in_range("WordScorer", "bonus", bonus, -math.inf)
        checks.in_range("WordScorer", "hot_bonus", hot_bonus, -math.inf)
        if closed and ngram is None:
            raise ValueError("WordScorer: closed=True needs a model that knows the words")
        super().__init__((() if ngram is None else ngram.context([BEGIN]), ""))
        self._labels, self._ngram, self._weight, self._bonus = labels, ngram, weight, bonus
        hot = [word for phrase in hot_words for word in phrase.split()]
        for word in hot:
            labels.encode(word, "hot words")
        self._hot = dict.fromkeys(hot, hot_bonus)
        self._on_the_way = _beginnings(hot, hot_bonus)
        self._known = None
        if closed and ngram is not None:
            self._known = {word[:k] for word in ngram.vocabulary for k in range(len(word) + 1)}

    def row(self, state: int) -> tuple[Array, Array]:  # noqa: D102
        context, part = self._things[state]
        following = np.full(len(self._labels), state)
        scores = np.zeros(len(self._labels))
        for k, symbol in enumerate(self._labels.symbols, BLANK + 1):
            if symbol != " ":
                grown = part + symbol
                following[k] = self._number((context, grown))
                scores[k] = self._on_the_way.get(grown, 0.0) - self._on_the_way.get(part, 0.0)
                if self._known is not None and grown not in self._known:
                    scores[k] = -math.inf
            elif part:
                word_context = context if self._ngram is None else self._ngram.context((*context, part))
                following[k] = self._number((word_context, ""))
                scores[k] = self._word(context, part)
        return following, scores

    def final(self, state: int) -> float:  # noqa: D102
        context, part = self._things[state]
        score = self._word(context, part) if part else 0.0
        if self._ngram is not None:
            after = self._ngram.context((*context, part)) if part else context
            score += _weighted(self._weight, self._ngram.score(END, after))
        return score

    def _word(self, context: tuple[str, ...], word: str) -> float:
        """Return what the end of a word adds."""
        score = self._hot.get(word, 0.0) - self._on_the_way.get(word, 0.0) + self._bonus
        if self._ngram is not None:
            if self._known is not None and word not in self._ngram.vocabulary:
                return -math.inf
            score += _weighted(self._weight, max(self._ngram.score(word, context), UNHEARD))
        return score


def _beginnings(words: Iterable[str], bonus: float) -> dict[str, float]:
    """Return, for each beginning of a word, the share of the bonus that its letters have earned."""
    earned: dict[str, float] = {}
    for word in words:
        for k in range(1, len(word) + 1):
            share = bonus * k / len(word)
            before = earned.get(word[:k])
            earned[word[:k]] = share if before is None else max(before, share, key=abs)
    return earned


def _weighted(weight: float, log_p: float) -> float:
    return weight * log_p if weight else 0.0
