"""What a folder holds, as far as a plan asks: counts from its tables, and a look at some of its images.

Of a target no mask is opened, listed or counted: only that a folder of masks lies there is said, by its name.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.declared import declared_labels, read_dataset_json
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.findings import Range
from fewmask.data.folder import files_in, folders_in, image_files_in, named_folders, stem_of
from fewmask.data.gap import QUANTILES, Style
from fewmask.data.inspection import UNREADABLE, Inspected, background_value, inspect_case, one_line
from fewmask.data.layouts import read_cohort
from fewmask.data.listing import MASK_FOLDERS, is_empty
from fewmask.data.plain import MASK_SUFFIXES, is_half_of_a_pair
from fewmask.data.tables import read_table
from fewmask.errors import InputFault
from fewmask.planning.labels import OutcomeSeen, TagsSeen, outcomes_in, tags_in
from fewmask.planning.modality import modality_of

Role = Literal["masks", "source", "target", "tags"]

PICTURES, VOLUMES = 24, 8
"""So many training images of a folder are looked at, evenly spaced."""

SEARCHED = 1000
"""Near-duplicates are searched among so many pictures at most; a larger folder is left to `fewmask check`."""


@dataclass(frozen=True)
class ClassSeen:
    """A class, its share in [0, 1] of the pixels looked at, and the number of images in which it is marked."""

    name: str
    share: float
    cases: int


@dataclass(frozen=True)
class Copies:
    """Groups of near-duplicate pictures, and those of them that are in the train and in the test part."""

    groups: int
    crossing: int


@dataclass(frozen=True)
class Holding:
    """One folder of a plan.

    `outlined` counts the training cases with a mask, 0 for a target and a tagged folder, whose masks stay closed;
    `masks_beside` says whether masks lie there by the names of files and folders. `sides` are the median, smallest and
    largest pixels along each axis of the `looked_at` images, empty where pictures and volumes are mixed. `ground` is
    the median intensity in an image's own range: 0 dark, 1 bright. `copies` is None where nobody searched.
    """

    role: Role
    folder: Path
    layout: str
    channel: str | None
    channels: tuple[str, ...]
    modality: str
    volumes: bool
    train: int
    test: int
    patients: int
    patients_known: bool
    outlined: int
    test_outlined: int
    masks_beside: bool
    classes: tuple[str, ...]
    marked: tuple[ClassSeen, ...]
    sides: tuple[Range, ...]
    unit: str
    eight_bit: bool
    looked_at: int
    brightness_ratio: float
    ground: float
    copies: Copies | None
    tags: TagsSeen | None
    outcomes: tuple[OutcomeSeen, ...]
    faults: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def longest(self) -> int:
        """The median longest side in pixels."""
        return int(max((side.median for side in self.sides), default=0))

    @property
    def items(self) -> str:
        """What the images are called."""
        return "volumes" if self.volumes else "pictures"


@dataclass(frozen=True, eq=False)
class Look:
    """A holding, and the styles of the images that were looked at, for the gap meter."""

    holding: Holding
    styles: tuple[Style, ...]


def look_into(folder: Path, role: Role, channel: str | None, progress: Progress) -> Look:
    """Read a folder's tables and look at some of its training images; masks only of `masks` and `source`.

    Raises InputFault as `read_cohort` does, and where no image at all can be read.
    """
    opened = role in ("masks", "source")
    whole = read_cohort(folder, masks=opened)
    cohort = whole.with_channel(whole.channel_index(channel))
    cases = cohort.part("train") or cohort.cases
    looks, faults = _looked(cohort, cases, progress)
    copies = _copies(cohort, len(looks[0].shape) == 2, progress)
    beside = masks_lie_in(folder)
    train = cohort.part("train")
    holding = Holding(
        role=role,
        folder=folder,
        layout=cohort.layout,
        channel=channel if channel is None else cohort.channels[0],
        channels=cohort.channels,
        modality=modality_of(cohort.channels, cases[0], len(looks[0].shape) == 3, looks[0].intensities[0][0]),
        volumes=len(looks[0].shape) == 3,
        train=len(train),
        test=len(cohort.part("test")),
        patients=len({case.patient for case in cases}),
        patients_known=cohort.patients_known,
        outlined=sum(case.mask is not None for case in train),
        test_outlined=sum(case.mask is not None for case in cohort.part("test")),
        masks_beside=beside,
        classes=cohort.classes or _declared(folder),
        marked=_marked(cohort, looks) if opened else (),
        sides=_sides(looks),
        unit="/".join(sorted({look.unit for look in looks})),
        eight_bit=all(look.number_type == "uint8" for look in looks),
        looked_at=len(looks),
        brightness_ratio=_brightness_ratio(looks),
        ground=_ground([look.evidence.style for look in looks]),
        copies=copies,
        tags=tags_in(cohort),
        outcomes=outcomes_in(train),
        faults=faults,
        remarks=cohort.remarks,
    )
    return Look(holding, tuple(look.evidence.style for look in looks))


def masks_lie_in(folder: Path) -> bool:
    """Whether masks lie in a folder, by the names of files and folders alone; only a manifest is opened."""
    if folder.is_file():
        return folder.suffix.lower() == ".csv" and _lists_masks(folder)
    if any((folder / name).is_dir() and not is_empty(folder / name) for name in ("labelsTr", "labelsTs")):
        return True
    if named_folders(folder, MASK_FOLDERS) or _has_derivatives(folder):
        return True
    if is_half_of_a_pair(folder) and named_folders(folder.parent, _of_half(folder.name)):
        return True
    if (folder / "manifest.csv").is_file():
        return _lists_masks(folder / "manifest.csv")
    return any(stem_of(path).endswith(MASK_SUFFIXES[1:]) for path in image_files_in(folder))


def _of_half(half: str) -> tuple[str, ...]:
    """What folders of masks beside trainA or trainB are called, in lower case."""
    names = (f"{half}_mask", f"{half}_masks", *(f"{stem}{half[-1]}" for stem in ("mask", "masks", "labels")))
    return tuple(name.lower() for name in names)


def _has_derivatives(folder: Path) -> bool:
    derived = folder / "derivatives"
    return derived.is_dir() and any(files_in(inner) or folders_in(inner) for inner in folders_in(derived))


def _lists_masks(manifest: Path) -> bool:
    return any(row.get("mask") for row in read_table(manifest))


def _declared(folder: Path) -> tuple[str, ...]:
    """The classes that a folder's dataset.json names; no mask is opened for them."""
    described = folder / "dataset.json"
    content = read_dataset_json(folder) if described.is_file() else {}
    return declared_labels(content, described).classes if content.get("labels") else ()


def _looked(
    cohort: Cohort, cases: tuple[Case, ...], progress: Progress
) -> tuple[list[Inspected], tuple[str, ...]]:
    """Some of the cases, evenly spaced, and what is wrong with them. The first image decides how many."""
    looks: list[Inspected] = []
    faults: Counter[str] = Counter()
    first = next((look for case in cases if (look := _inspected(cohort, case, Counter())) is not None), None)
    if first is None:
        _inspected(cohort, cases[0], faults)
        raise InputFault(f"{cohort.root}: no image can be read ({next(iter(faults))}); mend or replace them")
    most = PICTURES if len(first.shape) == 2 else VOLUMES
    chosen = sorted({int(place) for place in np.linspace(0, len(cases) - 1, min(most, len(cases)))})
    with progress(f"looking at {cohort.name}", len(chosen)) as seen:
        for place in chosen:
            look = first if cases[place] is first.case else _inspected(cohort, cases[place], faults)
            if look is not None:
                looks.append(look)
                faults.update(look.faults)
            seen()
    return looks or [first], tuple(f"{reason} ({count} of {len(chosen)})" for reason, count in faults.items())


def _inspected(cohort: Cohort, case: Case, faults: Counter[str]) -> Inspected | None:
    try:
        return inspect_case(cohort, case)
    except UNREADABLE as error:
        faults[one_line(error)] += 1
        return None


def _copies(cohort: Cohort, pictures: bool, progress: Progress) -> Copies | None:
    """Near-duplicates among all pictures of a folder without patients: they may be one patient's."""
    if cohort.patients_known or not pictures or len(cohort.cases) > SEARCHED:
        return None
    with progress(f"copies in {cohort.name}", len(cohort.cases)) as seen:
        try:
            groups = group_near_duplicates(cohort.cases, seen)
        except UNREADABLE:
            return None
    several = {name for name, count in Counter(groups.values()).items() if count > 1}
    parts = [{groups[case.name] for case in cohort.part(part)} for part in ("train", "test")]
    return Copies(len(several), len(parts[0] & parts[1]))


def _marked(cohort: Cohort, looks: list[Inspected]) -> tuple[ClassSeen, ...]:
    """The foreground classes as they are marked in the looked-at images."""
    counts = [look.counts for look in looks if look.counts is not None]
    total = max(1, sum(sum(count.values()) for count in counts))
    background = background_value(cohort)
    return tuple(
        ClassSeen(
            name,
            sum(count.get(float(value), 0) for count in counts) / total,
            sum(float(value) in count for count in counts),
        )
        for name, value in zip(cohort.classes, cohort.label_values, strict=False)
        if value != background
    )


def _sides(looks: list[Inspected]) -> tuple[Range, ...]:
    if len({len(look.shape) for look in looks}) > 1:
        return ()
    table = np.array([look.shape for look in looks], dtype=np.float64)
    return tuple(Range(float(c.min()), float(np.median(c)), float(c.max())) for c in table.T)


def _brightness_ratio(looks: list[Inspected]) -> float:
    """The brightest image's top value over the darkest one's, in the first channel; at least 1."""
    tops = [look.intensities[0][2] for look in looks if look.intensities[0][2] > 0.0]
    return max(tops) / min(tops) if tops else 1.0


def _ground(styles: list[Style]) -> float:
    middles = [style.quantiles.reshape(-1, QUANTILES).mean(axis=0)[QUANTILES // 2] for style in styles]
    return float(np.median(middles))
