"""The table of what not looking costs, against a plain recomputation from the masks on disk."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fewmask.cli import app
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.evaluation.choices import (
    Choice,
    ScoredCandidate,
    choices_of,
    compare_choices,
    read_choices,
)
from fewmask.evaluation.segment import MANIFEST
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, override
from fewmask.recipes.names import RECIPES
from fewmask.training.candidates import Candidate, Candidates
from fewmask.training.rules import RuleScores
from fewmask.training.train import train

torch.set_num_threads(1)

CHANGES = (
    "size=32",
    "segmenter.steps=60",
    "translators.steps=8",
    "translators.validate_every=2",
    "translators.keep_candidates=true",
    "translators.optimiser.rate=0.01",
    "batch=4",
    "network.widths=[4,8]",
    "translator_width=4",
    "translator_blocks=1",
    "critic_width=4",
    "choose=last",
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, tuple[Choice, ...]]:
    """A run with four candidates, the target's folder, where its choices lie, and the choices."""
    folder = tmp_path_factory.mktemp("choices")
    source, target = write_phantom("placenta", folder / "pair", cases=10, size=32)
    recipe = override(RECIPES["cyclegan"](True), CHANGES, KINDS)
    recipe = replace(recipe, cohorts=Cohorts(source=source, target=target))
    train(recipe, folder / "run", device="cpu", cache=folder / "cache")
    return (
        folder / "run",
        target,
        folder / "out",
        compare_choices(folder / "run", target, folder / "out", device="cpu"),
    )


def plain_dice(masks: Path, truth: Path) -> float:
    """Over the classes of a case that truth or prediction has, then over cases."""
    values = json.loads((truth / "dataset.json").read_text())["labels"].values()
    by_case: list[float] = []
    for path in sorted((truth / "labelsTs").iterdir()):
        wanted, drawn = (np.asarray(Image.open(file)) for file in (path, masks / path.name))
        pairs = [(wanted == label, drawn == label) for label in values if label]
        dice = [2 * (w & d).sum() / (w.sum() + d.sum()) for w, d in pairs if (w | d).any()]
        if dice:
            by_case.append(float(np.mean(dice)))
    return float(np.mean(by_case))


def plain_spearman(one: list[float], other: list[float]) -> float:
    def ranks(values: list[float]) -> np.ndarray:
        return np.array(
            [np.mean([v < x for v in values]) + np.mean([v <= x for v in values]) for x in values]
        )

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def test_the_table_is_what_a_plain_recomputation_gives(
    compared: tuple[Path, Path, Path, tuple[Choice, ...]],
) -> None:
    run, target, out, choices = compared
    with (run / "candidates" / "candidates.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    steps = [int(line["step"]) for line in lines]
    truth = [plain_dice(out / f"step_{step:06d}" / "predictions", target) for step in steps]
    assert steps == [2, 4, 6, 8] and len(set(truth)) > 1, "equal candidates would compare nothing"
    looked_at = ["validation", "information", "density", "cycle", "ensemble"]
    assert [choice.rule for choice in choices] == ["last", *looked_at, "ORACLE"]
    scores = {
        "last": [float(step) for step in steps],
        **{rule: [float(line[rule]) for line in lines] for rule in looked_at},
        "ORACLE": truth,
    }
    for choice in choices:
        own = scores[choice.rule]
        place = own.index(max(own))
        assert choice.step == steps[place]
        assert choice.score == pytest.approx(own[place])
        assert choice.dice == pytest.approx(truth[place], abs=1e-9)
        assert choice.regret == pytest.approx(max(truth) - truth[place], abs=1e-9)
        if choice.rule == "ORACLE" or len(set(own)) == 1:
            assert choice.correlation is None
        else:
            assert choice.correlation == pytest.approx(plain_spearman(own, truth))


def test_validation_on_redrawn_source_images_moves_with_the_translators(
    compared: tuple[Path, Path, Path, tuple[Choice, ...]],
) -> None:
    scores = [candidate.scores.validation for candidate in Candidates(compared[0]).read()]
    assert None not in scores and len(set(scores)) > 1


def test_file_and_page_say_oracle_and_the_run_does_not(
    compared: tuple[Path, Path, Path, tuple[Choice, ...]],
) -> None:
    run, _, out, choices = compared
    page = (out / "choices.md").read_text()
    assert page.startswith("**ORACLE**") and "Not possible in this run: agreement." in page
    assert all(f"| {choice.rule} |" in page and f"{choice.regret:.4f}" in page for choice in choices)
    assert "ORACLE" in (out / "choices.csv").read_text()
    assert "ORACLE dice" in (out / "candidates.csv").read_text().splitlines()[0]
    assert read_choices(out) == choices
    chosen = torch.load(run / "checkpoint_chosen.pt", weights_only=True)
    assert chosen["rule"] == "the last step"


def test_a_candidate_segments_by_name_and_its_manifest_says_so(
    compared: tuple[Path, Path, Path, tuple[Choice, ...]], tmp_path: Path
) -> None:
    run, target, out, _ = compared
    words = ["segment", str(run), str(target), "--out", str(tmp_path), "--device", "cpu", "--checkpoint"]
    answer = CliRunner().invoke(app, [*words, "step_000004"])
    assert answer.exit_code == 0, answer.output
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["checkpoint"] == {"step": 4, "rule": "kept as a candidate, chosen by no rule"}
    for entry in manifest["cases"]:
        mask = tmp_path / entry["mask"]
        assert mask.read_bytes() == (out / "step_000004" / "predictions" / entry["mask"]).read_bytes()
    absent = CliRunner().invoke(app, [*words, "step_000005"])
    assert isinstance(absent.exception, InputFault) and "step_000006" in str(absent.exception)
    assert CliRunner().invoke(app, [*words, "best"]).exit_code == 2


def test_a_run_without_candidates_is_refused_with_the_remedy(
    compared: tuple[Path, Path, Path, tuple[Choice, ...]], tmp_path: Path
) -> None:
    run, target, _, _ = compared
    (tmp_path / "recipe.yaml").write_text((run / "recipe.yaml").read_text())
    with pytest.raises(InputFault, match="has not finished"):
        compare_choices(tmp_path, target, tmp_path / "out")
    (tmp_path / "finished.json").write_text("{}")
    with pytest.raises(InputFault, match=r"--set translators\.keep_candidates=true"):
        compare_choices(tmp_path, target, tmp_path / "out")
    with pytest.raises(InputFault, match="no such file"):
        read_choices(tmp_path)


def scored(step: int, dice: float, scores: RuleScores) -> ScoredCandidate:
    return ScoredCandidate(Candidate(step, Path("x"), scores), dice)


def test_choices_by_hand() -> None:
    """Validation likes the worst, information the second; two candidates share the best agreement, the first stays."""
    candidates = [
        scored(100, 0.50, RuleScores(0.9, 0.2, 0.7)),
        scored(200, 0.80, RuleScores(0.6, 0.5, 0.8)),
        scored(300, 0.70, RuleScores(0.7, 0.4, 0.8)),
    ]
    last, validation, information, agreement, oracle = choices_of(candidates)
    assert (last.step, last.dice, last.regret, last.correlation) == (300, 0.7, pytest.approx(0.1), 0.5)
    assert (validation.step, validation.regret, validation.correlation) == (100, pytest.approx(0.3), -1.0)
    assert (information.step, information.regret, information.correlation) == (200, 0.0, 1.0)
    assert (agreement.step, agreement.score) == (200, 0.8)
    assert agreement.correlation == pytest.approx(np.sqrt(3) / 2)
    assert (oracle.rule, oracle.step, oracle.dice, oracle.regret) == ("ORACLE", 200, 0.8, 0.0)
