"""Cells that failed, and those that wait for one of them: told beside the table, with the reason and the log."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from fewmask.config import from_mapping, to_mapping
from fewmask.errors import InputFault
from fewmask.files import read_json, write_csv, write_json, write_text
from fewmask.studies.cells import Cell
from fewmask.studies.renderings import parts_markdown
from fewmask.studies.sheet import Grid, Heading, Part, columns, paragraph
from fewmask.studies.study import Ran, needed_name

FAILED_CSV, FAILED_JSON, FAILURES = "failed.csv", "failed.json", "failures.md"


@dataclass(frozen=True)
class Failure:
    """Why a cell is not in the table. `kind` tells faulty input from a failed run, and from a cell that needs one."""

    row: str
    fold: int
    seed: int
    kind: Literal["input", "run", "not run"]
    fault: str
    log: str


def failures_of(ran: Ran, out: Path) -> tuple[Failure, ...]:
    """The failures of a study that has just run, and those kept from before of cells that were not tried now."""
    failed = [
        _failure(end.cell, "input" if isinstance(end.fault, InputFault) else "run", str(end.fault))
        for end in ran.failed
    ]
    waiting = [_failure(cell, "not run", f"needs {needed_name(cell)}") for cell in ran.waiting]
    told = {(failure.row, failure.fold, failure.seed) for failure in (*failed, *waiting)}
    undone = {(cell.row, cell.fold, cell.seed) for cell in ran.cells if not cell.done()}
    before = [
        failure
        for failure in kept_failures(out)
        if (failure.row, failure.fold, failure.seed) in undone - told
    ]
    return (*failed, *waiting, *before)


def kept_failures(out: Path) -> tuple[Failure, ...]:
    """What the last run of a study kept in `failed.json`."""
    file = out / FAILED_JSON
    if not file.exists():
        return ()
    return tuple(from_mapping(Failure, entry, str(file)) for entry in read_json(file))


def keep_failures(failures: Sequence[Failure], out: Path) -> None:
    """Write `failed.csv`, `failed.json` and `failures.md`, or remove them where nothing failed."""
    if not failures:
        for name in (FAILED_CSV, FAILED_JSON, FAILURES):
            (out / name).unlink(missing_ok=True)
        return
    head = ("row", "fold", "seed", "kind", "fault", "log")
    write_csv(out / FAILED_CSV, head, [astuple(failure) for failure in failures])
    write_json(out / FAILED_JSON, to_mapping(list(failures)))
    write_text(out / FAILURES, parts_markdown(failure_parts(failures)))


def failure_parts(failures: Sequence[Failure]) -> tuple[Part, ...]:
    """The failures as a section of a page, a line each; nothing where there are none."""
    if not failures:
        return ()
    failed = sum(failure.kind != "not run" for failure in failures)
    waiting = len(failures) - failed
    needing = "" if not waiting else f"; {waiting} more, which need one of them, were not run"
    body = (
        (failure.row, str(failure.fold), str(failure.seed), _why(failure), failure.log)
        for failure in failures
    )
    return (
        Heading("Cells that failed"),
        paragraph(
            f"**{failed} failed{needing}.** The table above lacks them; the same command tries them again."
        ),
        Grid(columns(("row", "fold", "seed", "why", "log")), tuple(body)),
    )


def _why(failure: Failure) -> str:
    return " ".join(("not run: " * (failure.kind == "not run") + failure.fault).split())


def _failure(cell: Cell, kind: Literal["input", "run", "not run"], fault: str) -> Failure:
    # Relative to the study's folder: the page may be read elsewhere.
    log = "" if kind == "not run" else f"{cell.log.parent.name}/{cell.log.name}"
    return Failure(cell.row, cell.fold, cell.seed, kind, fault, log)
