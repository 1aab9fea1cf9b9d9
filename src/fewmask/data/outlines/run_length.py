"""COCO's runs of pixels, as numbers or as a string of printable characters."""

from collections.abc import Sequence

import numpy as np

from fewmask.data.outlines.shape import Raster
from fewmask.errors import InputFault

_FIRST = 48
"""The character of the number 0."""
_BITS, _MORE, _NEGATIVE = 5, 0x20, 0x10
"""A character has five bits of a number, the lowest first, and says whether more follow; the last holds the sign."""
_LONGEST = 12


def raster(size: tuple[int, int], counts: Sequence[int] | str, where: str) -> Raster:
    """A mask (rows, columns) from its runs. Raises InputFault where they are damaged or do not fill the image."""
    known = _unpacked(counts) if isinstance(counts, str) else counts
    if known is None:
        raise InputFault(f"{where}: its runs are no COCO string; export the file anew")
    if min(size) < 1 or min(known, default=0) < 0 or sum(known) != size[0] * size[1]:
        raise InputFault(
            f"{where}: its runs cover {sum(known)} pixels, not the {size[0] * size[1]} of {size[1]} x {size[0]}; "
            "export the file anew"
        )
    return Raster(size, np.array(known, dtype=np.int64))


def _unpacked(text: str) -> list[int] | None:
    """The runs that a string stands for, from the fourth on stored as the difference to the last but one.

    None for a string that is damaged. The format is that of COCO's maskApi.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64) - _FIRST
    if ((codes < 0) | (codes >= 64)).any() or (len(codes) and codes[-1] & _MORE):
        return None
    ends = np.flatnonzero(codes & _MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    if (ends - starts >= _LONGEST).any():
        return None
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), starts) if len(codes) else codes
    negative = codes[ends] & _NEGATIVE > 0
    numbers = numbers - np.where(negative, np.int64(1) << (_BITS * (ends - starts + 1)), 0)
    runs = numbers.copy()
    for parity in (1, 2):
        runs[parity::2] = numbers[parity::2].cumsum()
    return runs.tolist()
