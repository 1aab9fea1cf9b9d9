"""The verb `study`: every cell of a table, several at a time."""

import time
from collections.abc import Callable, Sequence

import torch

from fewmask.errors import InputFault, RunFailed
from fewmask.studies.cells import Cell, Order, asked_for, cells_on_disk, run_cell
from fewmask.studies.workers import Ended, working

Tell = Callable[[str], None]


def run_study(order: Order, jobs: int, tell: Tell) -> tuple[Cell, ...]:
    """Run every cell that is not done yet, `jobs` at a time; returns all cells of the study's folder, earlier ones too.

    A cell that fails does not stop those that do not need it; the first failure is raised when they are done. A
    study that was stopped goes on where it stopped. Raises InputFault for a cell that another recipe has made.
    """
    known = cells_on_disk(order)
    cells = asked_for(order, known)
    left = [cell for cell in cells if not cell.done()]
    tell(f"{order.study.name}: {len(cells)} cells, {len(cells) - len(left)} of them done")
    for cell in known:
        if cell.done():
            run_cell(cell)  # It takes no time, but refuses a cell that another recipe has made.
    failed = _run(left, jobs, tell)
    if failed:
        first, fault = failed[0].cell, failed[0].fault
        kind = InputFault if isinstance(fault, InputFault) else RunFailed
        raise kind(f"{len(failed)} cells failed, first {first.name}: {fault} (its log: {first.log})")
    return known


def _run(left: list[Cell], jobs: int, tell: Tell) -> list[Ended]:
    """Run cells until none is left that can run; returns those that failed."""
    began, total = time.monotonic(), len(left)
    failed: list[Ended] = []
    with working(max(1, torch.get_num_threads() // jobs)) as workers:
        while True:
            ready = _ready(left, [*workers.cells, *(end.cell for end in failed)])
            for cell in ready[: jobs - len(workers.cells)]:
                left.remove(cell)
                workers.start(cell)
                tell(f"{cell.name}: begins; its log is {cell.log}")
            if not workers.cells:
                return failed
            for end in workers.wait():
                _tell_end(end, tell)
                if end.fault is not None:
                    failed.append(end)
            done = total - len(left) - len(workers.cells)
            if 0 < done < total:
                minutes = (time.monotonic() - began) / 60.0 / done * (total - done)
                tell(f"{done} of {total} cells, about {minutes:.0f} min left")


def _ready(left: Sequence[Cell], unfinished: Sequence[Cell]) -> list[Cell]:
    """The cells whose networks to start from are there; what needs a failed cell never is."""
    awaited = {cell.run for cell in (*left, *unfinished) if cell.recipe is not None}
    return [cell for cell in left if cell.needs not in awaited]


def _tell_end(end: Ended, tell: Tell) -> None:
    if end.fault is None:
        tell(f"{end.cell.name}: done in {end.seconds / 60:.1f} min")
    else:
        tell(f"{end.cell.name}: failed: {end.fault}")
