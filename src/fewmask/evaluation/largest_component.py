"""Of each structure the one largest piece: for organs that every patient has once, in one piece."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_components(classes: NDArray[np.uint8], class_count: int) -> NDArray[np.uint8]:
    """Class numbers (H, W) or (X, Y, Z) with only the largest connected piece of each foreground class.

    Pixels that touch by an edge or a corner are of one piece (8 neighbours in a picture, 26 in a volume). What
    is dropped becomes background; of several largest pieces the one that comes first in the array stays. A class that
    does not occur stays absent, and values that are no class are left as they are.
    """
    kept = classes.copy()
    touching = np.ones((3,) * classes.ndim, dtype=np.int8)
    for index, box in enumerate(ndimage.find_objects(classes, class_count - 1), start=1):
        if box is None:
            continue
        inside = classes[box] == index
        pieces = np.zeros(inside.shape, dtype=np.int32)
        ndimage.label(inside, touching, output=pieces)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.size > 1:
            kept[box][inside & (pieces != 1 + int(np.argmax(sizes)))] = 0
    return kept
