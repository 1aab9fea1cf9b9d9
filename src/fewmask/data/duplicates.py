"""The same picture twice: exact copies by their pixels, near copies by their look at thumbnail size."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from fewmask.data.case import Case
from fewmask.data.raster import read_case

MOST_BITS = 10
"""Difference hashes of near-duplicates differ in at most so many of their 64 bits."""

LEAST_LIKENESS = 0.97
"""Thumbnails of near-duplicates correlate at least so well."""

LEAST_DETAIL = 0.90
"""Thumbnails less their own blur correlate at least so well.

Why three rules: chest X-rays of different patients often have near hashes (JSRT: 10,904 of 30,381 pairs) and
correlate up to 0.967 and, in detail, up to 0.899; none of them passes. Of BUSI's breast ultrasounds, which
are known to repeat views, some 200 pairs stand clear of the rest and 154 pass.
"""

SIDE = 32

Grey = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of an image in order to know it again.

    `coarse` and `detail` are SIDE*SIDE vectors of mean 0 and length 1; all zero for a flat image, so that it
    resembles nothing. They are kept in half precision (4 KiB a case), which moves a correlation by about 1e-5.
    """

    content: str
    perceptual: int
    coarse: NDArray[np.float16]
    detail: NDArray[np.float16]


def array_hash(array: NDArray[np.generic]) -> str:
    """A hash of a (C, *spatial) array. Its number type does not count, nor whether grey is saved as RGB."""
    if all(np.array_equal(array[0], other) for other in array[1:]):
        array = array[:1]
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    for channel in array:
        # Adding 0 makes -0.0 and 0.0 one.
        digest.update((channel.astype("<f4") + np.float32(0)).tobytes())
    return digest.hexdigest()


def perceptual_hash(image: NDArray[np.generic]) -> int:
    """A 64-bit difference hash of an (H, W) image: is each of 9x8 blocks brighter than its left neighbour?

    Small changes of size, brightness and contrast keep most bits. A flat image has hash 0.
    """
    blocks = resized(image, 9, 8)
    bits = (blocks[:, 1:] > blocks[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def middle_grey(array: NDArray[np.generic]) -> Grey:
    """(H, W): the channels' mean of a (C, H, W) picture, or of the middle slice of a (C, X, Y, Z) volume."""
    picture = array if array.ndim == 3 else array[..., array.shape[-1] // 2]
    return np.nan_to_num(picture.astype(np.float32), posinf=0.0, neginf=0.0).mean(axis=0, dtype=np.float32)


def resized(image: NDArray[np.generic], width: int, height: int) -> Grey:
    """An (H, W) image as (height, width) block means, whatever its aspect."""
    grey = np.ascontiguousarray(image, dtype=np.float32)
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX), dtype=np.float32)


def fingerprint(array: NDArray[np.generic]) -> Fingerprint:
    """The fingerprint of a (C, *spatial) array; of a volume's near likeness only the middle slice counts."""
    grey = middle_grey(array)
    thumbnail = resized(grey, SIDE, SIDE)
    blurred = np.asarray(gaussian_filter(thumbnail, 2.0), dtype=np.float32)
    vectors = (_unit(image).astype(np.float16) for image in (thumbnail, thumbnail - blurred))
    return Fingerprint(array_hash(array), perceptual_hash(grey), *vectors)


def near_duplicates(fingerprints: Mapping[str, Fingerprint], most_bits: int = MOST_BITS) -> Mapping[str, str]:
    """Each case's group of copies, exact and near, named after the first of its members; most are alone."""
    parents = {name: name for name in fingerprints}
    for one, other in near_pairs(fingerprints, most_bits):
        first, second = sorted((_root(parents, one), _root(parents, other)))
        parents[second] = first
    return {name: _root(parents, name) for name in fingerprints}


def group_near_duplicates(cases: Iterable[Case], seen: Callable[[], None] | None = None) -> Mapping[str, str]:
    """Read every case and give its near-duplicate group; `seen` is called after each, for a progress bar."""
    fingerprints: dict[str, Fingerprint] = {}
    for case in cases:
        fingerprints[case.name] = fingerprint(read_case(case).array)
        if seen is not None:
            seen()
    return near_duplicates(fingerprints)


def exact_pairs(fingerprints: Mapping[str, Fingerprint]) -> tuple[tuple[str, str], ...]:
    """Each copy beside the first case, by name, that has the same pixels; flat images do not count."""
    first: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for name in sorted(name for name, mark in fingerprints.items() if mark.coarse.any()):
        known = first.setdefault(fingerprints[name].content, name)
        if known != name:
            pairs.append((known, name))
    return tuple(pairs)


def near_pairs(
    fingerprints: Mapping[str, Fingerprint], most_bits: int = MOST_BITS, block: int = 256
) -> tuple[tuple[str, str], ...]:
    """All pairs of copies, near and exact; flat images resemble nothing and are in none.

    Compares blocks of cases with one another, so that memory beyond the fingerprints does not grow.
    """
    names = sorted(fingerprints)
    blocks = [names[start : start + block] for start in range(0, len(names), block)]
    pairs: list[tuple[str, str]] = []
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            pairs += _near_within(fingerprints, rows, columns, most_bits)
    return tuple(pairs)


def _near_within(
    fingerprints: Mapping[str, Fingerprint], rows: list[str], columns: list[str], most_bits: int
) -> list[tuple[str, str]]:
    """The pairs of copies between two lists of names; a name is not paired with itself, nor a pair named twice."""
    near = (
        np.bitwise_count(_hashes(fingerprints, rows)[:, None] ^ _hashes(fingerprints, columns)) <= most_bits
    )
    near &= _coarse(fingerprints, rows) @ _coarse(fingerprints, columns).T >= LEAST_LIKENESS
    found = [(rows[i], columns[j]) for i, j in np.argwhere(near) if rows[i] < columns[j]]
    return [
        pair for pair in found if _likeness_of_detail(*(fingerprints[name] for name in pair)) >= LEAST_DETAIL
    ]


def _hashes(fingerprints: Mapping[str, Fingerprint], names: list[str]) -> NDArray[np.uint64]:
    return np.array([fingerprints[name].perceptual for name in names], dtype=np.uint64)


def _coarse(fingerprints: Mapping[str, Fingerprint], names: list[str]) -> Grey:
    return np.stack([fingerprints[name].coarse for name in names]).astype(np.float32)


def _likeness_of_detail(one: Fingerprint, other: Fingerprint) -> float:
    return float(one.detail.astype(np.float32) @ other.detail.astype(np.float32))


def _root(parents: dict[str, str], name: str) -> str:
    while parents[name] != name:
        parents[name] = parents[parents[name]]
        name = parents[name]
    return name


def _unit(image: Grey) -> Grey:
    """The image less its mean, at length 1, as a vector; zero where nothing but rounding is left."""
    vector = (image - image.mean()).ravel()
    length = float(np.linalg.norm(vector))
    scale = max(float(np.abs(image).max()), 1e-30)
    return vector / length if length > 1e-5 * scale * SIDE else np.zeros_like(vector)
