"""Folds over the target: every one of its patients is tested once, by networks that never saw their image."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from fewmask.data.case import Case, Cohort
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault
from fewmask.files import read_json, write_csv, write_json
from fewmask.training.run import short_hash

_ORDER = 20_201_027
"""Seeds the order in which patients are dealt to folds; one constant, so that all rows and seeds share the folds."""


def fold_folders(target: Path, folds: int, out: Path, *, by_site: bool = False) -> tuple[Path, ...]:
    """The target's folder once a fold, each time with another part of its patients as the test part.

    One fold is the folder itself, with its own test part. More are folders below `out` that link to the images and
    hold a `cases.csv` of their own. With `by_site` there is a fold for each site, whatever `folds` is. Raises
    InputFault where there are fewer patients than folds, or fewer than two sites.
    """
    if folds == 1 and not by_site:
        return (target,)
    cohort = read_cohort(target)
    if not cohort.root.is_dir():
        raise InputFault(f"{target}: only a folder can be divided into folds; leave --folds out")
    kind = "sites" if by_site else str(folds)
    # To deal patients whom no table names, every image is read; so the division is kept while the cases are the same.
    kept, cases = out / f"of_{kind}.json", _fingerprint(cohort)
    if kept.exists() and (before := read_json(kept))["cases"] == cases:
        folders = _folders(before["folds"], kind, target, out)
        if all((folder / "cases.csv").exists() for folder in folders):
            return folders
    part = sites_of(cohort) if by_site else dealt(cohort, folds)
    folders = _folders(max(part.values()) + 1, kind, target, out)
    for fold, folder in enumerate(folders):
        _write(cohort, part, fold, folder)
    write_json(kept, {"cases": cases, "folds": len(folders)})
    return folders


def _folders(folds: int, kind: str, target: Path, out: Path) -> tuple[Path, ...]:
    return tuple(out / f"{fold}_of_{kind}" / target.name for fold in range(folds))


def _fingerprint(cohort: Cohort) -> str:
    """What decides a division and its folders: who the cases are, which files they have, and how large those are."""
    sizes = {
        str(file): file.stat().st_size
        for case in cohort.cases
        for file in (*case.images, case.mask)
        if file is not None
    }
    cases = [(case.name, case.patient, case.site, sorted(case.columns.items())) for case in cohort.cases]
    return short_hash([str(cohort.root.resolve()), cohort.patients_known, cases, sizes])


def sites_of(cohort: Cohort) -> dict[str, int]:
    """The number of each case's site, in the order of the sites' names.

    Raises InputFault for fewer than two sites, a case without one, and a patient who was seen at two.
    """
    sites = sorted({case.site for case in cohort.cases if case.site})
    if len(sites) < 2 or not all(case.site for case in cohort.cases):
        raise InputFault(
            f"{cohort.root}: to leave one site out, every case needs its `site` in cases.csv, and there must be two; "
            "add them, or leave --by-site out"
        )
    seen: dict[str, str | None] = {}
    for case in cohort.cases:
        if cohort.patients_known and seen.setdefault(case.patient, case.site) != case.site:
            raise InputFault(
                f"{cohort.root}: patient {case.patient} was seen at {seen[case.patient]} and at {case.site}, and would "
                "train and test; give each patient one site"
            )
    return {case.name: sites.index(case.site) for case in cohort.cases if case.site}


def dealt(cohort: Cohort, folds: int) -> dict[str, int]:
    """The fold in which each case is tested; a patient's cases stay together, and so do near-duplicates.

    Patients of whom nothing is outlined are in no fold: they always train.
    """
    owner = {case.name: case.patient for case in cohort.cases}
    if not cohort.patients_known:
        owner |= group_near_duplicates(cohort.cases)
    outlined = {owner[case.name] for case in cohort.cases if case.mask is not None}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(owner):
        if owner[name] in outlined:
            groups[owner[name]].append(name)
    if len(groups) < folds:
        raise InputFault(
            f"{cohort.root}: has {len(groups)} outlined patients for {folds} folds; lower --folds, or add masks"
        )
    order = np.random.default_rng(_ORDER).permutation(len(groups))
    return {
        name: place % folds for place, index in enumerate(order) for name in groups[sorted(groups)[index]]
    }


def _write(cohort: Cohort, part: dict[str, int], fold: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for entry in cohort.root.iterdir():
        link = folder / entry.name
        if link.is_symlink():
            link.unlink()
        # A splits_final.json divides the training part of one fold only: the folder's own.
        if entry.name not in ("cases.csv", "splits_final.json"):
            link.symlink_to(entry.resolve(), target_is_directory=entry.is_dir())
    names = sorted({column for case in cohort.cases for column in case.columns})
    head = ("case", *(["patient"] if cohort.patients_known else []), "site", "split", *names)
    lines = (_entry(case, part, fold, cohort.patients_known, names) for case in cohort.cases)
    write_csv(folder / "cases.csv", head, lines)
    if _content(read_cohort(folder)) != _content(cohort):
        raise InputFault(
            f"{cohort.root}: its layout ({cohort.layout}) cannot be divided into folds; use nnU-Net's raw layout"
        )


def _content(cohort: Cohort) -> set[tuple[str, bool]]:
    return {(case.name, case.mask is not None) for case in cohort.cases}


def _entry(case: Case, part: dict[str, int], fold: int, patients_known: bool, names: list[str]) -> list[str]:
    split = "test" if part.get(case.name) == fold else "train"
    patient = [case.patient] if patients_known else []
    return [case.name, *patient, case.site or "", split, *(case.columns.get(name, "") for name in names)]
