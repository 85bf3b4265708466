"""The benchmarks: the grid, the timing, and what is said of a result. No opponent is needed."""

import importlib.util
import json
import math
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import elman
from benchmarks.accuracy import translation
from benchmarks.speed import footprint, grid, measure, probes, problem, results, run, worker
from benchmarks.speed.contestants import Run, contestant
from benchmarks.speed.grid import Cell
from benchmarks.speed.measure import Plan

ROOT = Path(__file__).resolve().parents[2]
QUICKLY = Plan(samples=2, seconds=1e-4, settle_seconds=0)

# ---------------------------------------------------------------------------------------------------------------- grid


def test_grid_has_every_kind_and_work_once():
    assert len({cell.name for cell in grid.FULL}) == len(grid.FULL)
    layers = Counter((cell.kind, cell.work) for cell in grid.FULL if cell.kind in grid.KINDS and not cell.ragged)
    assert layers == {
        (kind, work): 7 if work == "step" else 9 for kind in grid.KINDS for work in ("step", "inference", "training")
    }
    assert {cell.H for cell in grid.FULL if cell.work == "step"} == {32, 64, 128, 192, 256, 384, 512}
    assert any(cell.is_large for cell in grid.FULL)
    assert grid.CHARACTER in grid.FULL


def test_quick_cells_are_ten_of_the_grid():
    assert len(grid.QUICK) == 10
    assert set(grid.QUICK) <= set(grid.FULL)


def test_flops_and_bytes():
    cell = Cell("GRU", "inference", B=2, T=3, I=5, H=7)
    assert cell.flops == 3 * 2 * (3 * 7) * (5 + 7) * 2  # steps, rows, (outputs, inputs) of the products, 2 each
    assert Cell("GRU", "training", 2, 3, 5, 7).flops == 3 * cell.flops
    assert Cell("GRU", "inference", 2, 3, 5, 7, ragged=True).flops is None
    assert grid.CHARACTER.flops is None
    weights = problem.make(cell).weights
    assert cell.weight_bytes == sum(w.nbytes for name, w in weights.items() if name != "bias_hh")


def test_cells_are_selected_by_words():
    assert grid.select(grid.FULL, []) == list(grid.FULL)
    chosen = grid.select(grid.FULL, ["step H128 LSTM", "GRU ragged training"])
    assert [cell.name for cell in chosen] == ["LSTM step B1 T1 I64 H128", "GRU training ragged B32 T100 I64 H128"]
    with pytest.raises(ValueError, match="no cell has all of 'H129'"):
        grid.select(grid.FULL, ["step", "H129"])


# ------------------------------------------------------------------------------------------------------------- problem


@pytest.mark.parametrize("work", ["inference", "training", "step"])
@pytest.mark.parametrize("kind", grid.KINDS)
def test_our_side_solves_its_problems(kind, work):
    given = problem.make(Cell(kind, work, 1 if work == "step" else 3, 4, 5, 6))
    ways = getattr(contestant("elman", 1), work)(given)
    for side in ways.values():
        assert problem.deviation(side.results(), given.expected()) < 1e-5
        side.call()  # a stream that was used is checked from its start
        assert problem.deviation(side.results(), given.expected()) < 1e-5


class ModelEngine:
    """An Engine and its stream, as far as the benchmarks use them, on a model."""

    def __init__(self, model):
        self.model = model
        self.state = None

    def __call__(self, x, state=None, lengths=None):
        return self.model(x, state, lengths=lengths)

    def stream(self):
        return ModelEngine(self.model)

    def step(self, x_t):
        y, self.state = self.model(x_t[None], self.state)
        return y[0]


@pytest.mark.parametrize(("work", "way"), [("inference", "Engine"), ("step", "Stream"), ("training", "Model")])
def test_our_engine_is_measured_where_there_is_one(work, way, monkeypatch):
    monkeypatch.setattr(elman, "Engine", ModelEngine, raising=False)
    given = problem.make(Cell("LSTM", work, 1, 4, 5, 6, ragged=work == "inference"))
    ways = getattr(contestant("elman", 1), work)(given)
    assert list(ways) == [way]
    ways[way].call()
    assert problem.deviation(ways[way].results(), given.expected()) < 1e-5


def test_ragged_problem():
    given = problem.make(Cell("LSTM", "training", 8, 20, 3, 4, ragged=True))
    assert given.lengths.max() == 20
    assert given.share == given.lengths.sum() / 160
    assert (given.expected()["y"][given.lengths.argmin(), given.lengths.min() :] == 0).all()
    assert given.without_lengths().share == 1


def test_wrong_results_are_seen():
    given = problem.make(Cell("LSTM", "training", 2, 4, 3, 5))
    right = given.expected()
    assert problem.deviation(right, right) == 0
    for name in right:
        wrong = right[name] * 1.001
        with pytest.raises(ValueError, match=f"{name} is off by 0.001"):
            problem.deviation({**right, name: wrong}, right)
        with pytest.raises(ValueError, match=f"{name} is off by nan"):
            problem.deviation({**right, name: np.full_like(wrong, np.nan)}, right)
    with pytest.raises(ValueError, match=r"y is \(4, 2, 5\), not \(2, 4, 5\)"):
        problem.deviation({**right, "y": right["y"].swapaxes(0, 1)}, right)


def test_wrong_opponents_are_left_out_and_we_are_not():
    expected = {"y": np.ones((1, 2, 3))}
    field = worker.Field(QUICKLY)
    field.enter("good", {"a way": Run(lambda: None, lambda: {"y": np.ones((1, 2, 3))})}, expected)
    field.enter("bad", {"a way": Run(lambda: None, lambda: {"y": np.zeros((1, 2, 3))})}, expected)
    field.enter("absent", {}, expected)
    assert list(field.runs) == ["good"]
    assert field.left_out == {"bad": "y is off by 1 of its largest number, more than 0.0001"}
    with pytest.raises(ValueError, match="y is off by 1"):
        field.enter("elman", {"a way": Run(lambda: None, lambda: {"y": np.zeros((1, 2, 3))})}, expected)


# -------------------------------------------------------------------------------------------------------------- timing


class Clock:
    """A clock that moves by what calls take."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(measure.time, "sleep", self.advance)

    def advance(self, seconds):
        self.now += seconds

    def run(self, seconds, log=None):
        def call():
            self.advance(seconds)
            if log is not None:
                log.append(seconds)

        return Run(call, dict)


def test_samples_are_seconds_a_call(monkeypatch):
    clock = Clock(monkeypatch)
    runs = {"fast": clock.run(2e-6), "slow": clock.run(0.5)}
    samples = measure.interleaved(runs, Plan())
    assert {name: len(times) for name, times in samples.items()} == {"fast": 7, "slow": 7}
    assert samples["fast"] == pytest.approx([2e-6] * 7)
    assert samples["slow"] == pytest.approx([0.5] * 7)


@pytest.mark.parametrize("seconds", [1e-7, 3e-4, 0.04, 0.2])
def test_a_sample_takes_long_enough_but_not_very_long(monkeypatch, seconds):
    calls = measure.calls_for(Clock(monkeypatch).run(seconds), 0.1)
    assert 0.1 <= calls * seconds <= max(0.3, seconds)


def test_a_slow_first_call_is_not_judged_by(monkeypatch):
    clock = Clock(monkeypatch)
    times = iter([5.0])
    calls = measure.calls_for(Run(lambda: clock.advance(next(times, 1e-3)), dict), 0.1)
    assert calls >= 100


def test_everybody_is_in_every_round_and_first_in_turn(monkeypatch):
    log = []
    clock = Clock(monkeypatch)
    monkeypatch.setattr(measure, "calls_for", lambda *_: 1)
    measure.interleaved({str(s): clock.run(s, log) for s in (1, 2, 3)}, Plan(samples=4))
    assert log == [1, 2, 3, 2, 3, 1, 3, 1, 2, 1, 2, 3]
    assert measure.rotated([], 3) == []


def test_fastest_way_is_taken(monkeypatch):
    clock = Clock(monkeypatch)
    assert measure.fastest({"a": clock.run(2e-3), "b": clock.run(1e-3), "c": clock.run(0.3)}, Plan()) == "b"


def test_context_is_entered_around_a_series():
    entered = []

    @contextmanager
    def context():
        entered.append(True)
        yield
        entered.append(False)

    measure.seconds_per_call(Run(lambda: entered.append("call"), dict, context), 2)
    assert entered == [True, "call", "call", "call", False]  # one to warm up


def test_probes_measure_something():
    _, read = probes.read(1 << 20)
    seconds = min(measure.seconds_per_call(read, 2) for _ in range(5)) / probes.READS
    assert 1e9 < (1 << 20) / seconds < 1e12  # bytes a second: no round was left out by the compiler
    who, sgemm = probes.sgemm()
    assert who in ("numpy", "torch")
    assert 1e9 < probes.SGEMM_FLOPS / measure.seconds_per_call(sgemm, 1) < 1e13
    if peak := probes.peak():
        _, multiply_add, flops = peak
        seconds = min(measure.seconds_per_call(multiply_add, 1) for _ in range(5))
        assert 1e9 < flops / seconds < 1e12


# -------------------------------------------------------------------------------------------------- what a result says


def entrant(seconds, way="a way"):
    return {"way": way, "median_s": seconds, "samples_s": [seconds] * 7, "deviation": 1e-7}


def record(cell, share=1.0, **seconds):
    times = {name.replace("_", " "): entrant(s) for name, s in seconds.items()}
    return {
        "cell": vars(cell),
        "share": share,
        "entrants": times,
        "left_out": {"openvino": "y is off by 1"} if cell.work == "training" else {},
        "load": 0.1,
        "seconds": 1.0,
        **({"sgemm_flops": 2 * 2048**3} if "sgemm" in seconds else {}),
        **({"peak_flops": 1e9} if "peak" in seconds else {}),
    }


@pytest.fixture
def result(tmp_path):
    """A result with round numbers, through a file as run.py writes it."""
    large = Cell("LSTM", "inference", 64, 35, 650, 650)
    small = Cell("LSTM", "inference", 16, 50, 16, 32)
    step = Cell("GRU", "step", 1, 1, 64, 128)
    ragged = Cell("RNN", "inference", 32, 100, 64, 128, ragged=True)
    training = Cell("GRU", "training", 8, 100, 64, 128)
    cells = [
        record(large, elman=0.1, torch=0.2, onnxruntime=0.4, sgemm=2 * 2048**3 / 200e9, peak=0.01),
        record(small, elman=1e-3, torch=9e-3, jax=8e-3, sgemm=0.1),
        record(step, elman=4e-6, torch=60e-6, onnxruntime=20e-6, read=2e-6),
        record(ragged, 0.5, elman=3e-3, elman_full=5e-3, torch=9e-3, torch_full=6e-3),
        record(training, elman=2e-3, torch=16e-3, jax=1e-3, sgemm=0.1),
        record(grid.CHARACTER, elman=0.04, torch=0.1),
    ]
    versions = {"python": "3.12.0", "elman": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.32.0", "jax": "0.10.2"}
    made = {
        "benchmark": "speed",
        "date": "2026-01-31",
        "about": {"cpu": "A CPU", "cores": 2, "instruction_set": ["avx2", "fma"], "versions": versions},
        "complete": [1],
        "cells": {"1": {Cell(**r["cell"]).name: r for r in cells}, "2": {cells[0]["cell"]["kind"]: cells[0]}},
        "footprint": {
            "elman": {"import_median_s": 0.05, "own_bytes": 1.5e6, "bytes_with_requirements": 60e6},
            "torch": {"import_median_s": 2.0, "own_bytes": 754e6, "bytes_with_requirements": 800e6},
        },
    }
    (tmp_path / "speed-2026-01-31.json").write_text(json.dumps(made))
    (tmp_path / "speed-2026-02-01.json").write_text(json.dumps({**made, "complete": []}))
    (tmp_path / "speed-2025-12-31.json").write_text(json.dumps({**made, "date": "2025-12-31"}))
    return results.newest(tmp_path)


def test_newest_complete_result_is_taken(result, tmp_path):
    assert result["date"] == "2026-01-31"
    assert list(result["cells"]) == ["1"]  # of two threads not all was measured
    assert results.newest(tmp_path / "nothing") is None


def test_rows(result):
    large, small, step, ragged, training, character = results.rows(result)
    assert (large.best, large.ratio) == ("torch", pytest.approx(2))
    assert large.gflops == pytest.approx(large.cell.flops / 0.1 / 1e9)
    assert large.sgemm_percent == pytest.approx(large.gflops / 2)  # of 200
    assert large.peak_percent == pytest.approx(large.gflops)  # of 100
    assert small.peak_percent is None
    assert (small.best, small.ratio) == ("jax", pytest.approx(8))
    assert (step.best, step.ratio, step.read_ratio) == ("onnxruntime", pytest.approx(5), pytest.approx(1.5))
    assert ragged.ragged_cost == {"elman": pytest.approx(1.2), "torch": pytest.approx(3)}
    assert (ragged.best, ragged.gflops) == ("torch", None)  # "full" is nobody's opponent
    assert (training.best, training.ratio) == ("jax", pytest.approx(0.5))
    assert character.ratio == pytest.approx(2.5)


def test_a_cell_without_us_or_without_opponents_is_no_ratio(result):
    cells = result["cells"]["1"]
    first, second, *_ = cells.values()
    del first["entrants"]["elman"]
    second["entrants"] = {"elman": entrant(1e-3)}
    row = results.rows(result)[0]
    assert row.cell.name == list(cells)[1]
    assert row.best is None
    assert math.isnan(row.ratio)
    assert len(results.table([row])[1]) == len(results.HEAD)


def test_means(result):
    assert results.geometric_mean([2, 8]) == pytest.approx(4)
    assert math.isnan(results.geometric_mean([]))
    found = {(work, kind): numbers for _, work, kind, *numbers in results.means(result)}
    assert found == {
        ("step", "GRU"): pytest.approx([5, 5, 5]),
        ("inference", "LSTM"): pytest.approx([4, 2, 8]),  # the ragged RNN counts nowhere
        ("training", "GRU"): pytest.approx([0.5, 0.5, 0.5]),
    }
    beside_torch = {(work, kind): mean for _, work, kind, mean, *_ in results.means(result, "torch")}
    assert beside_torch == {
        ("step", "GRU"): pytest.approx(15),
        ("inference", "LSTM"): pytest.approx(18**0.5),
        ("training", "GRU"): pytest.approx(8),
    }


def test_targets(result):
    found = {verdict.what: verdict for verdict in results.verdicts(result)}
    met = {what for what, verdict in found.items() if verdict.met}
    assert met == {
        "LSTM inference B64 T35 I650 H650, 1 thread, times torch",
        "LSTM inference B16 T50 I16 H32, 1 thread, times jax",
        "GRU training B8 T100 I64 H128, 1 thread, times torch",
        "character model training B64 T64 I64 H256, 1 thread, times PyTorch",
        "geometric mean, LSTM inference, 1 thread, times the best opponent",
        "geometric mean, LSTM inference, 1 thread, times torch",
        "geometric mean, GRU training, 1 thread, times torch",
        "import elman over import numpy, seconds",
    }
    assert set(found) - met == {
        "LSTM inference B64 T35 I650 H650, 1 thread, percent of the rate of a product of 2048^3",
        "GRU step B1 T1 I64 H128, 1 thread, times onnxruntime",
        "GRU step B1 T1 I64 H128, 1 thread, less 1 us, over reading its weights once",
        "RNN inference ragged B32 T100 I64 H128, 1 thread, its cost over its share of steps",
        "geometric mean, GRU training, 1 thread, times the best opponent",
    }
    partial = {verdict.what for verdict in results.verdicts({**result, "complete": []})}
    assert set(found) - partial == {what for what in found if "geometric mean" in what}
    assert str(found["GRU step B1 T1 I64 H128, 1 thread, times onnxruntime"]) == (
        "SHORT GRU step B1 T1 I64 H128, 1 thread, times onnxruntime: 5 (target >= 6)"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.0, "2.00 s"), (0.0123, "12.3 ms"), (0.123, "123 ms"), (4.2e-6, "4.20 us"), (3e-7, "0.300 us"), (0, "0 us")],
)
def test_durations(seconds, text):
    assert results.duration(seconds) == text


def test_report_says_everything(result):
    text = results.report(result)
    for words in (
        "GRU step B1 T1 I64 H128                          1  4.00 us  ONNX Runtime   20.0 us   5.00",
        "weights read once: 2.00 us",
        "cost over share of steps: elman 1.20, torch 3.00",
        "102,400 tokens/s",
        "left out: openvino in GRU training B8 T100 I64 H128, 1 thread: y is off by 1",
        "Elman 0.1.0",
        "754.0 MB",
    ):
        assert words in text


def readme_tables():
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "scripts" / "readme_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_tables(result, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    tables = readme_tables()
    english = tables.speed_table("en", result).splitlines()
    assert english[0] == (
        "On A CPU, 2 cores, avx2 fma, 2026-01-31, against PyTorch 2.13.0 · ONNX Runtime 1.32.0 · JAX 0.10.2:"
    )
    assert "| one step of a stream, 1 thread |  | 5.00 (5.00 – 5.00) |  |" in english
    assert "| whole sequences, 1 thread | 4.00 (2.00 – 8.00) |  |  |" in english
    assert "| B 64, T 64, 1 thread | 102,400 | 40,960 | 2.50 |" in english
    assert "| PyTorch 2.13.0 | 2.00 s | 754.0 MB | 800 MB |" in english
    chinese = tables.speed_table("zh", result).splitlines()
    assert len(chinese) == len(english)
    numbers = [[c for line in lines for c in line if c.isdigit()] for lines in (english, chinese)]
    assert numbers[0] == numbers[1]
    assert "| LSTM inference B64 T35 I650 H650 | 1 | 100 ms | PyTorch | 200 ms | 2.00 |" in tables.cells_table(
        "en", result
    )


# -------------------------------------------------------------------------------------------------------------- to run


def header(**changes):
    about = {"cpu": "A CPU", "versions": {"elman": "0.1.0"}} | changes
    return {"benchmark": "speed", "date": "2026-01-31", "about": about, "plan": {"samples": 7}}


def test_a_run_goes_on_only_under_the_same_circumstances(tmp_path):
    out = tmp_path / "speed.json"
    new = run.begin(out, False, header())
    assert (new["cells"], new["complete"]) == ({}, [])
    out.write_text(json.dumps({**new, "cells": {"1": {"LSTM": {}}}}))
    assert run.begin(out, False, header())["cells"] == {"1": {"LSTM": {}}}
    assert run.begin(out, True, header())["cells"] == {}
    with pytest.raises(ValueError, match="was measured with another cpu; use --fresh"):
        run.begin(out, False, header(cpu="Another"))


def test_environment_of_a_worker(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = run.environment(2)
    assert "OPENBLAS_CORETYPE" not in found
    assert {found[name] for name in run.THREAD_VARIABLES} == {"2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "H9"], "no cell has all of 'H9' in its name"),
        (["--threads", "0"], "must be greater than 0"),
        (["--samples", "-1"], "must be greater than 0"),
        (["--threads", "100000"], "this process may use"),
        (["--opponents", "tensorflow"], "invalid choice"),
    ],
)
def test_wrong_options_are_refused_in_words(arguments, message, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert message in capsys.readouterr().err


def test_a_small_run_from_end_to_end(tmp_path):
    """Ours alone, on one cell of each shape of record, resumed after half of them."""
    out = tmp_path / "speed.json"
    options = ["--threads", "1", "--opponents", "--samples", "2", "--seconds", "0.001", "--out", str(out)]
    options += ["--no-footprint", "--cells", "RNN step H32"]
    assert run.main(options) == 0
    first = json.loads(out.read_text())["cells"]["1"]
    assert list(first) == ["RNN step B1 T1 I32 H32"]
    assert run.main([*options, "RNN inference B16 T50 I16", "RNN ragged inference"]) == 0
    cells = json.loads(out.read_text())["cells"]["1"]
    assert len(cells) == 3
    assert cells["RNN step B1 T1 I32 H32"] == first["RNN step B1 T1 I32 H32"]
    entrants = [set(record["entrants"]) for record in cells.values()]
    assert entrants == [{"elman", "read"}, {"elman", "sgemm", "peak"}, {"elman", "elman full"}]
    assert all(len(e["samples_s"]) == 2 and e["median_s"] > 0 for r in cells.values() for e in r["entrants"].values())


def test_footprint_of_what_is_installed():
    assert {"typer", "numpy", "safetensors"} <= footprint.requirements("elman")
    assert 5e6 < footprint.installed_bytes("numpy") < 500e6
    assert 1e5 < footprint.installed_bytes("elman") < 20e6
    samples = footprint.import_seconds(["elman"], 1)
    assert 0 < samples["elman"][0] < 20


def test_seeds_of_a_translator_are_kept_by_plan_and_compared(tmp_path, capsys):
    def result(seed, bleu, steps=10, complete=True):
        part = {"bleu": bleu, "chrf": 1.0, "nats_per_token": 2.0, "signature": "tok:char"}
        return {"plan": {"steps": steps, "seed": seed}, "complete": complete, "dev": part, "test": part}

    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    translation.record(ours, "elman", 0, result(0, 99.0, steps=5))  # of another plan, which goes
    for seed, bleu in ((10, 20.0), (2, 22.0)):
        translation.record(ours, "elman", seed, result(seed, bleu))
        translation.record(theirs, "torch", seed, result(seed, bleu + 1))
    assert list(translation.read(ours)) == ["2", "10"]
    assert translation.means(translation.read(ours))["bleu"] == 21.0
    assert translation.compare([ours, theirs], margin=0.0) == 1
    assert translation.compare([ours, theirs], margin=1.0) == 0
    assert "21.000    22.000" in capsys.readouterr().out
    translation.record(theirs, "torch", 3, result(3, 20.0))
    assert translation.compare([ours, theirs], margin=1.0) == 1
    translation.record(theirs, "torch", 3, result(3, 20.0, complete=False))
    with pytest.raises(ValueError, match="not all seeds are complete"):
        translation.compare([ours, theirs], margin=1.0)
