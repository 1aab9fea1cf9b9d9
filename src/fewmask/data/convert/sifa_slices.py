"""SIFA's tfrecords: each record holds a slice with its two neighbours, and the labels of all three."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.data.convert.tfrecord import Example, read_examples
from fewmask.errors import InputFault

MOST = 5
"""The highest label that occurs: four structures and the undocumented 5."""


@dataclass(frozen=True)
class Slice:
    """The middle slice of one record: (H, W) image and (H, W) labels 0 to 5; `offset` is the record's first byte."""

    offset: int
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]


def read_slices(path: Path) -> Iterator[Slice]:
    """The slices of a file, in order; `mask_vol`, `bias_dim0` and other further features do not matter.

    Raises InputFault, naming file and byte, for what is damaged, lacks a feature or holds other labels.
    """
    for example in read_examples(path):
        where = f"{path}: at byte {example.offset}"
        image = _middle(example, "d", "data_vol", where)
        labels = _middle(example, "l", "label_vol", where)
        if image.shape != labels.shape:
            raise InputFault(f"{where}: image and label differ in size; give SIFA's own tfrecords")
        if not np.isfinite(image).all():
            raise InputFault(f"{where}: the image holds NaN or infinity; copy the file again")
        yield Slice(example.offset, image, whole_labels(labels, where))


def whole_labels(labels: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    """Labels as whole numbers. Raises InputFault for fractions and for values that SIFA's files do not hold."""
    values = np.unique(labels)
    strange = [value for value in values if value not in range(MOST + 1)]
    if strange:
        told = ", ".join(f"{value:g}" for value in strange[:5])
        raise InputFault(
            f"{where}: holds the label {told}, but SIFA's are 0 to {MOST}; give the original file"
        )
    return labels.astype(np.uint8)


def _middle(example: Example, letter: str, name: str, where: str) -> NDArray[np.float32]:
    sizes: list[int] = []
    for axis in range(3):
        size = example.numbers.get(f"{letter}size_dim{axis}")
        if size is None or size < 1:
            raise InputFault(
                f"{where}: the feature {letter}size_dim{axis} is missing or no size; give SIFA's own tfrecords"
            )
        sizes.append(size)
    content = example.texts.get(name)
    wanted = 4 * sizes[0] * sizes[1] * sizes[2]
    if content is None or len(content) != wanted:
        found = "is missing" if content is None else f"has {len(content)} bytes instead of {wanted}"
        raise InputFault(f"{where}: the feature {name} {found}; give SIFA's own tfrecords")
    volume = np.frombuffer(content, dtype="<f4").reshape(sizes).astype(np.float32)
    return np.ascontiguousarray(volume[..., sizes[2] // 2])
