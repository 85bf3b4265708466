"""Pictures: of the gradient through time, and of what a recurrent network is. Needs matplotlib, loaded when drawing."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elman import storage
from elman.diagnose import SURVIVES, GradientFlow, words
from elman.params import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by the colour-blind, and in print.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#666666"
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
FLOOR, CEILING = 1e-12, 1e6  # of shares on a logarithmic axis
DASHES, DASH_DOT, _DOTS = (0, (4, 2)), (0, (6, 2, 1, 2)), (0, (1, 2))  # lines are told apart in grey, too
_BELOW: dict[str, Any] = {  # a legend under its panel, where no curve crosses it
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.13),
    "ncols": 2,
    "fontsize": 9,
    "title_fontsize": 9,
    "frameon": False,
}

# -------------------------------------------------------------------------------------------------------- matplotlib


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, apart from pyplot and its global state.

    Raises ImportError, with a sentence that says how to install it, where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib, which is not installed: pip install elman[plot]") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return the kind of picture that a file's name asks for, "png", "svg" or "pdf"; ValueError for others."""
    kinds = ("png", "svg", "pdf")
    kind = Path(path).suffix[1:].lower()
    if kind not in kinds:
        raise ValueError(f"{path}: a picture's name must end in .{', .'.join(kinds)}")
    return kind


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a PNG, SVG or PDF file, by the ending of its name, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind_of(path), dpi=150)
    storage.write_bytes(path, buffer.getvalue())


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


def _positive(values: Array) -> Array:
    """Return values with a gap where a logarithm has nothing to show."""
    return np.where((values > 0) & np.isfinite(values), values, np.nan)


def _share_axis(axes: Axes, curves: Sequence[Array]) -> None:
    """Make the y-axis logarithmic, wide enough for the curves but not for what nobody reads, and mark 1 %."""
    shown = np.concatenate([np.ravel(_positive(np.asarray(curve))) for curve in curves])
    low, high = np.nanmin(shown, initial=SURVIVES), np.nanmax(shown, initial=1.0)
    axes.set_yscale("log")
    axes.set_ylim(max(low, FLOOR) / 3, min(high, CEILING) * 4)
    axes.axhline(SURVIVES, color=GREY, linewidth=1, linestyle=_DOTS)
    axes.annotate(
        "1 %", (1, SURVIVES), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
        ha="right", color=GREY, fontsize=9,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- gradient flow


def plot_gradient_flow(flow: GradientFlow, path: str | os.PathLike[str]) -> None:
    """Draw how much of the gradient survives, its norm at every step, and how far the gates are saturated.

    Parameters
    ----------
    flow : from `elman.diagnose.gradient_flow`
    path : a .png, .svg or .pdf file to write

    Raises
    ------
    ImportError
        where matplotlib is missing, with a sentence that says how to install it
    """
    n_bars = sum(len(layer.saturation) for layer in flow.layers)
    figure = new_figure(14, max(4.6, 1.6 + 0.22 * n_bars) + 0.25 * len(flow.layers))
    memory, norms, gates = figure.subplots(1, 3, width_ratios=[1.25, 1.25, 1])
    _plot_surviving(memory, flow)
    _plot_norms(norms, flow)
    _plot_saturation(gates, flow)
    save(figure, path)


def _plot_surviving(axes: Axes, flow: GradientFlow) -> None:
    curves = []
    for layer, colour in zip(flow.layers, _cycle(len(flow.layers)), strict=True):
        curves.append(layer.surviving)
        label = f"{layer.label}: {layer.verdict}, {layer.memory.replace('at least', '≥')} steps"
        axes.plot(_positive(layer.surviving), color=colour, linewidth=2, label=label)
        at = layer.memory_steps
        axes.plot(at, _positive(layer.surviving)[at], "o", color=colour, markersize=6)
    _share_axis(axes, curves)
    axes.set_xlim(-0.03 * len(curves[0]), 1.1 * len(curves[0]))  # room for the words at the end
    _style(axes, "What survives of the last step's gradient", "steps back", "share of the norm at the last step")
    axes.legend(title="Verdict, and effective memory", **_BELOW)


def _plot_norms(axes: Axes, flow: GradientFlow) -> None:
    for layer, colour in zip(flow.layers, _cycle(len(flow.layers)), strict=True):
        for name, style in zip(layer.norms, ("-", DASHES), strict=False):
            norm = layer.norms[name]
            t = np.arange(len(norm)) - (0 if layer.layer.reverse else 1)  # the initial state is before step 0
            axes.plot(t, _positive(norm), color=colour, linestyle=style, linewidth=1.8, label=f"{layer.label}: {name}")
    shown = np.concatenate([_positive(norm) for layer in flow.layers for norm in layer.norms.values()])
    if np.isfinite(shown).any():
        axes.set_yscale("log")
        axes.set_ylim(np.nanmin(shown) / 2, np.nanmax(shown) * 2)
    _style(axes, "Gradient of the whole loss", "time step", r"norm of $\partial$loss / $\partial$state")
    axes.legend(**_BELOW)


def _plot_saturation(axes: Axes, flow: GradientFlow) -> None:
    bars = [(layer, gate, s) for layer in flow.layers for gate, s in layer.saturation.items()]
    y = np.arange(len(bars))[::-1]
    low = np.array([s.low for _, _, s in bars]) * 100
    high = np.array([s.high for _, _, s in bars]) * 100
    axes.barh(y, low, color=SKY, label="low end")
    axes.barh(y, high, left=low, color=BLUE, label="high end")
    axes.set_yticks(y, [f"{layer.label}: {words.shown(gate)}" for layer, gate, _ in bars], fontsize=9)
    axes.set_xlim(0, 100)
    _style(axes, "Saturated gates", "% of all units and steps", "")
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=9, frameon=False)


def _cycle(n: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(n)]


# ------------------------------------------------------------------------------------------------------- comparison


class Curve(NamedTuple):
    """A line of a picture."""

    label: str
    values: Array
    colour: str
    style: Any = "-"  # of the line, as matplotlib has it


class Clipping(NamedTuple):
    """A training with clipped gradients beside the same one without."""

    clip_norm: float
    norms: Array  # (n,) of each update's gradient, before clipping
    clipped_norms: Array  # (n,) and after
    losses: Array  # (n,) with clipping
    free_norms: Array  # (m,) without it; m < n where it broke off
    free_losses: Array  # (m,)
    chance: float  # loss of a model that guesses


def plot_comparison(
    path: str | os.PathLike[str],
    before: Sequence[Curve],
    after: Sequence[Curve],
    clipping: Clipping | None,
    *,
    at_step: int,
    labels_say: tuple[str, str] = ("", ""),
    clipping_title: str = "",
) -> None:
    """Draw how gradients vanish or survive in several models, and how clipping tames one that explodes.

    Parameters
    ----------
    path : a .png, .svg or .pdf file to write
    before, after : what survives k = 0, 1, ... steps back, at initialisation and after training (or none)
    clipping : two trainings, or None
    at_step : how many steps back lies what is to be remembered
    labels_say : what the labels of the curves before, and after, add to the names of the models
    clipping_title : which network it is that explodes
    """
    rows = 2 if clipping is not None else 1
    columns = 2 if after or clipping is not None else 1
    figure = new_figure(6.8 * columns, 4.9 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False)
    curves = [*before, *after]
    for panel, shown, when, what in zip(
        panels[0], (before, after), ("At initialisation", "After training"), labels_say, strict=False
    ):
        panel.set_visible(bool(shown))
        if not shown:
            continue
        _plot_curves(panel, shown, at_step)
        _share_axis(panel, [curve.values for curve in curves])
        _style(panel, f"{when}: the gradient's way back", "steps back", "share of the norm at the last step")
        panel.legend(title=what, **_BELOW)
    if clipping is not None:
        _plot_clipped_norms(panels[1, 0], clipping, clipping_title)
        _plot_losses(panels[1, 1], clipping)
    save(figure, path)


def _plot_curves(axes: Axes, curves: Sequence[Curve], at_step: int) -> None:
    for curve in curves:
        axes.plot(_positive(curve.values), color=curve.colour, linestyle=curve.style, linewidth=2, label=curve.label)
    axes.set_xlim(-0.03 * at_step, 1.1 * at_step)
    axes.axvline(at_step, color=GREY, linewidth=1, linestyle=_DOTS)
    axes.annotate(
        "to be remembered", (at_step, 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
        textcoords="offset points", rotation=90, va="bottom", color=GREY, fontsize=9,
    )  # fmt: skip


def _plot_clipped_norms(axes: Axes, clipping: Clipping, title: str) -> None:
    updates = np.arange(1, len(clipping.norms) + 1)
    axes.plot(updates, _positive(clipping.norms), ".", color=ORANGE, markersize=5, label="before clipping")
    axes.plot(updates, _positive(clipping.clipped_norms), ".", color=BLUE, markersize=5, label="after clipping")
    axes.axhline(clipping.clip_norm, color=GREY, linewidth=1, linestyle=_DOTS)
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 1.5)
    _style(axes, title, "update", "norm of the gradient of all weights")
    axes.legend(fontsize=9, frameon=False, loc="upper right")


def _plot_losses(axes: Axes, clipping: Clipping) -> None:
    for losses, colour, label in (
        (clipping.free_losses, ORANGE, "without clipping"),
        (clipping.losses, BLUE, f"clipped at {clipping.clip_norm:g}"),
    ):
        axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, linewidth=1.3, label=label)
    axes.axhline(clipping.chance, color=GREY, linewidth=1, linestyle=_DOTS)
    axes.annotate(
        "guessing", (1, clipping.chance), xycoords=("axes fraction", "data"), xytext=(-2, -4),
        textcoords="offset points", ha="right", va="top", color=GREY, fontsize=9,
    )  # fmt: skip
    axes.set_ylim(bottom=0)
    _style(axes, "The same network, with and without clipping", "update", "loss in nats")
    axes.legend(fontsize=9, frameon=False, loc="lower left")


# --------------------------------------------------------------------------------------------- the unrolled network

CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)
_FONT_FILES = ("notosanscjk", "notosanssc", "sourcehansans", "wqy", "msyh", "simhei", "pingfang", "droidsansfallback")

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "without": "Without memory",
        "with": "With memory",
        "unrolled": "the same, unrolled over time",
        "apart": "each step knows its own input only",
        "shared": "$W$, $U$ and $b$ are the same at every step",
    },
    "zh": {
        "without": "没有记忆",
        "with": "有记忆",
        "unrolled": "同一个网络，沿时间展开",
        "apart": "每一步只知道当前的输入",
        "shared": "每一步共用同一组 $W$、$U$ 和 $b$",
    },
}


def chinese_font() -> str | None:
    """Return the name of an installed font with Chinese characters, or None."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    for name in CHINESE_FONTS:
        if name in known:
            return name
    for file in sorted(font_manager.findSystemFonts()):  # installed since matplotlib looked last
        if Path(file).name.lower().replace("-", "").replace("_", "").startswith(_FONT_FILES):
            font_manager.fontManager.addfont(file)
            return str(font_manager.fontManager.ttflist[-1].name)
    return None


def draw_unrolled(path: str | os.PathLike[str], language: str = "en") -> None:
    """Draw a network without memory, h_t = f(W x_t + b), beside one with, h_t = f(W x_t + U h_{t-1} + b), unrolled.

    Parameters
    ----------
    path : a .png, .svg or .pdf file to write
    language : of the words, "en" or "zh"; where no font has Chinese characters they are English
    """
    if language not in _WORDS:
        raise ValueError(f"draw_unrolled: language must be one of {', '.join(_WORDS)}, got {language!r}")
    figure = new_figure(12.5, 4.6)
    font = chinese_font() if language == "zh" else None
    said = _WORDS[language if font or language == "en" else "en"]
    fonts = [font, "DejaVu Sans"] if font else ["DejaVu Sans"]
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.75])
    _draw_without_memory(left, said, fonts)
    _draw_with_memory(right, said, fonts)
    save(figure, path)


def plot_forecasts(
    times: Array,
    history: Array,
    future: Array,
    points: Array,
    lower: Array,
    upper: Array,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] = ("",),
    coverage: float = 0.8,
    calibrated: bool = True,
    actual: Array | None = None,
    shown_steps: int | None = None,
) -> None:
    """Draw the end of a series and its forecast, one panel a feature, and write the picture.

    Parameters
    ----------
    times, history : (T,), (T, D)
    future, points, lower, upper : (S,), and (S, D) each; intervals of NaN are left out
    path : of the picture, .png, .svg or .pdf
    names : of the D features
    coverage : share of values that the interval holds
    calibrated : whether it was seen to hold them; the legend says where it was not
    actual : (S, D) what came, if it is known
    shown_steps : how much of the history to show; 4 S, at least 48, if absent
    """
    D = history.shape[1]
    kept = shown_steps or max(4 * len(future), 48)
    times, history = times[-kept:], history[-kept:]
    figure = new_figure(9.0, 1.2 + 2.6 * D)
    for d, axes in enumerate(figure.subplots(D, 1, squeeze=False, sharex=True)[:, 0]):
        axes.plot(times, history[:, d], color="black", linewidth=1.3, label="history")
        # From the last value on, so that history and forecast hang together.
        joined = [np.concatenate([times[-1:], future])]
        joined += [np.concatenate([history[-1:, d], values[:, d]]) for values in (points, lower, upper)]
        if np.isfinite(lower[:, d]).all():
            label = f"{coverage:.0%} interval" + ("" if calibrated else ", not calibrated")
            axes.fill_between(joined[0], joined[2], joined[3], color=SKY, alpha=0.45, lw=0, label=label)
        axes.plot(joined[0], joined[1], color=BLUE, linewidth=1.8, label="forecast")
        if actual is not None:
            axes.plot(future, actual[:, d], color=RED, linewidth=1.3, linestyle=DASHES, label="what came")
        axes.axvline(times[-1], color=GREY, linewidth=0.8, linestyle=_DOTS)
        axes.set_ylabel(names[d])
        axes.spines[["top", "right"]].set_visible(False)
        if d == 0:
            axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=4)
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
    save(figure, path)


def _draw_without_memory(axes: Axes, said: Mapping[str, str], fonts: list[str]) -> None:
    _canvas(axes, 3.6, said["without"], r"$h_t = f(W x_t + b)$", fonts)
    for k in range(3):
        _column(axes, 0.55 + 1.25 * k, k + 1)
    axes.text(1.8, -0.42, said["apart"], ha="center", fontsize=11, color=GREY, family=fonts)


def _draw_with_memory(axes: Axes, said: Mapping[str, str], fonts: list[str]) -> None:
    _canvas(axes, 6.4, said["with"], r"$h_t = f(W x_t + U h_{t-1} + b)$", fonts)
    _column(axes, 0.6, "t")
    _loop(axes, 0.6)
    axes.text(1.62, 1.0, "=", ha="center", va="center", fontsize=22, color=GREY)
    start = 2.35
    _node(axes, start, 1.75, "$h_0$", "white")
    for k in range(3):
        x = start + 1.2 * (k + 1)
        _column(axes, x, k + 1)
        _arrow(axes, (x - 1.2, 1.75), (x, 1.75), RED, "$U$")
    axes.text(4.15, 2.42, said["unrolled"], ha="center", fontsize=11, color=GREY, family=fonts)
    axes.text(4.15, -0.42, said["shared"], ha="center", fontsize=11, color=GREY, family=fonts, math_fontfamily="cm")


def _canvas(axes: Axes, width: float, title: str, formula: str, fonts: list[str]) -> None:
    axes.set_xlim(0, width)
    axes.set_ylim(-0.6, 3.6)
    axes.set_aspect("equal")
    axes.axis("off")
    weight = "bold" if len(fonts) == 1 else "normal"  # fonts of Chinese often come in one weight only
    axes.text(0, 3.35, title, fontsize=15, weight=weight, va="center", family=fonts)
    axes.text(0, 2.9, formula, fontsize=16, va="center", math_fontfamily="cm")


def _column(axes: Axes, x: float, t: int | str) -> None:
    """Draw one step: the input x_t, the state h_t, and W between them."""
    _arrow(axes, (x, 0.25), (x, 1.75), BLUE, "$W$")
    _node(axes, x, 0.25, f"$x_{t}$", "#e8f1f8", square=True)
    _node(axes, x, 1.75, f"$h_{t}$", "#fdf0e6")


def _node(axes: Axes, x: float, y: float, label: str, colour: str, *, square: bool = False) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch, Patch

    r = 0.29
    shape: Patch
    if square:
        shape = FancyBboxPatch(
            (x - r + 0.04, y - r + 0.04), 2 * r - 0.08, 2 * r - 0.08, "round,pad=0.04", fc=colour, ec="black", zorder=3
        )
    else:
        shape = Circle((x, y), r, fc=colour, ec="black", zorder=3)
    axes.add_patch(shape)
    axes.text(x, y, label, ha="center", va="center", fontsize=16, zorder=4, math_fontfamily="cm")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, label: str) -> None:
    """Draw an arrow between the rims of two nodes, and its weight beside it."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    rim = 0.33 / math.hypot(dx, dy)
    axes.annotate(
        "",
        (end[0] - rim * dx, end[1] - rim * dy),
        (start[0] + rim * dx, start[1] + rim * dy),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0},
    )
    aside = (0.2, 0.0) if dx == 0 else (0.0, 0.2)
    x, y = (start[0] + end[0]) / 2 + aside[0], (start[1] + end[1]) / 2 + aside[1]
    axes.text(x, y, label, ha="center", va="center", fontsize=14, color=colour, math_fontfamily="cm")


def _loop(axes: Axes, x: float) -> None:
    """Draw the arrow from a state to itself."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    points = [(x + 0.06, 2.07), (x + 0.2, 2.8), (x + 1.05, 2.05), (x + 0.31, 1.85)]
    line = Line(points, [Line.MOVETO, Line.CURVE4, Line.CURVE4, Line.CURVE4])
    axes.add_patch(
        FancyArrowPatch(path=line, arrowstyle="-|>", mutation_scale=15, color=RED, linewidth=2.2, fill=False)
    )
    axes.text(x + 0.78, 2.3, "$U$", ha="center", va="center", fontsize=14, color=RED, math_fontfamily="cm")


# ---------------------------------------------------------------------------------------------------------- attention


def plot_attention(weights: Array, source: Sequence[str], target: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw where each token of a translation looked: a row for each, a column for each token of the line.

    Parameters
    ----------
    weights : (S, T) attention; each row sums to 1
    source : (T,) tokens of the line
    target : (S,) tokens of the translation
    path : a .png, .svg or .pdf file to write

    Characters that no installed font has are drawn as boxes, without a word.
    """
    S, T = len(target), len(source)
    if np.shape(weights) != (S, T):
        raise ValueError(f"plot_attention: weights must be {(S, T)}, got {np.shape(weights)}")
    figure = new_figure(max(3.2, min(0.42 * T + 1.8, 24)), max(2.6, min(0.34 * S + 1.4, 24)))
    from matplotlib import rc_context

    names = [name for name in ("DejaVu Sans", chinese_font()) if name]
    with rc_context({"font.family": names}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(T), source, rotation=45, ha="left", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(S), target, parse_math=False)  # a price in $ is no formula
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(T + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(S + 1) - 0.5, minor=True)
        axes.grid(visible=True, which="minor", color="white", linewidth=1)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        save(figure, path)
