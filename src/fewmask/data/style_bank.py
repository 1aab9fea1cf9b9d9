"""The looks that a domain's images have: style codes in groups, from which one is drawn for each copy of a case."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

ITERATIONS = 100


@dataclass(frozen=True)
class StyleBank:
    """Style codes in groups of alike ones, (n, length) each; no group is empty."""

    groups: tuple[NDArray[np.float64], ...]
    seed: int

    def draw(self, case: int, copy: int) -> NDArray[np.float64]:
        """A random member of the copy's group; the same one whenever it is asked for this case and copy.

        Where there are fewer groups than copies, groups come round again.
        """
        group = self.groups[copy % len(self.groups)]
        generator = np.random.default_rng((self.seed, case, copy))
        return group[generator.integers(len(group))]


def style_bank(codes: NDArray[np.floating], count: int, seed: int) -> StyleBank:
    """Codes (N, length) in up to `count` groups by k-means (k-means++ start, Arthur & Vassilvitskii 2007).

    Fewer different codes than `count` make as many groups as there are; a group that k-means leaves empty is dropped.
    """
    values = np.asarray(codes, dtype=np.float64)
    kinds = len(np.unique(values, axis=0))
    # Each dimension counts alike, as it is: the decoder knows the codes on this scale.
    start = np.random.default_rng(seed)
    _, group_of = kmeans2(values, min(count, kinds), iter=ITERATIONS, minit="++", rng=start)
    groups = [values[group_of == number] for number in range(count)]
    return StyleBank(tuple(group for group in groups if len(group)), seed)


def middle(slices: int) -> slice:
    """The middle four sixths of a volume's slices, where there is something to see; all of a picture's one.

    >>> middle(12), middle(1)
    (slice(2, 10, None), slice(0, 1, None))
    """
    margin = slices // 6
    return slice(margin, slices - margin)
