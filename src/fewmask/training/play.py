"""One move of the game: gradients of each turn go to its player alone, are shared between processes, and step."""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn

from fewmask.errors import RunFailed
from fewmask.losses.turn import Turn
from fewmask.methods.base import Method, Move
from fewmask.ranks import rank_count, sum_over_ranks


def play(fabric: Fabric, method: Method, moves: Iterator[Move], progress: float) -> list[Turn]:
    """Play a training step to its end and return the turns that were played.

    Raises RunFailed, naming the turn and the term, when a loss is not finite; no player has moved on it then.
    """
    played: list[Turn] = []
    while True:
        # A fresh context each time: one autocast across an optimiser's step keeps a stale copy of the weights.
        with fabric.autocast():
            move = next(moves, None)
        if move is None:
            return played
        turns = move if isinstance(move, tuple) else (move,)
        require_finite(turns)
        for number, turn in enumerate(turns, start=1):
            backward(fabric, method, turn, keep_graph=number < len(turns))
        for turn in turns:
            if turn.terms:
                method.player(turn.player).step(progress)
        played += turns


def backward(fabric: Fabric, method: Method, turn: Turn, keep_graph: bool) -> None:
    """Give the turn's player the gradient of its loss, averaged over processes."""
    if not turn.terms:
        return
    parameters = method.player(turn.player).parameters
    for parameter in parameters:
        parameter.grad = None
    fabric.backward(turn.loss, inputs=parameters, retain_graph=keep_graph)
    if rank_count() > 1:
        share(parameters)


def share(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes.

    A parameter that a process did not use counts as 0 there; one that no process used keeps no gradient, so that its
    optimiser leaves it alone, momentum included.
    """
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), used.to(gradients[0].dtype)])
    dist.all_reduce(flat)
    *parts, used = flat.split([*(parameter.numel() for parameter in parameters), len(parameters)])
    for parameter, part, users in zip(parameters, parts, used.tolist(), strict=True):
        parameter.grad = (part / rank_count()).view_as(parameter).clone() if users else None


def require_finite(turns: tuple[Turn, ...]) -> None:
    """Stop the run, in every process, at a loss that is NaN or infinite in any of them."""
    faults = torch.stack([(~torch.isfinite(turn.loss.detach())).float() for turn in turns])
    faults = sum_over_ranks(faults)
    if not bool(faults.any()):
        return
    guilty = turns[int(faults.argmax())]
    terms = [name for name, value in guilty.terms.items() if not bool(torch.isfinite(value))]
    term = " and ".join(terms) or "the weighted sum, or a term in another process"
    raise RunFailed(
        f"turn {guilty.player!r}, term {term!r}: the loss is not finite; the last checkpoint is kept. Lower the "
        "rate (--set optimiser.rate=...), or use --precision 32"
    )
