"""The data sets of the project's folder data/, by name. A wheel does not contain them; a checkout does."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from elman.params import Array

FILES = {
    "tinyshakespeare": "tinyshakespeare/input.txt",
    "tang_poems": "tang_poems/tang_regulated.tsv.xz",
    "an4": "an4/an4_mfcc.tar.xz",
    "fsdd": "fsdd/fsdd.tar.xz",
    "japanese_vowels_train": "japanese_vowels/JapaneseVowels_TRAIN.ts.gz",
    "japanese_vowels_test": "japanese_vowels/JapaneseVowels_TEST.ts.gz",
    "m4_hourly_train": "m4_hourly/Hourly-train.csv.gz",
    "m4_hourly_test": "m4_hourly/Hourly-test.csv.gz",
    "etth1": "ett/ETTh1.csv.gz",
    "nab": "nab/nab_data.zip",
    "airline": "univariate/Airline.csv",
    "sunspots": "univariate/monthly-sunspots.csv",
    "tatoeba": "tatoeba/cmn-eng.tsv.xz",
    **{
        f"{name}-{part}": f"{name}/{part}.tsv.xz"
        for name in ("nmt_tips", "tanaka")
        for part in ("train", "dev", "test")
    },
}


class Poem(NamedTuple):
    """A poem of the Tang dynasty; form is wujue, qijue (4 lines of 5, 7 characters), wulv or qilv (8 lines)."""

    form: str
    author: str
    title: str
    text: str


def path(name: str) -> Path:
    """Return the file of a data set: below $ELMAN_DATA, or data/ of the checkout, or data/ in the working folder.

    Raises ValueError for a name that is not in `FILES`, FileNotFoundError where the file is in none of the places.
    """
    if name not in FILES:
        raise ValueError(f"no data set {name!r}; there are {', '.join(FILES)}")
    places = [Path(__file__).parents[2] / "data", Path("data")]
    if "ELMAN_DATA" in os.environ:
        places.insert(0, Path(os.environ["ELMAN_DATA"]))
    for place in places:
        if (place / FILES[name]).is_file():
            return place / FILES[name]
    raise FileNotFoundError(
        f"data set {name} is not at {' or '.join(str(place / FILES[name]) for place in places)}; "
        "set ELMAN_DATA to the folder data/ of a checkout"
    )


def tinyshakespeare() -> str:
    """Return the text: 1,115,394 characters of plays. The usual held-out part is its last 10 %."""
    return path("tinyshakespeare").read_text(encoding="utf-8")


def tang_poems(form: str | None = None) -> list[Poem]:
    """Return the poems, all 36,505 or those of one form."""
    with lzma.open(path("tang_poems"), "rt", encoding="utf-8") as file:
        poems = [Poem(*line.rstrip("\n").split("\t")) for line in file]
    return [poem for poem in poems if form in (None, poem.form)]


class Labelled(NamedTuple):
    """Sequences (T_i, F) and their labels (n,), to train on and to test."""

    x_train: list[Array]
    y_train: Array
    x_test: list[Array]
    y_test: Array


def japanese_vowels() -> Labelled:
    """Return 270 and 370 utterances (T_i, 12) and who spoke them, 1 to 9."""
    parts: list[list[Array] | Array] = []
    for name in ("train", "test"):
        with gzip.open(path(f"japanese_vowels_{name}"), "rt", encoding="utf-8") as file:
            lines = file.read().partition("@data\n")[2].split()
        cases = [line.split(":") for line in lines]
        parts.append([np.array([channel.split(",") for channel in case[:-1]], np.float64).T for case in cases])
        parts.append(np.array([int(case[-1]) for case in cases]))
    return Labelled(*parts)  # type: ignore[arg-type]


def m4_hourly() -> tuple[list[Array], list[Array]]:
    """Return the 414 hourly series of the M4 competition, (T_i,), and the 48 values after each, (48,)."""
    parts = []
    for name in ("train", "test"):
        with gzip.open(path(f"m4_hourly_{name}"), "rt", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        parts.append([np.array([cell for cell in row[1:] if cell], np.float64) for row in rows])
    return parts[0], parts[1]


def etth1() -> tuple[Array, Array]:
    """Return the time stamps (17420,) and the values (17420, 7) of HUFL, HULL, MUFL, MULL, LUFL, LULL and OT."""
    with gzip.open(path("etth1"), "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([row[0] for row in rows], "datetime64[s]"), np.array([row[1:] for row in rows], np.float64)


class AnomalyFile(NamedTuple):
    """A file of the Numenta Anomaly Benchmark: its name, times (T,), values (T,), first and last row of each window."""

    name: str
    times: Array
    values: Array
    windows: list[tuple[int, int]]


def nab() -> list[AnomalyFile]:
    """Return the 58 files of the Numenta Anomaly Benchmark."""
    with zipfile.ZipFile(path("nab")) as archive:
        limits = json.loads(archive.read("labels/combined_windows.json"))
        files = []
        for name in sorted(limits):
            rows = list(csv.reader(io.StringIO(archive.read(f"data/{name}").decode())))[1:]
            times = np.array([row[0] for row in rows], "datetime64[s]")
            # Clocks are set back, so a time may come twice: a window begins and ends at the first row of that time.
            windows = [
                tuple(int(np.flatnonzero(times == np.datetime64(limit[:19]))[0]) for limit in pair)
                for pair in limits[name]
            ]
            values = np.array([row[1] for row in rows], np.float64)
            files.append(AnomalyFile(name, times, values, windows))  # type: ignore[arg-type]
    return files


def airline() -> Array:
    """Return the monthly airline passengers, 1949 to 1960, in thousands, (144,)."""
    return _second_column("airline")


def sunspots() -> Array:
    """Return the monthly sunspot numbers, 1749 to 1983, (2820,)."""
    return _second_column("sunspots")


def _second_column(name: str) -> Array:
    with open(path(name), encoding="utf-8", newline="") as file:
        return np.array([row[1] for row in list(csv.reader(file))[1:]], np.float64)


def sentence_pairs(name: str) -> list[tuple[str, str]]:
    """Return pairs of a sentence and its translation.

    Parameters
    ----------
    name : "tatoeba" (English, Mandarin); "nmt_tips-train", "-dev", "-test" (Japanese, English); "tanaka-train", "-dev",
        "-test" (English, Japanese)
    """
    with lzma.open(path(name), "rt", encoding="utf-8", newline="\n") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [(row[0], row[1]) for row in rows]
