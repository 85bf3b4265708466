"""Pictures: they are written whole, need matplotlib only when drawn, and touch nothing around them."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import elman
from elman import GRU, LSTM, RNN, Bidirectional, Linear, Sequential, plots
from elman.diagnose import gradient_flow

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import font_manager  # noqa: E402


@pytest.fixture(autouse=True)
def silent(caplog):
    """Matplotlib reports missing fonts and characters by warnings, and by its log."""
    with caplog.at_level(logging.WARNING, logger="matplotlib"):
        yield
    assert caplog.records == []


def size_of(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", data[16:24])


def colours(path: Path) -> set[tuple[int, ...]]:
    from matplotlib.image import imread

    pixels = np.round(imread(path)[..., :3] * 255).astype(np.int64)
    codes = np.unique(pixels @ [1 << 16, 1 << 8, 1])
    return {(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def flow(layer, T=20, **options):
    model = Sequential(layer, Linear(layer.out_size, 2)).init(seed=1)
    return gradient_flow(model, np.random.default_rng(0).standard_normal((3, T, layer.in_size)), **options)


@pytest.mark.parametrize("layer", [Bidirectional(GRU(2, 3)), elman.stack(LSTM, [2, 3, 3])], ids=["bi", "stack"])
def test_gradient_flow(layer, tmp_path):
    path = tmp_path / "flow.png"
    plots.plot_gradient_flow(flow(layer), path)
    width, height = size_of(path)
    assert width > 1500
    assert height > 500
    assert path.stat().st_size > 20_000
    assert {rgb(plots.BLUE), (255, 255, 255)} <= colours(path)
    assert [p.name for p in tmp_path.iterdir()] == ["flow.png"]


def test_gradient_flow_with_nothing_on_a_logarithm(tmp_path):
    model = RNN(1, 2, activation="relu").init(dtype=np.float64)
    model.params.flat[:] = 0
    model.params["weight_hh"] = 1e200 * np.eye(2)
    for x in (np.zeros((1, 3, 1)), np.zeros((1, 1, 1))):
        plots.plot_gradient_flow(gradient_flow(model, x), tmp_path / "flow.png")
        size_of(tmp_path / "flow.png")


def test_many_layers_still_fit(tmp_path):
    plots.plot_gradient_flow(flow(elman.stack(LSTM, [2] * 7), T=4), tmp_path / "flow.png")
    assert size_of(tmp_path / "flow.png")[1] > 1000


def curves(n=3):
    return [plots.Curve(f"curve {k}", 0.5 ** (np.arange(11) * k), plots.COLOURS[k]) for k in range(n)]


def clipping(n=5, m=3):
    norms = np.linspace(20, 0.5, n)
    return plots.Clipping(1.0, norms, np.minimum(norms, 1), np.linspace(2, 0, n), norms[:m], np.full(m, 2.0), np.log(4))


@pytest.mark.parametrize(("after", "clipped"), [(True, True), (True, False), (False, False)])
def test_comparison(after, clipped, tmp_path):
    path = tmp_path / "compare.png"
    given = curves() if after else []
    plots.plot_comparison(path, curves(), given, clipping() if clipped else None, at_step=10, labels_say=("a", "b"))
    width, height = size_of(path)
    assert (width > 1500) == (after or clipped)
    assert (height > 1200) == clipped
    assert {rgb(plots.BLUE), rgb(plots.RED)} <= colours(path)


def test_comparison_where_a_training_broke_off_at_once(tmp_path):
    plots.plot_comparison(tmp_path / "c.png", curves(), [], clipping(m=0), at_step=10)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "PNG"])
def test_kinds(kind, tmp_path):
    path = tmp_path / f"unrolled.{kind}"
    plots.draw_unrolled(str(path))
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind.lower()]
    assert path.read_bytes().startswith(start)


def test_other_kinds_are_refused(tmp_path):
    for name in ("picture.jpg", "picture", "png"):
        with pytest.raises(ValueError, match=r"name must end in \.png, \.svg, \.pdf"):
            plots.draw_unrolled(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unrolled(tmp_path):
    plots.draw_unrolled(tmp_path / "en.png")
    assert size_of(tmp_path / "en.png")[0] > 1500
    assert {rgb(plots.BLUE), rgb(plots.RED)} <= colours(tmp_path / "en.png")
    with pytest.raises(ValueError, match="language must be one of en, zh, got 'de'"):
        plots.draw_unrolled(tmp_path / "de.png", "de")


def test_unrolled_in_chinese(tmp_path):
    if plots.chinese_font() is None:
        pytest.skip("no font with Chinese characters")
    plots.draw_unrolled(tmp_path / "en.png")
    plots.draw_unrolled(tmp_path / "zh.png", "zh")
    assert (tmp_path / "zh.png").read_bytes() != (tmp_path / "en.png").read_bytes()


def test_unrolled_without_a_chinese_font_is_english(tmp_path, monkeypatch):
    monkeypatch.setattr(
        font_manager.fontManager, "ttflist", [f for f in font_manager.fontManager.ttflist if "DejaVu" in f.name]
    )
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    assert plots.chinese_font() is None
    plots.draw_unrolled(tmp_path / "en.png")
    plots.draw_unrolled(tmp_path / "zh.png", "zh")
    assert (tmp_path / "zh.png").read_bytes() == (tmp_path / "en.png").read_bytes()


def test_a_font_installed_since_matplotlib_looked(monkeypatch):
    added = []
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist[:1]))
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: ["/fonts/DejaVuSans.ttf", "/fonts/NotoSansCJK-Regular.ttc"]
    )

    def add(file):
        added.append(file)
        manager.ttflist.append(font_manager.FontEntry(name="Noto Sans CJK SC"))

    monkeypatch.setattr(manager, "addfont", add)
    assert plots.chinese_font() == "Noto Sans CJK SC"
    assert added == ["/fonts/NotoSansCJK-Regular.ttc"]


def test_the_same_picture_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        plots.draw_unrolled(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_matplotlib_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (plots.draw_unrolled, lambda path: plots.plot_gradient_flow(flow(GRU(2, 3)), path)):
        with pytest.raises(
            ImportError, match=r"^pictures need matplotlib, which is not installed: pip install elman\[plot\]$"
        ):
            draw(tmp_path / "picture.png")
    with pytest.raises(ImportError, match="pip install"):
        plots.draw_unrolled(tmp_path / "picture.png", "zh")


STATE = """
import sys
import elman, elman.plots
assert not [name for name in sys.modules if name.startswith("matplotlib")]
elman.plots.draw_unrolled(sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
import matplotlib

"""


def test_drawing_loads_matplotlib_late_and_leaves_pyplot_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STATE, str(tmp_path / "p.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size_of(tmp_path / "p.png")


def test_settings_stay_as_they_are(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = dict(matplotlib.rcParams)
        plots.draw_unrolled(tmp_path / "p.png", "zh")
        assert dict(matplotlib.rcParams) == before
