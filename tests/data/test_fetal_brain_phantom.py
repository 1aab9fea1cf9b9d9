"""The fetal phantom: thick slices, a quarter with a brain that no grey value tells, tags that fit, frozen."""

import csv
import hashlib
import json
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure
from tests.data.drawn_organs import best_dice, share_of_largest_piece

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.phantoms.bodies import Volume
from fewmask.data.phantoms.fetal_brain import CASES, scan
from fewmask.data.preparation import thick_axis

torch.set_num_threads(1)

SEEN = range(0, CASES, 8)
FOUR = generate_binary_structure(2, 1)[:, :, None]


@cache
def volume(case: int, size: int = 32) -> Volume:
    return scan(case, 0, size)


def shown(drawn: Volume) -> np.ndarray:
    return drawn.mask.any(axis=(0, 1))


def test_a_quarter_of_the_slices_shows_the_brain_and_never_the_first_or_the_last():
    tags = [shown(volume(case)) for case in range(CASES)]
    assert 0.2 < np.concatenate(tags).mean() < 0.3
    for tag in tags:
        assert 0.1 < tag.mean() < 0.4
        assert not tag[0] and not tag[-1]
        assert np.abs(np.diff(tag.astype(int))).sum() == 2, "slices with brain lie in a row"
    assert len({tag.size for tag in tags}) > 3, "stacks differ in length"
    assert all(16 <= tag.size <= 22 for tag in tags)
    assert np.std([np.flatnonzero(tag).mean() / tag.size for tag in tags]) > 0.05, "and in where it shows"


def test_slices_are_thick_and_spacings_differ_from_case_to_case():
    spacings = np.array([np.linalg.norm(volume(case).affine[:3, :3], axis=0) for case in range(CASES)])
    in_plane, thickness = spacings[:, 0] / 4, spacings[:, 2]
    assert spacings[:, 0] == pytest.approx(spacings[:, 1])
    assert in_plane.min() >= 0.5547 and in_plane.max() <= 0.6719 and in_plane.std() > 0.02
    assert thickness.min() >= 6.5 and thickness.max() <= 7.15 and thickness.std() > 0.1
    assert thickness.mean() == pytest.approx(6.8, abs=0.1)
    large = volume(0, 128)
    assert large.image.shape[:2] == (128, 128)
    spacing = np.linalg.norm(large.affine[:3, :3], axis=0)
    assert spacing[0] == pytest.approx(spacings[0, 0] / 4)
    assert thick_axis(spacing.tolist(), 0) == 2


def test_the_brain_is_one_piece_of_plausible_size_within_the_picture():
    for case in SEEN:
        drawn = volume(case, 128)
        assert share_of_largest_piece(drawn.mask > 0) > 0.99, case
        widest = (drawn.mask > 0).sum(axis=(0, 1)).max() / 128**2
        assert 0.04 < widest < 0.2, case
        border = np.ones(drawn.mask.shape[:2], dtype=bool)
        border[2:-2, 2:-2] = False
        assert not drawn.mask[border].any()


def test_the_rim_is_brighter_than_what_lies_within_and_than_what_lies_around():
    differences = []
    for case in SEEN:
        drawn = volume(case, 128)
        brain = drawn.mask > 0
        middle = int(brain.sum(axis=(0, 1)).argmax())
        brain, image = brain[:, :, middle : middle + 1], drawn.image[:, :, middle : middle + 1]
        core = binary_erosion(brain, FOUR, iterations=6)
        rim = brain & ~binary_erosion(brain, FOUR, iterations=2)
        around = binary_dilation(brain, FOUR, iterations=2) & ~brain
        differences.append([image[rim].mean() / image[part].mean() for part in (core, around)])
    assert (np.median(differences, axis=0) > 1.1).all()


def test_no_grey_value_tells_the_brain():
    """The best of all thresholds, and of all intervals, that a rater with the mask at hand could choose."""
    dice = np.array([best_dice(drawn.image, drawn.mask > 0) for drawn in (volume(c, 128) for c in SEEN)])
    assert dice[:, 0].max() < 0.4
    assert dice[:, 1].mean() < 0.4
    # Nor does it where the slice is known to show the brain.
    known = []
    for drawn in (volume(case, 128) for case in SEEN):
        tag = shown(drawn)
        known.append(best_dice(drawn.image[..., tag], drawn.mask[..., tag] > 0))
    assert np.mean(known, axis=0).max() < 0.5


def test_slices_without_brain_are_as_bright_and_as_cluttered():
    """No sum over a slice tells whether it shows the brain: neither its mean, nor its brightest, nor its edges."""
    tags, sums = [], []
    for case in range(CASES):
        drawn = volume(case)
        image = drawn.image.astype(float) / drawn.image.mean()
        steps = np.abs(np.diff(image, axis=0)).mean(axis=(0, 1))
        top = np.percentile(image, 99, axis=(0, 1))
        sums.append(np.stack([image.mean(axis=(0, 1)), top, steps], axis=1))
        tags.append(shown(drawn))
    tag, values = np.concatenate(tags), np.concatenate(sums)
    order = values.argsort(axis=0).argsort(axis=0)
    positives = int(tag.sum())
    auc = (order[tag].sum(axis=0) - positives * (positives - 1) / 2) / (positives * (~tag).sum())
    assert (np.abs(auc - 0.5) < 0.25).all(), auc


def test_another_size_is_the_same_scene():
    small, large = volume(3, 64), volume(3, 128)
    assert np.mean(small.mask == large.mask[::2, ::2]) > 0.99
    assert np.abs(small.affine[:3, :3] / large.affine[:3, :3])[0, 0] == pytest.approx(2.0)


def test_the_folder_is_a_cohort_with_tags_for_every_slice(tmp_path: Path):
    (folder,) = write_phantom("fetal-brain", tmp_path, cases=8, size=32)
    assert folder.name == "Dataset909_FetalBrain"
    cohort = read_cohort(folder)
    assert (cohort.classes, cohort.channels) == (("background", "brain"), ("T2w",))
    assert cohort.patients_known
    assert [case.name for case in cohort.part("test")] == ["fetus0003", "fetus0007"]
    assert len(cohort.part("train")) == 6
    assert len({case.patient for case in cohort.cases}) == 8
    assert all(case.site == "maternity" for case in cohort.cases)
    with (folder / "slices.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["case", "slice", "brain"]
    for case in cohort.cases:
        image, mask = nib.load(case.images[0]), nib.load(case.mask)
        assert np.array_equal(image.affine, mask.affine)
        assert image.get_data_dtype() == np.int16
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        present = np.asarray(mask.dataobj).any(axis=(0, 1))
        told = [row for row in rows if row["case"] == case.name]
        assert [int(row["slice"]) for row in told] == list(range(image.shape[2]))
        assert [int(row["brain"]) for row in told] == present.astype(int).tolist()
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert (about["synthetic"], about["phantom"], about["numTraining"]) == (True, "fetal_brain", 6)


def test_the_phantom_is_frozen():
    """A changed checksum is a changed phantom: results on the old one no longer hold (see test_phantom.py)."""
    summary = hashlib.sha256()
    for size in (32, 128):
        drawn = [volume(case, size) for case in range(3)]
        for array in [*(one.image.astype("<i2") for one in drawn), *(one.mask for one in drawn)]:
            summary.update(np.ascontiguousarray(array).tobytes())
    assert summary.hexdigest()[:16] == "b1de33ec8caae2e5"
