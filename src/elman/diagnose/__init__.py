"""Diagnosis: the true gradient of every state through time, what it says about the model, and where a number broke.

Backpropagation through time holds d(loss)/d(h_t) for every step anyway. Here it is measured, in double, whatever the
type of the model: how fast it fades or grows, which gates and units are stuck, and what to do about it.
"""

from elman.diagnose.flow import gradient_flow, state_jacobian
from elman.diagnose.nonfinite import locate_nonfinite
from elman.diagnose.results import EXPLODED, SURVIVES, VANISHED, GradientFlow, LayerFlow, Saturation

__all__ = [
    "EXPLODED",
    "SURVIVES",
    "VANISHED",
    "GradientFlow",
    "LayerFlow",
    "Saturation",
    "gradient_flow",
    "locate_nonfinite",
    "state_jacobian",
]
