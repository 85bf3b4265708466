"""Attention: for each step of one sequence, a weighted mean of the steps of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman import checks, kernels
from elman.layers.initial import glorot
from elman.layers.lexicon import Words
from elman.params import Array, Params, Shapes

KINDS = ("dot", "general", "additive")


class Memory(NamedTuple):
    """What attention reads, made ready once for however many queries come."""

    values: Array  # (T, B, M)
    keys: Array  # (T, B, D), or (T, B, O) for additive scores
    valid: Array | None  # (B, 1, T) mask of the valid steps, or None where all are
    words: Words | None = None  # what a lexicon says of them

    def rows(self, rows: Array) -> Memory:
        """Return the memory of some rows of the batch."""
        valid = None if self.valid is None else self.valid[rows]
        words = None if self.words is None else self.words.rows(rows)
        return Memory(self.values[:, rows], self.keys[:, rows], valid, words)


class AttentionTape(NamedTuple):
    """What the forward pass remembers."""

    memory: Memory
    queries: Array  # (S, B, D)
    weights: Array  # (B, S, T)
    context: Array  # (S, B, M)
    y: Array  # (S, B, O)
    hidden: Array | None  # (B, S, T, O) of additive scores


@dataclass(frozen=True)
class Attention:
    """Attention of all steps of a sequence of queries at once, over a memory whose padding is never seen.

    ::

        score_st = q_s . m_t / sqrt(D)                           dot (needs D = M)
                   q_s . (weight_key m_t) / sqrt(D)              general
                   vector . tanh(weight_key m_t + weight_query q_s + bias_query)    additive
        a_s      = softmax over the valid t of score_st
        y_s      = tanh(weight_context (sum_t a_st m_t) + weight_output q_s + bias)

    Parameters
    ----------
    kind : "dot", "general" or "additive"
    query_size : D, features of a query
    memory_size : M, features of a step of the memory
    output_size : O, features of y, and of the layer inside of additive scores

    No output enters a later query, so S steps are a few matrix products. A row without a valid step reads zeros.
    Cost: 4 S T B M flops and the products of the weights; additive scores take S T B O numbers more of the tape.
    Source: dot, general and y_s: Luong, Pham and Manning (2015); the root, which keeps attention from being all or
    nothing before it has learned: Vaswani et al. (2017); additive scores: Bahdanau, Cho and Bengio (2015).
    """

    kind: str
    query_size: int
    memory_size: int
    output_size: int

    def __post_init__(self) -> None:
        checks.one_of("Attention", "kind", self.kind, KINDS)
        D, M, O = self.query_size, self.memory_size, self.output_size
        checks.positive("Attention", query_size=D, memory_size=M, output_size=O)
        if self.kind == "dot" and D != M:
            raise ValueError(
                f"Attention: dot needs queries and a memory of one size, got {D} and {M}; take kind='general'"
            )

    def shapes(self) -> Shapes:
        """Return the names and shapes of the parameters."""
        D, M, O = self.query_size, self.memory_size, self.output_size
        own: dict[str, dict[str, tuple[int, ...]]] = {
            "dot": {},
            "general": {"weight_key": (D, M)},
            "additive": {"weight_key": (O, M), "weight_query": (O, D), "bias_query": (O,), "vector": (1, O)},
        }
        return {**own[self.kind], "weight_context": (O, M), "weight_output": (O, D), "bias": (O,)}

    def fill(self, params: Params, rng: np.random.Generator) -> None:
        """Draw Glorot weights; biases start at 0."""
        D, M, O = self.query_size, self.memory_size, self.output_size
        for name, shape in self.shapes().items():
            if len(shape) == 2 and name not in ("weight_context", "weight_output"):
                params[name] = glorot(rng, *shape)
        both = glorot(rng, O, M + D)  # of one layer, whose input is the context beside the query
        params["weight_context"], params["weight_output"] = both[:, :M], both[:, M:]

    @property
    def _scale(self) -> float:
        return float(self.query_size**-0.5)

    def read(self, params: Params, values: Array, valid: Array | None) -> Memory:
        """Return the memory of values (T, B, M), 0 at padding, and a mask of the valid steps (T, B, 1) or None."""
        keys = values
        if self.kind != "dot":
            keys = kernels.active().project(values, params["weight_key"], None)
        return Memory(values, keys, None if valid is None else valid.transpose(1, 2, 0))

    def forward(self, params: Params, queries: Array, memory: Memory) -> tuple[Array, AttentionTape]:
        """Return y (S, B, O) for queries (S, B, D), and the tape."""
        project = kernels.active().project
        hidden = None
        if self.kind == "additive":
            q = project(queries, params["weight_query"], params["bias_query"])
            hidden = np.tanh(memory.keys.swapaxes(0, 1)[:, None] + q.swapaxes(0, 1)[:, :, None])
            scores = hidden @ params["vector"][0]
        else:
            scores = queries.swapaxes(0, 1) @ memory.keys.transpose(1, 2, 0)
            scores *= self._scale
        weights = _softmax(scores, memory.valid)
        context = np.ascontiguousarray((weights @ memory.values.swapaxes(0, 1)).swapaxes(0, 1))
        y = project(context, params["weight_context"], params["bias"])
        y += project(queries, params["weight_output"], None)
        np.tanh(y, out=y)
        return y, AttentionTape(memory, queries, weights, context, y, hidden)

    def backward(
        self, params: Params, tape: AttentionTape, d_y: Array, grads: Params, d_weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Add to grads and return the gradients of the queries (S, B, D) and of the values (T, B, M).

        d_weights (B, S, T) is the gradient of the weights from elsewhere, if they are used elsewhere.

        ::

            d_score_st = a_st (d_a_st - sum_u a_su d_a_su)        d_a_st = d_context_s . m_t
        """
        back = kernels.active().project_backward
        values, keys = tape.memory[:2]
        _, queries, weights, context, y, hidden = tape
        d = d_y * (1 - y * y)
        d_context = back(context, params["weight_context"], d, grads["weight_context"], grads["bias"])
        d_queries = back(queries, params["weight_output"], d, grads["weight_output"], None)
        assert d_context is not None
        assert d_queries is not None
        d_context = d_context.swapaxes(0, 1)
        d_values = (weights.swapaxes(1, 2) @ d_context).swapaxes(0, 1)
        d_scores = d_context @ values.transpose(1, 2, 0)
        if d_weights is not None:
            d_scores += d_weights
        d_scores -= (d_scores * weights).sum(axis=2, keepdims=True)
        d_scores *= weights
        if hidden is not None:
            grads["vector"][0] += np.tensordot(d_scores, hidden, axes=3)
            d_hidden = d_scores[..., None] * params["vector"][0] * (1 - hidden * hidden)
            d_q = d_hidden.sum(axis=2).swapaxes(0, 1)
            more = back(queries, params["weight_query"], d_q, grads["weight_query"], grads["bias_query"])
            d_keys = d_hidden.sum(axis=1).swapaxes(0, 1)
        else:
            d_scores *= self._scale
            more = (d_scores @ keys.swapaxes(0, 1)).swapaxes(0, 1)
            d_keys = (d_scores.swapaxes(1, 2) @ queries.swapaxes(0, 1)).swapaxes(0, 1)
        assert more is not None
        d_queries += more
        if self.kind != "dot":
            through_keys = back(values, params["weight_key"], d_keys, grads["weight_key"], None)
            assert through_keys is not None
            d_keys = through_keys
        return d_queries, d_values + d_keys


def _softmax(scores: Array, valid: Array | None) -> Array:
    """Return weights (B, S, T) that sum to 1 over the valid steps; zeros where there is none."""
    if valid is not None:
        scores = np.where(valid, scores, -np.inf)
    largest = scores.max(axis=2, keepdims=True, initial=np.finfo(scores.dtype).min)
    weights: Any = np.exp(scores - largest)
    total = weights.sum(axis=2, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    return weights  # type: ignore[no-any-return]
