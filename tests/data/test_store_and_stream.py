"""Slices are stored once, and batches are a function of the step."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.console import silent
from fewmask.data.case import Case, Cohort
from fewmask.data.content_key import content_key
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.store import derive_store, load_store, open_store
from fewmask.data.stream import Share, draw, stream
from fewmask.errors import InputFault

PREPARATION = Preparation("masks", 1, 32, (Intensity("fixed", 0, 255),))
VOLUMES = replace(PREPARATION, intensity=(Intensity("fixed", 0, 256),))


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    rng = np.random.default_rng(0)
    cases = []
    for index in range(5):
        image, mask = tmp_path / f"c{index}.png", tmp_path / f"m{index}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(image)
        Image.fromarray(np.full((32, 32), index % 2, np.uint8)).save(mask)
        cases.append(Case(f"c{index}", (image,), mask))
    return Cohort(tmp_path, "plain", tuple(cases), ("grey",), ("background", "organ"), (0, 1))


def opened(cohort: Cohort, cache: Path, labelled: bool = True):
    with silent("", 0) as stored:
        folder = cache / content_key(cohort, cohort.cases, PREPARATION, labelled)
        return open_store(folder, cohort, cohort.cases, PREPARATION, labelled=labelled, stored=stored)


def test_a_store_holds_the_prepared_slices(cohort: Cohort, tmp_path: Path) -> None:
    store = opened(cohort, tmp_path / "cache")
    rows = store.rows_of(["c3", "c1"])
    assert rows.tolist() == [1, 3]
    raw = np.asarray(Image.open(cohort.cases[3].images[0]), np.float32)
    assert np.abs(store.images(rows)[1, 0] - (raw / 127.5 - 1)).max() < 1e-3
    assert store.masks(rows).min() == 1


def test_a_store_is_found_again_and_an_unlabelled_one_holds_no_masks(cohort: Cohort, tmp_path: Path) -> None:
    first = opened(cohort, tmp_path / "cache")
    for case in cohort.cases:
        case.mask.write_bytes(case.mask.read_bytes())
    assert opened(cohort, tmp_path / "cache").folder == first.folder
    bare = opened(cohort.without_masks(), tmp_path / "cache", labelled=False)
    assert bare.folder != first.folder and not (bare.folder / "masks.npy").exists()
    assert not list((tmp_path / "cache").glob(".building-*"))


def test_other_pixels_or_another_preparation_make_another_store(cohort: Cohort) -> None:
    before = content_key(cohort, cohort.cases, PREPARATION, True)
    assert content_key(cohort, cohort.cases, replace(PREPARATION, size=64), True) != before
    Image.new("L", (32, 32), 3).save(cohort.cases[0].images[0])
    assert content_key(cohort, cohort.cases, PREPARATION, True) != before


def test_a_failed_build_leaves_nothing(cohort: Cohort, tmp_path: Path) -> None:
    cohort.cases[4].images[0].write_bytes(b"no picture")
    with pytest.raises(InputFault, match=r"c4\.png"):
        opened(cohort, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_volume_becomes_slices(tmp_path: Path) -> None:
    volume = np.zeros((20, 16, 6), np.int16)
    volume[..., 4] = 255
    nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 4, 1])), tmp_path / "v.nii.gz")
    cohort = Cohort(tmp_path, "plain", (Case("v", (tmp_path / "v.nii.gz",)),), ("mr",))
    with silent("", 0) as stored:
        preparation = replace(PREPARATION, slice_axis=2, intensity=(Intensity("fixed", 0, 200),))
        store = open_store(
            tmp_path / "cache" / "v", cohort, cohort.cases, preparation, labelled=False, stored=stored
        )
    images = store.images(np.arange(store.row_count))
    assert images.shape == (6, 1, 32, 32)
    assert images[4, 0, 16, 16] == 1 and images[3, 0, 16, 16] == -1


def share_of(cohort: Cohort, tmp_path: Path, batch: int = 2) -> Share:
    return Share(opened(cohort, tmp_path / "cache"), tuple(range(5)), batch, True, 0)


def test_every_epoch_shows_each_slice_once_in_another_order(cohort: Cohort, tmp_path: Path) -> None:
    share = share_of(cohort, tmp_path, batch=5)
    epochs = [draw(share, 7, step).images[:, 0, 0, 0].tolist() for step in range(4)]
    assert all(Counter(epoch) == Counter(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_keys_differ_between_epochs_and_seeds(cohort: Cohort, tmp_path: Path) -> None:
    share = share_of(cohort, tmp_path)
    keys = [key for seed in (0, 1) for step in range(20) for key in draw(share, seed, step).keys.tolist()]
    assert len(set(keys)) == len(keys)


def test_workers_and_a_later_start_change_nothing(cohort: Cohort, tmp_path: Path) -> None:
    share = share_of(cohort, tmp_path)
    whole = [parts[0] for parts in stream([share], 3, range(6))]
    later = [parts[0] for parts in stream([share], 3, range(2, 6), workers=2)]
    for mine, theirs in zip(whole[2:], later, strict=True):
        assert torch.equal(mine.images, theirs.images) and torch.equal(mine.keys, theirs.keys)


def test_processes_divide_the_same_batch(cohort: Cohort, tmp_path: Path) -> None:
    share = share_of(cohort, tmp_path, batch=4)
    whole = draw(share, 0, 3).keys.tolist()
    parts = [draw(share, 0, 3, rank, 2).keys.tolist() for rank in range(2)]
    assert parts[0] == whole[0::2] and parts[1] == whole[1::2]


READ_ALL = """
import resource, sys
from pathlib import Path
from fewmask.data.store import SliceStore
from fewmask.data.stream import Share, stream
count = int(sys.argv[2])
store = SliceStore(Path(sys.argv[1]), ("all",), (0,))
for step in stream([Share(store, tuple(range(count)), 8, False, 0)], 0, range(count // 8)):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    peaks = []
    for count in (64, 8192):
        folder = tmp_path / str(count)
        folder.mkdir()
        np.save(folder / "images.npy", np.zeros((count, 1, 128, 128), np.float16))
        run = subprocess.run(
            [sys.executable, "-c", READ_ALL, str(folder), str(count)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(run.stdout) / 1024)
    stored_mib = 8192 * 128 * 128 * 2 / 2**20
    assert stored_mib > 250
    assert peaks[1] - peaks[0] < 25, f"{peaks} MiB for a store of {stored_mib:.0f} MiB"


def test_a_store_knows_which_pixels_are_padding(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "wide.png")
    cohort = Cohort(tmp_path, "plain", (Case("wide", (tmp_path / "wide.png",)),), ("grey",))
    preparation = replace(PREPARATION, size=32)
    with silent("", 0) as stored:
        store = open_store(tmp_path / "s", cohort, cohort.cases, preparation, labelled=False, stored=stored)
    assert load_store(store.folder).frame("wide") == (slice(4, 28), slice(0, 32))
    assert replace(store, frames=()).frame("wide") == (slice(None), slice(None))


def test_stores_of_earlier_versions_are_found_again(tmp_path: Path) -> None:
    """The keys are those that the first released preparation had, for the same bytes."""
    (tmp_path / "image").write_bytes(b"image")
    (tmp_path / "mask").write_bytes(b"mask")
    case = Case("case", (tmp_path / "image",), tmp_path / "mask")
    mr = Cohort(tmp_path, "plain", (case,), ("MR",), ("background", "organ"), (0, 1))
    volume = Preparation("source", 1, 64, (Intensity("own_percentiles"),), 1.5, 2, 0)
    for preparation, keys in (
        (PREPARATION, ("ad3b7cea6b81c19d92769c7dd8391e24", "c855d2bef062859d345a7ec691e557c3")),
        (volume, ("3091879202ae5e5cb0e9716cc1a1aee1", "345e4b6ae37d7c8969caf438867e5b8e")),
    ):
        assert tuple(content_key(mr, mr.cases, preparation, labelled) for labelled in (True, False)) == keys
    assert content_key(mr, mr.cases, replace(volume, neighbours=3), True) == keys[0], "stored slice by slice"
    for other in (
        replace(volume, axis_is_chosen=True),
        replace(volume, intensity=(Intensity("z_score", -2.0, 4.0),)),
        replace(volume, intensity=(Intensity("z_score", -2.0, 4.0, 2.0),)),
    ):
        assert content_key(mr, mr.cases, other, True) != keys[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_put_together_on_reading_and_stay_in_their_case(tmp_path: Path, axis: int) -> None:
    rng = np.random.default_rng(axis)
    volumes = [rng.integers(0, 256, (32, 32, 32)).astype(np.int16) for _ in range(2)]
    cases = []
    for index, volume in enumerate(volumes):
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"v{index}.nii")
        cases.append(Case(f"v{index}", (tmp_path / f"v{index}.nii",)))
    cohort = Cohort(tmp_path, "plain", tuple(cases), ("mr",))
    preparation = replace(VOLUMES, slice_axis=axis, axis_is_chosen=True)
    with silent("", 0) as stored:
        store = open_store(tmp_path / "s", cohort, cohort.cases, preparation, labelled=False, stored=stored)
    seen = replace(store, neighbours=3)
    rows = np.array([63, 0, 31, 32, 5])
    images = seen.images(rows)
    assert (images.shape[1:], seen.image_shape, store.image_shape) == ((3, 32, 32), (3, 32, 32), (1, 32, 32))
    for image, row in zip(images, rows, strict=True):
        case, own = divmod(int(row), 32)
        for channel, beside in enumerate((max(own - 1, 0), own, min(own + 1, 31))):
            raw = np.take(volumes[case], beside, axis=axis).T
            assert np.abs(image[channel] - (raw / 128 - 1)).max() < 1e-3
    assert np.array_equal(images[:, 1:2], store.images(rows))


def test_a_derived_store_keeps_what_was_drawn_of_all_neighbours(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    nib.save(
        nib.Nifti1Image(rng.integers(0, 256, (32, 32, 9)).astype(np.int16), np.eye(4)), tmp_path / "v.nii"
    )
    cohort = Cohort(tmp_path, "plain", (Case("v", (tmp_path / "v.nii",), tmp_path / "v.nii"),), ("mr",))
    cohort = replace(cohort, classes=tuple(map(str, range(256))), label_values=tuple(range(256)))
    with silent("", 0) as stored:
        store = open_store(
            tmp_path / "s", cohort, cohort.cases, replace(VOLUMES, slice_axis=2), labelled=True, stored=stored
        )
        seen = replace(store, neighbours=3)
        drawn = derive_store(tmp_path / "d", seen, lambda images, cases, copies: -images, stored)
    rows = np.arange(9)
    assert np.array_equal(drawn.images(rows), -seen.images(rows))
    assert np.array_equal(drawn.masks(rows), store.masks(rows))
