"""The cohorts of a run: read by role, divided by patient, and kept apart."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fewmask.data.case import Case, Cohort
from fewmask.data.content_key import image_key
from fewmask.data.declared import declared_labels, read_dataset_json
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.layouts import read_cohort
from fewmask.data.slice_tags import shown_anywhere, tag_column
from fewmask.data.split import Split, divide_cohort, require_disjoint, split_cohort, within_budget
from fewmask.errors import InputFault
from fewmask.recipe import Recipe
from fewmask.training.outcomes import LearntOutcomes
from fewmask.training.tagged_cohort import require_tagged_folders, tagged_only

BARE = ("target", "tags")
"""The roles of cohorts whose masks are not opened."""

UNKNOWN = -1.0
"""Stands for an outcome that is not known where patients are divided: they are held out in proportion too."""


def read_cohorts(recipe: Recipe) -> tuple[dict[str, Cohort], dict[str, int | None]]:
    """The cohorts of a recipe by role, and the channel of each that is used (None: all).

    A target and a tagged cohort are read without their masks. Training images of the others that nobody has outlined
    are left out, unless their outcome may train.
    """
    folders = recipe.cohorts
    _require_folders(recipe)
    cohorts: dict[str, Cohort] = {}
    if folders.tags is not None:
        tagged = read_cohort(folders.tags, masks=False)
        cohorts["tags"] = tagged_only(tagged, tag_column(tagged, recipe.tag))
    if folders.masks is not None:
        cohorts["masks"] = _labelled(folders.masks, recipe)
    if folders.source is not None and folders.source == folders.target:
        cohorts["source"], cohorts["target"] = _divided(folders.source, recipe.seed)
    elif folders.source is not None:
        cohorts["source"] = _labelled(folders.source, recipe)
    if folders.target is not None and "target" not in cohorts:
        cohorts["target"] = read_cohort(folders.target, masks=False)
    channels = _channels(recipe, cohorts)
    return {role: cohort.with_channel(channels[role]) for role, cohort in cohorts.items()}, channels


def _divided(folder: Path, seed: int) -> tuple[Cohort, Cohort]:
    """One folder as source and target that share no patient."""
    whole = _labelled_only(read_cohort(folder))
    groups = None if whole.patients_known else group_near_duplicates(whole.cases)
    source, target = divide_cohort(whole, seed, groups)
    return source, target.without_masks()


def _require_folders(recipe: Recipe) -> None:
    """Refuse a recipe without the folders that it reads, or with one that it would never look at."""
    folders = recipe.cohorts
    require_tagged_folders(recipe)
    if folders.masks is None and folders.source is None and folders.tags is None:
        raise InputFault(f"recipe {recipe.name}: no data; give --masks DIR, or --source DIR and --target DIR")
    for channel, folder, role in (
        (folders.source_channel, folders.source, "source"),
        (folders.target_channel, folders.target, "target"),
        (folders.tags_channel, folders.tags, "tags"),
    ):
        if channel is not None and folder is None:
            raise InputFault(f"--{role}-channel {channel}: there is no --{role} whose channel it could be")
    adapts = any(stage.method.reads == "adaptation" for stage in recipe.stages)
    if adapts and (folders.source is None or folders.target is None):
        raise InputFault(f"recipe {recipe.name}: needs two cohorts; give --source DIR and --target DIR")
    if not adapts and folders.target is not None:
        raise InputFault(
            f"recipe {recipe.name}: learns from masks and would never look at --target; leave it out here, and "
            "give its images to `fewmask segment`"
        )


def _labelled(folder: Path, recipe: Recipe) -> Cohort:
    cohort = read_cohort(folder)
    return cohort if recipe.takes_partly_labelled else _labelled_only(cohort)


def _labelled_only(cohort: Cohort) -> Cohort:
    """The cohort without the training images that nobody has outlined yet; it says how many there are."""
    bare = sum(case.mask is None for case in cohort.part("train"))
    if bare == 0 or bare == len(cohort.part("train")):
        return cohort
    kept = tuple(case for case in cohort.cases if case.mask is not None or case.part == "test")
    remark = f"{bare} of {len(cohort.part('train'))} training images have no mask and are left out"
    return replace(cohort, cases=kept, remarks=(*cohort.remarks, remark))


def _channels(recipe: Recipe, cohorts: Mapping[str, Cohort]) -> dict[str, int | None]:
    folders = recipe.cohorts
    wanted = {
        "source": folders.source_channel,
        "target": folders.target_channel,
        "tags": folders.tags_channel,
        "masks": None,
    }
    return {role: cohort.channel_index(wanted[role]) for role, cohort in cohorts.items()}


def shared_classes(cohorts: Mapping[str, Cohort], tag: str | None = None) -> tuple[str, ...]:
    """The class names of the labelled cohorts, which must be the same; of a tagged one what it is tagged with."""
    if "tags" in cohorts:
        return "background", tag_column(cohorts["tags"], tag)
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
    if "target" in cohorts:
        _require_declared(cohorts["target"], first)
    return first.classes


def _require_declared(target: Cohort, labelled: Cohort) -> None:
    """Refuse a target whose dataset.json names other classes, in words or in order; no mask is opened for it.

    Its scores would be of other structures than the network has learnt. A target that declares none is taken.
    """
    described = target.root / "dataset.json"
    content = read_dataset_json(target.root) if described.is_file() else {}
    if not content.get("labels"):
        return
    declared = declared_labels(content, described).classes
    if len(declared) > 1 and [name.casefold() for name in declared] != [
        name.casefold() for name in labelled.classes
    ]:
        raise InputFault(
            f"{described}: its labels ({', '.join(declared)}) are not those of {labelled.root} "
            f"({', '.join(labelled.classes)}); give both the same `labels` in one order, or leave them out here"
        )


def divide(
    recipe: Recipe, cohorts: Mapping[str, Cohort], learnt: LearntOutcomes | None = None
) -> dict[str, Split]:
    """A split for each role, within its budget. Of a target all training images train: nothing of it validates."""
    splits: dict[str, Split] = {}
    budgets = _budgets(recipe, cohorts)
    one_folder = recipe.cohorts.source is not None and recipe.cohorts.source == recipe.cohorts.target
    for role, cohort in cohorts.items():
        budget = budgets.get(role)
        if role == "target":
            groups = _groups(cohort) if budget is not None else None
            splits[role] = within_budget(_target_split(recipe, cohort), cohort, budget, groups)
            continue
        groups = _groups(cohort)
        whole = not (one_folder and role == "source")
        outcomes = None
        if learnt is not None:
            known = learnt.of(role)
            outcomes = {case.name: known.get(case.name, UNKNOWN) for case in cohort.part("train")}
        if role == "tags":
            column = tag_column(cohort, recipe.tag)
            shown = {case.name: shown_anywhere(case, column) for case in cohort.part("train")}
            # Where all patients show it, the division is that of the same folder read for its masks.
            outcomes = shown if len(set(shown.values())) > 1 else None
        split = split_cohort(cohort, recipe.split, recipe.seed, groups, whole, outcomes)
        split = within_budget(split, cohort, budget, groups, outcomes)
        splits[role] = replace(split, remarks=(*cohort.remarks, *split.remarks))
    if len(cohorts) > 1 and "masks" in splits:
        used = {*splits["masks"].train, *splits["masks"].validation}
        outlined = sum(case.mask is not None and case.name in used for case in cohorts["masks"].cases)
        few = f"few-shot: {outlined} outlined images of {cohorts['masks'].name} are used beside the other cohort"
        splits["masks"] = replace(splits["masks"], remarks=(*splits["masks"].remarks, few))
    return splits


def _groups(cohort: Cohort) -> Mapping[str, str] | None:
    return None if cohort.patients_known else group_near_duplicates(cohort.cases)


def _target_split(recipe: Recipe, cohort: Cohort) -> Split:
    if recipe.split.unit == "patient":
        require_disjoint(cohort.part("train"), cohort.part("test"), f"{cohort.root}: train and test")
    names = [tuple(case.name for case in cohort.part(part)) for part in ("train", "test")]
    return Split(cohort.name, recipe.split.unit, recipe.seed, names[0], (), names[1], None, cohort.remarks)


def _budgets(recipe: Recipe, cohorts: Mapping[str, Cohort]) -> dict[str, int]:
    """How many patients of a role may train, where the recipe limits them.

    Raises InputFault for a budget of a cohort that is not there.
    """
    asked = recipe.split
    wanted = {
        "masks" if "masks" in cohorts else "source": ("masked_patients", asked.masked_patients),
        "tags": ("tagged_patients", asked.tagged_patients),
        "target": ("target_patients", asked.target_patients),
    }
    for role, (key, budget) in wanted.items():
        if budget is not None and role not in cohorts:
            needed = "--masks and no --source" if role == "source" else f"--{role}"
            raise InputFault(
                f"split.{key}={budget}: there is no {needed} whose patients it would count; leave it out"
            )
    return {role: budget for role, (_, budget) in wanted.items() if budget is not None}


def training_cases(cohort: Cohort, split: Split) -> tuple[Case, ...]:
    """The cases that are prepared for a run: those that train or validate, never the test part."""
    wanted = {*split.train, *split.validation}
    chosen = tuple(case for case in cohort.cases if case.name in wanted)
    if not chosen:
        raise InputFault(
            f"{cohort.root}: no training images; put them into imagesTr, or mend the split in cases.csv"
        )
    return chosen


def require_apart(recipe: Recipe, cohorts: Mapping[str, Cohort], splits: Mapping[str, Split]) -> None:
    """Refuse an image that trains with its mask in one cohort and is held out or tested in another.

    Images are known by their files' bytes: names of patients are reused between hospitals and prove nothing.
    """
    if len(cohorts) < 2 or recipe.split.unit == "image":
        return
    learnt: dict[str, str] = {}
    for role, cohort in cohorts.items():
        if role != "target":
            learnt |= {
                image_key(case.images): f"{role}'s {case.name}" for case in _named(cohort, splits[role].train)
            }
    for role, cohort in cohorts.items():
        for case in _named(cohort, (*splits[role].validation, *splits[role].test)):
            twin = learnt.get(image_key(case.images))
            if twin is not None:
                raise InputFault(
                    f"{cohort.root}: {case.name} is held out here, and the same image trains as {twin}; "
                    "remove it from one side, or accept it with --set split.unit=image"
                )


def _named(cohort: Cohort, names: tuple[str, ...]) -> list[Case]:
    wanted = set(names)
    return [case for case in cohort.cases if case.name in wanted]
