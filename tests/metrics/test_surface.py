"""Surface distances against MONAI, medpy, and a plain scipy construction."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric.binary import asd as medpy_asd
from medpy.metric.binary import assd as medpy_assd
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.distance import cdist

from fewmask.metrics import surface
from fewmask.metrics.surface import surface_distances, surface_scores

torch.set_num_threads(1)


def _blobs(random, shape, spread):
    """A random mask in blobs (or noise where spread is 0); often it touches the border."""
    field = gaussian_filter(random.standard_normal(shape), spread)
    return field > np.quantile(field, random.uniform(0.3, 0.9))


def _pairs():
    """(truth, predicted, spacing): 2D and 3D, smooth and noisy, near and far, touching every border."""
    random = np.random.default_rng(7)
    for spacing in ((1.0, 1.0), (0.7, 2.3), (4.0, 1.0, 1.0), (0.5, 1.7, 3.1), (1.0, 1.0, 1.0)):
        sides = (40, 31) if len(spacing) == 2 else (9, 21, 26)
        for spread in (0, 1, 4):
            yield _blobs(random, sides, spread), _blobs(random, sides, spread), spacing
        corner, opposite = np.zeros(sides, bool), np.zeros(sides, bool)
        corner[tuple(slice(0, 2) for _ in sides)] = True
        opposite[tuple(slice(-3, None) for _ in sides)] = True
        yield corner, opposite, spacing
        yield np.ones(sides, bool), corner, spacing
        yield np.ones(sides, bool), np.ones(sides, bool), spacing


PAIRS = list(_pairs())


def _by_definition(asking, answering, spacing):
    """Every distance between two outlines by the full table of pairs."""
    outlines = [np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing) for mask in (asking, answering)]
    return np.sort(cdist(*outlines).min(axis=1))


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_distances_equal_the_full_table_of_pairs(number):
    truth, predicted, spacing = PAIRS[number]
    ours = surface_distances(truth, predicted, spacing)
    np.testing.assert_allclose(np.sort(ours.from_truth), _by_definition(truth, predicted, spacing), atol=1e-9)
    np.testing.assert_allclose(
        np.sort(ours.from_predicted), _by_definition(predicted, truth, spacing), atol=1e-9
    )


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_scores_equal_monai_and_medpy(number):
    truth, predicted, spacing = PAIRS[number]
    ours = surface_scores(truth, predicted, spacing, nsd_tolerance=1.45)
    tensors = [torch.from_numpy(mask)[None, None] for mask in (predicted, truth)]
    options = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai_hd95 = compute_hausdorff_distance(*tensors, percentile=95, **options)
        in_voxels = options | {"spacing": (1.0,) * truth.ndim}
        monai_voxels = compute_hausdorff_distance(*tensors, percentile=95, **in_voxels)
        monai_nsd = compute_surface_dice(*tensors, class_thresholds=[1.45], **options)
        monai_pooled = compute_average_surface_distance(*tensors, symmetric=True, **options)
    assert ours.hd95 == pytest.approx(float(monai_hd95), abs=1e-4)
    assert ours.hd95_voxels == pytest.approx(float(monai_voxels), abs=1e-4)
    assert ours.nsd == pytest.approx(float(monai_nsd), abs=1e-4)
    assert ours.hd95_pooled == pytest.approx(medpy_hd95(predicted, truth, spacing), abs=1e-4)
    assert ours.assd == pytest.approx(float(monai_pooled), abs=1e-4)
    assert ours.assd == pytest.approx(medpy_assd(predicted, truth, spacing), abs=1e-4)


def test_assd_weighs_every_surface_voxel_alike():
    truth = np.zeros((40, 40), bool)
    truth[5:35, 5:35] = True
    predicted = np.zeros_like(truth)
    predicted[5, 5] = True
    distances = surface_distances(truth, predicted, (1.0, 1.0))
    assert distances.from_predicted.tolist() == [0.0]
    by_hand = distances.from_truth.sum() / (len(distances.from_truth) + 1)
    assert surface_scores(truth, predicted, (1.0, 1.0)).assd == pytest.approx(by_hand)


@pytest.mark.parametrize(("questions", "neighbours"), [(0, 128), (10**9, 128), (0, 1), (10**9, 1), (25, 9)])
def test_tree_and_transform_and_neighbourhood_agree(monkeypatch, questions, neighbours):
    """Each way of the search alone gives the same distances: only the time differs."""
    expected = [surface_scores(*pair) for pair in PAIRS]
    monkeypatch.setattr(surface, "VOXELS_PER_QUESTION", questions)
    monkeypatch.setattr(surface, "NEIGHBOURS", neighbours)
    surface._neighbours.cache_clear()
    try:
        for pair, scores in zip(PAIRS, expected, strict=True):
            again = surface_scores(*pair)
            assert again.assd == pytest.approx(scores.assd, abs=1e-9)
            assert again.hd95 == pytest.approx(scores.hd95, abs=1e-9)
    finally:
        surface._neighbours.cache_clear()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sides=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    lengths=st.lists(st.floats(0.05, 20.0), min_size=3, max_size=3),
)
def test_any_mask_of_any_size_and_spacing(seed, sides, lengths):
    random = np.random.default_rng(seed)
    masks = random.random((2, *sides)) < random.uniform(0.05, 0.95)
    for mask in masks:
        mask.flat[random.integers(mask.size)] = True
    spacing = lengths[: len(sides)]
    ours = surface_distances(masks[0], masks[1], spacing)
    np.testing.assert_allclose(np.sort(ours.from_truth), _by_definition(*masks, spacing), atol=1e-9)
    swapped = surface_scores(masks[1], masks[0], spacing)
    assert swapped == surface_scores(masks[0], masks[1], spacing)
    assert surface_scores(masks[0], masks[0], spacing) == surface.SurfaceScores(
        0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
    )


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.01, 100.0))
def test_distances_scale_with_the_spacing(factor):
    truth, predicted, spacing = PAIRS[2]
    once = surface_scores(truth, predicted, spacing)
    scaled = surface_scores(truth, predicted, [factor * length for length in spacing], 2.0 * factor)
    assert scaled.hd95 == pytest.approx(factor * once.hd95)
    assert scaled.assd == pytest.approx(factor * once.assd)


def test_tolerance_counts_what_lies_just_on_it():
    truth, predicted = np.zeros((2, 30, 3), bool)
    truth[2], predicted[5] = True, True
    assert 3 * 0.1 > 0.3  # in binary fractions, which is why a tolerance needs some slack
    assert surface_scores(truth, predicted, (0.1, 5.0), nsd_tolerance=0.3).nsd == 1.0
    assert surface_scores(truth, predicted, (0.1, 5.0), nsd_tolerance=0.29).nsd == 0.0


def test_an_empty_mask_has_no_distance():
    full = np.ones((3, 3), bool)
    for pair in ((full, ~full), (~full, full), (~full, ~full)):
        with pytest.raises(ValueError, match="empty"):
            surface_distances(*pair, (1.0, 1.0))
    with pytest.raises(ValueError, match="do not fit"):
        surface_distances(full, np.ones((3, 4), bool), (1.0, 1.0))
    with pytest.raises(ValueError, match="do not fit"):
        surface_distances(full, full, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_masd_is_the_mean_of_both_directions_in_mm_and_in_voxels(number):
    truth, predicted, spacing = PAIRS[number]
    ours = surface_scores(truth, predicted, spacing)
    for lengths, found in ((spacing, ours.masd), ((1.0,) * truth.ndim, ours.masd_voxels)):
        directed = [
            _by_definition(*pair, lengths).mean() for pair in ((truth, predicted), (predicted, truth))
        ]
        assert found == pytest.approx(np.mean(directed), abs=1e-9)
        by_medpy = [medpy_asd(*pair, lengths) for pair in ((truth, predicted), (predicted, truth))]
        assert found == pytest.approx(np.mean(by_medpy), abs=1e-6)
        tensors = [torch.from_numpy(mask)[None, None] for mask in (predicted, truth)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by_monai = [
                float(compute_average_surface_distance(*pair, include_background=True, spacing=lengths))
                for pair in (tensors, tensors[::-1])
            ]
        assert found == pytest.approx(np.mean(by_monai), abs=1e-4)


def test_masd_by_hand():
    """A point on one outline's corner: 0 from it, and the outline's own mean distance to it."""
    truth, predicted = np.zeros((2, 1, 5), bool)
    truth[0, 0:4], predicted[0, 0] = True, True
    scores = surface_scores(truth, predicted, (3.0, 2.0))
    assert scores.masd == pytest.approx((0 + (0 + 2 + 4 + 6) / 4) / 2)
    assert scores.masd_voxels == pytest.approx((0 + (0 + 1 + 2 + 3) / 4) / 2)
    assert scores.assd == pytest.approx((0 + 0 + 2 + 4 + 6) / 5)
    assert scores.hd95 == pytest.approx(5.7)  # numpy's percentile of 0, 2, 4, 6: 0.85 of the way from 4 to 6
    assert scores.hd95_voxels == pytest.approx(2.85)


@pytest.mark.parametrize(("spacing", "searches"), [((2.5, 2.5), 2), ((1.0, 1.0), 2), ((1.0, 2.5), 4)])
def test_cubes_are_searched_once(monkeypatch, spacing, searches):
    made = []
    search = surface._directed
    monkeypatch.setattr(surface, "_directed", lambda *words: made.append(1) or search(*words))
    truth, predicted, _ = PAIRS[1]
    scores = surface_scores(truth, predicted, spacing)
    assert len(made) == searches
    alone = surface_distances(truth, predicted, (1.0, 1.0))
    assert scores.masd_voxels == pytest.approx((alone.from_truth.mean() + alone.from_predicted.mean()) / 2)
    directed = [np.percentile(one, 95) for one in (alone.from_truth, alone.from_predicted)]
    assert scores.hd95_voxels == pytest.approx(max(directed))
