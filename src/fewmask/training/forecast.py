"""What a long run will need, from a few timed steps on throwaway networks, before it begins."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from lightning_fabric import Fabric

from fewmask.data.stream import draw
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.training.fit import Job, batch_of
from fewmask.training.material import GIB
from fewmask.training.play import play

SHORT = 200
"""A stage of fewer steps is over before a forecast is worth its own steps."""


@dataclass(frozen=True)
class Forecast:
    """What a stage needs: minutes at the pace of the timed steps, memory and checkpoint disk in GiB."""

    stage: str
    steps: int
    minutes: float
    memory_gib: float
    checkpoint_gib: float

    def __str__(self) -> str:
        return (
            f"{self.stage}: {self.steps} steps, about {self.minutes:.1f} min, memory {self.memory_gib:.1f} GiB, "
            f"checkpoints {self.checkpoint_gib:.2f} GiB"
        )


def forecast(fabric: Fabric, build: Callable[[], Method], job: Job) -> Forecast:
    """Time a stage's step and measure its memory; the networks are thrown away, so the run itself is unchanged.

    Raises InputFault, before any work is lost, where memory or disk will not do.
    """
    small = replace(job, shares=tuple(replace(share, batch=min(2, share.batch)) for share in job.shares))
    method = build().to(fabric.device).train()
    before = _memory(fabric)
    _timed_step(fabric, method, small, 0)
    two = max(_memory(fabric) - before, 0.0)
    batch = sum(share.batch for share in job.shares)
    expected = before + two * batch / sum(share.batch for share in small.shares)
    limit = _memory_limit(fabric)
    if expected > limit:
        raise InputFault(
            f"stage {job.stage.name}: a step needs about {expected:.1f} GiB of memory and {limit:.1f} are there; "
            "lower --set batch or --set size, or use --small"
        )
    _timed_step(fabric, method, job, 1)
    seconds = min(_timed_step(fabric, method, job, step) for step in (2, 3))
    state = sum(t.numel() * t.element_size() for t in method.parameters())
    checkpoint = 2 * (state * 4) / GIB
    _require_disk(job.checkpoints.folder, checkpoint)
    return Forecast(
        job.stage.name,
        job.stage.steps,
        seconds * job.stage.steps / 60,
        max(expected, _memory(fabric)),
        checkpoint,
    )


def _timed_step(fabric: Fabric, method: Method, job: Job, step: int) -> float:
    drawn = [draw(share, job.recipe.seed, step).to(fabric.device) for share in job.shares]
    began = time.perf_counter()
    try:
        play(fabric, method, method.training_step(batch_of(method, drawn, job.stage.augmentation), 0.0), 0.0)
    except (torch.OutOfMemoryError, MemoryError):
        raise InputFault(
            f"stage {job.stage.name}: a step does not fit into memory; lower --set batch or --set size, or use --small"
        ) from None
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter() - began


def _memory(fabric: Fabric) -> float:
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated(fabric.device) / GIB
    return psutil.Process().memory_info().rss / GIB


def _memory_limit(fabric: Fabric) -> float:
    if fabric.device.type == "cuda":
        return torch.cuda.mem_get_info(fabric.device)[0] / GIB + _memory(fabric)
    return psutil.virtual_memory().available / GIB + _memory(fabric)


def _require_disk(folder: Path, needed_gib: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB
    if needed_gib > free:
        raise InputFault(
            f"{folder}: checkpoints need {needed_gib:.2f} GiB and {free:.2f} are free; "
            "free some, or choose another --out"
        )
