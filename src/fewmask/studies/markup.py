"""How a study's page says a figure, and what every page says about itself."""

from collections.abc import Sequence
from itertools import pairwise

from fewmask.metrics.interval import Interval
from fewmask.studies.order import Order
from fewmask.studies.results import Figure, difference
from fewmask.studies.sheet import Grid, columns


def figure_words(figure: Figure, scale: float = 1.0, places: int = 3) -> str:
    """Mean, spread over the seeds, and interval over patients, each times `scale`."""
    spread = "" if figure.std is None else f" +- {figure.std * scale:.{places}f}"
    return f"{figure.mean * scale:.{places}f}{spread}{interval_words(figure.interval, scale, places)}"


def interval_words(interval: Interval | None, scale: float = 1.0, places: int = 3, sign: str = "") -> str:
    """An interval in brackets, or nothing."""
    if interval is None:
        return ""
    return f" [{interval.low * scale:{sign}.{places}f}, {interval.high * scale:{sign}.{places}f}]"


def gap_words(figure: Figure, floor: Figure | None, ceiling: Figure | None) -> str:
    """The share of the way from floor to ceiling."""
    if floor is None or ceiling is None:
        return ""
    gap = ceiling.mean - floor.mean
    return "no gap" if gap <= 0 else f"{100.0 * (figure.mean - floor.mean) / gap:.0f} %"


def seeds_words(figure: Figure) -> str:
    """How many seeds a row has; one alone says nothing about another."""
    return str(len(figure.seeds)) if len(figure.seeds) > 1 else "n = 1"


def neighbours(measure: str, rows: Sequence[tuple[str, Figure]], scale: float = 1.0, places: int = 3) -> Grid:
    """Each row against the one above it, over the seeds that both have, on the same patients."""
    body: list[tuple[str, ...]] = []
    for (title_before, before), (title, after) in pairwise(rows):
        found = difference(after, before)
        if found is None:
            continue
        change = f"{found.mean * scale:+.{places}f}{interval_words(found.interval, scale, places, '+')}"
        body.append((title, title_before, change, f"{found.larger} of {found.seeds}"))
    heads = (f"{measure} of", "less that of", "difference", "seeds in which it is larger")
    return Grid(columns(heads), tuple(body))


def about(order: Order) -> str:
    """The folders, seeds and options of an order, as the page's first sentence."""
    return (
        f"Source {order.source.name}, target {order.target.name}; up to {order.seeds} "
        f"seed{'s' * (order.seeds > 1)}, {order.folds} fold{'s' * (order.folds > 1)} over the "
        f"target{', small recipes' if order.small else ''}; changes: {' '.join(order.changes) or 'none'}; precision "
        f"{order.precision or 'of the recipes'}."
    )


def warnings(order: Order, shown: Sequence[str]) -> list[str]:
    """What a reader must know before the figures: folds, patients on both sides, rows that are not there yet."""
    # A row that is scored on nothing is only there for others to start from.
    scored = tuple(row.name for row in order.study.rows if row.scored_on != "nothing")
    wanted = tuple(name for name in order.rows or scored if name in scored)
    missing = len(set(wanted) - set(shown))
    lines: list[str] = []
    if order.folds > 1:
        lines.append(
            "Folds: each patient of the target is tested once; the folder's own division is set aside."
        )
    if any(change.replace(" ", "").endswith("unit=image") for change in order.changes):
        lines.append("**SAME PATIENT ON BOTH SIDES**")
    if missing:
        lines.append(f"**Incomplete: {missing} of {len(wanted)} rows are not there yet.**")
    return lines
