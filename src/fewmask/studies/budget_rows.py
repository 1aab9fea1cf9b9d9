"""The rows of a study of budgets: three families of recipes, each with so many patients' labels and no more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewmask.recipe import Recipe
from fewmask.recipes import fetal_brain, placenta
from fewmask.recipes.segmenter import supervised
from fewmask.studies.table import Row

BUDGETS = (1, 2, 5, 10, 20)
"""Patients of the rows before the last, which has all."""

FLOOR = "no_adaptation"
"""The row without any target image; the others of its family start from its networks."""


@dataclass(frozen=True)
class Family:
    """What is counted: a field of a recipe's split, the cohort that it limits, and the recipe that learns from it.

    `what` says it in a sentence, one and several. `floored` rows start from the floor's networks.
    """

    counted: Literal["masked_patients", "tagged_patients", "target_patients"]
    what: tuple[str, str]
    role: Literal["masks", "tags", "target"]
    reads: Literal["target", "tags", "pair"]
    recipe: Callable[[bool], Recipe]
    phantom: str
    floored: bool = False


MASKS = Family(
    "masked_patients", ("masked patient", "masked patients"), "masks", "target", supervised, "placenta"
)
TAGS = Family(
    "tagged_patients", ("tagged patient", "tagged patients"), "tags", "tags", fetal_brain.umcam, "fetal_brain"
)
TARGET = Family(
    "target_patients",
    ("target patient", "target patients"),
    "target",
    "pair",
    placenta.cyclegan,
    "placenta",
    floored=True,
)
FAMILIES = (MASKS, TAGS, TARGET)


def within(family: Family, budget: int | None) -> Callable[[bool], Recipe]:
    """The family's recipe with a budget (None: all), its last checkpoints kept: no label beyond the budget chooses.

    CycleGAN's segmenter stays the best on held-out source patients: the source's masks are not what is counted.
    """

    def limited(small: bool) -> Recipe:
        recipe = family.recipe(small)
        if family is not TARGET:
            recipe = replace(recipe, stages=tuple(replace(stage, choose="last") for stage in recipe.stages))
        return replace(recipe, split=replace(recipe.split, **{family.counted: budget}))

    return limited


def budget_rows(family: Family, budgets: Sequence[int]) -> tuple[Row, ...]:
    """A row a budget and one of all patients, after the floor where there is one."""
    fixed = (family.counted,) if family is TARGET else (family.counted, "choose")
    start = FLOOR if family.floored else None
    rows = [
        Row(
            f"budget_{budget or 'all'}",
            f"{budget or 'all'} {family.what[budget != 1]}",
            within(family, budget),
            family.reads,
            start,
            fixed=fixed,
        )
        for budget in (*budgets, None)
    ]
    floor = Row(FLOOR, "no target image (floor)", supervised, "source")
    return (floor, *rows) if family.floored else tuple(rows)
