"""A look at a folder before anything is trained on it: what is there, what must be mended, what to beware of.

One pass, one case in memory at a time. `check` is the user's own inspection, so it opens every mask it finds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.config import to_mapping
from fewmask.console import Progress
from fewmask.data.case import Cohort
from fewmask.data.duplicates import exact_pairs, near_pairs
from fewmask.data.findings import (
    ClassCount,
    CohortReport,
    Finding,
    Intensity,
    PairReport,
    Range,
    SiteCount,
    format_pair,
    format_report,
)
from fewmask.data.gap import Gap, measure_gap
from fewmask.data.inspection import UNREADABLE, Inspected, background_value, inspect_case, one_line
from fewmask.data.layouts import read_cohort


@dataclass(frozen=True)
class Checked:
    """What `fewmask check` found in one folder, or in two and between them."""

    cohorts: tuple[CohortReport, ...]
    pair: PairReport | None

    @property
    def faults(self) -> int:
        """How many things must be mended before training."""
        reports = (*self.cohorts, *((self.pair,) if self.pair else ()))
        return sum(len(report.faults) for report in reports)

    def text(self) -> str:
        """For a terminal."""
        parts = [format_report(report) for report in self.cohorts]
        return "\n\n".join([*parts, *([format_pair(self.pair)] if self.pair else [])])

    def mapping(self) -> dict[str, Any]:
        """For `--json`."""
        pair = report_mapping(self.pair) if self.pair else None
        return {
            "cohorts": [report_mapping(report) for report in self.cohorts],
            "pair": pair,
            "faults": self.faults,
        }


def check_folders(folders: Sequence[Path], progress: Progress) -> Checked:
    """Check one folder, or a source and a target."""
    reports: list[CohortReport] = []
    for folder in folders:
        cohort = read_cohort(folder)
        with progress(f"checking {cohort.name}", len(cohort.cases)) as checked:
            reports.append(check_cohort(cohort, checked))
    return Checked(tuple(reports), check_pair(*reports) if len(reports) == 2 else None)


def check_cohort(cohort: Cohort, progress: Callable[[], None] | None = None) -> CohortReport:
    """Read every image and mask of a cohort once and report; a bad file is a fault and stops nothing.

    `progress` is called after each case.
    """
    looks: list[Inspected] = []
    faults: dict[str, list[str]] = defaultdict(list)
    for case in cohort.cases:
        try:
            look = inspect_case(cohort, case)
        except UNREADABLE as error:
            faults[one_line(error)].append(case.name)
        else:
            looks.append(look)
            for fault in look.faults:
                faults[fault].append(case.name)
        if progress is not None:
            progress()
    unreadable = len(cohort.cases) - len(looks)
    report = _described(cohort, looks, unreadable)
    for reason, names in _faults_between(cohort, looks, report):
        faults[reason].extend(names)
    return replace(
        report,
        faults=tuple(Finding(reason, tuple(names)) for reason, names in faults.items()),
        warnings=tuple(_warnings(cohort, looks, report)),
    )


def check_pair(source: CohortReport, target: CohortReport) -> PairReport:
    """What stands between two cohorts: other channels or classes, the same images in both, and the gap meter.

    The gap is None where one of them has no readable image.
    """
    faults, warnings = _differences(source, target)
    # One folder given twice (two of its channels) holds the same images, and is divided by patient later.
    if source.folder != target.folder:
        exact, near = _copies(source, target)
        if exact:
            faults.append(
                Finding("the same image is in source and target; remove it from one of them", exact)
            )
        if near:
            warnings.append(Finding("nearly the same image is in source and target", near))
    gap: Gap | None = None
    if source.evidence and target.evidence:
        styles = [[entry.style for entry in report.evidence] for report in (source, target)]
        same_channels = _channel_names(source) == _channel_names(target)
        gap = measure_gap(styles[0], styles[1], source.unit == target.unit, same_channels)
    return PairReport(
        source.folder,
        target.folder,
        _channel_names(source),
        _channel_names(target),
        gap,
        tuple(faults),
        tuple(warnings),
    )


def report_mapping(report: CohortReport | PairReport) -> Any:
    """A report as plain values for JSON, without the images' fingerprints."""
    return to_mapping(replace(report, evidence=()) if isinstance(report, CohortReport) else report)


def _described(cohort: Cohort, looks: Sequence[Inspected], unreadable: int) -> CohortReport:
    prints = {look.case.name: look.evidence.fingerprint for look in looks}
    exact = exact_pairs(prints)
    sites = Counter(case.site for case in cohort.cases if case.site)
    dimensions = {len(look.shape) for look in looks}
    regular = len(dimensions) == 1
    channels = {len(look.intensities) for look in looks}
    return CohortReport(
        folder=cohort.root,
        layout=cohort.layout,
        cases=len(cohort.cases),
        unreadable=unreadable,
        patients=len({case.patient for case in cohort.cases}),
        patients_known=cohort.patients_known,
        sites=tuple(SiteCount(name, count) for name, count in sorted(sites.items())),
        train=len(cohort.part("train")),
        test=len(cohort.part("test")),
        labelled=sum(look.counts is not None for look in looks),
        size=_ranges([look.shape for look in looks]) if regular else (),
        spacing=_ranges([look.spacing for look in looks]) if regular else (),
        unit="/".join(sorted({look.unit for look in looks})),
        number_types=tuple(sorted({look.number_type for look in looks})),
        channels=_channels(cohort, looks) if len(channels) == 1 else (),
        classes=_classes(cohort, looks),
        empty_masks=sum(_is_empty(cohort, look) for look in looks),
        exact_duplicates=exact,
        near_duplicates=tuple(sorted(set(near_pairs(prints)) - set(exact))),
        remarks=cohort.remarks,
        evidence=tuple(look.evidence for look in looks),
    )


def _ranges(rows: Sequence[Sequence[float]]) -> tuple[Range, ...]:
    """Smallest, median and largest of each column."""
    table = np.array(rows, dtype=np.float64)
    return tuple(Range(float(c.min()), float(np.median(c)), float(c.max())) for c in table.T)


def _channels(cohort: Cohort, looks: Sequence[Inspected]) -> tuple[Intensity, ...]:
    table = np.median(np.array([look.intensities for look in looks]), axis=0)
    count = len(table)
    names = cohort.channels if len(cohort.channels) == count else tuple(map(str, range(count)))
    return tuple(Intensity(name, *map(float, row)) for name, row in zip(names, table, strict=True))


def _classes(cohort: Cohort, looks: Sequence[Inspected]) -> tuple[ClassCount, ...]:
    totals: Counter[float] = Counter()
    cases: Counter[float] = Counter()
    for look in looks:
        if look.counts is not None:
            totals.update(look.counts)
            cases.update(look.counts.keys())
    counted = max(1, sum(totals[float(value)] for value in cohort.label_values))
    return tuple(
        ClassCount(name, value, totals[float(value)] / counted, cases[float(value)])
        for name, value in zip(cohort.classes, cohort.label_values, strict=False)
    )


def _is_empty(cohort: Cohort, look: Inspected) -> bool:
    """Whether there is a mask and it marks nothing."""
    nothing = {float(background_value(cohort)), float(cohort.ignored_value)}
    return look.counts is not None and not set(look.counts) - nothing


def _faults_between(
    cohort: Cohort, looks: Sequence[Inspected], report: CohortReport
) -> list[tuple[str, list[str]]]:
    """Faults that only several cases together show."""
    found: list[tuple[str, list[str]]] = []
    parts = [{case.patient for case in cohort.part(part)} for part in ("train", "test")]
    leaks = sorted(case.name for case in cohort.part("test") if case.patient in parts[0] & parts[1])
    if leaks:
        found.append(
            ("test cases of patients who are in the train part too; mend `split` in cases.csv", leaks)
        )
    crossing = _crossing(cohort, report.exact_duplicates)
    if crossing:
        reason = "the same image is in the train and the test part; remove one or give both one `split`"
        found.append((reason, [f"{a} = {b}" for a, b in crossing]))
    if len({len(look.shape) for look in looks}) > 1:
        flat = [look.case.name for look in looks if len(look.shape) == 2]
        found.append(("pictures among volumes; keep them in two folders", flat))
    return found


def _crossing(cohort: Cohort, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of which one case is in the train part and the other in the test part."""
    part = {case.name: case.part for case in cohort.cases}
    return [(a, b) for a, b in pairs if part[a] != part[b]]


def _warnings(cohort: Cohort, looks: Sequence[Inspected], report: CohortReport) -> list[Finding]:
    patient = {case.name: case.patient for case in cohort.cases}
    near = report.near_duplicates
    across = _crossing(cohort, near)
    strangers = [pair for pair in near if cohort.patients_known and patient[pair[0]] != patient[pair[1]]]
    twice = sorted(set(report.exact_duplicates) - set(_crossing(cohort, report.exact_duplicates)))
    missing = [entry.name for entry in report.classes if report.labelled and not entry.cases]
    candidates = (
        ("no contrast at all in the image", [look.case.name for look in looks if look.flat]),
        ("the mask marks nothing", [look.case.name for look in looks if _is_empty(cohort, look)]),
        ("class never marked", missing),
        ("the same image twice in one part", [f"{a} = {b}" for a, b in twice]),
        ("nearly the same image in the train and the test part", [f"{a} ~ {b}" for a, b in across]),
        ("nearly the same image under two patients", [f"{a} ~ {b}" for a, b in strangers]),
    )
    return [Finding(reason, tuple(names)) for reason, names in candidates if names]


def _copies(source: CohortReport, target: CohortReport) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The exact and the near copies across two cohorts, each pair as text."""
    ours = {f"source {entry.case}": entry.fingerprint for entry in source.evidence}
    theirs = {f"target {entry.case}": entry.fingerprint for entry in target.evidence}
    near = [(a, b) for a, b in near_pairs(ours | theirs) if a in ours and b in theirs]
    same = {(a, b) for a, b in near if ours[a].content == theirs[b].content}
    return (
        tuple(f"{a} = {b}" for a, b in near if (a, b) in same),
        tuple(f"{a} ~ {b}" for a, b in near if (a, b) not in same),
    )


def _channel_names(report: CohortReport) -> tuple[str, ...]:
    return tuple(entry.name for entry in report.channels)


def _differences(source: CohortReport, target: CohortReport) -> tuple[list[Finding], list[Finding]]:
    faults: list[Finding] = []
    warnings: list[Finding] = []
    ours, theirs = _channel_names(source), _channel_names(target)
    if ours and theirs and len(ours) != len(theirs):
        reason = f"{len(ours)} channels in the source and {len(theirs)} in the target"
        faults.append(Finding(f"{reason}; choose with --source-channel and --target-channel"))
    elif ours != theirs:
        reason = "channels of other names: a structure may be bright in one and dark in the other"
        warnings.append(Finding(reason, (*ours, *theirs)))
    names = [tuple(entry.name for entry in report.classes) for report in (source, target)]
    if all(names) and names[0] != names[1]:
        told = f"source: {', '.join(names[0])}; target: {', '.join(names[1])}"
        warnings.append(Finding(f"the classes differ ({told}), so the target's masks cannot be scored"))
    return faults, warnings
