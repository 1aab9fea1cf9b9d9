import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.stats import wasserstein_distance

from fewmask.data.case import Case, Cohort
from fewmask.data.check import check_cohort, check_pair, report_mapping
from fewmask.data.findings import CohortReport, format_pair, format_report
from fewmask.data.gap import Style, measure_gap, style
from fewmask.data.layouts import read_cohort
from fewmask.data.split import split_cohort
from fewmask.recipe import SplitConfig

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def scene(seed: int, side: int = 48) -> np.ndarray:
    """A picture with a bright disc on a smooth ground, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 120, (8, 8)).astype(np.float32)
    ground = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return np.where(disc(seed, side), ground + 110, ground + rng.normal(0, 3, (side, side))).clip(0, 255)


def disc(seed: int, side: int = 48) -> np.ndarray:
    y, x = np.random.default_rng(seed + 1000).uniform(side * 0.3, side * 0.7, 2)
    rows, columns = np.mgrid[:side, :side]
    return (rows - y) ** 2 + (columns - x) ** 2 < (side / 6) ** 2


def pictures(
    root: Path, seeds: Sequence[int], mask_value: int = 1, invert: bool = False, parts: str = "train"
) -> Cohort:
    """A folder of PNGs with masks, one case a seed."""
    root.mkdir()
    cases: list[Case] = []
    for index, seed in enumerate(seeds):
        image, mask = root / f"c{index:03}_0000.png", root / f"c{index:03}.png"
        values = 255 - scene(seed) if invert else scene(seed)
        Image.fromarray(values.astype(np.uint8)).save(image)
        Image.fromarray((disc(seed) * mask_value).astype(np.uint8)).save(mask)
        cases.append(Case(f"c{index:03}", (image,), mask, part=parts.split()[index % len(parts.split())]))
    return Cohort(
        root, "nnunet", tuple(cases), ("X-ray",), ("background", "lesion"), (0, 1), patients_known=True
    )


def reasons(report: CohortReport) -> str:
    return "\n".join(f"{finding.reason}: {finding.cases}" for finding in (*report.faults, *report.warnings))


def test_a_sound_folder_is_described(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(10), parts="train train test")
    cases = tuple(
        replace(case, site="north" if index < 4 else "south") for index, case in enumerate(cohort.cases)
    )
    seen: list[int] = []
    report = check_cohort(replace(cohort, cases=cases), lambda: seen.append(1))
    assert len(seen) == 10
    assert (report.cases, report.patients, report.train, report.test) == (10, 10, 7, 3)
    assert [(site.name, site.cases) for site in report.sites] == [("north", 4), ("south", 6)]
    assert (report.labelled, report.unreadable, report.empty_masks) == (10, 0, 0)
    assert [axis.median for axis in report.size] == [48, 48]
    assert (report.unit, report.number_types) == ("px", ("uint8",))
    share = np.mean([disc(seed).mean() for seed in range(10)])
    assert [entry.name for entry in report.classes] == ["background", "lesion"]
    assert [entry.share for entry in report.classes] == pytest.approx([1 - share, share])
    assert report.classes[1].cases == 10
    low, middle, high = np.median(
        [np.percentile(scene(seed).astype(np.uint8), (0.5, 50, 99.5)) for seed in range(10)], axis=0
    )
    channel = report.channels[0]
    assert (channel.name, channel.low, channel.middle, channel.high) == ("X-ray", low, middle, high)
    assert report.faults == report.warnings == ()


def test_sizes_and_spacings_of_volumes_are_ranges_in_mm(tmp_path: Path) -> None:
    cases = []
    for index, depth in enumerate((3, 4, 8)):
        path = tmp_path / f"v{index}.nii.gz"
        volume = np.stack([scene(index * 10 + z, 24) for z in range(depth)], axis=-1).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.diag([0.5, 0.5, 2.0 + index, 1.0])), path)
        cases.append(Case(f"v{index}", (path,)))
    report = check_cohort(Cohort(tmp_path, "plain", tuple(cases), ("MR",)))
    assert [(axis.least, axis.median, axis.most) for axis in report.size] == [(24,) * 3, (24,) * 3, (3, 4, 8)]
    assert [axis.median for axis in report.spacing] == pytest.approx([0.5, 0.5, 3.0])
    assert (report.unit, report.labelled, report.number_types) == ("mm", 0, ("int16",))
    assert "24 x 24 x 4 (3-8) px" in format_report(report)


def test_one_bad_file_is_a_fault_and_does_not_stop_the_check(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(4))
    cohort.cases[1].images[0].write_bytes(b"\x89PNG no picture")
    cohort.cases[2].images[0].unlink()
    report = check_cohort(cohort)
    assert report.unreadable == 2
    assert [finding.cases for finding in report.faults] == [("c001",), ("c002",)]
    assert "c001_0000.png" in report.faults[0].reason
    assert report.labelled == 2


def test_values_that_are_not_declared_are_told_with_the_files(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(9), mask_value=3)
    report = check_cohort(cohort)
    assert [finding.cases for finding in report.faults] == [tuple(f"c{i:03}" for i in range(9))]
    assert "label value 3 is not declared; add it to dataset.json (or write one" in report.faults[0].reason
    text = format_report(report)
    assert "c004 and 4 more" in text and "c005" not in text
    assert not check_cohort(replace(cohort, label_values=(0, 3))).faults
    ignored = check_cohort(replace(cohort, ignored_value=3))
    assert not ignored.faults
    assert (ignored.empty_masks, ignored.classes[0].share) == (9, 1.0)


def test_masks_that_mark_nothing_or_do_not_fit(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(4))
    masks = [case.mask for case in cohort.cases if case.mask]
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(masks[0])
    Image.fromarray(np.zeros((48, 50), np.uint8)).save(masks[1])
    masks[2].write_bytes(b"no mask")
    report = check_cohort(cohort)
    assert (report.empty_masks, report.labelled, report.classes[1].cases) == (1, 2, 1)
    assert "48 x 50 on an image of 48 x 48" in report.faults[0].reason
    assert "c002.png" in report.faults[1].reason
    assert "the mask marks nothing: ('c000',)" in reasons(report)


def test_a_mask_that_lies_elsewhere_is_a_fault(tmp_path: Path) -> None:
    volume = np.stack([scene(z, 24) for z in range(4)], axis=-1)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "i.nii.gz")
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image((volume > 150).astype(np.uint8), turned), tmp_path / "m.nii.gz")
    case = Case("c", (tmp_path / "i.nii.gz",), tmp_path / "m.nii.gz")
    cohort = Cohort(tmp_path, "plain", (case,), ("MR",), ("background", "x"), (0, 1))
    (finding,) = check_cohort(cohort).faults
    assert "image and mask lie in different places" in finding.reason and "resample" in finding.reason
    assert finding.cases == ("c",)


def test_intensities_of_a_volume_are_those_of_all_its_slices(tmp_path: Path) -> None:
    """A step of constant length through this shape would see the first slice alone."""
    volume = np.broadcast_to(np.arange(24, dtype=np.int16) * 10, (320, 320, 24))
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii")
    report = check_cohort(Cohort(tmp_path, "plain", (Case("v", (tmp_path / "v.nii",)),), ("MR",)))
    channel = report.channels[0]
    assert (channel.low, channel.high) == (0, 230)
    assert 100 <= channel.middle <= 130
    expected = style(volume.astype(np.float64)[None] + np.linspace(0, 1e-3, 320)[:, None, None], (1, 1, 1))
    values = np.sort(volume.ravel())[np.linspace(0, volume.size - 1, 64).astype(int)] / 230
    np.testing.assert_allclose(expected.quantiles, values, atol=0.06)


def test_copies_and_leaks(tmp_path: Path) -> None:
    # c000 and c003 are one picture, in train and test; c001 and c004 are one picture, both in train.
    cohort = pictures(tmp_path / "d", [0, 1, 2, 0, 1, 3])
    parts = ["train", "train", "test", "test", "train", "test"]
    cases = [replace(case, part=part) for case, part in zip(cohort.cases, parts, strict=True)]
    cases[1] = replace(cases[1], patient="same")
    cases[2] = replace(cases[2], patient="same")
    nearly = np.asarray(Image.open(cases[0].images[0])).copy()
    nearly[5:7, 5:7] = 255
    Image.fromarray(nearly).save(cases[5].images[0])
    report = check_cohort(replace(cohort, cases=tuple(cases)))
    assert report.exact_duplicates == (("c000", "c003"), ("c001", "c004"))
    assert report.near_duplicates == (("c000", "c005"), ("c003", "c005"))
    faults = {finding.reason.split(";")[0]: finding.cases for finding in report.faults}
    assert faults == {
        "test cases of patients who are in the train part too": ("c002",),
        "the same image is in the train and the test part": ("c000 = c003",),
    }
    assert "nearly the same image in the train and the test part: ('c000 ~ c005',)" in reasons(report)
    assert "the same image twice in one part: ('c001 = c004',)" in reasons(report)


def test_channels_that_do_not_match_nan_and_flat_images(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(3))
    Image.fromarray(np.full((48, 48), 9, np.uint8)).save(cohort.cases[0].images[0])
    Image.fromarray(np.stack([scene(1).astype(np.uint8), *[scene(2).astype(np.uint8)] * 2], -1)).save(
        cohort.cases[1].images[0]
    )
    report = check_cohort(cohort)
    assert "channels: 3 instead of 1; mend dataset.json or the image: ('c001',)" in reasons(report)
    assert "no contrast at all in the image: ('c000',)" in reasons(report)
    assert report.channels == ()
    format_report(report)


def test_pictures_among_volumes_are_a_fault(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(2))
    path = tmp_path / "d" / "v.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([scene(5), scene(6)], -1), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    report = check_cohort(replace(cohort, cases=(*cohort.cases, Case("v", (path,)))))
    assert "pictures among volumes; keep them in two folders: ('c000', 'c001')" in reasons(report)
    assert report.size == ()
    assert report.unit == "mm/px"


def test_the_text_fits_a_page_whatever_is_wrong(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(30))
    for case in cohort.cases[:20]:
        case.images[0].write_bytes(b"broken")
    many = tuple(f"class {i}" for i in range(40))
    report = check_cohort(
        replace(cohort, classes=("background", *many), label_values=tuple(range(41)), remarks=("told",) * 9)
    )
    lines = format_report(report).splitlines()
    assert len(lines) <= 40
    assert any("and 12 more" in line for line in lines)


def test_an_empty_folder_and_a_folder_of_broken_files_are_reported(tmp_path: Path) -> None:
    empty = check_cohort(Cohort(tmp_path, "plain", (), ("X-ray",)))
    assert empty.cases == 0
    format_report(empty)
    pair = check_pair(empty, empty)
    assert pair.gap is None
    format_pair(pair)


def test_json_holds_the_report_and_not_the_fingerprints(tmp_path: Path) -> None:
    one = check_cohort(pictures(tmp_path / "a", range(4)))
    two = check_cohort(pictures(tmp_path / "b", range(10, 14)))
    content = json.loads(json.dumps(report_mapping(one), allow_nan=False))
    assert content["cases"] == 4 and content["evidence"] == []
    assert content["classes"][1]["name"] == "lesion"
    pair = json.loads(json.dumps(report_mapping(check_pair(one, two)), allow_nan=False))
    assert pair["gap"]["size"] == 1.0


def test_a_pair_tells_of_copies_channels_and_classes(tmp_path: Path) -> None:
    source = pictures(tmp_path / "a", [0, 1, 2])
    target = replace(pictures(tmp_path / "b", [7, 8, 1]), channels=("CT",), classes=("background", "tumour"))
    pair = check_pair(check_cohort(source), check_cohort(target))
    assert [finding.cases for finding in pair.faults] == [("source c001 = target c002",)]
    told = " ".join(finding.reason for finding in pair.warnings)
    assert "channels of other names" in told and "classes differ" in told
    whole = check_cohort(source)
    assert not check_pair(whole, whole).faults


def test_a_pair_of_other_channel_counts_is_a_fault_with_the_remedy(tmp_path: Path) -> None:
    colours = pictures(tmp_path / "a", range(3))
    for case in colours.cases:
        grey = np.asarray(Image.open(case.images[0]))
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], -1)).save(case.images[0])
    colours = replace(colours, channels=("R", "G", "B"))
    pair = check_pair(check_cohort(colours), check_cohort(pictures(tmp_path / "b", range(10, 13))))
    assert "--source-channel" in pair.faults[0].reason
    assert pair.gap is not None


def test_the_gap_of_alike_cohorts_is_one_and_of_inverted_ones_large(tmp_path: Path) -> None:
    one = check_cohort(pictures(tmp_path / "a", range(24)))
    two = check_cohort(pictures(tmp_path / "b", range(100, 124)))
    other = check_cohort(pictures(tmp_path / "c", range(200, 224), invert=True))
    alike, inverted = check_pair(one, two).gap, check_pair(one, other).gap
    assert alike and inverted
    assert 0.85 < alike.intensity < 1.3 and 0.85 < alike.texture < 1.2
    assert "small gap" in alike.advice
    assert inverted.intensity > 3 * alike.intensity
    # Turning black to white leaves the spectrum, and turns the structures from bright to dark.
    assert 0.85 < inverted.texture < 1.2
    assert inverted.contrast is not None and inverted.contrast > 3
    assert "large gap" in inverted.advice and "cyclegan" in inverted.advice


def test_intensity_is_the_wasserstein_distance_over_the_spread() -> None:
    rng = np.random.default_rng(0)
    images = [rng.beta(a, 2, (1, 80, 80)) for a in (1.0, 1.2, 1.4, 4.0, 5.0, 6.0)]
    ranges = [np.percentile(image, (0.5, 99.5)) for image in images]
    flat = [
        ((image - low) / (high - low)).clip(0, 1).ravel()
        for image, (low, high) in zip(images, ranges, strict=True)
    ]
    far = np.mean([wasserstein_distance(a, b) for a in flat[:3] for b in flat[3:]])
    pairs = ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5))
    near = [wasserstein_distance(flat[i], flat[j]) for i, j in pairs]
    styles = [style(image, (1.0, 1.0)) for image in images]
    assert measure_gap(styles[:3], styles[3:], True).intensity == pytest.approx(far / np.mean(near), rel=0.03)


def test_intensity_does_not_see_the_scale_of_the_numbers_and_texture_sees_blur() -> None:
    sharp = [np.random.default_rng(seed).normal(size=(1, 128, 128)) for seed in range(6)]
    blurred = [(image + np.roll(image, 1, 1) + np.roll(image, 1, 2)) / 3 for image in sharp[3:]]
    styles = [style(image, (1.0, 1.0)) for image in sharp]
    scaled = [style(image * 700 - 50, (1.0, 1.0)) for image in sharp[3:]]
    plain, stretched = (measure_gap(styles[:3], others, True) for others in (styles[3:], scaled))
    assert stretched.intensity == pytest.approx(plain.intensity, rel=1e-4)
    assert stretched.texture == pytest.approx(plain.texture, rel=1e-4)
    assert measure_gap(styles[:3], [style(image, (1.0, 1.0)) for image in blurred], True).texture > 2


def test_size_compares_extents_in_one_unit_only() -> None:
    small = style(scene(0)[None], (0.5, 0.5))
    large = style(scene(1)[None], (2.0, 1.0))
    assert small.extent == 24 and large.extent == 96
    assert measure_gap([small], [large], True).size == measure_gap([large], [small], True).size == 4
    assert measure_gap([small], [large], False).size is None


def test_contrast_is_the_share_of_the_surroundings_that_is_darker() -> None:
    image = np.arange(100.0).reshape(1, 10, 10)
    labelled = np.zeros((10, 10), bool)
    labelled[7] = True
    assert style(image, (1, 1), labelled).contrast == pytest.approx(70 / 90)
    # What is exactly as dark counts half.
    assert style(image // 20, (1, 1), labelled).contrast == pytest.approx((60 + 0.5 * 10) / 90)
    assert style(image, (1, 1), np.zeros((10, 10), bool)).contrast is None
    assert style(image, (1, 1)).contrast is None


def test_alike_images_of_other_channels_are_not_called_a_small_gap_without_masks(tmp_path: Path) -> None:
    bare = [
        pictures(tmp_path / name, range(at, at + 8)).without_masks() for name, at in (("a", 0), ("b", 50))
    ]
    one, two = (check_cohort(cohort) for cohort in bare)
    other = check_cohort(replace(bare[1], channels=("T1",)))
    same, strange = check_pair(one, two), check_pair(one, other)
    assert same.gap and strange.gap and same.gap.contrast is None
    assert (
        same.gap.advice.startswith("small gap")
        and "contrast of the structures is not known" in same.gap.advice
    )
    assert strange.gap.advice.startswith("no gap seen") and "expect adaptation to help" in strange.gap.advice
    assert format_pair(strange).startswith("a (X-ray) -> b (T1)")


def test_flat_images_have_a_finite_gap() -> None:
    flat = [style(np.full((1, 20, 20), value, np.float32), (1.0, 1.0)) for value in (0, 5)]
    gap = measure_gap(flat, [style(scene(0)[None], (1.0, 1.0))], True)
    assert np.isfinite(gap.intensity) and np.isfinite(gap.texture)


def real(folder: str, channel: int = 0) -> list[Style]:
    """The styles of a real folder's images, some thirty of each, with their masks."""
    root = SHARED / folder
    if not root.is_dir():
        pytest.skip(f"the real data ../shared/data/{folder} is not there")
    paths = sorted(root.glob(f"imagesTr/*_000{channel}.*"))
    step = max(1, len(paths) // 30)
    cases = [
        Case(path.name, (path,), root / "labelsTr" / path.name.replace(f"_000{channel}.", "."))
        for path in paths[::step]
    ]
    colours = folder.startswith("Dataset50")
    channels = ("R", "G", "B") if colours else ("one",)
    cohort = Cohort(root, "nnunet", tuple(cases), channels, ("background", "x"), (0, 1))
    report = check_cohort(cohort)
    assert not report.faults
    return [entry.style for entry in report.evidence]


def test_chest_x_rays_of_two_hospitals_are_a_medium_gap() -> None:
    gap = measure_gap(real("Dataset101_JSRT"), real("Dataset102_COVIDCXR"), True)
    assert 1.2 < gap.intensity < 3 and gap.contrast is not None and gap.contrast < 1.5
    assert gap.advice.startswith("medium gap")


def test_nuclei_in_two_stains_are_a_large_gap() -> None:
    gap = measure_gap(
        real("Dataset501_Nuclei_fluorescence"), real("Dataset502_Nuclei_histology_stained"), True
    )
    assert gap.intensity > 5 and gap.contrast is not None and gap.contrast > 5
    assert gap.advice.startswith("large gap")


def test_flair_and_t1_differ_in_contrast_alone() -> None:
    gap = measure_gap(real("Dataset201_LGG", 0), real("Dataset201_LGG", 1), True)
    assert gap.intensity < 1.5 and gap.texture < 1.5
    assert gap.contrast is not None and gap.contrast > 3
    assert gap.advice.startswith("large gap")


def test_a_check_takes_some_milliseconds_a_case(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "d", range(20))
    started = time.perf_counter()
    check_cohort(cohort)
    # About 5 ms of work a case; the bound leaves room for a busy machine and still fails on a quadratic step.
    assert (time.perf_counter() - started) / 20 < 0.1


def test_a_folder_read_from_disk_is_checked_and_split(tmp_path: Path) -> None:
    for index in range(6):
        for part in ("imagesTr", "labelsTr"):
            (tmp_path / part).mkdir(exist_ok=True)
        name = f"c{index}"
        Image.fromarray(scene(index).astype(np.uint8)).save(tmp_path / "imagesTr" / f"{name}_0000.png")
        Image.fromarray(disc(index).astype(np.uint8)).save(tmp_path / "labelsTr" / f"{name}.png")
    described = {
        "channel_names": {"0": "X-ray"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 6,
        "file_ending": ".png",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    rows = "".join(f"c{index},p{index // 2}\n" for index in range(6))
    (tmp_path / "cases.csv").write_text("case,patient\n" + rows)
    cohort = read_cohort(tmp_path)
    report = check_cohort(cohort)
    assert (report.cases, report.patients, report.labelled, report.faults) == (6, 3, 6, ())
    assert [entry.name for entry in report.classes] == ["background", "lesion"]
    split = split_cohort(cohort, SplitConfig(), 0)
    held = {int(name[1:]) // 2 for name in split.validation}
    assert len(split.validation) == 2 and len(held) == 1
