"""Scalers of sequences: statistics of the training part only, a mask for what is missing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from elman import checks
from elman.params import Array
from elman.tasks.series.inputs import as_sequences, refuse_other_features


class Standard(NamedTuple):
    """Location and scale of each feature, (F,)."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, rows: list[Array]) -> Standard:
        """Return mean and standard deviation over all steps of some sequences; a constant feature has scale 1."""
        n = np.maximum(sum(np.isfinite(row).sum(axis=0) for row in rows), 1)
        mean = sum(np.nansum(row, axis=0) for row in rows) / n
        variance = sum(np.nansum((row - mean) ** 2, axis=0) for row in rows) / n
        scale = np.sqrt(variance)
        return cls(mean, np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0))

    def apply(self, row: Array) -> Array:
        """Return (T, F) in units of the scale."""
        scaled: Array = (row - self.mean) / self.scale
        return scaled


SCALINGS = ("global", "series", None)


def scaled(row: Array, standard: Standard | None, scaling: str | None, mask: bool, dtype: Any) -> Array:
    """Return a sequence as a network takes it: scaled, and with the mask of what is there as further features.

    A missing value becomes 0, which is the mean, and its mask 0; without a scaler it becomes 0 too.
    """
    if scaling == "series":
        standard = Standard.of([row])
    x = standard.apply(row) if standard is not None else row
    if not mask:
        return x.astype(dtype)
    known = ~np.isnan(x)
    return np.concatenate([np.where(known, x, 0), known], axis=1).astype(dtype)


class SequenceScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Standardise the features of sequences, for pipelines; statistics come from the sequences of `fit` only.

    Parameters
    ----------
    scaling : "global", one mean and scale a feature over all sequences of the fit; "series", those of each sequence itself
    """

    def __init__(self, scaling: str = "global") -> None:
        self.scaling = scaling

    def fit(self, X: Any, y: Any = None) -> SequenceScaler:
        """Learn mean and scale of each feature from X, see `as_sequences`. NaN counts as missing."""
        checks.one_of("SequenceScaler", "scaling", self.scaling, ["global", "series"])
        rows = as_sequences("SequenceScaler", X, missing=True)
        self.n_features_in_ = rows[0].shape[1]
        self.standard_ = Standard.of(rows)
        return self

    def transform(self, X: Any) -> list[Array]:
        """Return the list of scaled sequences (T_i, F)."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        rows = as_sequences("SequenceScaler", X, missing=True)
        refuse_other_features("SequenceScaler", rows, self.n_features_in_)
        of_row = (lambda row: Standard.of([row])) if self.scaling == "series" else (lambda row: self.standard_)
        return [of_row(row).apply(row) for row in rows]

    def inverse_transform(self, X: Any) -> list[Array]:
        """Return the sequences as they were before `transform`; for scaling="global" only."""
        if self.scaling == "series":
            raise ValueError("SequenceScaler: scaling='series' keeps no statistics of a sequence to go back with")
        return [row * self.standard_.scale + self.standard_.mean for row in as_sequences("SequenceScaler", X, missing=True)]
