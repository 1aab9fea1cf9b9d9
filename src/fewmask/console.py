"""Progress bars on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PATIENCE = 15.0
"""Seconds between two lines where no terminal is watching."""


@contextmanager
def progress(title: str, items: int) -> Iterator[Callable[[], None]]:
    """A bar of so many items, or now and then a line where no terminal is watching."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    told = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal told, done
        done += 1
        bar.advance(task)
        if bar.disable and time.monotonic() - told > PATIENCE:
            told = time.monotonic()
            print(f"{title}: {done}/{items}", file=sys.stderr, flush=True)

    with bar:
        task = bar.add_task(title, total=items)
        yield advance
