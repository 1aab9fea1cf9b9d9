"""The nested phantom: a small structure inside a larger one inside a body, once as by MR and once as by CT.

The two scanners map tissues to grey values differently, and not monotonically: fat is the brightest tissue of one and
the darkest of the other, bone the reverse, and the two structures change places. Bodies are drawn alike in
both, in scanner coordinates; what the arrays look like follows from each scanner's spacing, slant and flips.
"""

from pathlib import Path

import numpy as np

from fewmask.data.phantoms import bodies
from fewmask.data.phantoms.bodies import Anatomy, Canvas, Scanner, Volume, depth_in, length, rotation, upright
from fewmask.data.phantoms.fields import Field, Generator

CASES = 12
CLASSES = ("background", "outer", "inner")

# The values of air, muscle, fat, bone, vessel, outer and inner.
SCANNERS = (
    Scanner(
        0, "Dataset903_NestedSource", "MR", "source_hospital", (1.0, 1.0, 3.0), (1, 1, 1), 0.12,
        (0.0, 330.0, 880.0, 60.0, 640.0, 560.0, 190.0), True, noise=22.0, texture=0.04, shading=0.16,
    ),
    Scanner(
        1, "Dataset904_NestedTarget", "CT", "target_hospital", (0.8, 0.8, 2.0), (-1, -1, 1), 0.0,
        (-1000.0, 50.0, -95.0, 620.0, 210.0, 115.0, 280.0), False, noise=14.0, texture=6.0,
    ),
)  # fmt: skip


def _structures(places: Field, generator: Generator) -> tuple[Field, Field, float]:
    """Depths of outer and inner, and outer's mean radius in mm.

    Inner is drawn in outer's own bent coordinates and stays below 0.93 of its depth there (0.18 aside
    and 0.62 wide, with bumps of a fifth): it can never break through.
    """
    centre = np.array([2.5, 3.0, 0.0]) + generator.normal(size=3) * np.array([1.0, 1.0, 1.5])
    axes = np.array([12.5, 10.5, 15.0]) * generator.uniform(0.88, 1.1, size=3)
    turn = rotation(generator.normal(size=3) * 0.35)
    local = np.tensordot(turn.T, places - upright(centre), axes=1)
    outer = depth_in(local, np.zeros(3), axes, generator.normal(size=(3, 3)) * 0.16)
    straight = local / upright(axes)
    bent = straight * (outer / length(straight))
    aside = generator.normal(size=3)
    aside *= generator.uniform(0.08, 0.18) / np.linalg.norm(aside)
    inner = depth_in(bent, aside, generator.uniform(0.52, 0.62, size=3), generator.normal(size=(3, 3)) * 0.16)
    return outer, inner, float(axes.mean())


def _paint(canvas: Canvas, scanner: Scanner, generator: Generator) -> None:
    """Draw one body; places are mm from its middle."""
    _, muscle, fat, bone, vessel, outer_grey, inner_grey = scanner.greys
    places = canvas.places
    body = np.array([23.0, 20.0, 90.0]) * generator.uniform(0.95, 1.04, size=3)
    canvas.lay(depth_in(places, np.zeros(3), body), 20.0, fat)
    canvas.lay(depth_in(places, np.zeros(3), body - np.array([2.6, 2.2, 5.0])), 18.0, muscle)
    # Clutter takes the greys of every other tissue, so that no grey value alone tells a structure.
    for number, value in enumerate((fat, vessel, outer_grey, inner_grey, vessel, bone)):
        angle = 2 * np.pi * (number + generator.uniform(0.1, 0.9)) / 6
        radius = generator.uniform(2.2, 3.6)
        centre = np.array([15.5 * np.cos(angle), 13.0 * np.sin(angle), generator.uniform(-18, 18)])
        axes = np.array([radius, radius, generator.uniform(4.0, 12.0)])
        canvas.lay(depth_in(places, centre, axes, generator.normal(size=(3, 3)) * 0.2), radius, value)
    spine = np.array([generator.normal() * 0.5, -13.0, 0.0])
    canvas.lay(depth_in(places, spine, np.array([4.2, 3.4, 80.0])), 3.8, bone)
    outer, inner, radius = _structures(places, generator)
    canvas.lay(outer, radius, outer_grey, CLASSES.index("outer"))
    canvas.lay(inner, radius / 2, inner_grey, CLASSES.index("inner"))


NESTED = Anatomy(
    "nested", "one structure inside another", CLASSES, SCANNERS, _paint, CASES, test_every=4, tagged="inner"
)


def scan(scanner: Scanner, case: int, seed: int, size: int) -> Volume:
    """Draw one case, which depends on nothing but its scanner, number, seed and size."""
    return bodies.scan(NESTED, scanner, case, seed, size)


def write_nested(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write both scanners' folders below `out`; `cases` holds for each, `size` is a slice's side in voxels."""
    return bodies.write_bodies(NESTED, out, seed, cases, size)
