"""What all commands share: where they print, how they fail, how they are interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

err = Console(stderr=True, highlight=False)
INTERRUPTED = 130  # the exit code that shells know
NARROW = 100  # columns of a terminal, below which a bar would take the place of its numbers


def fail(message: str) -> NoReturn:
    """Print one sentence to the standard error and end with exit code 1."""
    err.print(f"[bold red]elman:[/] {_plain(message)}", soft_wrap=not err.is_terminal)
    raise typer.Exit(1)


def note(message: str) -> None:
    """Print a sentence that is not the result of the command."""
    err.print(_plain(message), soft_wrap=not err.is_terminal)


def refuse_to_replace(out: Path, *inputs: Path) -> None:
    """End with a sentence if a file to write is one of those to read."""
    for path in inputs:
        if out.resolve() == path.resolve() or (out.exists() and path.exists() and out.samefile(path)):
            fail(f"{out} is the file to read, which would be lost; give --out another name")


@contextmanager
def failures() -> Iterator[None]:
    """Turn what a user can cause into one sentence; anything else stays a traceback, for it is our mistake."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        reason = error.strerror or str(error)
        fail(f"{error.filename}: {reason[:1].lower() + reason[1:]}" if error.filename else reason)
    except (ValueError, TypeError, FloatingPointError, ImportError) as error:
        fail(str(error))
    except MemoryError:
        fail("not enough memory; use a smaller model, batch or text")
    except KeyboardInterrupt:
        note("\nStopped.")
        raise typer.Exit(INTERRUPTED) from None


class Interrupt:
    """Turns the first Ctrl-C (or SIGTERM) into a wish that a loop can see; the second one stops at once."""

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True


def progress_bar(*columns: str) -> Progress:
    """Return a bar that shows what is done, further fields (of the task, by name), and the time left."""
    shown: list[ProgressColumn] = [TextColumn("{task.description}"), MofNCompleteColumn()]
    if err.width >= NARROW or not columns:  # the numbers come first
        shown.insert(1, BarColumn(bar_width=16))
    shown += [TextColumn(column) for column in columns]
    return Progress(*shown, TimeRemainingColumn(compact=True), TextColumn("left"), console=err, transient=True)


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
