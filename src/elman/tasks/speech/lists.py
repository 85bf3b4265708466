"""Lists of recordings: a text file with a line for each, ``file <tab> what was said <tab> speaker``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from elman.tasks.speech.audio import read_audio
from elman.tasks.speech.corpora import Utterance, an4, fsdd
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.recogniser import Example
from elman.tasks.text import read_text

NAMES = {"an4": "cepstra", "fsdd": "audio"}  # corpora of data/, that stand for a list


class Line(NamedTuple):
    """A recording of a list."""

    path: Path
    text: str
    speaker: str


def read_list(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[Line]:
    """Return the lines of a list; files are looked for beside it. ValueError names a line that cannot be read."""
    path = Path(path)
    lines = []
    for number, line in enumerate(read_text(path, encoding).splitlines(), 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) not in (2, 3) or not parts[0]:
            raise ValueError(
                f"{path}: line {number}: expected 'file <tab> text' and maybe '<tab> speaker', got {line!r:.60}"
            )
        text = " ".join(parts[1].split())
        lines.append(Line(path.parent / parts[0], text, parts[2] if len(parts) == 3 else ""))
    if not lines:
        raise ValueError(f"{path}: names no recording")
    return lines


def read_examples(
    source: str,
    front: FrontEnd,
    *,
    test: bool = False,
    encoding: str = "utf-8",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Example]:
    """Return utterances with their raw features: of a list, or, where there is no such file, of a corpus of data/.

    Parameters
    ----------
    source : path of a list, or "an4" or "fsdd"
    front : FrontEnd that makes the features
    test : the test part of a corpus, not that to train on
    progress : wraps the recordings, to show progress
    warn : is told what a listener should know about a recording
    """
    if source in NAMES and not Path(source).exists():
        utterances = an4() if source == "an4" else fsdd()
        if (front.kind == "cepstra") != (NAMES[source] == "cepstra"):
            raise ValueError(
                f"{source} holds {NAMES[source]}, but the recogniser takes "
                f"{'cepstra' if front.kind == 'cepstra' else 'audio'}"
            )
        return [_example(u, front) for u in progress(utterances[int(test)])]
    examples = []
    for line in progress(read_list(source, encoding)):
        audio = read_audio(line.path, front.rate_hz)
        for note in audio.notes:
            warn(f"{line.path}: {note}")
        examples.append(Example(front.frames(audio.samples), line.text, line.speaker))
    return examples


def _example(utterance: Utterance, front: FrontEnd) -> Example:
    x = utterance.x if front.kind == "cepstra" else front.frames(utterance.x, utterance.rate_hz)
    return Example(x, utterance.text, utterance.speaker)
