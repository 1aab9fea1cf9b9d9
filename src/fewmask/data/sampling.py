"""A share of an image's pixels that stands for all of them, wherever in the image they lie."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sampled(array: NDArray[Any], most: int = 100_000) -> NDArray[Any]:
    """At most `most` pixels of a (C, *spatial) array, as (C, n), drawn at random and the same ones every time.

    All channels are read at the same positions; where there are no more than `most`, every pixel is given. A step
    of constant length would do for pictures, but it may divide a volume's depth and so meet one slice alone.
    """
    shape = array.shape[1:]
    count = int(np.prod(shape))
    if count <= most:
        return array.reshape(len(array), count)
    # Not shuffled and then sorted: little memory for large volumes, and memory is read in one direction.
    places = np.sort(np.random.default_rng(0).choice(count, most, replace=False, shuffle=False))
    return array[(slice(None), *np.unravel_index(places, shape))]
