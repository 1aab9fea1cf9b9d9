"""Budgets of a run: how many patients of which cohort may train, and what else stays as it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tagged import write_tagged

from fewmask.config import to_mapping
from fewmask.data.phantom import write_phantom
from fewmask.data.split import Split, count_patients
from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, SplitConfig, override, recipe_from_mapping
from fewmask.recipes.names import RECIPES
from fewmask.training.cohorts import divide, read_cohorts
from fewmask.training.run import Run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("pair") / "p", 0, 20, 32)
    return source, target


def recipe_of(name: str, folders: Cohorts, *changes: str) -> Recipe:
    return override(replace(RECIPES[name](True), cohorts=folders), changes, KINDS)


def splits_of(recipe: Recipe) -> dict[str, Split]:
    cohorts, _ = read_cohorts(recipe)
    return divide(recipe, cohorts)


def trained(recipe: Recipe, role: str) -> int:
    """The patients of a role that train."""
    cohorts, _ = read_cohorts(recipe)
    split = divide(recipe, cohorts)[role]
    return count_patients(cohorts[role], split.train, split.unit)


def test_masks_are_limited_and_nothing_else_moves(hospitals: tuple[Path, Path]) -> None:
    folders = Cohorts(masks=hospitals[1])
    whole = splits_of(recipe_of("supervised", folders))["masks"]
    recipe = recipe_of("supervised", folders, "split.masked_patients=3")
    few = splits_of(recipe)["masks"]
    assert trained(recipe, "masks") == 3 and set(few.train) < set(whole.train)
    assert (few.validation, few.test) == (whole.validation, whole.test)
    assert any(remark.startswith("trains on 3 of ") and "a budget" in remark for remark in few.remarks)
    assert not any("budget" in remark for remark in whole.remarks)


def test_beside_a_source_it_is_the_masks_that_are_few(hospitals: tuple[Path, Path]) -> None:
    both = Cohorts(source=hospitals[0], masks=hospitals[1])
    free = splits_of(recipe_of("supervised", both))
    limited = splits_of(recipe_of("supervised", both, "split.masked_patients=2"))
    assert limited["source"] == free["source"]
    assert len(limited["masks"].train) < len(free["masks"].train)
    alone = recipe_of("supervised", Cohorts(source=hospitals[0]), "split.masked_patients=2")
    assert trained(alone, "source") == 2


def test_target_images_are_limited_and_the_source_is_not(hospitals: tuple[Path, Path]) -> None:
    pair = Cohorts(source=hospitals[0], target=hospitals[1])
    free = splits_of(recipe_of("cyclegan", pair))
    recipe = recipe_of("cyclegan", pair, "split.target_patients=4")
    limited = splits_of(recipe)
    assert limited["source"] == free["source"] and limited["target"].test == free["target"].test
    assert trained(recipe, "target") == 4 and set(limited["target"].train) < set(free["target"].train)


def test_tags_are_limited(tmp_path: Path) -> None:
    tags = Cohorts(tags=write_tagged(tmp_path / "tagged"))
    free = splits_of(recipe_of("umcam", tags))["tags"]
    recipe = recipe_of("umcam", tags, "split.tagged_patients=2")
    assert trained(recipe, "tags") == 2
    assert splits_of(recipe)["tags"].validation == free.validation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("split.masked_patients=0", r"split\.masked_patients=0: at least one must train; e\.g\. --set"),
        ("split.tagged_patients=-2", r"split\.tagged_patients=-2: at least one"),
        ("split.masked_patients=half", r"split\.masked_patients"),
        ("split.tagged_patients=5", r"split\.tagged_patients=5: there is no --tags"),
        ("split.target_patients=5", r"split\.target_patients=5: there is no --target"),
        ("split.masked_patient=5", r"did you mean 'split\.masked_patients'"),
    ],
)
def test_budgets_that_cannot_be_are_refused(hospitals: tuple[Path, Path], change: str, message: str) -> None:
    with pytest.raises(InputFault, match=message):
        splits_of(recipe_of("supervised", Cohorts(masks=hospitals[0]), change))


def test_a_budget_of_masks_without_masks_is_refused(tmp_path: Path) -> None:
    tags = Cohorts(tags=write_tagged(tmp_path / "tagged"))
    with pytest.raises(InputFault, match=r"masked_patients=5: there is no --masks and no --source"):
        splits_of(recipe_of("umcam", tags, "split.masked_patients=5"))


def test_a_run_begun_before_there_were_budgets_goes_on(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = recipe_of("supervised", Cohorts(masks=hospitals[0]))
    mapping = to_mapping(recipe)
    mapping["split"] = {"unit": "patient", "validation": 0.2, "fold": 0}
    old = recipe_from_mapping(mapping, KINDS, "recipe.yaml")
    assert old == recipe and old.split == SplitConfig()
    run = Run(tmp_path / "run")
    write_json(run.recipe_file, mapping)  # JSON is YAML.
    run.require_same(recipe)
    with pytest.raises(InputFault, match="masked_patients"):
        run.require_same(override(recipe, ("split.masked_patients=5",), KINDS))
