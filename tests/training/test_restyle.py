"""A segmenter that learns on the source in the target's look: the translator's work lies between two stages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contracts.tiny import tiny_material, write_store

from fewmask.console import silent
from fewmask.data.case import Case, Cohort
from fewmask.data.check import check_folders
from fewmask.data.intensity import EIGHT_BIT
from fewmask.data.layouts import read_cohort
from fewmask.data.orientation import canonical
from fewmask.data.phantom import write_phantom
from fewmask.data.preparation import Preparation
from fewmask.data.raster import read_case, read_classes
from fewmask.data.split import read_splits
from fewmask.data.store import load_store
from fewmask.data.stylised_cohort import Stylised, write_stylised
from fewmask.errors import InputFault
from fewmask.evaluation.segment import segment
from fewmask.evaluation.trained import load_trained
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.glua import style_transfer_only
from fewmask.recipes.placenta import cyclegan, cyclegan_train_on_translated
from fewmask.recipes.segmenter import supervised
from fewmask.training.material import load_material
from fewmask.training.run import Run
from fewmask.training.shares import shares_of, validation_of
from fewmask.training.train import train, trained_method

torch.set_num_threads(1)

SHORT = ("size=32", "steps=3", "batch=2", "network.widths=[4,8]", "translator_width=4", "critic_width=4")


def short(recipe: Recipe, folders: tuple[Path, ...]) -> Recipe:
    recipe = override(recipe, SHORT, KINDS)
    return replace(recipe, cohorts=Cohorts(source=folders[0], target=folders[1]))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_phantom("placenta", tmp_path_factory.mktemp("pair"), cases=10, size=32)


def test_the_segmenter_learns_what_the_translator_drew(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    recipe = short(cyclegan_train_on_translated(True), hospitals)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    run = Run(tmp_path / "run")
    trained = load_trained(run.folder, device="cpu")
    translators = trained_method(recipe, recipe.stage("translators"), trained.method.task, run).eval()
    restyled = load_store(run.folder / "stages" / "target_segmenter" / "restyled")
    (origin,) = [store for store in stores_in(tmp_path / "cache") if (store / "masks.npy").exists()]
    own = load_store(origin)
    rows = np.arange(own.row_count)
    with torch.no_grad():
        expected = translators.restyle(torch.from_numpy(own.images(rows)))
    assert expected is not None
    assert np.allclose(restyled.images(rows), expected.numpy(), atol=2e-3)
    assert not np.allclose(restyled.images(rows), own.images(rows), atol=2e-2)
    assert np.array_equal(restyled.masks(rows), own.masks(rows))
    written = segment(run.folder, hospitals[1], tmp_path / "masks", device="cpu")
    assert len(written.masks) > 0
    cohort = read_cohort(run.folder / "stages" / "target_segmenter" / "stylised" / "Dataset001_stylised")
    assert [case.name for case in cohort.cases] == sorted(f"{name}_style0" for name in own.cases)
    first = cohort.cases[0]
    row = restyled.rows_of([first.name.removesuffix("_style0")])
    frame = restyled.frame(first.name.removesuffix("_style0"))
    pixels = (restyled.images(row)[0][:, *frame] + 1) * 127.5
    assert np.abs(read_case(first).array - pixels).max() <= 0.51
    assert np.array_equal(read_classes(cohort, first), restyled.masks(row)[0][frame])


NARROW = ("size=32", "steps=3", "batch=2", "network.widths=[4,8]", "width=2", "critic_width=2")


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_phantom("nested", tmp_path_factory.mktemp("scanners"), cases=6, size=32)


@pytest.fixture(scope="module")
def stylised(scanners: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """A finished run whose segmenter learnt on six copies of each source case."""
    recipe = override(style_transfer_only(True), NARROW, KINDS)
    recipe = replace(recipe, cohorts=Cohorts(source=scanners[0], target=scanners[1]))
    folder = tmp_path_factory.mktemp("stylised")
    train(recipe, folder / "run", device="cpu", cache=folder / "cache")
    return recipe, Run(folder / "run")


def test_each_case_is_there_in_six_looks_under_one_name(stylised: tuple[Recipe, Run]) -> None:
    recipe, run = stylised
    material = load_material(recipe, run)
    own, restyled = material.stores["source"], load_store(run.folder / "stages/target_segmenter/restyled")
    assert restyled.cases == own.cases
    assert restyled.row_count == 6 * own.row_count
    method = trained_method(recipe, recipe.stages[0], material.task, run).eval()
    target = material.stores["target"]
    method.learn_styles(
        torch.from_numpy(target.images(target.rows_of([case]))) for case in material.splits["target"].train
    )
    for number, case in enumerate(own.cases):
        rows = own.rows_of([case])
        parts = np.split(restyled.rows_of([case]), 6)
        images = torch.from_numpy(own.images(rows))
        for copy, part in enumerate(parts):
            assert np.array_equal(restyled.masks(part), own.masks(rows))
            with torch.no_grad():
                expected = method.restyle_as(images, [number] * len(rows), [copy] * len(rows))
            assert expected is not None
            assert np.allclose(restyled.images(part), expected.numpy(), atol=2e-3)
    assert not np.allclose(restyled.images(parts[0]), restyled.images(parts[5]), atol=1e-3)


def test_the_copies_of_held_out_patients_validate(stylised: tuple[Recipe, Run]) -> None:
    recipe, run = stylised
    material = load_material(recipe, run)
    restyled = load_store(run.folder / "stages/target_segmenter/restyled")
    later = replace(material, stores={**material.stores, "source": restyled})
    stage = recipe.stages[1]
    validation = validation_of(stage, later)
    assert validation is not None
    (share,) = shares_of(stage, 1, later, 1)
    assert set(restyled.cases_at(validation.rows)) == set(material.splits["source"].validation)
    assert set(restyled.cases_at(np.array(share.rows))) == set(material.splits["source"].train)
    assert len(validation.rows) + len(share.rows) == restyled.row_count


def test_the_stylised_volumes_lie_on_disk_as_a_cohort(
    stylised: tuple[Recipe, Run], scanners: tuple[Path, ...]
) -> None:
    recipe, run = stylised
    folder = run.folder / "stages/target_segmenter/stylised/Dataset001_stylised"
    assert check_folders([folder], silent).faults == 0
    cohort, source = read_cohort(folder), read_cohort(scanners[0])
    origins = {case.name: case for case in source.cases}
    material = load_material(recipe, run)
    restyled = load_store(run.folder / "stages/target_segmenter/restyled")
    assert cohort.classes == source.classes
    assert cohort.patients_known
    assert len(cohort.cases) == 6 * len(restyled.cases)
    pixel_mm = material.preparations["source"].pixel_mm
    assert pixel_mm is not None
    for case in cohort.cases:
        name, _, copy = case.name.rpartition("_style")
        assert case.patient == origins[name].patient
        rows = np.split(restyled.rows_of([name]), 6)[int(copy)]
        frame = restyled.frame(name)
        raster, origin = read_case(case), canonical(read_case(origins[name]))
        assert raster.spacing == pytest.approx((pixel_mm, pixel_mm, origin.spacing[2]), rel=0.05)
        assert np.array(raster.shape) * raster.spacing == pytest.approx(
            np.array(origin.shape) * origin.spacing, rel=1e-5
        )
        slices = restyled.images(rows)[:, 0, *frame].transpose(2, 1, 0)
        assert np.corrcoef(raster.array[0].ravel(), slices.ravel())[0, 1] > 0.99999
        assert np.array_equal(read_classes(cohort, case), restyled.masks(rows)[:, *frame].transpose(2, 1, 0))


def test_the_cohort_can_be_trained_on_alone(stylised: tuple[Recipe, Run], tmp_path: Path) -> None:
    folder = stylised[1].folder / "stages/target_segmenter/stylised/Dataset001_stylised"
    recipe = override(supervised(True), NARROW[:4], KINDS)
    train(
        replace(recipe, cohorts=Cohorts(masks=folder)),
        tmp_path / "run",
        device="cpu",
        cache=tmp_path / "cache",
    )
    split = read_splits(Run(tmp_path / "run").splits)[0]
    patients = [{name.rpartition("_style")[0] for name in part} for part in (split.train, split.validation)]
    assert patients[0] and patients[1] and not patients[0] & patients[1]


def test_a_cohort_that_cannot_be_finished_leaves_nothing(
    stylised: tuple[Recipe, Run], scanners: tuple[Path, ...], tmp_path: Path
) -> None:
    recipe, run = stylised
    material = load_material(recipe, run)
    source = read_cohort(scanners[0])
    store = load_store(run.folder / "stages/target_segmenter/restyled")
    looks = material.preparations["target"].intensity
    what = Stylised(
        store, 6, source, material.preparations["source"], material.task.classes, looks, source.channels
    )
    done: list[int] = []

    def stop() -> None:
        done.append(1)
        if len(done) == 2:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_stylised(what, tmp_path / "cohort", stop)
    assert list(tmp_path.iterdir()) == []


def test_ignored_pixels_stay_ignored(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", 1, labelled=True, count=2)
    masks = np.load(store.folder / "masks.npy")
    masks[0, 5] = 255
    np.save(store.folder / "masks.npy", masks)
    cases = tuple(Case(name, (), patient="p", site="Y") for name in store.cases)
    preparation = Preparation("source", 3, 32, (EIGHT_BIT,) * 3)
    names = ("R", "G", "B")
    cohort = Cohort(tmp_path / "origin", "plain", cases, names)
    classes = ("background", "disc", "ruler")
    what = Stylised(store, 1, cohort, preparation, classes, preparation.intensity, names)
    write_stylised(what, tmp_path / "Dataset001_x", lambda: None)
    back = read_cohort(tmp_path / "Dataset001_x")
    assert (back.classes, back.channels) == (classes, names)
    read = np.stack([read_classes(back, case) for case in back.cases])
    assert np.array_equal(read, masks)
    assert {(case.patient, case.site) for case in back.cases} == {("p", "Y")}


def test_translators_of_an_earlier_run_are_taken_over(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(short(cyclegan(True), hospitals), tmp_path / "first", device="cpu", cache=cache)
    second = short(cyclegan_train_on_translated(True), hospitals)
    train(replace(second, start_from=tmp_path / "first"), tmp_path / "second", device="cpu", cache=cache)
    before = torch.load(tmp_path / "first" / "checkpoint_chosen.pt", weights_only=True)["method"]
    after = torch.load(
        tmp_path / "second" / "stages" / "translators" / "checkpoint_chosen.pt", weights_only=True
    )["method"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_stage_that_draws_nothing_cannot_restyle(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    recipe = short(cyclegan_train_on_translated(True), hospitals)
    stages = (*recipe.stages[:2], replace(recipe.stages[2], restyled_by="segmenter"))
    with pytest.raises(InputFault, match="re-draws no images"):
        train(replace(recipe, stages=stages), tmp_path / "run", device="cpu", cache=tmp_path / "cache")


def test_restyled_by_names_an_earlier_stage() -> None:
    recipe = cyclegan_train_on_translated(True)
    stages = (*recipe.stages[:2], replace(recipe.stages[2], restyled_by="translator"))
    with pytest.raises(InputFault, match="restyled_by=translator is no earlier stage; did you mean"):
        replace(recipe, stages=stages)


def stores_in(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if (path / "index.json").exists()]


def test_slices_of_one_intensity_train_no_style(tmp_path: Path) -> None:
    # An instance norm over a constant slice has no gradient but NaN; brain scans end in such slices.
    material = tiny_material(tmp_path / "material")
    store = material.stores["source"]
    images = np.load(store.folder / "images.npy")
    images[1] = -1.0
    images[2] = -1.0
    images[2, :, 0, 0] = 1.0
    np.save(store.folder / "images.npy", images)
    stage = style_transfer_only(True).stages[0]
    rows = [share.rows for share in shares_of(replace(stage, batch=2), 0, material, 1)]
    assert rows[0] == (0, 3, 4)
    assert rows[1] == tuple(range(7))
    plain = shares_of(cyclegan(True).stages[1], 0, material, 1)[0]
    assert plain.rows == (0, 1, 2, 3, 4)
    np.save(store.folder / "images.npy", np.full_like(images, -1.0))
    with pytest.raises(InputFault, match="one intensity"):
        shares_of(stage, 0, material, 1)
