"""The largest piece of each class, against a flood fill by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.evaluation.largest_component import largest_components


def flooded(classes: np.ndarray, class_count: int) -> np.ndarray:
    """Every piece by walking from voxel to voxel, corners included; the first of the largest stays."""
    kept = np.where(np.isin(classes, range(1, class_count)), 0, classes)
    steps = list(product((-1, 0, 1), repeat=classes.ndim))
    for index in range(1, class_count):
        left = set(map(tuple, np.argwhere(classes == index)))
        pieces: list[list[tuple[int, ...]]] = []
        for start in sorted(left):
            if start not in left:
                continue
            left.discard(start)
            piece = [start]
            for place in piece:
                for step in steps:
                    beside = tuple(np.add(place, step))
                    if beside in left:
                        left.discard(beside)
                        piece.append(beside)
            pieces.append(piece)
        for place in max(pieces, key=len, default=[]):
            kept[place] = index
    return kept


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sides=st.lists(st.integers(1, 7), min_size=2, max_size=3),
    share=st.floats(0.0, 0.6),
)
def test_equals_a_flood_fill(seed: int, sides: list[int], share: float) -> None:
    random = np.random.default_rng(seed)
    classes = np.where(random.random(sides) < share, random.choice([1, 2, 3, 255], sides), 0).astype(np.uint8)
    before = classes.copy()
    assert np.array_equal(largest_components(classes, 4), flooded(classes, 4))
    assert np.array_equal(classes, before), "the given array is not changed"


def test_pieces_that_touch_by_a_corner_are_one() -> None:
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0, 0, 0] = classes[1, 1, 1] = 1
    classes[3, 3, 0] = 1
    kept = largest_components(classes, 2)
    assert np.argwhere(kept).tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_nothing_stays_nothing(shape: tuple[int, ...]) -> None:
    assert not largest_components(np.zeros(shape, np.uint8), 5).any()
