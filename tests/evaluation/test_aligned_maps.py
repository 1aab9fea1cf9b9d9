"""A mask comes to the same place, turn and size wherever and however it lay."""

import numpy as np
import pytest

from fewmask.evaluation.aligned_maps import CANVAS, SPREAD, AlignedSum, aligned, alignment_of

MIDDLE = CANVAS // 2


def ellipse(
    shape: tuple[int, int],
    centre: tuple[float, float],
    axes: tuple[float, float],
    degrees: float,
    pixel: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """An ellipse whose long axis is turned clockwise, as it is seen, from the horizontal; all in the pixel's unit."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    down, across = (rows + 0.5) * pixel[0] - centre[0], (columns + 0.5) * pixel[1] - centre[1]
    turn = np.radians(degrees)
    along = across * np.cos(turn) + down * np.sin(turn)
    beside = down * np.cos(turn) - across * np.sin(turn)
    return (along / axes[0]) ** 2 + (beside / axes[1]) ** 2 < 1


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize(
    ("shape", "centre", "length", "degrees", "pixel"),
    [
        ((100, 140), (50, 70), 30, 0, (1, 1)),
        ((200, 300), (90, 160), 40, 30, (1, 1)),
        ((200, 300), (90, 110), 60, -70, (1, 1)),
        ((100, 100), (40, 55), 20, 90, (1, 1)),
        ((60, 240), (95, 120), 45, 55, (3, 1)),
        ((300, 80), (80, 130), 50, -20, (0.5, 3)),
    ],
)
def test_an_ellipse_always_comes_to_the_same_mask(shape, centre, length, degrees, pixel) -> None:
    mask = ellipse(shape, centre, (length, length / 2), degrees, pixel)
    alignment = alignment_of(mask, pixel)
    assert alignment is not None
    # A solid ellipse has a quarter of its half axis squared as variance.
    assert alignment.spread == pytest.approx(length / 2, rel=0.02)
    wanted = ellipse((CANVAS, CANVAS), (MIDDLE, MIDDLE), (2 * SPREAD, SPREAD), 0)
    assert dice(aligned(mask[None].astype(float), alignment, pixel)[0] > 0.5, wanted) > 0.95


@pytest.mark.parametrize("degrees", [-80, -30, 0, 45, 80])
def test_the_right_end_stays_on_the_right(degrees: float) -> None:
    mask = ellipse((160, 160), (80, 80), (50, 25), degrees)
    turn = np.radians(degrees)
    tip = ellipse((160, 160), (80 + 45 * np.sin(turn), 80 + 45 * np.cos(turn)), (4, 4), 0)
    alignment = alignment_of(mask)
    assert alignment is not None
    drawn = aligned(tip[None].astype(float), alignment)[0]
    row, column = np.unravel_index(np.nanargmax(drawn), drawn.shape)
    assert abs(row - MIDDLE) < 6 and column > MIDDLE + 30


def test_one_pixel_can_be_laid_and_none_cannot() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    assert alignment_of(mask) is None
    mask[2, 3] = True
    alignment = alignment_of(mask)
    assert alignment is not None and (alignment.row, alignment.column) == (2.5, 3.5)
    assert alignment.spread == pytest.approx(np.sqrt(1 / 12))


def test_what_lies_beyond_the_picture_is_in_no_mean() -> None:
    inside = ellipse((200, 200), (100, 100), (30, 15), 0)
    at_the_top = ellipse((200, 200), (15, 100), (30, 15), 0)
    sums = AlignedSum()
    assert sums.mean() is None
    for level, mask in ((0.2, inside), (0.6, at_the_top), (0.6, at_the_top), (1.0, np.zeros_like(inside))):
        sums.add(np.full((200, 200), level), mask, np.full((200, 200), level), (1.0, 1.0))
    mean = sums.mean()
    assert mean is not None and mean.count == 3
    assert mean.heat[MIDDLE, MIDDLE] == pytest.approx((0.2 + 0.6 + 0.6) / 3)
    # One of three reaches there, which is too few to call it a mean.
    assert np.isnan(mean.image[10, MIDDLE])
    for _ in range(2):
        sums.add(np.full((200, 200), 0.2), inside, np.full((200, 200), 0.2), (1.0, 1.0))
    again = sums.mean()
    assert again is not None and again.image[10, MIDDLE] == pytest.approx(0.2)
