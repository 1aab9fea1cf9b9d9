"""Cells as jobs of submitit: its local mode for real, Slurm by stand-ins for its commands."""

import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
import torch

from fewmask.errors import InputFault, RunFailed
from fewmask.files import read_json
from fewmask.studies.cells import DONE, Cell
from fewmask.studies.cluster import Cluster, ClusterOptions
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.study import _run  # pyright: ignore[reportPrivateUsage]

pytest.importorskip("submitit")

torch.set_num_threads(1)

LOCAL = ClusterOptions("local")


def cheap(cell: Cell) -> float:
    """What a job does here: note the attempt, wait where the test says so, and be done."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / "attempts.txt").open("a") as file:
        file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if cell.row == "failing":
        raise InputFault("a mask is missing; add it")
    if cell.row == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    while (cell.out / "wait").exists():
        time.sleep(0.05)
    (cell.folder / DONE).write_text("{}")
    return 1.5


def attempts(cell: Cell) -> list[str]:
    return (cell.folder / "attempts.txt").read_text().split()


def a_cell(out: Path, row: str, needs: Path | None = None, key: str = "k") -> Cell:
    folder = out / "cells" / row / "fold-0" / "seed-0"
    recipe = PLACENTA.rows[0].recipe
    assert recipe is not None
    return Cell(row, 0, 0, folder, folder, recipe(True), needs, out, "cpu", key=key)


@pytest.fixture
def jobs_find_this_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def cluster(out: Path, said: list[str] | None = None, options: ClusterOptions = LOCAL) -> Cluster:
    tell = (said if said is not None else []).append
    return Cluster(options, out, tell, 3, threads=1, devices=("5",), work=cheap)


@pytest.mark.usefixtures("jobs_find_this_file")
def test_jobs_run_in_order_and_failures_are_told(tmp_path: Path) -> None:
    floor, failing = a_cell(tmp_path, "floor"), a_cell(tmp_path, "failing")
    killed, needing = a_cell(tmp_path, "killed"), a_cell(tmp_path, "needing", floor.folder)
    starved = a_cell(tmp_path, "starved", failing.folder)
    left = [floor, failing, killed, needing, starved]
    failed = {end.cell.row: end.fault for end in _run(left, cluster(tmp_path), [].append)}
    assert isinstance(failed["failing"], InputFault) and "a mask is missing" in str(failed["failing"])
    assert isinstance(failed["killed"], RunFailed) and "without an answer" in str(failed["killed"])
    assert set(failed) == {"failing", "killed"} and left == [starved]
    assert floor.done() and needing.done() and not starved.folder.exists()
    assert attempts(floor) == ["5"], "the job sees the GPU that it was given"
    assert not list((tmp_path / "jobs").glob("*.json"))


@pytest.mark.usefixtures("jobs_find_this_file")
def test_a_study_that_begins_again_finds_its_running_jobs(tmp_path: Path) -> None:
    cell = a_cell(tmp_path, "floor")
    (tmp_path / "wait").touch()
    said: list[str] = []
    pool = cluster(tmp_path, said)
    pool.start(cell)
    job = read_json(tmp_path / "jobs" / f"{cell.file_name}.json")["job"]
    pool.stop()
    assert f"1 jobs go on ({job})" in said[-1]
    again = cluster(tmp_path, said)
    again.start(cell)
    assert f"job {job} of an earlier study is at it" in said[-1]
    until((cell.folder / "attempts.txt").exists)
    (tmp_path / "wait").unlink()
    (end,) = again.wait()
    assert end.fault is None and cell.done() and attempts(cell) == ["5"]


@pytest.mark.usefixtures("jobs_find_this_file")
def test_a_job_that_is_at_another_recipe_is_ended(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    said: list[str] = []
    cluster(tmp_path).start(a_cell(tmp_path, "floor", key="old"))
    cell = a_cell(tmp_path, "floor", key="new")
    until((cell.folder / "attempts.txt").exists)
    pool = cluster(tmp_path, said)
    pool.start(cell)
    assert "is at another recipe and is ended" in said[-1]
    (tmp_path / "wait").unlink()
    (end,) = pool.wait()
    assert end.fault is None and len(attempts(cell)) == 2


def until(condition: object, seconds: float = 240.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.05)


SBATCH = """#!/bin/sh
for script; do :; done
setsid sh -c 'SLURM_JOB_ID=77 sh "$0"; echo done > STATE' "$script" > /dev/null 2>&1 &
echo "Submitted batch job 77"
"""
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
SLURM_JOB_ID=77 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 exec "$@"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
if [ -e STATE ]; then echo "77|COMPLETED|here"; else echo "77|RUNNING|here"; fi
"""


@pytest.mark.usefixtures("jobs_find_this_file")
def test_slurm_by_stand_ins_for_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("STATE", str(tmp_path / "state")))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("fewmask.studies.cluster._PAUSE", {"slurm": 0.1})
    options = ClusterOptions("slurm", ("slurm_partition=gpu", "timeout_min=30", "mem_gb=4"))
    pool = cluster(tmp_path, None, options)
    cell = a_cell(tmp_path, "floor")
    pool.start(cell)
    assert read_json(tmp_path / "jobs" / f"{cell.file_name}.json")["job"] == "77"
    script = next((tmp_path / "jobs" / "logs").glob("*_submission.sh")).read_text()
    assert "--partition=gpu" in script and "--mem=4GB" in script and "--time=30" in script
    again = cluster(tmp_path, None, options)
    again.start(cell)
    (end,) = again.wait()
    assert end.fault is None and end.seconds == 1.5 and len(attempts(cell)) == 1


def test_faults_of_the_options_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, words in (
        (("slurm_partitoin=gpu",), "--cluster-set: Unknown argument 'partitoin'"),
        (("memory=4",), "--cluster-set: Parameter 'memory' need to be prefixed"),
        (("timeout_min=soon",), '"timeout_min" expected type'),
        (("timeout_min",), "expected key=value"),
        (("timeout_min=[",), "not valid YAML"),
    ):
        with pytest.raises(InputFault) as told:
            cluster(tmp_path, None, ClusterOptions("local", settings))
        assert words in str(told.value) and "\n" not in str(told.value)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputFault, match="there is no srun here"):
        cluster(tmp_path, None, ClusterOptions("slurm"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputFault, match=r"pip install 'fewmask\[cluster\]'"):
        cluster(tmp_path)
