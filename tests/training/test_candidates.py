"""Candidates are kept with what the rules say of them, through stops and crashes, and keeping them changes nothing."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contracts.tiny import TASK, cpu, tiny_material, tiny_recipe
from torch import Tensor

from fewmask.errors import InputFault, Interrupted
from fewmask.methods.base import Method, Move
from fewmask.recipe import Recipe
from fewmask.training.candidates import Candidates
from fewmask.training.checkpoint import Checkpoints, load_networks
from fewmask.training.fit import Job, fit
from fewmask.training.journal import Journal
from fewmask.training.material import Material
from fewmask.training.rules import RuleScores
from fewmask.training.shares import shares_of, target_slices_of, validation_of

torch.set_num_threads(1)

STEPS = 5
KEPT = [2, 4, 5]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return tiny_material(tmp_path_factory.mktemp("material"))


def recipe_of(name: str, **changes: Any) -> Recipe:
    """The last stage of a named recipe, with candidates unless told otherwise; every step is saved."""
    recipe = tiny_recipe(name, STEPS)
    last = replace(recipe.stages[-1], **{"keep_candidates": True, "choose": "last", **changes})
    return replace(recipe, stages=(*recipe.stages[:-1], last), checkpoint_minutes=0.0)


def build(recipe: Recipe) -> Method:
    torch.manual_seed(3)
    stage = recipe.stages[-1]
    segmenter = recipe.stage(stage.segmenter).method.build(TASK, None).segmenter if stage.segmenter else None
    return stage.method.build(TASK, segmenter)


def train_here(
    recipe: Recipe,
    material: Material,
    folder: Path,
    stop_at: int | None = None,
    second_head: bool = False,
) -> Method:
    """Train the last stage in `folder`, going on where it stopped; SIGTERM comes during step `stop_at`."""
    stage = recipe.stages[-1]
    folder.mkdir(parents=True, exist_ok=True)
    method = build(recipe)
    if second_head:
        object.__setattr__(method, "segment_twice", lambda images: two_heads(method, images))
    if stop_at is not None:
        stop_during(method, stop_at)
    checkpoints = Checkpoints(folder, stage.name)
    position = checkpoints.resume(method)
    shares, target = shares_of(stage, 0, material, 1), target_slices_of(stage, material)
    job = Job(recipe, stage, 0, shares, validation_of(stage, material), checkpoints, target)
    with Journal(folder / "log.jsonl", folder, stage.name, position.step, stage.steps, 1) as journal:
        fit(cpu(), method, job, journal, position)
    return method


def two_heads(method: Method, images: Tensor) -> tuple[Tensor, Tensor]:
    logits = method.segment(images)
    return logits, method.segment(images.flip(-1)).flip(-1)


def stop_during(method: Method, step: int) -> None:
    original = method.training_step

    def training_step(batch: Any, progress: float) -> Iterator[Move]:
        if progress == step / STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        yield from original(batch, progress)

    object.__setattr__(method, "training_step", training_step)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "candidates").iterdir()}


@pytest.mark.parametrize(
    ("name", "choose"), [("supervised", "validation"), ("cyclegan", "information"), ("cyclegan", "last")]
)
def test_stopped_at_any_step_and_gone_on_the_candidates_are_the_same_bytes(
    material: Material, tmp_path: Path, name: str, choose: str
) -> None:
    recipe = recipe_of(name, choose=choose)
    whole = train_here(recipe, material, tmp_path / "whole")
    for step in range(STEPS - 1):
        with pytest.raises(Interrupted):
            train_here(recipe, material, tmp_path / "parts", stop_at=step)
    parts = train_here(recipe, material, tmp_path / "parts")
    names = {f"step_{step:06d}.pt" for step in KEPT} | {"candidates.csv"}
    assert content(tmp_path / "whole").keys() == names
    assert content(tmp_path / "whole") == content(tmp_path / "parts")
    assert all(torch.equal(value, parts.state_dict()[key]) for key, value in whole.state_dict().items())
    files = [tmp_path / side / "checkpoint_chosen.pt" for side in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_crash_between_networks_and_scores_loses_and_doubles_nothing(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of("supervised", choose="validation")
    train_here(recipe, material, tmp_path / "whole")
    note = Candidates.note

    def crash(self: Candidates, step: int, scores: RuleScores) -> None:
        if step == 4:
            raise KeyboardInterrupt
        note(self, step, scores)

    monkeypatch.setattr(Candidates, "note", crash)
    with pytest.raises(KeyboardInterrupt):
        train_here(recipe, material, tmp_path / "parts")
    monkeypatch.setattr(Candidates, "note", note)
    candidates = Candidates(tmp_path / "parts")
    assert candidates.path(4).exists() and [each.step for each in candidates.read()] == [2]
    # What another life of the run left beyond the last checkpoint is not this one's.
    candidates.path(99).write_bytes(b"stale")
    candidates.note(99, RuleScores(information=9.0))
    with pytest.raises(Interrupted):
        train_here(recipe, material, tmp_path / "parts", stop_at=3)
    train_here(recipe, material, tmp_path / "parts")
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


@pytest.mark.parametrize("name", ["supervised", "cyclegan"])
def test_keeping_candidates_changes_no_weight(material: Material, tmp_path: Path, name: str) -> None:
    with_candidates = train_here(recipe_of(name), material, tmp_path / "with", second_head=True)
    without = train_here(recipe_of(name, keep_candidates=False), material, tmp_path / "without")
    assert not (tmp_path / "without" / "candidates").exists()
    assert "information" not in (tmp_path / "without" / "log.jsonl").read_text()
    for key, value in without.state_dict().items():
        assert torch.equal(value, with_candidates.state_dict()[key]), key


def test_every_rule_is_noted_in_the_table_and_in_the_log(material: Material, tmp_path: Path) -> None:
    train_here(recipe_of("cyclegan"), material, tmp_path, second_head=True)
    kept = Candidates(tmp_path).read()
    assert [candidate.step for candidate in kept] == KEPT
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = {line["step"]: line for line in log if "information" in line}
    for candidate in kept:
        line, scores = told[candidate.step], candidate.scores
        logged = (line["validation_dice"], line["information"], line["agreement"])
        assert logged == (scores.validation, scores.information, scores.agreement)
    assert len({candidate.scores.information for candidate in kept}) == len(kept)


@pytest.mark.parametrize("rule", ["information", "agreement", "validation"])
def test_the_chosen_checkpoint_is_the_candidate_that_its_rule_likes_best(
    material: Material, tmp_path: Path, rule: str
) -> None:
    recipe = recipe_of("cyclegan", choose=rule)
    train_here(recipe, material, tmp_path, second_head=True)
    kept = Candidates(tmp_path).read()
    scores = [getattr(candidate.scores, rule) for candidate in kept]
    best = kept[scores.index(max(scores))]
    chosen, same = (
        torch.load(path, weights_only=True) for path in (tmp_path / "checkpoint_chosen.pt", best.path)
    )
    assert chosen["step"] == best.step and chosen["score"] == max(scores)
    assert all(torch.equal(value, same["method"][key]) for key, value in chosen["method"].items())
    words = {"information": "most information", "agreement": "both heads", "validation": "held-out patients"}
    assert words[rule] in chosen["rule"] and "ORACLE" not in chosen["rule"].upper()


def test_the_last_step_stays_chosen_where_candidates_are_only_kept(
    material: Material, tmp_path: Path
) -> None:
    train_here(recipe_of("cyclegan"), material, tmp_path)
    chosen = torch.load(tmp_path / "checkpoint_chosen.pt", weights_only=True)
    assert (chosen["step"], chosen["rule"]) == (STEPS, "the last step")
    assert [candidate.scores.agreement for candidate in Candidates(tmp_path).read()] == [None] * len(KEPT)


def test_a_candidate_is_found_by_its_name_and_says_what_it_is(material: Material, tmp_path: Path) -> None:
    recipe = recipe_of("supervised")
    train_here(recipe, material, tmp_path)
    checkpoints = Checkpoints(tmp_path, "segmenter")
    assert checkpoints.named("step_4") == checkpoints.named("step_000004")
    origin = load_networks(build(recipe), checkpoints.named("step_000004"))
    assert (origin.step, origin.score) == (4, None) and "candidate" in origin.rule
    assert checkpoints.named("latest") == checkpoints.latest
    with pytest.raises(
        InputFault, match=r"no checkpoint 'step_000003'.*step_000002, step_000004, step_000005"
    ):
        checkpoints.named("step_000003")
    with pytest.raises(InputFault, match="keep_candidates=true"):
        Checkpoints(tmp_path / "elsewhere", "segmenter").named("step_000003")


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    candidates = Candidates(tmp_path)
    candidates.note(2, RuleScores(information=0.1))
    candidates.note(2, RuleScores(information=1 / 3, agreement=0.5))
    assert [each.scores for each in candidates.read()] == [RuleScores(None, 1 / 3, 0.5)]
    candidates.table.write_text("step,validation\n2,x\n")
    with pytest.raises(InputFault, match=r"candidates\.csv: is damaged"):
        candidates.read()
