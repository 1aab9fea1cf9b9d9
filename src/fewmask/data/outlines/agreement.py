"""How far annotators agree on one object, two by two."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.merge import Masks


@dataclass(frozen=True)
class Pair:
    """How far two annotators agree on one object in one image; None where that cannot be said.

    `dice` is None where neither of the two marked it. `kappa` is Cohen's, over the pixels of the smallest upright box
    that holds what any annotator marked there: more of the background would only flatter. It is None where both
    marked all of the box, or neither anything.
    """

    image: str
    label: str
    first: str | None
    other: str | None
    dice: float | None
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """Means over images of the mean over each image's pairs, with the numbers of both; None where there are none."""

    label: str
    images: int
    pairs: int
    dice: float | None
    kappa: float | None


def pairs_of(masks: Masks, annotators: Sequence[str | None], image: str, label: str) -> list[Pair]:
    """Each two annotators of one object in one image. Empty where nobody marked anything, and for one annotator."""
    marked: NDArray[np.bool_] = np.any(masks, axis=0)
    if not marked.any():
        return []
    rows, columns = (np.flatnonzero(np.any(marked, axis=axis)) for axis in (1, 0))
    boxed = masks[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [
        Pair(
            image,
            label,
            annotators[first],
            annotators[other],
            _dice(boxed[first], boxed[other]),
            cohens_kappa(boxed[first], boxed[other]),
        )
        for first, other in combinations(range(len(annotators)), 2)
    ]


def cohens_kappa(first: NDArray[np.bool_], other: NDArray[np.bool_]) -> float | None:
    """Agreement beyond chance, 1 being perfect. Cohen 1960; None where both marked everything, or nothing.

    >>> cohens_kappa(np.array([True, True, False, False]), np.array([True, False, False, False]))
    0.5
    """
    alike = float((first == other).mean())
    shares = float(first.mean()), float(other.mean())
    chance = shares[0] * shares[1] + (1.0 - shares[0]) * (1.0 - shares[1])
    return None if chance == 1.0 else (alike - chance) / (1.0 - chance)


def agreement_of(label: str, pairs: Sequence[Pair]) -> Agreement:
    """The means over the pairs of one label."""
    own = [pair for pair in pairs if pair.label == label and pair.dice is not None]
    images: dict[str, list[Pair]] = defaultdict(list)
    for pair in own:
        images[pair.image].append(pair)
    dice = _mean([_mean([pair.dice for pair in several]) for several in images.values()])
    kappa = _mean([_mean([pair.kappa for pair in several]) for several in images.values()])
    return Agreement(label, len(images), len(own), dice, kappa)


def _dice(first: NDArray[np.bool_], other: NDArray[np.bool_]) -> float | None:
    both = int(first.sum()) + int(other.sum())
    return 2.0 * int((first & other).sum()) / both if both else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
