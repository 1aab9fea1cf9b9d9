"""An array on disk that is written a part at a time, so that it never lies in memory as a whole."""

from pathlib import Path

import numpy as np


class GrowingArray:
    """A .npy file that grows by whole rows; its header is written when the number of rows is known."""

    def __init__(self, path: Path, dtype: type, row_shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row_shape = path, np.dtype(dtype), row_shape
        self.rows = 0

    def __enter__(self) -> "GrowingArray":
        self.file = self.path.open("wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> None:
        """Add rows of the array's own type and shape."""
        self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.rows += len(rows)

    def __exit__(self, *reason: object) -> None:
        self.file.seek(0)
        self._write_header()
        self.file.close()

    def _write_header(self) -> None:
        # A header of version 1 is padded to 64 bytes; with room for 20 digits its length never changes.
        text = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {(self.rows, *self.row_shape)}, }}"
        length = 128 + 64
        padded = text.ljust(length - 11) + "\n"
        self.file.write(b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little") + padded.encode())
