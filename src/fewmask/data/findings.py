"""What a check finds, as values, and as plain text of a page at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.data.duplicates import Fingerprint
from fewmask.data.gap import Gap, Style

MOST_NAMES = 5
"""So many names are shown on a line, then a count."""

MOST_FINDINGS = 8
"""So many faults, and so many warnings, are shown, then a count."""


@dataclass(frozen=True)
class Range:
    """The smallest, the median and the largest of a number over cases."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Intensity:
    """One channel's 0.5th, 50th and 99.5th percentile, each the median over cases."""

    name: str
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class ClassCount:
    """A class, its value in the files, its share of all counted pixels in [0, 1], and the cases it is in."""

    name: str
    value: int
    share: float
    cases: int


@dataclass(frozen=True)
class SiteCount:
    """A site and its cases."""

    name: str
    cases: int


@dataclass(frozen=True)
class Finding:
    """What is wrong, with the remedy where there is one, and the cases (or pairs of cases) concerned."""

    reason: str
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is kept of one image to compare it with those of another cohort."""

    case: str
    fingerprint: Fingerprint
    style: Style


@dataclass(frozen=True)
class CohortReport:
    """What a folder holds. `faults` must be mended before a training; `warnings` should be known.

    `size` and `spacing` have one range an axis, and are empty where pictures and volumes are mixed; `spacing`
    is in `unit`, "mm" or "px". `channels` is empty where the number of channels varies.
    """

    folder: Path
    layout: str
    cases: int
    unreadable: int
    patients: int
    patients_known: bool
    sites: tuple[SiteCount, ...]
    train: int
    test: int
    labelled: int
    size: tuple[Range, ...]
    spacing: tuple[Range, ...]
    unit: str
    number_types: tuple[str, ...]
    channels: tuple[Intensity, ...]
    classes: tuple[ClassCount, ...]
    empty_masks: int
    exact_duplicates: tuple[tuple[str, str], ...]
    near_duplicates: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class PairReport:
    """What stands between a source and a target cohort."""

    source: Path
    target: Path
    source_channels: tuple[str, ...]
    target_channels: tuple[str, ...]
    gap: Gap | None
    faults: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def format_report(report: CohortReport) -> str:
    """A cohort's report as aligned plain text, of 40 lines at most."""
    patients = str(report.patients) if report.patients_known else "unknown (each case counts as one)"
    broken = f", {report.unreadable} unreadable" if report.unreadable else ""
    lines = [
        f"{report.folder} ({report.layout})",
        _row("cases", f"{report.cases} ({report.train} train, {report.test} test{broken})"),
        _row("patients", patients),
        _row("labelled", f"{report.labelled}, of which {report.empty_masks} mark nothing"),
    ]
    if report.sites:
        lines.append(_row("sites", _listed([f"{site.name} {site.cases}" for site in report.sites])))
    if report.size:
        lines += [_row("size", _axes(report.size, "px")), _row("spacing", _axes(report.spacing, report.unit))]
    lines.append(_row("stored as", ", ".join(report.number_types)))
    # A file may hold dozens of channels or classes: the page has room for six of each.
    lines += [
        _row(f"channel {entry.name}", f"{entry.low:.4g} .. {entry.middle:.4g} .. {entry.high:.4g}")
        for entry in report.channels[:6]
    ]
    lines += [
        _row(f"class {entry.name}", f"{entry.share:.2%} of pixels, in {entry.cases} cases")
        for entry in report.classes[:6]
    ]
    copies = f"{len(report.exact_duplicates)} exact pairs, {len(report.near_duplicates)} near pairs"
    lines.append(_row("copies", copies))
    lines += [_row("remark", remark) for remark in report.remarks[:3]]
    return "\n".join(lines + _findings(report.faults, report.warnings, 40 - len(lines)))


def format_pair(report: PairReport) -> str:
    """The gap between two cohorts and what else stands between them, as aligned plain text."""
    sides = (
        (report.source.name, report.source_channels),
        (report.target.name, report.target_channels),
    )
    lines = [" -> ".join(f"{name} ({_listed(channels)})" for name, channels in sides)]
    gap = report.gap
    if gap is not None:
        size = "unknown (mm against px)" if gap.size is None else f"{gap.size:.1f}x"
        contrast = (
            "unknown (needs masks in both)" if gap.contrast is None else f"{gap.contrast:.1f}x the spread"
        )
        lines += [
            _row("intensity", f"{gap.intensity:.1f}x the spread"),
            _row("texture", f"{gap.texture:.1f}x the spread"),
            _row("contrast", contrast),
            _row("size", size),
            _row("advice", gap.advice),
        ]
    return "\n".join(lines + _findings(report.faults, report.warnings, 40 - len(lines)))


def _row(title: str, text: str) -> str:
    return f"  {title:<18}  {text}"


def _axes(ranges: Sequence[Range], unit: str) -> str:
    """Median by axis, and the whole range where it varies."""
    parts: list[str] = []
    for axis in ranges:
        least, median, most = (f"{number:.4g}" for number in (axis.least, axis.median, axis.most))
        parts.append(median if least == most else f"{median} ({least}-{most})")
    return f"{' x '.join(parts)} {unit}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _findings(faults: Sequence[Finding], warnings: Sequence[Finding], room: int) -> list[str]:
    """A line a finding, faults first, each kind cut to its place."""
    if not faults and not warnings:
        return [_row("faults", "none")]
    lines: list[str] = []
    for title, findings in (("FAULT", faults), ("warning", warnings)):
        most = max(1, min(MOST_FINDINGS, (room - 2) // 2))
        for finding in findings[:most]:
            names = f": {_listed(finding.cases)}" if finding.cases else ""
            lines.append(_row(title, finding.reason + names))
        if len(findings) > most:
            lines.append(_row(title, f"and {len(findings) - most} more"))
    return lines
