"""What lies on the table: one patient's placenta, and how it was laid out for one photograph.

Lengths are shares of the picture's side, points are (row, column), angles are radians from the row axis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from fewmask.data.phantoms.fields import Field, Generator

STAGES = (0.3, 0.2, 0.25, 0.25)
"""Shares of the stages 0 to 3. Half of the patients have stage 2 or 3, the outcome that the paper predicts."""


@dataclass(frozen=True)
class Placenta:
    """One patient: the stages of fetal (`fir`) and maternal (`mir`) response, and the organ that shows them.

    `waves` (2, n) are the cosine and sine weights of the rim's harmonics, first the second. `vessels` (M, 2) and
    `opacities` (n, 2) are in units of the disc's radius, with the disc at the origin and unrotated.
    """

    fir: int
    mir: int
    radius: float
    waves: Field
    insertion: Field
    vessels: Field
    vessel_widths: Field
    opacities: Field
    cord_width: float
    cord_patches: Field
    tint: Field

    def rim(self, units: NDArray[np.complex128]) -> Field:
        """The rim's radius in the directions `units` (complex, modulus 1, row + i column)."""
        radius = np.ones(units.shape)
        turned = units
        for cosine, sine in self.waves.T:
            turned = turned * units
            radius = radius + cosine * turned.real + sine * turned.imag
        return self.radius * radius


@dataclass(frozen=True)
class Layout:
    """Where things lie in one photograph, and whether the two distractors are there."""

    centre: Field
    rotation: float
    ruler_centre: Field
    ruler_angle: float
    ruler_length: float
    ruler_width: float
    cord: Field
    stain: Field
    stained: bool
    card: Field
    card_angle: float
    carded: bool


def direction(angle: float) -> Field:
    """The unit vector (row, column) of an angle."""
    return np.array([np.cos(angle), np.sin(angle)])


def turned(points: Field, angle: float) -> Field:
    """Points (..., 2) rotated about the origin."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def _branch(generator: Generator, start: Field, heading: float, length: float, bend: float) -> Field:
    """A wandering line of points (M, 2), about 0.02 apart."""
    count = max(int(length / 0.02), 4)
    share = np.linspace(0, 1, count)
    wave = np.sin(2 * np.pi * (share * generator.uniform(0.8, 1.6) + generator.uniform()))
    headings = heading + bend * share + 0.35 * wave
    return start + np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=-1), axis=0) * length / count


def _vessels(generator: Generator, insertion: Field) -> tuple[Field, Field]:
    """Vessels that fan out from the cord's insertion and fork twice: points (M, 2) and widths (M,)."""
    points: list[Field] = []
    widths: list[Field] = []
    trunks = int(generator.integers(5, 8))
    first = generator.uniform(0, 2 * np.pi)
    for trunk in range(trunks):
        heading = first + 2 * np.pi * (trunk + generator.uniform(-0.25, 0.25)) / trunks
        # As far as the rim lies in this direction, from a point that is not the centre.
        along = float(insertion @ direction(heading))
        length = 0.9 * (-along + np.sqrt(max(along**2 + 1 - float(insertion @ insertion), 0.0)))
        line = _branch(generator, insertion, heading, length, generator.uniform(-0.3, 0.3))
        points.append(line)
        widths.append(np.linspace(0.042, 0.018, len(line)))
        for share in (0.3, 0.55, 0.75):
            fork = line[int(share * (len(line) - 1))]
            side = generator.choice([-1.0, 1.0]) * generator.uniform(0.5, 0.9)
            twig = _branch(generator, fork, heading + side, length * (0.9 - share) * 0.9, -0.4 * side)
            points.append(twig)
            widths.append(np.linspace(0.024, 0.012, len(twig)))
    return np.concatenate(points), np.concatenate(widths)


def draw_placenta(generator: Generator) -> Placenta:
    """Draw one patient's placenta, the signs of its two stages included."""
    fir, mir = (int(stage) for stage in generator.choice(4, size=2, p=STAGES))
    orders = np.arange(2, 9)
    insertion = generator.uniform(0.1, 0.6) * direction(generator.uniform(0, 2 * np.pi))
    vessels, vessel_widths = _vessels(generator, insertion)
    spots = generator.uniform(0, 1, size=(6, 2)) * [0.75, 2 * np.pi]
    return Placenta(
        fir=fir,
        mir=mir,
        radius=generator.uniform(0.24, 0.285),
        waves=generator.normal(size=(2, len(orders))) * 0.11 / orders**1.1,
        insertion=insertion,
        vessels=vessels,
        vessel_widths=vessel_widths,
        opacities=spots[:, :1] * np.stack([np.cos(spots[:, 1]), np.sin(spots[:, 1])], axis=-1),
        cord_width=generator.uniform(0.022, 0.027),
        cord_patches=generator.uniform(0.15, 0.95, size=8),
        tint=generator.normal(size=3),
    )


def _cord(generator: Generator, placenta: Placenta, start: Field, centre: Field, away: float) -> Field:
    """The cord's middle line (M, 2): from its insertion over the rim on the side `away`, then round or off."""
    sense = generator.choice([-1.0, 1.0])
    leaves = away - sense * generator.uniform(0.0, 0.7)
    sweep = sense * generator.uniform(0.5, 1.35)
    shares = np.linspace(0, 1, 4)
    angles = leaves + sweep * shares
    reach = 1.08 + shares * generator.uniform(0.15, 0.75) + generator.normal(size=4) * 0.06
    loose = centre + placenta.radius * reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    bend = (start + loose[0]) / 2 + 0.03 * generator.normal(size=2)
    knots = np.concatenate([start[None], bend[None], loose])
    spacing = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1) + 1e-3)])
    spline = CubicSpline(spacing, knots)
    fine = spline(np.linspace(0, spacing[-1], 600))
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0, travelled[-1], 160)
    line = np.stack([np.interp(even, travelled, fine[:, axis]) for axis in range(2)], axis=-1)
    # A cord has no kinks: it is as stiff as it is thick.
    return gaussian_filter1d(line, 7.0, axis=0, mode="nearest")


def _free_place(generator: Generator, taken: Field) -> Field:
    """A place near the picture's border, far from all points `taken` (M, 2)."""
    places = generator.uniform(0.1, 0.9, size=(64, 2))
    distances = np.linalg.norm(places[:, None] - taken[None], axis=-1).min(axis=1)
    return places[int(np.argmax(distances))]


def lay_out(generator: Generator, placenta: Placenta, stained: bool, carded: bool) -> Layout:
    """Lay a placenta out for a photograph: a ruler on one side, the cord towards the other."""
    towards = generator.uniform(0, 2 * np.pi)
    rotation = generator.uniform(0, 2 * np.pi)
    aim = direction(towards)
    centre = 0.5 - 0.085 * aim + generator.normal(size=2) * 0.008
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    rim = placenta.rim(np.exp(1j * (angles - rotation)))
    edge = float((rim * np.cos(angles - towards)).max())
    width = generator.uniform(0.062, 0.078)
    ruler_angle = towards + np.pi / 2 + generator.uniform(-0.13, 0.13)
    slide = generator.uniform(-0.08, 0.08) * direction(ruler_angle)
    ruler_centre = centre + (edge + width / 2 + generator.uniform(0.015, 0.05)) * aim + slide
    length = generator.uniform(0.6, 0.82)
    start = centre + placenta.radius * turned(placenta.insertion, rotation)
    cord = _cord(generator, placenta, start, centre, towards + np.pi)
    bar = ruler_centre + np.linspace(-length / 2, length / 2, 20)[:, None] * direction(ruler_angle)
    rims = centre + rim[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    taken = np.concatenate([bar, rims, centre[None], cord])
    stain = _free_place(generator, taken)
    card = _free_place(generator, np.concatenate([taken, stain[None]]))
    return Layout(
        centre, rotation, ruler_centre, ruler_angle, length, width, cord,
        stain, stained, card, generator.uniform(0, 2 * np.pi), carded,
    )  # fmt: skip
