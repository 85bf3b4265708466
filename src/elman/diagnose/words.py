"""The words of a diagnosis: verdicts, remarks, remedies, tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from elman.layers import GRU, LSTM, RNN

if TYPE_CHECKING:
    from elman.diagnose.results import GradientFlow, LayerFlow

MOSTLY = 0.5  # a gate that is saturated in more than this share of all steps is called so


def explanation(flow: LayerFlow) -> str:
    """Return the verdict on a layer in a sentence."""
    T = flow.n_steps
    if not flow.surviving[0]:
        return "No gradient of the loss at the last step reaches this layer at all."
    change = f"{flow.factor_per_step:.3g} times a step"
    k = int(flow.surviving.argmax())
    if flow.verdict == "exploding" and k:
        return f"The gradient grows to {flow.surviving[k]:.2g} times that of the last step, {k} steps back ({change})."
    if flow.memory_steps == T:
        return f"At all {T} steps back more than 1 % of the last step's gradient survives ({change})."
    return f"1 % of the last step's gradient survives {flow.memory_steps} of {T} steps back ({change})."


def remarks(flow: LayerFlow) -> Iterator[str]:
    """Yield what else was found, a sentence each."""
    for gate, share in _stuck_gates(flow):
        yield f"Saturated: {gate} is at the end of its range in {share:.0%} of all steps."
    if flow.dead_units:
        yield f"Dead units: {_listed(flow.dead_units, flow)} constant, or saturated at every step."
    for word, units in (("vanishing", flow.vanishing_units), ("exploding", flow.exploding_units)):
        if units and (word != flow.verdict or len(units) < flow.layer.hidden_size):
            yield f"By unit: {_listed(units, flow)} {word}."


def _listed(units: tuple[int, ...], flow: LayerFlow) -> str:
    """Return how many units there are, and which if they are few, with the verb."""
    which = f" ({', '.join(map(str, units))})" if len(units) <= 8 else ""
    return f"{len(units)} of {flow.layer.hidden_size}{which} {'is' if len(units) == 1 else 'are'}"


def _stuck_gates(flow: LayerFlow) -> Iterator[tuple[str, float]]:
    """Yield the gates that are mostly saturated. A forget gate or z near 1 is not stuck: it remembers. c is no gate."""
    for gate in flow.layer.gate_names:
        saturation = flow.saturation[gate]
        share = saturation.low if gate in ("f", "z") else saturation.total
        if share > MOSTLY:
            yield gate, share


def remedies(flow: LayerFlow) -> Iterator[str]:
    """Yield what to do about it, a sentence each."""
    if flow.verdict == "exploding":
        radius = max(flow.spectral_radius.values())
        yield "Clip the gradient: train(..., clip_norm=1.0)."
        if radius > 1 and isinstance(flow.layer, RNN):
            yield f"Scale weight_hh so that its spectral radius, {radius:.3g}, is at most 1."
    elif flow.verdict == "vanishing":
        yield _longer_memory(flow)
    if any(True for _ in _stuck_gates(flow)):
        yield "Scale the inputs to unit variance, and start from smaller weights or a lower learning rate."
    if flow.dead_units:
        yield "Dead units: lower the learning rate, or take fewer units."


def _longer_memory(flow: LayerFlow) -> str:
    layer, bias = flow.layer, round(math.log(max(flow.n_steps, 2)), 1)
    need = f"If the task needs more than {flow.memory_steps} steps of memory"
    if bias <= (layer.forget_bias if isinstance(layer, LSTM) else layer.update_bias if isinstance(layer, GRU) else 0):
        return f"{need}, shorten the sequences, or let the loss look at more steps."
    if isinstance(layer, LSTM):
        return f"{need}, start with LSTM(..., forget_bias={bias}, input_bias={-bias})."
    if isinstance(layer, GRU):
        return f"{need}, start with GRU(..., update_bias={bias})."
    return (
        f"{need}, take GRU(..., update_bias={bias}) or LSTM(..., forget_bias={bias}, input_bias={-bias}) in its place."
    )


def report(flow: GradientFlow) -> Iterator[str]:
    """Yield the lines of two tables, and of the verdict on each layer."""
    yield f"Gradient flow of {flow.n_rows} rows over up to {flow.layers[0].n_steps} steps, loss {flow.loss:.6g}"
    yield ""
    yield from table([_LAYER_HEAD, *(_layer_row(f) for f in flow.layers)])
    yield ""
    yield from table([_GATE_HEAD, *(row for f in flow.layers for row in _gate_rows(f))])
    for f in flow.layers:
        yield ""
        yield f"{f.label}: {f.verdict}. {' '.join([f.explanation, *f.remarks])}"
        if f.remedy:
            yield f"  Remedy: {f.remedy}"


_LAYER_HEAD = ("layer", "units", "memory in steps", "times a step", "at the start", "dead units", "verdict")
_GATE_HEAD = ("layer", "gate", "spectral radius", "saturated low", "and high")


def _layer_row(f: LayerFlow) -> tuple[str, ...]:
    shares = f"{f.factor_per_step:.3g}", f"{f.surviving[-1]:.2e}"
    return (f.label, str(f.layer.hidden_size), f.memory, *shares, str(len(f.dead_units)), f.verdict)


def shown(gate: str) -> str:
    """Return how a gate is called: c is measured behind its tanh."""
    return "tanh(c)" if gate == "c" else gate


def _gate_rows(f: LayerFlow) -> Iterator[tuple[str, ...]]:
    for gate, s in f.saturation.items():
        radius = f"{f.spectral_radius[gate]:.3f}" if gate in f.spectral_radius else ""
        yield f.label, shown(gate), radius, f"{s.low:.0%}", f"{s.high:.0%}"


def table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield lines with the columns aligned, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
