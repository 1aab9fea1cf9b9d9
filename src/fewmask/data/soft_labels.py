"""Pseudo-labels on disk, beside the slice store whose rows they belong to."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SoftLabels:
    """A file (N, 2, S, S) float16 in [0, 1]: for each row of a store its fused activation map, and its label.

    `rows` are those that may train; what the file holds at other rows is 0.
    """

    path: Path
    rows: tuple[int, ...]

    def at(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Maps and labels (n, 2, S, S) of these rows."""
        # Opened anew for each batch, as the store's own files are: pages of a lasting map would count as memory.
        return np.load(self.path, mmap_mode="r")[rows].astype(np.float32)
