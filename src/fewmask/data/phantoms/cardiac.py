"""The cardiac phantom: myocardium, left atrium, left ventricle and ascending aorta, once as by MR and once as by CT.

Hearts are drawn alike in both. Greys are not: the ventricle is the brightest of the four structures in MR and
the aorta, whose fast flow is dark there, in CT; fat is bright in MR and dark in CT, bone the reverse. The right heart,
the descending aorta, veins, muscle and liver have the structures' own greys, so that only shape and arrangement
tell them apart.
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
    length,
    mild_bumps,
    rotation,
    upright,
    varied_greys,
)
from fewmask.data.phantoms.fields import Field, Generator

CASES = 20
CLASSES = ("background", "MYO", "LAC", "LVC", "AA")
MYO, LAC, LVC, AA = 1, 2, 3, 4

# The values of Tissues' fields, in their order.
SCANNERS = (
    Scanner(
        0, "Dataset905_CardiacMR", "MR", "source_hospital", (2.9, 2.9, 5.2), (1, 1, 1), 0.10,
        (0.0, 40.0, 830.0, 400.0, 110.0, 430.0, 390.0, 520.0, 640.0, 250.0), True,
        noise=24.0, texture=0.05, shading=0.18, slices=26,
    ),
    Scanner(
        1, "Dataset906_CardiacCT", "CT", "target_hospital", (2.75, 2.75, 4.0), (-1, -1, 1), 0.04,
        (-1000.0, -850.0, -95.0, 75.0, 520.0, 120.0, 125.0, 380.0, 300.0, 455.0), False,
        noise=18.0, texture=9.0, slices=32,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Tissues:
    """One patient's grey values. The right heart's chambers take those of the left."""

    air: float
    lung: float
    fat: float
    muscle: float
    bone: float
    liver: float
    myocardium: float
    atrium: float
    ventricle: float
    aorta: float


def _near(generator: Generator, x: float, y: float, z: float, spread: float = 2.0) -> Field:
    """A point in mm, to the right, front and head, that differs from patient to patient."""
    return np.array([x, y, z]) + spread * np.clip(generator.normal(size=3), -2.0, 2.0)


def _paint_chest(chest: Canvas, tissues: Tissues, generator: Generator) -> None:
    """Chest wall, lungs with their vessels, spine, ribs, liver and stomach. The midline lies 25 mm to the right."""
    chest.lay_ellipsoid((25, -12, 0), _near(generator, 165, 104, 500, 3), tissues.fat)
    chest.lay_ellipsoid((25, -12, 0), (150, 90 + 3 * generator.uniform(-1, 1), 500), tissues.muscle)
    chest.lay_ellipsoid((25, -12, 0), (130, 76, 500), tissues.fat)
    for side in (-1.0, 1.0):
        centre = _near(generator, 25 + 82 * side, -15, 30, 3)
        chest.lay_ellipsoid(
            centre, _near(generator, 52, 74, 190, 2), tissues.lung, bumps=0.5 * mild_bumps(generator)
        )
        for value in (tissues.ventricle, tissues.atrium, tissues.aorta, tissues.myocardium):
            start = centre + generator.uniform(-1, 1, size=3) * np.array([26, 45, 50])
            end = start + generator.uniform(-1, 1, size=3) * np.array([20, 20, 30])
            chest.lay_tube([start, end], generator.uniform(3, 6), value)
    chest.lay_ellipsoid(
        _near(generator, 88, 2, -98, 6), (86, 74, 64), tissues.liver, bumps=0.4 * mild_bumps(generator)
    )
    chest.lay_ellipsoid(_near(generator, -58, 5, -112, 6), (72, 62, 56), tissues.muscle)
    chest.lay_ellipsoid(_near(generator, -66, 18, -92, 6), (30, 26, 24), tissues.aorta)
    chest.lay_ellipsoid(_near(generator, 26, -80, 0), (22, 19, 500), tissues.bone)
    chest.lay_ellipsoid(_near(generator, 25, 72, 20), (17, 6, 70), tissues.bone)
    for angle in np.linspace(0, 2 * np.pi, 14, endpoint=False) + generator.uniform(-0.2, 0.2, size=14):
        place = np.array([25 + 140 * np.cos(angle), -12 + 83 * np.sin(angle), generator.uniform(-60, 60)])
        along = np.array([-30 * np.sin(angle), 17 * np.cos(angle), 8 * np.sin(angle)])
        chest.lay_tube([place - along, place + along], 5.5, tissues.bone)
    aorta = [_near(generator, 0, -60, z, 1.5) for z in (-100.0, 0.0, 100.0)]
    chest.lay_tube(aorta, generator.uniform(10, 13), tissues.aorta)
    chest.lay_tube([_near(generator, 17, -53, -100), _near(generator, 17, -53, 100)], 6.0, tissues.muscle)


def _paint_right_heart(heart: Canvas, ventricles: Canvas, tissues: Tissues, generator: Generator) -> None:
    """What has the structures' greys beside them: right ventricle, right atrium, pulmonary artery, the great veins."""
    ventricles.lay_ellipsoid((17, 0, 0), (50, 41, 53), tissues.fat)
    rv = _near(generator, 31, 0, -7)
    axes = _near(generator, 24, 30, 40, 1.5)
    ventricles.lay_ellipsoid(rv, axes + 3.5, tissues.myocardium)
    ventricles.lay_ellipsoid(rv, axes, tissues.ventricle, bumps=mild_bumps(generator))
    cava = generator.uniform(9, 11)
    heart.lay_tube([_near(generator, 46, -12, -100), _near(generator, 46, -8, -5)], cava + 2, tissues.atrium)
    heart.lay_tube([_near(generator, 46, -6, 100), _near(generator, 47, -6, 10)], cava, tissues.atrium)
    centre, size = _near(generator, 44, -2, 2), _near(generator, 22, 25, 28, 1.5)
    heart.lay_ellipsoid(centre, size + 2, tissues.myocardium)
    heart.lay_ellipsoid(centre, size, tissues.atrium, bumps=mild_bumps(generator))
    fork = _near(generator, -13, 12, 50)
    for end in (_near(generator, -62, -18, 56), _near(generator, 72, -30, 46)):
        middle = np.array([fork[0] + 0.4 * (end[0] - fork[0]), -19.0, 50.0])
        heart.lay_tube([fork, middle, end], 9.5, tissues.aorta)
    heart.lay_tube([_near(generator, 2, 36, 2), _near(generator, -9, 29, 30), fork], 12.5, tissues.aorta)


def _paint_atrium_and_aorta(heart: Canvas, tissues: Tissues, generator: Generator) -> None:
    """The atrium with the four veins that enter it, and the aorta from its valve upwards, in their thin walls."""
    atrium = _near(generator, 5, -25, 10)
    for side in (-1.0, 1.0):
        for height in (6.0, -6.0):
            end = _near(generator, 5 + 66 * side, -47, 14 + 2 * height, 4)
            heart.lay_tube(
                [atrium + np.array([14 * side, -4, height]), end], generator.uniform(6, 8), tissues.atrium
            )
    axes = _near(generator, 29, 19, 23, 1.5)
    heart.lay_ellipsoid(atrium, axes + 2, tissues.myocardium)
    heart.lay_ellipsoid(atrium, axes, tissues.atrium, LAC, mild_bumps(generator))
    lean = generator.uniform(-3, 3)
    valve = _near(generator, 9, -1, 12, 1.0)
    path = [valve, valve + np.array([7, 6, 20]), valve + np.array([11 + lean, 6, 40])]
    path.append(valve + np.array([9 + 2 * lean, 2, 100]))
    radius = generator.uniform(13, 16)
    heart.lay_tube(path, radius + 2, tissues.myocardium)
    heart.lay_tube(path, radius, tissues.aorta, AA)


def _paint_left_heart(heart: Canvas, ventricles: Canvas, tissues: Tissues, generator: Generator) -> None:
    """The four structures. The cavity is bent as the myocardium is, and stays below 0.92 of its depth."""
    half = np.array([31.0, 31.0, 43.0]) * generator.uniform(0.93, 1.07, size=3)
    outer = depth_in(ventricles.places, np.zeros(3), half, mild_bumps(generator))
    ventricles.lay(outer, 31.0, tissues.myocardium, MYO)
    _paint_atrium_and_aorta(heart, tissues, generator)
    straight = ventricles.places / upright(half)
    bent = straight * (outer / length(straight))
    inside = Canvas(bent, heart.voxel / 31.0, heart.grey, heart.mask)
    aside = np.array([0.0, 0.0, -0.09]) + 0.03 * np.clip(generator.normal(size=3), -2.0, 2.0)
    cavity = depth_in(
        bent, aside, generator.uniform(0.6, 0.71) * np.array([1.0, 1.0, 1.1]), 0.7 * mild_bumps(generator)
    )
    inside.lay(np.maximum(cavity, outer / 0.92), 0.65, tissues.ventricle, LVC)
    for across in (-0.28, 0.28):
        # Papillary muscles count as cavity, as raters draw it.
        place = aside + np.array([across, 0.3, 0.15]) + 0.04 * generator.normal(size=3)
        inside.lay_ellipsoid(place, (0.11, 0.11, 0.25), tissues.myocardium, LVC)


def _paint(canvas: Canvas, scanner: Scanner, generator: Generator) -> None:
    """Draw one chest and its heart; places are mm from the middle of the heart."""
    tissues = Tissues(*varied_greys(scanner, generator, 15.0))
    crop = _near(generator, 3, 0, 2, 4)
    chest = canvas.moved(-crop, np.eye(3), 1.0)
    _paint_chest(chest, tissues, generator)
    lie = _near(generator, 0, 0, 0, 3)
    heart = chest.moved(
        lie, rotation(0.10 * np.clip(generator.normal(size=3), -2, 2)), generator.uniform(0.88, 1.08)
    )
    # The ventricles' axes: through the septum to the right ventricle, up in the wall, from base to apex.
    apex = np.array([-0.62, 0.55, -0.56]) / np.linalg.norm([0.62, 0.55, 0.56])
    septum = np.array([0.7, 0.7, -0.1]) - apex * float(apex @ np.array([0.7, 0.7, -0.1]))
    septum /= np.linalg.norm(septum)
    frame = np.stack([septum, np.cross(apex, septum), apex], axis=1)
    ventricles = heart.moved((-22, 12, -14), frame, 1.0)
    _paint_right_heart(heart, ventricles, tissues, generator)
    _paint_left_heart(heart, ventricles, tissues, generator)


CARDIAC = Anatomy(
    "cardiac", "four structures of the heart", CLASSES, SCANNERS, _paint, CASES, test_every=5
)  # fmt: skip


def write_cardiac(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write both scanners' folders below `out`; `cases` holds for each, `size` is a slice's side in voxels."""
    return bodies.write_bodies(CARDIAC, out, seed, cases, size)
