"""A mask lies where its image's content lies, however the file is turned."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
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
