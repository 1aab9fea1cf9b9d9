"""Geodesic distances compiled by numba, for CPUs: the same costs and the same results as the sweeps in torch.

Exact distances are found nearest first, with a queue of buckets; a fixed number of rounds is swept. Costs and
distances are whole numbers held as float64, see `fewmask.pseudo_labels.geodesic`, whose sweeps these are.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Places = NDArray[np.int32]

BUCKETS_PER_STEP = 8
"""How many buckets a step of the mean cost crosses: enough that hardly any pixel is looked at twice."""

MOST_BUCKETS = 2**16


class _Ground(NamedTuple):
    """A framed volume as flat arrays, so that a step to a neighbour is one offset, wherever the pixel lies.

    The frame's distance is -inf: no path enters it. `offsets`, `factors` and `tolls` are one a neighbour.
    """

    image: Floats
    distances: Floats
    shape: tuple[int, int, int]
    offsets: Indices
    factors: Floats
    tolls: Floats


def nearest_first(image: Floats, start: Floats, factors: Floats, tolls: Floats) -> Floats:
    """Exact distances from `start`, all (D, H, W); `factors` and `tolls` are (2, 2, 2), see `Terrain`.

    Pixels wait in buckets by their distance. Within a bucket first come, first served, and a pixel whose distance
    falls later is looked at again: the width of the buckets moves the time, never the result.
    """
    ground = _framed(image, start, factors, tolls)
    dearest = float(np.ptp(image) * factors.max() + tolls.max())
    usual = (
        sum(float(np.abs(np.diff(image, axis=axis)).mean()) for axis in (1, 2) if image.shape[axis] > 1) / 2
    )
    usual = usual * factors.max() + tolls.max()
    width = max(usual / BUCKETS_PER_STEP, 2.0 * dearest / MOST_BUCKETS, 1.0)
    buckets = 1 << (int(dearest / width) + 2).bit_length()
    seeds = np.flatnonzero(ground.distances == 0.0)
    _spread(
        ground.image, ground.distances, ground.offsets, ground.factors, ground.tolls, seeds, width, buckets
    )
    return _unframed(ground)


def swept(image: Floats, start: Floats, factors: Floats, tolls: Floats, rounds: int) -> Floats:
    """The distances after `rounds` rounds of sweeps, or fewer if nothing changes any more; arrays as above."""
    ground = _framed(image, start, factors, tolls)
    strides = (ground.shape[1] * ground.shape[2], ground.shape[2], 1)
    orders = ((0, 1, 2), (1, 0, 2), (2, 0, 1))[0 if image.shape[0] > 1 else 1 :]
    first = int(np.flatnonzero(ground.distances > -np.inf)[0])
    for _ in range(rounds):
        before = ground.distances.copy()
        for order in orders:
            sides = np.array([image.shape[axis] for axis in order])
            jumps = np.array([strides[axis] for axis in order])
            _there_and_back(
                ground.image,
                ground.distances,
                first,
                sides,
                jumps,
                np.ascontiguousarray(factors.transpose(order)),
                np.ascontiguousarray(tolls.transpose(order)),
            )
        if np.array_equal(before, ground.distances):
            break
    return _unframed(ground)


def _frame(depth: int) -> tuple[tuple[int, int], ...]:
    """A frame of one pixel; a lone slice needs none above and below."""
    return ((1, 1) if depth > 1 else (0, 0), (1, 1), (1, 1))


def _framed(image: Floats, start: Floats, factors: Floats, tolls: Floats) -> _Ground:
    frame = _frame(len(image))
    image = np.pad(image, frame)
    deep = (-1, 0, 1) if frame[0][0] else (0,)
    moves = [move for move in product(deep, (-1, 0, 1), (-1, 0, 1)) if any(move)]
    strides = (image.shape[1] * image.shape[2], image.shape[2], 1)
    return _Ground(
        image.ravel(),
        np.pad(start, frame, constant_values=-np.inf).ravel(),
        (image.shape[0], image.shape[1], image.shape[2]),
        np.array([sum(m * stride for m, stride in zip(move, strides, strict=True)) for move in moves]),
        np.array([factors[tuple(np.abs(move))] for move in moves]),
        np.array([tolls[tuple(np.abs(move))] for move in moves]),
    )


def _unframed(ground: _Ground) -> Floats:
    depth = ground.shape[0]
    whole = ground.distances.reshape(ground.shape)
    return np.ascontiguousarray(whole[slice(1, -1) if depth > 1 else slice(None), 1:-1, 1:-1])


@njit
def _spread(
    image: Floats,
    distances: Floats,
    offsets: Indices,
    factors: Floats,
    tolls: Floats,
    seeds: Indices,
    width: float,
    buckets: int,
) -> None:
    """Lower `distances` in place, from the seeds on.

    Each bucket is a ring of pixels, closed by an entry of its own behind all pixels: `after` and `before` are each
    entry's neighbours on its ring. The buckets are a ring too, as no step reaches further than once round it.
    """
    after = np.arange(image.size + buckets).astype(np.int32)
    before = after.copy()
    places = np.full(image.size, -1, np.int32)
    for seed in seeds:
        _queue(seed, 0, image.size, after, before, places)
    waiting, bucket = len(seeds), 0
    while waiting:
        here = after[image.size + bucket]
        if here >= image.size:
            bucket = (bucket + 1) & (buckets - 1)
            continue
        after[before[here]], before[after[here]] = after[here], before[here]
        places[here] = -1
        waiting -= 1
        for n in range(len(offsets)):
            there = here + offsets[n]
            distance = distances[here] + np.rint(abs(image[there] - image[here]) * factors[n]) + tolls[n]
            if distance < distances[there]:
                distances[there] = distance
                place = int(distance / width) & (buckets - 1)
                waiting += _queue(there, place, image.size, after, before, places)


@njit
def _queue(pixel: int, place: int, pixels: int, after: Places, before: Places, places: Places) -> int:
    """Let a pixel wait at the end of bucket `place`, wherever it waited; 1 if it did not wait before, else 0."""
    if places[pixel] == place:
        return 0
    new = 1
    if places[pixel] >= 0:
        after[before[pixel]], before[after[pixel]] = after[pixel], before[pixel]
        new = 0
    last = before[pixels + place]
    after[last], before[pixel], after[pixel], before[pixels + place] = pixel, last, pixels + place, pixel
    places[pixel] = place
    return new


@njit
def _there_and_back(
    image: Floats,
    distances: Floats,
    first: int,
    sides: Indices,
    jumps: Indices,
    factors: Floats,
    tolls: Floats,
) -> None:
    """One pass over the planes there and one back, in place; axes are in the order plane, row, line."""
    planes = sides[0]
    _carry_along(image, distances, first, sides, jumps, factors[0, 0, 1], tolls[0, 0, 1])
    for turn in range(2 * (planes - 1)):
        there = turn < planes - 1
        plane = turn + 1 if there else 2 * planes - 3 - turn
        jump = jumps[0] if there else -jumps[0]
        start = first + plane * jumps[0]
        for row in range(sides[1]):
            for pixel in range(sides[2]):
                _take_over(
                    image, distances, start + row * jumps[1] + pixel * jumps[2], -jump, jumps, factors, tolls
                )
        _carry_along(image, distances, start, sides, jumps, factors[0, 0, 1], tolls[0, 0, 1])


@njit
def _take_over(
    image: Floats, distances: Floats, here: int, jump: int, jumps: Indices, factors: Floats, tolls: Floats
) -> None:
    """Lower one pixel's distance by the best of its neighbours on the plane at `jump`; -inf marks the frame."""
    for row in range(-1, 2):
        for pixel in range(-1, 2):
            there = here + jump + row * jumps[1] + pixel * jumps[2]
            if 0 <= there < image.size and distances[there] >= 0.0:
                change = abs(image[here] - image[there]) * factors[1, abs(row), abs(pixel)]
                distance = distances[there] + np.rint(change) + tolls[1, abs(row), abs(pixel)]
                distances[here] = min(distances[here], distance)


@njit
def _carry_along(
    image: Floats, distances: Floats, start: int, sides: Indices, jumps: Indices, factor: float, toll: float
) -> None:
    """Lower a plane's distances along its lines, both ways."""
    for row in range(sides[1]):
        begin = start + row * jumps[1]
        for way in range(2):
            jump = jumps[2] if way == 0 else -jumps[2]
            here = begin if way == 0 else begin + (sides[2] - 1) * jumps[2]
            for _ in range(sides[2] - 1):
                change = np.rint(abs(image[here] - image[here + jump]) * factor)
                distances[here + jump] = min(distances[here + jump], distances[here] + change + toll)
                here += jump
