"""The cohort with tags: who of it trains, and the masks of those who are held out where something is chosen by them."""

from dataclasses import replace

from fewmask.data.case import Cohort
from fewmask.data.layouts import read_cohort
from fewmask.data.slice_tags import tag_cells
from fewmask.data.split import Split
from fewmask.errors import InputFault
from fewmask.recipe import Recipe


def reads_tags(recipe: Recipe) -> bool:
    """Whether a stage of the recipe learns from tags."""
    return any(stage.method.reads == "tagged" for stage in recipe.stages)


def tagged_only(cohort: Cohort, column: str) -> Cohort:
    """The cohort without the training cases that have no tag at all; it says how many there are.

    Raises InputFault where fewer than two are left.
    """
    bare = {
        case.name
        for case in cohort.part("train")
        if not any(cell.strip() for cell in tag_cells(case, column))
    }
    many = len(cohort.part("train"))
    if many - len(bare) < 2:
        raise InputFault(
            f"{cohort.root}: {many - len(bare)} of {many} training cases have a tag {column!r}; "
            "tag at least two patients"
        )
    if not bare:
        return cohort
    remark = f"{len(bare)} of {many} training cases have no tag {column!r} and are left out"
    return replace(
        cohort,
        cases=tuple(case for case in cohort.cases if case.name not in bare),
        remarks=(*cohort.remarks, remark),
    )


def require_tagged_folders(recipe: Recipe) -> None:
    """Refuse a recipe of tags without its folder, and folders of tags or corrections for a recipe without tags."""
    folders = recipe.cohorts
    learns_tags = reads_tags(recipe)
    if learns_tags and folders.tags is None:
        raise InputFault(
            f"recipe {recipe.name}: learns from tags; give --tags DIR, a dataset with slices.csv"
        )
    if folders.tags is not None and not learns_tags:
        raise InputFault(
            f"recipe {recipe.name}: learns from no tags; leave --tags out, or train e.g. `umcam`"
        )
    if folders.corrections is not None and not learns_tags:
        raise InputFault(f"recipe {recipe.name}: makes no pseudo-labels to correct; leave --corrections out")
    if learns_tags and (folders.masks or folders.source or folders.target):
        raise InputFault(
            f"recipe {recipe.name}: learns from tags alone; leave --masks, --source and --target out"
        )


def held_out_with_masks(recipe: Recipe, tagged: Cohort | None, split: Split | None) -> Cohort | None:
    """The tagged cohort's held-out patients with their masks, where the recipe chooses something by them; else None.

    Raises InputFault where it does and they have none. Masks of patients who train stay closed.
    """
    asking = {
        f"stage {stage.name}: threshold=validation": "threshold=0.5"
        for stage in recipe.stages
        if stage.pseudo_labels is not None and stage.pseudo_labels.threshold == "validation"
    } | {
        f"stage {stage.name}: choose=validation": f"{stage.name}.choose=last"
        for stage in recipe.stages
        if stage.method.reads == "soft" and stage.choose == "validation"
    }
    if tagged is None or split is None or not asking:
        return None
    assert recipe.cohorts.tags is not None
    whole = read_cohort(recipe.cohorts.tags)
    outlined = tuple(case for case in whole.cases if case.mask is not None and case.name in split.validation)
    what, remedy = next(iter(asking.items()))
    if not outlined:
        raise InputFault(
            f"{whole.root}: {what} needs masks of the held-out patients and there are none; add some to labelsTr, or "
            f"--set {remedy}"
        )
    if len(whole.classes) != 2:
        raise InputFault(
            f"{whole.root}: has masks of {len(whole.classes) - 1} classes where a tag tells of one; keep one class, or "
            f"--set {remedy}"
        )
    channel = tagged.channels[0] if len(tagged.channels) == 1 and len(whole.channels) > 1 else None
    return replace(whole, cases=outlined).with_channel(whole.channel_index(channel))
