"""The recipe of each cell of a study: the row's own, with what the order asks for and the folders of its fold."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from fewmask.config import parse_assignment
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override, takes
from fewmask.studies.order import Order
from fewmask.studies.table import Row


class RowRecipes:
    """The recipes of an order's rows; each row's is made once, and differs between its cells by what a cell is.

    `attended` is the assignment for the rows that are told which classes may be re-drawn.
    """

    def __init__(self, order: Order, attended: tuple[str, ...]) -> None:
        self._order = order
        self._attended = attended
        self._made: dict[str, Recipe] = {}

    def of(self, row: Row, seed: int, target: Path, start: Path | None) -> Recipe:
        """The recipe of one of a row's cells; `target` is the fold's folder, `start` the run that it starts from."""
        if row.name not in self._made:
            self._made[row.name] = self._make(row)
        recipe = self._made[row.name]
        source = self._order.source
        cohorts = {
            "source": Cohorts(masks=source),
            "target": Cohorts(masks=target),
            "pair": Cohorts(source=source, target=target),
            "tags": Cohorts(tags=target),
        }[row.reads]
        outcome = self._order.outcome if recipe.learns_outcome else None
        return replace(recipe, seed=seed, cohorts=cohorts, start_from=start, outcome=outcome)

    def _make(self, row: Row) -> Recipe:
        assert row.recipe is not None
        order, recipe = self._order, row.recipe(self._order.small)
        changes = (f"size={self._size}", *(self._attended if row.tied else ()))
        asked = [
            change for change in order.changes if takes(recipe, change) and not _touches(change, row.fixed)
        ]
        recipe = override(recipe, (*changes, *asked), KINDS)
        if order.precision is not None:
            recipe = override(recipe, (f"precision={order.precision}",), KINDS)
        if row.candidates:
            last = replace(recipe.stages[-1], keep_candidates=True)
            recipe = replace(recipe, stages=(*recipe.stages[:-1], last))
        return recipe

    @cached_property
    def _size(self) -> int:
        """One size for all rows, that of the largest: a method and its floor see the same images."""
        rows = self._order.study.rows
        return max(row.recipe(self._order.small).size for row in rows if row.recipe is not None)


def _touches(change: str, keys: Sequence[str]) -> bool:
    return any(part in keys for part in parse_assignment(change)[0])
