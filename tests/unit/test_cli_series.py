"""elman series: fit, forecast, classify and score, from CSV files to CSV files."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("sklearn")

from typer.testing import CliRunner

from elman import datasets
from elman.cli import app
from elman.tasks import series

RUNNER = CliRunner()


def run(*words: object, code: int = 0):
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def airline(tmp_path, n=132, future=0):
    rows = [f"{1949 + k // 12}-{k % 12 + 1:02d},{value:g}" for k, value in enumerate(datasets.airline()[:n])]
    rows += [f"{1949 + k // 12}-{k % 12 + 1:02d}," for k in range(n, n + future)]
    path = tmp_path / f"airline{n}{future}.csv"
    path.write_text("month,passengers\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


QUICK = ("--hidden", 8, "--epochs", 30)


def test_fit_and_forecast(tmp_path):
    data, model = airline(tmp_path), tmp_path / "m.elman"
    fitted = run(
        "series", "fit", data, "--time", "month", "--target", "passengers", "--horizon", 12, "--season", 12, "--log",
        "--baseline", "seasonal", "--scaling", "level", "--calibration", 0.15, "--out", model, *QUICK,
    )  # fmt: skip
    assert "seasonal naive" in fitted.output
    assert "MASE" in fitted.output
    out, picture = tmp_path / "f.csv", tmp_path / "f.png"
    run("series", "forecast", model, data, "--out", out, "--plot", picture)
    rows = read(out)
    assert [row["time"] for row in rows] == [f"1960-{month:02d}" for month in range(1, 13)]
    assert list(rows[0]) == ["id", "time", "passengers", "passengers_lower", "passengers_upper"]
    forecast = np.array([float(row["passengers"]) for row in rows])
    assert series.metrics.smape(datasets.airline()[132:], forecast) < 10
    assert all(float(r["passengers_lower"]) < float(r["passengers"]) < float(r["passengers_upper"]) for r in rows)
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = series.load(model).predict([datasets.airline()[:132, None]])[0, :, 0]
    assert np.allclose(again, forecast, rtol=1e-6)
    run("series", "forecast", model, airline(tmp_path, 132, future=12), "--out", tmp_path / "g.csv")
    assert read(tmp_path / "g.csv") == rows  # rows without a target are the future
    run("series", "forecast", model, data, "--adaptive", "--out", tmp_path / "a.csv")
    width = [
        sum(float(r["passengers_upper"]) - float(r["passengers_lower"]) for r in part)
        for part in (rows, read(tmp_path / "a.csv"))
    ]
    assert width[0] != width[1]
    assert "RecurrentForecaster; written by elman" in run("info", model).output


def test_covariates_reach_into_the_future(tmp_path):
    rng = np.random.default_rng(0)
    coin = rng.choice([-1, 1], 103)
    lines = [f"{t},{coin[t]},{5 + 2 * coin[t] if t < 100 else ''}" for t in range(103)]
    data = tmp_path / "coin.csv"
    data.write_text("t,coin,y\n" + "\n".join(lines), encoding="utf-8")
    model = tmp_path / "m.elman"
    run(
        "series", "fit", data, "--time", "t", "--target", "y", "--covariates", "coin", "--horizon", 3,
        "--output", "point", "--hidden", 8, "--epochs", 200, "--rate", 0.02, "--out", model,
    )  # fmt: skip
    result = run("series", "forecast", model, data, "--out", tmp_path / "f.csv")
    assert "no intervals" in result.output
    rows = read(tmp_path / "f.csv")
    assert [row["time"] for row in rows] == ["100", "101", "102"]
    assert np.abs(np.array([float(row["y"]) for row in rows]) - (5 + 2 * coin[100:])).max() < 1


def groups(tmp_path, n=20, seed=0):
    rng = np.random.default_rng(seed)
    lines = []
    for k in range(n):
        slope = 1 if k % 2 else -1
        for t in range(rng.integers(5, 9)):
            lines.append(f"s{k},{t},{slope * t + 0.2 * rng.standard_normal():.3f},{'up' if slope > 0 else 'down'}")
    path = tmp_path / f"groups{seed}.csv"
    path.write_text("who,t,y,kind\n" + "\n".join(lines), encoding="utf-8")
    return path


def test_fit_and_classify(tmp_path):
    model = tmp_path / "m.elman"
    run("series", "fit", groups(tmp_path), "--id", "who", "--time", "t", "--label", "kind", "--out", model, *QUICK)
    result = run("series", "classify", model, groups(tmp_path, seed=1), "--out", tmp_path / "c.csv")
    assert "accuracy  1.0000" in result.output
    rows = read(tmp_path / "c.csv")
    assert rows[1]["class"] == "up"
    assert float(rows[1]["p_up"]) + float(rows[1]["p_down"]) == pytest.approx(1, abs=2e-4)


def test_fit_and_score(tmp_path):
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(400) / 5) + 0.05 * rng.standard_normal(400)
    wave[300] += 2
    data, model = tmp_path / "w.csv", tmp_path / "m.elman"
    data.write_text("y\n" + "\n".join(f"{value:.4f}" for value in wave), encoding="utf-8")
    run("series", "fit", data, "--target", "y", "--anomalies", "--out", model, "--hidden", 8, "--epochs", 200)
    result = run("series", "score", model, data, "--out", tmp_path / "s.csv", "--threshold", 6)
    rows = read(tmp_path / "s.csv")
    assert int(np.argmax([float(row["score"]) for row in rows])) in (300, 301)
    assert rows[300]["anomaly"] == "1"
    assert "anomalies among 400 values" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "passengers"), "say what to fit"),
        (("--horizon", 3, "--anomalies"), "say what to fit"),
        (("--horizon", 3, "--target", "sales"), "there is no column 'sales'; there are month, passengers"),
        (("--horizon", 3), "column 'month', row 2: '1949-01' is not a number"),
        (
            ("--label", "passengers", "--time", "month", "--target", "passengers"),
            "name the column that tells series apart",
        ),
        (("--horizon", 500, "--time", "month"), "a horizon of 500 needs series of at least 501 steps"),
        (("--horizon", 3, "--time", "month", "--lags", "a"), "--lags must be whole numbers"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words, said, tmp_path):
    result = run("series", "fit", airline(tmp_path), "--out", tmp_path / "m.elman", *words, code=1)
    assert said in result.output
    assert not (tmp_path / "m.elman").exists()


def test_nothing_is_overwritten(tmp_path):
    data = airline(tmp_path)
    before = data.read_bytes()
    common = ("series", "fit", data, "--time", "month", "--horizon", 3, *QUICK)
    assert "is the file to read" in run(*common, "--out", data, code=1).output
    model = tmp_path / "m.elman"
    model.write_text("mine", encoding="utf-8")
    assert "exists" in run(*common, "--out", model, code=1).output
    assert "is not an .elman file" in run(*common, "--out", model, "--overwrite", code=1).output
    assert data.read_bytes() == before
    assert model.read_text(encoding="utf-8") == "mine"
    bad = run(*common, "--baseline", "none", "--scaling", "series", "--out", tmp_path / "good.elman").output
    assert "no better than a naive forecast" in bad.replace("\n", " ")
    run("series", "forecast", tmp_path / "good.elman", data, "--out", data, code=1)
    assert "not a RecurrentClassifier" in run(
        "series", "classify", tmp_path / "good.elman", data, "--out", tmp_path / "c.csv", code=1
    ).output.replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3\n", "row 3 has 1 cells, the header 2"),
        ("a,a\n1,2\n", "two columns have one name"),
        ("a\n", "needs a header and at least one row"),
        ("a\n1\ntwo\n3\n", "'two' is not a number"),
    ],
)
def test_damaged_tables(text, said, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    assert said in run("series", "fit", path, "--horizon", 1, "--out", tmp_path / "m.elman", code=1).output


def test_ctrl_c_keeps_what_is_learnt(tmp_path):
    data, model = airline(tmp_path), tmp_path / "m.elman"
    command = [
        sys.executable, "-m", "elman", "series", "fit", str(data), "--time", "month", "--horizon", "12", "--epochs",
        "100000", "--out", str(model),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "epoch" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, "".join(said) + rest
    assert "Stopped" in rest
    assert series.load(model).predict([datasets.airline()[:, None]]).shape == (1, 12, 1)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("t,y\n1,2\n,3\n", ("--horizon", 1, "--time", "t"), "column 't', row 3: '' is no time"),
        ("t,y\n1,2\nnan,3\n", ("--horizon", 1, "--time", "t"), "column 't', row 3: 'nan' is no time"),
        ("i,y,k\na,2,x\nb,3,\n", ("--label", "k", "--id", "i"), "series b has a row without a label"),
        ("y\n1\n2\n", ("--horizon", 1, "--target", "y,y"), "y,y: a name comes twice"),
        (
            "y\n1\nx\n",
            ("--horizon", 1, "--target", "y"),
            "'x' is not a number; leave the cells of missing",
        ),
        ("y\n1\nx\n", ("--horizon", 1), "'x' is not a number; name the columns of values in --target"),
        ('y\n""\nNA\n', ("--horizon", 1), "there is no value in y, all cells are empty"),
        ("i,y\na,2\n,3\n", ("--horizon", 1, "--id", "i"), "column 'i', row 3: '' is no id; give each row one"),
        (
            "t,y\n01/02/2026,2\n02/02/2026,3\n",
            ("--horizon", 1, "--time", "t"),
            "row 2: '01/02/2026' is no time",
        ),
        (
            "t,y\n1,2\n1,3\n",
            ("--horizon", 1, "--time", "t"),
            "apart with --id, or leave out --time",
        ),
        ("t,y\n1,2\n2,3\n4,3\n5,3\n", ("--horizon", 1, "--time", "t"), "--irregular fill, or give"),
        ("a;b\n1;2\n", ("--horizon", 1), "its cells are parted by ';'; save it with commas"),
        ("y\n1\n", ("--horizon", 2), "a horizon of 2 needs series of at least 3 steps, the longest has 1"),
        ("y\n1\n", ("--anomalies",), "needs series of at least 2 steps, the longest has 1"),
        (f"y\n{'1' * 200_000}\n2\n", ("--horizon", 1), "not a table of commas and quotes"),
    ],
)
def test_what_is_not_there_is_said_with_its_place(text, words, said, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    result = run("series", "fit", path, *words, "--out", tmp_path / "m.elman", code=1)
    assert said in result.output.replace("\n", " ")


def test_times_in_milliseconds_keep_their_digits(tmp_path):
    start = 1_700_000_000_123
    data, model = tmp_path / "ms.csv", tmp_path / "m.elman"
    data.write_text("t,y\n" + "\n".join(f"{start + 1000 * k},{k % 3}" for k in range(40)), encoding="utf-8")
    run("series", "fit", data, "--time", "t", "--horizon", 2, "--hidden", 2, "--epochs", 1, "--out", model)
    run("series", "forecast", model, data, "--out", tmp_path / "f.csv")
    assert [row["time"] for row in read(tmp_path / "f.csv")] == [str(start + 1000 * k) for k in (40, 41)]
    assert "--coverage must be above 0 and below 1, got 1.5" in run(
        "series", "forecast", model, data, "--coverage", 1.5, "--out", tmp_path / "g.csv", code=1
    ).output.replace("\n", " ")
    run("series", "fit", data, "--horizon", 2, "--irregular", "nonsense", "--out", tmp_path / "n.elman", code=2)


def test_what_forecasts_best_by_itself_is_corrected(tmp_path):
    """The last season of the airline, the last of the sunspots, the level of noise; by hand what is said."""
    model = tmp_path / "m.elman"
    common = ("series", "fit", airline(tmp_path), "--time", "month", "--horizon", 12, "--epochs", 60, "--overwrite")
    result = run(*common, "--season", 12, "--out", model).output.replace("\n", " ")
    assert "--baseline seasonal" in result
    assert "no better than a naive forecast" not in result
    fitted = series.load(model)
    assert (fitted.baseline, fitted.scaling) == ("seasonal", "level")
    assert fitted.backtest([datasets.airline()[:, None]]).model.mase < 0.9
    common = (*common[:-2], 1, "--overwrite", "--out", model)
    run(*common, "--season", 12, "--baseline", "naive")
    assert (series.load(model).baseline, series.load(model).scaling) == ("naive", "level")
    spots = tmp_path / "spots.csv"
    spots.write_text("y\n" + "\n".join(f"{value:g}" for value in datasets.sunspots()[:600]), encoding="utf-8")
    run("series", "fit", spots, "--horizon", 12, "--season", 12, "--epochs", 1, "--out", tmp_path / "s.elman")
    assert series.load(tmp_path / "s.elman").baseline == "naive"
    noise = tmp_path / "noise.csv"
    noise.write_text("y\n" + "\n".join(map(str, np.random.default_rng(0).random(200))), encoding="utf-8")
    for season in (1, 12):
        run("series", "fit", noise, "--horizon", 3, "--season", season, "--epochs", 1, "--out", model, "--overwrite")
        assert series.load(model).baseline is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--anomalies", "--season", 7), "--season does nothing for anomalies"),
        (("--anomalies", "--calibration", 0.2), "--calibration does nothing for anomalies"),
        (("--label", "kind", "--id", "who", "--log"), "--log does nothing for classes"),
        (("--label", "kind", "--id", "who", "--output", "point"), "--output does nothing for classes"),
    ],
)
def test_options_that_do_nothing_are_refused(words, said, tmp_path):
    out = tmp_path / "m.elman"
    assert said in run("series", "fit", groups(tmp_path), "--time", "t", *words, "--out", out, code=1).output


def test_a_recursive_forecast_draws_futures_unless_told_otherwise(tmp_path):
    common = ("series", "fit", airline(tmp_path), "--time", "month", "--horizon", 3, "--strategy", "recursive")
    run(*common, "--hidden", 2, "--epochs", 1, "--out", tmp_path / "m.elman")
    assert series.load(tmp_path / "m.elman").output == "gaussian"


@pytest.mark.parametrize("dates", [False, True])
def test_the_length_of_uneven_steps_is_an_input_only(dates, tmp_path):
    days = np.delete(np.arange(60), [10, 11, 30, 58])
    times = [str(np.datetime64("2026-01-01") + day) for day in days] if dates else [str(day) for day in days]
    data, model, out = tmp_path / "u.csv", tmp_path / "m.elman", tmp_path / "f.csv"
    data.write_text("t,y\n" + "\n".join(f"{t},{d % 7}" for t, d in zip(times, days, strict=True)), encoding="utf-8")
    common = ("--time", "t", "--horizon", 2, "--irregular", "feature", "--hidden", 2, "--epochs", 1)
    run("series", "fit", data, *common, "--out", model)
    assert series.load(model).n_features_in_ == 1
    run("series", "forecast", model, data, "--out", out, "--plot", tmp_path / "f.png")
    rows = read(out)
    assert list(rows[0]) == ["id", "time", "y", "y_lower", "y_upper"]
    assert [row["time"] for row in rows] == (["2026-03-02", "2026-03-03"] if dates else ["60", "61"])


def test_a_model_can_be_made_ready_for_missing_values(tmp_path):
    full, gap, model = airline(tmp_path), tmp_path / "gap.csv", tmp_path / "m.elman"
    lines = full.read_text(encoding="utf-8").splitlines()
    lines[50] = lines[50].split(",")[0] + ","
    gap.write_text("\n".join(lines), encoding="utf-8")
    common = ("series", "fit", full, "--time", "month", "--horizon", 3, "--hidden", 2, "--epochs", 1, "--overwrite")
    run(*common, "--out", model)
    forecast = ("series", "forecast", model, gap, "--out", tmp_path / "f.csv")
    assert "fit it with --missing" in run(*forecast, code=1).output.replace("\n", " ")
    run(*common, "--out", model, "--missing")
    run(*forecast)


def test_intervals_that_are_not_calibrated_or_cannot_be_are_said(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("elman.plots.plot_forecasts", lambda *_, **given: drawn.update(given))
    data, model, out = airline(tmp_path), tmp_path / "m.elman", tmp_path / "f.csv"
    common = ("series", "fit", data, "--time", "month", "--horizon", 3, "--hidden", 2, "--epochs", 1, "--overwrite")
    forecast = ("series", "forecast", model, data, "--out", out, "--plot", tmp_path / "f.png")
    run(*common, "--out", model, "--calibration", 0)
    assert "not calibrated; fit it with --calibration" in run(*forecast).output.replace("\n", " ")
    assert not drawn["calibrated"]
    out.unlink()
    said = run(*forecast, "--coverage", 0.99, code=1).output.replace("\n", " ")
    assert "no intervals of --coverage 0.99: " in said
    assert not out.exists()
    run(*common, "--out", model, "--calibration", 0.4)
    assert "not calibrated" not in run(*forecast).output.replace("\n", " ")
    assert drawn["calibrated"]


def test_times_with_an_offset_are_said_to_be_those_of_utc(tmp_path):
    data, model = tmp_path / "t.csv", tmp_path / "m.elman"
    lines = [f"2026-01-{k + 1:02d}T00:00:00+01:00,{k % 4}" for k in range(30)]
    data.write_text("t,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    common = ("--time", "t", "--horizon", 2, "--hidden", 2, "--epochs", 1, "--out", model)
    assert "of UTC" in run("series", "fit", data, *common).output.replace("\n", " ")
    run("series", "forecast", model, data, "--out", tmp_path / "f.csv")
    assert [row["time"] for row in read(tmp_path / "f.csv")] == ["2026-01-30T23:00:00", "2026-01-31T23:00:00"]
