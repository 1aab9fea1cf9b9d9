"""Two channels of one folder as a source and a target that share no patient, each a folder of its own.

A study then treats them as it treats any pair. Nothing is copied: the folders hold links.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.data.case import Case, Cohort
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.layouts import read_cohort
from fewmask.data.split import divide_cohort
from fewmask.errors import InputFault
from fewmask.files import write_csv, write_json

_ORDER = 0
"""Seeds who is source and who is target; one constant, so that all rows and seeds share the division."""


def channel_folders(folder: Path, source: str, target: str, out: Path) -> tuple[Path, Path]:
    """Half of the folder's training patients with one channel, and the others and the test part with the other.

    Raises InputFault for an unknown channel, and where the channels do not lie in files of their own.
    """
    whole = read_cohort(folder)
    if len(whole.classes) < 2:
        raise InputFault(f"{folder}: has no masks to train on; add labelsTr and `labels` in dataset.json")
    groups = None if whole.patients_known else group_near_duplicates(whole.cases)
    halves = divide_cohort(whole, _ORDER, groups)
    chosen = [
        half.with_channel(half.channel_index(name))
        for half, name in zip(halves, (source, target), strict=True)
    ]
    names = (f"{folder.name}_source_{source}", f"{folder.name}_target_{target}")
    first, second = (linked(half, out / name) for half, name in zip(chosen, names, strict=True))
    return first, second


def channel_folder(folder: Path, channel: str, out: Path) -> Path:
    """A folder with one of its channels alone, its tags kept. Raises InputFault as `channel_folders` does."""
    whole = read_cohort(folder)
    return linked(whole.with_channel(whole.channel_index(channel)), out / f"{folder.name}_{channel}")


def part_folder(dataset: Path, names: Sequence[str], out: Path) -> Path:
    """These cases of a dataset as the test part of a folder of links."""
    wanted = set(names)
    cohort = read_cohort(dataset)
    cases = tuple(replace(case, part="test") for case in cohort.cases if case.name in wanted)
    return linked(replace(cohort, cases=cases), out / dataset.name)


def linked(cohort: Cohort, folder: Path) -> Path:
    """A cohort as an nnU-Net folder of links; tags of slices are copied."""
    ending = _ending(cohort)
    for case in cohort.cases:
        suffix = "Tr" if case.part == "train" else "Ts"
        for index, image in enumerate(case.images):
            _link(image, folder / f"images{suffix}" / f"{case.name}_{index:04d}{ending}")
        if case.mask is not None:
            _link(case.mask, folder / f"labels{suffix}" / f"{case.name}{ending}")
    names = sorted({name for case in cohort.cases for name in case.columns})
    columns = ("case", *(["patient"] if cohort.patients_known else []), "split", *names)
    write_csv(folder / "cases.csv", columns, (_entry(case, cohort, names) for case in cohort.cases))
    _write_tags(cohort, folder)
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {str(index): name for index, name in enumerate(cohort.channels)},
            "labels": dict(zip(cohort.classes, cohort.label_values, strict=True)),
            "numTraining": len(cohort.part("train")),
            "file_ending": ending,
        },
    )
    return folder


def _write_tags(cohort: Cohort, folder: Path) -> None:
    """Write slices.csv, where the cohort's slices have tags."""
    columns = sorted({name for case in cohort.cases for tags in case.slice_tags.values() for name in tags})
    lines = [
        (case.name, number, *(tags.get(name, "") for name in columns))
        for case in cohort.cases
        for number, tags in case.slice_tags.items()
    ]
    if lines:
        write_csv(folder / "slices.csv", ("case", "slice", *columns), lines)


def _entry(case: Case, cohort: Cohort, names: Sequence[str]) -> tuple[str, ...]:
    patient = [case.patient] if cohort.patients_known else []
    return (case.name, *patient, case.part, *(case.columns.get(name, "") for name in names))


def _ending(cohort: Cohort) -> str:
    """The ending that all files share."""
    files = [path for case in cohort.cases for path in (case.images[0], *([case.mask] if case.mask else []))]
    endings = {"".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix for path in files}
    if len(endings) != 1:
        raise InputFault(
            f"{cohort.root}: holds files of several kinds ({', '.join(sorted(endings))}); convert them to one"
        )
    return endings.pop()


def _link(origin: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(origin.resolve())
