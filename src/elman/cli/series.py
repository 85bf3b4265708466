"""``elman series``: fit a model of series from a CSV file; forecast, classify and find anomalies with it."""

from __future__ import annotations

import csv
import io
import math
import time as clock
import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from elman import storage
from elman.cli.console import INTERRUPTED, Interrupt, err, fail, failures, note, progress_bar, refuse_to_replace
from elman.cli.train_options import Cell, refuse_out
from elman.params import Array

if TYPE_CHECKING:
    from elman.tasks.series.inputs import Sequences

app = typer.Typer(help="Series: fit, forecast, classify, score anomalies.", no_args_is_help=True)


class Strategy(str, Enum):
    """How several steps ahead are forecast."""

    direct = "direct"
    recursive = "recursive"
    encoder_decoder = "encoder-decoder"


class Kind(str, Enum):
    """What a forecast says."""

    point = "point"
    quantile = "quantile"
    gaussian = "gaussian"


class Scaling(str, Enum):
    """Units of the network."""

    series = "series"
    level = "level"
    whole = "global"


class Irregular(str, Enum):
    """What to do where steps are of unequal length."""

    error = "error"
    fill = "fill"
    feature = "feature"


class Baseline(str, Enum):
    """What the network corrects."""

    none = "none"
    naive = "naive"
    seasonal = "seasonal"


BEST = {Baseline.none: "The level", Baseline.naive: "The last value", Baseline.seasonal: "The last season"}
FORECASTS_ONLY = {"season", "strategy", "output", "baseline", "validation", "calibration"}
NOT_FOR_LABELS = {"lags", "scaling", "log"}


@app.command()
def fit(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A CSV file with a header, one row a step of one series.")],
    out: Annotated[Path, typer.Option(help="The model to write.")] = Path("series.elman"),
    time: Annotated[str | None, typer.Option(help="Column of the time; without it the rows are in order.")] = None,
    ident: Annotated[str | None, typer.Option("--id", help="Column that tells series apart.")] = None,
    target: Annotated[str | None, typer.Option(help="Columns to forecast or watch, with commas.")] = None,
    covariates: Annotated[str | None, typer.Option(help="Columns that are known ahead, with commas.")] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Fit a forecaster of so many steps.")] = None,
    label: Annotated[str | None, typer.Option(help="Fit a classifier of this column, one label a series.")] = None,
    anomalies: Annotated[bool, typer.Option("--anomalies", help="Fit a detector of anomalies.")] = False,
    season: Annotated[int, typer.Option(min=1, help="Steps of a season.")] = 1,
    lags: Annotated[str, typer.Option(help="Further lags that the network sees, with commas.")] = "",
    strategy: Annotated[Strategy, typer.Option(help="How several steps are forecast.")] = Strategy.direct,
    output: Annotated[
        Kind | None,
        typer.Option(help="What a forecast says.  [default: quantile; gaussian with --strategy recursive]"),
    ] = None,
    baseline: Annotated[
        Baseline | None,
        typer.Option(
            help="What the network corrects: the level, the last value, or the last --season.  [default: what "
            "forecasts best by itself]"
        ),
    ] = None,
    scaling: Annotated[
        Scaling | None, typer.Option(help="Units of the network.  [default: level; series with --anomalies]")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Work on logarithms, for values that grow by shares.")] = False,
    cell: Annotated[Cell, typer.Option(help="Which recurrence.")] = Cell.gru,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each recurrent layer.")] = 32,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    dropout: Annotated[float, typer.Option(help="Probability of dropout, while training.")] = 0.0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 100,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam at the start; it falls to 0.")] = 5e-3,
    validation: Annotated[
        float, typer.Option(help="Share of each series, before that of --calibration, for the report.")
    ] = 0.1,
    calibration: Annotated[float, typer.Option(help="Share of each series, at its end, for the intervals.")] = 0.0,
    missing: Annotated[
        bool, typer.Option("--missing", help="Be ready for missing values, even where this file has none.")
    ] = False,
    irregular: Annotated[
        Irregular, typer.Option(help="Uneven times: refuse, fill with missing rows, or give the step as an input.")
    ] = Irregular.error,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same model.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that --out names.")] = False,
) -> None:
    """Fit a model: of forecasts (--horizon), of labels (--label), or of anomalies (--anomalies).

    Empty cells are missing values. Ctrl-C stops, and saves what is learnt.
    """
    with failures():
        if sum((horizon is not None, label is not None, anomalies)) != 1:
            fail("say what to fit: --horizon N for forecasts, --label COLUMN for classes, or --anomalies")
        if covariates and horizon is None:
            fail("--covariates are for forecasts; leave them out, or name them in --target")
        if horizon is None:
            given = [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
            of_no_use = FORECASTS_ONLY | (NOT_FOR_LABELS if label is not None else set())
            for name in given:
                if name in of_no_use:
                    fail(f"--{name} does nothing for {'classes' if label is not None else 'anomalies'}; leave it out")
        refuse_out(out, [file], overwrite, goes_on=False)
        columns: dict[str, Any] = {
            "id": ident,
            "time": time,
            "target": _names(target),
            "covariates": _names(covariates),
            "label": label,
            "irregular": irregular.value,
        }
        table = _read(file)
        hint = "; leave the cells of missing values empty"
        if not columns["target"]:
            columns["target"] = [n for n in table if n not in (ident, time, label, *columns["covariates"])]
            hint = "; name the columns of values in --target, and leave the cells of missing values empty"
        data = _series(table, columns, file, hint)
        gaps = any(np.isnan(row).any() for row in data)
        common: dict[str, Any] = {
            "cell": cell.value,
            "hidden_size": hidden,
            "n_layers": layers,
            "dropout": dropout,
            "missing": "mask" if missing or gaps else "error",
            "max_epochs": epochs,
            "learning_rate": rate,
            "random_state": seed,
        }
        if output is None:
            output = Kind.gaussian if strategy is Strategy.recursive else Kind.quantile
        if scaling is None:
            scaling = Scaling.level if horizon is not None else Scaling.series
        if baseline is None:
            baseline = Baseline.none
            if horizon is not None:
                baseline = _best_baseline(data, columns, season, horizon, scaling, 1 - validation - calibration)
                of = f" --season {season}" if baseline is Baseline.seasonal else ""
                note(f"{BEST[baseline]} forecasts best by itself: --baseline {baseline.value}{of}.")
        model, arguments, keywords = _model(
            common, data, table, columns, horizon, season, _steps(lags), strategy.value, output.value, baseline.value,
            scaling.value, log, validation, calibration,
        )  # fmt: skip
        _run(model, arguments, keywords, epochs, out, columns)


def _model(
    common: dict[str, Any],
    data: Sequences,
    table: dict[str, list[str]],
    columns: dict[str, Any],
    horizon: int | None,
    season: int,
    lags: tuple[int, ...],
    strategy: str,
    output: str,
    baseline: str,
    scaling: str,
    log: bool,
    validation: float,
    calibration: float,
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the estimator to fit, and what its fit gets."""
    from elman.tasks.series import RecurrentClassifier, RecurrentDetector, RecurrentForecaster

    if columns["label"] is not None:
        return RecurrentClassifier(**common), (data, _labels(table, columns, data)), {}
    common |= {"scaling": scaling, "lags": lags, "log": log}
    if horizon is None:
        return RecurrentDetector(**common), (data,), {}
    model = RecurrentForecaster(
        **common, horizon=horizon, strategy=strategy, output=output, season=season,
        baseline=None if baseline == "none" else baseline, validation_fraction=validation,
        calibration_fraction=calibration,
    )  # fmt: skip
    history, known = _history(table, columns, data)
    return model, (history,), {"covariates": known}


def _history(table: dict[str, list[str]], columns: dict[str, Any], data: Sequences) -> tuple[list[Array], Any]:
    """Return the known part of each series and its covariates; the length of uneven steps is one of these."""
    uneven = columns["irregular"] == "feature"
    known: list[Array] | None = None
    if columns["covariates"]:
        known = _series(table, {**columns, "target": columns["covariates"]}, None)
    elif uneven:
        known = [row[:, -1:] for row in data]
    return [_without_end(row[:, :-1] if uneven else row) for row in data], known


def _best_baseline(
    data: Sequences, columns: dict[str, Any], season: int, horizon: int, scaling: Scaling, share: float
) -> Baseline:
    """Return whether the level, the last value or the last season forecasts best, in the part that is trained on.

    That is by the mean over series and steps of the absolute error, in units of the last value's.
    """
    from elman.tasks.series.view import View, padded

    rows = [row[: max(1, round(share * len(row))), : len(columns["target"])] for row in data]
    rows = [row for row in rows if np.isfinite(row).any()]
    if not rows:
        return Baseline.none
    view = View(scaling.value, max(season, 8), None, season, (), mask=True)
    units = view.units(rows, view.whole(rows))
    values, lengths = padded(rows, np.nan)
    levels = view.look(view.start(units), values, units, lengths).level
    errors: list[Array] = []
    for row, level in zip(rows, levels, strict=True):
        for k in range(1, horizon + 1):
            back = season * -(-k // season)
            if len(row) > back:
                actual, last = row[back:], slice(back - k, len(row) - k)
                of_each = np.abs(np.stack([actual - level[last], actual - row[last], actual - row[:-back]]))
                known = of_each[:, np.isfinite(of_each).all(axis=0)]
                if known.size:
                    means = known.mean(axis=1)
                    errors.append(means / (means[1] or 1.0))
    of_all = np.mean(errors, axis=0) if errors else np.zeros(3)
    order = (Baseline.none, Baseline.naive, Baseline.seasonal) if season > 1 else (Baseline.none, Baseline.naive)
    return order[int(np.argmin(of_all[: len(order)]))]


def _run(
    model: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], epochs: int, out: Path, columns: dict[str, Any]
) -> None:
    """Fit with a bar; save at the end, also at one that Ctrl-C made."""
    from elman.tasks import series

    started, last, waited = clock.monotonic(), math.nan, 0.0
    stopped = False
    with (
        warnings.catch_warnings(record=True) as said,
        Interrupt() as interrupt,
        progress_bar("loss {task.fields[loss]:.4f}") as bar,
    ):
        warnings.simplefilter("always", UserWarning)
        task = bar.add_task("fitting", total=epochs, loss=math.nan)
        for epoch in model.fit_epochs(*arguments, **keywords, stop=lambda: interrupt.wished):
            last = epoch.loss
            bar.update(task, completed=epoch.epoch, loss=last)
            if not err.is_terminal and clock.monotonic() - waited > 10:
                waited = clock.monotonic()
                note(f"epoch {epoch.epoch}/{epochs}  loss {last:.4f}")
        stopped = interrupt.wished
    series.save(model, out, about={"columns": columns})
    if hasattr(model, "report_"):
        note(str(model.report_))
    for warning in said:
        note(str(warning.message))
    seconds = clock.monotonic() - started
    note(f"{'Stopped' if stopped else 'Fitted'} after {seconds:.0f} seconds; wrote {out}.")
    if stopped:
        raise typer.Exit(INTERRUPTED)


@app.command()
def forecast(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="A model of elman series fit --horizon.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with the same columns.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("forecast.csv"),
    plot: Annotated[Path | None, typer.Option(help="A picture of the first series (.png, .svg, .pdf).")] = None,
    coverage: Annotated[float, typer.Option(help="Share of values that the intervals hold.")] = 0.8,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Calibrated intervals learn from how good those before were.")
    ] = False,
) -> None:
    """Forecast what follows each series, with intervals, as CSV and as a picture.

    Rows whose targets are empty, at the end of a series, are the future: their covariates are used.
    """
    from elman import plots

    with failures():
        if not 0 < coverage < 1:
            fail(f"--coverage must be above 0 and below 1, got {coverage:g}")
        refuse_to_replace(out, model, file)
        if plot is not None:
            plots.kind_of(plot)
            refuse_to_replace(plot, model, file)
        estimator, columns = _load(model, "RecurrentForecaster")
        table = _read(file)
        data = _series(table, columns, file)
        history, known = _history(table, columns, data)
        _refuse_gaps(estimator, history)
        uneven = columns["irregular"] == "feature"
        if uneven and not columns["covariates"]:  # what follows comes in steps of the usual length
            known = [np.concatenate([row, np.ones((estimator.horizon, 1))]) for row in known]
        points = estimator.predict(history, covariates=known)
        try:
            lower, upper = estimator.predict_interval(history, coverage, covariates=known, adaptive=adaptive)
        except ValueError as error:  # a point forecast, not calibrated, or on too few values for this coverage
            if str(context.get_parameter_source("coverage")).endswith("COMMANDLINE"):
                fail(f"no intervals of --coverage {coverage:g}: {error}")
            note(f"no intervals: {error}")
            lower = upper = np.full_like(points, np.nan)
        calibrated = estimator._calibration is not None
        if not calibrated and not np.isnan(lower).all():
            note("The intervals are what the model claims, not calibrated; fit it with --calibration 0.2 for that.")
        names, S = columns["target"], points.shape[1]
        lines = []
        futures = []
        for k, row in enumerate(history):
            futures.append(_future(data.times[k][: len(row)], S, usual=uneven))
            for step in range(S):
                cells = [data.ids[k], _show(futures[k][step])]
                for d in range(len(names)):
                    cells += [_number(values[k, step, d]) for values in (points, lower, upper)]
                lines.append(cells)
        head = ["id", "time"] + [f"{name}{end}" for name in names for end in ("", "_lower", "_upper")]
        _write(out, head, lines)
        note(f"Wrote {len(history):,} x {S} forecasts to {out}.")
        if plot is not None:
            plots.plot_forecasts(
                data.times[0][: len(history[0])], history[0], futures[0], points[0], lower[0], upper[0], plot,
                names=names, coverage=coverage, calibrated=calibrated,
            )  # fmt: skip
            note(f"Drew {data.ids[0] if columns['id'] else 'the series'} to {plot}.")


@app.command()
def classify(
    model: Annotated[Path, typer.Argument(help="A model of elman series fit --label.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with the same columns; labels are compared if there.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("classes.csv"),
) -> None:
    """Say to which class each series belongs, and how sure that is, as CSV."""
    with failures():
        refuse_to_replace(out, model, file)
        estimator, columns = _load(model, "RecurrentClassifier")
        table = _read(file)
        data = _series(table, columns, file)
        _refuse_gaps(estimator, data)
        p = estimator.predict_proba(data)
        classes = [str(name) for name in estimator.classes_.tolist()]
        best = p.argmax(axis=1)
        lines = [[data.ids[k], classes[best[k]], *(f"{value:.4f}" for value in row)] for k, row in enumerate(p)]
        _write(out, ["id", "class", *(f"p_{name}" for name in classes)], lines)
        note(f"Wrote the classes of {len(data):,} series to {out}.")
        if columns["label"] in table:
            true = _labels(table, columns, data)
            print(f"accuracy  {np.mean([classes[b] == label for b, label in zip(best, true, strict=True)]):.4f}")


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="A model of elman series fit --anomalies.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with the same columns.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("scores.csv"),
    threshold: Annotated[float | None, typer.Option(help="Score of an anomaly.  [default: that of the fit]")] = None,
) -> None:
    """Say how unusual each value is, seen from those before it, as CSV."""
    with failures():
        refuse_to_replace(out, model, file)
        estimator, columns = _load(model, "RecurrentDetector")
        data = _series(_read(file), columns, file)
        _refuse_gaps(estimator, data)
        limit = estimator.threshold_ if threshold is None else threshold
        lines, n = [], 0
        for k, scores in enumerate(estimator.score_steps(data)):
            for t, value in enumerate(scores):
                lines.append([data.ids[k], _show(data.times[k][t]), f"{value:.4f}", int(value > limit)])
                n += value > limit
        _write(out, ["id", "time", "score", "anomaly"], lines)
        note(f"{n:,} anomalies among {len(lines):,} values (score above {limit:.3g}); wrote {out}.")


# ------------------------------------------------------------------------------------------------------- CSV and names


def _read(file: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file, by name."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise ValueError(f"{file}: not a table of commas and quotes: {error}") from None
    if len(rows) < 2:
        raise ValueError(f"{file}: needs a header and at least one row")
    head = [name.strip() for name in rows[0]]
    if len(head) == 1 and (other := next((mark for mark in ";\t" if mark in head[0]), None)):
        raise ValueError(f"{file}: its cells are parted by {other!r}; save it with commas")
    if len(set(head)) != len(head):
        raise ValueError(f"{file}: two columns have one name: {', '.join(head)}")
    for k, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise ValueError(f"{file}: row {k} has {len(row)} cells, the header {len(head)}")
    return {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(head)}


def _series(table: dict[str, list[str]], columns: dict[str, Any], file: Path | None, hint: str = "") -> Sequences:
    """Return the series of a table; a cell that is empty, NA or NaN is a missing value. A hint on what is no number."""
    from elman.tasks.series.frames import OFFSET, from_columns

    for name in (columns["id"], columns["time"], *columns["target"]):
        if name is not None and name not in table:
            raise ValueError(f"{file}: there is no column {name!r}; there are {', '.join(table)}")
    if not columns["target"]:
        raise ValueError(f"{file}: there is no column of values beside {', '.join(table)}")
    used: dict[str, Any] = {
        name: np.array([_cell(name, k, cell, hint) for k, cell in enumerate(table[name])]) for name in columns["target"]
    }
    if all(np.isnan(values).all() for values in used.values()):
        raise ValueError(f"{file}: there is no value in {', '.join(columns['target'])}, all cells are empty")
    for name in (columns["id"], columns["time"]):
        if name is not None:
            used[name] = _times(name, table[name]) if name == columns["time"] else table[name]
    if file is not None and columns["time"] and OFFSET.fullmatch(table[columns["time"]][0]):
        note(f"The times in {columns['time']!r} have an offset: they are taken, and written, as those of UTC.")
    try:
        return from_columns(
            used, id=columns["id"], time=columns["time"], values=columns["target"], irregular=columns["irregular"],
            first_row=2,
        )  # fmt: skip
    except ValueError as error:
        text = str(error)
        for theirs, ours in IN_OPTIONS.items():
            text = text.replace(theirs, ours)
        raise ValueError(text) from None


IN_OPTIONS = {  # how the library says what to do, and how the command line does
    "irregular='fill'": "--irregular fill",
    "irregular='feature'": "--irregular feature",
    "as id, or time=None to take": "with --id, or leave out --time to take",
}


def _cell(name: str, k: int, cell: str, hint: str) -> float:
    if cell.lower() in ("", "na", "nan", "null"):
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"column {name!r}, row {k + 2}: {cell!r} is not a number{hint}") from None


def _times(name: str, cells: list[str]) -> Any:
    """Return times as numbers where all are, else as text in ISO 8601."""
    try:
        times = np.array(cells, np.float64)
    except ValueError:
        times = None
    gaps = [k for k, cell in enumerate(cells) if cell.lower() in ("", "na", "nan", "nat", "null", "inf", "-inf")]
    if gaps:
        raise ValueError(f"column {name!r}, row {gaps[0] + 2}: {cells[gaps[0]]!r} is no time; give each row one")
    return cells if times is None else times


def _labels(table: dict[str, list[str]], columns: dict[str, Any], data: Sequences) -> list[str]:
    """Return the label of each series, which all its rows must share."""
    if columns["label"] not in table:
        raise ValueError(f"there is no column {columns['label']!r}; there are {', '.join(table)}")
    if columns["id"] is None:
        raise ValueError("labels are one a series: name the column that tells series apart, --id")
    found: dict[str, str] = {}
    for key, label in zip(table[columns["id"]], table[columns["label"]], strict=True):
        if not label:
            raise ValueError(f"series {key} has a row without a label; fill column {columns['label']!r}")
        if found.setdefault(key, label) != label:
            raise ValueError(f"series {key} has two labels, {found[key]} and {label}")
    return [found[key] for key in data.ids]


def _without_end(row: Array) -> Array:
    """Return a series without the steps at its end of which no target is known."""
    known = np.flatnonzero(~np.isnan(row).all(axis=1))
    return row[: known[-1] + 1] if len(known) else row[:1]


def _refuse_gaps(estimator: Any, rows: list[Array]) -> None:
    if estimator.missing != "mask" and any(np.isnan(row).any() for row in rows):
        fail("the file has missing values, and the model was fitted without any; fit it with --missing")


def _future(times: Array, steps: int, *, usual: bool = False) -> Array:
    """Return the times of the next steps: months where the times are months apart, else as long as the last step.

    With `usual`, as long as the median step.
    """
    ahead = np.arange(1, steps + 1)
    future: Array
    if usual and len(times) > 1:
        gaps = np.diff(times)
        far = np.median(gaps.astype(np.float64)) * ahead
        future = times[-1] + (np.rint(far).astype(gaps.dtype) if times.dtype.kind == "M" else far)
        return future
    if times.dtype.kind != "M":
        future = times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1) * ahead
        return future
    months = times.astype("datetime64[M]")
    apart = np.diff(months[-3:].astype(np.int64))
    inside = times - months
    if len(apart) and (apart == apart[0]).all() and apart[0] > 0 and (inside[-3:] == inside[-1]).all():
        future = (months[-1] + apart[0] * ahead).astype(times.dtype) + inside[-1]
        return future
    step = times[-1] - times[-2] if len(times) > 1 else np.timedelta64(1, "s")
    future = times[-1] + step * ahead
    return future


def _show(stamp: Any) -> str:
    return f"{stamp:.17g}" if isinstance(stamp, float | np.floating) and stamp == round(stamp) else str(stamp)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def _names(text: str | None) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()] if text else []
    if len(set(names)) < len(names):
        raise ValueError(f"{text}: a name comes twice; give each once")
    return names


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise ValueError(f"--lags must be whole numbers with commas, got {text!r}") from None


def _write(out: Path, head: list[str], lines: list[list[Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    storage.write_bytes(out, text.getvalue().encode())


def _load(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """Return the estimator in a file, and the columns it was fitted on."""
    from elman.tasks.series.files import load_all

    estimator, about = load_all(path)
    if type(estimator).__name__ != kind:
        fail(f"{path} holds a {type(estimator).__name__}, not a {kind}")
    columns = about.get("columns")
    names = {"id", "time", "target", "covariates", "label", "irregular"}
    if not isinstance(columns, dict) or columns.keys() != names:
        fail(f"{path}: does not say which columns it was fitted on; it was not written by elman series fit")
    return estimator, columns
