"""Images become network input and come back without moving."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.data.case import Case
from fewmask.data.cut import cut_remark, neighbour_rows
from fewmask.data.orientation import as_it_lay, canonical
from fewmask.data.preparation import (
    Intensity,
    Preparation,
    amid_air,
    assembled,
    decide,
    fitted,
    place_images,
    place_masks,
    placement,
    replace_in_original,
    scaled,
    shared_channels,
    shared_grid,
    slice_axis,
    slices_of,
)
from fewmask.data.raster import Raster
from fewmask.data.survey import Look, levels_of, look_at
from fewmask.errors import InputFault
from fewmask.recipe import Scaling
from fewmask.recipes import scaling as published

PICTURE = Preparation("masks", 1, 64, (Intensity("fixed", 0, 255),))


def look(
    shape: tuple[int, ...], spacing: tuple[float, ...], low: float = 0, high: float = 100, **other
) -> Look:
    options = {"unit": "mm", "whole_bytes": False} | other
    return Look("case", shape, spacing, options["unit"], options["whole_bytes"], (low,), (high,))


def decided(looks: list[Look], channel: str = "MR") -> Preparation:
    return decide("masks", looks, (channel,), shared_grid([looks], 64))


def test_eight_bit_pictures_keep_their_full_range() -> None:
    looks = [look((90, 60), (1, 1), 10, 200, unit="px", whole_bytes=True)]
    assert decided(looks).intensity == (Intensity("fixed", 0.0, 255.0),)


def test_only_physical_units_are_carried_between_hospitals() -> None:
    ct = [look((9, 9, 9), (1, 1, 1), -1000, 400), look((9, 9, 9), (1, 1, 1), -1000, 500)]
    mr = [look((9, 9, 9), (1, 1, 1), 0, 400), look((9, 9, 9), (1, 1, 1), 0, 450)]
    assert decided(ct).intensity == (Intensity("fixed", -1000.0, 450.0),)
    assert decided(mr).intensity[0].rule == "own_percentiles"
    assert decided(mr, "CT").intensity[0].rule == "fixed"


def test_grey_and_colour_pictures_of_one_cohort_are_prepared_alike() -> None:
    grey = look((9, 9), (1, 1), whole_bytes=False)
    colour = replace(grey, low=(0, 0, 0), high=(1, 1, 1))
    grid = shared_grid([[colour, grey]], 64)
    assert len(decide("masks", [colour, grey], ("R", "G", "B"), grid).intensity) == 3


def test_a_volume_is_cut_across_its_thick_axis_else_its_last() -> None:
    assert slice_axis([look((9, 9, 9), (3.3, 1.1, 1.1))]) == 0
    assert slice_axis([look((9, 9, 9), (1, 1, 1))]) == 2


def test_cohorts_share_one_pixel_size_and_one_axis() -> None:
    mr, ct = look((100, 80, 20), (1.5, 1.5, 5)), look((256, 256, 40), (0.5, 0.5, 0.5))
    grid = shared_grid([[mr], [ct]], 50)
    assert (grid.pixel_mm, grid.slice_axis) == (pytest.approx(150 / 50), 2)
    assert shared_grid([[mr], [replace(ct, unit="px")]], 50).pixel_mm is None
    with pytest.raises(InputFault, match="pictures"):
        shared_grid([[mr], [look((9, 9), (1, 1))]], 50)


def test_grey_and_colour_join_but_other_channels_do_not() -> None:
    grey = look((9, 9), (1, 1))
    assert shared_channels([[grey], [replace(grey, low=(0, 0, 0), high=(1, 1, 1))]]) == 3
    with pytest.raises(InputFault, match="--source-channel"):
        shared_channels([[grey], [replace(grey, low=(0, 0), high=(1, 1))]])


def test_scaling_maps_low_to_minus_one_and_high_to_one() -> None:
    values = np.array([[[0, 51, 255, 300]]], np.int16)
    ct = replace(PICTURE, intensity=(Intensity("fixed", 0, 254),))
    assert np.allclose(scaled(Raster(values, (1.0, 1.0), "px", None), ct), [[[-1, 51 / 127 - 1, 1, 1]]])


def test_sixteen_bits_given_to_a_run_of_eight_are_refused() -> None:
    raster = Raster(np.array([[[0, 4000]]], np.uint16), (1.0, 1.0), "px", None)
    with pytest.raises(InputFault, match="8-bit"):
        scaled(raster, PICTURE)


def test_an_axial_slice_has_left_and_right_in_its_columns() -> None:
    volume = np.zeros((1, 4, 3, 2))
    volume[0, 3] = 1
    assert np.array_equal(slices_of(volume, replace(PICTURE, slice_axis=2))[0, 0], np.eye(4)[[3] * 3])


def test_other_channels_than_trained_on_are_refused() -> None:
    raster = Raster(np.zeros((2, 4, 4), np.uint8), (1.0, 1.0), "px", None)
    with pytest.raises(InputFault, match="2 channels where the run was trained on 1"):
        scaled(raster, PICTURE)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(3, 150), width=st.integers(3, 150), size=st.sampled_from([16, 64, 96]))
def test_placing_keeps_the_aspect_and_the_way_back_has_the_exact_shape(
    height: int, width: int, size: int
) -> None:
    raster = Raster(np.zeros((1, height, width), np.uint8), (1.0, 1.0), "px", None)
    preparation = replace(PICTURE, size=size)
    place = placement(raster, preparation)
    assert max(place.height, place.width) == size
    assert abs(place.height / place.width - height / width) <= (1 + height / width) / min(
        place.height, place.width
    )
    prepared = place_images(scaled(raster, preparation)[None], place, size)
    assert prepared.shape == (1, 1, size, size)
    assert replace_in_original(prepared, place).shape == (1, 1, height, width)


def test_a_mask_that_is_placed_and_brought_back_stays_where_it_was() -> None:
    mask = np.zeros((1, 100, 60), np.uint8)
    mask[0, 20:60, 10:35] = 1
    raster = Raster(mask, (1.0, 1.0), "px", None)
    place = placement(raster, PICTURE)
    placed = place_masks(mask, place, 64)
    onehot = torch.stack([placed == 0, placed == 1], 1).float()
    back = replace_in_original(onehot, place).argmax(1).numpy()
    overlap = 2 * (back & mask).sum() / (back.sum() + mask.sum())
    assert overlap > 0.96


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_volume_is_turned_to_ras_and_back_exactly(codes: str) -> None:
    shape = (5, 6, 7)
    orientation = nib.orientations.axcodes2ornt(tuple(codes))
    affine = nib.orientations.inv_ornt_aff(orientation, shape)
    original = Raster(np.arange(210).reshape(1, *shape), (1.0, 2.0, 3.0), "mm", affine)
    turned = canonical(original)
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
    assert np.array_equal(as_it_lay(turned.array, original), original.array)
    reference = nib.as_closest_canonical(nib.Nifti1Image(original.array[0].astype(np.int16), affine))
    assert np.array_equal(turned.array[0], np.asarray(reference.dataobj))


def test_slices_are_assembled_again() -> None:
    volume = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    for axis in range(3):
        preparation = replace(PICTURE, slice_axis=axis)
        slices = slices_of(volume, preparation)
        assert slices.shape[0] == volume.shape[1 + axis]
        assert np.array_equal(assembled(slices, preparation), volume)


def test_each_volume_is_cut_across_its_own_thick_axis() -> None:
    upright = Raster(np.zeros((1, 8, 8, 3)), (1.0, 1.0, 4.0), "mm", np.diag([1.0, 1, 4, 1]))
    lying = Raster(np.zeros((1, 3, 8, 8)), (4.0, 1.0, 1.0), "mm", np.diag([4.0, 1, 1, 1]))
    cube = Raster(np.zeros((1, 8, 8, 8)), (1.0, 1.0, 1.0), "mm", np.eye(4))
    wanted = replace(PICTURE, slice_axis=2)
    assert [fitted(wanted, raster).slice_axis for raster in (upright, lying, cube)] == [2, 0, 2]


def test_a_volume_for_a_run_of_pictures_is_refused() -> None:
    volume = Raster(np.zeros((1, 4, 4, 4), np.uint8), (1.0, 1.0, 1.0), "mm", np.eye(4))
    with pytest.raises(InputFault, match="trained on pictures"):
        scaled(volume, PICTURE)


def test_a_picture_is_padded_with_its_mirror_image_and_so_is_its_mask() -> None:
    values = np.random.default_rng(0).integers(0, 3, (1, 40, 100)).astype(np.uint8)
    raster = Raster(values * 100, (1.0, 1.0), "px", None)
    preparation = replace(PICTURE, size=112)
    place = replace(placement(raster, preparation), height=40, width=100, top=36, left=6)
    expected = np.pad(values, ((0, 0), (36, 36), (6, 6)), mode="symmetric")
    images = place_images(values[None].astype(np.float32) - 1.0, place, 112)
    assert np.array_equal(place_masks(values, place, 112).numpy(), expected)
    assert np.array_equal(images[0].numpy(), expected - 1.0)


def test_a_slice_of_a_volume_is_padded_with_air() -> None:
    raster = Raster(np.zeros((1, 40, 100, 3), np.float32), (1.0, 1.0, 3.0), "mm", None)
    place = placement(raster, replace(PICTURE, slice_axis=2))
    prepared = place_images(np.ones((1, 1, 100, 40), np.float32), place, 64)
    assert float(prepared.min()) == -1.0


CUBE = look((9, 9, 9), (1, 1, 1))


def z_scored(values: np.ndarray, low: float, high: float, clip: float = 0.0) -> np.ndarray:
    """The rule by its words, on all voxels at once."""
    raw = values.astype(np.float64)
    if clip:
        raw = np.minimum(raw, np.percentile(raw, 100 - clip))
    z = (raw - raw.mean()) / raw.std()
    return np.clip(2 * (z - low) / (high - low) - 1, -1, 1)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8])
@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_a_z_score_is_taken_over_the_whole_volume(kind: type, clip: float) -> None:
    values = (np.random.default_rng(1).gamma(2.0, 30.0, (1, 12, 10, 8)) % 250).astype(kind)
    rule = Intensity("z_score", -1.8, 4.4, clip)
    volume = Raster(values, (1.0, 1.0, 1.0), "mm", np.eye(4))
    ours = scaled(volume, replace(PICTURE, slice_axis=2, intensity=(rule,)))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[0], z_scored(values[0], -1.8, 4.4, clip), atol=1e-5)
    assert ours.max() < 1.0 or clip == 0.0, "what was cut off at the top stays below the pair's high end"


def test_a_volume_of_one_value_has_a_z_score() -> None:
    flat = Raster(np.full((1, 3, 3, 3), 7, np.int16), (1.0, 1.0, 1.0), "mm", np.eye(4))
    rule = Intensity("z_score", -2.0, 4.0)
    assert np.isfinite(scaled(flat, replace(PICTURE, slice_axis=2, intensity=(rule,)))).all()
    assert levels_of(flat.array[0], 0.0).z(9.0) == 0.0


def test_the_cohort_gives_the_pair_unless_the_recipe_does(tmp_path) -> None:
    rng = np.random.default_rng(0)
    looks = []
    for index, factor in enumerate((1.0, 5.0, 9.0)):
        values = (factor * rng.gamma(2.0, 40.0, (16, 16, 16))).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{index}.nii")
        looks.append(look_at(Case(str(index), (tmp_path / f"{index}.nii",)), 2.0))
        raw = np.minimum(values.astype(np.float64), np.percentile(values, 98))
        z = (raw - raw.mean()) / raw.std()
        np.testing.assert_allclose(looks[-1].z_ranges[0], np.percentile(z, (0.5, 99.5)), atol=1e-4)
    grid = shared_grid([looks], 32)
    own = decide("target", looks, ("CT",), grid, Scaling("z_score", clip_top_percent=2.0)).intensity[0]
    assert (own.rule, own.clip_top_percent) == ("z_score", 2.0)
    expected = np.median([one.z_ranges[0] for one in looks], axis=0)
    assert (own.low, own.high) == pytest.approx(tuple(expected))
    paper = published.CARDIAC_MR_TO_CT
    pairs = {
        role: decide(role, looks, ("x",), grid, paper).intensity[0] for role in ("source", "target", "masks")
    }
    assert {role: (rule.low, rule.high) for role, rule in pairs.items()} == {
        "source": (-1.8, 4.4),
        "target": (-2.8, 3.2),
        "masks": (-1.8, 4.4),
    }


def test_a_z_scored_volume_is_padded_with_its_own_air() -> None:
    values = np.full((1, 40, 100, 3), 50, np.int16)
    values[0, 5:20, 20:60] = 900
    volume = Raster(values, (1.0, 1.0, 3.0), "mm", np.diag([1.0, 1, 3, 1]))
    paper = replace(PICTURE, slice_axis=2, intensity=(Intensity("z_score", -1.8, 4.4),))
    slices = slices_of(scaled(volume, paper), paper)
    air = float(slices.min())
    assert -1 < air < -0.5
    prepared = place_images(slices, amid_air(placement(volume, paper), slices, paper), 64)
    assert float(prepared.min()) == pytest.approx(air), "no bar that is darker than the air"
    usual = replace(paper, intensity=(Intensity("own_percentiles"),))
    assert amid_air(placement(volume, usual), slices, usual).darkest == -1.0


def test_neighbours_repeat_the_edge_and_have_the_slice_in_their_middle() -> None:
    before, own, behind = neighbour_rows(np.array([4, 6, 5]), 4, 6, 3)
    assert (before.tolist(), own.tolist(), behind.tolist()) == ([4, 5, 4], [4, 6, 5], [5, 6, 6])
    assert [rows.tolist() for rows in neighbour_rows(np.array([2]), 0, 9, 1)] == [[2]]


def test_a_named_axis_holds_for_every_volume() -> None:
    thick = look((9, 9, 9), (1, 1, 3))
    grid = shared_grid([[CUBE], [thick]], 64, "coronal", 3)
    assert (grid.slice_axis, grid.axis_is_chosen, grid.neighbours) == (1, True, 3)
    assert grid.pixel_mm == pytest.approx(27 / 64), "the thick axis lies in the slices now"
    preparation = decide("source", [CUBE, thick], ("MR",), grid)
    assert (preparation.inputs, preparation.channels) == (3, 1)
    upright = Raster(np.zeros((1, 8, 8, 3)), (1.0, 1.0, 3.0), "mm", np.diag([1.0, 1, 3, 1]))
    assert fitted(preparation, upright).slice_axis == 1
    assert fitted(replace(preparation, axis_is_chosen=False), upright).slice_axis == 2
    assert cut_remark([CUBE], 1) is None
    assert "1 of 2 volumes are cut into coronal slices along their thick direction" in cut_remark(
        [CUBE, thick], 1
    )


def test_a_volume_too_anisotropic_for_the_named_axis_is_refused_with_the_remedy() -> None:
    stack = replace(look((9, 9, 9), (0.8, 0.8, 6.0)), case="p7")
    with pytest.raises(InputFault, match=r"p7: .*6 mm long across axial.*0.8 mm.*slice_axis=auto or axial"):
        shared_grid([[CUBE, stack]], 64, "coronal")
    assert shared_grid([[CUBE, stack]], 64, "axial").slice_axis == 2
    assert shared_grid([[CUBE, stack]], 64).slice_axis == 2
    preparation = decide("source", [CUBE], ("MR",), shared_grid([[CUBE]], 64, "coronal"))
    lying = Raster(np.zeros((1, 3, 8, 8)), (5.0, 1.0, 1.0), "mm", np.diag([5.0, 1, 1, 1]))
    with pytest.raises(InputFault, match="too anisotropic"):
        fitted(preparation, lying)


def test_pictures_have_neither_neighbours_nor_an_axis() -> None:
    picture = look((9, 9), (1, 1), unit="px", whole_bytes=True)
    with pytest.raises(InputFault, match="neighbours=3: is for volumes"):
        shared_grid([[picture]], 64, neighbours=3)
    with pytest.raises(InputFault, match="slice_axis=axial: is for volumes"):
        shared_grid([[picture]], 64, "axial")


def test_volumes_of_one_and_three_channels_are_no_grey_and_colour() -> None:
    three = replace(CUBE, case="bravo", low=(0, 0, 0), high=(1, 1, 1))
    with pytest.raises(InputFault, match=r"1 \(case\) and 3 \(bravo\) channels cannot train together"):
        shared_grid([[CUBE], [three]], 64)
    volume = Raster(np.zeros((1, 4, 4, 4), np.int16), (1.0, 1.0, 1.0), "mm", np.eye(4))
    colours = replace(PICTURE, channels=3, slice_axis=2, intensity=(Intensity("own_percentiles"),) * 3)
    with pytest.raises(InputFault, match="1 channels where the run was trained on 3"):
        scaled(volume, colours)
