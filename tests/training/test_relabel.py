"""From tags to masks: what lies between the classifier and the segmenter, and what a person may put in its place."""

import csv
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.tagged import DEPTH, SHOWN, change_tags, short, write_tagged

from fewmask.data.layouts import read_cohort
from fewmask.data.prepared_case import prepare_case
from fewmask.data.raster import read_classes
from fewmask.data.split import read_splits
from fewmask.errors import InputFault, Interrupted
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.pseudo_masks import load_pseudo_masks
from fewmask.evaluation.segment import segment
from fewmask.methods.kinds import KINDS
from fewmask.pseudo_label_config import CamMaps, Expansion, PseudoLabels
from fewmask.pseudo_labels.seeds import THRESHOLDS
from fewmask.recipe import Cohorts, Recipe, SplitConfig, override
from fewmask.recipes.fetal_brain import fullysup
from fewmask.training.checkpoint import Checkpoints
from fewmask.training.material import load_material
from fewmask.training.run import Run
from fewmask.training.shares import validation_of
from fewmask.training.train import train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagged(tmp_path_factory.mktemp("tagged") / "Dataset950_Tagged")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(tagged: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "umcam"
    train(short("umcam", tagged), folder, device="cpu", cache=cache)
    return Run(folder)


def made(run: Run) -> Path:
    return run.folder / "stages" / "segmenter" / "pseudo_labels"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights_of(run: Run, stage: str) -> dict[str, torch.Tensor]:
    chosen = Checkpoints(run.stage_folder(run.recipe(), stage), stage).chosen
    return torch.load(chosen, weights_only=True)["method"]


def test_the_pseudo_labels_are_a_dataset_that_can_train(
    run: Run, tagged: Path, cache: Path, tmp_path: Path
) -> None:
    dataset = made(run) / "Dataset001_pseudo"
    cohort = read_cohort(dataset)
    assert cohort.classes == ("background", "brain")
    assert len(cohort.part("train")) == 6
    assert {case.patient for case in cohort.cases} == {f"p{number}" for number in range(6)}
    for case in cohort.cases:
        original = nib.load(tagged / "imagesTr" / case.images[0].name)
        assert np.array_equal(nib.load(case.images[0]).get_fdata(), original.get_fdata())
        mask = nib.load(case.mask)
        assert np.allclose(mask.affine, original.affine)
        shown = read_classes(cohort, case).any((0, 1))
        assert not shown[[index for index in range(DEPTH) if index not in SHOWN]].any()
    changes = ("size=32", "steps=3", "batch=2", "network.widths=[4,8]")
    recipe = replace(override(fullysup(True), changes, KINDS), cohorts=Cohorts(masks=dataset))
    assert train(recipe, tmp_path / "again", device="cpu", cache=cache)


def test_every_intermediate_lies_on_disk(run: Run) -> None:
    for name in ("maps", "fused", "soft"):
        values = [nib.load(path).get_fdata() for path in sorted((made(run) / name).iterdir())]
        assert len(values) == 6
        assert all(value.min() >= 0.0 and value.max() <= 1.0 for value in values)
        assert all(value.shape[3:] == ((4,) if name == "maps" else (1,)) for value in values)
        untagged = [index for index in range(DEPTH) if index not in SHOWN]
        assert not any(value[:, :, untagged].any() for value in values)
    audit = rows_of(made(run) / "audit.csv")
    assert len(audit) == 6 * DEPTH
    assert {row["decision"] for row in audit} <= {"accept", "review", "reject"}
    doubts = [float(row["doubt"]) for row in audit]
    assert doubts == sorted(doubts, reverse=True)
    assert {(row["slice"], row["tag"]) for row in audit} == {
        (str(index), str(float(index in SHOWN))) for index in range(DEPTH)
    }
    assert {row["part"] for row in audit} == {"train", "validation"}
    assert all(int(row["slice"]) in SHOWN for row in rows_of(made(run) / "seeds.csv"))


def test_only_training_patients_slices_train(run: Run) -> None:
    material = load_material(run.recipe(), run)
    rows = json.loads((made(run) / "pseudo_labels.json").read_text())["rows"]
    store = material.stores["tags"]
    assert set(store.cases_at(np.array(rows))) <= set(material.splits["tags"].train)
    assert rows and all((row % DEPTH) in SHOWN for row in rows)


def test_no_mask_is_opened_that_may_not_be(run: Run) -> None:
    material = load_material(run.recipe(), run)
    assert set(material.stores) == {"tags"}
    assert not (material.stores["tags"].folder / "masks.npy").exists()


def test_it_segments_and_is_scored(run: Run, tagged: Path, tmp_path: Path) -> None:
    written = segment(run.folder, tagged, tmp_path / "masks", device="cpu")
    assert [path.name for path in written.masks] == ["stack6.nii.gz", "stack7.nii.gz"]
    evaluate(tmp_path / "masks", tagged, tmp_path / "scores")
    assert len(rows_of(tmp_path / "scores" / "scores.csv")) == 2


def test_held_out_masks_choose_where_they_are_asked(tagged: Path, cache: Path, tmp_path: Path) -> None:
    recipe = short("umcam_miccai23", tagged)
    train(recipe, tmp_path / "run", device="cpu", cache=cache)
    run = Run(tmp_path / "run")
    chosen = json.loads((made(run) / "pseudo_labels.json").read_text())
    assert 0.05 <= chosen["threshold"] <= 0.95
    material = load_material(run.recipe(), run)
    assert set(material.stores["held_out"].cases) == set(material.splits["tags"].validation)
    rule = torch.load(
        Checkpoints(run.stage_folder(run.recipe(), "segmenter"), "segmenter").chosen, weights_only=True
    )["rule"]
    assert "best Dice" in rule and "tagged cohort" in rule
    stage = run.recipe().stage("segmenter")
    asked = validation_of(stage, material)
    assert asked is not None
    assert asked.rows.tolist() == list(SHOWN), "a segmenter of positive slices is judged by such"
    everywhere = replace(stage, pseudo_labels=replace(stage.pseudo_labels, slices="all"))
    assert len(validation_of(everywhere, material).rows) == DEPTH


@pytest.mark.parametrize("expansion", [Expansion(), None])
def test_the_grid_is_searched_on_the_pseudo_masks_themselves(
    run: Run, tagged: Path, expansion: Expansion | None
) -> None:
    made = load_pseudo_masks(run.folder, "cpu")
    cohort = read_cohort(tagged)
    case = cohort.part("train")[0]
    prepared = prepare_case(case, made.trained.preparation)
    labeller = replace(made.labeller, options=replace(made.labeller.options, expansion=expansion))
    images = torch.cat(list(prepared.chunks()))[list(SHOWN)]
    truth = torch.zeros(len(SHOWN), *images.shape[2:], dtype=torch.int64)
    truth[:, 10:22, 8:20] = 1
    tags = [float(index in SHOWN) for index in range(DEPTH)]
    grid = labeller.dice_of_grid(images, truth)
    assert grid.shape == (len(SHOWN), len(THRESHOLDS))
    assert len(set(grid.flatten().tolist())) > 1
    for column, threshold in enumerate(THRESHOLDS):
        guesses = replace(labeller, threshold=threshold).label(prepared, tags).hard[list(SHOWN)]
        both = (guesses & (truth == 1)).sum((1, 2))
        plain = 2.0 * both / (guesses.sum((1, 2)) + truth.sum((1, 2)))
        assert grid[:, column].tolist() == pytest.approx(plain.tolist())


@pytest.mark.parametrize("maps", [CamMaps(), CamMaps(cam="scorecam", layers=("head",))])
def test_every_slice_has_its_own_score_whether_it_has_maps_or_not(
    run: Run, tagged: Path, maps: CamMaps
) -> None:
    made = load_pseudo_masks(run.folder, "cpu")
    prepared = prepare_case(read_cohort(tagged).part("train")[0], made.trained.preparation)
    labeller = replace(made.labeller, options=replace(made.labeller.options, maps=maps))
    expected = torch.cat([labeller.scores(images) for images in prepared.chunks()])
    assert len(set(expected.tolist())) == DEPTH
    tags = [float(index in SHOWN) for index in range(DEPTH)]
    for given in (tags, [1.0] * DEPTH, [None] * DEPTH, None):
        assert torch.allclose(labeller.label(prepared, given).scores, expected, atol=1e-5)


def test_a_threshold_by_number(run: Run, tagged: Path, cache: Path, tmp_path: Path) -> None:
    assert {row["threshold"] for row in rows_of(made(run) / "seeds.csv")} == {"0.5"}
    train(short("umcam", tagged, "threshold=0.35"), tmp_path / "run", device="cpu", cache=cache)
    seeds = rows_of(made(Run(tmp_path / "run")) / "seeds.csv")
    assert all(float(row["threshold"]) == pytest.approx(0.35) for row in seeds)
    with pytest.raises(InputFault, match="between"):
        PseudoLabels(threshold=1.5)


def test_without_held_out_masks_the_remedy_is_told(cache: Path, tmp_path: Path) -> None:
    bare = write_tagged(tmp_path / "bare", masks=False)
    with pytest.raises(InputFault, match=r"threshold=0\.5"):
        train(short("umcam_miccai23", bare), tmp_path / "run", device="cpu", cache=cache)
    train(short("umcam", bare), tmp_path / "tags_alone", device="cpu", cache=cache)


def stopping(recipe: Recipe, folder: Path, cache: Path, seconds: float) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        train(recipe, folder, device="cpu", cache=cache)
    except Interrupted:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


# Python swallows what a signal's handler raises while an object is thrown away; such a signal is lost, and may be.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stopped_anywhere_and_gone_on_is_bit_identical(
    run: Run, tagged: Path, cache: Path, tmp_path: Path
) -> None:
    recipe = short("umcam", tagged)
    for seconds in (0.15, 0.3, 0.6):
        stopping(recipe, tmp_path / "parts", cache, seconds)
    train(recipe, tmp_path / "parts", device="cpu", cache=cache)
    parts = Run(tmp_path / "parts")
    for stage in ("classifier", "segmenter"):
        whole, again = weights_of(run, stage), weights_of(parts, stage)
        assert all(torch.equal(whole[key], again[key]) for key in whole), stage
    assert (made(run) / "soft_labels.npy").read_bytes() == (made(parts) / "soft_labels.npy").read_bytes()


def test_a_correction_takes_the_pseudo_labels_place(
    run: Run, tagged: Path, cache: Path, tmp_path: Path
) -> None:
    name = read_splits(run.splits)[0].train[0]
    corrections = tmp_path / "mended"
    corrections.mkdir()
    shutil.copy(tagged / "labelsTr" / f"{name}.nii.gz", corrections)
    recipe = replace(short("umcam", tagged, corrections=corrections), start_from=run.folder)
    train(recipe, tmp_path / "run", device="cpu", cache=cache)
    corrected = Run(tmp_path / "run")
    before, after = weights_of(run, "classifier"), weights_of(corrected, "classifier")
    assert all(torch.equal(before[key], after[key]) for key in before)
    written = nib.load(made(corrected) / "Dataset001_pseudo" / "labelsTr" / f"{name}.nii.gz").get_fdata()
    assert np.array_equal(written, nib.load(corrections / f"{name}.nii.gz").get_fdata())
    marked = {row["case"] for row in rows_of(made(corrected) / "audit.csv") if row["corrected"] == "1"}
    assert marked == {name}
    store = load_material(recipe, corrected).stores["tags"]
    soft = np.load(made(corrected) / "soft_labels.npy")[store.rows_of([name])]
    assert set(np.unique(soft)) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [("nobody.nii.gz", 1, "corrects no training case"), ("stack0.nii.gz", 7, "holds 7")],
)
def test_a_correction_that_does_not_fit_is_refused(
    run: Run, tagged: Path, cache: Path, tmp_path: Path, file: str, value: int, message: str
) -> None:
    original = nib.load(tagged / "labelsTr" / "stack0.nii.gz")
    (tmp_path / "mended").mkdir()
    wrong = (original.get_fdata() * value).astype(np.uint8)
    nib.save(nib.Nifti1Image(wrong, original.affine), tmp_path / "mended" / file)
    recipe = replace(short("umcam", tagged, corrections=tmp_path / "mended"), start_from=run.folder)
    with pytest.raises(InputFault, match=message):
        train(recipe, tmp_path / "run", device="cpu", cache=cache)


def test_slices_count_along_the_file_even_where_it_runs_downwards(cache: Path, tmp_path: Path) -> None:
    folder = write_tagged(tmp_path / "flipped", flipped=True)
    train(short("umcam", folder, "steps=1"), tmp_path / "run", device="cpu", cache=cache)
    material = load_material(Run(tmp_path / "run").recipe(), Run(tmp_path / "run"))
    assert material.tags is not None
    store = material.stores["tags"]
    images = store.images(np.arange(store.row_count))
    bright = images.max((1, 2, 3)) > 0.5
    tags = [tag == 1.0 for tag in material.tags.at(store, np.arange(store.row_count))]
    assert bright.tolist() == tags


@pytest.mark.parametrize(("tag", "words"), [("1", "all show brain"), ("0", "none shows brain")])
def test_tags_of_one_kind_are_refused(cache: Path, tmp_path: Path, tag: str, words: str) -> None:
    folder = write_tagged(tmp_path / "one_kind")
    change_tags(folder, {(f"stack{case}", index): tag for case in range(8) for index in range(DEPTH)})
    with pytest.raises(InputFault, match=words):
        train(short("umcam", folder), tmp_path / "run", device="cpu", cache=cache)


def test_untagged_volumes_are_left_out_and_untagged_slices_are_ignored(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tagged(tmp_path / "partly")
    change: dict[tuple[str, int], str | None] = {("stack0", index): None for index in range(DEPTH)}
    change |= {(f"stack{case}", 0): None for case in range(1, 6)}
    change_tags(folder, change)
    train(short("umcam", folder), tmp_path / "run", device="cpu", cache=cache)
    assert "1 of 6 training cases have no tag 'brain'" in capsys.readouterr().err
    dataset = made(Run(tmp_path / "run")) / "Dataset001_pseudo"
    assert json.loads((dataset / "dataset.json").read_text())["labels"]["ignore"] == 2
    mask = nib.load(dataset / "labelsTr" / "stack1.nii.gz").get_fdata()
    assert (mask[..., 0] == 2).all()
    assert not (mask[..., 1:] == 2).any()


def test_a_tag_for_a_slice_that_does_not_exist_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = write_tagged(tmp_path / "beyond")
    with (folder / "slices.csv").open("a", encoding="utf-8") as file:
        file.write(f"stack0,{DEPTH},1\n")
    with pytest.raises(InputFault, match=f"slices 0 to {DEPTH - 1}, but {DEPTH} is tagged"):
        train(short("umcam", folder), tmp_path / "run", device="cpu", cache=cache)


def test_a_slice_of_one_intensity_and_several_objects_give_no_nan(cache: Path, tmp_path: Path) -> None:
    folder = write_tagged(tmp_path / "odd")
    path = folder / "imagesTr" / "stack0_0000.nii.gz"
    image = nib.load(path)
    values = image.get_fdata().astype(np.float32)
    values[..., SHOWN[0]] = 7.0
    values[2:6, 2:6, SHOWN[1]] = 190.0
    nib.save(nib.Nifti1Image(values, image.affine), path)
    train(short("umcam", folder), tmp_path / "run", device="cpu", cache=cache)
    assert np.isfinite(np.load(made(Run(tmp_path / "run")) / "soft_labels.npy")).all()


def test_negative_slices_train_where_that_is_asked(tagged: Path, cache: Path, tmp_path: Path) -> None:
    recipe = short("umcam", tagged, "slices=all")
    train(recipe, tmp_path / "run", device="cpu", cache=cache)
    run = Run(tmp_path / "run")
    rows = json.loads((made(run) / "pseudo_labels.json").read_text())["rows"]
    negative = [row for row in rows if (row % DEPTH) not in SHOWN]
    assert len(negative) == (DEPTH - len(SHOWN)) * len(load_material(recipe, run).splits["tags"].train)


def test_a_stage_of_pseudo_labels_names_its_classifier(tagged: Path) -> None:
    recipe = short("umcam", tagged)
    with pytest.raises(InputFault, match="go together"):
        replace(recipe.stages[1], labelled_by=None)
    with pytest.raises(InputFault, match="no earlier stage"):
        replace(recipe, stages=(recipe.stages[0], replace(recipe.stages[1], labelled_by="clasifier")))
    assert (
        replace(recipe.stages[1], pseudo_labels=PseudoLabels(slices="positive")).labelled_by == "classifier"
    )
    assert replace(recipe, split=SplitConfig(validation=0.5)).stages == recipe.stages
