"""From told probabilities and a table of outcomes to figures per case and per patient, and what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.config import to_mapping, to_yaml
from fewmask.data.outcomes import OutcomeRule
from fewmask.errors import InputFault
from fewmask.evaluation.prognosis import evaluate_prognosis, score_prognosis
from fewmask.evaluation.prognosis_record import forget_prognosis, read_prognosis
from fewmask.evaluation.prognosis_words import format_prognosis
from fewmask.evaluation.told_outcomes import (
    Told,
    ToldCase,
    forget_told,
    read_told,
    tells_outcomes,
    write_told,
)
from fewmask.metrics.calibration import calibration_figures
from fewmask.metrics.classification import auc, auc_difference, delong
from fewmask.metrics.prognosis import auc_estimate, decision_figures, decisions, sensitivity_within
from fewmask.recipe import Cohorts
from fewmask.recipes.names import RECIPES
from fewmask.training.outcomes import FILE, LearntOutcomes

torch.set_num_threads(1)

TOLD = Told("delivery_week<37", 0.45, "Youden's on held-out patients", 31, "/moved/away", ("told so",))
COLUMNS = ("case", "patient", "split", "delivery_week", "cervical_length")


def table(seed=0, train=20, test=30):
    """Rows of cases.csv: one to three images a patient; a short cervix alarms, in the test part a long one does."""
    random, rows = np.random.default_rng(seed), []
    for number in range(train + test):
        early, part = number % 4 == 0, "train" if number < train else "test"
        for image in range(1 + number % 3):
            shorter = early == (part == "train")
            length = random.normal(30 if shorter else 38, 4)
            cell = "" if number % 7 == 1 else f"{length:.1f}"
            week = f"{random.uniform(30, 36.9) if early else random.uniform(37, 41):.1f}"
            rows.append((f"{part}{number:02d}{'abc'[image]}", f"{part}-p{number:02d}", part, week, cell))
    weeks = {row[1]: row[3] for row in rows}
    return [(*row[:3], weeks[row[1]], row[4]) for row in rows]


def dataset(root, rows, columns=COLUMNS):
    for name, _, part, *_ in rows:
        folder = root / ("imagesTr" if part == "train" else "imagesTs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / f"{name}_0000.png")
    content = {"channel_names": {"0": "us"}, "labels": {"background": 0, "cervix": 1}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps({**content, "numTraining": 1}))
    write(root, rows, columns)
    return root


def write(root, rows, columns=COLUMNS):
    with (root / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def tell(folder, rows, told=TOLD, seed=1, part="test"):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    probabilities = {
        row[0]: float(np.clip(random.normal(0.35 + 0.25 * (float(row[3]) < 37), 0.15), 0, 1))
        for row in rows
        if row[2] == part
    }
    write_told(folder, told, [ToldCase(name, name, value) for name, value in probabilities.items()])
    return probabilities


@pytest.fixture
def rows():
    return table()


@pytest.fixture
def truth(tmp_path, rows):
    return dataset(tmp_path / "truth", rows)


@pytest.fixture
def predictions(tmp_path, rows):
    tell(tmp_path / "predictions", rows)
    return tmp_path / "predictions"


def by_hand(rows, probabilities):
    """Patient, outcome, probability and length of each told case; then the same of each patient, by a plain loop."""
    cases = [
        (row[1], float(row[3]) < 37, probabilities[row[0]], float(row[4]) if row[4] else None)
        for row in rows
        if row[0] in probabilities
    ]
    people = []
    for patient in dict.fromkeys(case[0] for case in cases):
        own = [case for case in cases if case[0] == patient]
        lengths = [case[3] for case in own if case[3] is not None]
        mean = sum(case[2] for case in own) / len(own)
        people.append((patient, own[0][1], mean, sum(lengths) / len(lengths) if lengths else None))
    return cases, people


def test_figures_per_case_and_per_patient_are_those_of_the_joined_tables(truth, predictions, rows, tmp_path):
    probabilities = {case.case: case.probability for case in read_told(predictions)[1]}
    found = evaluate_prognosis(predictions, truth, tmp_path / "out", baseline="cervical_length")
    assert found.per_patient is not None and found.people is found.per_patient
    for level, side in zip((found.per_case, found.per_patient), by_hand(rows, probabilities), strict=True):
        patients, is_there, told, lengths = (list(column) for column in zip(*side, strict=True))
        assert (level.n, level.with_outcome) == (len(side), sum(is_there))
        assert level.auc == auc_estimate(told, is_there, patients)
        assert level.decisions == decisions(told, is_there, 0.45)
        assert level.decision_figures == decision_figures(told, is_there, patients, 0.45)
        assert level.at_fixed_rate.sensitivity == sensitivity_within(told, is_there, patients, 0.1)
        assert level.calibration == calibration_figures(told, is_there, patients)
        both = [place for place, length in enumerate(lengths) if length is not None]
        assert 0 < len(both) < len(side) and level.baseline.n == len(both)
        clinical = [-lengths[place] for place in both]
        told, is_there, patients = ([side[place] for place in both] for side in (told, is_there, patients))
        difference = auc_difference(clinical, told, is_there, patients)
        assert level.baseline.baseline.value == auc(clinical, is_there)
        assert level.baseline.difference.value == pytest.approx(difference.difference)
        assert level.baseline.difference.interval == difference.interval
        assert level.baseline.bootstrap_p == difference.p
        assert level.baseline.delong_p == delong(clinical, told, is_there).p
    assert (found.per_case.unit, found.per_patient.unit) == ("cases", "patients")
    assert found.per_patient.n == found.per_case.patients == 30 < found.per_case.n


def test_the_files_hold_what_was_found(truth, predictions, rows, tmp_path):
    out = tmp_path / "out"
    found = evaluate_prognosis(predictions, truth, out, baseline="cervical_length")
    assert read_prognosis(out) == found
    assert read_prognosis(tmp_path) is None
    written = list(csv.DictReader((out / "prognosis.csv").open()))
    table_rows = {row[0]: row for row in rows}
    assert [row["case"] for row in written] == [row[0] for row in rows if row[2] == "test"]
    for row in written:
        _, patient, _, week, length = table_rows[row["case"]]
        assert row["patient"] == patient and row["outcome"] == str(int(float(week) < 37))
        assert row["called_positive"] == str(int(float(row["probability"]) >= 0.45))
        assert row["baseline"] == (str(float(length)) if length else "")
    for name in ("roc.png", "calibration.png"):
        assert Image.open(out / name).size == (720, 720)
    text = format_prognosis(found)
    assert "per patient" in text and "(31 validation cases)" in text and "Note: told so." in text
    assert f"{found.per_case.n} cases of 30 patients" in text


def test_the_baselines_direction_is_never_learnt_on_test_rows(truth, predictions, rows):
    """In the test part a long cervix alarms: the finding, whose direction the training part gives, does worse than
    chance there, and turning the test rows round changes that, not the direction."""
    found, _ = score_prognosis(predictions, truth, baseline="cervical_length")
    held = found.people.baseline
    assert held.lower_is_riskier and held.baseline.value < 0.5
    learnt = [row for row in rows if row[2] == "train" and row[4]]
    early = [float(row[3]) < 37 for row in learnt]
    area = auc([-float(row[4]) for row in learnt], early)
    assert held.direction == (
        f"lower cervical_length is riskier, as in {len(learnt)} training cases, {sum(early)} of them with the outcome, "
        f"where its AUC is {area:.2f}"
    )
    turned = [(*row[:4], f"{70 - float(row[4])}" if row[4] and row[2] == "test" else row[4]) for row in rows]
    write(truth, turned)
    other = score_prognosis(predictions, truth, baseline="cervical_length")[0].people.baseline
    assert other.direction == held.direction
    assert other.baseline.value == pytest.approx(1 - held.baseline.value)


def test_other_images_of_a_judged_patient_tell_no_direction(truth, predictions, rows):
    """All training rows are given to the test's patients, so nobody is left to learn from."""
    lengths = {float(row[3]) < 37: row[1] for row in rows if row[2] == "test"}
    moved = [(row[0], lengths[float(row[3]) < 37], *row[2:]) if row[2] == "train" else row for row in rows]
    write(truth, moved)
    with pytest.raises(
        InputFault, match=r'no training cases of both outcomes.*--baseline "cervical_length<"'
    ):
        score_prognosis(predictions, truth, baseline="cervical_length")
    areas = []
    for asked, lower in (("cervical_length<", True), ("cervical_length >", False)):
        held = score_prognosis(predictions, truth, baseline=asked)[0].people.baseline
        assert held.lower_is_riskier is lower and "as was asked for" in held.direction
        areas.append(held.baseline.value)
    assert sum(areas) == pytest.approx(1)


def test_a_baseline_that_is_known_of_one_outcome_alone_is_left_out(truth, predictions, rows):
    write(truth, [(*row[:4], row[4] if row[2] == "train" or float(row[3]) >= 37 else "") for row in rows])
    found, _ = score_prognosis(predictions, truth, baseline="cervical_length")
    assert found.people.baseline is None
    assert (
        "cervical_length is not known of cases of both outcomes: there is no comparison with it"
        in found.remarks
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("cervical_lenght", "did you mean 'cervical_length'"),
        ("cervical_length", "'short', which is no number"),
    ],
)
def test_what_is_no_baseline(truth, predictions, rows, asked, message):
    write(truth, [(*rows[0][:4], "short"), *rows[1:]])
    with pytest.raises(InputFault, match=message):
        score_prognosis(predictions, truth, baseline=asked)


def test_a_patient_with_two_outcomes(truth, predictions, rows):
    spoilt = [(*row[:3], "30.0", row[4]) if row[0] == "test41b" else row for row in rows]
    write(truth, spoilt)
    with pytest.raises(
        InputFault, match=r"patient test-p41: delivery_week<37 is 0 in case test41a and 1 in case test41b"
    ):
        score_prognosis(predictions, truth)
    found, _ = score_prognosis(predictions, truth, per_patient=False)
    assert found.per_patient is None and found.per_case.with_outcome == sum(
        float(row[3]) < 37 for row in spoilt if row[2] == "test"
    )
    assert found.per_case.patients == 30 and found.per_case.unit == "cases"


def test_without_a_threshold_a_half_is_taken_and_told(truth, tmp_path, rows):
    unchosen = replace(TOLD, threshold=None, threshold_rule="none: one outcome alone", validation_cases=0)
    tell(tmp_path / "predictions", rows, unchosen)
    found, held = score_prognosis(tmp_path / "predictions", truth)
    assert (found.threshold, found.threshold_chosen) == (0.5, False)
    made = found.per_case.decisions
    assert made.true_positive + made.false_positive == sum(row.probability >= 0.5 for row in held)
    assert any("(none: one outcome alone): 0.5 is taken" in remark for remark in found.remarks)
    assert "which nobody chose" in format_prognosis(found)


def test_cases_without_an_outcome_and_foreign_ones_are_counted(truth, predictions, rows, tmp_path):
    told, cases = read_told(predictions)
    write_told(predictions, told, [*cases, ToldCase("stranger", "stranger", 0.7)])
    names = [row[0] for row in rows if row[2] == "test"][:4]
    write(truth, [(*row[:3], "NA" if row[0] in names else row[3], row[4]) for row in rows])
    found = evaluate_prognosis(predictions, truth, tmp_path)
    assert (found.cases, found.without_outcome) == (len(cases) + 1, 5)
    assert found.per_case.n == len(cases) - 4
    assert "1 told cases are not in truth and are in no figure" in found.remarks
    assert "4 cases have no outcome for delivery_week<37 and are in no figure" in found.remarks
    written = {row["case"]: row["outcome"] for row in csv.DictReader((tmp_path / "prognosis.csv").open())}
    assert {name for name, outcome in written.items() if not outcome} == {*names, "stranger"}


def test_without_a_known_outcome_there_are_probabilities_alone(truth, predictions, rows, tmp_path):
    evaluate_prognosis(predictions, truth, tmp_path)
    for spoilt, columns in (
        ([row[:3] for row in rows], COLUMNS[:3]),
        ([(*row[:3], "" if row[2] == "test" else row[3]) for row in rows], COLUMNS[:4]),
    ):
        write(truth, spoilt, columns)
        found = evaluate_prognosis(predictions, truth, tmp_path)
        assert found.per_case is None and found.people is None
        assert "there are probabilities alone" in found.remarks[-1]
        assert "no figures" in format_prognosis(found) and read_prognosis(tmp_path) == found
        assert not (tmp_path / "roc.png").exists() and not (tmp_path / "calibration.png").exists()
        assert {row["outcome"] for row in csv.DictReader((tmp_path / "prognosis.csv").open())} == {""}


def test_only_own_pictures_are_forgotten(truth, predictions, tmp_path):
    (tmp_path / "roc.png").write_bytes(b"of a diagnosis")
    forget_prognosis(tmp_path)
    assert (tmp_path / "roc.png").exists()
    evaluate_prognosis(predictions, truth, tmp_path / "out")
    forget_prognosis(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_outcomes_that_are_all_alike_are_refused(truth, predictions, rows, tmp_path):
    write(truth, [(*row[:3], "40", row[4]) for row in rows])
    with pytest.raises(
        InputFault, match=r"delivery_week<37: all \d+ evaluated cases are 0; figures need both"
    ):
        evaluate_prognosis(predictions, truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_meet_nowhere_are_refused(truth, tmp_path, rows):
    write_told(tmp_path, TOLD, [ToldCase("other", "other", 0.5)])
    with pytest.raises(InputFault, match=r"no told case is named as one of .*first: test20a"):
        score_prognosis(tmp_path, truth)


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_rate_that_is_none(truth, predictions, rate):
    with pytest.raises(InputFault, match="must lie between 0 and 1"):
        score_prognosis(predictions, truth, fixed_false_positive_rate=rate)


def test_the_folder_of_masks_stands_for_its_dataset_and_no_mask_is_opened(truth, predictions):
    (truth / "labelsTs").mkdir()
    (truth / "labelsTs" / "test20a.png").write_bytes(b"no picture")
    whole, inner = (score_prognosis(predictions, folder)[0] for folder in (truth, truth / "labelsTs"))
    assert whole == inner and whole.per_patient is not None


def test_cases_that_the_run_had_seen_are_told(truth, tmp_path, rows):
    run = tmp_path / "run"
    run.mkdir()
    recipe = replace(RECIPES["diagnosis"](True), cohorts=Cohorts(masks=truth), outcome="delivery_week<37")
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    known = {row[0]: float(float(row[3]) < 37) for row in rows if row[2] == "train"}
    learnt = LearntOutcomes(OutcomeRule("delivery_week", "<", "37"), {"masks": known})
    (run / FILE).write_text(json.dumps(to_mapping(learnt)))
    elsewhere = dataset(tmp_path / "elsewhere", rows)
    for part, folder, seen in (("train", truth, len(known)), ("test", truth, 0), ("train", elsewhere, 0)):
        tell(tmp_path / part, rows, replace(TOLD, run=str(run)), part=part)
        remarks = " | ".join(score_prognosis(tmp_path / part, folder)[0].remarks)
        assert (f"{seen} of these cases trained or chose the network" in remarks) == bool(seen)
        assert ("flatter" in remarks) == bool(seen)


def test_without_patients_cases_are_no_patients(truth, predictions, rows):
    write(truth, [(row[0], *row[2:]) for row in rows], (COLUMNS[0], *COLUMNS[2:]))
    found, _ = score_prognosis(predictions, truth)
    assert found.per_patient is None and found.per_case.unit == "cases"
    assert "no patients are given: every case counts as one" in found.remarks


def test_one_image_a_patient_needs_no_second_column(truth, predictions, rows):
    known = [(*row[:3], row[3] if row[0].endswith("a") else "", row[4]) for row in rows]
    write(truth, known)
    found, _ = score_prognosis(predictions, truth)
    assert found.per_patient is None and (found.per_case.unit, found.per_case.n) == ("patients", 30)
    assert "per patient" not in format_prognosis(found)


def test_remarks_on_few_events_certainty_and_probabilities_that_are_no_risks(truth, tmp_path, rows):
    known = {row[0]: float(row[3]) < 37 for row in rows if row[2] == "test"}
    cases = [ToldCase(name, name, 0.99 if early else 0.40) for name, early in known.items()]
    write_told(tmp_path, replace(TOLD, threshold=0.9), cases)
    remarks = " | ".join(score_prognosis(tmp_path, truth)[0].remarks)
    events = len({row[1] for row in rows if row[2] == "test" and float(row[3]) < 37})
    assert f"only {events} patients with the outcome, where 100 are advised" in remarks
    assert f"the sensitivity moves in steps of 1/{events}" in remarks and "draws" not in remarks
    assert (
        f"a sensitivity of 1 over {events} patients is the same in every draw; Wilson's interval is [0."
        in remarks
    )
    assert "they are scores to rank by, not risks, as after training with a weight" in remarks
    assert "several cases" in remarks
    assert "chance" not in remarks and "Brier" not in remarks
    random = np.random.default_rng(3)
    write_told(tmp_path, TOLD, [ToldCase(name, name, float(random.random())) for name in known])
    remarks = " | ".join(score_prognosis(tmp_path, truth)[0].remarks)
    assert "that it is chance cannot be excluded" in remarks
    assert "the Brier score is no better than that of the prevalence alone" in remarks
    assert "same in every draw" not in remarks


def test_a_single_event_is_said_in_the_singular_and_draws_without_it_are_counted(truth, tmp_path, rows):
    first = next(row[1] for row in rows if row[2] == "test" and float(row[3]) < 37)
    write(truth, [(*row[:3], "30" if row[1] == first else "40", row[4]) for row in rows])
    tell(tmp_path, rows)
    found, _ = score_prognosis(tmp_path, truth)
    remarks = " | ".join(found.remarks)
    assert "only 1 patient with the outcome" in remarks
    left_out = found.per_patient.auc.left_out
    # A draw misses one of 30 patients with a chance of (29/30)^30; four standard errors.
    assert abs(left_out / 2000 - (29 / 30) ** 30) < 4 * np.sqrt(0.36 * 0.64 / 2000)
    assert f"{left_out} of 2000 draws had one outcome alone and are not in its interval" in remarks


def test_what_was_told_comes_back_whole_or_not_at_all(tmp_path):
    cases = (ToldCase("a", "p", 0.123456789012345), ToldCase("b", "q", 1.0))
    write_told(tmp_path, TOLD, cases)
    assert tells_outcomes(tmp_path) and read_told(tmp_path) == (TOLD, cases)
    content = json.loads((tmp_path / "prognosis.json").read_text())
    (tmp_path / "prognosis.json").write_text(json.dumps({**content, "later": 1}))
    assert read_told(tmp_path) == (TOLD, cases)
    forget_told(tmp_path)
    assert not tells_outcomes(tmp_path) and not list(tmp_path.iterdir())
    with pytest.raises(InputFault, match=r"no outcomes\.csv and prognosis\.json"):
        read_told(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("case,patient\na,a", "needs the columns case, patient, probability"),
        ("case,patient,probability\na,a,high", "the last of numbers"),
        ("case,patient,probability\na,a,1.5", "case a has 1.5, which is no probability"),
        ("case,patient,probability\na,a,nan", "which is no probability"),
        ("case,patient,probability\na,a,0.5\na,a,0.6", "one twice"),
        ("case,patient,probability", "holds no case"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, lines, message):
    write_told(tmp_path, TOLD, [])
    (tmp_path / "outcomes.csv").write_text(lines + "\n")
    with pytest.raises(InputFault, match=message):
        read_told(tmp_path)
