"""What to type next, exactly: train, segment, evaluate, report; the floor and the ceiling to hold it against."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from fewmask.planning.facts import Facts
from fewmask.planning.holdings import Holding
from fewmask.planning.route import Alternative, Route, seats
from fewmask.planning.settings import Settings
from fewmask.recipes.names import RECIPES

NEW_IMAGES = "NEW_IMAGES"
"""Stands for images that a plan cannot know."""


@dataclass(frozen=True)
class Command:
    """A line to type, and what it is for."""

    line: str
    purpose: str


def next_commands(
    facts: Facts, route: Route, settings: Settings, recipe: Path, device: str
) -> tuple[Command, ...]:
    """From the recipe to a report, with the floor, and the ceiling where masks of the target lie there."""
    run = f"runs/{route.recipe}"
    lines = [
        Command(f"fewmask train {shlex.quote(str(recipe))} --out {run}{_on(device)}", "the plan's recipe"),
        *_looked_at(run, route),
        *_scored(run, route),
    ]
    compared = [run]
    for name, alternative in (("floor", route.floor), ("ceiling", route.ceiling)):
        if alternative is None:
            continue
        folder = f"runs/{name}"
        line = trained(alternative, facts, route, settings, folder, device)
        lines.append(Command(line, f"{name}: {alternative.why}"))
        lines += _scored(folder, route, alternative)
        compared.append(folder)
    lines.append(Command(f"fewmask report {' '.join(compared)}", "side by side"))
    return tuple(lines)


def trained(
    alternative: Alternative, facts: Facts, route: Route, settings: Settings, out: str, device: str
) -> str:
    """The command that trains an alternative on its folders, at the plan's size."""
    words = ["fewmask", "train", alternative.recipe]
    for role, holding in seats(alternative.reads or route.reads):
        words += [f"--{role}", str(holding.folder)]
        if holding.channel is not None:
            words += [f"--{role}-channel", holding.channel]
    outcome = alternative.outcome or _outcome(facts, alternative.recipe)
    if outcome is not None:
        words += ["--outcome", outcome]
    if settings.small:
        words.append("--small")
    # Recipes of tags were tuned at a size of their own.
    shared = ("split.", "tag=") if _learns_tags(alternative.recipe) else ("split.", "size=")
    for change in settings.changes:
        if change.startswith(shared):
            words += ["--set", change]
    if alternative.start_from:
        words += ["--start-from", f"runs/{route.recipe}"]
    return shlex.join([*words, "--out", out]) + _on(device)


def _on(device: str) -> str:
    return "" if device == "auto" else f" --device {device}"


def _looked_at(run: str, route: Route) -> tuple[Command, ...]:
    """What to look at before a route's masks are believed."""
    if route.recipe == "umcam":
        return (Command(f"fewmask report {run}", "look at the pseudo-labels before you believe the rest"),)
    if route.recipe == "joint":
        folder = shlex.quote(str(route.reads[0].folder))
        line = f"fewmask explain {run} {folder} --out {run}/explained"
        return (Command(line, "does it look at the organ, or at burnt-in marks?"),)
    return ()


def _learns_tags(recipe: str) -> bool:
    return RECIPES[recipe](True).stages[0].method.reads == "tagged"


def _outcome(facts: Facts, recipe: str) -> str | None:
    """What a recipe is told to learn, where it learns an outcome."""
    if facts.outcome is None or not RECIPES[recipe](True).learns_outcome:
        return None
    return facts.outcome.asked


def _scored(run: str, route: Route, alternative: Alternative | None = None) -> tuple[Command, ...]:
    """Segment what wants masks, and score it where masks lie beside."""
    wanted = route.segments or _tested(route)
    if wanted is None:
        line = f"fewmask segment {run} {NEW_IMAGES} --out {run}/predictions"
        return (Command(line, "masks of other images"),) if alternative is None else ()
    folder = shlex.quote(str(wanted.folder))
    read = route.reads if alternative is None or alternative.reads is None else alternative.reads
    # A run that knows no target does not know which of its channels to take.
    strange = wanted.channel is not None and not any(h.role in ("target", "tags") for h in read)
    channel = f" --channel {shlex.quote(str(wanted.channel))}" if strange else ""
    lines = [
        Command(f"fewmask segment {run} {folder}{channel} --out {run}/predictions", "masks of its images")
    ]
    if wanted.masks_beside:
        scored = f"fewmask evaluate {run}/predictions {folder} --out {run}"
        lines.append(Command(scored, "scores against the masks that lie there"))
    return tuple(lines)


def _tested(route: Route) -> Holding | None:
    """The folder whose own test part is segmented, where it has one."""
    return next((holding for holding in route.reads if holding.test), None)
