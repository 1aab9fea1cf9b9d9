"""From a recipe's folders to what a run trains on: splits, preparations, slice stores. All of it lies on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewmask.config import from_mapping, to_mapping
from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.layouts import read_cohort
from fewmask.data.preparation import Grid, Preparation, decide, shared_grid
from fewmask.data.split import (
    Split,
    divide_cohort,
    read_splits,
    require_disjoint,
    split_cohort,
    write_splits,
    write_splits_final,
)
from fewmask.data.store import SliceStore, content_key, image_key, load_store, open_store, stored_bytes
from fewmask.data.survey import Look, survey
from fewmask.errors import InputFault
from fewmask.files import read_json, require_free, write_json
from fewmask.recipe import Recipe
from fewmask.shapes import Task
from fewmask.training.run import Run


@dataclass(frozen=True)
class Material:
    """What a run trains on, by role: "source", "masks" (both labelled) and "target" (images alone)."""

    task: Task
    splits: Mapping[str, Split]
    preparations: Mapping[str, Preparation]
    stores: Mapping[str, SliceStore]

    @property
    def labelled_roles(self) -> tuple[str, ...]:
        """The roles whose masks train."""
        return tuple(role for role in ("source", "masks") if role in self.stores)


def read_cohorts(recipe: Recipe) -> tuple[dict[str, Cohort], dict[str, int | None]]:
    """The cohorts of a recipe by role, and the channel of each that is used (None: all).

    A target is read without its masks, which are never opened."""
    folders = recipe.cohorts
    _require_folders(recipe)
    cohorts: dict[str, Cohort] = {}
    if folders.masks is not None:
        cohorts["masks"] = read_cohort(folders.masks)
    if folders.source is not None and folders.target is not None and folders.source == folders.target:
        whole = read_cohort(folders.source)
        groups = None if whole.patients_known else group_near_duplicates(whole.cases)
        cohorts["source"], target = divide_cohort(whole, recipe.seed, groups)
        cohorts["target"] = target.without_masks()
    else:
        if folders.source is not None:
            cohorts["source"] = read_cohort(folders.source)
        if folders.target is not None:
            cohorts["target"] = read_cohort(folders.target, masks=False)
    for role, channel in (("source", folders.source_channel), ("target", folders.target_channel)):
        if channel is not None and role not in cohorts:
            raise InputFault(f"--{role}-channel {channel}: there is no --{role} whose channel it could be")
    if not cohorts:
        raise InputFault(f"recipe {recipe.name}: no data; give --masks DIR, or --source DIR --target DIR")
    for role in ("source", "masks"):
        if role in cohorts:
            cohorts[role] = _labelled_only(cohorts[role])
    channels = _channels(recipe, cohorts)
    return {role: cohort.with_channel(channels[role]) for role, cohort in cohorts.items()}, channels


def _require_folders(recipe: Recipe) -> None:
    """Refuse a recipe without the folders that it reads, or with one that it would never look at."""
    folders = recipe.cohorts
    adapts = any(stage.method.reads == "adaptation" for stage in recipe.stages)
    if adapts and (folders.source is None or folders.target is None):
        raise InputFault(f"recipe {recipe.name}: needs two cohorts; give --source DIR and --target DIR")
    if not adapts and folders.target is not None:
        raise InputFault(
            f"recipe {recipe.name}: learns from masks and would never look at --target; leave it out here, and "
            "give its images to `fewmask segment`"
        )


def _labelled_only(cohort: Cohort) -> Cohort:
    """The cohort without the training images that nobody has outlined yet; it says how many there are."""
    bare = sum(case.mask is None for case in cohort.part("train"))
    if bare == 0 or bare == len(cohort.part("train")):
        return cohort
    kept = tuple(case for case in cohort.cases if case.mask is not None or case.part == "test")
    remark = f"{bare} of {len(cohort.part('train'))} training images have no mask and are left out"
    return replace(cohort, cases=kept, remarks=(*cohort.remarks, remark))


def _channels(recipe: Recipe, cohorts: Mapping[str, Cohort]) -> dict[str, int | None]:
    wanted = {"source": recipe.cohorts.source_channel, "target": recipe.cohorts.target_channel, "masks": None}
    return {role: cohort.channel_index(wanted[role]) for role, cohort in cohorts.items()}


def shared_classes(cohorts: Mapping[str, Cohort]) -> tuple[str, ...]:
    """The class names of the labelled cohorts, which must be the same."""
    labelled = {role: cohort for role, cohort in cohorts.items() if role != "target"}
    if not labelled:
        raise InputFault("no labelled cohort; give --masks DIR or --source DIR")
    for cohort in labelled.values():
        if len(cohort.classes) < 2 or not any(case.mask for case in cohort.part("train")):
            raise InputFault(
                f"{cohort.root}: has no masks to train on; add labelsTr, or give the folder as --target"
            )
    first, *others = labelled.values()
    for other in others:
        if other.classes != first.classes:
            raise InputFault(
                f"{other.root}: its classes ({', '.join(other.classes)}) are not those of {first.root} "
                f"({', '.join(first.classes)}); give both dataset.json the same `labels`"
            )
    return first.classes


def divide(recipe: Recipe, cohorts: Mapping[str, Cohort]) -> dict[str, Split]:
    """A split for each role. All of a target's training images train; nothing of it is needed for validation."""
    splits: dict[str, Split] = {}
    one_folder = recipe.cohorts.source is not None and recipe.cohorts.source == recipe.cohorts.target
    for role, cohort in cohorts.items():
        if role == "target":
            if recipe.split.unit == "patient":
                require_disjoint(cohort.part("train"), cohort.part("test"), f"{cohort.root}: train and test")
            names = [tuple(case.name for case in cohort.part(part)) for part in ("train", "test")]
            splits[role] = Split(
                cohort.name, recipe.split.unit, recipe.seed, names[0], (), names[1], None, cohort.remarks
            )
            continue
        groups = None if cohort.patients_known else group_near_duplicates(cohort.cases)
        whole = not (one_folder and role == "source")
        split = split_cohort(cohort, recipe.split, recipe.seed, groups, whole)
        splits[role] = replace(split, remarks=(*cohort.remarks, *split.remarks))
    if len(cohorts) > 1 and "masks" in splits:
        outlined = len(splits["masks"].train) + len(splits["masks"].validation)
        few = f"few-shot: {outlined} outlined images of {cohorts['masks'].name} are used beside the other cohort"
        splits["masks"] = replace(splits["masks"], remarks=(*splits["masks"].remarks, few))
    return splits


def training_cases(cohort: Cohort, split: Split) -> tuple[Case, ...]:
    """The cases that are prepared for a run: those that train or validate, never the test part."""
    wanted = {*split.train, *split.validation}
    chosen = tuple(case for case in cohort.cases if case.name in wanted)
    if not chosen:
        raise InputFault(
            f"{cohort.root}: no training images; put them into imagesTr, or mend the split in cases.csv"
        )
    return chosen


def assemble(
    recipe: Recipe, run: Run, cache: Path, progress: Progress = silent, tell: Callable[[str], None] = print
) -> Material:
    """Read, divide, survey, prepare and store a run's cohorts, writing each decision into the run folder.

    A run that goes on keeps its earlier decisions, and is refused where the images have changed since.
    """
    cohorts, channels = read_cohorts(recipe)
    classes = shared_classes(cohorts)
    if recipe.start_from is not None and class_names(Run(recipe.start_from)) != classes:
        raise InputFault(
            f"{recipe.start_from}: was trained for other classes "
            f"({', '.join(class_names(Run(recipe.start_from)))}); start from a run with these labels"
        )
    splits = divide(recipe, cohorts) if not run.splits.exists() else _kept_splits(run, cohorts)
    cases = {role: training_cases(cohort, splits[role]) for role, cohort in cohorts.items()}
    preparations = kept_preparations(run) or _decided(recipe, cohorts, channels, cases, progress, cache)
    if not run.material.exists():
        _require_apart(recipe, cohorts, splits)
    stores: dict[str, SliceStore] = {}
    for role, cohort in cohorts.items():
        stores[role] = _store(run, role, cohort, cases[role], preparations[role], cache, progress)
        tell(f"{role}: {len(cases[role])} cases, {stores[role].row_count} slices in {stores[role].folder}")
        for remark in splits[role].remarks:
            tell(f"{role}: {remark}")
    learnt = [splits[role] for role in splits if role != "target"]
    write_splits(run.splits, list(splits.values()))
    write_splits_final(run.folder / "splits_final.json", learnt)
    write_json(run.preparations, to_mapping(preparations))
    prepared_channels = next(iter(preparations.values())).channels
    entries = {role: {"store": str(store.folder), "key": store.folder.name} for role, store in stores.items()}
    write_json(run.material, {"classes": classes, "channels": prepared_channels, "roles": entries})
    return Material(Task(prepared_channels, classes, recipe.size), splits, preparations, stores)


def _require_apart(recipe: Recipe, cohorts: Mapping[str, Cohort], splits: Mapping[str, Split]) -> None:
    """Refuse an image that trains with its mask in one cohort and is held out or tested in another.

    Images are known by their files' bytes: names of patients are reused between hospitals and prove nothing.
    """
    if len(cohorts) < 2 or recipe.split.unit == "image":
        return
    learnt: dict[str, str] = {}
    for role, cohort in cohorts.items():
        if role != "target":
            learnt |= {
                _bytes_of(case): f"{role}'s {case.name}" for case in _named(cohort, splits[role].train)
            }
    for role, cohort in cohorts.items():
        for case in _named(cohort, (*splits[role].validation, *splits[role].test)):
            if _bytes_of(case) in learnt:
                raise InputFault(
                    f"{cohort.root}: {case.name} is held out here, and the same image trains as {learnt[_bytes_of(case)]}; "
                    "remove it from one side, or accept it with --set split.unit=image"
                )


def _named(cohort: Cohort, names: tuple[str, ...]) -> list[Case]:
    wanted = set(names)
    return [case for case in cohort.cases if case.name in wanted]


def _bytes_of(case: Case) -> str:
    return image_key(case.images)


def _store(
    run: Run,
    role: str,
    cohort: Cohort,
    cases: tuple[Case, ...],
    preparation: Preparation,
    cache: Path,
    progress: Progress,
) -> SliceStore:
    labelled = role != "target"
    key = content_key(cohort, cases, preparation, labelled)
    _require_unchanged(run, role, key, cohort)
    with progress(f"preparing {role}", len(cases)) as stored:
        return open_store(cache / key, cohort, cases, preparation, labelled=labelled, stored=stored)


def load_material(recipe: Recipe, run: Run) -> Material:
    """What `assemble` left in the run folder: for the other processes of a run."""
    content = read_json(run.material)
    roles: dict[str, Any] = content["roles"]
    return Material(
        Task(content["channels"], tuple(content["classes"]), recipe.size),
        dict(zip(roles, read_splits(run.splits), strict=True)),
        kept_preparations(run) or {},
        {role: load_store(Path(entry["store"])) for role, entry in roles.items()},
    )


def _decided(
    recipe: Recipe,
    cohorts: Mapping[str, Cohort],
    chosen: Mapping[str, int | None],
    cases: Mapping[str, tuple[Case, ...]],
    progress: Progress,
    cache: Path,
) -> dict[str, Preparation]:
    looks: dict[str, tuple[Look, ...]] = {}
    for role, cohort in cohorts.items():
        with progress(f"looking at {role}", len(cases[role])) as seen:
            looks[role] = survey(cohort, cases[role], seen)
    grid = shared_grid(list(looks.values()), recipe.size)
    if recipe.start_from is not None:
        grid = _grid_of(Run(recipe.start_from), recipe)
    decided = {
        role: replace(decide(role, group, cohorts[role].channels, grid), channel=chosen[role])
        for role, group in looks.items()
    }
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
    if first.size != recipe.size:
        raise InputFault(
            f"{earlier.folder}: was trained at size={first.size}, this run has size={recipe.size}; "
            f"give --set size={first.size}"
        )
    return Grid(first.channels, first.size, first.pixel_mm, first.slice_axis)


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
