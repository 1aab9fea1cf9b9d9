"""Several processes of one run: the first decides for all of them, and they leave in order."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch.distributed as dist
from lightning_fabric import Fabric

from fewmask.ranks import rank_count


@contextmanager
def leaving() -> Generator[None]:
    """Leave a group of processes in order: without it, gloo aborts at exit in about half of all runs."""
    try:
        yield
        if rank_count() > 1:
            dist.barrier()
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def together(fabric: Fabric, work: Callable[[], bool] | None) -> bool:
    """Let the first process work while the others wait for its answer; if it fails they end too."""
    answer, failed = False, True
    if work is None:
        answer, failed = fabric.broadcast((answer, failed))
        if failed:
            raise SystemExit(1)
        return answer
    try:
        answer, failed = work(), False
    finally:
        if rank_count() > 1:
            fabric.broadcast((answer, failed))
    return answer
