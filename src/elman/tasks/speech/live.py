"""Recognition while somebody speaks: sound in, partial and final words out."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from elman.ctc import PrefixBeam, Scorer, log_softmax
from elman.params import Array
from elman.tasks.speech.front import StepStream
from elman.tasks.speech.labels import BLANK
from elman.tasks.speech.recogniser import Recogniser


class Heard(NamedTuple):
    """What one piece of sound brought."""

    final: list[str]  # words that it ended: they will not change any more
    partial: str  # what is being said, and may change
    audio_seconds: float  # of the sound so far
    latency_seconds: float  # that the piece took to compute


class Live:
    """A listener: the one object that holds what was heard so far.

    ::

        live = Live(Recogniser.load("digits.elman"))
        for piece in pieces:                    # samples (N,) from -1 to 1, at live.rate_hz
            print(live.push(piece))
        print(live.end())

    However the sound is cut into pieces, the frames are the same, bit for bit, and so is the text; the logits are the
    same bit for bit under the native kernels, and to rounding under the NumPy twin, whose matrix products round
    differently for different numbers of rows.

    Parameters
    ----------
    recogniser : Recogniser that `is_live`
    width, scorer : a prefix beam search; without them, the likeliest path. A search may change its mind, so all words
        but those that all its sequences share stay partial until the end
    """

    def __init__(self, recogniser: Recogniser, *, width: int = 1, scorer: Scorer | None = None) -> None:
        layer = recogniser.model.layer
        if not layer.is_causal:
            raise ValueError(
                "live recognition needs a model of one direction (elman speech train --live): this one reads each "
                "utterance from its end too"
            )
        self.recogniser = recogniser
        self.rate_hz = recogniser.front.rate_hz
        self.seconds = 0.0  # of computing, in all
        self._steps = StepStream(recogniser.front, recogniser.start)
        self._state: Any = None
        self._samples = 0
        self._last = BLANK
        self._labels: list[int] = []
        self._ended = False
        self._n_final = 0  # words that were given out
        self._search = None
        if width > 1 or scorer is not None:
            self._search = PrefixBeam(len(recogniser.labels), width=width, blank=BLANK, scorer=scorer)

    def push(self, samples: Array) -> Heard:
        """Listen to samples (N,) from -1 to 1, at `rate_hz`; ValueError after `end`."""
        if self._ended:
            raise ValueError("Live.push: the sound has ended; make another listener for the next")
        start = time.perf_counter()
        self._samples += len(samples)
        self._read(self._steps.push(np.asarray(samples, np.float32)))
        return self._heard(start, end=False)

    def end(self) -> Heard:
        """Return the rest: the sound ends here, and every word is final."""
        self._ended = True
        start = time.perf_counter()
        self._read(self._steps.end())
        return self._heard(start, end=True)

    @property
    def text(self) -> str:
        """What was heard so far, partial words too."""
        return " ".join(self._words(end=self._ended))

    def _read(self, steps: Array) -> None:
        if not len(steps):
            return
        y, self._state = self.recogniser.model(steps[None], self._state)
        if self._search is not None:
            self._search.push(log_softmax(y[0]))
            return
        for label in y[0].argmax(axis=1).tolist():
            if label not in (self._last, BLANK):
                self._labels.append(label)
            self._last = label

    def _heard(self, start: float, *, end: bool) -> Heard:
        words = self._words(end=end)
        n = len(words) if end else max(self._n_certain(words), self._n_final)
        final, self._n_final = words[self._n_final : n], n
        latency = time.perf_counter() - start
        self.seconds += latency
        return Heard(final, " ".join(words[n:]), self._samples / self.rate_hz, latency)

    def _words(self, *, end: bool) -> list[str]:
        if self._search is not None:
            self._labels = self._search.best(end=end, times=False)[0].labels.tolist()
        return self.recogniser.labels.decode(self._labels).split()

    def _n_certain(self, words: list[str]) -> int:
        """Return how many of the words cannot change any more."""
        labels = self.recogniser.labels
        shared = self._labels
        if self._search is not None:
            shared = self._search.shared()
            words = labels.decode(shared).split()
        if labels.level == "word" or (shared and labels.symbols[shared[-1] - 1] == " "):
            return len(words)
        return max(0, len(words) - 1)
