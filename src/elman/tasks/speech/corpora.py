"""The speech data sets of data/: AN4 (cepstra) and the Free Spoken Digits (audio), read from their archives."""

from __future__ import annotations

import io
import re
import tarfile
import wave
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elman import datasets
from elman.params import Array


class Utterance(NamedTuple):
    """A recording, and what was said."""

    name: str
    speaker: str
    text: str
    x: Array  # features (T, F), or samples (N,) from -1 to 1
    rate_hz: int = 0  # of samples


def an4() -> tuple[list[Utterance], list[Utterance]]:
    """Return AN4: 948 utterances to train on, of 74 speakers, and 130 to test with, of 10 others.

    Each is (T, 13) mel cepstra, 100 frames a second. The texts are in capitals, with spaces.
    """
    files = _members("an4", r"etc/an4_(train|test)\.(fileids|transcription)|feat/.*\.mfc")

    def part(name: str) -> list[Utterance]:
        texts = {}
        for line in files[f"etc/an4_{name}.transcription"].decode("ascii").splitlines():
            found = re.fullmatch(r"(.*) \((\S+)\)", line.strip())
            if found is None:
                raise ValueError(f"an4: a line of its transcription cannot be read: {line!r}")
            texts[found[2]] = re.sub(r"</?s>", "", found[1]).strip()
        utterances = []
        for place in files[f"etc/an4_{name}.fileids"].decode("ascii").split():
            _, speaker, own = place.split("/")
            data = files[f"feat/{place}.mfc"]
            frames = np.frombuffer(data, ">f4", offset=4).reshape(-1, 13).astype(np.float32)
            utterances.append(Utterance(own, speaker, texts[own], frames))
        return utterances

    return part("train"), part("test")


DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
N_TEST = 5  # takes 0 to 4 of each digit and speaker are the official test


def fsdd() -> tuple[list[Utterance], list[Utterance]]:
    """Return the Free Spoken Digits: 2,700 recordings to train on and 300 to test with, of the same 6 speakers.

    Each is samples (N,) at 8 kHz of one digit, as loud as it was recorded; the text is its English name. The speaker of
    both parts together is what a split by speakers goes by.
    """
    parts: tuple[list[Utterance], list[Utterance]] = ([], [])
    for name, data in sorted(_members("fsdd", r"recordings/\d_[a-z]+_\d+\.wav").items()):
        own = name.removeprefix("recordings/").removesuffix(".wav")
        digit, speaker, take = own.split("_")
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError(f"fsdd: {own} is not 16 bit of one channel")
            rate = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)
        parts[int(take) < N_TEST].append(Utterance(own, speaker, DIGITS[int(digit)], samples, rate))
    return parts


def digit_strings(
    utterances: Sequence[Utterance], n_strings: int, seed: int, *, low: int = 1, high: int = 7, silence: float = 0.3
) -> list[Utterance]:
    """Return recordings of several digits of one speaker each, joined with pauses, drawn by a seed.

    Parameters
    ----------
    utterances : of `fsdd`
    n_strings : how many
    seed : int
    low, high : fewest and most digits
    silence : longest pause before, between and after digits, in seconds; it is faint noise, not zeros
    """
    rng = np.random.default_rng(seed)
    by_speaker: dict[str, list[Utterance]] = {}
    for u in utterances:
        by_speaker.setdefault(u.speaker, []).append(u)
    speakers = sorted(by_speaker)
    strings = []
    for k in range(n_strings):
        own = by_speaker[speakers[int(rng.integers(len(speakers)))]]
        chosen = [own[int(rng.integers(len(own)))] for _ in range(int(rng.integers(low, high + 1)))]
        parts = [_pause(rng, chosen[0].rate_hz, silence)]
        for u in chosen:
            parts += [u.x, _pause(rng, u.rate_hz, silence)]
        text = " ".join(u.text for u in chosen)
        strings.append(Utterance(f"string{k}", chosen[0].speaker, text, np.concatenate(parts), chosen[0].rate_hz))
    return strings


def _pause(rng: np.random.Generator, rate_hz: int, longest_seconds: float) -> Array:
    n = int(rng.uniform(0, longest_seconds) * rate_hz)
    pause: Array = rng.standard_normal(n, np.float32) * np.float32(1e-3)
    return pause


def _members(name: str, pattern: str) -> dict[str, bytes]:
    """Return the files of a data set's archive whose names fit a pattern."""
    found = {}
    with tarfile.open(datasets.path(name), "r:xz") as archive:
        for member in archive:
            own = member.name.removeprefix("./")
            if member.isfile() and re.fullmatch(pattern, own):
                file = archive.extractfile(member)
                assert file is not None
                found[own] = file.read()
    return found
