"""Connectionist temporal classification (CTC): labels for a sequence without saying when each of them comes.

A model gives, for each frame, a probability to every label and to the blank, which stands for nothing. A path through
the frames is read by merging what repeats and then dropping the blanks: ``a a - a b b`` reads "aab". The loss is -log
of the sum over all paths that read as the target.
"""

from elman.ctc.loss import CTC, CTCLoss, ctc_loss, frames_needed
from elman.ctc.search import (
    Hypothesis,
    PrefixBeam,
    Scorer,
    align,
    beam_search,
    collapse,
    greedy,
    log_softmax,
    runs,
)

__all__ = [
    "CTC",
    "CTCLoss",
    "Hypothesis",
    "PrefixBeam",
    "Scorer",
    "align",
    "beam_search",
    "collapse",
    "ctc_loss",
    "frames_needed",
    "greedy",
    "log_softmax",
    "runs",
]
