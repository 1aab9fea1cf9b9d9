"""A case as a network draws it: once as it is, and once from each perspective."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fewmask.metrics.agreement import (
    ByClass,
    Classes,
    agreement_by_class,
    expected_dice,
    share_by_class,
)
from fewmask.shapes import Images, Logits, Probabilities
from fewmask.training.perspectives import probabilities_seen


class Signs(NamedTuple):
    """What speaks for a good mask without a true one, by foreground class; NaN where none was drawn.

    `agreement`: with the masks from other perspectives. `certainty`: the Dice that the probabilities promise. `share`:
    of the image that the mask takes.
    """

    agreement: ByClass
    certainty: ByClass
    share: ByClass


class _Part(NamedTuple):
    """Some slices of a case."""

    drawings: list[Classes]
    certainty: NDArray[np.float32]
    summed: ByClass
    counted: int


@dataclass
class Drawings:
    """Collects the drawings of one case, a few slices at a time."""

    class_count: int
    parts: list[_Part] = field(default_factory=list[_Part])

    def add(
        self,
        images: Images,
        probabilities: Probabilities,
        counts: NDArray[np.bool_],
        segment: Callable[[Images], Logits],
    ) -> None:
        """Take slices (n, C, S, S) and what `segment` makes of them; `counts` (n, S, S) leaves out what is no image."""
        drawings = [_drawn(probabilities, counts)]
        drawings += [_drawn(seen, counts) for seen in probabilities_seen(images, segment)]
        own = probabilities.double().cpu().numpy()
        summed = (own * counts[:, None]).sum(axis=(0, 2, 3))[1:]
        self.parts.append(_Part(drawings, own.max(axis=1).astype(np.float32), summed, int(counts.sum())))

    @property
    def plain(self) -> Classes:
        """The classes of the case as it is."""
        return np.concatenate([part.drawings[0] for part in self.parts])

    def signs(self, finish: Callable[[Classes], Classes] | None = None) -> Signs:
        """What all slices together say. `finish` is what is done to a case's classes before they are its mask."""
        views = [np.concatenate(view) for view in zip(*(part.drawings for part in self.parts), strict=True)]
        plain, *others = views if finish is None else map(finish, views)
        certainty = np.concatenate([part.certainty for part in self.parts])
        summed = np.sum([part.summed for part in self.parts], axis=0)
        counted = sum(part.counted for part in self.parts)
        return Signs(
            agreement_by_class(plain, others, self.class_count),
            expected_dice(plain, certainty, summed, self.class_count),
            share_by_class(plain, counted, self.class_count),
        )


def _drawn(probabilities: Tensor, counts: NDArray[np.bool_]) -> Classes:
    classes = probabilities.argmax(1).cpu().numpy().astype(np.uint8)
    return np.where(counts, classes, np.uint8(0))
