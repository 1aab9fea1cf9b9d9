"""Cells as jobs of a cluster's scheduler, by submitit. Jobs outlive the study; the same command finds them again."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
import yaml

from fewmask.errors import InputFault, RunFailed
from fewmask.files import read_json, write_json
from fewmask.studies.cells import Cell, run_cell
from fewmask.studies.pool import Ended, Tell, answer_of, ended
from fewmask.training.fit import unwinding

DAY, YEAR = 24 * 60, 365 * 24 * 60
"""Minutes. A job is ended after a day on Slurm where no timeout_min is set, and goes on from its checkpoint."""

_PAUSE: dict[str, float] = {"slurm": 5.0, "local": 0.2}
"""Seconds between two looks at the jobs."""

_GRACE = 60.0
"""Seconds that a job on this machine has to write its checkpoint when it is ended."""


@dataclass(frozen=True)
class ClusterOptions:
    """Which scheduler, and what it is told of every job: `key=value`, by submitit's names."""

    kind: Literal["slurm", "local"]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellJob:
    """What a job does. A job that its scheduler preempts or ends for its time is queued again, and goes on."""

    cell: Cell
    threads: int | None
    device: str | None
    work: Callable[[Cell], float] = run_cell

    def __call__(self) -> float | Exception:
        """Run the cell; the seconds that it took, or its fault."""
        if self.device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.device
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with unwinding():  # SIGTERM ends it at any time; submitit by itself would let it pass.
            return answer_of(self.work, self.cell)

    def checkpoint(self) -> Any:
        """What is queued again: the same. The run folder has the checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class _Submitted:
    cell: Cell
    job: Any
    device: str | None
    ours: bool

    def gone(self) -> bool:
        """Whether the job has ended. A local one that an earlier study started is known by its process alone."""
        if self.ours or not _is_local(self.job):
            return bool(self.job.done())
        return not _runs(int(self.job.job_id))


class Cluster:
    """Jobs that each run one cell, `room` of them at once; what is known of them lies in the study's `jobs/`.

    `threads` and `devices` (GPUs as CUDA_VISIBLE_DEVICES names them) are for jobs on this machine; a scheduler
    gives them itself. Raises InputFault where submitit is missing, or refuses a setting.
    """

    def __init__(
        self,
        options: ClusterOptions,
        out: Path,
        tell: Tell,
        room: int,
        threads: int | None = None,
        devices: Sequence[str] = (),
        work: Callable[[Cell], float] = run_cell,
    ) -> None:
        self.room = room
        self.threads = threads
        self.devices = tuple(devices)
        self._options = options
        self._folder = out / "jobs"
        self._tell = tell
        self._work = work
        self._executor = _executor(options, self._folder / "logs")
        self._running: list[_Submitted] = []

    @property
    def cells(self) -> list[Cell]:
        """The cells whose jobs are queued or running."""
        return [submitted.cell for submitted in self._running]

    def start(self, cell: Cell) -> None:
        """Submit a cell, unless a job of an earlier study is at it."""
        used = [submitted.device for submitted in self._running]
        device = min(self.devices, key=used.count) if self.devices else None
        before = self._before(cell)
        if before is None:
            job = self._executor.submit(CellJob(cell, self.threads, device, self._work))
            record = {"job": job.job_id, "cluster": self._options.kind, "recipe": cell.key}
            write_json(self._record(cell), record)
            before = _Submitted(cell, job, device, ours=True)
        else:
            self._tell(f"{cell.name}: job {before.job.job_id} of an earlier study is at it")
        self._running.append(before)

    def wait(self) -> list[Ended]:
        """Wait until a job has ended, and say how."""
        while True:
            gone = [submitted for submitted in self._running if submitted.gone()]
            if gone:
                self._running = [submitted for submitted in self._running if submitted not in gone]
                for submitted in gone:
                    self._record(submitted.cell).unlink(missing_ok=True)
                return [ended(submitted.cell, _answer(submitted)) for submitted in gone]
            time.sleep(_PAUSE[self._options.kind])

    def stop(self) -> None:
        """Leave the jobs to their scheduler, and say which they are."""
        if self._running:
            ids = ", ".join(str(submitted.job.job_id) for submitted in self._running)
            self._tell(f"{len(self._running)} jobs go on ({ids}); the same command finds them again")

    def _record(self, cell: Cell) -> Path:
        return self._folder / f"{cell.file_name}.json"

    def _before(self, cell: Cell) -> _Submitted | None:
        """The job of an earlier study that is at a cell still. One that is at another recipe is ended."""
        record = self._record(cell)
        kept: dict[str, Any] = read_json(record) if record.exists() else {}
        if kept.get("cluster") != self._options.kind:
            return None
        submitted = _Submitted(
            cell, _job(self._options.kind, self._folder / "logs", kept["job"]), None, ours=False
        )
        if submitted.gone():
            return None
        if kept["recipe"] == cell.key:
            return submitted
        self._tell(f"{cell.name}: job {kept['job']} is at another recipe and is ended")
        _cancel(submitted)
        return None


def _executor(options: ClusterOptions, folder: Path) -> Any:
    try:
        from submitit import AutoExecutor
    except ImportError:
        raise InputFault(
            "--cluster: needs the package submitit, which is not installed; pip install 'fewmask[cluster]'"
        ) from None
    minutes = DAY if options.kind == "slurm" else YEAR
    settings: dict[str, Any] = {"name": "fewmask", "timeout_min": minutes} | _settings(options)
    try:
        executor = AutoExecutor(folder=folder, cluster=options.kind)
        executor.update_parameters(**settings)
    except (NameError, AssertionError, ValueError) as fault:
        raise InputFault(f"--cluster-set: {' '.join(str(fault).split())}; see submitit's names") from None
    except RuntimeError:
        raise InputFault(
            "--cluster slurm: there is no srun here; run this where jobs are submitted, or take --cluster local"
        ) from None
    return executor


def _job(kind: Literal["slurm", "local"], folder: Path, number: str) -> Any:
    from submitit import LocalJob, SlurmJob

    return (SlurmJob if kind == "slurm" else LocalJob)(folder, number)


def _settings(options: ClusterOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for text in options.settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputFault(f"--cluster-set {text}: expected key=value, e.g. --cluster-set timeout_min=600")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputFault(f"--cluster-set {text}: the value is not valid YAML; quote it") from None
    return settings


def _answer(submitted: _Submitted) -> float | Exception:
    job = submitted.job
    if not job.paths.result_pickle.exists() and submitted.cell.done():
        return 0.0
    if _is_local(job) and not job.paths.result_pickle.exists():
        return RunFailed(
            f"its job {job.job_id} ended without an answer (out of memory?); see {job.paths.stderr}"
        )
    fault = job.exception()
    if fault is None:
        return job.result()
    last = str(fault).strip().splitlines()[-1]
    return RunFailed(f"its job {job.job_id} failed: {last}; see {job.paths.stderr}")


def _is_local(job: Any) -> bool:
    from submitit import LocalJob

    return isinstance(job, LocalJob)


def _runs(process: int) -> bool:
    """Whether a process is one of submitit's, and not another that was given its number."""
    try:
        return any("submitit" in word for word in psutil.Process(process).cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _cancel(submitted: _Submitted) -> None:
    """End a job, and wait until it has written its checkpoint."""
    if _is_local(submitted.job):
        controller = psutil.Process(int(submitted.job.job_id))
        tree = [*controller.children(recursive=True), controller]
        controller.terminate()
        for process in psutil.wait_procs(tree, timeout=_GRACE)[1]:
            process.kill()
    else:
        submitted.job.cancel(check=False)
    while not submitted.gone():
        time.sleep(0.2)
