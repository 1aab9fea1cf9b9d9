"""Killed, stopped, or spread over two processes: the result is the same, and the exit codes are those promised."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fewmask.training.checkpoint import read_checkpoint
from tests.command.conftest import TINY, TINY_CYCLEGAN

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def words(hospitals: tuple[Path, Path], run: Path, method: str, steps: int) -> list[str]:
    """A training of a few seconds that writes a checkpoint after every step."""
    narrow = (*TINY_CYCLEGAN, "--set", "critic_layers=2") if method == "cyclegan" else TINY
    cohorts = ["--source", hospitals[0], "--target", hospitals[1]]
    cohorts = cohorts if method == "cyclegan" else ["--masks", hospitals[0]]
    options = [
        "--set",
        f"steps={steps}",
        "--set",
        "checkpoint_minutes=0",
        "--set",
        "workers=1",
        "--device",
        "cpu",
    ]
    return [str(word) for word in ("train", method, *cohorts, "--out", run, *narrow, *options)]


def start(arguments: list[str], cache: Path, *launcher: str) -> subprocess.Popen[str]:
    launch = launcher or (sys.executable, "-m", "fewmask.cli")
    environment = {**ENVIRONMENT, "FEWMASK_CACHE": str(cache)}
    return subprocess.Popen([*launch, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def networks(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoint_latest.pt")["method"]


@pytest.mark.parametrize("method", ["supervised", "cyclegan"])
def test_kill_9_and_the_same_command_again_is_bit_identical(
    hospitals: tuple[Path, Path], tmp_path: Path, own_cache: Path, method: str
) -> None:
    steps = 12
    whole = start(words(hospitals, tmp_path / "whole", method, steps), own_cache)
    assert whole.wait(120) == 0, whole.stderr.read()

    arguments = words(hospitals, tmp_path / "killed", method, steps)
    killed = start(arguments, own_cache)
    wait_for((tmp_path / "killed" / "checkpoint_latest.pt").exists)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "finished.json").exists()
    again = start(arguments, own_cache)
    assert again.wait(120) == 0, again.stderr.read()
    assert "goes on from step" in again.stderr.read()

    first, second = networks(tmp_path / "whole"), networks(tmp_path / "killed")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_gives_its_exit_code(
    hospitals: tuple[Path, Path], tmp_path: Path, own_cache: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = start(words(hospitals, run, "supervised", 2000), own_cache)
    wait_for((run / "checkpoint_latest.pt").exists)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert "the same command goes on" in process.stderr.read()
    assert read_checkpoint(run / "checkpoint_latest.pt")["step"] > 0


@pytest.mark.parametrize("how", ["devices", "torchrun"])
def test_two_processes_train_and_end_in_order(
    hospitals: tuple[Path, Path], tmp_path: Path, own_cache: Path, how: str
) -> None:
    steps = 3
    alone = start(words(hospitals, tmp_path / "alone", "supervised", steps), own_cache)
    assert alone.wait(120) == 0, alone.stderr.read()
    arguments = [*words(hospitals, tmp_path / "both", "supervised", steps), "--devices", "2"]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    launcher = (*torchrun, "-m", "fewmask.cli") if how == "torchrun" else ()
    both = start(arguments, own_cache, *launcher)
    assert both.wait(120) == 0, both.stderr.read()
    first, second = networks(tmp_path / "alone"), networks(tmp_path / "both")
    for key, value in first.items():
        assert torch.allclose(value.float(), second[key].float(), atol=2e-3), key
