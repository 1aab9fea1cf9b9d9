"""Several annotators' masks of one object become one."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]
"""(R, rows, columns): what each of R annotators marked."""

Merge = Literal["majority", "staple"]

OBJECT = 0.5
"""A pixel belongs to the object where the share or the probability is more than this: a tie does not."""

_STEPS, _SETTLED = 20_000, 1e-7
_MOST = 62


class Staple(NamedTuple):
    """`probability` (rows, columns) of the object in [0, 1], and each annotator's `sensitivity` and `specificity`."""

    probability: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def merged(masks: Masks, how: Merge) -> NDArray[np.float64]:
    """How much each pixel is taken for the object, in [0, 1]: it belongs to it above `OBJECT`."""
    return vote_shares(masks) if how == "majority" else staple(masks).probability


def vote_shares(masks: Masks) -> NDArray[np.float64]:
    """The share of annotators who marked each pixel."""
    return masks.sum(axis=0) / len(masks)


def staple(masks: Masks) -> Staple:
    """Simultaneous truth and performance level estimation of one object.

    Warfield et al. 2004 (IEEE TMI 23(7)): expectation maximisation over the hidden truth, without their model of
    neighbours. The prior is the same for all pixels, the mean of all masks. Differs: the first guess is the truth, by
    the share of votes, rather than the annotators' performance, as in ITK's filter. Where nobody marked anything, or
    all marked everything, that is the truth. Raises ValueError for more than 62 annotators.
    """
    if len(masks) > _MOST:
        raise ValueError(f"{len(masks)} annotators, but at most {_MOST} can be told apart")
    # Pixels that are judged alike share one probability, so the sums go over the ways to be judged: as a number, a bit
    # an annotator. Most pixels are marked by nobody, and only the others are sorted.
    code = np.zeros(masks.shape[1:], dtype=np.int64)
    for annotator, mask in enumerate(masks):
        code |= mask.astype(np.int64) << annotator
    codes, place, counts = np.unique(code[code > 0], return_inverse=True, return_counts=True)
    codes, counts = np.append(codes, 0), np.append(counts, (code == 0).sum())
    marked = (codes[:, None] >> np.arange(len(masks))) & 1 == 1
    truth = marked.mean(axis=1)
    prior = float(truth @ counts / counts.sum())
    sensitivity = specificity = np.ones(len(masks))
    if not 0.0 < prior < 1.0:
        return Staple(vote_shares(masks), sensitivity, specificity)
    for _ in range(_STEPS):
        found, clear = truth * counts, (1.0 - truth) * counts
        before = np.concatenate([sensitivity, specificity])
        sensitivity = np.minimum(found @ marked / found.sum(), 1.0)
        specificity = np.minimum(clear @ ~marked / clear.sum(), 1.0)
        if np.abs(np.concatenate([sensitivity, specificity]) - before).max() < _SETTLED:
            break
        yes = prior * np.where(marked, sensitivity, 1.0 - sensitivity).prod(axis=1)
        no = (1.0 - prior) * np.where(marked, 1.0 - specificity, specificity).prod(axis=1)
        # Annotators who are taken for perfect may contradict each other: such pixels stay as they were.
        truth = np.divide(yes, yes + no, out=truth.copy(), where=yes + no > 0.0)
    probability = np.full(code.shape, truth[-1])
    probability[code > 0] = truth[place]
    return Staple(probability, sensitivity, specificity)
