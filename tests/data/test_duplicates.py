from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.data import duplicates
from fewmask.data.case import Case
from fewmask.data.duplicates import (
    array_hash,
    exact_pairs,
    fingerprint,
    group_near_duplicates,
    near_duplicates,
    near_pairs,
    perceptual_hash,
)
from fewmask.data.raster import read_case

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def scene(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth random picture, unlike that of any other seed, in [0, 255]."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (12, 16)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth), 0, 255)


def save(path: Path, picture: np.ndarray) -> Case:
    Image.fromarray(picture.astype(np.uint8)).save(path)
    return Case(path.stem, (path,))


def content(case: Case) -> str:
    return array_hash(read_case(case).array)


def test_content_is_that_of_the_pixels_not_of_the_file(tmp_path: Path) -> None:
    one = save(tmp_path / "one.png", scene(0))
    again = save(tmp_path / "again.tif", scene(0))
    assert one.images[0].read_bytes() != again.images[0].read_bytes()
    assert content(one) == content(again)
    touched = scene(0).copy()
    touched[3, 4] = (touched[3, 4] + 100) % 256
    assert content(one) != content(save(tmp_path / "touched.png", touched))


def test_content_ignores_the_number_type_and_grey_saved_as_rgb_but_not_the_shape() -> None:
    grey = scene(0).astype(np.uint8)[None]
    assert array_hash(grey) == array_hash(grey.astype(np.float64)) == array_hash(np.repeat(grey, 3, axis=0))
    assert array_hash(grey) != array_hash(grey.reshape(1, 128, 96))
    assert array_hash(np.zeros((1, 4, 4), np.float32)) == array_hash(-np.zeros((1, 4, 4), np.float32))


def test_content_sees_every_channel() -> None:
    colours = np.stack([scene(0), scene(1), scene(2)])
    changed = colours.copy()
    changed[2, 0, 0] += 1
    assert array_hash(colours) != array_hash(changed)


def test_perceptual_hash_is_64_known_bits() -> None:
    rising = np.tile(np.arange(90.0), (80, 1))
    assert perceptual_hash(rising) == 2**64 - 1
    assert perceptual_hash(rising[:, ::-1]) == 0
    # Only the last block of the top row is brighter than its neighbour: bit 8 from the left.
    corner = np.zeros((8, 9))
    corner[0, 8] = 1
    assert perceptual_hash(corner) == 1 << 56
    assert perceptual_hash(np.full((50, 60), 7)) == 0


def changed(picture: np.ndarray, how: str) -> np.ndarray:
    if how == "smaller":
        return np.asarray(Image.fromarray(picture).resize((90, 70), Image.Resampling.BILINEAR))
    if how == "brighter":
        return picture * 0.7 + 60
    if how == "noisy":
        return picture + np.random.default_rng(9).normal(0, 5, picture.shape).astype(np.float32)
    marked = picture.copy()
    marked[40:43, 30:33] = marked[70:73, 100:103] = 255
    return marked


@pytest.mark.parametrize("how", ["smaller", "brighter", "noisy", "callipers"])
def test_a_changed_copy_is_found_and_another_picture_is_not(how: str) -> None:
    pictures = {str(seed): scene(seed) for seed in range(20)} | {"copy": changed(scene(4), how)}
    marks = {name: fingerprint(picture[None]) for name, picture in pictures.items()}
    assert near_pairs(marks) == (("4", "copy"),)
    assert exact_pairs(marks) == ()
    groups = near_duplicates(marks)
    assert groups["copy"] == groups["4"] == "4"
    assert len(set(groups.values())) == 20


def test_groups_are_chains_and_named_after_their_first_member() -> None:
    steps = {name: 0.13 * index for index, name in enumerate("dcba")}
    chain = {
        name: fingerprint((scene(0) * (1 - share) + scene(1) * share)[None]) for name, share in steps.items()
    }
    assert ("a", "d") not in near_pairs(chain)
    assert set(near_duplicates(chain).values()) == {"a"}


def test_flat_images_resemble_nothing() -> None:
    marks = {str(value): fingerprint(np.full((1, 50, 60), value, np.float32)) for value in (0, 0.1, 7, 1e6)}
    marks["again"] = marks["7"]
    assert near_pairs(marks) == exact_pairs(marks) == ()
    assert near_duplicates(marks) == {name: name for name in marks}
    assert near_pairs({}) == () and near_duplicates({}) == {}


def test_blocks_do_not_change_the_pairs() -> None:
    marks = {f"{seed:02}": fingerprint(scene(seed % 7)[None]) for seed in range(21)}
    one, other = near_pairs(marks, block=4), near_pairs(marks, block=1000)
    assert sorted(one) == sorted(other)
    assert len(other) == 7 * 3
    assert len(exact_pairs(marks)) == 14


def test_files_are_grouped_and_volumes_are_known_by_their_middle_slice(tmp_path: Path) -> None:
    cases = []
    for name, seed in (("one", 0), ("copy", 0), ("other", 1)):
        volume = np.stack([scene(seed + 10 * z) for z in range(5)], axis=-1)
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(volume + (2.0 if name == "copy" else 0.0), np.eye(4)), path)
        cases.append(Case(name, (path,)))
    seen: list[int] = []
    groups = group_near_duplicates(cases, lambda: seen.append(1))
    assert groups == {"one": "copy", "copy": "copy", "other": "other"}
    assert len(seen) == 3


def real(folder: str) -> dict[str, duplicates.Fingerprint]:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the real data ../shared/data/{folder} is not there")
    paths = sorted((SHARED / folder).glob("imagesT[rs]/*_0000.png"))
    return {path.stem[:-5]: fingerprint(read_case(Case(path.stem, (path,))).array) for path in paths}


def test_chest_x_rays_of_different_patients_are_not_grouped() -> None:
    marks = real("Dataset101_JSRT")
    assert len(marks) == 247
    assert near_pairs(marks) == ()


def test_the_one_repeated_view_among_the_covid_x_rays_is_found() -> None:
    pairs = near_pairs(real("Dataset102_COVIDCXR"))
    assert [(one[:8], other[:8]) for one, other in pairs] == [("E63574A7", "F4341CE7")]


def test_repeated_views_among_breast_ultrasounds_are_found_in_small_groups() -> None:
    marks = real("Dataset301_BUSI")
    sizes = Counter(near_duplicates(marks).values())
    assert 80 < sum(size > 1 for size in sizes.values()) < 150
    assert max(sizes.values()) <= 6


@pytest.mark.parametrize(
    ("bits", "coarse", "detail", "near"),
    [
        (10, 0.98, 0.91, True),
        (11, 0.98, 0.91, False),
        (10, 0.96, 0.91, False),
        (10, 0.98, 0.89, False),
    ],
)
def test_each_of_the_three_rules_can_part_two_images(
    bits: int, coarse: float, detail: float, near: bool
) -> None:
    def towards(likeness: float) -> np.ndarray:
        vector = np.zeros(duplicates.SIDE**2, np.float32)
        vector[:2] = likeness, (1 - likeness**2) ** 0.5
        return vector

    one = duplicates.Fingerprint("one", 0, towards(1.0), towards(1.0))
    other = duplicates.Fingerprint("other", 2**bits - 1, towards(coarse), towards(detail))
    assert bool(near_pairs({"one": one, "other": other})) is near
