"""Vanishing and exploding gradients, measured by backpropagation through time, and the remedy of the gates.

Run it as ``python examples/02_gradients.py [PICTURE]``; the picture needs matplotlib.
"""

from __future__ import annotations

import argparse

import numpy as np

import elman


def three_units() -> None:
    """Print what is left of the gradient after 50 steps in three units that keep 0.5, 1.1 and 0.9 of it a step."""
    factors = np.array([0.5, 1.1, 0.9])
    rnn = elman.RNN(1, 3).init(dtype=np.float64)
    rnn.params.flat[:] = 0
    rnn.params["weight_hh"] = np.diag(factors)
    _, _, tape = rnn.forward(np.zeros((3, 50, 1)))  # without input h stays 0, where the slope of tanh is 1
    d_start = rnn.backward(tape, None, elman.RNNState(np.eye(3))).d_state.h  # sequence k: of unit k at the end
    print("three units, 50 steps")
    for factor, gradient in zip(factors, np.diag(d_start), strict=True):
        print(f"  {factor:.1f} a step: {gradient:.6e} is left, {factor:.1f}^50 is {factor**50:.6e}")
    assert np.allclose(np.diag(d_start), [8.881784e-16, 117.3909, 5.153775e-3], rtol=1e-6)


def layers(n_units: int, n_steps: int) -> dict[str, elman.Model]:
    """Return untrained layers that differ in kind and in the bias of the gate that keeps."""
    long = np.log(n_steps)
    models = {
        "RNN, sigmoid": elman.RNN(8, n_units, activation="sigmoid"),
        "RNN, tanh": elman.RNN(8, n_units),
        "LSTM, forget bias 0": elman.LSTM(8, n_units, forget_bias=0.0),
        "LSTM, forget bias 1": elman.LSTM(8, n_units),
        f"LSTM, forget bias {long:.1f}": elman.LSTM(8, n_units, forget_bias=long),
        "GRU, update bias 0": elman.GRU(8, n_units),
        f"GRU, update bias {long:.1f}": elman.GRU(8, n_units, update_bias=long),
    }
    models = {name: layer.init(seed=0) for name, layer in models.items()}
    models["RNN, tanh, 1.5 weight_hh"] = loud = elman.RNN(8, n_units).init(seed=0)
    loud.params["weight_hh"] *= 1.5
    loud.params["weight_ih"] *= 0.1
    models[f"LSTM, and input bias {-long:.1f}"] = calm = elman.LSTM(8, n_units, forget_bias=long).init(seed=0)
    calm.params["bias_ih"][:n_units] = -long  # the rows of the input gate come first
    return models


def draw(path: str, flows: dict[str, elman.diagnose.GradientFlow]) -> None:
    """Draw what is left of the gradient of the last step, against the distance to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    for k, (name, flow) in enumerate(flows.items()):
        share = flow[0].surviving
        axes.semilogy(share.clip(1e-20), color=f"C{k}", ls=("-", "--")[k % 2], label=name)
    axes.set(xlabel="steps back", ylabel="share of the gradient that is left", ylim=(1e-16, None))
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure the gradient of every layer, print what is left of it, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", default="gradients.png", help="where to draw the gradients")
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    three_units()
    x = np.random.default_rng(0).standard_normal((8, options.steps, 8))
    print(f"\nuntrained layers of {options.units} units, {options.steps} steps: the share of the gradient that is left")
    print(f"{'':30}{'10 back':>10}{'at the start':>14}   memory in steps")
    flows = {}
    for name, model in layers(options.units, options.steps).items():
        flows[name] = elman.diagnose.gradient_flow(model, x)
        layer = flows[name][0]
        print(f"{name:30}{layer.surviving[10]:10.0e}{layer.surviving[-1]:14.0e}   {layer.memory}, {layer.verdict}")
    print("\nWhat to do about the first:", flows["RNN, sigmoid"].remedy)

    draw(options.picture, flows)
    print(f"drew {options.picture}")


if __name__ == "__main__":
    main()
