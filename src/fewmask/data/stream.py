"""Batches as a pure function of the step: a run that goes on after a crash sees what it would have seen."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fewmask.data.soft_labels import SoftLabels
from fewmask.data.store import SliceStore


@dataclass(frozen=True)
class Share:
    """A part of every batch: `batch` slices a step from these rows of a store, shuffled anew in each epoch.

    `number` tells the shares of a stage apart, so that two shares of one store are shuffled differently.
    `findings` has one number for each of the rows where the step reads outcomes or tags, `soft` the pseudo-labels
    where it reads those.
    """

    store: SliceStore
    rows: tuple[int, ...]
    batch: int
    labelled: bool
    number: int
    findings: tuple[float, ...] | None = None
    soft: SoftLabels | None = None


@dataclass(frozen=True)
class Slices:
    """What leaves the store: images, a random key for each, and what else the share has.

    That is masks, findings (outcomes or tags, (B,) float), and pseudo-labels (B, 2, S, S).
    """

    images: Tensor
    masks: Tensor | None
    keys: Tensor
    findings: Tensor | None = None
    soft: Tensor | None = None

    def to(self, device: torch.device) -> "Slices":
        """The same slices on a device."""
        masks, findings, soft = (
            None if part is None else part.to(device, non_blocking=True)
            for part in (self.masks, self.findings, self.soft)
        )
        return Slices(self.images.to(device, non_blocking=True), masks, self.keys, findings, soft)


@lru_cache(maxsize=16)
def _shuffled(count: int, seed: int, number: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, number, epoch]).permutation(count)


def key_of(*numbers: int) -> int:
    """A 63-bit number that depends on all of the given ones: a seed for one place of one run.

    >>> key_of(0, 1) != key_of(1, 0)
    True
    """
    # The count goes in too: SeedSequence takes (5, 0) and (5, 0, 0) for the same entropy.
    state = np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def draw(share: Share, seed: int, step: int, rank: int = 0, ranks: int = 1) -> Slices:
    """The slices of one step; each of `ranks` processes takes its own part of the same batch."""
    count = len(share.rows)
    places: list[int] = []
    keys: list[int] = []
    for position in range(step * share.batch + rank, (step + 1) * share.batch, ranks):
        epoch, place = divmod(position, count)
        places.append(int(_shuffled(count, seed, share.number, epoch)[place]))
        keys.append(key_of(seed, share.number, epoch, int(place)))
    chosen = np.array([share.rows[place] for place in places])
    masks = torch.from_numpy(share.store.masks(chosen)) if share.labelled else None
    findings = None if share.findings is None else torch.tensor([share.findings[place] for place in places])
    soft = None if share.soft is None else torch.from_numpy(share.soft.at(chosen))
    return Slices(torch.from_numpy(share.store.images(chosen)), masks, torch.tensor(keys), findings, soft)


class _Steps(Dataset[tuple[Slices, ...]]):
    """A map from a step to the slices of all shares."""

    def __init__(self, shares: Sequence[Share], seed: int, rank: int, ranks: int) -> None:
        self.shares, self.seed, self.rank, self.ranks = tuple(shares), seed, rank, ranks

    def __getitem__(self, step: int) -> tuple[Slices, ...]:
        return tuple(draw(share, self.seed, step, self.rank, self.ranks) for share in self.shares)


def stream(
    shares: Sequence[Share], seed: int, steps: range, *, workers: int = 0, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[Slices, ...]]:
    """The slices of each step, read ahead by `workers` processes; their number changes nothing but the speed."""
    loader: DataLoader[tuple[Slices, ...]] = DataLoader(
        _Steps(shares, seed, rank, ranks),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_is,  # pyright: ignore[reportArgumentType] - torch types it for lists of items only
        worker_init_fn=_leave_signals_to_the_loop,
    )
    return iter(loader)


def _leave_signals_to_the_loop(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the loop must still get its batches to end the step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_is(item: tuple[Slices, ...]) -> tuple[Slices, ...]:
    return item
