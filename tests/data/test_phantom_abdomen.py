"""The abdominal phantom: four organs on their sides of the body, that no grey value tells, frozen."""

import numpy as np
import pytest
import torch
from tests.data.drawn_organs import (
    best_dice,
    checksum,
    neighbours,
    places_mm,
    rank_order,
    share_of_largest_piece,
    volume,
)

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.phantoms.abdomen import ABDOMEN, CASES, CLASSES, LEFT_KIDNEY, LIVER, RIGHT_KIDNEY, SPLEEN
from fewmask.data.preparation import thick_axis

torch.set_num_threads(1)

BOTH = pytest.mark.parametrize("scanner", [0, 1], ids=["MR", "CT"])
SEEN = range(0, CASES, 2)
ORGANS = [[LIVER], [RIGHT_KIDNEY, LEFT_KIDNEY], [SPLEEN]]


@BOTH
def test_all_four_organs_are_in_every_case_and_in_one_piece(scanner):
    for case in SEEN:
        mask = volume(ABDOMEN, scanner, case).mask
        count = np.bincount(mask.ravel(), minlength=5)
        assert len(count) == 5
        assert (count[1:] > 250).all(), case
        assert count[LIVER] > 3 * count[RIGHT_KIDNEY]
        for value in range(1, 5):
            assert share_of_largest_piece(mask == value) > 0.9, (case, value)


@BOTH
def test_right_is_right_and_left_is_left_in_scanner_coordinates(scanner):
    for case in SEEN:
        drawn = volume(ABDOMEN, scanner, case)
        body = places_mm(drawn, drawn.image > (60 if scanner == 0 else -400)).mean(axis=0)
        liver, right, left, spleen = (
            places_mm(drawn, drawn.mask == value).mean(axis=0) - body for value in range(1, 5)
        )
        assert liver[0] > 25
        assert right[0] > 40
        assert left[0] < -40
        assert spleen[0] < -60
        assert right[1] < 0 > left[1], "kidneys lie behind"
        assert liver[1] > right[1] + 10, "the liver in front of them"
        assert right[2] < left[2] + 5, "the right kidney hangs below the liver"
        assert spleen[2] > left[2] + 20 < liver[2] + 40, "the spleen lies above the left kidney"


@BOTH
def test_organs_keep_to_the_belly(scanner):
    """Almost nothing but fat touches a kidney, and no organ is cut off by the picture or lies in air."""
    air = 40 if scanner == 0 else -700
    for case in SEEN:
        drawn = volume(ABDOMEN, scanner, case)
        for value in (RIGHT_KIDNEY, LEFT_KIDNEY):
            assert neighbours(drawn.mask, value, 5)[1:].sum() < 0.06, "there is fat around kidneys"
        border = np.ones(drawn.mask.shape[:2], dtype=bool)
        border[3:-3, 3:-3] = False
        assert not drawn.mask[border].any()
        assert np.mean(drawn.image[drawn.mask > 0] < air) < 0.01


def test_the_organs_change_their_order_of_grey_between_the_scanners():
    assert rank_order(ABDOMEN, 0, SEEN, ORGANS) == [0, 1, 2]
    assert rank_order(ABDOMEN, 1, SEEN, ORGANS) == [0, 2, 1]


def test_the_kidneys_have_one_grey():
    for scanner in (0, 1):
        right, left = (
            np.mean(
                [
                    drawn.image[drawn.mask == value].mean()
                    for drawn in (volume(ABDOMEN, scanner, case) for case in SEEN)
                ]
            )
            for value in (RIGHT_KIDNEY, LEFT_KIDNEY)
        )
        assert right == pytest.approx(left, rel=0.06)


@BOTH
def test_no_grey_value_tells_an_organ(scanner):
    """The best of all thresholds, and of all intervals, that a rater with the mask at hand could choose."""
    dice = np.array(
        [
            [
                best_dice(drawn.image, drawn.mask == value)
                for drawn in (volume(ABDOMEN, scanner, case) for case in SEEN)
            ]
            for value in range(1, 5)
        ]
    )
    assert dice[..., 0].max() < 0.6
    assert dice[..., 1].mean(axis=1).max() < 0.62


def test_slices_are_thick_in_mr_and_thinner_in_ct_and_both_are_cut_axially():
    mr, ct = volume(ABDOMEN, 0, 0), volume(ABDOMEN, 1, 0)
    assert (mr.image.shape, ct.image.shape) == ((64, 64, 24), (64, 64, 32))
    spacings = [np.linalg.norm(one.affine[:3, :3], axis=0) for one in (mr, ct)]
    assert spacings[0] == pytest.approx((5.1, 5.1, 7.0))
    assert spacings[1] == pytest.approx((4.9, 4.9, 5.0))
    assert [thick_axis(list(spacing), 2) for spacing in spacings] == [2, 2]
    assert (np.sign(np.diag(mr.affine)[:3]) == [-1, -1, 1]).all()
    assert (np.sign(np.diag(ct.affine)[:3]) == [-1, 1, 1]).all()


def test_the_folders_are_cohorts_with_patients_apart(tmp_path):
    for folder, channel in zip(write_phantom("abdomen", tmp_path, size=32), ("MR", "CT"), strict=True):
        cohort = read_cohort(folder)
        assert cohort.classes == CLASSES == ("background", "liver", "right_kidney", "left_kidney", "spleen")
        assert cohort.label_values == (0, 1, 2, 3, 4)
        assert cohort.channels == (channel,)
        assert cohort.patients_known
        train, test = (
            {(case.patient, case.site) for case in cohort.part(part)} for part in ("train", "test")
        )
        assert (len(train), len(test), len(train & test)) == (16, 4, 0)
        assert all(case.mask is not None and case.patient != case.name for case in cohort.cases)


@pytest.mark.parametrize(
    ("scanner", "expected"), [(0, "1a9450035541e2d3"), (1, "d3fc8e124b76be01")], ids=["MR", "CT"]
)
def test_the_phantom_is_frozen(scanner, expected):
    """A changed checksum is a changed phantom: results on the old one no longer hold (see test_phantom.py)."""
    assert checksum(ABDOMEN, scanner) == expected
