"""How large, how long and how scaled: what of a recipe depends on the images and the time at hand."""

from dataclasses import dataclass

from fewmask.planning.facts import Facts
from fewmask.planning.holdings import Holding
from fewmask.planning.route import Route
from fewmask.recipe import Recipe

SMALL_MOST = 128
"""Pixels of a side of small recipes on real images, at which docs/results.md has its figures."""

PASSES = 400
"""A labelled picture is drawn so often at most; more only fits few images by heart."""

LEAST_STEPS = 300

SIFA_STEPS = 2000
"""On drawn hearts small SIFA closed 35 % of the gap in its 600 steps and 66 % in 2,000."""


@dataclass(frozen=True)
class Duration:
    """Minutes of a whole recipe at `size` pixels."""

    minutes: float
    size: int


ON_TWO_CORES = {
    "supervised": Duration(8, 128),
    "cyclegan": Duration(8, 64),
    "sifa": Duration(15, 64),
    "umcam": Duration(20, 96),
    "joint": Duration(3, 96),
}
"""The small recipes in this project's own runs on two cores, to a factor of two. docs/results.md gives the time of
whole rows, from which sifa's and umcam's are worked out."""

ON_A_GPU = {
    "supervised": Duration(15, 256),
    "cyclegan": Duration(240, 256),
    "sifa": Duration(420, 256),
    "umcam": Duration(300, 256),
    "joint": Duration(900, 256),
}
"""Reckoned, never measured: `fewmask train` times its own steps and says before it begins."""


@dataclass(frozen=True)
class Settings:
    """What a plan sets: small or not, `key=value` changes, how long that takes and what was given up for the time.

    `measured` says whether the minutes come from runs.
    """

    small: bool
    changes: tuple[str, ...]
    minutes: float
    measured: bool
    remarks: tuple[str, ...]


def settings(facts: Facts, route: Route, named: Recipe, named_small: Recipe) -> Settings:
    """The settings of a route's recipe; `named` and `named_small` are its two forms as they lie."""
    small, remarks = _small(facts, route, named)
    recipe = named_small if small else named
    size = fitting_size(recipe, route, small)
    late = facts.hours is not None and _minutes(route, small, size) > 60 * facts.hours
    # A translator of pictures has beaten no floor below 128 pixels here.
    if small and late and route.recipe != "cyclegan":
        size = min(size, recipe.size)
    minutes = _minutes(route, small, size)
    if facts.hours is not None and minutes > 60 * facts.hours:
        remarks.append(
            f"about {told_minutes(minutes)} is more than the {facts.hours:g} hours at hand; the same command "
            "goes on with a run that was stopped"
        )
    changes = [
        f"size={size}",
        *_tag(route),
        *_changed_steps(route, recipe, small),
        *_scaling(facts, route),
        *route.changes,
    ]
    if any(_is_one_patient(holding) for holding in route.reads):
        changes.append("split.unit=image")
    kept = tuple(change for change in changes if change != f"size={recipe.size}")
    return Settings(small, kept, minutes, small, tuple(remarks))


def fitting_size(recipe: Recipe, route: Route, small: bool) -> int:
    """A multiple of 16: no finer than the images are, no larger than the recipe is meant for."""
    longest = max((holding.longest for holding in route.reads), default=recipe.size)
    filled = max(64, -(-longest // 16) * 16)
    if not small:
        return min(recipe.size, filled)
    # SIFA's steps, not its grid, hold the small one down; the tags' classifier was tuned at its own size.
    most = recipe.size if route.recipe in ("sifa", "umcam") else max(recipe.size, SMALL_MOST)
    return min(most, filled)


def told_minutes(minutes: float) -> str:
    """Minutes, or hours where there are many."""
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"


def _tag(route: Route) -> list[str]:
    """The column of tags to learn, where there are several."""
    told = [holding.tags for holding in route.reads if holding.role == "tags" and holding.tags is not None]
    return [f"tag={tags.column}" for tags in told if len(tags.columns) > 1]


def _small(facts: Facts, route: Route, named: Recipe) -> tuple[bool, list[str]]:
    if facts.small:
        return True, ["small, because --small asks for it"]
    if not facts.cuda:
        return True, ["small, because there is no GPU: narrow networks, fewer steps, the same method"]
    minutes = _minutes(route, False, fitting_size(named, route, False))
    if facts.hours is not None and minutes > 60 * facts.hours:
        why = f"full networks take about {told_minutes(minutes)} (reckoned) and {facts.hours:g} hours are at hand"
        return True, [f"small, because {why}"]
    return False, ["full size, on the GPU"]


def _minutes(route: Route, small: bool, size: int) -> float:
    known = (ON_TWO_CORES if small else ON_A_GPU)[route.recipe]
    return known.minutes * (size / known.size) ** 2


def _changed_steps(route: Route, recipe: Recipe, small: bool) -> list[str]:
    """Fewer steps for few pictures; SIFA's more."""
    if route.recipe == "sifa":
        return [f"steps={SIFA_STEPS}"] if small else []
    stage = recipe.stages[0]
    pictures = [holding for holding in route.reads if not holding.volumes and holding.role != "target"]
    if not pictures or route.recipe == "umcam":
        return []
    images = sum(_learnt(holding) for holding in pictures)
    changes: list[str] = []
    batch = stage.batch
    if images < batch:
        batch = max(2, images)
        changes.append(f"{stage.name}.batch={batch}")
    steps = max(LEAST_STEPS, -(-PASSES * images // batch))
    if steps < stage.steps:
        changes.append(f"{stage.name}.steps={steps}")
    return changes


def _is_one_patient(holding: Holding) -> bool:
    return holding.role != "target" and holding.patients_known and holding.patients == 1


def _learnt(holding: Holding) -> int:
    """The training images less the fifth that is held out."""
    return max(1, round(0.8 * max(holding.outlined, 1)))


def _scaling(facts: Facts, route: Route) -> list[str]:
    """Each volume's own mean and deviation, where source and target have other units of brightness."""
    adapts = route.recipe in ("sifa", "cyclegan")
    both = (facts.source, facts.target)
    if not adapts or not facts.crosses or not all(h is not None and h.volumes for h in both):
        return []
    return [] if all(h is not None and h.eight_bit for h in both) else ["scaling.rule=z_score"]
