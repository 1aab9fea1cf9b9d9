"""Progress bars on standard error."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich import progress as bars
from rich.console import Console

PATIENCE = 15.0
"""Seconds between two lines where no terminal is watching."""


Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Opens a progress bar of so many items; what it yields is called after each item."""


def silent(title: str, items: int) -> AbstractContextManager[Callable[[], None]]:
    """No progress bar."""
    return nullcontext(lambda: None)


def progress_bar(*more: bars.ProgressColumn) -> bars.Progress:
    """A bar on standard error with a count and the time left, and `more` columns; silent where no terminal watches."""
    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        *more,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def progress(title: str, items: int) -> Generator[Callable[[], None]]:
    """A bar of so many items, or now and then a line where no terminal is watching."""
    bar = progress_bar()
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
