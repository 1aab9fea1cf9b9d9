"""A mask lies where its image's content lies, however the file is turned."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fewmask.console import silent
from fewmask.data.case import Case, Cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.prepared_case import prepare_case
from fewmask.data.store import open_store
from fewmask.errors import InputFault
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.segment import MANIFEST, segment
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.names import RECIPES
from fewmask.training.train import train


def tiny(masks: Path, size: int, steps: int = 3) -> Recipe:
    changes = (f"size={size}", f"steps={steps}", "batch=4", "widths=[4,8]")
    recipe = override(RECIPES["supervised"](True), changes, KINDS)
    return Recipe(**{**vars(recipe), "cohorts": Cohorts(masks=masks)})


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run trained on volumes, and the folder of its cohort."""
    folder = tmp_path_factory.mktemp("volumes")
    source, _ = write_phantom("nested", folder / "nested", 0, 4, 32)
    train(tiny(source, 32, steps=80), folder / "run", device="cpu", cache=folder / "cache")
    return folder / "run", source


@pytest.mark.parametrize("codes", ["LPS", "SPL", "AIR"])
def test_a_turned_file_of_one_volume_gets_the_same_mask(
    volumes: tuple[Path, Path], tmp_path: Path, codes: str
) -> None:
    run, source = volumes
    image = nib.load(sorted((source / "imagesTs").iterdir())[0])
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "plain.nii.gz")
    nib.save(image.as_reoriented(turn), tmp_path / "in" / "turned.nii.gz")
    segment(run, tmp_path / "in", tmp_path / "out", device="cpu")
    plain, turned = (nib.load(tmp_path / "out" / f"{name}.nii.gz") for name in ("plain", "turned"))
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    assert np.array_equal(np.asarray(plain.as_reoriented(turn).dataobj), np.asarray(turned.dataobj))
    assert len(np.unique(np.asarray(plain.dataobj))) > 1, "an empty mask would look alike in any orientation"


def test_masks_and_probabilities_agree(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    run, source = volumes
    segment(run, source, tmp_path / "masks", device="cpu")
    segment(run, source, tmp_path / "both", with_probabilities=True, device="cpu")
    case = json.loads((tmp_path / "both" / MANIFEST).read_text())["cases"][0]
    alone, beside = (
        np.asarray(nib.load(tmp_path / side / case["mask"]).dataobj) for side in ("masks", "both")
    )
    probabilities = np.asarray(nib.load(tmp_path / "both" / f"{case['case']}_probabilities.nii.gz").dataobj)
    assert np.array_equal(alone, beside)
    assert np.allclose(probabilities.sum(-1), 1, atol=1e-4)
    assert np.array_equal(probabilities.argmax(-1), beside)


def test_images_are_never_overwritten(tmp_path: Path) -> None:
    source, _ = write_phantom("placenta", tmp_path / "placenta", 0, 5, 32)
    train(tiny(source, 32), tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (40, 30), (90, 20, 20)).save(images / "a.png")
    before = (images / "a.png").read_bytes()
    with pytest.raises(InputFault, match="holds the images themselves"):
        segment(tmp_path / "run", images, images, device="cpu")
    assert (images / "a.png").read_bytes() == before
    written = segment(tmp_path / "run", images / "a.png", tmp_path / "out", device="cpu")
    assert Image.open(written.masks[0]).size == (40, 30)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAL"])
def test_slices_with_neighbours_are_those_of_the_store_and_become_the_volume_again(
    tmp_path: Path, axis: int, codes: str
) -> None:
    """A network that hands its middle channel on would give the prepared volume itself, voxel by voxel."""
    shape = (32, 24, 20)
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(tuple(codes)), shape)
    values = np.random.default_rng(axis).integers(0, 256, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "v.nii.gz")
    case = Case("v", (tmp_path / "v.nii.gz",))
    preparation = Preparation("source", 1, 32, (Intensity("fixed", 0, 256),), 1.0, axis, None, True, 3)
    prepared = prepare_case(case, preparation)
    chunks = list(prepared.chunks())
    with silent("", 0) as stored:
        cohort = Cohort(tmp_path, "plain", (case,), ("MR",))
        store = open_store(tmp_path / "s", cohort, (case,), preparation, labelled=False, stored=stored)
    seen = replace(store, neighbours=3).images(np.arange(store.row_count))
    assert np.array_equal(np.concatenate([chunk.numpy() for chunk in chunks]), seen)
    back = prepared.as_it_lay([prepared.on_own_grid(chunk[:, 1:2]) for chunk in chunks])
    assert back.shape == (1, *shape)
    assert np.abs(back[0] - (values / 128.0 - 1)).max() < 1e-3


@pytest.fixture(scope="module")
def coronal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on coronal slices with neighbours and z-scores, and the folder of its cohort."""
    folder = tmp_path_factory.mktemp("coronal")
    source, _ = write_phantom("nested", folder / "nested", 0, 4, 32)
    changes = ("neighbours=3", "slice_axis=coronal", "scaling.rule=z_score", "scaling.clip_top_percent=2")
    recipe = override(tiny(source, 32), (*changes, "scaling.source=[-1.8,4.4]"), KINDS)
    train(recipe, folder / "run", device="cpu", cache=folder / "cache")
    return folder / "run", source


def test_a_volume_goes_all_the_way_with_neighbours_axis_and_scaling(
    coronal: tuple[Path, Path], tmp_path: Path
) -> None:
    run, source = coronal
    kept = json.loads((run / "preparation.json").read_text())["masks"]
    assert (kept["neighbours"], kept["slice_axis"], kept["axis_is_chosen"]) == (3, 1, True)
    assert kept["intensity"] == [{"rule": "z_score", "low": -1.8, "high": 4.4, "clip_top_percent": 2.0}]
    assert json.loads((run / "material.json").read_text())["channels"] == 3
    written = segment(run, source, tmp_path / "masks", device="cpu")
    for mask in written.masks:
        image = nib.load(source / "imagesTs" / mask.name.replace(".nii.gz", "_0000.nii.gz"))
        drawn = nib.load(mask)
        assert drawn.shape == image.shape and np.array_equal(drawn.affine, image.affine)
    summary = evaluate(tmp_path / "masks", source, tmp_path / "scores")
    overall = summary.overall.metrics
    assert summary.unit == "mm" and overall.masd.mean and overall.masd_voxels.mean


def test_the_largest_piece_alone_is_kept_where_it_is_asked_for(
    volumes: tuple[Path, Path], tmp_path: Path
) -> None:
    run, source = volumes
    image = nib.load(sorted((source / "imagesTs").iterdir())[0])
    values = np.asarray(image.dataobj)
    twice = np.concatenate([values, values], axis=0).astype(np.int16)
    nib.save(nib.Nifti1Image(twice, image.affine), tmp_path / "twice.nii.gz")
    drawn: list[np.ndarray] = []
    for largest in (False, True):
        out = tmp_path / str(largest)
        written = segment(run, tmp_path / "twice.nii.gz", out, largest_component=largest, device="cpu")
        assert json.loads((out / MANIFEST).read_text())["largest_component"] is largest
        drawn.append(np.asarray(nib.load(written.masks[0]).dataobj))
    every, one = drawn
    pieces = {
        index: ndimage.label(every == index, np.ones((3, 3, 3)))[1] for index in np.unique(every[every > 0])
    }
    assert max(pieces.values()) > 1, "two bodies in one volume have more than one of something"
    assert all(ndimage.label(one == index, np.ones((3, 3, 3)))[1] == 1 for index in pieces)
    assert np.array_equal(one[one > 0], every[one > 0])


def test_a_volume_that_does_not_fit_the_run_is_refused_by_name(
    coronal: tuple[Path, Path], tmp_path: Path
) -> None:
    run, source = coronal
    image = nib.load(sorted((source / "imagesTs").iterdir())[0])
    values = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), image.affine), tmp_path / "two.nii.gz")
    with pytest.raises(
        InputFault, match=r"two\.nii\.gz: an image has 2 channels where the run was trained on 1"
    ):
        segment(run, tmp_path / "two.nii.gz", tmp_path / "out", device="cpu")
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 6.0, 1.0])), tmp_path / "thick.nii.gz")
    with pytest.raises(InputFault, match=r"thick\.nii\.gz: .*too anisotropic for coronal ones"):
        segment(run, tmp_path / "thick.nii.gz", tmp_path / "out", device="cpu")
