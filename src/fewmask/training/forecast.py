"""What a long run will need, from a few timed steps on throwaway networks, before it begins."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import torch
from lightning_fabric import Fabric

from fewmask.data.stream import draw
from fewmask.errors import InputFault
from fewmask.files import GIB, require_free
from fewmask.methods.base import Method
from fewmask.training.fit import OUT_OF_MEMORY, Job, batch_of
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

    Memory is measured with two small batches and drawn out to the full one, so that a batch that cannot fit is refused
    before it is tried. Raises InputFault, before any work is lost, where memory or disk will not do.
    """
    method = build().train()
    batch = sum(share.batch for share in job.shares)
    low, high = (_smaller(job, most) for most in (1, 2))
    steps = [_timed_step(fabric, method, job_, 0) for job_ in (low, low, high)]
    sizes = [sum(share.batch for share in job_.shares) for job_ in (low, high)]
    slope = (steps[2].memory_gib - steps[1].memory_gib) / max(1, sizes[1] - sizes[0])
    expected = steps[2].memory_gib + max(0.0, slope) * (batch - sizes[1])
    limit = _memory_limit(fabric)
    if expected > limit:
        raise InputFault(
            f"stage {job.stage.name}: a step needs about {expected:.1f} GiB of memory and {limit:.1f} are there; "
            "lower --set batch or --set size, or use --small"
        )
    full = [_timed_step(fabric, method, job, step) for step in (1, 2, 3)]
    networks = sum(p.numel() * p.element_size() for p in method.parameters())
    checkpoint = 8 * networks + networks * _candidates(job)
    require_free(job.checkpoints.folder, checkpoint, "checkpoints", "or choose another --out")
    minutes = min(step.seconds for step in full[1:]) * job.stage.steps / 60
    return Forecast(job.stage.name, job.stage.steps, minutes, full[-1].memory_gib, checkpoint / GIB)


def _candidates(job: Job) -> int:
    """How many candidates the stage will keep."""
    return -(-job.stage.steps // job.stage.validate_every) if job.stage.keep_candidates else 0


@dataclass(frozen=True)
class _Step:
    seconds: float
    memory_gib: float


def _smaller(job: Job, most: int) -> Job:
    """The same job with at most so many images a share."""
    return replace(job, shares=tuple(replace(share, batch=min(most, share.batch)) for share in job.shares))


def _timed_step(fabric: Fabric, method: Method, job: Job, step: int) -> _Step:
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
    drawn = [draw(share, job.recipe.seed, step).to(fabric.device) for share in job.shares]
    began = time.perf_counter()
    try:
        play(fabric, method, method.training_step(batch_of(job.stage, drawn), 0.0), 0.0)
    except (torch.OutOfMemoryError, MemoryError):
        raise InputFault(f"stage {job.stage.name}: {OUT_OF_MEMORY}") from None
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return _Step(time.perf_counter() - began, _memory(fabric))


def _memory(fabric: Fabric) -> float:
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated(fabric.device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def _memory_limit(fabric: Fabric) -> float:
    if fabric.device.type == "cuda":
        return torch.cuda.mem_get_info(fabric.device)[0] / GIB + _memory(fabric)
    return (psutil.virtual_memory().available + psutil.Process().memory_info().rss) / GIB
