"""Images of which some have no mask and some no outcome: what trains, what is left out, and what a run then tells."""

import csv
import json
import math
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.prepared_case import prepare_case
from fewmask.data.stream import draw
from fewmask.errors import InputFault, Interrupted
from fewmask.evaluation.segment import segment
from fewmask.evaluation.told_outcomes import read_told, tells_outcomes
from fewmask.evaluation.trained import load_trained
from fewmask.methods.joint import Joint
from fewmask.methods.marker_classifier import MarkerClassifier
from fewmask.metrics.classification import auc
from fewmask.recipe import Recipe
from fewmask.recipes.reading import resolve
from fewmask.shapes import IGNORED
from fewmask.training.cohorts import read_cohorts
from fewmask.training.fit import batch_of
from fewmask.training.material import Material, load_material
from fewmask.training.prognosis import kept_prognosis
from fewmask.training.run import Run
from fewmask.training.shares import balanced, shares_of, validation_of
from fewmask.training.train import train

torch.set_num_threads(1)

TINY = ("size=32", "steps=4", "batch=4", "validate_every=2", "network.widths=[4,8]")
OF_RECIPE = {
    "joint": ("size=32", "steps=40", "batch=8", "validate_every=20", "network.widths=[4,8]"),
    "fcn": ("size=32", "steps=2", "batch=2", "validate_every=2", "network.width=0.0625"),
}

PATIENTS, IMAGES = 15, 2


@dataclass(frozen=True)
class Row:
    """One picture of the drawn dataset, and what is known of it."""

    name: str
    patient: str
    part: str
    outlined: bool
    outcome: str


def rows() -> list[Row]:
    """Every third patient has the outcome; of two nobody knows. Every third picture is bare, two of them of these two.

    The last three patients are the test part.
    """
    found: list[Row] = []
    for patient in range(PATIENTS):
        for image in range(IMAGES):
            outcome = "" if patient in (4, 10) else str(int(patient % 3 == 0))
            outlined = (patient * IMAGES + image) % 3 != 0
            part = "train" if patient < 12 else "test"
            found.append(Row(f"p{patient:02}_{image}", f"p{patient:02}", part, outlined, outcome))
    return found


LACKING = [row for row in rows() if row.part == "train" and not row.outlined and not row.outcome]
BARE = [row for row in rows() if row.part == "train" and not row.outlined and row.outcome]
UNDIAGNOSED = [row for row in rows() if row.part == "train" and row.outlined and not row.outcome]


def write(folder: Path, table: Sequence[Row]) -> Path:
    """Discs on noise, which is brighter where there is the outcome."""
    for inner in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / inner).mkdir(parents=True)
    described = {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "cervix": 1},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    down, across = np.mgrid[:32, :32]
    for number, row in enumerate(table):
        generator = np.random.default_rng(number)
        middle = generator.uniform(12, 20, 2)
        disc = (down - middle[0]) ** 2 + (across - middle[1]) ** 2 < 40
        grey = generator.integers(0, 60, (32, 32)) + 90 * (row.outcome == "1") + 100 * disc
        images = folder / ("imagesTr" if row.part == "train" else "imagesTs")
        Image.fromarray(grey.astype(np.uint8)).save(images / f"{row.name}_0000.png")
        if row.outlined and row.part == "train":
            Image.fromarray(disc.astype(np.uint8)).save(folder / "labelsTr" / f"{row.name}.png")
    tell(folder, table)
    return folder


def tell(folder: Path, table: Sequence[Row]) -> None:
    """Write cases.csv."""
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "split", "preterm"])
        writer.writerows([row.name, row.patient, row.part, row.outcome] for row in table)


def recipe_for(
    name: str, folder: Path, changes: Sequence[str] = (), outcome: str | None = "preterm", role: str = "masks"
) -> Recipe:
    return resolve(
        name, True, {role: folder}, {}, None, None, [*OF_RECIPE.get(name, TINY), *changes], outcome
    )


def fit(name: str, folder: Path, out: Path, *changes: str, outcome: str | None = "preterm") -> Path:
    train(recipe_for(name, folder, changes, outcome), out, device="cpu")
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("drawn") / "cervices", rows())


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each recipe."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWMASK_CACHE", str(folder / "cache"))
        return {
            name: fit(name, dataset, folder / name, outcome=None if name == "fcn" else "preterm")
            for name in ("joint", "joint_without_masks", "markers", "fcn")
        }


def split_of(run: Path) -> Any:
    (split,) = json.loads((run / "split.json").read_text())
    return split


def material_of(run: Path) -> tuple[Recipe, Material]:
    recipe = Run(run).recipe()
    return recipe, load_material(recipe, Run(run))


def drawn_cases(run: Path, stage: str) -> Counter[str]:
    """How often an epoch of a stage shows each case."""
    recipe, material = material_of(run)
    (share,) = shares_of(recipe.stage(stage), 0, material, 1)
    return Counter(share.store.cases_at(np.array(share.rows)))


def test_one_label_is_enough_and_the_remarks_count_the_others(runs: dict[str, Path]) -> None:
    assert (len(LACKING), len(BARE), len(UNDIAGNOSED)) == (2, 6, 2)
    both = {row.name for row in rows() if row.part == "train"} - {row.name for row in LACKING}
    for name in ("joint", "markers"):
        split = split_of(runs[name])
        assert {*split["train"], *split["validation"]} == both
        assert [remark for remark in split["remarks"] if "training images" in remark] == [
            "6 training images have no mask: they teach preterm alone",
            "2 training images have no preterm: they teach the masks alone",
            "2 training images have neither a mask nor preterm and are left out; add one to use them",
        ]
        assert split["stratified_by"] == "site and outcome"
    alone = split_of(runs["joint_without_masks"])
    assert {*alone["train"], *alone["validation"]} == {
        row.name for row in rows() if row.outcome and row.part == "train"
    }
    assert "4 training images have no preterm and are left out; add one to use them" in alone["remarks"]
    assert not any("teach" in remark for remark in alone["remarks"])
    outlined = split_of(runs["fcn"])
    assert {*outlined["train"], *outlined["validation"]} == {
        row.name for row in rows() if row.outlined and row.part == "train"
    }
    assert "8 of 24 training images have no mask and are left out" in outlined["remarks"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("joint", "network"),
        ("joint_without_masks", "network"),
        ("markers", "network"),
        ("markers", "markers"),
    ],
)
def test_no_patient_is_on_both_sides_though_images_are_repeated(
    runs: dict[str, Path], name: str, stage: str
) -> None:
    split, patient_of = split_of(runs[name]), {row.name: row.patient for row in rows()}
    recipe, material = material_of(runs[name])
    seen = drawn_cases(runs[name], stage)
    validation = validation_of(recipe.stage(stage), material)
    assert validation is not None
    held_out = set(validation.store.cases_at(validation.rows))
    assert seen.keys() <= set(split["train"]) and held_out <= set(split["validation"])
    assert not {patient_of[case] for case in seen} & {patient_of[case] for case in held_out}
    assert held_out and seen


def test_each_stage_draws_what_teaches_it_and_balances_what_it_learns(runs: dict[str, Path]) -> None:
    table = {row.name: row for row in rows()}
    for name, stage in (("joint", "network"), ("joint_without_masks", "network"), ("markers", "markers")):
        seen = drawn_cases(runs[name], stage)
        counts = Counter[str]()
        for case, times in seen.items():
            counts[table[case].outcome] += times
        assert counts["0"] == counts["1"] > 0
        assert bool(counts[""]) == (name == "joint")
        recipe, material = material_of(runs[name])
        (share,) = shares_of(recipe.stage(stage), 0, material, 1)
        keys = draw(replace(share, batch=len(share.rows)), 0, 0).keys
        assert len(set(keys.tolist())) == len(share.rows), "each time an image is augmented in another way"
    masks_alone = drawn_cases(runs["markers"], "network")
    assert masks_alone == Counter(name for name in split_of(runs["markers"])["train"] if table[name].outlined)


@given(st.lists(st.sampled_from([0.0, 1.0, math.nan]), max_size=30))
def test_balanced_repeats_the_rarer_outcome_evenly(outcomes: list[float]) -> None:
    places = Counter(balanced(outcomes))
    assert set(places) == set(range(len(outcomes)))
    times = {kind: [places[i] for i, found in enumerate(outcomes) if found == kind] for kind in (0.0, 1.0)}
    if times[0.0] and times[1.0]:
        assert sum(times[0.0]) == sum(times[1.0]) == max(map(len, times.values()))
        assert all(max(counts) - min(counts) <= 1 for counts in times.values())
        assert min(max(counts) for counts in times.values()) == 1
    else:
        assert all(count == 1 for count in places.values())
    assert all(places[i] == 1 for i, found in enumerate(outcomes) if math.isnan(found))


def test_a_bare_image_is_ignored_everywhere_though_it_was_turned(runs: dict[str, Path]) -> None:
    recipe, material = material_of(runs["joint"])
    (stage,) = recipe.stages
    (share,) = shares_of(stage, 0, material, 1)
    places = [share.rows.index(row) for row in sorted(set(share.rows))]
    assert share.findings is not None
    share = replace(
        share,
        rows=tuple(share.rows[place] for place in places),
        findings=tuple(share.findings[place] for place in places),
        batch=len(places),
    )
    drawn = draw(share, 0, 0)
    turned = replace(stage, augmentation=replace(stage.augmentation, rotation=45.0, translation=0.3))
    batch = batch_of(turned, [drawn])
    cases = [share.store.cases_at(np.array([row]))[0] for row in _rows_in_order(share)]
    table = {row.name: row for row in rows()}
    assert batch.has_mask.tolist() == [table[case].outlined for case in cases]
    assert batch.has_outcome.tolist() == [table[case].outcome != "" for case in cases]
    assert batch.outcomes.tolist() == [float(table[case].outcome == "1") for case in cases]
    assert (batch.masks[~batch.has_mask] == IGNORED).all() and not batch.has_mask.all()
    assert (batch.masks[batch.has_mask] != IGNORED).all()
    assert {0, 1} == set(batch.masks[batch.has_mask].unique().tolist())


def _rows_in_order(share: Any) -> list[int]:
    """The rows in the order in which the first epoch shows them."""
    numbered = replace(share, findings=tuple(float(row) for row in share.rows))
    found = draw(numbered, 0, 0).findings
    assert found is not None
    return [int(row) for row in found]


def test_a_joint_run_draws_and_tells(runs: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    written = segment(runs["joint"], dataset, tmp_path, device="cpu")
    test = [row for row in rows() if row.part == "test"]
    assert [mask.stem for mask in written.masks] == [row.name for row in test]
    told, cases = read_told(tmp_path)
    assert [(case.case, case.patient) for case in cases] == [(row.name, row.patient) for row in test]
    trained = load_trained(runs["joint"], device="cpu")
    by_name = {case.name: case for case in read_cohort(dataset, masks=False).cases}
    for case in cases:
        images = next(prepare_case(by_name[case.case], trained.preparation).chunks())
        with torch.no_grad():
            score = trained.method.judge(images)
        assert score is not None and case.probability == pytest.approx(float(score.sigmoid()), abs=1e-6)
    decided = kept_prognosis(Run(runs["joint"]))
    assert decided is not None and decided.outcome == told.outcome == "preterm==1"
    assert told.threshold == decided.threshold and told.validation_cases == decided.validation_cases
    assert Path(told.run) == runs["joint"] and "held-out patients" in told.threshold_rule


def test_the_threshold_is_of_the_held_out_patients(
    runs: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    """Their pictures are segmented as a user would; their AUC and the best threshold are then found by trying."""
    images, table = tmp_path / "images", {row.name: row for row in rows()}
    images.mkdir()
    held_out = [name for name in split_of(runs["joint"])["validation"] if table[name].outcome]
    for name in held_out:
        shutil.copy(dataset / "imagesTr" / f"{name}_0000.png", images / f"{name}.png")
    segment(runs["joint"], images, tmp_path / "out", device="cpu")
    told = {case.case: case.probability for case in read_told(tmp_path / "out")[1]}
    scores = np.array([told[name] for name in held_out])
    found = np.array([table[name].outcome == "1" for name in held_out])
    decided = kept_prognosis(Run(runs["joint"]))
    assert decided is not None and decided.threshold is not None
    assert decided.validation_cases == len(held_out)
    assert decided.validation_auc == pytest.approx(auc(scores, found))

    def youden(threshold: float) -> float:
        return float((scores[found] >= threshold).mean() - (scores[~found] >= threshold).mean())

    # Stored pictures are rounded to half precision, so the threshold may lie a hair above its own case.
    assert youden(decided.threshold - 1e-4) == pytest.approx(max(map(youden, scores)))


def test_the_log_and_the_rule_name_the_measure(runs: dict[str, Path]) -> None:
    for name, key, words in (
        ("joint", "validation_mean_of_dice_and_auc", "best mean of Dice and AUC on the held-out patients"),
        ("joint_without_masks", "validation_auc", "best AUC on the held-out patients"),
        ("markers", "validation_auc", "best AUC on the held-out patients"),
        ("fcn", "validation_dice", "best Dice on the held-out patients"),
    ):
        log = [json.loads(line) for line in (runs[name] / "log.jsonl").read_text().splitlines()]
        scores = [entry[key] for entry in log if key in entry]
        assert scores and all(0.0 <= score <= 1.0 for score in scores)
        assert words in load_trained(runs[name], device="cpu").rule


def test_each_recipe_writes_what_it_has_learnt(runs: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    for name, draws, tells in (
        ("joint_without_masks", False, True),
        ("markers", True, True),
        ("fcn", True, False),
    ):
        written = segment(runs[name], dataset, tmp_path / name, device="cpu")
        assert len(written.masks) == (6 if draws else 0) and len(written.told) == (6 if tells else 0)
        assert tells_outcomes(tmp_path / name) == tells == (runs[name] / "prognosis.json").exists()
        assert all(0.0 < case.probability < 1.0 for case in written.told)
        listed = json.loads((tmp_path / name / "predictions.json").read_text())["cases"]
        assert len(listed) == len(written.masks) == len(list((tmp_path / name).glob("*.png")))


def test_what_an_earlier_run_told_does_not_stand_beside_other_masks(
    runs: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    segment(runs["joint"], dataset, tmp_path, device="cpu")
    assert tells_outcomes(tmp_path)
    segment(runs["fcn"], dataset, tmp_path, device="cpu")
    assert not tells_outcomes(tmp_path) and not (tmp_path / "outcomes.csv").exists()


def test_a_threshold_belongs_to_the_chosen_checkpoint_of_a_finished_run(
    runs: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    segment(runs["joint"], dataset, tmp_path / "latest", which="latest", device="cpu")
    told, _ = read_told(tmp_path / "latest")
    assert told.threshold is None and "chosen checkpoint" in told.threshold_rule
    stopped = tmp_path / "stopped"
    shutil.copytree(runs["joint"], stopped)
    (stopped / "prognosis.json").unlink()
    segment(stopped, dataset, tmp_path / "out", device="cpu")
    told, _ = read_told(tmp_path / "out")
    assert told.threshold is None and "has not finished" in told.threshold_rule
    assert told.outcome == "preterm==1"
    with pytest.raises(InputFault, match="is the run itself; choose another --out"):
        segment(runs["joint"], dataset, runs["joint"], device="cpu")


@pytest.mark.parametrize(("name", "method"), [("joint", Joint), ("markers", MarkerClassifier)])
def test_killed_and_gone_on_it_is_the_same_run(
    runs: dict[str, Path],
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    method: type[Any],
) -> None:
    original = method.training_step

    def training_step(self: Any, batch: Any, progress: float) -> Iterator[Any]:
        if progress == 0.5:
            os.kill(os.getpid(), signal.SIGTERM)
        yield from original(self, batch, progress)

    with monkeypatch.context() as patch:
        patch.setattr(method, "training_step", training_step)
        with pytest.raises(Interrupted, match="SIGTERM"):
            fit(name, dataset, tmp_path / "run")
    assert not Run(tmp_path / "run").finished() and kept_prognosis(Run(tmp_path / "run")) is None
    assert list((tmp_path / "run").glob("**/checkpoint_latest.pt"))
    fit(name, dataset, tmp_path / "run")
    recipe = Run(tmp_path / "run").recipe()
    for stage in recipe.stages:
        for kind in ("latest", "chosen"):
            whole, parts = (
                torch.load(
                    Run(folder).stage_folder(recipe, stage.name) / f"checkpoint_{kind}.pt", weights_only=True
                )
                for folder in (runs[name], tmp_path / "run")
            )
            assert whole["method"].keys() == parts["method"].keys()
            assert all(torch.equal(value, parts["method"][key]) for key, value in whole["method"].items())
    assert kept_prognosis(Run(runs[name])) == kept_prognosis(Run(tmp_path / "run"))


def test_balancing_or_weighting_is_a_choice(runs: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    run = fit("joint", dataset, tmp_path / "run", "balance=false", "steps=1", "choose=last")
    assert set(drawn_cases(run, "network").values()) == {1}
    recipe, material = material_of(run)
    table = {row.name: row.outcome for row in rows()}
    train_outcomes = [table[name] for name in split_of(run)["train"]]
    method = recipe.stages[0].method.build(material.task, None)
    assert method.positive_weight == pytest.approx(train_outcomes.count("0") / train_outcomes.count("1"))
    assert recipe_for("joint", dataset, ["positive_weight=9"]).stages[0].method.positive_weight == 9


def test_a_labelled_source_may_be_partly_labelled_too(dataset: Path) -> None:
    cohorts, _ = read_cohorts(recipe_for("joint", dataset, role="source"))
    assert len(cohorts["source"].part("train")) == 24
    cohorts, _ = read_cohorts(recipe_for("fcn", dataset, outcome=None, role="source"))
    assert len(cohorts["source"].part("train")) == 16


def spoilt(folder: Path, **changes: Any) -> Path:
    """The dataset with one thing changed in every row that it concerns."""
    return write(folder, [replace(row, **{k: v(row) for k, v in changes.items()}) for row in rows()])


def refused(name: str, folder: Path, out: Path, match: str, *changes: str, outcome: str | None) -> None:
    with pytest.raises(InputFault, match=match) as raised:
        fit(name, folder, out, *changes, outcome=outcome)
    assert "\n" not in str(raised.value)
    assert not list(out.glob("**/checkpoint_*.pt"))


def test_what_is_refused(dataset: Path, tmp_path: Path) -> None:
    refused("joint", dataset, tmp_path / "a", "learns an outcome; give --outcome COLUMN", outcome=None)
    refused("joint", dataset, tmp_path / "b", "did you mean 'preterm'", outcome="preterms")
    refused(
        "fcn", dataset, tmp_path / "c", "reads no outcome; leave --outcome preterm out", outcome="preterm"
    )
    refused("joint", dataset, tmp_path / "d", r"all \d+ training cases are 0; move", outcome="preterm>=2")
    alike = spoilt(tmp_path / "alike", outcome=lambda row: "0" if row.outcome else "")
    refused("joint", alike, tmp_path / "e", "is 0 wherever it is known", outcome="preterm")
    unmasked = spoilt(tmp_path / "unmasked", outlined=lambda row: False)
    refused("joint", unmasked, tmp_path / "f", "has no masks to train on", outcome="preterm")


def test_a_patient_with_two_outcomes_is_refused_unless_images_stand_for_themselves(tmp_path: Path) -> None:
    folder = spoilt(tmp_path / "data", outcome=lambda row: "1" if row.name == "p01_1" else row.outcome)
    refused(
        "joint",
        folder,
        tmp_path / "a",
        r"patient p01 has preterm==1 = 0 in p01_0 and 1 in p01_1; mend cases\.csv, or .*split\.unit=image",
        outcome="preterm",
    )
    run = fit("joint", folder, tmp_path / "b", "split.unit=image", "steps=1", "choose=last")
    assert Run(run).finished()


def divided(folder: Path, held_out: set[str]) -> Path:
    """The dataset with nnU-Net's own file of folds, which says who is held out, whatever their labels are."""
    known = [row for row in rows() if row.part == "train" and row.outcome]
    sides = {
        "train": [row.name for row in known if row.patient not in held_out],
        "val": [row.name for row in known if row.patient in held_out],
    }
    (folder / "splits_final.json").write_text(json.dumps([sides]))
    return folder


def test_held_out_patients_that_cannot_choose_are_a_fault(tmp_path: Path) -> None:
    alike = divided(spoilt(tmp_path / "alike"), {"p01", "p02"})
    refused(
        "joint",
        alike,
        tmp_path / "a",
        "held out for validation do not have both outcomes, so no AUC .*network.choose=last",
        outcome="preterm",
    )
    run = fit("joint", alike, tmp_path / "last", "choose=last", "steps=1")
    decided = kept_prognosis(Run(run))
    assert decided is not None and decided.threshold is None and decided.validation_auc is None
    assert decided.validation_cases == 4 and "do not have both outcomes" in decided.threshold_rule


def test_masks_must_be_on_both_sides(tmp_path: Path) -> None:
    held_out = {"p01", "p03"}
    bare = divided(spoilt(tmp_path / "bare", outlined=lambda row: row.patient not in held_out), held_out)
    message = "nobody held out for validation has a mask, so no Dice can choose; .*network.choose=last"
    refused("joint", bare, tmp_path / "a", message, outcome="preterm")
    assert Run(fit("joint", bare, tmp_path / "last", "choose=last", "steps=1")).finished()
    only = divided(spoilt(tmp_path / "only", outlined=lambda row: row.patient in held_out), held_out)
    message = "all images that have a mask are held out for validation; add masks"
    refused("joint", only, tmp_path / "b", message, outcome="preterm")
    assert Run(fit("joint_without_masks", only, tmp_path / "c", "steps=2")).finished()


def test_volumes(tmp_path: Path) -> None:
    """Outcomes are of volumes, whose slices all teach them; some have no mask."""
    folder, _ = write_phantom("nested", tmp_path / "nested", 0, 10, 32)
    table = list(csv.DictReader((folder / "cases.csv").open()))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*table[0], "grade"])
        writer.writeheader()
        writer.writerows({**row, "grade": index // 2 % 2} for index, row in enumerate(table))
    train_names = [row["case"] for row in table if row["split"] == "train"]
    for name in train_names[:2]:
        (folder / "labelsTr" / f"{name}.nii.gz").unlink()
    run = fit("joint", folder, tmp_path / "run", "neighbours=3", "choose=last", "steps=2", outcome="grade")
    assert "2 training images have no mask: they teach grade alone" in split_of(run)["remarks"]
    _, material = material_of(run)
    store = material.stores["masks"]
    for name in store.cases:
        masks = store.masks(store.rows_of([name]))
        assert (masks == IGNORED).all() if name in train_names[:2] else not (masks == IGNORED).any()
    written = segment(run, folder, tmp_path / "out", device="cpu")
    trained, case = load_trained(run, device="cpu"), read_cohort(folder).part("test")[0]
    images = torch.cat(list(prepare_case(case, trained.preparation).chunks()))
    with torch.no_grad():
        scores = trained.method.judge(images)
    assert scores is not None and len(scores) > 1 and images.shape[1] == 3
    assert written.told[0].case == case.name
    assert written.told[0].probability == pytest.approx(float(scores.double().sigmoid().mean()), abs=1e-6)
    assert nib.load(written.masks[0]).shape == nib.load(case.images[0]).shape
