"""Cells in processes of their own: several at a time, and none outlives the study that started it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from fewmask.errors import RunFailed
from fewmask.studies.cells import Cell, run_cell
from fewmask.studies.pool import Ended, answer_of, ended, environment_with

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class _Worker:
    cell: Cell
    process: BaseProcess
    answer: Connection
    device: str | None


class Workers:
    """Processes that each run one cell with `threads` threads, `room` of them at once.

    `devices` are the GPUs as CUDA_VISIBLE_DEVICES names them; each process sees one, that with the fewest cells.
    """

    def __init__(self, threads: int, room: int = 1, devices: Sequence[str] = ()) -> None:
        self.threads = threads
        self.room = room
        self.devices = tuple(devices)
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
        device = self._free_device()
        answer, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_work, args=(cell, theirs, os.getpid(), self.threads))
        # A process reads these when it starts; spinning threads of several cells slow one another down.
        values = {"OMP_NUM_THREADS": str(self.threads)}
        with environment_with(**values | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})):
            process.start()
        theirs.close()
        self._running.append(_Worker(cell, process, answer, device))

    def _free_device(self) -> str | None:
        used = [worker.device for worker in self._running]
        return min(self.devices, key=used.count) if self.devices else None

    def wait(self) -> list[Ended]:
        """Wait until a cell has ended, and say how."""
        ready = set(wait([worker.process.sentinel for worker in self._running]))
        gone = [worker for worker in self._running if worker.process.sentinel in ready]
        self._running = [worker for worker in self._running if worker not in gone]
        return [_ended(worker) for worker in gone]

    def stop(self) -> None:
        """Ask every running cell for a checkpoint and wait until it is written."""
        for worker in self._running:
            worker.process.terminate()
        for worker in self._running:
            worker.process.join()


@contextmanager
def working(threads: int, room: int = 1, devices: Sequence[str] = ()) -> Generator[Workers]:
    """Workers that are stopped when the context is left."""
    workers = Workers(threads, room, devices)
    try:
        yield workers
    finally:
        workers.stop()


def visible_devices(device: str) -> tuple[str, ...]:
    """The GPUs that cells of this device may use, as CUDA_VISIBLE_DEVICES names them; none on a CPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return tuple(name.strip() for name in chosen[: torch.cuda.device_count()])


def _ended(worker: _Worker) -> Ended:
    worker.process.join()
    try:
        return ended(worker.cell, worker.answer.recv())
    except EOFError:
        code = worker.process.exitcode
        return ended(worker.cell, RunFailed(f"its process ended with {code} (out of memory?); try --jobs 1"))


def _work(cell: Cell, answer: Connection, parent: int, threads: int) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of a terminal; the study answers it, and asks for checkpoints by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    told = answer_of(run_cell, cell)
    with suppress(BrokenPipeError):  # The study was killed: nobody listens, and the checkpoint is written.
        answer.send(told)


def _end_with(parent: int) -> None:
    """Stop this process, with a checkpoint, when its parent is gone: nobody would be there to score the cell."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
