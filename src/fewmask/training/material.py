"""From a recipe's folders to what a run trains on: splits, preparations, slice stores. All of it lies on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewmask.config import from_mapping, to_mapping
from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.data.content_key import content_key
from fewmask.data.cut import cut_remark
from fewmask.data.preparation import Grid, Preparation, decide, shared_grid
from fewmask.data.soft_labels import SoftLabels
from fewmask.data.split import (
    Split,
    read_splits,
    write_splits,
    write_splits_final,
)
from fewmask.data.store import SliceStore, load_store, open_store, stored_bytes
from fewmask.data.survey import Look, survey
from fewmask.errors import InputFault
from fewmask.files import read_json, require_free, write_json
from fewmask.recipe import Recipe
from fewmask.shapes import Task
from fewmask.training.cohorts import (
    BARE,
    divide,
    read_cohorts,
    require_apart,
    shared_classes,
    training_cases,
)
from fewmask.training.outcomes import (
    LearntOutcomes,
    keep_outcomes,
    kept_outcomes,
    read_outcomes,
    with_answers_only,
)
from fewmask.training.run import Run
from fewmask.training.tagged_cohort import held_out_with_masks
from fewmask.training.tags import LearntTags, keep_tags, kept_tags, learnt_tags


@dataclass(frozen=True)
class Material:
    """What a run trains on, by role: "source", "masks" (both labelled), "target" and "tags" (images alone).

    Where a rule asks for the masks of the tagged cohort's held-out patients they are in "held_out". `soft` are the
    pseudo-labels of the tagged cohort, once an earlier stage has made them.
    """

    task: Task
    splits: Mapping[str, Split]
    preparations: Mapping[str, Preparation]
    stores: Mapping[str, SliceStore]
    outcomes: LearntOutcomes | None = None
    tags: LearntTags | None = None
    soft: SoftLabels | None = None

    @property
    def labelled_roles(self) -> tuple[str, ...]:
        """The roles whose masks train."""
        return tuple(role for role in ("source", "masks") if role in self.stores)


def assemble(
    recipe: Recipe, run: Run, cache: Path, progress: Progress = silent, tell: Callable[[str], None] = print
) -> Material:
    """Read, divide, survey, prepare and store a run's cohorts, writing each decision into the run folder.

    A run that goes on keeps its earlier decisions, and is refused where the images have changed since.
    """
    cohorts, channels = read_cohorts(recipe)
    learnt = read_outcomes(recipe, cohorts)
    cohorts = with_answers_only(cohorts, learnt, partly=recipe.takes_undiagnosed)
    classes = shared_classes(cohorts, recipe.tag)
    if recipe.start_from is not None and class_names(Run(recipe.start_from)) != classes:
        raise InputFault(
            f"{recipe.start_from}: was trained for other classes "
            f"({', '.join(class_names(Run(recipe.start_from)))}); start from a run with these labels"
        )
    splits = divide(recipe, cohorts, learnt) if not run.splits.exists() else _kept_splits(run, cohorts)
    cases = {role: training_cases(cohort, splits[role]) for role, cohort in cohorts.items()}
    preparations = kept_preparations(run) or _decided(recipe, cohorts, channels, cases, progress, cache, tell)
    if not run.material.exists():
        require_apart(recipe, cohorts, splits)
    if learnt is not None:
        learnt.require_both(splits)
    keep_outcomes(run, learnt, tell)
    tags = learnt_tags(classes[1], cases["tags"], preparations["tags"]) if "tags" in cohorts else None
    keep_tags(run, tags, splits.get("tags"), tell)
    held_out = held_out_with_masks(recipe, cohorts.get("tags"), splits.get("tags"))
    if held_out is not None:
        cohorts["held_out"], cases["held_out"] = held_out, held_out.cases
        preparations["held_out"] = preparations["tags"]
    stores: dict[str, SliceStore] = {}
    for role, cohort in cohorts.items():
        stores[role] = _store(run, role, cohort, cases[role], preparations[role], cache, progress)
        tell(f"{role}: {len(cases[role])} cases, {stores[role].row_count} slices in {stores[role].folder}")
        for remark in splits[role].remarks if role in splits else ():
            tell(f"{role}: {remark}")
    labelled = [splits[role] for role in splits if role != "target"]
    write_splits(run.splits, list(splits.values()))
    write_splits_final(run.folder / "splits_final.json", labelled)
    preparations.pop("held_out", None)
    write_json(run.preparations, to_mapping(preparations))
    first = next(iter(preparations.values()))
    entries = {role: {"store": str(store.folder), "key": store.folder.name} for role, store in stores.items()}
    write_json(run.material, {"classes": classes, "channels": first.inputs, "roles": entries})
    prevalence = _prevalence(learnt, tags, splits)
    task = Task(first.inputs, classes, recipe.size, prevalence, first.neighbours)
    return Material(task, splits, preparations, stores, learnt, tags)


def _prevalence(
    outcomes: LearntOutcomes | None, tags: LearntTags | None, splits: Mapping[str, Split]
) -> float | None:
    """The share of training images that have what the run learns to tell, or None."""
    if tags is not None:
        return tags.prevalence(splits["tags"])
    return outcomes.prevalence(splits) if outcomes else None


def _store(
    run: Run,
    role: str,
    cohort: Cohort,
    cases: tuple[Case, ...],
    preparation: Preparation,
    cache: Path,
    progress: Progress,
) -> SliceStore:
    labelled = role not in BARE
    key = content_key(cohort, cases, preparation, labelled)
    _require_unchanged(run, role, key, cohort)
    with progress(f"preparing {role}", len(cases)) as stored:
        store = open_store(cache / key, cohort, cases, preparation, labelled=labelled, stored=stored)
    return replace(store, neighbours=preparation.neighbours)


def load_material(recipe: Recipe, run: Run) -> Material:
    """What `assemble` left in the run folder: for the other processes of a run."""
    content = read_json(run.material)
    roles: dict[str, Any] = content["roles"]
    divided = [role for role in roles if role != "held_out"]
    splits = dict(zip(divided, read_splits(run.splits), strict=True))
    learnt, tags = kept_outcomes(run), kept_tags(run)
    prevalence = _prevalence(learnt, tags, splits)
    preparations = kept_preparations(run) or {}
    neighbours = next((preparation.neighbours for preparation in preparations.values()), 1)
    return Material(
        Task(content["channels"], tuple(content["classes"]), recipe.size, prevalence, neighbours),
        splits,
        preparations,
        {
            role: replace(load_store(Path(entry["store"])), neighbours=neighbours)
            for role, entry in roles.items()
        },
        learnt,
        tags,
    )


def _decided(
    recipe: Recipe,
    cohorts: Mapping[str, Cohort],
    chosen: Mapping[str, int | None],
    cases: Mapping[str, tuple[Case, ...]],
    progress: Progress,
    cache: Path,
    tell: Callable[[str], None],
) -> dict[str, Preparation]:
    clip = recipe.scaling.clip_top_percent if recipe.scaling.rule == "z_score" else None
    looks: dict[str, tuple[Look, ...]] = {}
    for role, cohort in cohorts.items():
        with progress(f"looking at {role}", len(cases[role])) as seen:
            looks[role] = survey(cohort, cases[role], seen, clip)
    grid = shared_grid(
        list(looks.values()), recipe.size, recipe.slice_axis, recipe.neighbours, recipe.pixel_mm
    )
    if recipe.start_from is not None:
        grid = _grid_of(Run(recipe.start_from), recipe)
    decided = {
        role: replace(decide(role, group, cohorts[role].channels, grid, recipe.scaling), channel=chosen[role])
        for role, group in looks.items()
    }
    if grid.axis_is_chosen and grid.slice_axis is not None:
        for role, group in looks.items():
            remark = cut_remark(group, grid.slice_axis)
            if remark is not None:
                tell(f"{role}: {remark}")
    needed = sum(stored_bytes(looks[role], decided[role]) for role in looks)
    require_free(cache, needed, "prepared slices", "choose another --cache, or lower --set size")
    return decided


def _grid_of(earlier: Run, recipe: Recipe) -> Grid:
    """The grid of the run that this one starts from: its networks know structures at that size, cut that way."""
    before = kept_preparations(earlier)
    if before is None:
        raise InputFault(
            f"{earlier.folder}: the run to start from was stopped before it trained; finish it first"
        )
    first = next(iter(before.values()))
    old = earlier.recipe()
    asked = {
        "size": (first.size, recipe.size),
        "neighbours": (first.neighbours, recipe.neighbours),
        "slice_axis": (old.slice_axis, recipe.slice_axis),
        "scaling.rule": (old.scaling.rule, recipe.scaling.rule),
    }
    for key, (was, now) in asked.items():
        if was != now:
            raise InputFault(
                f"{earlier.folder}: was trained at {key}={was}, this run has {key}={now}; give --set {key}={was}"
            )
    return Grid(
        first.channels, first.size, first.pixel_mm, first.slice_axis, first.axis_is_chosen, first.neighbours
    )


def kept_preparations(run: Run) -> dict[str, Preparation] | None:
    """How a run prepares each role's images, or None where it has not decided yet."""
    if not run.preparations.exists():
        return None
    content = read_json(run.preparations)
    return {role: from_mapping(Preparation, entry, str(run.preparations)) for role, entry in content.items()}


def class_names(run: Run) -> tuple[str, ...]:
    """The classes that a run was trained on, background first."""
    return tuple(read_json(run.material)["classes"])


def _kept_splits(run: Run, cohorts: Mapping[str, Cohort]) -> dict[str, Split]:
    kept = read_splits(run.splits)
    if len(kept) != len(cohorts):
        raise InputFault(f"{run.splits}: does not fit the recipe; train into another --out")
    return dict(zip(cohorts, kept, strict=True))


def _require_unchanged(run: Run, role: str, key: str, cohort: Cohort) -> None:
    if not run.material.exists():
        return
    before = read_json(run.material)["roles"][role]["key"]
    if before != key:
        raise InputFault(
            f"{cohort.root}: its images or masks have changed since the run began; train into another --out"
        )
