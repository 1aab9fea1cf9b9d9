"""A plan for a terminal: what is there, why this route, what else, what would help, what to beware of, what to type."""

import textwrap
from collections.abc import Sequence

from fewmask.planning.facts import Facts
from fewmask.planning.holdings import Holding

WIDTH = 116


def section(title: str, lines: Sequence[str]) -> list[str]:
    """A title and its lines as a list, wrapped; nothing where there are none."""
    if not lines:
        return []
    return ["", title, *(wrapped(line) for line in lines)]


def wrapped(line: str) -> str:
    """An entry of a list."""
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent="  - ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def holdings_in_words(facts: Facts) -> list[str]:
    """A line a folder, and one for the gap."""
    lines = [f"{holding.role}: {_holding(holding)}" for holding in facts.holdings]
    if facts.gap is not None:
        size = "" if facts.gap.size is None else f", size {facts.gap.size:.1f}x"
        lines.append(
            f"gap: intensity {facts.gap.intensity:.1f}x, texture {facts.gap.texture:.1f}x the spread within "
            f"a cohort{size}; {_LEVELS[facts.level]}"
        )
    if facts.outcome is not None:
        told = facts.outcome
        lines.append(
            f"outcome: {told.rule} in {told.positive} of {told.cases} training cases ({told.patients} "
            "patients)"
        )
    return lines


_LEVELS = {
    "small": "small",
    "medium": "medium",
    "large": "large",
    "unseen": "none seen, but the channels are others",
}


def _holding(holding: Holding) -> str:
    patients = "patients unknown"
    if holding.patients_known:
        patients = "1 patient" if holding.patients == 1 else f"{holding.patients} patients"
    parts = [
        f"{holding.folder} ({holding.layout}), {holding.train} training and {holding.test} test "
        f"{holding.items}, {patients}",
        f"{_kind(holding)}, {_sides(holding)}",
        *_labels(holding),
    ]
    return "; ".join(parts)


def _kind(holding: Holding) -> str:
    kind = "modality not named" if holding.modality == "unknown" else holding.modality
    shown = ", ".join(holding.channels[:4]) + (", ..." if len(holding.channels) > 4 else "")
    return f"{kind} ({shown})"


def _sides(holding: Holding) -> str:
    if not holding.sides:
        return "pictures and volumes mixed"
    sides = " x ".join(f"{side.median:.0f}" for side in holding.sides)
    varied = any(side.least < side.most for side in holding.sides)
    spacing = (
        "" if not holding.volumes else ", spacing in mm" if holding.unit == "mm" else ", spacing unknown"
    )
    return f"{'about ' if varied else ''}{sides} px{spacing}"


def _labels(holding: Holding) -> list[str]:
    parts: list[str] = []
    if holding.role in ("masks", "source"):
        marked = ", ".join(f"{seen.name} {seen.share:.1%} of pixels" for seen in holding.marked[:6])
        parts.append(f"masks of {holding.outlined} training and {holding.test_outlined} test cases: {marked}")
    elif holding.masks_beside:
        parts.append("masks lie beside, by the names of folders; not opened")
    else:
        parts.append("no masks")
    if holding.tags is not None:
        told = holding.tags
        parts.append(
            f"tags of {told.column}: {told.positive} of {told.slices} slices show it ({told.patients} "
            "patients)"
        )
    if holding.outcomes and holding.role != "target":
        columns = ", ".join(f"{seen.rule} ({seen.positive} of {seen.cases})" for seen in holding.outcomes[:4])
        parts.append(f"columns that may be an outcome (--outcome COLUMN): {columns}")
    return parts
