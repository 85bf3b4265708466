"""Draw the pictures of the papers: ``python scripts/make_pictures.py [FOLDER]``, by default into docs/pictures.

Pictures carry symbols and names of the library, so that one picture serves every language; the one with words in it
exists twice, and its Chinese form needs a font, as attention does. What looks like a measurement is one: it runs
through the library here, or comes from benchmarks/results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.patches import Circle, FancyBboxPatch

import elman
from elman import plots

BLUE, ORANGE, GREEN, GREY, INK, PALE = "#0072B2", "#D55E00", "#00875F", "#8A8A8A", "#222222", "#F4F1EA"
DPI = 120
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def save(figure: Any, path: Path) -> None:
    """Write a picture without a date in it, so that the same picture is the same file."""
    figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})
    plt.close(figure)


# ------------------------------------------------------------------------------------------------- parts of a cell


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and an empty plane of that many units, two units an inch."""
    figure = plt.figure(figsize=(width / 1.25, height / 1.25))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.axis("off")
    return figure, axes


def line(axes: Any, *points: tuple[float, float], color: str = INK, width: float = 1.6, arrow: bool = True) -> None:
    """Draw a line through points, with an arrow at its end."""
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=color, lw=width, solid_joinstyle="round", solid_capstyle="round", zorder=1)
    if arrow:
        style = {"arrowstyle": "-|>", "color": color, "lw": width, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
        axes.annotate("", points[-1], points[-2], arrowprops=style, zorder=1)


def operation(axes: Any, x: float, y: float, symbol: str, color: str = INK) -> None:
    """Draw an operation number by number: a circle with a sign in it."""
    axes.add_patch(Circle((x, y), 0.26, facecolor="white", edgecolor=color, lw=1.6, zorder=3))
    axes.text(x, y - 0.01, symbol, ha="center", va="center", fontsize=14, color=color, zorder=4)


def gate(
    axes: Any, x: float, y: float, text: str, *, width: float = 1.0, height: float = 0.6, color: str = BLUE
) -> None:
    """Draw a gate, or anything with weights or a squashing: a box with a name in it."""
    box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.12")
    box.set(facecolor="white", edgecolor=color, lw=1.6, zorder=3)
    axes.add_patch(box)
    axes.text(x, y - 0.02, text, ha="center", va="center", fontsize=11.5, color=color, zorder=4)


def name(axes: Any, x: float, y: float, text: str, *, color: str = INK, size: float = 14, **options: Any) -> None:
    """Write a symbol."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": size, "color": color, **options})


def dot(axes: Any, x: float, y: float, color: str = INK) -> None:
    """Mark where a line forks."""
    axes.add_patch(Circle((x, y), 0.06, color=color, zorder=2))


def body(axes: Any, left: float, bottom: float, right: float, top: float) -> None:
    """Draw the ground of a cell."""
    box = FancyBboxPatch((left, bottom), right - left, top - bottom, boxstyle="round,pad=0,rounding_size=0.3")
    box.set(facecolor=PALE, edgecolor="#D8D2C4", lw=1, zorder=0)
    axes.add_patch(box)


# -------------------------------------------------------------------------------------------------------- pictures


def draw_lstm(path: Path) -> None:
    """Draw the cell of an LSTM, with its additive path."""
    figure, axes = canvas(11.2, 6.0)
    body(axes, 1.1, 0.75, 10.0, 5.6)
    top, middle, gates, bus = 4.8, 3.35, 2.3, 1.35
    line(axes, (0.75, top), (10.5, top), color=GREEN, width=3.2)
    for x, text in ((2.6, "f"), (4.2, "i"), (5.8, "g"), (7.2, "o")):
        gate(axes, x, gates, rf"$\mathbf{{{text}}}$   " + ("tanh" if text == "g" else r"$\sigma$"))
        line(axes, (x, bus), (x, gates - 0.3), color=ORANGE)
        if x < 7:
            dot(axes, x, bus, ORANGE)
    line(axes, (0.75, bus), (7.2, bus), color=ORANGE, arrow=False)
    line(axes, (1.75, 0.3), (1.75, bus), color=BLUE, arrow=False)
    dot(axes, 1.75, bus, ORANGE)
    line(axes, (2.6, gates + 0.3), (2.6, top - 0.26))
    line(axes, (4.2, gates + 0.3), (4.2, middle), (4.74, middle))
    line(axes, (5.8, gates + 0.3), (5.8, middle), (5.26, middle))
    line(axes, (5.0, middle + 0.26), (5.0, top - 0.26))
    line(axes, (8.4, top), (8.4, middle + 0.26))
    dot(axes, 8.4, top, GREEN)
    gate(axes, 8.4, 4.2, "tanh", width=0.8, height=0.42, color=INK)
    line(axes, (7.2, gates + 0.3), (7.2, middle), (8.14, middle))
    line(axes, (8.66, middle), (10.5, middle), color=ORANGE)
    operation(axes, 2.6, top, r"$\times$", GREEN)
    operation(axes, 5.0, top, r"$+$", GREEN)
    operation(axes, 5.0, middle, r"$\times$")
    operation(axes, 8.4, middle, r"$\times$")
    name(axes, 0.4, top, r"$c_{t-1}$", color=GREEN)
    name(axes, 10.8, top, r"$c_t$", color=GREEN)
    name(axes, 10.8, middle, r"$h_t$", color=ORANGE)
    name(axes, 0.4, bus, r"$h_{t-1}$", color=ORANGE)
    name(axes, 2.05, 0.35, r"$x_t$", color=BLUE)
    name(axes, 3.8, 5.15, r"$f\,c_{t-1}$", color=GREEN, size=11.5)
    name(axes, 6.7, 5.15, r"$c_t = f\,c_{t-1} + i\,g$", color=GREEN, size=11.5)
    name(axes, 5.3, 4.05, r"$i\,g$", size=11.5)
    name(axes, 9.35, 3.05, r"$o\,\tanh c_t$", color=ORANGE, size=11.5)
    save(figure, path)


def draw_gru(path: Path) -> None:
    """Draw the cell of a GRU, and its candidate in both modes of the reset gate."""
    figure, axes = canvas(13.6, 6.0)
    body(axes, 1.1, 0.75, 6.9, 5.6)
    top, middle, gates, bus = 4.8, 3.5, 2.3, 1.35
    line(axes, (0.75, top), (7.4, top), color=ORANGE, width=3.2)
    line(axes, (1.5, top), (1.5, bus), (5.6, bus), color=ORANGE, arrow=False)
    dot(axes, 1.5, top, ORANGE)
    for x, text in ((2.6, "z"), (4.1, "r"), (5.6, "n")):
        gate(axes, x, gates, rf"$\mathbf{{{text}}}$   " + ("tanh" if text == "n" else r"$\sigma$"))
        line(axes, (x, bus), (x, gates - 0.3), color=ORANGE)
        if x < 5:
            dot(axes, x, bus, ORANGE)
    line(axes, (2.05, 0.3), (2.05, bus), color=BLUE, arrow=False)
    dot(axes, 2.05, bus, ORANGE)
    line(axes, (4.6, gates), (5.1, gates))
    line(axes, (2.6, gates + 0.3), (2.6, top - 0.26))
    dot(axes, 2.6, middle)
    line(axes, (2.6, middle), (5.34, middle))
    line(axes, (5.6, gates + 0.3), (5.6, middle - 0.26))
    line(axes, (5.6, middle + 0.26), (5.6, top - 0.26))
    operation(axes, 2.6, top, r"$\times$", ORANGE)
    operation(axes, 5.6, top, r"$+$", ORANGE)
    operation(axes, 5.6, middle, r"$\times$")
    name(axes, 4.1, middle + 0.23, r"$1-z$", size=11.5)
    name(axes, 4.1, top + 0.33, r"$z\,h_{t-1}$", color=ORANGE, size=11.5)
    name(axes, 6.25, 4.15, r"$(1-z)\,n$", size=11.5)
    name(axes, 0.4, top, r"$h_{t-1}$", color=ORANGE)
    name(axes, 7.7, top, r"$h_t$", color=ORANGE)
    name(axes, 2.35, 0.35, r"$x_t$", color=BLUE)
    for bottom, after in ((3.3, True), (0.75, False)):
        draw_candidate(axes, bottom, after)
    save(figure, path)


def draw_candidate(axes: Any, bottom: float, after: bool) -> None:
    """Draw how r enters the candidate n, before or after the product with U_n."""
    left, right, y = 8.35, 13.35, bottom + 0.85
    body(axes, left, bottom, right, bottom + 2.3)
    name(axes, left + 0.25, bottom + 2.0, f"reset_after={after}", size=10, ha="left", family="monospace")
    line(axes, (left + 0.5, y), (right - 0.5, y), color=ORANGE)
    product, reset = (left + 1.25, left + 2.35) if after else (left + 2.0, left + 0.95)
    gate(axes, product, y, r"$U_n\,\cdot + b$", width=1.0, height=0.5)
    line(axes, (reset, y + 0.7), (reset, y + 0.26))
    name(axes, reset + 0.22, y + 0.66, "$r$")
    operation(axes, reset, y, r"$\times$")
    plus = left + 3.15
    line(axes, (plus, y - 0.55), (plus, y - 0.26), color=BLUE)
    name(axes, plus, y - 0.67, r"$W_n\,x_t + b$", color=BLUE, size=11)
    operation(axes, plus, y, r"$+$")
    gate(axes, left + 3.95, y, "tanh", width=0.7, height=0.5, color=INK)
    name(axes, left + 0.28, y, "$h$", color=ORANGE)
    name(axes, right - 0.28, y, "$n$", color=INK)


def flow(model: elman.Model, T: int) -> np.ndarray:
    """Return the norm of d(loss)/d(state) at each step (T,), relative to the last step.

    The loss is a random direction of the last output, and the state is the cell of an LSTM, h of the others.
    """
    x = np.random.default_rng(1).standard_normal((8, T, 8))
    y, _, tape = model.forward(x)
    d_y = np.zeros_like(y)
    d_y[:, -1] = np.random.default_rng(2).standard_normal(d_y[:, -1].shape)
    d_states = model.backward(tape, d_y).d_states[-1]
    norm = np.linalg.norm(d_states, axis=2).mean(axis=0)
    return norm / norm[-1]


def draw_gradient_flow(path: Path) -> None:
    """Draw the gradient on its way back through 100 steps, for layers of 32 units, all weights as they start."""
    T, H, long = 100, 32, np.log(99)
    exploding = elman.RNN(8, H).init(dtype=np.float64)
    exploding.params["weight_hh"] *= 1.5
    exploding.params["weight_ih"] *= 0.1
    lasting = elman.LSTM(8, H, forget_bias=long).init(dtype=np.float64)
    lasting.params["bias_ih"][:H] = -long
    curves = [
        (exploding, "RNN  tanh, 1.5 $U$", ORANGE, 1.0),
        (elman.RNN(8, H).init(dtype=np.float64), "RNN  tanh", ORANGE, 1.0),
        (elman.RNN(8, H, activation="sigmoid").init(dtype=np.float64), "RNN  sigmoid", ORANGE, 1.0),
        (elman.LSTM(8, H, forget_bias=0.0).init(dtype=np.float64), "LSTM  $b_f = 0$", GREEN, 0.5),
        (elman.LSTM(8, H).init(dtype=np.float64), "LSTM  $b_f = 1$", GREEN, 1.0),
        (lasting, r"LSTM  $b_f = \log\,T$", GREEN, 3.0),
        (elman.GRU(8, H).init(dtype=np.float64), "GRU  $b_z = 0$", BLUE, 1.0),
        (elman.GRU(8, H, update_bias=long).init(dtype=np.float64), r"GRU  $b_z = \log\,T$", BLUE, 0.25),
    ]
    figure, axes = plt.subplots(figsize=(8.6, 5.0), layout="constrained")
    for model, text, color, shift in curves:  # shift keeps the names apart
        norm = flow(model, T)
        steps = np.arange(T - 1, -1, -1)
        seen = norm > 1e-20
        axes.semilogy(steps[seen], norm[seen], color=color, lw=1.8)
        if norm[0] > 1e-20:
            axes.text(T + 0.5, shift * norm[0], text, color=color, va="center", fontsize=9.5)
        else:
            axes.text(steps[seen][0] + 2, 3e-20, text, color=color, va="center", fontsize=9.5)
    axes.set_xlim(0, T)
    axes.set_ylim(1e-20, 1e5)
    axes.axhline(1, color=GREY, lw=0.8, zorder=0)
    axes.set_xlabel("$T - t$", fontsize=12)
    axes.set_ylabel(r"$\Vert \partial L / \partial s_t \Vert\; /\; \Vert \partial L / \partial s_T \Vert$", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E6E6E6", lw=0.8)
    save(figure, path)


def units(u: np.ndarray, b: np.ndarray) -> elman.Model:
    """Return N networks of one unit each, h_t = tanh(u h_{t-1} + b): a layer with a diagonal recurrent matrix."""
    layer = elman.RNN(1, len(u))
    model = elman.Model(layer, elman.Params(layer.shapes(), dtype=np.float64))
    model.params["weight_hh"] = np.diag(u)
    model.params["bias_ih"] = b
    return model


def unit_loss(u: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return the loss (h_50 + 0.5)^2 of each network, (N,), from h_0 = 0.1 without input; and what backward needs."""
    model = units(u, b)
    _, state, tape = model.forward(np.zeros((50, 1)), elman.RNNState(np.full((1, len(u)), 0.1)))
    return (state.h[0] + 0.5) ** 2, (model, state, tape)


def unit_gradient(u: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return d_u and d_b of the loss of each network, (N,)."""
    _, (model, state, tape) = unit_loss(u, b)
    grads = model.backward(tape, None, elman.RNNState(2 * (state.h + 0.5))).grads
    return np.diag(grads["weight_hh"]), grads["bias_ih"]


def descend(u: float, b: float, max_norm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the path (61, 2) of (b, u) by gradient descent, and the norms of the gradient (60,) before clipping."""
    place = np.array([b, u])
    path, norms = [place.copy()], []
    for _ in range(60):
        d_u, d_b = unit_gradient(place[1:], place[:1])
        grads = {"b": d_b.copy(), "u": d_u.copy()}
        norms.append(elman.optim.clip_by_global_norm(grads, max_norm).norm)
        place -= 0.02 * np.concatenate([grads["b"], grads["u"]])
        path.append(place.copy())
    return np.array(path), np.array(norms)


def draw_clipping(path: Path) -> None:
    """Draw the cliff in the loss of one unit over 50 steps, and gradient descent with and without clipping."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.3), layout="constrained", width_ratios=(1.25, 1))
    u, b = np.linspace(1.0, 1.3, 121), np.linspace(-0.3, 0.08, 191)
    loss = np.array([unit_loss(np.full(len(b), row), b)[0] for row in u])
    levels = np.concatenate([[0, 1e-4, 1e-3, 5e-3], np.arange(0.01, 0.1, 0.01), np.arange(0.1, 1.75, 0.05)])
    filled = left.contourf(b, u, loss, levels=levels, cmap="Greys", norm=PowerNorm(0.4), extend="max")
    figure.colorbar(filled, ax=left, label="$L$", ticks=[0, 0.01, 0.1, 0.5, 1, 1.5], shrink=0.9)
    for max_norm, color, text in ((np.inf, ORANGE, r"max_norm = $\infty$"), (0.5, BLUE, "max_norm = 0.5")):
        way, norms = descend(1.2, -0.15, max_norm)
        left.plot(way[:, 0], way[:, 1], "-", color=color, lw=1.2, marker="o", ms=3.2, clip_on=True, label=text)
        right.semilogy(np.arange(len(norms)), norms, color=color, lw=1.6, marker="o", ms=3, label=text)
        if way[:, 0].min() < b[0]:
            left.text(b[0] + 0.008, 1.061, f"$b = {way[-1, 0]:.1f}$", color=color, fontsize=11)
    left.plot(-0.15, 1.2, "o", color=INK, ms=6)
    left.set(xlim=(b[0], b[-1]), ylim=(u[0], u[-1]))
    left.set_xlabel("$b$", fontsize=12)
    left.set_ylabel("$u$", fontsize=12, rotation=0, labelpad=12)
    right.set_xlabel("$n$", fontsize=12)
    right.set_ylabel(r"$\Vert d \Vert$", fontsize=12)
    right.axhline(0.5, color=BLUE, lw=0.8, ls=":")
    right.legend(frameon=False)
    right.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_forecast(path: Path) -> None:
    """Draw the last year of the airline passengers as it was forecast a year before, with its interval."""
    from elman import datasets
    from elman.tasks.series import RecurrentForecaster

    passengers = datasets.airline()
    months = np.datetime64("1949-01") + np.arange(144)
    model = RecurrentForecaster(
        horizon=12, season=12, baseline="seasonal", scaling="level", log=True, hidden_size=16, max_epochs=200,
        calibration_fraction=0.2, random_state=0,
    )  # fmt: skip
    train = passengers[None, :-12]
    model.fit(train)
    lower, upper = model.predict_interval(train, coverage=0.8)
    plots.plot_forecasts(
        months[:-12], train.T, months[-12:], model.predict(train).T, lower.T, upper.T, path,
        names=["thousand passengers"], actual=passengers[-12:, None],
    )  # fmt: skip


def draw_attention(path: Path) -> None:
    """Draw where a translator looked, from what the benchmark of translation measured; it needs a Chinese font."""
    result = json.loads((RESULTS / "accuracy-translation-tatoeba-elman.json").read_text(encoding="utf-8"))
    looked = result["seeds"]["0"]["attention"][1]
    if plots.chinese_font():
        plots.plot_attention(np.array(looked["weights"]), looked["source"], looked["target"], path)
    else:
        print("no font with Chinese characters is installed: attention.png is left as it was")


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.draw_unrolled(folder / "unrolled.png")
    if plots.chinese_font():
        plots.draw_unrolled(folder / "unrolled.zh.png", "zh")
    else:
        print("no font with Chinese characters is installed: unrolled.zh.png is left as it was")
    draw_attention(folder / "attention.png")
    draw_lstm(folder / "cell_lstm.png")
    draw_gru(folder / "cell_gru.png")
    draw_gradient_flow(folder / "gradient_flow.png")
    draw_clipping(folder / "clipping.png")
    draw_forecast(folder / "forecast.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "pictures")
