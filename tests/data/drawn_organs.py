"""What both phantoms of organs are asked: how their greys, places and surroundings are measured."""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure, label

from fewmask.data.phantoms.bodies import Anatomy, Volume, scan

SIX = generate_binary_structure(3, 1)


@cache
def volume(anatomy: Anatomy, scanner: int, case: int, size: int = 64, seed: int = 0) -> Volume:
    """One case, drawn once."""
    return scan(anatomy, anatomy.scanners[scanner], case, seed, size)


def places_mm(drawn: Volume, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 3): where the chosen voxels lie to the right, to the front and to the head, by the file's own affine."""
    return np.argwhere(chosen) @ drawn.affine[:3, :3].T + drawn.affine[:3, 3]


def share_of_largest_piece(chosen: NDArray[np.bool_]) -> float:
    """How much of a structure hangs together."""
    pieces, _ = label(chosen, SIX)
    return float(np.bincount(pieces.ravel())[1:].max() / chosen.sum())


def neighbours(mask: NDArray[np.uint8], value: int, classes: int) -> NDArray[np.float64]:
    """The classes' shares of the voxels that touch a structure from outside."""
    chosen = mask == value
    around = mask[binary_dilation(chosen, SIX) & ~chosen]
    return np.bincount(around, minlength=classes) / len(around)


def best_dice(image: NDArray[np.int16], chosen: NDArray[np.bool_]) -> tuple[float, float]:
    """The best Dice of all one-sided thresholds, and of all intervals of grey (sorted greys, all pairs of ends)."""
    low, high = np.percentile(image, (0.1, 99.9))
    edges = np.linspace(low, high, 129)
    every = np.concatenate([[0], np.histogram(np.clip(image, low, high), edges)[0].cumsum()])
    hit = np.concatenate([[0], np.histogram(np.clip(image[chosen], low, high), edges)[0].cumsum()])
    dice = 2 * (hit[None] - hit[:, None]) / np.maximum(every[None] - every[:, None] + chosen.sum(), 1)
    return float(max(dice[0].max(), dice[:, -1].max())), float(dice.max())


def rank_order(
    anatomy: Anatomy, scanner: int, cases: Sequence[int], groups: Sequence[Sequence[int]]
) -> list[int]:
    """The groups of classes from dark to bright, by the mean over cases of their mean grey."""
    drawn = [volume(anatomy, scanner, case) for case in cases]
    greys = [np.mean([one.image[np.isin(one.mask, group)].mean() for one in drawn]) for group in groups]
    return [int(index) for index in np.argsort(greys)]


def checksum(anatomy: Anatomy, scanner: int) -> str:
    """The first digits of the SHA-256 of three cases' greys and masks at 32 voxels a side."""
    drawn = [volume(anatomy, scanner, case, 32) for case in range(3)]
    summary = hashlib.sha256()
    for array in [*(one.image.astype("<i2") for one in drawn), *(one.mask for one in drawn)]:
        summary.update(np.ascontiguousarray(array).tobytes())
    return summary.hexdigest()[:16]
