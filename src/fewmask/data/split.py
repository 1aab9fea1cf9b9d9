"""Who trains, who validates, who is only tested: patients are divided, never their images one by one.

The order of patients is drawn as `fewmask.data.units` says.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.data.case import Case, Cohort
from fewmask.data.units import choose, in_order, named_units, units_of
from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.recipe import SplitConfig

SPLITS_FINAL = "splits_final.json"

SAME_PATIENT = "SAME PATIENT ON BOTH SIDES"

ACCEPT = "give each patient one side, or accept it with --set split.unit=image, which every page then says"


@dataclass(frozen=True)
class Split:
    """The names of the cases that train, validate and test; `remarks` go on every page with a score."""

    __pydantic_config__: ClassVar[Any] = STRICT

    cohort: str
    unit: Literal["patient", "image"]
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    stratified_by: str | None = None
    remarks: tuple[str, ...] = ()


def split_cohort(
    cohort: Cohort,
    config: SplitConfig,
    seed: int,
    groups: Mapping[str, str] | None = None,
    whole: bool = True,
    outcomes: Mapping[str, float] | None = None,
) -> Split:
    """Hold some patients of the train part out for validation; the test part stays as the folder has it.

    `groups` names the near-duplicate group of each case and is used where patients are unknown. `whole=False`
    says that the cohort is a part of its folder (a half from `divide_cohort`): nnU-Net's splits_final.json
    speaks of the whole folder and is then not read. `outcomes` of the training cases, where a run learns one,
    are held out in proportion, as sites are. The result does not depend on the order of the cases.
    Raises InputFault where a patient would be on both sides, and where there is only one patient.
    """
    train, test = cohort.part("train"), cohort.part("test")
    if config.unit == "patient":
        require_disjoint(train, test, f"{cohort.root}: train and test")
    final = cohort.root / SPLITS_FINAL
    if whole and final.is_file():
        learn, held, remarks = _fold(final, cohort, config)
        by = None
    else:
        learn, held, by, remarks = _drawn(cohort, config, seed, groups, outcomes or {})
    remarks += _marks(cohort, (learn, held, test), groups)
    return Split(cohort.name, config.unit, seed, _names(learn), _names(held), _names(test), by, remarks)


def within_budget(
    split: Split,
    cohort: Cohort,
    budget: int | None,
    groups: Mapping[str, str] | None = None,
    outcomes: Mapping[str, float] | None = None,
) -> Split:
    """The split with at most `budget` patients to train; None lets all. Who validates and who is tested stays.

    Near-duplicates of `groups` count as one patient where patients are unknown; with unit="image" each image counts.
    The patients of a smaller budget are among those of a larger one. The first have each another outcome of
    `outcomes`, the highest first; then outcomes, and the sites of each, come in about their proportion.
    """
    if budget is None:
        return split
    units = named_units(cohort, split.train, split.unit, groups, outcomes or {})
    kept = {name for unit in in_order(units, f"budget:{split.seed}")[:budget] for name in unit.cases}
    what = "patients" if split.unit == "patient" else "images"
    remark = f"trains on {min(budget, len(units))} of {len(units)} {what} (a budget)"
    if budget > len(units):
        remark = f"trains on all {len(units)} {what}: its budget of {budget} is more than there are"
    train = tuple(name for name in split.train if name in kept)
    return replace(split, train=train, remarks=(*split.remarks, remark))


def count_patients(
    cohort: Cohort, names: Iterable[str], unit: str, groups: Mapping[str, str] | None = None
) -> int:
    """How many patients the named cases are of, counted as `within_budget` counts them."""
    return len(named_units(cohort, names, unit, groups, {}))


def require_disjoint(a: Iterable[Case], b: Iterable[Case], what: str, remedy: str = ACCEPT) -> None:
    """Refuse a patient who is on both sides. `what` names the place and the two sides in the message."""
    shared = sorted(_patients(a) & _patients(b))
    if shared:
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise InputFault(f"{what}: patient {', '.join(shared[:3])}{more} on both sides; {remedy}")


def divide_cohort(
    cohort: Cohort, seed: int, groups: Mapping[str, str] | None = None
) -> tuple[Cohort, Cohort]:
    """Halve one folder into a source and a target that share no patient, each site evenly.

    The train part is halved; every test case goes to the second cohort, the target, where scores are taken.
    """
    train, test = cohort.part("train"), cohort.part("test")
    mend = "give each patient one `split` in cases.csv"
    require_disjoint(train, test, f"{cohort.root}: train and test", mend)
    units = units_of(cohort, train, "patient", groups, {})
    if len(units) < 2:
        raise InputFault(
            f"{cohort.root}: one patient cannot be source and target; use a folder with two or more"
        )
    chosen, _ = choose(units, 0.5, f"divide:{seed}")
    first = tuple(case for case in train if case.name in chosen)
    second = tuple(case for case in train if case.name not in chosen)
    remark = (
        f"one folder as source and target: its train part is divided by patient, "
        f"{len(_patients(first))} to the source and {len(_patients(second))} to the target"
    )
    remarks = (*cohort.remarks, remark)
    return replace(cohort, cases=first, remarks=remarks), replace(
        cohort, cases=second + test, remarks=remarks
    )


def write_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write a run's split.json: one entry a cohort."""
    write_json(path, to_mapping(tuple(splits)))


def read_splits(path: Path) -> tuple[Split, ...]:
    """Read a run's split.json."""
    return tuple(from_mapping(Split, entry, str(path)) for entry in _entries(path, "train this run again"))


def write_splits_final(path: Path, splits: Sequence[Split]) -> None:
    """Write nnU-Net's splits_final.json: one fold a split, with its train and validation cases."""
    write_json(path, [{"train": list(split.train), "val": list(split.validation)} for split in splits])


def _entries(path: Path, remedy: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFault(f"{path}: no such file; check the path") from None
    except ValueError:
        raise InputFault(f"{path}: not valid JSON; {remedy}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputFault(f"{path}: expected a list of splits; {remedy}")
    return content


def _patients(cases: Iterable[Case]) -> set[str]:
    return {case.patient for case in cases}


def _names(cases: Iterable[Case]) -> tuple[str, ...]:
    return tuple(sorted(case.name for case in cases))


_Drawn = tuple[tuple[Case, ...], tuple[Case, ...], str | None, tuple[str, ...]]


def _drawn(
    cohort: Cohort,
    config: SplitConfig,
    seed: int,
    groups: Mapping[str, str] | None,
    outcomes: Mapping[str, float],
) -> _Drawn:
    if not 0.0 < config.validation < 1.0:
        asked = f"split.validation={config.validation}"
        raise InputFault(f"{asked}: a share between 0 and 1 is held out; e.g. --set split.validation=0.2")
    train = cohort.part("train")
    units = units_of(cohort, train, config.unit, groups, outcomes)
    if len(units) < 2:
        raise InputFault(_too_few(cohort, train, config))
    held, stratified = choose(units, config.validation, f"split:{seed}")
    remarks: tuple[str, ...] = ()
    if config.unit == "patient" and not cohort.patients_known:
        # That patients are unknown is among the cohort's own remarks.
        together = sum(len(unit.cases) > 1 for unit in units)
        remarks = (f"near-duplicate images stay on one side ({together} groups)",) if together else ()
    return (
        tuple(case for case in train if case.name not in held),
        tuple(case for case in train if case.name in held),
        ("site and outcome" if outcomes else "site") if stratified else None,
        remarks,
    )


def _too_few(cohort: Cohort, train: Sequence[Case], config: SplitConfig) -> str:
    if not train:
        return f"{cohort.root}: no case to train on; put images into its train part"
    if len(train) == 1:
        return f"{cohort.root}: one case cannot both train and validate; add cases"
    if config.unit == "patient" and cohort.patients_known:
        who = f"all {len(train)} training cases are of one patient"
    else:
        who = f"all {len(train)} training cases are near-duplicates of one another"
    return f"{cohort.root}: {who}; add patients, or divide the images with --set split.unit=image"


def _fold(
    path: Path, cohort: Cohort, config: SplitConfig
) -> tuple[tuple[Case, ...], tuple[Case, ...], tuple[str, ...]]:
    """The sides of `config.fold` in nnU-Net's file. nnU-Net divides cases, so patients are checked here."""
    folds = _entries(path, "write it as nnU-Net does, or remove it")
    if not 0 <= config.fold < len(folds):
        raise InputFault(f"{path}: no fold {config.fold}, it has {len(folds)}; use --set split.fold=0")
    known = {case.name: case for case in cohort.part("train")}
    sides = [folds[config.fold].get(key) for key in ("train", "val")]
    if not all(isinstance(side, list) and side for side in sides):
        raise InputFault(
            f"{path}: fold {config.fold} needs non-empty lists 'train' and 'val'; mend or remove the file"
        )
    names: list[list[str]] = [[str(name) for name in side or ()] for side in sides]
    strange = sorted({name for side in names for name in side} - set(known))
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise InputFault(
            f"{path}: {', '.join(strange[:3])}{more} not among the training cases; mend or remove the file"
        )
    twice = sorted(set(names[0]) & set(names[1]))
    if twice:
        raise InputFault(
            f"{path}: case {twice[0]} is on both sides of fold {config.fold}; mend or remove the file"
        )
    learn, held = (tuple(known[name] for name in dict.fromkeys(side)) for side in names)
    if config.unit == "patient":
        require_disjoint(learn, held, f"{path}: fold {config.fold} (nnU-Net divides cases, not patients)")
    remarks = (f"train and validation as fold {config.fold} of {SPLITS_FINAL} says",)
    left = len(known) - len(learn) - len(held)
    return (
        learn,
        held,
        remarks + ((f"{left} training cases are in neither side of that fold",) if left else ()),
    )


def _marks(
    cohort: Cohort, sides: tuple[tuple[Case, ...], ...], groups: Mapping[str, str] | None
) -> tuple[str, ...]:
    """What the reader of a score must know: a patient, or near-duplicate images, on more than one side."""
    patients = [_patients(side) for side in sides]
    if sum(map(len, patients)) > len(set[str]().union(*patients)):
        return (SAME_PATIENT,)
    if not groups or cohort.patients_known:
        return ()
    seen = [{groups.get(case.name, case.name) for case in side} for side in sides]
    crossing = sum(count > 1 for count in Counter(group for side in seen for group in side).values())
    return (f"near-duplicate images on both sides ({crossing} groups)",) if crossing else ()
