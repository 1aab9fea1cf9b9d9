"""The verb `study`: every cell of a table, several at a time."""

import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fewmask.errors import InputFault, RunFailed
from fewmask.studies.cells import Cell, asked_for, cells_on_disk
from fewmask.studies.cluster import Cluster, ClusterOptions
from fewmask.studies.order import Order
from fewmask.studies.pool import Ended, Pool, Tell
from fewmask.studies.states import settled
from fewmask.studies.workers import visible_devices, working


@dataclass(frozen=True)
class Ran:
    """All cells of a study's folder, earlier ones too, those that failed now, and those that wait for a failed one."""

    cells: tuple[Cell, ...]
    failed: tuple[Ended, ...] = ()
    waiting: tuple[Cell, ...] = ()

    @property
    def fault(self) -> InputFault | RunFailed | None:
        """What a command says at its end where cells failed; of the kind of the first."""
        if not self.failed:
            return None
        first, fault = self.failed[0].cell, self.failed[0].fault
        kind = InputFault if isinstance(fault, InputFault) else RunFailed
        count = f"{len(self.failed)} cells" if len(self.failed) > 1 else "1 cell"
        needing = f"; not run, for they need it or another: {len(self.waiting)}" if self.waiting else ""
        return kind(f"{count} failed, first {first.name}: {fault} (its log: {first.log}){needing}")


def run_study(order: Order, jobs: int | None, tell: Tell, cluster: ClusterOptions | None = None) -> Ran:
    """Run every cell that is not done yet, `jobs` at a time; None is one a GPU, one a core, or what a cluster takes.

    A cell that fails does not stop those that do not need it. A study that was stopped goes on where it stopped, and
    cells that another recipe has made are set aside and run again.
    """
    known = cells_on_disk(order)
    known = settled(known, asked_for(order, known), order.study, tell)
    cells = asked_for(order, known)
    left = [cell for cell in cells if not cell.done()]
    tell(f"{order.study.name}: {len(cells)} cells, {len(cells) - len(left)} of them done")
    if not left:
        return Ran(known)
    with _pool(order, jobs, cluster, tell) as pool:
        failed = _run(left, pool, tell)
    return Ran(known, tuple(failed), tuple(left))


@contextmanager
def _pool(order: Order, jobs: int | None, cluster: ClusterOptions | None, tell: Tell) -> Generator[Pool]:
    """What the cells run in."""
    devices = visible_devices(order.device)
    here = jobs or len(devices) or len(os.sched_getaffinity(0))
    threads = max(1, torch.get_num_threads() // here)
    if cluster is None:
        with working(threads, here, devices) as workers:
            yield workers
        return
    if cluster.kind == "local":
        jobs_pool = Cluster(cluster, order.out, tell, here, threads, devices)
    else:
        jobs_pool = Cluster(cluster, order.out, tell, jobs or 1_000_000)
    try:
        yield jobs_pool
    finally:
        jobs_pool.stop()


def _run(left: list[Cell], pool: Pool, tell: Tell) -> list[Ended]:
    """Run cells until none is left that can run; returns those that failed. What stays in `left` needs one of them."""
    began, total = time.monotonic(), len(left)
    failed: list[Ended] = []
    while True:
        ready = _ready(left, [*pool.cells, *(end.cell for end in failed)])
        for cell in ready[: pool.room - len(pool.cells)]:
            left.remove(cell)
            tell(f"{cell.name}: begins; its log is {cell.log}")
            pool.start(cell)
        if not pool.cells:
            _tell_waiting(left, tell)
            return failed
        for end in pool.wait():
            _tell_end(end, tell)
            if end.fault is not None:
                failed.append(end)
        done = total - len(left) - len(pool.cells)
        if 0 < done < total:
            minutes = (time.monotonic() - began) / 60.0 / done * (total - done)
            tell(f"{done} of {total} cells, about {minutes:.0f} min left")


def _ready(left: Sequence[Cell], unfinished: Sequence[Cell]) -> list[Cell]:
    """The cells whose networks to start from are there; what needs a failed cell never is."""
    awaited: set[Path] = {cell.run for cell in (*left, *unfinished) if cell.recipe is not None}
    return [cell for cell in left if cell.needs not in awaited]


def _tell_end(end: Ended, tell: Tell) -> None:
    if end.fault is None:
        tell(f"{end.cell.name}: done in {end.seconds / 60:.1f} min")
    else:
        tell(f"{end.cell.name}: failed: {end.fault}; its log is {end.cell.log}")


def needed_name(cell: Cell) -> str:
    """The row, fold and seed of the cell that one needs."""
    assert cell.needs is not None
    row, fold, seed = cell.needs.parts[-3:]
    return f"{row}, fold {fold.removeprefix('fold-')}, seed {seed.removeprefix('seed-')}"


def _tell_waiting(waiting: Sequence[Cell], tell: Tell) -> None:
    for cell in waiting:
        tell(f"{cell.name}: not run: needs {needed_name(cell)}")
