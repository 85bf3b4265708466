"""Scalers of sequences: statistics of the training part only, a mask for what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

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
        scaled: Array = row - self.mean
        scaled /= self.scale
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
    scaling : "global", one mean and scale a feature over all sequences of the fit; "series", those of each sequence
        itself
    """

    def __init__(self, scaling: str = "global") -> None:
        self.scaling = scaling

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any = None) -> SequenceScaler:
        """Learn mean and scale of each feature from X, see `as_sequences`. NaN counts as missing."""
        checks.one_of("SequenceScaler", "scaling", self.scaling, ["global", "series"])
        rows = as_sequences("SequenceScaler", X, missing=True)
        self.n_features_in_ = rows[0].shape[1]
        self.standard_ = Standard.of(rows)
        return self

    def transform(self, X: Any) -> Any:
        """Return the sequences scaled, a list as a list and an array as an array."""

        def scale(row: Array) -> Array:
            return (Standard.of([row]) if self.scaling == "series" else self.standard_).apply(row)

        return self._each(X, scale)

    def inverse_transform(self, X: Any) -> Any:
        """Return the sequences as they were before `transform`; for scaling="global" only."""
        if self.scaling == "series":
            raise ValueError("SequenceScaler: scaling='series' keeps no statistics of a sequence to go back with")
        return self._each(X, lambda row: row * self.standard_.scale + self.standard_.mean)

    def _each(self, X: Any, function: Callable[[Array], Array]) -> Any:
        check_is_fitted(self)
        rows = as_sequences("SequenceScaler", X, missing=True)
        refuse_other_features("SequenceScaler", rows, self.n_features_in_)
        done = [function(row) for row in rows]
        if isinstance(X, list | tuple) or getattr(X, "ndim", 0) not in (2, 3) or hasattr(X, "columns"):
            return done
        array = np.stack(done).reshape(np.shape(X))
        return array.astype(X.dtype) if np.asarray(X).dtype.kind == "f" else array
