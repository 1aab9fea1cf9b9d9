"""The drawn cohorts: real nnU-Net folders, the same from run to run, with the traps that they promise."""

import csv
import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, generate_binary_structure

from fewmask.data.phantom import FOLDERS, PHANTOMS, write_phantom
from fewmask.data.phantoms.fields import cloud, nearest_of_curve
from fewmask.data.phantoms.nested import SCANNERS, scan
from fewmask.data.phantoms.placenta import HOSPITALS, photograph, scene
from fewmask.errors import InputFault

BACKGROUND, DISC, CORD, RULER = range(4)
NAMES = {
    "placenta": ("Dataset901_PlacentaSource", "Dataset902_PlacentaTarget"),
    "nested": ("Dataset903_NestedSource", "Dataset904_NestedTarget"),
    "cardiac": ("Dataset905_CardiacMR", "Dataset906_CardiacCT"),
    "abdomen": ("Dataset907_AbdomenMR", "Dataset908_AbdomenCT"),
    "fetal_brain": ("Dataset909_FetalBrain",),
    "cervix": ("Dataset910_CervixPhantom",),
}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    """Both kinds with their own numbers of cases, as small as they come."""
    out = tmp_path_factory.mktemp("phantoms")
    return {kind: write_phantom(kind, out, size=32) for kind in PHANTOMS}


@pytest.fixture(scope="module")
def photographs():
    """Sixty photographs of each hospital at 32 px."""
    return [[photograph(hospital, case, 0, 32) for case in range(60)] for hospital in HOSPITALS]


@pytest.mark.parametrize(
    ("kind", "which", "train", "test"),
    [("placenta", 0, 96, 24), ("placenta", 1, 60, 15), ("nested", 0, 9, 3), ("nested", 1, 9, 3)],
)
def test_a_folder_is_a_valid_nnunet_folder(folders, kind, which, train, test):
    root = folders[kind][which]
    assert root.name == NAMES[kind][which]
    about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    ending = about["file_ending"]
    assert about["numTraining"] == train
    assert list(about["labels"].values()) == list(range(len(about["labels"])))
    assert next(iter(about["labels"])) == "background"
    assert list(about["channel_names"]) == [str(i) for i in range(3 if kind == "placenta" else 1)]
    assert about["synthetic"] is True
    assert (about["made_by"], about["seed"], about["phantom"]) == ("fewmask", 0, kind)
    rows = table(root / "cases.csv")
    for part, suffix, count in (("train", "Tr", train), ("test", "Ts", test)):
        named = {row["case"] for row in rows if row["split"] == part}
        images = {path.name for path in (root / f"images{suffix}").iterdir()}
        masks = {path.name for path in (root / f"labels{suffix}").iterdir()}
        assert len(named) == count
        assert images == {f"{name}_0000{ending}" for name in named}
        assert masks == {f"{name}{ending}" for name in named}


def test_photographs_are_rgb_and_masks_hold_every_class(folders):
    for root in folders["placenta"]:
        assert {"case", "patient", "site", "split", "fir", "mir"} == set(table(root / "cases.csv")[0])
        for path in sorted(root.glob("images*/*.png")):
            mask_path = root / path.parent.name.replace("images", "labels") / path.name.replace("_0000", "")
            image, mask = np.asarray(Image.open(path)), np.asarray(Image.open(mask_path))
            assert image.shape == (32, 32, 3)
            assert mask.shape == (32, 32)
            assert image.dtype == mask.dtype == np.uint8
            assert set(np.unique(mask)) == {BACKGROUND, DISC, CORD, RULER}, path.name


def test_every_class_is_large_enough_to_see(photographs):
    for photos in photographs:
        cover = np.array([np.bincount(photo.mask.ravel(), minlength=4) for photo in photos]) / 32**2
        assert (cover.min(axis=0) > [0.3, 0.1, 0.005, 0.015]).all()
    both = [np.mean([photo.mask == DISC for photo in photos]) for photos in photographs]
    assert both[0] == pytest.approx(both[1], rel=0.1)


def test_no_patient_is_on_both_sides_and_a_tenth_come_twice(folders):
    for kind, roots in folders.items():
        for root in roots:
            rows = table(root / "cases.csv")
            sides: dict[str, list[tuple[str, ...]]] = {}
            for row in rows:
                told = tuple(row[column] for column in row if column not in ("case", "patient", "pixel_mm"))
                sides.setdefault(row["patient"], []).append(told)
            assert all(len(set(told)) == 1 for told in sides.values()), "split and outcomes are a patient's"
            if kind == "cervix":
                continue  # One to four pictures a patient, see its own tests.
            twice = sum(len(told) == 2 for told in sides.values())
            assert max(map(len, sides.values())) <= 2
            if kind != "placenta":
                assert twice == 0
            else:
                assert 0.08 < twice / len(sides) < 0.13
                assert any(len(told) == 2 and told[0][1] == "test" for told in sides.values())


def test_the_ruler_is_brighter_than_the_table_in_the_source_and_darker_in_the_target(photographs):
    for sign, photos in zip((1, -1), photographs, strict=True):
        for photo in photos:
            grey = photo.image.mean(axis=-1)
            difference = np.median(grey[photo.mask == RULER]) - np.median(grey[photo.mask == BACKGROUND])
            assert sign * difference > 40


def test_who_reads_the_sources_colours_exchanges_ruler_and_table_in_the_target(photographs):
    """Nearest mean colour, learnt on the source: right there, wrong on the target, but for disc."""

    def pooled(photos):
        return (
            np.concatenate([photo.image.reshape(-1, 3) for photo in photos]).astype(float),
            np.concatenate([photo.mask.ravel() for photo in photos]),
        )

    (source, truth), (target, target_truth) = pooled(photographs[0]), pooled(photographs[1])
    means = np.stack([source[truth == value].mean(axis=0) for value in range(4)])

    def recall(pixels, mask):
        read = ((pixels[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
        return [np.mean(read[mask == value] == value) for value in range(4)]

    at_home, abroad = recall(source, truth), recall(target, target_truth)
    assert at_home[BACKGROUND] > 0.8
    assert at_home[RULER] > 0.6
    assert abroad[BACKGROUND] < 0.2
    assert abroad[RULER] < 0.1
    assert abroad[DISC] > 0.6


def test_the_distractors_tell_the_outcome_in_the_source_only():
    for hospital, low, high in zip(HOSPITALS, (0.8, -0.25), (0.99, 0.25), strict=True):
        photos = [scene(hospital, case, 5) for case in range(120)]
        for told, outcome in (
            ([p.layout.stained for p in photos], [p.placenta.fir >= 2 for p in photos]),
            ([p.layout.carded for p in photos], [p.placenta.mir >= 2 for p in photos]),
        ):
            assert low < np.corrcoef(told, outcome)[0, 1] < high


def test_cord_and_disc_show_their_stages_in_both_hospitals(photographs):
    for photos in photographs:
        yellow, green = [], []
        for photo in photos:
            red, middle, blue = photo.image.astype(float).transpose(2, 0, 1) / photo.image.mean()
            cord, disc = photo.mask == CORD, photo.mask == DISC
            yellow.append((red - blue)[cord].mean())
            green.append((middle / red)[disc].mean())
        assert np.corrcoef(yellow, [photo.scene.placenta.fir for photo in photos])[0, 1] > 0.6
        assert np.corrcoef(green, [photo.scene.placenta.mir for photo in photos])[0, 1] > 0.6


def test_both_photographs_of_a_patient_show_one_organ_laid_out_anew():
    first, second = (scene(HOSPITALS[0], case, 0) for case in (1, 2))
    assert np.array_equal(first.placenta.waves, second.placenta.waves)
    assert first.layout.rotation != second.layout.rotation
    assert not np.allclose(first.layout.cord, second.layout.cord)


def test_another_size_shows_the_same_scene():
    small, large = (photograph(HOSPITALS[0], 4, 0, size).mask for size in (64, 128))
    halved = large[::2, ::2]
    assert np.mean(small == halved) > 0.97


def test_inner_never_touches_anything_but_outer():
    """In the slices' planes, where voxels are small, and over all cases."""
    cross = generate_binary_structure(2, 1)[:, :, None]
    for scanner in SCANNERS:
        for case in range(12):
            mask = scan(scanner, case, 0, 64).mask
            inner = mask == 2
            assert inner.sum() > 100
            assert (mask[binary_dilation(inner, cross) & ~inner] == 1).all()


def test_volumes_carry_spacing_slant_flips_and_units(folders):
    for root, spacing in zip(folders["nested"], ((2.0, 2.0, 6.0), (1.6, 1.6, 4.0)), strict=True):
        for path in sorted(root.glob("images*/*.nii.gz")):
            volume = nibabel.load(path)
            mask = nibabel.load(
                root / path.parent.name.replace("images", "labels") / path.name.replace("_0000", "")
            )
            assert volume.shape == mask.shape == (32, 32, 11)
            assert volume.get_data_dtype() == np.int16
            assert mask.get_data_dtype() == np.uint8
            assert volume.header.get_zooms() == pytest.approx(spacing, rel=1e-5)
            assert volume.header.get_xyzt_units()[0] == "mm"
            assert (int(volume.header["qform_code"]), int(volume.header["sform_code"])) == (1, 1)
            assert np.allclose(volume.get_qform(), volume.get_sform(), atol=1e-3)
            assert np.array_equal(volume.affine, mask.affine)
            slanted = np.abs(volume.affine[:3, :3][~np.eye(3, dtype=bool)]).max() > 1e-3
            assert slanted == ("Source" in root.name)
            assert nibabel.aff2axcodes(volume.affine) == (tuple("RAS") if slanted else tuple("LPS"))


def test_default_spacing_is_the_scanners_own():
    for scanner, spacing in zip(SCANNERS, ((1.0, 1.0, 3.0), (0.8, 0.8, 2.0)), strict=True):
        volume = scan(scanner, 0, 0, 64)
        assert volume.image.shape == (64, 64, 21)
        assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx(spacing)


def test_left_is_left_and_front_is_front_in_both_scanners():
    """Outer lies to the right and in front of the body's middle, in scanner coordinates, whatever the flips."""
    for scanner, air in zip(SCANNERS, (100, -500), strict=True):
        offsets = []
        for case in range(8):
            volume = scan(scanner, case, 0, 32)

            def middle(chosen, affine=volume.affine):
                return affine[:3, :3] @ np.argwhere(chosen).mean(axis=0) + affine[:3, 3]

            offsets.append(middle(volume.mask > 0) - middle(volume.image > air))
        assert (np.mean(offsets, axis=0)[:2] > 0.8).all()


def test_the_two_structures_change_places_in_grey():
    for scanner, sign in zip(SCANNERS, (1, -1), strict=True):
        volume = scan(scanner, 1, 0, 64)
        outer, inner = (np.median(volume.image[volume.mask == value]) for value in (1, 2))
        assert sign * (outer - inner) > 100


def test_slice_tags_say_where_inner_shows(folders):
    for root in folders["nested"]:
        tags = table(root / "slices.csv")
        assert list(tags[0]) == ["case", "slice", "inner"]
        for path in sorted(root.glob("labels*/*.nii.gz")):
            mask = np.asarray(nibabel.load(path).dataobj)
            told = [row for row in tags if row["case"] == path.name.removesuffix(".nii.gz")]
            assert [int(row["slice"]) for row in told] == list(range(mask.shape[2]))
            assert [int(row["inner"]) for row in told] == [int((mask[..., i] == 2).any()) for i in range(11)]
            assert {row["inner"] for row in told} == {"0", "1"}


def digest(root: Path) -> str:
    """SHA-256 of all pixels, in the files' order."""
    summary = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix == ".png":
            summary.update(np.asarray(Image.open(path)).tobytes())
        elif path.name.endswith(".nii.gz"):
            summary.update(np.asarray(nibabel.load(path).dataobj).tobytes())
    return summary.hexdigest()


@pytest.mark.parametrize("kind", sorted(PHANTOMS))
def test_the_same_seed_gives_the_same_pixels_and_more_cases_change_no_earlier_one(kind, tmp_path):
    few = write_phantom(kind, tmp_path / "few", seed=3, cases=4, size=32)
    again = write_phantom(kind, tmp_path / "again", seed=3, cases=4, size=32)
    more = write_phantom(kind, tmp_path / "more", seed=3, cases=6, size=32)
    other = write_phantom(kind, tmp_path / "other", seed=4, cases=4, size=32)
    for one, same, longer, different in zip(few, again, more, other, strict=True):
        assert digest(one) == digest(same) != digest(different)
        assert table(one / "cases.csv") == table(longer / "cases.csv")[:4]
        for path in one.rglob("*.png"):
            assert path.read_bytes() == (longer / path.relative_to(one)).read_bytes()


def frozen(pixels) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in pixels)).hexdigest()[
        :16
    ]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (("placenta", 0), "91f7d45063379c2b"),
        (("placenta", 1), "423ffbb69b987262"),
        (("nested", 0), "acfca2b2884d0eac"),
        (("nested", 1), "0c1e07c3e92b9a9f"),
    ],
)
def test_the_phantoms_are_frozen(which, expected):
    """A changed checksum is a changed phantom: figures measured on the old one no longer hold.

    Another numpy may change its generators' streams, and another machine's last digit may in principle round
    one pixel otherwise (all is float64 until then); then look at the pictures before changing the sums.
    """
    kind, index = which
    if kind == "placenta":
        drawn = [photograph(HOSPITALS[index], case, 0, 48) for case in range(3)]
    else:
        drawn = [scan(SCANNERS[index], case, 0, 32) for case in range(3)]
    grey = [photo.image if kind == "placenta" else photo.image.astype(np.uint8) for photo in drawn]
    assert frozen([*grey, *(photo.mask for photo in drawn)]) == expected


def test_dash_and_underscore_are_equal_in_kinds(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(PHANTOMS, "two_words", lambda out, *given: seen.append(given) or ())
    monkeypatch.setitem(FOLDERS, "two_words", ())
    assert write_phantom("two-words", tmp_path, seed=2, cases=5) == ()
    assert seen == [(2, 5, None)]


def test_a_full_disk_or_a_kill_blocks_no_further_try(tmp_path, monkeypatch):
    draw = PHANTOMS["placenta"]

    def fills_the_disk(out, *given):
        draw(out, *given)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setitem(PHANTOMS, "placenta", fills_the_disk)
        write_phantom("placenta", tmp_path, cases=4, size=32)
    assert list(tmp_path.iterdir()) == []
    # A kill cannot clear up: what it leaves is what `draw` had written so far.
    (tmp_path / ".placenta.unfinished" / NAMES["placenta"][0] / "imagesTr").mkdir(parents=True)
    folders = write_phantom("placenta", tmp_path, cases=4, size=32)
    assert sorted(tmp_path.iterdir()) == list(folders)
    assert all((folder / "dataset.json").is_file() for folder in folders)


def test_an_unknown_kind_is_refused_with_the_nearest_one(tmp_path):
    with pytest.raises(InputFault, match="did you mean 'placenta'"):
        write_phantom("placnta", tmp_path)


@pytest.mark.parametrize("kind", sorted(PHANTOMS))
@pytest.mark.parametrize(
    ("numbers", "remedy"),
    [({"cases": 3}, "4 or more"), ({"size": 31}, "32 or more"), ({"seed": -1}, "positive")],
)
def test_numbers_that_cannot_be_drawn_are_refused_before_anything_is_written(tmp_path, kind, numbers, remedy):
    with pytest.raises(InputFault, match=remedy) as fault:
        write_phantom(kind, tmp_path, **numbers)
    assert "\n" not in str(fault.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(PHANTOMS))
def test_a_folder_that_holds_something_is_left_alone(tmp_path, kind):
    theirs = tmp_path / NAMES[kind][-1] / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine", encoding="utf-8")
    with pytest.raises(InputFault, match="choose another folder"):
        write_phantom(kind, tmp_path, cases=4, size=32)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
    theirs.unlink()
    written = write_phantom(kind, tmp_path, cases=4, size=32)
    assert tuple(folder.name for folder in written) == NAMES[kind], "an empty folder is free"


def test_a_cloud_has_unit_deviation_whatever_its_shape():
    for shape, cells in (((200, 200), (20, 20)), ((60, 50, 40), (12, 10, 8))):
        field = cloud(np.random.default_rng(0), shape, cells)
        assert field.shape == shape
        assert field.std() == pytest.approx(1.0, abs=0.15)


def test_distance_to_a_curve_agrees_with_all_pairs():
    generator = np.random.default_rng(1)
    points, widths = generator.uniform(-2, 22, size=(30, 2)), generator.uniform(1, 3, size=30)
    distance, nearest = nearest_of_curve(points, widths, 20, 1.5)
    places = np.stack(np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5, indexing="ij"), axis=-1)
    pairs = np.linalg.norm(places[:, :, None] - points, axis=-1) / widths
    assert np.allclose(distance, np.minimum(pairs.min(axis=-1), 1.5), atol=1e-3)
    near = distance < 1.49
    assert np.allclose(np.take_along_axis(pairs, nearest[..., None], -1)[near, 0], distance[near], atol=1e-3)
