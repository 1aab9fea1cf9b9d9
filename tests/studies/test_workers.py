"""Which GPU each worker sees."""

import time
from pathlib import Path

import pytest
import torch

from fewmask.studies.cells import Cell
from fewmask.studies.workers import Workers, visible_devices


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("three_gpus")
def test_devices_are_those_that_the_study_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible_devices("auto") == ("0", "1", "2")
    assert visible_devices("cpu") == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7a,6")
    assert visible_devices("cuda") == ("4", "GPU-7a", "6")


def test_each_worker_sees_one_gpu_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    workers = Workers(1, 3, ("4", "6"))
    seen: list[set[bytes]] = []
    for number in range(3):
        folder = tmp_path / "cells" / "row" / "fold-0" / f"seed-{number}"
        workers.start(Cell("row", 0, number, folder, folder, None, None, tmp_path, "cpu", scored="nothing"))
        seen.append(environment_of(workers.pids[-1]))
    names = [next(word for word in words if word.startswith(b"CUDA_VISIBLE")) for words in seen]
    assert names == [b"CUDA_VISIBLE_DEVICES=4", b"CUDA_VISIBLE_DEVICES=6", b"CUDA_VISIBLE_DEVICES=4"]
    assert all(b"OMP_NUM_THREADS=1" in words for words in seen)
    workers.stop()


def environment_of(process: int) -> set[bytes]:
    """What a process began with, once it runs what it was made for: until then /proc shows its parent's."""
    while b"spawn_main" not in Path(f"/proc/{process}/cmdline").read_bytes():
        time.sleep(0.01)
    return set(Path(f"/proc/{process}/environ").read_bytes().split(b"\0"))
