"""The contract that every twin of the kernels obeys: names, shapes, equations, tapes.

One legend for the project:

    T time   B batch   I input   H hidden   G gates (RNN 1, GRU 3, LSTM 4)   V vocabulary

Kernels are time-major: ``x (T, B, I)``, or token ids ``x (T, B)`` that stand for one-hot rows. States are ``(B, H)``.
The weights of a recurrence are blocks of H rows, one block a gate, in PyTorch's order:

    LSTM   i f g o    i, f, o = sigmoid(a);  g = tanh(a);  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)
    GRU    r z n      r, z = sigmoid(a);  h_t = (1 - z) n + z h_{t-1}
                      reset_after:   n = tanh(W_n x + b_ih_n + r (U_n h_{t-1} + b_hh_n))
                      otherwise:     n = tanh(W_n x + b_ih_n + U_n (r h_{t-1}) + b_hh_n)
    RNN    one block  h_t = f(a)
    with   a = x_t weight_ih^T + bias_ih + h_{t-1} weight_hh^T + bias_hh

Variable length: ``lengths (B,)`` counts the valid steps of each row; the others are padding. At a padded step the state
stands still and the output is 0, or the standing state with ``hold``. ``reverse`` runs from the last step to the
first, so a padded row starts, untouched, at its own last valid step. The layer hands over x with finite padding.

``forward`` with ``keep=True`` returns a tape, which ``backward`` reads and never changes. ``backward`` adds to
``d_weights`` and returns ``d_x``, the gradient of the initial state, and the gradient of every state on the way.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from elman.params import Array


class RNNState(NamedTuple):
    """State of a simple recurrent network: ``h (B, H)``."""

    h: Array


class GRUState(NamedTuple):
    """State of a GRU: ``h (B, H)``."""

    h: Array


class LSTMState(NamedTuple):
    """State of an LSTM: ``h (B, H)``, the output of the last step, and ``c (B, H)``, its memory cells."""

    h: Array
    c: Array


class Weights(NamedTuple):
    """Weights of a recurrence, or their gradients."""

    weight_ih: Array  # (G*H, I)
    weight_hh: Array  # (G*H, H)
    bias_ih: Array | None  # (G*H,)
    bias_hh: Array | None  # (G*H,)


class Steps(NamedTuple):
    """How a sequence is walked."""

    lengths: Array | None = None  # (B,) valid steps of each row
    reverse: bool = False  # from the last step to the first
    hold: bool = False  # output the standing state at padded steps, not 0


class RNNTape(NamedTuple):
    """What a simple recurrent network remembers of its forward pass."""

    x: Array  # (T, B, I) or ids (T, B)
    h: Array  # (T+1, B, H) h[t] before step t and h[t+1] after it (the other way round in reverse)


class GRUTape(NamedTuple):
    """What a GRU remembers of its forward pass."""

    x: Array  # (T, B, I) or ids (T, B)
    h: Array  # (T+1, B, H) as in RNNTape
    gates: Array  # (T, B, 3H) activated r, z, n
    hidden_n: Array | None  # (T, B, H) U_n h_{t-1} + b_hh_n; None unless reset_after


class LSTMTape(NamedTuple):
    """What an LSTM remembers of its forward pass."""

    x: Array  # (T, B, I) or ids (T, B)
    h: Array  # (T+1, B, H) as in RNNTape
    c: Array  # (T+1, B, H) likewise
    gates: Array  # (T, B, 4H) activated i, f, g, o


class KernelForward(NamedTuple):
    """Result of a recurrence's forward pass."""

    y: Array  # (T, B, H) outputs
    state: Any  # state after the last step of each row
    tape: Any  # None unless asked for


class KernelBackward(NamedTuple):
    """Result of a recurrence's backward pass, beside the sums in ``d_weights``."""

    d_x: Array | None  # (T, B, I); None for token ids
    d_state: Any  # gradient of the initial state, each (B, H)
    d_states: Any  # gradient of the state after each step, each (T, B, H)


class Kernels(Protocol):
    """What a twin offers: a module with these functions."""

    def project(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """Return ``x weight^T + bias``, (..., O), for rows x (..., I), or gathered columns for ids x (...)."""

    def project_backward(
        self, x: Array, weight: Array, d_y: Array, d_weight: Array, d_bias: Array | None
    ) -> Array | None:
        """Add to the gradients of `project` and return d_x (..., I), or None for ids."""

    def scatter_rows(self, ids: Array, rows: Array, table: Array) -> None:
        """Add each of rows (N, O) to the row of table (V, O) that ids (N entries) names."""

    def activate(self, activation: str, x: Array) -> Array:
        """Return f(x), elementwise, for f one of "tanh", "relu" and "sigmoid"."""

    def softmax_cross_entropy(
        self, y: Array, targets: Array, smoothing: float = 0.0, scale: float = 1.0
    ) -> tuple[Array, Array]:
        """Return the loss of each row of logits y (..., V), and its gradient with respect to y times scale.

        The loss is (1 - smoothing) (-log softmax(y)[target]) + smoothing (mean of -log softmax(y)). Where the target is
        negative, it and its gradient are 0, whatever y is.
        """

    def adam(
        self, w: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, scale: float, epsilon:
        float,
    ) -> None:  # fmt: skip
        """Do Adam's update in place on vectors w (N,) with gradients g and moments m and v.

        ::

            m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2;   w -= rate m / (scale sqrt(v) + epsilon)
        """

    def sum_of_squares(self, x: Array) -> float:
        """Return the sum of the squares of x, float32 or float64 of any shape, in double."""

    def rnn_forward(
        self, x: Array, state: RNNState, weights: Weights, steps: Steps, activation: str, *, keep: bool
    ) -> KernelForward:
        """Run a simple recurrent network, (T, B, I) -> (T, B, H)."""

    def rnn_backward(
        self,
        tape: RNNTape,
        weights: Weights,
        steps: Steps,
        activation: str,
        d_y: Array,
        d_state: RNNState,
        d_weights: Weights,
    ) -> KernelBackward:
        """Backpropagate through time."""

    def lstm_forward(self, x: Array, state: LSTMState, weights: Weights, steps: Steps, *, keep: bool) -> KernelForward:
        """Run an LSTM, (T, B, I) -> (T, B, H)."""

    def lstm_backward(
        self, tape: LSTMTape, weights: Weights, steps: Steps, d_y: Array, d_state: LSTMState, d_weights: Weights
    ) -> KernelBackward:
        """Backpropagate through time."""

    def gru_forward(
        self, x: Array, state: GRUState, weights: Weights, steps: Steps, reset_after: bool, *, keep: bool
    ) -> KernelForward:
        """Run a GRU, (T, B, I) -> (T, B, H)."""

    def gru_backward(
        self,
        tape: GRUTape,
        weights: Weights,
        steps: Steps,
        reset_after: bool,
        d_y: Array,
        d_state: GRUState,
        d_weights: Weights,
    ) -> KernelBackward:
        """Backpropagate through time, in either mode of the reset gate."""
