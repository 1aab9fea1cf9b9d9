"""What a study runs its cells in, be it processes of this machine or jobs of a cluster, and how a cell ends there."""

import os
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from fewmask.errors import InputFault, Interrupted, RunFailed
from fewmask.studies.cells import Cell

Tell = Callable[[str], None]

_UNFORESEEN = (
    OSError,
    MemoryError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
)
"""What a recipe or a damaged file may raise that is no fault with a message of its own."""


@dataclass(frozen=True)
class Ended:
    """How a cell ended: the seconds that it took, or the fault."""

    cell: Cell
    seconds: float
    fault: Exception | None


class Pool(Protocol):
    """Runs cells beside one another, `room` at a time."""

    room: int

    @property
    def cells(self) -> list[Cell]:
        """The cells that are running."""
        ...

    def start(self, cell: Cell) -> None:
        """Run a cell."""
        ...

    def wait(self) -> list[Ended]:
        """Wait until a cell has ended, and say how."""
        ...

    def stop(self) -> None:
        """Leave no cell behind that nobody would find again."""
        ...


def ended(cell: Cell, answer: float | Exception) -> Ended:
    """How a cell ended that answered with its seconds or its fault."""
    return Ended(cell, 0.0, answer) if isinstance(answer, Exception) else Ended(cell, answer, None)


def answer_of(work: Callable[[Cell], float], cell: Cell) -> float | Exception:
    """The seconds that a cell took, or its fault as one line; the log has it too, whole where nobody foresaw it."""
    try:
        return work(cell)
    except (InputFault, RunFailed) as fault:
        _log(cell, f"{fault}\n")
        return fault
    except Interrupted as stopped:
        return RunFailed(str(stopped))
    except _UNFORESEEN as fault:
        _log(cell, "".join(traceback.format_exception(fault)))
        return RunFailed(f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}")


def _log(cell: Cell, text: str) -> None:
    cell.log.parent.mkdir(parents=True, exist_ok=True)
    with cell.log.open("a", encoding="utf-8") as log:
        log.write(text)


@contextmanager
def environment_with(**values: str) -> Generator[None]:
    """This process's environment with other values, which processes that are started meanwhile read."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
