"""The speech data sets of data/: AN4 (cepstra) and the Free Spoken Digits (audio), read from their archives."""

from __future__ import annotations

import re
import tarfile
from typing import NamedTuple

import numpy as np

from elman import datasets
from elman.params import Array


class Utterance(NamedTuple):
    """A recording, and what was said."""

    name: str
    speaker: str
    text: str
    x: Array  # features (T, F), or samples (N,)


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
