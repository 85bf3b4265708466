"""Translation: tokens of two languages, a network that reads one and writes the other, search, and BLEU."""

from elman.tasks.translate.data import PairBuckets, read_lines, read_pairs, split_pairs
from elman.tasks.translate.metrics import Bleu, bleu, chrf
from elman.tasks.translate.search import Hypothesis, LengthNorm, beam_search
from elman.tasks.translate.tokens import Tokens
from elman.tasks.translate.translator import Recipe, Translation, Translator

__all__ = [
    "Bleu",
    "Hypothesis",
    "LengthNorm",
    "PairBuckets",
    "Recipe",
    "Tokens",
    "Translation",
    "Translator",
    "beam_search",
    "bleu",
    "chrf",
    "read_lines",
    "read_pairs",
    "split_pairs",
]
