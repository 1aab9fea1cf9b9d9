"""Recipes change as asked, and say what is wrong where they cannot."""

from dataclasses import replace

import pytest

from fewmask.config import did_you_mean, from_mapping
from fewmask.errors import InputFault
from fewmask.losses.turn import Ramp
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Augmentation, Recipe, override, without
from fewmask.recipes.names import RECIPES


def changed(*assignments: str, name: str = "cyclegan") -> Recipe:
    return override(RECIPES[name](True), assignments, KINDS)


def test_a_key_holds_for_every_stage_that_has_it() -> None:
    assert [stage.steps for stage in changed("steps=7").stages] == [7, 7]


def test_a_stages_name_keeps_a_key_to_that_stage() -> None:
    assert [stage.steps for stage in changed("translators.steps=7").stages] == [1800, 7]


def test_a_key_is_found_however_deep_it_lies() -> None:
    recipe = changed("widths=[4,8]", "weights.cycle=3", "split.unit=image", "segmenter.rate=0.5")
    assert recipe.stages[0].method.network.widths == (4, 8)
    assert recipe.stages[0].method.optimiser.rate == 0.5
    assert recipe.stages[1].method.weights.cycle == 3.0
    assert recipe.stages[1].method.optimiser.rate == 2e-4
    assert recipe.split.unit == "image"


def test_a_weight_may_be_a_ramp() -> None:
    recipe = changed("weights.cycle={peak: 4, start: 0.5, end: 1}")
    assert recipe.stages[1].method.weights.cycle == Ramp(4.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stps=3", "did you mean 'steps'"),
        ("steps", "key=value"),
        ("steps=0", "at least 1"),
        ("size=40", "multiple of 16"),
        ("seed=-1", "at least 0"),
        ("masks_share=1", "between 0 and 1"),
        ("precision=64", "precision"),
        ("attention={kind: telepathy}", "attention"),
        ("split.unit=leg", "split.unit"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(assignment: str, message: str) -> None:
    with pytest.raises(InputFault, match=message) as fault:
        changed(assignment)
    assert "\n" not in str(fault.value)


def test_an_ablation_is_the_recipe_with_one_weight_at_0() -> None:
    ablated = without(RECIPES["cyclegan"](True), "identity")
    assert ablated.name == "cyclegan_without_identity"
    assert ablated.stages[1].method.weights.identity == 0.0
    whole = RECIPES["cyclegan"](True).stages[1].method
    assert replace(ablated.stages[1].method, weights=whole.weights) == whole
    with pytest.raises(InputFault, match="no stage has a loss term 'gravity'"):
        without(RECIPES["cyclegan"](True), "gravity")


def test_a_small_recipe_is_the_same_method_made_narrow() -> None:
    for build in RECIPES.values():
        small, full = build(True), build(False)
        assert [stage.method.kind for stage in small.stages] == [stage.method.kind for stage in full.stages]
        assert [stage.method.weights for stage in small.stages] == [
            stage.method.weights for stage in full.stages
        ]


def test_nested_unknown_keys_are_named() -> None:
    with pytest.raises(InputFault, match="did you mean 'rotation'"):
        from_mapping(Recipe, {"name": "x", "stages": [{"augmentation": {"rotatoin": 3}}]}, "x.yaml")
    assert from_mapping(Augmentation, {"rotation": 3}, "x").rotation == 3.0


def test_far_words_are_answered_with_the_list() -> None:
    assert did_you_mean("qqq", ["a", "b"]) == "known: a, b"
