"""All outlines of one image become one map of labels, whoever drew them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.agreement import Pair, pairs_of
from fewmask.data.outlines.merge import OBJECT, Merge, merged
from fewmask.data.outlines.pixels import pixels_of
from fewmask.data.outlines.shape import Outline


class LabelMap(NamedTuple):
    """The class of every pixel (rows, columns), 0 where no outline is, and how the annotators came to it.

    `hollow` is how many outlines enclose no pixel's centre, `contested` how many pixels several classes claimed.
    """

    classes: NDArray[np.uint8]
    annotators: tuple[str | None, ...]
    pairs: tuple[Pair, ...]
    hollow: int
    contested: int


def label_map(
    image: str, drawn: Sequence[Outline], labels: Sequence[str], size: tuple[int, int], how: Merge
) -> LabelMap:
    """The map of an image (rows, columns): label i of `labels` becomes class i + 1.

    An annotator's objects of one label are one mask. The masks of all who drew anything in this image are merged, so
    that who drew nothing of a label says that it is not there. Where merged labels overlap, a pixel is of the one for
    which it has the larger share of votes or probability, of the later one where these are equal. Raises InputFault
    as `pixels_of` does.
    """
    annotators = tuple(dict.fromkeys(outline.annotator for outline in drawn))
    marked = np.zeros((len(labels), len(annotators), *size), dtype=np.bool_)
    hollow = 0
    for outline in drawn:
        pixels = pixels_of(outline, size)
        hollow += not pixels.any()
        marked[labels.index(outline.label), annotators.index(outline.annotator)] |= pixels
    classes, contested = _painted(marked, how)
    pairs = [pairs_of(masks, annotators, image, label) for masks, label in zip(marked, labels, strict=True)]
    return LabelMap(classes, annotators, tuple(pair for some in pairs for pair in some), hollow, contested)


def _painted(marked: NDArray[np.bool_], how: Merge) -> tuple[NDArray[np.uint8], int]:
    """The classes from (labels, annotators, rows, columns), and how many pixels several labels claimed."""
    classes = np.zeros(marked.shape[2:], dtype=np.uint8)
    claims = np.zeros(classes.shape, dtype=np.uint8)
    best = np.zeros(classes.shape)
    for value, masks in enumerate(marked, start=1):
        confidence = merged(masks, how)
        claimed = confidence > OBJECT
        claims += claimed
        won = claimed & (confidence >= best)
        classes[won], best[won] = value, confidence[won]
    return classes, int((claims > 1).sum())
