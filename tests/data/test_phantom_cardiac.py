"""The cardiac phantom: four structures where anatomy has them, that no grey value tells, frozen."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes
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
from fewmask.data.phantoms.cardiac import AA, CARDIAC, CASES, CLASSES, LAC, LVC, MYO

torch.set_num_threads(1)

BOTH = pytest.mark.parametrize("scanner", [0, 1], ids=["MR", "CT"])
SEEN = range(0, CASES, 2)
STRUCTURES = [[MYO], [LAC], [LVC], [AA]]


@BOTH
def test_all_four_structures_are_in_every_case_and_in_one_piece(scanner):
    for case in SEEN:
        mask = volume(CARDIAC, scanner, case).mask
        count = np.bincount(mask.ravel(), minlength=5)
        assert len(count) == 5
        assert (count[1:] > 500).all(), case
        for value in (LAC, LVC, AA):
            assert share_of_largest_piece(mask == value) > 0.97, (case, value)
        assert share_of_largest_piece(mask == MYO) > 0.9, case


@BOTH
def test_the_cavity_is_inside_the_myocardium_but_for_its_two_valves(scanner):
    valves: list[float] = []
    for case in SEEN:
        mask = volume(CARDIAC, scanner, case).mask
        around = neighbours(mask, LVC, 5)
        assert around[MYO] > 0.7, case
        assert around[0] < 0.08, (
            "nothing but heart, and the thin walls of atrium and aorta, touches the cavity"
        )
        valves.append(around[[LAC, AA]].sum())
        # Some short cuts through the heart are closed rings.
        rings = [binary_fill_holes(part == MYO) & (part != MYO) for part in np.moveaxis(mask, 2, 0)]
        closed = [part[ring] for part, ring in zip(np.moveaxis(mask, 2, 0), rings, strict=True) if ring.any()]
        assert len(closed) >= 3, case
        assert np.mean(np.concatenate(closed) == LVC) > 0.95
    assert np.mean(valves) > 0.02, "where blood enters and leaves"


@BOTH
def test_the_aorta_stands_apart_and_rises_out_of_the_picture(scanner):
    for case in SEEN:
        drawn = volume(CARDIAC, scanner, case)
        assert neighbours(drawn.mask, AA, 5)[0] > 0.6, case
        assert (drawn.mask[:, :, -1] == AA).any(), "both scanners store the head's end last"
        top = places_mm(drawn, drawn.mask == AA)[:, 2].max()
        assert top > places_mm(drawn, (drawn.mask > 0) & (drawn.mask != AA))[:, 2].max()


@BOTH
def test_the_parts_lie_as_in_a_body_that_is_seen_in_scanner_coordinates(scanner):
    for case in SEEN:
        drawn = volume(CARDIAC, scanner, case)
        myo, lac, lvc, aa = (places_mm(drawn, drawn.mask == value).mean(axis=0) for value in (1, 2, 3, 4))
        assert lac[1] < lvc[1] - 15, "the atrium lies behind the ventricle"
        assert lac[0] > lvc[0] + 4, "and towards the right"
        assert lac[2] > lvc[2] + 5, "and above"
        assert aa[2] > lac[2] + 5, "the aorta rises higher"
        assert lac[1] < aa[1] - 8, "in front of the atrium"
        assert aa[0] > myo[0] + 15, "to the right of the ventricle"


def test_anatomy_is_alike_in_both_and_differs_from_case_to_case():
    millilitres = np.array(
        [
            [
                np.bincount(drawn.mask.ravel(), minlength=5)[1:] * np.linalg.det(drawn.affine[:3, :3]) / 1000
                for drawn in (volume(CARDIAC, scanner, case) for case in SEEN)
            ]
            for scanner in (0, 1)
        ]
    )
    means = millilitres.mean(axis=1)
    assert means[0] == pytest.approx(means[1], rel=0.12)
    assert (millilitres.std(axis=1) / means > 0.08).all()
    assert not np.array_equal(volume(CARDIAC, 0, 0).mask, volume(CARDIAC, 0, 1).mask)


def test_the_structures_change_their_order_of_grey_between_the_scanners():
    assert rank_order(CARDIAC, 0, SEEN, STRUCTURES) == [3, 0, 1, 2]
    assert rank_order(CARDIAC, 1, SEEN, STRUCTURES) == [0, 2, 1, 3]


@BOTH
def test_no_grey_value_tells_a_structure(scanner):
    """The best of all thresholds, and of all intervals, that a rater with the mask at hand could choose."""
    dice = np.array(
        [
            [
                best_dice(drawn.image, drawn.mask == value)
                for drawn in (volume(CARDIAC, scanner, case) for case in SEEN)
            ]
            for value in (MYO, LAC, LVC, AA)
        ]
    )
    assert dice[..., 0].max() < 0.4
    assert dice[..., 1].mean(axis=1).max() < 0.6


def test_scanners_differ_in_grid_orientation_and_noise():
    mr, ct = volume(CARDIAC, 0, 0), volume(CARDIAC, 1, 0)
    assert (mr.image.shape, ct.image.shape) == ((64, 64, 26), (64, 64, 32))
    assert np.linalg.norm(mr.affine[:3, :3], axis=0) == pytest.approx((2.9, 2.9, 5.2))
    assert np.linalg.norm(ct.affine[:3, :3], axis=0) == pytest.approx((2.75, 2.75, 4.0))
    assert (np.sign(np.diag(mr.affine)[:3]) == [1, 1, 1]).all()
    assert (np.sign(np.diag(ct.affine)[:3]) == [-1, -1, 1]).all()
    assert mr.image.min() >= 0 > -800 > ct.image.min()


def test_the_folders_are_cohorts_with_patients_apart(tmp_path):
    for folder, channel in zip(write_phantom("cardiac", tmp_path, size=32), ("MR", "CT"), strict=True):
        cohort = read_cohort(folder)
        assert cohort.classes == CLASSES == ("background", "MYO", "LAC", "LVC", "AA")
        assert cohort.label_values == (0, 1, 2, 3, 4)
        assert cohort.channels == (channel,)
        assert cohort.patients_known
        train, test = (
            {(case.patient, case.site) for case in cohort.part(part)} for part in ("train", "test")
        )
        assert (len(train), len(test), len(train & test)) == (16, 4, 0)
        assert all(case.mask is not None and case.patient != case.name for case in cohort.cases)
        assert json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["synthetic"] is True


@pytest.mark.parametrize(
    ("scanner", "expected"), [(0, "350133ec2790d15f"), (1, "236359aeb83f1d65")], ids=["MR", "CT"]
)
def test_the_phantom_is_frozen(scanner, expected):
    """A changed checksum is a changed phantom: results on the old one no longer hold (see test_phantom.py)."""
    assert checksum(CARDIAC, scanner) == expected
