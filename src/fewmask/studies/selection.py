"""How to choose a checkpoint without target masks, and how far to believe what a run estimates of itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fewmask.recipe import Recipe
from fewmask.recipes import alignment, cardiac, placenta
from fewmask.recipes.segmenter import supervised
from fewmask.studies.selection_page import selection_tables
from fewmask.studies.table import Row, Study

LOOKS = 12
"""Checkpoints of each training that the rules choose from, evenly spaced."""

FLOOR = "no_adaptation"


@dataclass(frozen=True)
class LookedAt:
    """A recipe whose last stage is looked at `LOOKS` times, whatever its number of steps."""

    recipe: Callable[[bool], Recipe]

    def __call__(self, small: bool) -> Recipe:
        """The recipe, at the paper's size or small."""
        recipe = self.recipe(small)
        last = recipe.stages[-1]
        often = replace(last, validate_every=max(1, last.steps // LOOKS))
        return replace(recipe, stages=(*recipe.stages[:-1], often))


SELECTION = Study(
    name="selection",
    title="Choosing a checkpoint, and believing it, without target masks",
    rows=(
        Row(FLOOR, "No adaptation (floor)", LookedAt(supervised), "source", candidates=True),
        Row(
            "output_adversarial",
            "Output-space adversarial (AdaptSegNet)",
            LookedAt(alignment.output_adversarial),
            "pair",
            candidates=True,
        ),
        Row(
            "feature_adversarial",
            "Feature-space adversarial",
            LookedAt(alignment.feature_adversarial),
            "pair",
            candidates=True,
        ),
        Row("sifa", "SIFA v2", LookedAt(cardiac.sifa), "pair", candidates=True),
        Row("cyclegan", "CycleGAN", LookedAt(placenta.cyclegan), "pair", FLOOR, candidates=True),
    ),
    floor=FLOOR,
    ceiling="",
    subject="sifa",
    phantom="cardiac",
    tables=selection_tables,
)
