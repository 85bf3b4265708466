"""Word and character error rates by jiwer, and what is mistaken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple


class Errors(NamedTuple):
    """Edits between what was said and what was written, over a whole corpus."""

    rate: float  # edits / length of what was said; of a corpus of silence, edits / 1
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    length: int  # words or characters that were said


class Confusion(NamedTuple):
    """Words taken for others: "" stands for nothing, so ("", "THE") is an insertion and ("THE", "") a deletion."""

    said: str
    written: str
    times: int


def word_errors(said: Sequence[str], written: Sequence[str]) -> Errors:
    """Return the word error rate: the edits of all utterances over the words of all utterances."""
    found = _jiwer(said, written).process_words(list(said), list(written))
    return _errors(found)


def character_errors(said: Sequence[str], written: Sequence[str]) -> Errors:
    """Return the character error rate, spaces inside an utterance included."""
    found = _jiwer(said, written).process_characters(list(said), list(written))
    return _errors(found)


def confusions(said: Sequence[str], written: Sequence[str]) -> list[Confusion]:
    """Return which words were taken for which, the commonest first."""
    found = _jiwer(said, written).process_words(list(said), list(written))
    counts: Counter[tuple[str, str]] = Counter()
    for reference, hypothesis, chunks in zip(found.references, found.hypotheses, found.alignments, strict=True):
        for chunk in chunks:
            if chunk.type != "equal":
                one = reference[chunk.ref_start_idx : chunk.ref_end_idx]
                other = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
                counts.update(zip_longest(one, other, fillvalue=""))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(one, other, count) for (one, other), count in ordered]


def _jiwer(said: Sequence[str], written: Sequence[str]) -> Any:
    if len(said) != len(written) or not said:
        raise ValueError(f"error rate: needs a text for each of some utterances, got {len(written)} for {len(said)}")
    try:
        import jiwer
    except ImportError as error:
        raise ImportError("error rates need jiwer: pip install 'elman[speech]'") from error
    return jiwer


def _errors(found: Any) -> Errors:
    length = found.hits + found.substitutions + found.deletions
    edits = found.substitutions + found.deletions + found.insertions
    return Errors(edits / max(length, 1), found.hits, found.substitutions, found.deletions, found.insertions, length)
