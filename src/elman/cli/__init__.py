"""The command line, ``elman``: one module a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elman import storage
from elman.cli import series, speech, text, translate
from elman.cli.console import fail, failures
from elman.cli.diagnose import diagnose
from elman.kernels import show_config
from elman.model import load_all
from elman.version import __version__

app = typer.Typer(
    help="Recurrent networks on CPUs: train them on sequences, see why they learn or do not, and use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(text.app, name="text")
app.add_typer(speech.app, name="speech")
app.add_typer(series.app, name="series")
app.add_typer(translate.app, name="translate")
app.command()(diagnose)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"elman {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Recurrent networks on CPUs: train them on sequences, see why they learn or do not, and use them."""


@app.command()
def info(
    model: Annotated[Path | None, typer.Argument(help="An .elman file; without one, show this installation.")] = None,
) -> None:
    """Show what an .elman file holds, or which kernels compute here."""
    with failures():
        if model is None:
            print(f"elman     {__version__}")
            show_config()
            return
        about = storage.read(model)[1]
        if about.get("task") == "series":
            _show_series(model, about)
            return
        loaded, about, _ = load_all(model)
        for part in ("vocabulary", "training", "tokens"):
            if not isinstance(about.get(part, {}), dict):
                fail(f"{model}: damaged: its {part} must be an object, got {about[part]!r:.40}")
        print(loaded)
        print(f"task: {about.get('task', 'none')}; written by elman {about.get('version')}")
        if "vocabulary" in about:
            vocabulary = about["vocabulary"]
            print(f"vocabulary: {loaded.layer.in_size} tokens, level {vocabulary.get('level')}")
        if about.get("task") == "translate":
            sides = [(about.get("tokens") or {}).get(side) or {} for side in ("source", "target")]
            for name, side in zip(("reads", "writes"), sides, strict=True):
                print(f"{name}: {len(side.get('texts', ())):,} tokens, level {side.get('level')}")
        if "training" in about:
            task = str(about.get("task"))
            command = task if task in ("speech", "translate") else "text"
            print(
                f"training: unfinished, at step {about['training'].get('step')}; "
                f"go on with elman {command} train --resume"
            )


def _show_series(path: Path, about: dict[str, Any]) -> None:
    """Print what a file of `elman series fit`, or of `elman.tasks.series.save`, holds."""
    options = about.get("options")
    if not isinstance(options, dict):
        fail(f"{path}: damaged: its options must be an object, got {options!r:.40}")
    print(f"{about.get('estimator')}; written by elman {about.get('version')}")
    for name, value in sorted(options.items()):
        print(f"  {name} = {value}")
