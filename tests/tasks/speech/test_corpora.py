"""The corpora that are shipped are what their papers say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from elman.tasks.speech.corpora import DIGITS, an4, digit_strings, fsdd
from elman.tasks.speech.labels import Labels


def test_an4():
    train, test = an4()
    assert (len(train), len(test)) == (948, 130)
    speakers = [{u.speaker for u in part} for part in (train, test)]
    assert (len(speakers[0]), len(speakers[1]), len(speakers[0] & speakers[1])) == (74, 10, 0)
    assert sum(len(u.text.split()) for u in test) == 773
    assert sum(len(u.text) for u in test) == 2565
    assert {u.x.shape[1] for u in train + test} == {13}
    assert sum(len(u.x) for u in train + test) / 6000 == pytest.approx(48.2, abs=0.1)
    assert min(len(u.x) for u in train + test) == 69
    assert all(np.isfinite(u.x).all() for u in train + test)
    labels = Labels.learn(u.text for u in train)
    assert labels.symbols == tuple(" ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert all(len(labels.encode(u.text)) for u in test)


def test_fsdd():
    train, test = fsdd()
    assert (len(train), len(test)) == (2700, 300)
    assert Counter(u.text for u in test) == dict.fromkeys(DIGITS, 30)
    assert len({u.speaker for u in train + test}) == 6
    assert {u.rate_hz for u in train + test} == {8000}
    assert max(np.abs(u.x).max() for u in train) == 1


def test_digit_strings_are_drawn_by_their_seed():
    _, test = fsdd()
    one, two = (digit_strings(test, 5, seed=3) for _ in range(2))
    assert all(a.text == b.text and np.array_equal(a.x, b.x) for a, b in zip(one, two, strict=True))
    assert [u.text for u in digit_strings(test, 5, seed=4)] != [u.text for u in one]
    assert all(1 <= len(u.text.split()) <= 7 for u in one)
