"""The abdominal phantom: liver, kidneys and spleen, once as by fat-suppressed T2 MR and once as by CT.

Bodies are drawn alike in both; the right kidney hangs below the liver, the left one higher below the spleen. Greys are
not alike: the spleen is brightest of the organs in MR and the kidneys in CT, fluid is white in MR and dark in CT, bone
the reverse. Muscle, stomach, bowel and vessels have the organs' own greys, so that only
shape and place tell them apart.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.data.phantoms import bodies
from fewmask.data.phantoms.bodies import (
    Anatomy,
    Canvas,
    Scanner,
    depth_in,
    mild_bumps,
    rotation,
    varied_greys,
)
from fewmask.data.phantoms.fields import Field, Generator

CASES = 20
CLASSES = ("background", "liver", "right_kidney", "left_kidney", "spleen")
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4

# The values of Tissues' fields, in their order.
SCANNERS = (
    Scanner(
        0, "Dataset907_AbdomenMR", "MR", "source_hospital", (5.1, 5.1, 7.0), (-1, -1, 1), 0.06,
        (0.0, 30.0, 130.0, 290.0, 190.0, 950.0, 80.0, 310.0, 580.0, 730.0), True,
        noise=24.0, texture=0.06, shading=0.15, slices=24,
    ),
    Scanner(
        1, "Dataset908_AbdomenCT", "CT", "target_hospital", (4.9, 4.9, 5.0), (-1, 1, 1), 0.03,
        (-1000.0, -840.0, -105.0, 70.0, 450.0, 5.0, 290.0, 85.0, 205.0, 140.0), False,
        noise=16.0, texture=8.0, slices=32,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Tissues:
    """One patient's grey values."""

    air: float
    lung: float
    fat: float
    muscle: float
    bone: float
    fluid: float
    vessel: float
    liver: float
    kidney: float
    spleen: float


def _near(generator: Generator, x: float, y: float, z: float, spread: float = 3.0) -> Field:
    """A point in mm, to the right, front and head, that differs from patient to patient."""
    return np.array([x, y, z]) + spread * np.clip(generator.normal(size=3), -2.0, 2.0)


def _paint_wall(body: Canvas, tissues: Tissues, generator: Generator) -> Field:
    """Skin, fat, muscle, ribs, the lungs' lower ends. Returns the depth in the belly, which all organs keep to."""
    thick = generator.uniform(8, 22)
    body.lay_ellipsoid((0, 0, 0), (138 + thick, 92 + thick, 600), tissues.fat)
    body.lay_ellipsoid((0, 0, 0), (138, 92, 600), tissues.muscle)
    belly = depth_in(body.places, np.array([0.0, 4.0, 0.0]), np.array([123.0, 76.0, 600.0]))
    body.lay(belly, 95.0, tissues.fat)
    for side in (-1.0, 1.0):
        lung = depth_in(body.places, _near(generator, 66 * side, -12, 150), np.array([66.0, 78.0, 88.0]))
        body.lay(np.maximum(lung, belly), 70.0, tissues.lung)
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False) + generator.uniform(-0.15, 0.15, size=16):
        place = np.array([130 * np.cos(angle), 3 + 83 * np.sin(angle), 55 + generator.uniform(-40, 40)])
        along = np.array([-28 * np.sin(angle), 18 * np.cos(angle), 12 * np.sin(angle)])
        body.lay_tube([place - along, place + along], 5.5, tissues.bone)
    return belly


def _paint_bowel(body: Canvas, belly: Field, tissues: Tissues, generator: Generator) -> None:
    """Loops of bowel with the organs' greys, stomach, pancreas."""
    greys = (tissues.liver, tissues.kidney, tissues.spleen, tissues.fluid, tissues.muscle, tissues.air)
    for number in range(20):
        centre = np.array([generator.uniform(-95, 95), generator.uniform(0, 62), generator.uniform(-105, 5)])
        axes = generator.uniform(13, 23, size=3) * np.array([1.3, 1.0, 1.2])
        loop = depth_in(body.places, centre, axes, mild_bumps(generator))
        value = greys[number % 6]
        body.lay(np.maximum(loop, belly), 17.0, tissues.muscle if value == tissues.air else value)
        if value == tissues.air:
            body.lay(np.maximum(loop / 0.7, belly), 12.0, value)
    for side in (-1.0, 1.0):
        # The colon, up on the right and down on the left.
        path = [_near(generator, 96 * side, 0, -120), _near(generator, 98 * side, 6, -30 - 8 * side)]
        body.lay_tube(path, generator.uniform(16, 21), (tissues.kidney, tissues.spleen)[int(side > 0)])
        body.lay_tube([*(_near(generator, 96 * side, 8, z) for z in (-110.0, -60.0))], 8.0, tissues.air)
    stomach = [_near(generator, *at, 5) for at in ((-58, -12, 62), (-62, 30, 30), (-12, 46, -14))]
    body.lay_tube(stomach, generator.uniform(24, 30), tissues.spleen)
    body.lay_tube(stomach, generator.uniform(14, 20), tissues.fluid)
    pancreas = [(18, 12, -16), (-14, 4, -4), (-56, -14, 8)]
    body.lay_tube([_near(generator, *at) for at in pancreas], 11.0, tissues.kidney)


def _paint_back(body: Canvas, tissues: Tissues, generator: Generator) -> None:
    """Spine with its canal, the muscles beside it, and the two great vessels in front."""
    for side in (-1.0, 1.0):
        psoas = [_near(generator, 27 * side, -50, 0), _near(generator, 48 * side, -40, -120)]
        body.lay_tube(psoas, generator.uniform(13, 17), tissues.muscle)
        body.lay_ellipsoid((34 * side, -78, 0), (32, 18, 600), tissues.muscle)
    body.lay_tube([_near(generator, 0, -82, 200), _near(generator, 0, -82, -200)], 13.0, tissues.bone)
    body.lay_tube([(0, -72, 200), (0, -72, -200)], 8.5, tissues.fluid)
    body.lay_ellipsoid(_near(generator, 0, -48, 0), (24, 20, 600), tissues.bone)
    aorta = [_near(generator, -9, -18, z, 2) for z in (200.0, 0.0, -200.0)]
    body.lay_tube(aorta, generator.uniform(9, 12), tissues.vessel)
    body.lay_tube([_near(generator, 22, -16, z, 2) for z in (100.0, 0.0, -200.0)], 11.5, tissues.vessel)


def _paint_kidney(
    body: Canvas, value: int, side: float, height: float, tissues: Tissues, generator: Generator
) -> None:
    """A kidney whose upper end leans to the spine, with fat where its vessels enter; that is no kidney."""
    turn = rotation(
        np.array([0.12, -0.22 * side, -0.35 * side]) + 0.08 * np.clip(generator.normal(size=3), -2, 2)
    )
    kidney = body.moved(_near(generator, 61 * side, -34, height, 4), turn, generator.uniform(0.9, 1.12))
    around = (37, 33, 66)
    kidney.lay_ellipsoid((0, 0, 0), around, tissues.fat)
    kidney.lay_ellipsoid((0, 0, 0), (27, 24, 54), tissues.kidney, value, mild_bumps(generator))
    kidney.lay_ellipsoid((-22 * side, 6, 0), (17, 11, 20), tissues.fat)
    kidney.lay_tube([(-9 * side, 3, 0), (-45 * side, 16, 4)], 6.0, tissues.vessel)


def _paint_spleen(body: Canvas, belly: Field, tissues: Tissues, generator: Generator) -> None:
    """A crescent in the left upper back: an ellipsoid that stomach and kidney indent."""
    turn = rotation(np.array([0.2, 0.0, -0.5]) + 0.12 * np.clip(generator.normal(size=3), -2, 2))
    spleen = body.moved(_near(generator, -93, -26, 38, 5), turn, generator.uniform(0.88, 1.15))
    depth = depth_in(spleen.places, np.zeros(3), np.array([28.0, 45.0, 52.0]), mild_bumps(generator))
    inwards = depth_in(spleen.places, _near(generator, 40, 12, 0, 2), np.array([34.0, 42.0, 60.0]))
    depth = np.maximum(np.maximum(depth, belly / 0.99), 1 + (1 - inwards) * 0.8)
    spleen.lay(depth, 30.0, tissues.spleen, SPLEEN)


def _paint_liver(body: Canvas, belly: Field, tissues: Tissues, generator: Generator) -> None:
    """A large right lobe below the dome, a thin left lobe across the midline, vessels inside, gallbladder beneath."""
    liver = body.moved(
        _near(generator, 0, 0, 0, 4), rotation(0.07 * generator.normal(size=3)), generator.uniform(0.9, 1.06)
    )
    right = depth_in(
        liver.places, _near(generator, 70, 2, 26), _near(generator, 62, 80, 74), mild_bumps(generator)
    )
    left = depth_in(
        liver.places, _near(generator, 0, 40, 42), _near(generator, 66, 34, 34), mild_bumps(generator)
    )
    below = depth_in(liver.places, _near(generator, 46, -40, -40), np.array([58.0, 54.0, 62.0]))
    lobes = np.maximum(np.minimum(right, left), 1 + (1 - below) * 0.8)
    liver.lay(np.maximum(lobes, belly / 0.98), 65.0, tissues.liver, LIVER)
    for _ in range(5):
        # Vessels within the liver count as liver, as raters draw it.
        start = _near(generator, 30, -6, 40, 6)
        end = np.array([generator.uniform(20, 110), generator.uniform(-45, 50), generator.uniform(0, 75)])
        branch = np.maximum(bodies.depth_in_tube(liver.places, [start, end], 5.5), lobes / 0.92)
        liver.lay(np.maximum(branch, belly / 0.9), 5.5, tissues.vessel, LIVER)
    liver.lay_ellipsoid(_near(generator, 52, 40, -26, 5), (14, 15, 24), tissues.fluid)


def _paint(canvas: Canvas, scanner: Scanner, generator: Generator) -> None:
    """Draw one belly; places are mm from its middle, between the kidneys' upper ends."""
    tissues = Tissues(*varied_greys(scanner, generator, 10.0))
    body = canvas.moved(_near(generator, 0, 0, -2), np.eye(3), generator.uniform(0.9, 1.02))
    if not scanner.magnetic:
        # CT's table, on which the body lies.
        depth = depth_in(canvas.places, np.array([0.0, 127.0, 0.0]), np.array([330.0, 252.0, 900.0]))
        board = np.maximum(depth, 2 - depth / 0.965)
        body.lay(np.maximum(board, np.abs(canvas.places[0]) / 120), 200.0, tissues.muscle)
    belly = _paint_wall(body, tissues, generator)
    _paint_bowel(body, belly, tissues, generator)
    _paint_liver(body, belly, tissues, generator)
    _paint_spleen(body, belly, tissues, generator)
    _paint_back(body, tissues, generator)
    _paint_kidney(body, RIGHT_KIDNEY, 1.0, -28.0, tissues, generator)
    _paint_kidney(body, LEFT_KIDNEY, -1.0, -14.0, tissues, generator)


ABDOMEN = Anatomy("abdomen", "liver, kidneys and spleen", CLASSES, SCANNERS, _paint, CASES, test_every=5)


def write_abdomen(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write both scanners' folders below `out`; `cases` holds for each, `size` is a slice's side in voxels."""
    return bodies.write_bodies(ABDOMEN, out, seed, cases, size)
