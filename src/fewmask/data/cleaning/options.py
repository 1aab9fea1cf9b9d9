"""What a user asks for when marks are cleaned away."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from fewmask.errors import InputFault

YELLOW_AND_GREEN = "40-170"
WIDEST_RIM = 10
_CIRCLE = 360.0

Grey = Literal["report", "remove"]


class HueRange(NamedTuple):
    """Hues from `start` to `end` in degrees, both included; through 360 where `end` is below `start`."""

    start: float
    end: float


@dataclass(frozen=True)
class CleaningOptions:
    """Which pixels are marks, and what becomes of them.

    `hues`: ranges in degrees, e.g. "40-170" (yellow to green) or "350-20,180-200". A pixel of such a hue is part of a
    coloured mark from `least_saturation` and `least_value` on, both in [0, 1]. `rim`: pixels around each mark that are
    replaced with it: 1 suits large and compressed pictures; grey marks have at least 1. `grey`: whether those are
    removed too. Raises InputFault for values that make no sense.
    """

    hues: str = YELLOW_AND_GREEN
    least_saturation: float = 0.3
    least_value: float = 0.3
    grey: Grey = "report"
    rim: int = 0

    def __post_init__(self) -> None:
        hue_ranges(self.hues)
        for name, share in (("saturation", self.least_saturation), ("value", self.least_value)):
            # At 0 every grey pixel would count as coloured.
            if not 0.0 < share <= 1.0:
                raise InputFault(f"least {name} {share:g}: not above 0 and up to 1; give e.g. 0.3")
        if self.grey not in get_args(Grey):
            raise InputFault(
                f"grey marks {self.grey!r}: can only be reported or removed; give report or remove"
            )
        if not 0 <= self.rim <= WIDEST_RIM:
            raise InputFault(f"rim {self.rim}: not from 0 to {WIDEST_RIM} pixels; give e.g. 1")


def hue_ranges(text: str) -> tuple[HueRange, ...]:
    """The ranges that a text names, several separated by commas. Raises InputFault for what is none.

    >>> hue_ranges("40-170, 350-20")
    (HueRange(start=40.0, end=170.0), HueRange(start=350.0, end=20.0))
    """
    return tuple(_hue_range(part.strip()) for part in text.split(","))


def _hue_range(part: str) -> HueRange:
    start, _, end = part.partition("-")
    try:
        found = HueRange(float(start), float(end))
    except ValueError:
        found = HueRange(-1.0, -1.0)
    if not all(0.0 <= degrees <= _CIRCLE for degrees in found):
        raise InputFault(
            f"hues {part!r}: not a range of degrees from 0 to 360; give e.g. 40-170, or 350-20 for reds"
        )
    return HueRange(found.start % _CIRCLE, found.end)
