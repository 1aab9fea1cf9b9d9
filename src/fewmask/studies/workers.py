"""Cells in processes of their own: several at a time, and none outlives the study that started it."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from fewmask.errors import InputFault, Interrupted, RunFailed
from fewmask.studies.cells import Cell, run_cell

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Ended:
    """How a cell ended: the seconds that it took, or the fault."""

    cell: Cell
    seconds: float
    fault: Exception | None


@dataclass(frozen=True)
class _Worker:
    cell: Cell
    process: BaseProcess
    answer: Connection


class Workers:
    """Processes that each run one cell with `threads` threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._running: list[_Worker] = []

    @property
    def cells(self) -> list[Cell]:
        """The cells that are running."""
        return [worker.cell for worker in self._running]

    @property
    def pids(self) -> list[int]:
        """The processes that run them."""
        return [worker.process.pid for worker in self._running if worker.process.pid is not None]

    def start(self, cell: Cell) -> None:
        """Run a cell in a new process."""
        answer, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_work, args=(cell, theirs, os.getpid(), self.threads))
        process.start()
        theirs.close()
        self._running.append(_Worker(cell, process, answer))

    def wait(self) -> list[Ended]:
        """Wait until a cell has ended, and say how."""
        ready = set(wait([worker.process.sentinel for worker in self._running]))
        ended = [worker for worker in self._running if worker.process.sentinel in ready]
        self._running = [worker for worker in self._running if worker not in ended]
        return [_ended(worker) for worker in ended]

    def stop(self) -> None:
        """Ask every running cell for a checkpoint and wait until it is written."""
        for worker in self._running:
            worker.process.terminate()
        for worker in self._running:
            worker.process.join()


@contextmanager
def working(threads: int) -> Generator[Workers]:
    """Workers that are stopped when the context is left."""
    # A process reads this when it starts; spinning threads of several cells slow one another down.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    workers = Workers(threads)
    try:
        yield workers
    finally:
        workers.stop()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _ended(worker: _Worker) -> Ended:
    worker.process.join()
    try:
        answer: float | Exception = worker.answer.recv()
    except EOFError:
        code = worker.process.exitcode
        fault = RunFailed(f"its process ended with {code} (out of memory?); try --jobs 1")
        return Ended(worker.cell, 0.0, fault)
    if isinstance(answer, Exception):
        return Ended(worker.cell, 0.0, answer)
    return Ended(worker.cell, answer, None)


def _work(cell: Cell, answer: Connection, parent: int, threads: int) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of a terminal; the study answers it, and asks for checkpoints by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        answer.send(run_cell(cell))
    except (InputFault, RunFailed) as fault:
        answer.send(fault)
    except Interrupted as stopped:
        answer.send(RunFailed(str(stopped)))
    except (OSError, MemoryError, RuntimeError, KeyError, ValueError) as fault:
        with cell.log.open("a", encoding="utf-8") as log:
            traceback.print_exception(fault, file=log)
        answer.send(RunFailed(f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}"))


def _end_with(parent: int) -> None:
    """Stop this process, with a checkpoint, when its parent is gone: nobody would be there to score the cell."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
