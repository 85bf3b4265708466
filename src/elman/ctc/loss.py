"""The CTC loss and its gradient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.ctc import twins
from elman.ctc.checks import blank_label, enough_frames, label_sequences
from elman.layers.boundary import pad, unpad
from elman.losses import Loss
from elman.params import Array

IMPOSSIBLE = ["error", "skip"]
AVERAGES = ["sample", "label"]


class CTCLoss(NamedTuple):
    """The loss of a batch."""

    value: float  # mean over the samples that count
    d_y: Any  # gradient of the value, in the form of y
    losses: Array  # (B,) float64, -log P of each sample in nats; +inf where no path reads as the target
    skipped: int  # samples that did not count, since no path reads as their target


def frames_needed(target: Any) -> int:
    """Return how many frames a target needs at the least: one a label, and a blank between equal neighbours."""
    labels = np.asarray(target)
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def ctc_loss(
    y: Any,
    targets: Sequence[Any],
    *,
    lengths: Any = None,
    blank: int = 0,
    from_logits: bool = True,
    impossible: str = "error",
    average: str = "sample",
) -> CTCLoss:
    """Mean of -log P(target) over the samples, in nats, and its gradient.

    Parameters
    ----------
    y : (B, T, V) or a list of (T_i, V): logits, or log-probabilities with from_logits=False
    targets : B sequences of labels from 0 to V - 1 without the blank; an empty one stands for silence
    lengths : (B,) frames of each sample
    blank : the label that stands for nothing, any of 0 to V - 1
    from_logits : False takes y as log-probabilities and gives the gradient with respect to them. It is that of the
        formula, for every number on its own: log-probabilities that are not normalised are not normalised here
    impossible : "error" refuses a sample with fewer frames than its target needs; "skip" leaves it out of the mean,
        gives it a gradient of 0, and counts it. So it does where a path exists, but has a probability of 0
    average : "sample" is the mean over samples; "label" divides each loss by the number of its labels first, at least
        1, as PyTorch's "mean" does

    Returns
    -------
    CTCLoss(value, d_y, losses, skipped)
        0 with a zero gradient, and a warning, where no sample counts

    Raises
    ------
    ValueError
        naming the sample: too few frames, a label out of range, the blank in a target

    Cost: O(T B (S + V)) for S labels. Source: Graves, Fernandez, Gomez and Schmidhuber (2006).
    """
    checks.one_of("ctc_loss", "impossible", impossible, IMPOSSIBLE)
    checks.one_of("ctc_loss", "average", average, AVERAGES)
    y, lengths, listed = frames_of("ctc_loss", y, lengths)
    B, _, V = y.shape
    blank_label("ctc_loss", blank, V)
    labels = label_sequences("ctc_loss", targets, B, V, blank)
    if impossible == "error":
        for k, (target, length) in enumerate(zip(labels, lengths.tolist(), strict=True)):
            enough_frames(k, len(target), frames_needed(target), length)
    sizes = np.array([len(target) for target in labels], np.intp)
    with np.errstate(invalid="ignore"):  # a NaN goes on to the loss of its own sample
        losses, d_y = twins.loss(y.swapaxes(0, 1), lengths, labels, blank, from_logits)
    counts = ~np.isposinf(losses) if impossible == "skip" else np.ones(B, bool)
    n = int(counts.sum())
    if n == 0:
        warnings.warn("ctc_loss: no sample counts: the loss is 0 and so is its gradient", stacklevel=2)
    weights = counts / max(n, 1)
    if average == "label":
        weights = weights / np.maximum(sizes, 1)
    value = float((losses[counts] * weights[counts]).sum())
    d_y = d_y.swapaxes(0, 1) * weights.astype(d_y.dtype)[:, None, None]
    return CTCLoss(value, unpad(d_y, lengths) if listed else d_y, losses, B - n)


@dataclass(frozen=True)
class CTC:
    """The CTC loss as `elman.train` wants it: a function (y, targets, lengths=) -> (value, d_y). See `ctc_loss`.

    With impossible="skip", a batch with samples that were left out warns how many.
    """

    blank: int = 0
    impossible: str = "error"
    average: str = "sample"

    def __post_init__(self) -> None:
        checks.one_of("CTC", "impossible", self.impossible, IMPOSSIBLE)
        checks.one_of("CTC", "average", self.average, AVERAGES)

    def __call__(self, y: Any, targets: Any, *, lengths: Any = None) -> Loss:
        """Return the loss and its gradient with respect to the logits y, (B, T, V) or a list of (T_i, V)."""
        loss = ctc_loss(y, targets, lengths=lengths, blank=self.blank, impossible=self.impossible, average=self.average)
        if loss.skipped:
            warnings.warn(f"CTC: left out {loss.skipped} of {len(loss.losses)} samples: too few frames", stacklevel=2)
        return Loss(loss.value, loss.d_y)


def frames_of(where: str, y: Any, lengths: Any) -> tuple[Array, Array, bool]:
    """Return y (B, T, V) of floats, lengths (B,), and whether y was a list."""
    listed = isinstance(y, list)
    if listed:
        if lengths is not None:
            raise ValueError(f"{where}: a list of sequences has lengths of its own; pass no lengths")
        rows = [np.asarray(row) for row in y]
        y, lengths = pad(rows, rows[0].dtype if rows else np.float32, (1,))
    y = np.asarray(y)
    if y.dtype.kind != "f":
        raise TypeError(f"{where}: y must hold floats, the outputs of a model, got dtype {y.dtype}")
    if y.ndim != 3:
        raise ValueError(f"{where}: y must be (B, T, V) or a list of (T_i, V), got {y.shape}")
    B, T, _ = y.shape
    return y, np.full(B, T) if lengths is None else checks.row_lengths(where, lengths, B, T), listed
