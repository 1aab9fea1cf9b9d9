"""One battery over every method of every named recipe."""

import os
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fewmask.config import to_mapping
from fewmask.data.batch import Batch, Unlabelled
from fewmask.data.stream import draw
from fewmask.errors import InputFault, Interrupted, RunFailed
from fewmask.losses.turn import term_names
from fewmask.methods.base import Method, Move
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Stage, recipe_from_mapping
from fewmask.recipes.names import RECIPES
from fewmask.training.checkpoint import Checkpoints, load_networks
from fewmask.training.fit import Job, batch_of, fit
from fewmask.training.journal import Journal
from fewmask.training.material import Material
from fewmask.training.play import play
from fewmask.training.shares import shares_of, validation_of
from tests.contracts.tiny import TASK, Named, cpu, every_stage, task_of, tiny_material, tiny_recipe

STAGES = every_stage()

every_method = pytest.mark.parametrize("named", STAGES, ids=str)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return tiny_material(tmp_path_factory.mktemp("material"))


def stage_of(named: Named) -> Stage:
    return tiny_recipe(named.recipe).stages[named.stage]


def build(named: Named, stage: Stage | None = None) -> Method:
    """The stage's method with the same fresh weights every time."""
    recipe = tiny_recipe(named.recipe)
    stage = stage or recipe.stages[named.stage]
    torch.manual_seed(3)
    task = task_of(stage)
    segmenter = recipe.stage(stage.segmenter).method.build(task, None).segmenter if stage.segmenter else None
    return stage.method.build(task, segmenter)


def batch_for(stage: Stage, material: Material, step: int = 0) -> Batch:
    shares = shares_of(stage, 0, material, 1)
    return batch_of(stage, [draw(share, 0, step) for share in shares])


def fit_here(
    named: Named, material: Material, folder: Path, workers: int = 0, stop_at: int | None = None
) -> Method:
    """Train the stage in `folder`, going on where it stopped; SIGTERM comes during step `stop_at`."""
    recipe = replace(tiny_recipe(named.recipe), workers=workers)
    stage = recipe.stages[named.stage]
    folder.mkdir(parents=True, exist_ok=True)
    method = build(named)
    checkpoints = Checkpoints(folder, stage.name)
    position = checkpoints.resume(method)
    job = Job(
        recipe,
        stage,
        0,
        shares_of(stage, 0, material, 1),
        validation_of(stage, material),
        checkpoints,
    )
    if stop_at is not None:
        _kill_during(method, stop_at / stage.steps)
    with Journal(folder / "log.jsonl", folder, stage.name, position.step, stage.steps, 1) as journal:
        fit(cpu(), method, job, journal, position)
    return method


def _kill_during(method: Method, progress_wanted: float) -> None:
    original = method.training_step

    def training_step(batch: Any, progress: float) -> Iterator[Move]:
        if progress == progress_wanted:
            os.kill(os.getpid(), signal.SIGTERM)
        yield from original(batch, progress)

    object.__setattr__(method, "training_step", training_step)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@every_method
def test_three_steps_move_every_player_and_stay_finite(
    named: Named, material: Material, tmp_path: Path
) -> None:
    before = build(named).state_dict()
    after = fit_here(named, material, tmp_path / "run")
    for player in after.players:
        names = {name for name, p in after.named_parameters() if any(p is q for q in player.parameters)}
        assert any(not torch.equal(before[name], after.state_dict()[name]) for name in names), player.name
    assert all(torch.isfinite(p).all() for p in after.parameters())


@every_method
def test_only_the_player_on_turn_moves(named: Named, material: Material) -> None:
    method = build(named).train()
    stage = stage_of(named)
    moves = method.training_step(batch_for(stage, material), 0.0)
    while True:
        before = {name: p.clone() for name, p in method.named_parameters()}
        one = next(moves, None)
        if one is None:
            break
        turns = play(cpu(), method, iter([one]), 0.0)
        moving = {id(p) for turn in turns for p in method.player(turn.player).parameters}
        changed = {name for name, p in method.named_parameters() if not torch.equal(before[name], p)}
        allowed = {name for name, p in method.named_parameters() if id(p) in moving}
        assert changed and changed <= allowed


@every_method
def test_a_frozen_segmenter_stays_as_it_was(named: Named, material: Material, tmp_path: Path) -> None:
    if stage_of(named).segmenter is None:
        pytest.skip("this stage freezes no earlier network")
    before = {key: value.clone() for key, value in build(named).segmenter.state_dict().items()}
    assert_same(before, fit_here(named, material, tmp_path / "run").segmenter.state_dict())


@every_method
def test_each_weight_has_a_term_and_each_term_a_weight(named: Named, material: Material) -> None:
    method = build(named).train()
    weights = stage_of(named).method.weights
    opened = replace(weights, **dict.fromkeys(term_names(weights), 1.0))
    method.weights = opened
    turns = play(cpu(), method, method.training_step(batch_for(stage_of(named), material), 0.0), 0.0)
    assert {name for turn in turns for name in turn.terms} == {field.name for field in fields(weights)}


@every_method
def test_switching_off_one_term_still_trains_and_never_computes_it(named: Named, material: Material) -> None:
    stage = stage_of(named)
    weights = stage.method.weights
    for name in term_names(weights):
        method = build(
            named, replace(stage, method=replace(stage.method, weights=replace(weights, **{name: 0.0})))
        )
        before = [p.clone() for p in method.parameters()]
        turns = play(cpu(), method.train(), method.training_step(batch_for(stage, material), 0.0), 0.0)
        assert all(name not in turn.terms for turn in turns)
        moved = any(not torch.equal(old, new) for old, new in zip(before, method.parameters(), strict=True))
        others = [term for term in term_names(weights) if term != name]
        assert moved == any(weights.value(term, 0.0) for term in others)


@every_method
def test_one_seed_gives_one_result(named: Named, material: Material, tmp_path: Path) -> None:
    first = fit_here(named, material, tmp_path / "first").state_dict()
    assert_same(first, fit_here(named, material, tmp_path / "second").state_dict())


@every_method
def test_stopped_after_each_step_and_gone_on_is_bit_identical(
    named: Named, material: Material, tmp_path: Path
) -> None:
    whole = fit_here(named, material, tmp_path / "whole", workers=1)
    for step in range(2):
        with pytest.raises(Interrupted, match="SIGTERM"):
            fit_here(named, material, tmp_path / "parts", workers=1, stop_at=step)
    parts = fit_here(named, material, tmp_path / "parts", workers=1)
    assert_same(whole.state_dict(), parts.state_dict())
    for one, other in zip(whole.players, parts.players, strict=True):
        for mine, theirs in zip(
            one.optimiser.state_dict()["state"].values(),
            other.optimiser.state_dict()["state"].values(),
            strict=True,
        ):
            assert_same(mine, theirs)
    chosen = [
        torch.load(tmp_path / side / "checkpoint_chosen.pt", weights_only=True) for side in ("whole", "parts")
    ]
    assert_same(chosen[0]["method"], chosen[1]["method"])


@every_method
def test_saved_and_loaded_it_answers_alike(named: Named, material: Material, tmp_path: Path) -> None:
    method = fit_here(named, material, tmp_path / "run").eval()
    again = build(named)
    for parameter in again.parameters():
        parameter.data.zero_()
    Checkpoints(tmp_path / "run", "x").save_chosen(method, 3, "the last step", None)
    load_networks(again, tmp_path / "run" / "checkpoint_chosen.pt")
    images = torch.rand(2, 3, TASK.size, TASK.size) * 2 - 1
    with torch.no_grad():
        logits, repeated = answer(method, images), answer(again.eval(), images)
    shapes = (
        {(2, len(method.task.classes), TASK.size, TASK.size)}
        if method.draws_masks
        else {(2,), tuple(images.shape)}
    )
    assert tuple(logits.shape) in shapes
    assert torch.equal(logits, repeated)


def answer(method: Method, images: Tensor) -> Tensor:
    """The masks' scores; of a method that draws no masks the outcomes', or what it re-draws."""
    if method.draws_masks:
        return method.segment(images)
    with pytest.raises(InputFault, match="no masks"):
        method.segment(images)
    logits = method.judge(images)
    if logits is None:
        method.learn_styles([images])
        logits = method.restyle_as(images, [0, 1], [0, 1])
    assert logits is not None
    return logits


@every_method
def test_asking_for_a_target_mask_fails(named: Named, material: Material) -> None:
    with pytest.raises(AttributeError):
        _ = Unlabelled(torch.zeros(1, 3, 8, 8)).masks  # pyright: ignore
    assert not (material.stores["target"].folder / "masks.npy").exists()


@every_method
def test_a_loss_that_is_not_finite_names_turn_and_term(named: Named, material: Material) -> None:
    method = build(named).train()
    batch = batch_for(stage_of(named), material)
    labelled = batch.source if hasattr(batch, "source") else batch
    labelled.images[:] = float("nan")
    with pytest.raises(RunFailed, match=r"turn '\w+', term '[\w ]+'"):
        play(cpu(), method, method.training_step(batch, 0.0), 0.0)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("small", [True, False])
def test_a_recipe_survives_yaml(name: str, small: bool) -> None:
    recipe = RECIPES[name](small)
    assert recipe_from_mapping(to_mapping(recipe), KINDS, name) == recipe


def test_every_method_is_used_by_a_recipe() -> None:
    used = {stage.method.kind for build in RECIPES.values() for stage in build(True).stages}
    assert used == set(KINDS)
