"""Words errors of labels and frames: where, what, expected, got."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.checks import any_array
from elman.params import Array


def blank_label(where: str, blank: Any, V: int) -> None:
    """Raise ValueError unless blank is one of the V labels."""
    if isinstance(blank, bool) or not isinstance(blank, int | np.integer) or not 0 <= blank < V:
        raise ValueError(f"{where}: blank must be one of the {V} labels, 0 to {V - 1}, got {blank!r}")


def label_sequences(where: str, targets: Any, B: int, V: int, blank: int) -> list[Array]:
    """Return B sequences of labels as integer arrays; each label is one of the V outputs, and not the blank."""
    if len(targets) != B:
        raise ValueError(f"{where}: targets must be {B} sequences of labels, one a row of y, got {len(targets)}")
    labels = []
    for k, target in enumerate(targets):
        array = any_array(target)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "ui"):
            raise TypeError(
                f"{where}: the target of sample {k} must be (S,) integers, got {array.shape} of {array.dtype}"
            )
        array = array.astype(np.intp)
        wrong = (array < 0) | (array >= V) | (array == blank)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            hint = "which is the blank" if array[at] == blank else f"but the labels are 0 to {V - 1}"
            raise ValueError(f"{where}: the target of sample {k} has {array[at]} at place {at}, {hint}")
        labels.append(array)
    return labels


def enough_frames(sample: int, n_labels: int, needed: int, frames: int) -> None:
    """Raise ValueError where a sample has fewer frames than its target needs."""
    if frames < needed:
        repeats = needed - n_labels
        pairs = f" ({repeats} adjacent repeat{'s' if repeats > 1 else ''})" if repeats else ""
        raise ValueError(
            f"sample {sample}: CTC needs at least {needed} frame{'s' if needed > 1 else ''} for its {n_labels} "
            f"label{'s' if n_labels > 1 else ''}{pairs}, has {frames}"
        )
