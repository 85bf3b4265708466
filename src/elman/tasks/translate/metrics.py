"""BLEU and chrF by sacrebleu, with a tokeniser that is named, never guessed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

HAN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")  # Chinese characters, kana
BY_SPACE = ("none", "13a", "intl")  # tokenisers that need blanks between words


class Bleu(NamedTuple):
    """BLEU of a set of translations."""

    bleu: float  # from 0 to 100
    precisions: tuple[float, ...]  # of 1 to 4 tokens, in percent
    brevity_penalty: float
    signature: str  # says how it was measured, tokeniser included


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, tokenize: str) -> Bleu:
    """Return the BLEU (Papineni et al. 2002) of translations, one reference each.

    Parameters
    ----------
    hypotheses, references : lines
    tokenize : of sacrebleu: "char" for Chinese and Japanese, "zh", "13a" for languages with blanks, "none" for text
        that is split into tokens already

    Raises
    ------
    ValueError
        where sacrebleu does not know the tokeniser, or lacks what it needs

    Warns
    -----
    UserWarning
        where Chinese or Japanese text without blanks meets a tokeniser that needs them: a sentence would be one token
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"bleu: needs as many references as hypotheses, at least one, got {len(references)} and {len(hypotheses)}"
        )
    if tokenize in BY_SPACE:
        solid = sum(len(HAN.findall(line)) > 3 and " " not in line.strip() for line in references)
        if solid > len(references) / 10:
            warnings.warn(
                f"bleu: {solid:,} of {len(references):,} references are Chinese or Japanese without blanks, of which "
                f"the tokeniser {tokenize!r} makes one token; use tokenize='char'",
                stacklevel=2,
            )
    metric = _metric(tokenize)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(score.score, tuple(score.precisions), score.bp, str(metric.get_signature()))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the chrF2 (Popovic 2015) of translations, from 0 to 100."""
    return float(_library().metrics.CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def _metric(tokenize: str) -> Any:
    metrics = _library().metrics
    try:
        return metrics.BLEU(tokenize=tokenize, force=True)  # force: tokenised text is meant, where it is
    except (KeyError, RuntimeError, ImportError, OSError) as error:
        known = sorted(getattr(metrics.BLEU, "TOKENIZERS", ()))
        if tokenize in known:
            why = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"the tokeniser {tokenize} of sacrebleu cannot be used: {why}") from error
        raise ValueError(f"the tokeniser {tokenize} is not known to sacrebleu; try char, zh, 13a or none") from None


def _library() -> Any:
    try:
        import sacrebleu
    except ImportError:
        raise ImportError("BLEU needs the library sacrebleu: pip install 'elman[text]'") from None
    return sacrebleu
