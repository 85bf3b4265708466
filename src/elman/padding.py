"""What lies behind the end of a sequence in a batch of ragged ones."""

from __future__ import annotations

import numpy as np

from elman.params import Array


def fill_padding(steps: Array, lengths: Array, values: Array | None = None) -> None:
    """Overwrite the padded steps of an array (T, B, ...) with 0, or with values (B, ...), one for each row.

    It costs what is overwritten, which a mask over all steps does not.
    """
    for b in np.flatnonzero(lengths < len(steps)).tolist():
        steps[lengths[b] :, b] = 0 if values is None else values[b]


def without_padding(steps: Array, lengths: Array) -> Array:
    """Return an array (T, B, ...) whose padded steps are 0: itself where they are, else a copy."""
    if not any(steps[lengths[b] :, b].any() for b in np.flatnonzero(lengths < len(steps)).tolist()):
        return steps
    copy: Array = steps.copy(order="K")
    fill_padding(copy, lengths)
    return copy
