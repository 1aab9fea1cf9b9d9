"""Thresholds, components and seeds, against plain loops and masks drawn by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.sparse.csgraph import connected_components

from fewmask.errors import InputFault
from fewmask.pseudo_labels.seeds import (
    THRESHOLDS,
    UNSEPARATED,
    best_of_grid,
    components,
    dice_of,
    largest_component,
    least_variance_threshold,
    seeds_of,
)
from fewmask.shapes import IGNORED

torch.set_num_threads(1)


def drawn(*rows: str) -> torch.Tensor:
    """(1, H, W) bool: what is # is the object."""
    return torch.tensor([[[letter == "#" for letter in row] for row in rows]])


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain_least_variance(image: np.ndarray, map_: np.ndarray) -> float:
    best, answer = np.inf, UNSEPARATED
    for t in THRESHOLDS:
        inside = map_ >= np.float32(t)
        if inside.any() and not inside.all():
            score = 0.5 * (image[inside].var() + image[~inside].var())
            if score < best - 1e-12:
                best, answer = score, t
    return answer


def test_the_grid_is_that_of_the_sheet() -> None:
    assert THRESHOLDS[0] == 0.05
    assert THRESHOLDS[-1] == 0.95
    assert np.diff(THRESHOLDS) == pytest.approx([0.05] * 18)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_least_variance_equals_a_plain_loop(offset: float) -> None:
    maps = noise(0, 12, 16, 16)
    images = (maps > torch.linspace(0.1, 0.9, 12)[:, None, None]) + 0.3 * noise(1, 12, 16, 16) + offset
    expected = [
        plain_least_variance(image.numpy().astype(np.float64), map_.numpy())
        for image, map_ in zip(images, maps, strict=True)
    ]
    assert least_variance_threshold(images, maps).tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) > 4


def test_least_variance_by_hand() -> None:
    # At t = 0.05 to 0.4 the inside is (9, 1, 9) and the outside (1): variances 128/9 and 0. Above, up to 0.8, the
    # two 9s are inside and both variances vanish.
    images = torch.tensor([[[9.0, 1.0, 9.0, 1.0]]])
    maps = torch.tensor([[[0.9, 0.4, 0.8, 0.0]]])
    assert least_variance_threshold(images, maps).item() == pytest.approx(0.45)


def test_what_cannot_be_separated() -> None:
    rising = torch.linspace(0, 1, 16).reshape(1, 4, 4)
    for value in (0.0, 0.5, 1.0):
        constant = torch.full((1, 4, 4), value)
        assert least_variance_threshold(rising, constant).item() == UNSEPARATED
        # A slice of constant intensity: all thresholds are as good, the lowest is taken.
        assert least_variance_threshold(constant + 0.1, rising).item() == pytest.approx(0.05)


def dice_of_grid(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(S, 19): the Dice of plain thresholding."""
    return torch.stack([dice_of(maps >= threshold, masks) for threshold in THRESHOLDS], 1)


def test_best_threshold_is_where_the_mask_is() -> None:
    masks = torch.zeros(3, 8, 8, dtype=torch.int64)
    masks[:2, 2:6, 2:6] = 1
    maps = torch.where(masks == 1, 0.7, 0.41) * torch.tensor([1.0, 1.0, 2.0])[:, None, None]
    # Above 0.41 and up to 0.7 the first two are perfect; the third, empty slice must not push the threshold up.
    assert best_of_grid(dice_of_grid(maps, masks)) == 0.45
    assert best_of_grid(dice_of_grid(maps, masks.bool())) == 0.45


def test_dice_is_the_mean_over_slices_not_pooled() -> None:
    # A large and a small object. At 0.5 the large one is whole (Dice 1) and the small one missed (0): mean 0.5, pooled
    # 128/129. At 0.1 the small one is whole (1) and the large one's map covers twice its area (2/3): mean 5/6, pooled
    # 130/194.
    masks = torch.zeros(2, 8, 16, dtype=torch.int64)
    masks[0, :, :8], masks[1, 0, 0] = 1, 1
    maps = torch.zeros(2, 8, 16)
    maps[0, :, :8], maps[0, :, 8:], maps[1, 0, 0] = 0.9, 0.12, 0.12
    rows = dice_of_grid(maps, masks)
    assert rows[:, 1].tolist() == pytest.approx([2 / 3, 1.0])
    assert rows[:, 9].tolist() == pytest.approx([1.0, 0.0])
    assert best_of_grid(rows) == 0.05


def test_dice_leaves_out_ignored_pixels() -> None:
    masks = torch.tensor([[[1, 1, 0, IGNORED]]])
    guesses = torch.tensor([[[True, True, False, True]]])
    assert dice_of(guesses, masks).tolist() == [1.0]


def test_no_mask_shows_the_object() -> None:
    nothing = dice_of(torch.ones(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.int64))
    assert nothing.shape == (0,)
    with pytest.raises(InputFault, match=r"threshold=0\.5"):
        best_of_grid(torch.zeros(0, len(THRESHOLDS)))


def plain_largest(mask: np.ndarray) -> tuple[int, int]:
    """The number of pieces and the largest one's area, from a graph of touching pixels."""
    places = np.argwhere(mask)
    if not len(places):
        return 0, 0
    touching = np.abs(places[:, None] - places[None]).max(2) == 1
    count, labels = connected_components(touching)
    return count, int(np.bincount(labels).max())


def test_components_equal_a_graph_of_pixels() -> None:
    masks = noise(5, 10, 12, 12) > torch.linspace(0.4, 1.01, 10)[:, None, None]
    pieces = components(masks)
    for index, mask in enumerate(masks.numpy()):
        count, area = plain_largest(mask)
        assert (pieces.count[index], pieces.largest[index].sum()) == (count, area)
        assert pieces.share[index].item() == pytest.approx(area / max(1, mask.sum()))
    assert not (pieces.largest & ~masks).any()
    assert pieces.count[-1] == 0


def test_corners_touch_and_of_equals_the_first_stays() -> None:
    mask = drawn("#...##", ".#..##", "......", "##....")
    assert torch.equal(largest_component(mask), drawn("....##", "....##", "......", "......"))
    assert torch.equal(largest_component(drawn("#..#", ".#.#")), drawn("#...", ".#.."))


def test_seeds_of_a_rectangle() -> None:
    masks = torch.zeros(1, 30, 40, dtype=torch.bool)
    masks[0, 10:15, 20:27] = True
    seeds = seeds_of(masks, 3)
    assert seeds.centroid.tolist() == [[12.0, 23.0]]
    assert seeds.pixel.tolist() == [[12, 23]]
    # Three pixels on each side, the lower right included.
    assert seeds.box.tolist() == [[7, 17, 17, 29]]
    assert seeds.corners.tolist() == [[[7, 17], [7, 29], [17, 29], [17, 17]]]
    assert seeds.foreground.nonzero().tolist() == [[0, 12, 23]]
    assert seeds.background.nonzero().tolist() == [[0, 7, 17], [0, 7, 29], [0, 17, 17], [0, 17, 29]]
    inside = torch.zeros_like(masks)
    inside[0, 7:18, 17:30] = True
    assert torch.equal(seeds.inside_box(), inside)


def test_a_box_ends_at_the_image() -> None:
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0], masks[1, 5, 7] = True, True
    seeds = seeds_of(masks, 5)
    assert seeds.corners[0].tolist() == [[0, 0], [0, 7], [5, 7], [5, 0]]
    assert seeds.box[1].tolist() == [0, 2, 5, 7]
    assert seeds.pixel.tolist() == [[2, 3], [5, 7]]
    assert seeds.background.sum((1, 2)).tolist() == [4, 4]


def test_a_centre_that_is_not_the_object_moves_onto_it() -> None:
    ring = drawn(".....", ".###.", ".#.#.", ".###.", ".....")
    seeds = seeds_of(ring, 1)
    assert seeds.centroid.tolist() == [[2.0, 2.0]]
    assert seeds.pixel.tolist() == [[1, 2]]
    crescent = drawn("####.", "#....", "#....", "####.")
    assert seeds_of(crescent, 0).centroid.tolist() == [[1.5, 1.2]]
    assert seeds_of(crescent, 0).pixel.tolist() == [[1, 0]]


def test_an_empty_mask_has_no_seeds() -> None:
    masks = torch.zeros(2, 5, 5, dtype=torch.bool)
    masks[1, 2, 2] = True
    seeds = seeds_of(masks, 1)
    assert seeds.found.tolist() == [False, True]
    for field in (seeds.centroid, seeds.pixel, seeds.box, seeds.corners):
        assert (field[0] == -1).all()
        assert (field[1] >= 0).all()
    for field in (seeds.foreground, seeds.background, seeds.inside_box()):
        assert not field[0].any()
        assert field[1].any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.3, 0.99), st.integers(0, 4))
def test_seeds_of_any_mask(seed: int, density: float, margin: int) -> None:
    masks = noise(seed, 2, 7, 11) > density
    seeds = seeds_of(masks, margin)
    for index in range(2):
        mask = masks[index].numpy()
        if not mask.any():
            assert not seeds.found[index]
            continue
        places = np.argwhere(mask)
        centroid = places.mean(0)
        assert seeds.centroid[index].numpy() == pytest.approx(centroid)
        row, column = seeds.pixel[index].tolist()
        assert mask[row, column]
        nearest = np.hypot(*(places - centroid).T).min()
        assert np.hypot(row - centroid[0], column - centroid[1]) == pytest.approx(nearest)
        low, high = np.maximum(places.min(0) - margin, 0), np.minimum(places.max(0) + margin, (6, 10))
        assert seeds.box[index].tolist() == [*low, *high]
        # The seed lies in its box, and no pixel of the object lies outside it.
        assert seeds.inside_box()[index][torch.from_numpy(mask)].all()
        assert distance_transform_edt(~seeds.inside_box()[index].numpy())[row, column] == 0


def test_bad_input() -> None:
    for call in (
        lambda: seeds_of(torch.zeros(1, 4, 4, dtype=torch.bool), -1),
        lambda: seeds_of(torch.zeros(4, 4, dtype=torch.bool), 1),
        lambda: least_variance_threshold(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5)),
        lambda: dice_of(torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4)),
    ):
        with pytest.raises(InputFault) as fault:
            call()
        assert "\n" not in str(fault.value)
