"""Sums over the processes of one run. With a single process each function returns its input."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(summand: Tensor) -> Tensor:
    """The sum of a tensor over all processes, differentiable on each of them.

    Losses that are ratios of sums over a batch (Dice, class-weighted entropies) use it for numerator and
    denominator, so that several processes see the loss of the whole batch.
    """
    if rank_count() == 1:
        return summand
    summed = _Sum.apply(summand)
    assert isinstance(summed, Tensor)
    return summed


class _Sum(torch.autograd.Function):
    """A sum over processes; each process's gradient is the sum of the gradients of all that used it."""

    @staticmethod
    def forward(ctx: Any, summand: Tensor) -> Tensor:
        """The sum, in every process."""
        summed = summand.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The sum of the gradients, in every process."""
        summed = gradients[0].clone()
        dist.all_reduce(summed)
        return summed
