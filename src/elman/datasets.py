"""The data sets of the project's folder data/, by name. A wheel does not contain them; a checkout does."""

from __future__ import annotations

import lzma
import os
from pathlib import Path
from typing import NamedTuple

FILES = {
    "tinyshakespeare": "tinyshakespeare/input.txt",
    "tang_poems": "tang_poems/tang_regulated.tsv.xz",
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
