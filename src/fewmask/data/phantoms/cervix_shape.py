"""The cervix phantom's anatomy: what a patient's cervix is like, and the outline that one picture of it shows.

Points are complex, x + iy, in mm from the middle of the probe's face, y down into the patient. The cervix has its own
places: s mm along the canal from its inner end to its outer one, and h mm across, below the canal where positive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.bezier import flattened
from fewmask.data.outlines.shape import BezierPath
from fewmask.data.outlines.winding import winding
from fewmask.data.phantoms.fields import Field, Generator

Points = NDArray[np.complex128]

FUNNEL_MM = 9.0
"""How deep the widest funnel is."""

_WITHIN = 5
"""Each pixel is asked at so many places along each side whether it lies within; of an odd number none is half in."""


@dataclass(frozen=True)
class Cervix:
    """One patient's cervix, as all of her pictures show it.

    `length_mm` is that of the closed canal. `funnel` in [0, 1] says how far the inner end has opened, `rounded` in
    [0, 1] whether as a V (0) or a U (1). `angle` is the uterocervical angle and `bend` the canal's, in degrees.
    `softness` is of about zero mean and unit deviation: soft tissue has a lower and more even echo.
    """

    length_mm: float
    funnel: float
    rounded: float
    angle: float
    softness: float
    half_mm: float
    bend: float


def draw_cervix(generator: Generator) -> Cervix:
    """Draw what one patient's cervix is like. A short one is more often funnelled."""
    length = float(np.clip(generator.normal(35.0, 7.0), 17.0, 50.0))
    opened = generator.normal(-0.25 + 0.35 * (35.0 - length) / 7.0, 0.45)
    return Cervix(
        length_mm=length,
        funnel=float(np.clip(opened, 0.0, 1.0)),
        rounded=float(generator.uniform()),
        angle=float(np.clip(generator.normal(97.0, 17.0), 60.0, 140.0)),
        softness=float(np.clip(generator.normal(), -2.5, 2.5)),
        half_mm=float(np.clip(generator.normal(7.6, 0.7), 6.2, 9.2)),
        bend=float(np.clip(generator.normal(14.0, 14.0), -25.0, 45.0)),
    )


@dataclass(frozen=True)
class Axis:
    """A canal's arc: its inner end, its heading there, how it curves (radians a mm), and its length in mm."""

    start: complex
    heading: float
    curvature: float
    length: float

    def place(self, along: Field | float, across: Field | float) -> Points:
        """Where the place (s, h) lies."""
        turned = (1 - self.curvature * across) * np.exp(1j * self.curvature * np.asarray(along))
        return self.start + np.exp(1j * self.heading) * (turned - 1) / (1j * self.curvature)

    def along_and_across(self, points: Points) -> tuple[Field, Field]:
        """The places (s, h) of points."""
        turned = 1 + 1j * self.curvature * (points - self.start) * np.exp(-1j * self.heading)
        return np.angle(turned) / self.curvature, (1 - np.abs(turned)) / self.curvature

    def direction(self, along: float) -> complex:
        """The unit vector along the canal at s."""
        return complex(np.exp(1j * (self.heading + self.curvature * along)))


@dataclass(frozen=True)
class View:
    """How a cervix lies in one picture: its canal, and the outline as cubic Bezier curves.

    `outline` (3n,) are the control points of a closed path of n curves: curve i has the points 3i to 3i + 3, and the
    last one ends in point 0.
    """

    axis: Axis
    outline: Points


def lay_out(cervix: Cervix, middle: complex, generator: Generator) -> View:
    """Draw how the probe shows a cervix around `middle`: turned, bent and pressed a little otherwise each time."""
    length = cervix.length_mm * generator.uniform(0.96, 1.04)
    tilt = np.deg2rad(20.0 - 0.6 * (cervix.angle - 97.0) + generator.normal(0.0, 5.0))
    bend = np.deg2rad(cervix.bend + generator.normal(0.0, 4.0))
    # An arc of no curvature at all would divide by zero; a hundredth of a degree is as straight.
    bend = bend if abs(bend) > 2e-4 else 2e-4
    axis = Axis(0j, -tilt - bend / 2, bend / length, length)
    # The middle of what is drawn: the shoulders of a funnel lie beyond the canal's inner end.
    centre = complex(axis.place(length / 2 - FUNNEL_MM * cervix.funnel / 2, 0.0))
    axis = Axis(middle - centre, axis.heading, axis.curvature, length)
    half = cervix.half_mm * generator.uniform(0.94, 1.06)
    return View(axis, _outline(cervix, axis, half, generator))


def _outline(cervix: Cervix, axis: Axis, half: float, generator: Generator) -> Points:
    """The control points (24,) of the closed path around a cervix, from the upper shoulder clockwise."""
    length, depth = axis.length, FUNNEL_MM * cervix.funnel
    flared = half * (1.0 + 0.35 * cervix.funnel)
    lip = 0.5 + 0.05 * cervix.funnel
    # A closed end is round; in a V the notch's sides run straight to its ground, in a U that is round too.
    ground = (0.4 * (1 - cervix.funnel) + (0.1 + 0.4 * cervix.rounded) * cervix.funnel) * lip * flared
    rise = (0.2 + 0.35 * cervix.rounded) * depth
    shoulder, round_ = 1.5 - depth, 0.55 * (1 - lip) * flared
    wide = np.array([flared, half, half, flared]) + np.clip(generator.normal(0.0, 0.35, size=4), -0.8, 0.8)
    lean, tip = 0.5 * cervix.funnel - 0.15, length + 1.5
    # Anchor: s, h, heading there (s, h), and how far the handles before and after it reach.
    anchors = (
        (shoulder, -lip * flared, (-lean, -1.0), 0.25 * lip * flared + 0.2 * rise, round_),
        (shoulder + 0.5 * flared, -wide[0], (1.0, 0.0), 0.3 * flared, 0.25 * length),
        (0.62 * length, -wide[1], (1.0, 0.0), 0.2 * length, 0.25 * length),
        (tip, 0.0, (0.0, 1.0), 0.62 * half, 0.62 * half),
        (0.62 * length, wide[2], (-1.0, 0.0), 0.25 * length, 0.2 * length),
        (shoulder + 0.5 * flared, wide[3], (-1.0, 0.0), 0.25 * length, 0.3 * flared),
        (shoulder, lip * flared, (lean, -1.0), round_, 0.25 * lip * flared + 0.2 * rise),
        (0.0, 0.0, (0.0, -1.0), ground, ground),
    )
    points: list[complex] = []
    for along, across, (ahead, aside), before, after in anchors:
        heading = axis.direction(along) * complex(ahead, aside) / abs(complex(ahead, aside))
        anchor = complex(axis.place(along, across))
        points += [anchor - before * heading, anchor, anchor + after * heading]
    return np.array(points[1:] + points[:1])


def coverage(control_points: Field, size: int) -> Field:
    """How much of each pixel (size, size) a closed path of cubic Bezier curves encloses, in [0, 1].

    control_points (3n, 2) are x and y in pixels; the first pixel reaches from 0 to 1.
    """
    path = BezierPath(control_points * _WITHIN, tuple(range(0, len(control_points), 3)))
    enclosed = winding(np.concatenate(flattened(path.curves)), (size * _WITHIN, size * _WITHIN)) != 0
    return enclosed.reshape(size, _WITHIN, size, _WITHIN).mean(axis=(1, 3))
