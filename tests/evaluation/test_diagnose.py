"""From a folder with outcomes to two ROC curves, and what is refused on the way."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.prepared_case import prepare_case
from fewmask.errors import InputFault
from fewmask.evaluation.diagnose import diagnose
from fewmask.evaluation.diagnosis_record import format_diagnosis
from fewmask.evaluation.report import write_report
from fewmask.evaluation.segment import segment
from fewmask.evaluation.trained import load_trained
from fewmask.methods.outcome import HIDDEN, keep_only
from fewmask.metrics.classification import auc
from fewmask.recipes.reading import resolve
from fewmask.training.run import Run
from fewmask.training.train import train

torch.set_num_threads(1)

TINY = ("size=32", "steps=4", "batch=4", "validate_every=2", "widths=[4,8]")


def fit(
    out: Path,
    *,
    outcome: str | None = "fir>=2",
    recipe: str = "diagnosis",
    changes: Sequence[str] = (),
    **where: Path,
) -> Path:
    folders = {"masks": where.get("masks"), "source": where.get("source"), "target": where.get("target")}
    resolved = resolve(recipe, True, folders, {}, None, None, [*TINY, *changes], outcome)
    train(resolved, out, device="cpu")
    return out


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("phantom") / "placenta", 0, 30, 32)
    return source, target


@pytest.fixture(scope="module")
def run(hospitals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWMASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fit(tmp_path_factory.mktemp("run") / "fir", source=hospitals[0])


@pytest.fixture
def target(hospitals: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(hospitals[1], tmp_path / "target")
    return tmp_path / "target"


def rewrite(folder: Path, column: str, value: str | None) -> None:
    """Set a column of cases.csv to one value, or take it out."""
    rows = list(csv.DictReader((folder / "cases.csv").open()))
    for row in rows:
        row.pop(column)
        if value is not None:
            row[column] = value
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_run_chose_by_auc_and_divided_both_outcomes_by_patient(
    run: Path, hospitals: tuple[Path, Path]
) -> None:
    (split,) = json.loads((run / "split.json").read_text())
    assert split["stratified_by"] == "site and outcome"
    rows = {row["case"]: row for row in csv.DictReader((hospitals[0] / "cases.csv").open())}
    patients = [{rows[name]["patient"] for name in split[part]} for part in ("train", "validation")]
    assert not patients[0] & patients[1]
    for part in ("train", "validation"):
        assert {int(rows[name]["fir"]) >= 2 for name in split[part]} == {True, False}
    kept = json.loads((run / "learnt_outcomes.json").read_text())
    assert kept["by_role"]["source"] == {
        name: float(int(row["fir"]) >= 2) for name, row in rows.items() if row["split"] == "train"
    }
    trained = load_trained(run, device="cpu")
    assert "best AUC on the held-out patients" in trained.rule
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "validation_auc" in entry] == [2, 4]
    write_report([run])
    assert "AUC on held-out patients" in (run / "report.html").read_text()


def test_two_probabilities_a_case_and_their_curves(
    run: Path, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    target = hospitals[1]
    found = diagnose(run, target, target / "labelsTs", tmp_path, kept=["disc", "cord"], device="cpu")
    rows = list(csv.DictReader((tmp_path / "outcomes.csv").open()))
    table = {row["case"]: row for row in csv.DictReader((target / "cases.csv").open())}
    assert [row["case"] for row in rows] == [name for name, row in table.items() if row["split"] == "test"]
    assert all(int(row["outcome"]) == (int(table[row["case"]]["fir"]) >= 2) for row in rows)
    truth = [row["outcome"] == "1" for row in rows]
    written = json.loads((tmp_path / "diagnosis.json").read_text())["comparison"]
    for which in ("whole", "kept"):
        scores = [float(row[f"probability_{which}"]) for row in rows]
        assert all(0 < score < 1 for score in scores)
        assert written[which]["auc"] == pytest.approx(auc(scores, truth))
        assert written[which]["low"] <= written[which]["auc"] <= written[which]["high"]
    assert written["difference"] == pytest.approx(written["kept"]["auc"] - written["whole"]["auc"])
    assert written["n"] == len(rows) and written["positives"] == sum(truth)
    assert 0 <= written["delong_p"] <= 1 and 0 < written["bootstrap_p"] <= 1
    assert Image.open(tmp_path / "roc.png").size[0] > 300
    text = format_diagnosis(found)
    assert "disc and cord only  AUC" in text and "DeLong p" in text and "fir>=2" in text


def test_the_kept_classes_are_all_that_is_seen(
    run: Path, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    """Against the picture painted grey by hand; and what is painted over elsewhere changes nothing."""
    target = hospitals[1]
    spoilt = tmp_path / "spoilt"
    shutil.copytree(target, spoilt)
    for path in (spoilt / "imagesTs").iterdir():
        pixels = np.asarray(Image.open(path)).copy()
        mask = np.asarray(Image.open(spoilt / "labelsTs" / path.name.replace("_0000", "")))
        pixels[~np.isin(mask, (1, 2))] = (255, 0, 128)
        Image.fromarray(pixels).save(path)
    options = {"kept": ["cord", "disc"], "device": "cpu"}
    diagnose(run, target, target / "labelsTs", tmp_path / "a", **options)
    diagnose(run, spoilt, spoilt / "labelsTs", tmp_path / "b", **options)
    first, second = (list(csv.DictReader((tmp_path / side / "outcomes.csv").open())) for side in "ab")
    assert [row["probability_kept"] for row in first] == [row["probability_kept"] for row in second]
    assert [row["probability_whole"] for row in first] != [row["probability_whole"] for row in second]

    trained = load_trained(run, device="cpu")
    case = next(case for case in read_cohort(target).cases if case.name == first[0]["case"])
    images = next(prepare_case(case, trained.preparation).chunks())
    mask = np.asarray(Image.open(target / "labelsTs" / f"{case.name}.png"))
    by_hand = torch.where(torch.from_numpy(np.isin(mask, (1, 2)))[None, None], images, torch.tensor(0.0))
    with torch.no_grad():
        logit = trained.method.judge(by_hand)
    assert logit is not None
    assert float(first[0]["probability_kept"]) == pytest.approx(float(logit.sigmoid()), abs=1e-6)


def test_hidden_pixels_are_mid_grey_and_ignored_ones_are_hidden() -> None:
    images = torch.full((1, 3, 1, 4), 0.7)
    seen = keep_only(images, torch.tensor([[[0, 1, 2, 255]]]), (1, 2))
    assert seen[0, :, 0].tolist() == [pytest.approx([HIDDEN, 0.7, 0.7, HIDDEN])] * 3


def test_trained_on_kept_classes_it_needs_no_keep(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    run = fit(tmp_path / "run", source=source, changes=["kept=[disc]", "balanced=false"])
    method = load_trained(run, device="cpu").method.eval()
    images, masks = torch.rand(2, 3, 32, 32), torch.randint(0, 3, (2, 32, 32))
    repainted = torch.where((masks == 1)[:, None], images, 1 - images)
    with torch.no_grad():
        one, other = method.validate_judge(images, masks), method.validate_judge(repainted, masks)
    assert one is not None and other is not None and torch.equal(one, other)
    found = diagnose(run, target, target / "labelsTs", tmp_path / "out", device="cpu")
    assert found.kept_classes == ("disc",)


def test_translations_stand_in_for_the_images(run: Path, target: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    shutil.copytree(target / "labelsTs", masks)
    (masks / "translations").mkdir()
    for path in (target / "imagesTs").iterdir():
        inverted = 255 - np.asarray(Image.open(path))
        Image.fromarray(inverted).save(masks / "translations" / path.name.replace("_0000", ""))
    options = {"kept": ["disc"], "device": "cpu"}
    plain = diagnose(run, target, masks, tmp_path / "plain", **options)
    shown = diagnose(run, target, masks, tmp_path / "shown", translated=True, **options)
    assert plain.shown != shown.shown and "translated" in format_diagnosis(shown)
    for path in (target / "imagesTs").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    diagnose(run, target, masks, tmp_path / "same", **options)
    tables = [(tmp_path / name / "outcomes.csv").read_text() for name in ("plain", "shown", "same")]
    assert tables[0] != tables[1] and tables[1] == tables[2]
    (masks / "translations" / sorted(path.name for path in (target / "labelsTs").iterdir())[0]).unlink()
    with pytest.raises(InputFault, match="no such translation"):
        diagnose(run, target, masks, tmp_path / "none", translated=True, **options)


def test_all_takes_every_case_that_has_a_mask(
    run: Path, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = hospitals
    with pytest.raises(InputFault, match=r"6 of 6 cases have no mask .*--all"):
        diagnose(run, target, target / "labelsTr", tmp_path, kept=["disc"], device="cpu")
    found = diagnose(run, target, target / "labelsTr", tmp_path, kept=["disc"], every_case=True, device="cpu")
    assert found.cases == 24
    own = diagnose(run, source, source / "labelsTr", tmp_path, kept=["disc"], every_case=True, device="cpu")
    assert any("24 of these cases trained or chose the classifier" in remark for remark in own.remarks)


def test_without_the_column_there_are_probabilities_alone(run: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "roc.png").write_bytes(b"of an earlier call")
    rewrite(target, "fir", None)
    found = diagnose(run, target, target / "labelsTs", tmp_path, kept=["disc"], device="cpu")
    assert found.comparison is None and not (tmp_path / "roc.png").exists()
    assert json.loads((tmp_path / "diagnosis.json").read_text())["comparison"] is None
    assert "no AUC" in format_diagnosis(found) and "probabilities alone" in format_diagnosis(found)
    rows = list(csv.DictReader((tmp_path / "outcomes.csv").open()))
    assert {row["outcome"] for row in rows} == {""} and all(
        float(row["probability_kept"]) > 0 for row in rows
    )


def test_what_diagnose_refuses(run: Path, target: Path, tmp_path: Path) -> None:
    masks = target / "labelsTs"
    with pytest.raises(InputFault, match="did you mean 'disc'"):
        diagnose(run, target, masks, tmp_path, kept=["disk"], device="cpu")
    with pytest.raises(InputFault, match="--keep disc,cord"):
        diagnose(run, target, masks, tmp_path, device="cpu")
    with pytest.raises(InputFault, match="no masks in it"):
        diagnose(run, target, tmp_path / "nowhere", tmp_path, kept=["disc"], device="cpu")
    with pytest.raises(InputFault, match="no masks; use `fewmask diagnose`"):
        segment(run, target, tmp_path / "segmented", device="cpu")
    assert not (tmp_path / "segmented").exists()
    described = (target / "dataset.json").read_text()
    (target / "dataset.json").write_text(described.replace('"disc"', '"plate"'))
    with pytest.raises(InputFault, match="numbered otherwise"):
        diagnose(run, target, masks, tmp_path, kept=["disc"], device="cpu")
    (target / "dataset.json").write_text(described)
    first = sorted(masks.iterdir())[0]
    drawn = first.read_bytes()
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(first)
    with pytest.raises(InputFault, match="77"):
        diagnose(run, target, masks, tmp_path, kept=["disc"], device="cpu")
    first.write_bytes(drawn)
    rewrite(target, "fir", "0")
    with pytest.raises(InputFault, match="fir>=2: all 6 cases are 0; an AUC needs both"):
        diagnose(run, target, masks, tmp_path, kept=["disc"], device="cpu")
    assert not (tmp_path / "outcomes.csv").exists()


def test_what_training_refuses(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source = hospitals[0]
    for number, (recipe, outcome, message) in enumerate(
        [
            ("diagnosis", None, "give --outcome COLUMN"),
            ("diagnosis", "fir>=9", "fir>=9: all 19 training cases are 0; move the threshold"),
            ("diagnosis", "fri>=2", "did you mean 'fir'"),
            ("diagnosis", "fir>=severe", "'severe' is no number"),
            ("diagnosis", "fir", "4 values"),
            ("supervised", "fir>=2", "reads no outcome; leave --outcome fir>=2 out"),
        ]
    ):
        with pytest.raises(InputFault, match=message):
            fit(tmp_path / str(number), recipe=recipe, outcome=outcome, masks=source)
        assert not (tmp_path / str(number) / "checkpoint_latest.pt").exists()


def test_outcomes_that_change_under_a_run_are_refused(
    run: Path, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    begun, folder = tmp_path / "begun", tmp_path / "source"
    shutil.copytree(run, begun)
    shutil.copytree(hospitals[0], folder)
    (begun / "finished.json").unlink()
    fit(begun, source=folder)
    assert Run(begun).finished()
    (begun / "finished.json").unlink()
    rows = (folder / "cases.csv").read_text().splitlines()
    first = rows[1].split(",")
    place = rows[0].split(",").index("fir")
    first[place] = "0" if int(first[place]) >= 2 else "3"
    (folder / "cases.csv").write_text("\n".join([rows[0], ",".join(first), *rows[2:]]) + "\n")
    with pytest.raises(InputFault, match=r"outcomes in cases\.csv have changed"):
        fit(begun, source=folder)


def test_images_without_an_outcome_are_left_out(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(hospitals[0], folder)
    rows = (folder / "cases.csv").read_text().splitlines()
    place = rows[0].split(",").index("fir")
    emptied = [",".join([*(cells := row.split(","))[:place], "", *cells[place + 1 :]]) for row in rows[1:4]]
    (folder / "cases.csv").write_text("\n".join([rows[0], *emptied, *rows[4:]]) + "\n")
    run = fit(tmp_path / "run", source=folder)
    (split,) = json.loads((run / "split.json").read_text())
    assert len(split["train"]) + len(split["validation"]) == 21
    assert "3 training images have no fir and are left out; add one to use them" in split["remarks"]


def test_a_finding_of_words(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    folder, words = tmp_path / "source", {"0": "no", "1": "no", "2": "yes", "3": "yes"}
    shutil.copytree(hospitals[0], folder)
    rows = list(csv.DictReader((folder / "cases.csv").open()))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "fir": words[row["fir"]]} for row in rows)
    run = fit(tmp_path / "run", outcome="fir", source=folder)
    assert "outcome fir: yes is 1, no is 0" in json.loads((run / "split.json").read_text())[0]["remarks"]
    found = diagnose(run, folder, folder / "labelsTs", tmp_path / "out", kept=["disc"], device="cpu")
    assert found.outcome == "fir==yes" and found.comparison is not None


def test_a_volume_is_the_mean_of_its_slices(tmp_path: Path) -> None:
    folder, _ = write_phantom("nested", tmp_path / "nested", 0, 10, 32)
    rows = list(csv.DictReader((folder / "cases.csv").open()))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "grade"])
        writer.writeheader()
        writer.writerows({**row, "grade": index // 4 % 2} for index, row in enumerate(rows))
    run = fit(tmp_path / "run", outcome="grade", source=folder)
    cohort = read_cohort(folder)
    found = diagnose(
        run, folder, folder / "labelsTs", tmp_path / "out", kept=[cohort.classes[1]], device="cpu"
    )
    trained, case = load_trained(run, device="cpu"), cohort.part("test")[0]
    images = torch.cat(list(prepare_case(case, trained.preparation).chunks()))
    with torch.no_grad():
        logits = trained.method.judge(images)
    assert logits is not None and len(logits) > 1 and found.cases == len(cohort.part("test"))
    row = next(csv.DictReader((tmp_path / "out" / "outcomes.csv").open()))
    assert float(row["probability_whole"]) == pytest.approx(float(logits.double().sigmoid().mean()), abs=1e-6)
