"""The answer of a plan: a recipe, what it reads, and the reasons a specialist would give."""

from dataclasses import dataclass

from fewmask.planning.holdings import Holding


@dataclass(frozen=True)
class Alternative:
    """Another recipe for the same folders, or for those that are named, and when it is worth a try.

    `start_from` says that it begins with the networks of the route's own run; `outcome` is what it tells, where the
    route itself tells none.
    """

    recipe: str
    why: str
    reads: tuple[Holding, ...] | None = None
    start_from: bool = False
    outcome: str | None = None


@dataclass(frozen=True)
class Route:
    """One recipe for the folders `reads`.

    `segments` is the folder whose images want masks, None where that is any new image. `changes` are `key=value`
    beside the recipe's own settings.
    """

    recipe: str
    summary: str
    reads: tuple[Holding, ...]
    segments: Holding | None
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    floor: Alternative | None = None
    ceiling: Alternative | None = None
    changes: tuple[str, ...] = ()


def seats(reads: tuple[Holding, ...]) -> tuple[tuple[str, Holding], ...]:
    """The role in which a recipe reads each folder.

    One folder alone is a labelled cohort, whatever it was given as; only of a source a channel can be chosen.
    """
    first, *others = reads
    if others or first.role == "tags":
        return tuple((holding.role, holding) for holding in reads)
    return (("masks" if first.channel is None else "source", first),)
