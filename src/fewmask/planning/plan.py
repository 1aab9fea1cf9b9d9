"""The verb `plan`: look at the folders, choose a route, rehearse its first steps, write its recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fewmask.config import to_mapping, to_yaml
from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.data.gap import Gap, measure_gap
from fewmask.data.layouts import read_cohort
from fewmask.data.split import Split, split_cohort
from fewmask.errors import InputFault
from fewmask.files import GIB, write_text
from fewmask.planning.cautions import cautions, helps
from fewmask.planning.commands import Command, next_commands, trained
from fewmask.planning.facts import Facts
from fewmask.planning.given import Given, recognised
from fewmask.planning.holdings import Look, Role, look_into
from fewmask.planning.labels import OutcomeSeen, outcome_seen
from fewmask.planning.page import holdings_in_words, section, wrapped
from fewmask.planning.route import Route, seats
from fewmask.planning.routes import choose_route
from fewmask.planning.settings import Settings, settings, told_minutes
from fewmask.recipe import Recipe
from fewmask.recipes.names import RECIPES
from fewmask.recipes.reading import resolve
from fewmask.training.cohorts import read_cohorts, require_apart, shared_classes
from fewmask.training.outcomes import read_outcomes, with_answers_only

HASHED = 2 * GIB
"""Folders of fewer bytes are searched for the same file on two sides of a run; it takes seconds."""


@dataclass(frozen=True)
class Means:
    """What is at hand: a device (auto, cpu or cuda), hours, and whether small networks are asked for."""

    device: str = "auto"
    hours: float | None = None
    small: bool = False


@dataclass(frozen=True)
class Plan:
    """What `fewmask plan` answers."""

    facts: Facts
    route: Route
    settings: Settings
    recipe: Path
    alternatives: tuple[Command, ...]
    helps: tuple[str, ...]
    cautions: tuple[str, ...]
    commands: tuple[Command, ...]

    def text(self) -> str:
        """For a terminal."""
        how = "as here on two cores" if self.settings.measured else "reckoned for one GPU, never measured"
        about = f"about {told_minutes(self.settings.minutes)} ({how}; `fewmask train` times its own steps)"
        lines = [
            f"plan: {self.route.summary}",
            f"recipe: {self.recipe} ({self.route.recipe}{' --small' if self.settings.small else ''}"
            f"{''.join(f' --set {change}' for change in self.settings.changes)}), {about}",
            *section("what is there", holdings_in_words(self.facts)),
            *section("why", (*self.route.reasons, *self.settings.remarks)),
        ]
        if self.alternatives:
            lines += ["", "instead"]
        for command in self.alternatives:
            lines += [wrapped(command.purpose), f"      {command.line}"]
        lines += section("what would help more", self.helps)
        lines += section("be careful", self.cautions)
        lines += ["", "next"]
        lines += [f"  {command.line}    # {command.purpose}" for command in self.commands]
        return "\n".join(lines)

    def mapping(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "recipe": str(self.recipe),
            "route": self.route.recipe,
            "summary": self.route.summary,
            "small": self.settings.small,
            "changes": list(self.settings.changes),
            "minutes": round(self.settings.minutes, 1),
            "minutes_are_measured": self.settings.measured,
            "holdings": to_mapping(self.facts.holdings),
            "gap": to_mapping(self.facts.gap),
            "gap_level": self.facts.level if self.facts.gap is not None else None,
            "outcome": to_mapping(self.facts.outcome),
            "reasons": [*self.route.reasons, *self.settings.remarks],
            "alternatives": to_mapping(self.alternatives),
            "would_help": list(self.helps),
            "careful": list(self.cautions),
            "commands": to_mapping(self.commands),
        }


def plan(
    given: Given,
    out: Path,
    *,
    folders: Sequence[Path] = (),
    means: Means | None = None,
    progress: Progress = silent,
) -> Plan:
    """Choose a route for what a user owns and write its recipe to `out`, which `fewmask train` runs as it lies.

    `folders` are one or two that nobody has given a part. No mask of a target is opened. Raises InputFault, one line,
    where nothing can be learnt, where folders do not go together, and where `out` holds another recipe.
    """
    means = means or Means()
    if out.suffix not in (".yaml", ".yml"):
        raise InputFault(f"{out}: `fewmask train` knows a recipe by its ending; call it {out.stem}.yaml")
    if folders:
        given = recognised(folders, given)
    facts = _facts(given, means, progress)
    route = choose_route(facts)
    chosen = settings(facts, route, RECIPES[route.recipe](False), RECIPES[route.recipe](True))
    recipe = _resolved(facts, route, chosen)
    rehearse(recipe)
    _write(recipe, out)
    others: list[Command] = []
    for other in route.alternatives:
        folder = f"runs/{other.recipe}{'_alone' if other.recipe == route.recipe else ''}"
        line = trained(other, facts, route, chosen, folder, means.device)
        others.append(Command(line, f"{other.recipe}: {other.why}"))
    commands = next_commands(facts, route, chosen, out, means.device)
    return Plan(
        facts, route, chosen, out, tuple(others), helps(facts, route), cautions(facts, route), commands
    )


def rehearse(recipe: Recipe) -> None:
    """Take the first steps of a training, those that open no image, so that its faults are told now.

    Raises InputFault as `fewmask train` would.
    """
    cohorts, _ = read_cohorts(recipe)
    learnt = read_outcomes(recipe, cohorts)
    cohorts = with_answers_only(cohorts, learnt, partly=recipe.takes_undiagnosed)
    shared_classes(cohorts, recipe.tag)
    splits = {role: _split(recipe, role, cohort) for role, cohort in cohorts.items()}
    if sum(_bytes(cohort) for cohort in cohorts.values()) < HASHED:
        require_apart(recipe, cohorts, splits)


def _split(recipe: Recipe, role: str, cohort: Cohort) -> Split:
    """Who trains and who is held out, near-duplicates apart, which would be searched among all images."""
    if role != "target":
        whole = recipe.cohorts.source != recipe.cohorts.target
        return split_cohort(cohort, recipe.split, recipe.seed, whole=whole)
    names = [tuple(case.name for case in cohort.part(part)) for part in ("train", "test")]
    return Split(cohort.name, recipe.split.unit, recipe.seed, names[0], (), names[1])


def _bytes(cohort: Cohort) -> int:
    return sum(path.stat().st_size for case in cohort.cases for path in case.images if path.is_file())


def _facts(given: Given, means: Means, progress: Progress) -> Facts:
    """Look into every folder, each once but for a pair of channels."""
    asked: tuple[tuple[Role, Path | None, str | None], ...] = (
        ("source", given.source, given.source_channel),
        ("masks", given.masks, None),
        ("tags", given.tags, given.tags_channel),
        ("target", given.target, given.target_channel),
    )
    for role, folder, channel in asked:
        if channel is not None and folder is None:
            raise InputFault(f"--{role}-channel {channel}: there is no --{role} whose channel it could be")
    looks: dict[Role, Look] = {
        role: look_into(folder.resolve(), role, channel, progress)
        for role, folder, channel in asked
        if folder is not None
    }
    if not looks:
        raise InputFault("plan: no folder; give --masks, --tags, or --source and --target")
    found = {role: look.holding for role, look in looks.items()}
    cuda = torch.cuda.is_available() if means.device == "auto" else means.device == "cuda"
    facts = Facts(
        masks=found.get("masks"),
        source=found.get("source"),
        target=found.get("target"),
        tags=found.get("tags"),
        cuda=cuda,
        hours=means.hours,
        small=means.small,
        notes=given.notes,
        outcome=_outcome(given),
    )
    labelled = looks.get("source") or looks.get("masks")
    if labelled is None or "target" not in looks:
        return facts
    return replace(facts, gap=_gap(labelled, looks["target"]))


def _gap(source: Look, target: Look) -> Gap:
    same_unit = source.holding.unit == target.holding.unit
    alike = source.holding.channels == target.holding.channels
    return measure_gap(source.styles, target.styles, same_unit, alike)


def _outcome(given: Given) -> OutcomeSeen | None:
    """The outcome that is asked for, over the labelled folder's training cases."""
    folder = given.masks or given.source or given.tags
    if given.outcome is None or folder is None:
        return None
    cases: tuple[Case, ...] = read_cohort(folder, masks=False).part("train")
    return outcome_seen(given.outcome, cases)


def _resolved(facts: Facts, route: Route, chosen: Settings) -> Recipe:
    """The recipe with its folders, channels, outcome and changes."""
    seated = seats(route.reads)
    paths: dict[str, Path | None] = {role: holding.folder for role, holding in seated}
    channels = {f"{role}_channel": holding.channel for role, holding in seated}
    named = RECIPES[route.recipe](chosen.small)
    outcome = facts.outcome.asked if facts.outcome is not None and named.learns_outcome else None
    return resolve(route.recipe, chosen.small, paths, channels, None, None, chosen.changes, outcome)


def _write(recipe: Recipe, out: Path) -> None:
    text = to_yaml(recipe)
    if out.exists() and (not out.is_file() or out.read_text(encoding="utf-8", errors="replace") != text):
        raise InputFault(f"{out}: exists and holds something else; remove it, or choose another --out")
    write_text(out, text)
