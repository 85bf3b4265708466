"""``elman diagnose``: see what the gradients of a model do through time."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from elman import plots, storage
from elman.cli.console import err, fail, failures, note, progress_bar, refuse_to_replace
from elman.cli.text import Unknown, choose_unknown
from elman.diagnose import gradient_flow
from elman.model import Model, load_all
from elman.sequences import Batch, TokenWindows
from elman.tasks import memory
from elman.tasks.language import LanguageModel
from elman.train import Record

N_TRAININGS = 7  # of a comparison: five contenders, and the exploding one with and without clipping


def diagnose(
    model: Annotated[Path | None, typer.Argument(help="A model, such as elman text train writes.")] = None,
    file: Annotated[
        Path | None, typer.Argument(help="What to measure it on: a text, or numbers (.npy of x, .npz of x, targets).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write (.png, .svg, .pdf).  [default: gradient-flow.png]")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to look back.")] = 100,
    rows: Annotated[int, typer.Option(min=1, help="Places of the text to measure at, side by side.")] = 8,
    encoding: Annotated[str, typer.Option(help="Encoding of the text.")] = "utf-8",
    unknown: Annotated[
        Unknown | None,
        typer.Option(help="Characters that the model does not know.  [default: unk if it has an unknown token]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Instead of a model: train RNN, LSTM and GRU on a long memory.")
    ] = False,
    steps_back: Annotated[int, typer.Option(min=1, help="With --compare: steps to remember.")] = 100,
    train: Annotated[int, typer.Option(min=0, help="With --compare: updates of each training; 0 for none.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="With --compare: of weights and data.")] = 0,
) -> None:
    """See how far back the gradient of a model reaches, why, and what to do about it.

    Prints it and draws it. With --compare, shows in one picture how the gradient vanishes in one kind of network and
    not in another, and how clipping tames one that explodes; the numbers go to a .json file beside the picture.
    """
    with failures():
        if compare:
            if model is not None:
                fail("--compare makes its own models: leave MODEL and FILE out")
            _compare(_picture(out or Path("compare.png")), steps_back, train, seed, as_json)
            return
        if model is None or file is None:
            fail("name a model and a file: elman diagnose MODEL FILE; or see elman diagnose --compare")
        picture = _picture(out or Path("gradient-flow.png"))
        refuse_to_replace(picture, model, file)
        with err.status("measuring"):
            loaded, batch = _load(model, file, rows, steps, encoding, unknown)
            flow = gradient_flow(loaded, batch)
        print(json.dumps(flow.as_dict(), allow_nan=False) if as_json else flow)
        plots.plot_gradient_flow(flow, picture)
        note(f"picture: {picture}")


def _picture(path: Path) -> Path:
    """Return the path, after checks that should not wait until everything is computed."""
    plots.new_figure(1, 1)
    plots.kind_of(path)
    if not path.parent.is_dir():
        fail(f"{path}: there is no folder {path.parent}")
    return path


def _load(model: Path, file: Path, rows: int, steps: int, encoding: str, unknown: Unknown | None) -> tuple[Model, Any]:
    """Return a model and a batch for it from a file."""
    loaded, about, _ = load_all(model)
    if file.suffix in (".npy", ".npz"):
        return loaded, _read_arrays(file)
    if about.get("task") != "language":
        fail(f"{model}: not a language model, so {file} must be numbers: .npy of x (B, T, F), or .npz of x, targets")
    lm = LanguageModel.load(model)
    ids = lm.read(file, encoding, unknown=choose_unknown(unknown, lm.vocabulary))
    if len(ids) < 2:
        fail(f"{file}: has {len(ids)} tokens that the model knows; it needs at least 2, to predict one")
    steps = min(steps, len(ids) - 1)
    return lm.model, TokenWindows(ids, min(rows, (len(ids) - 1) // steps), steps).batch(0)


def _read_arrays(file: Path) -> Batch:
    """Return the arrays x, targets and lengths of a .npz file, or x of a .npy file. Nothing in it is executed."""
    try:
        with open(file, "rb") as opened:
            content = np.load(opened, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return Batch(content, None)
            arrays = dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: not a whole {file.suffix} file of numbers: {error}") from error
    unknown = sorted(arrays.keys() - {"x", "targets", "lengths"})
    if unknown or "x" not in arrays:
        raise ValueError(f"{file}: must hold x, and may hold targets and lengths, got {', '.join(sorted(arrays))}")
    return Batch(arrays["x"], arrays.get("targets"), arrays.get("lengths"))


def _numbers(picture: Path) -> Path:
    """Return where the numbers of a comparison go; what is there must be numbers of a comparison too."""
    path = picture.with_suffix(".json")
    if path.exists():
        try:
            earlier = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            earlier = None
        if not isinstance(earlier, dict) or not {"task", "contenders"} <= earlier.keys():
            fail(f"{path}, where the numbers would go, holds something else; give --out another name")
    return path


def _compare(picture: Path, steps_back: int, n_updates: int, seed: int, as_json: bool) -> None:
    numbers = _numbers(picture)
    bar = progress_bar()
    bar.disable = not err.is_terminal
    with bar:
        task = bar.add_task("", total=N_TRAININGS * n_updates or None)

        def track(records: Iterable[Record], label: str) -> Iterator[Record]:
            bar.update(task, description=label)
            for record in records:
                yield record
                bar.advance(task)

        comparison = memory.compare(
            memory.FirstSymbol(steps_back, seed=seed), n_updates=n_updates, seed=seed, track=track
        )
    text = json.dumps(comparison.as_dict(), allow_nan=False)
    print(text if as_json else comparison)
    storage.write_bytes(numbers, text.encode())
    comparison.plot(picture)
    note(f"picture: {picture}, numbers: {numbers}")
