"""From a run to a table of estimates, to a section of its page, and held against the truth."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.evaluation.accuracy_check import Checked, check_estimates
from fewmask.evaluation.estimated_dice import (
    COLUMNS,
    TABLE,
    Estimate,
    read_estimates,
    write_estimates,
)
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.report import write_report
from fewmask.evaluation.segment import MANIFEST, segment
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.names import RECIPES
from fewmask.training.accuracy import FILE, Accuracy, kept_accuracy
from fewmask.training.run import Run
from fewmask.training.train import train

torch.set_num_threads(1)


def tiny(masks: Path, *changes: str) -> Recipe:
    wanted = ("size=32", "steps=100", "batch=4", "widths=[4,8]", "split.validation=0.3", *changes)
    recipe = override(RECIPES["supervised"](True), wanted, KINDS)
    return Recipe(**{**vars(recipe), "cohorts": Cohorts(masks=masks)})


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that segmented and scored its own test part, and the folder of its cohort."""
    folder = tmp_path_factory.mktemp("estimates")
    source, _ = write_phantom("placenta", folder / "placenta", 0, 14, 32)
    run = folder / "run"
    train(tiny(source), run, device="cpu", cache=folder / "cache")
    segment(run, source, run / "predictions", device="cpu")
    evaluate(run / "predictions", source, run)
    return run, source


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def told(folder: Path) -> str:
    return json.loads((folder / MANIFEST).read_text())["estimated_dice"]


def test_every_case_has_a_row_a_class_and_one_for_their_mean(scored: tuple[Path, Path]) -> None:
    run, _ = scored
    accuracy = kept_accuracy(Run(run))
    assert isinstance(accuracy, Accuracy) and accuracy.patients == 3
    rows = rows_of(run / "predictions" / TABLE)
    manifest = json.loads((run / "predictions" / MANIFEST).read_text())
    assert manifest["estimated_dice"] == TABLE and tuple(rows[0]) == COLUMNS
    names = [entry.name for entry in accuracy.classes]
    assert len(names) > 1
    for entry in manifest["cases"]:
        own = [row for row in rows if row["case"] == entry["case"]]
        assert [row["class"] for row in own] == [*names, "mean"]
        assert len({row["look_first"] for row in own}) == 1
        dice = [float(row["estimated_dice"]) for row in own if row["estimated_dice"]]
        assert dice[-1] == pytest.approx(sum(dice[:-1]) / len(dice[:-1]))
    whole = sorted((row for row in rows if row["class"] == "mean"), key=lambda row: int(row["look_first"]))
    assert [int(row["look_first"]) for row in whole] == [*range(1, len(whole) + 1)]
    assert [row["estimated_dice"] for row in whole] == sorted(row["estimated_dice"] for row in whole)


def test_a_blank_image_is_looked_at_first(scored: tuple[Path, Path], tmp_path: Path) -> None:
    run, source = scored
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((source / "imagesTs").glob("*.png"))[:2]:
        shutil.copy(path, images)
    Image.new("RGB", (32, 32), (128, 128, 128)).save(images / "blank.png")
    segment(run, images, tmp_path / "out", device="cpu")
    assert read_estimates(tmp_path / "out")[0].estimate.case == "blank"


def test_what_is_not_estimated_is_said_and_leaves_no_table(scored: tuple[Path, Path], tmp_path: Path) -> None:
    run, source = scored
    segment(run, source, tmp_path, device="cpu")
    assert (tmp_path / TABLE).exists()
    segment(run, source, tmp_path, device="cpu", estimate=False)
    assert told(tmp_path) == "not estimated: it was not asked for (--no-estimate)"
    assert not (tmp_path / TABLE).exists()
    segment(run, source, tmp_path, device="cpu", which="latest")
    assert "the checkpoint that the run chose" in told(tmp_path)
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / FILE).unlink()
    segment(old, source, tmp_path, device="cpu")
    assert told(tmp_path) == f"not estimated: the run has no {FILE}; run the same `train` again"


def test_the_same_masks_are_drawn_with_estimates_and_without(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    run, source = scored
    written = segment(run, source, tmp_path, device="cpu", estimate=False)
    for mask in written.masks:
        assert mask.read_bytes() == (run / "predictions" / mask.name).read_bytes()


def test_the_largest_piece_alone_is_what_is_estimated(scored: tuple[Path, Path], tmp_path: Path) -> None:
    run, source = scored
    segment(run, source, tmp_path, device="cpu", largest_component=True)
    whole = [row["agreement"] for row in rows_of(run / "predictions" / TABLE)]
    largest = [row["agreement"] for row in rows_of(tmp_path / TABLE)]
    assert len(whole) == len(largest) and whole != largest


def test_a_run_of_an_earlier_version_gets_it_when_it_is_trained_again(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, source = scored
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / FILE).unlink()
    train(tiny(source), old, device="cpu", cache=tmp_path / "cache")
    assert (old / FILE).read_bytes() == (run / FILE).read_bytes()
    assert "is finished" in capsys.readouterr().err
    train(tiny(source), old, device="cpu", cache=tmp_path / "cache")
    assert len(capsys.readouterr().err.splitlines()) == 1, "there is nothing left to do"


def test_where_the_images_have_gone_a_finished_run_stays_finished(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = scored
    old, moved = tmp_path / "old", tmp_path / "moved"
    shutil.copytree(run, old)
    (old / FILE).unlink()
    recipe = tiny(moved)
    train(recipe, old, device="cpu", cache=tmp_path / "cache")
    said = capsys.readouterr().err
    assert "cannot be estimated now" in said and "is finished" in said and not (old / FILE).exists()


def test_where_nothing_can_be_learnt_segment_says_why_and_the_page_nothing(tmp_path: Path) -> None:
    source, _ = write_phantom("placenta", tmp_path / "placenta", 0, 4, 32)
    run = tmp_path / "run"
    train(tiny(source, "steps=2"), run, device="cpu", cache=tmp_path / "cache")
    content = json.loads((run / FILE).read_text())
    assert "two are needed" in content["not_estimated"]
    segment(run, source, tmp_path / "out", device="cpu")
    assert told(tmp_path / "out") == f"not estimated: {content['not_estimated']}"
    page = write_report([run]).read_text()
    assert "Which cases to look at first" not in page


def test_the_page_lists_the_cases_and_holds_them_against_the_truth(scored: tuple[Path, Path]) -> None:
    run, _ = scored
    page = write_report([run]).read_text()
    found = check_estimates(run / "predictions", run / "scores.csv")
    ranked = read_estimates(run / "predictions")
    section = page[page.index('id="look-first"') :]
    places = [section.index(f">{entry.estimate.case}<") for entry in ranked]
    assert places == sorted(places)
    assert f"true masks of {found.n} cases" in section and f"error is {found.mae:.3f}" in section
    assert "confidently wrong agrees with itself" in section


def test_with_pseudonyms_no_case_is_named(scored: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = scored
    page = write_report([run], tmp_path / "page.html", pseudonyms=True).read_text()
    section = page[page.index('id="look-first"') :]
    assert "case-001" in section[: section.index("</section>")]
    assert not any(entry.estimate.case in page for entry in read_estimates(run / "predictions"))


def estimate(case: str, dice: float | None, width: float = 0.1, agreement: float | None = 0.5) -> Estimate:
    if dice is None:
        return Estimate(case, case, "disc", None, None, None, None)
    return Estimate(case, case, "disc", agreement, dice, max(0.0, dice - width), min(1.0, dice + width))


def test_estimates_against_the_truth_by_hand(tmp_path: Path) -> None:
    write_estimates(
        tmp_path,
        [estimate("a", 0.9), estimate("b", 0.5), estimate("c", 0.7), estimate("d", None), estimate("e", 0.4)],
    )
    (tmp_path / "scores.csv").write_text(
        "case,class,dice\na,disc,0.8\nb,disc,0.2\nc,disc,0.4\nd,disc,0.3\ne,disc,\n"
    )
    found = check_estimates(tmp_path, tmp_path / "scores.csv")
    assert (found.n, found.spearman) == (3, 1.0)
    assert (found.mae, found.bias, found.inside) == (
        pytest.approx(0.7 / 3),
        pytest.approx(0.7 / 3),
        pytest.approx(1 / 3),
    )


def test_several_classes_are_held_against_the_mean_of_their_scores(tmp_path: Path) -> None:
    rows = [
        Estimate("a", "p", name, 0.9, dice, dice, dice)
        for name, dice in (("x", 0.2), ("y", 0.8), ("mean", 0.5))
    ]
    write_estimates(tmp_path, rows)
    (tmp_path / "scores.csv").write_text("case,class,dice\na,x,0.3\na,y,0.9\n")
    assert check_estimates(tmp_path, tmp_path / "scores.csv") == Checked(
        1, None, pytest.approx(0.1), pytest.approx(-0.1), 0.0
    )


def test_the_order_to_look(tmp_path: Path) -> None:
    write_estimates(
        tmp_path,
        [
            estimate("good", 0.9),
            estimate("tie", 0.5, agreement=0.7),
            estimate("blank", None),
            estimate("bad", 0.5),
        ],
    )
    order = [entry.estimate.case for entry in read_estimates(tmp_path)]
    assert order == ["blank", "bad", "tie", "good"]


def test_nothing_to_check_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="run `fewmask segment` again"):
        check_estimates(tmp_path, tmp_path / "scores.csv")
    write_estimates(tmp_path, [estimate("a", 0.5)])
    with pytest.raises(InputFault, match="run `fewmask evaluate` first"):
        check_estimates(tmp_path, tmp_path / "scores.csv")
    (tmp_path / TABLE).write_text(
        "case,patient,class,agreement,estimated_dice,low,high,look_first\na,a,d,2,,,,1\n"
    )
    with pytest.raises(InputFault, match="needs the columns"):
        read_estimates(tmp_path)
