"""Tasks: each owns a model, its vocabulary or scaler, and its metrics."""

from elman.tasks.language import LanguageModel, Recipe, Score
from elman.tasks.vocabulary import Vocabulary

__all__ = ["LanguageModel", "Recipe", "Score", "Vocabulary"]
