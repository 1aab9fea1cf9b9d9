"""Which folder plays which part: as the options say, or recognised by what lies in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewmask.data.case import Cohort
from fewmask.data.folder import existing_folder
from fewmask.data.layouts import read_cohort
from fewmask.data.listing import is_empty
from fewmask.data.plain import is_pair
from fewmask.errors import InputFault
from fewmask.planning.holdings import masks_lie_in


@dataclass(frozen=True)
class Given:
    """What stands on the command line."""

    masks: Path | None = None
    source: Path | None = None
    target: Path | None = None
    tags: Path | None = None
    source_channel: str | None = None
    target_channel: str | None = None
    tags_channel: str | None = None
    outcome: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that were given."""
        return tuple(f for f in (self.masks, self.source, self.target, self.tags) if f is not None)


def recognised(folders: Sequence[Path], given: Given) -> Given:
    """One or two bare folders with their parts: the one with masks is what is learnt from.

    Of two with masks the second is the target, and its masks are left for scoring. Raises InputFault where nothing can
    be learnt from them.
    """
    if len(folders) == 1:
        return _alone(folders[0], given)
    first, second = folders
    outlined = [_has_masks(folder) for folder in folders]
    if all(outlined):
        note = (
            f"both folders hold masks: {second.name} is taken for the target, whose masks are left for "
            f"`fewmask evaluate`; to learn from both, give --source {first} --masks {second}"
        )
        return replace(given, source=first, target=second, notes=(note,))
    if any(outlined):
        source, target = (first, second) if outlined[0] else (second, first)
        return replace(given, source=source, target=target)
    tagged = [folder for folder in folders if _has_tags(folder)]
    if not tagged:
        raise InputFault(
            f"{first} and {second}: there is nothing to learn from: no masks and no tags in either; add "
            "labelsTr to one, or a slices.csv with tags"
        )
    other = second if tagged[0] == first else first
    return replace(given, tags=tagged[0], target=other)


def _alone(folder: Path, given: Given) -> Given:
    if folder.is_dir() and is_pair(folder):
        return replace(given, source=folder / "trainA", target=folder / "trainB")
    if given.tags_channel is not None:
        return replace(given, tags=folder)
    if _has_masks(folder):
        if given.source_channel is not None and given.target_channel is not None:
            return replace(given, source=folder, target=folder)
        return (
            replace(given, source=folder)
            if given.source_channel is not None
            else replace(given, masks=folder)
        )
    if _has_tags(folder):
        return replace(given, tags=folder)
    raise InputFault(
        f"{folder}: there is nothing to learn from: no masks and no tags of any image; add labelsTr or a "
        "slices.csv with tags, or give another hospital's outlined images as --source and this folder as "
        "--target"
    )


def _has_masks(folder: Path) -> bool:
    if not folder.is_file() and not is_empty(existing_folder(folder)):
        _bare(folder)  # A folder that holds no images is told of before its masks are asked for.
    return masks_lie_in(folder)


def _has_tags(folder: Path) -> bool:
    return any(case.slice_tags for case in _bare(folder).cases)


def _bare(folder: Path) -> Cohort:
    """The folder's cases; no mask is listed for it."""
    return read_cohort(folder, masks=False)
