"""What the fetal phantom shows: a mother's belly, the uterus in it, the fetus in that, and the brain in its head.

All is drawn in mm around the middle of the stack: to the right, to the front, to the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from fewmask.data.phantoms.bodies import Canvas, Place, depth_in, depth_in_tube, length, rotation, upright
from fewmask.data.phantoms.fields import Field, Generator, cloud, ramp

BRAIN = 1
_UNTIL = 3.0
"""How far beyond a part, in mm, its soft edge and its slices' shifts reach."""


@dataclass(frozen=True)
class Greys:
    """One patient's brightness of each tissue, as T2 has it: water is bright, muscle and bone are dark."""

    fat: float = 0.74
    muscle: float = 0.17
    bone: float = 0.10
    marrow: float = 0.45
    organ: float = 0.34
    kidney: float = 0.58
    urine: float = 0.97
    wall: float = 0.33
    fluid: float = 0.90
    placenta: float = 0.52
    flesh: float = 0.43
    skin: float = 0.60
    lung: float = 0.66
    skull: float = 0.13
    csf: float = 0.92
    cortex: float = 0.37
    white: float = 0.57
    deep: float = 0.44


@dataclass(frozen=True)
class Belly:
    """The mother's outline: 0 in her middle, 1 on her skin; and how thick the fat under it is, in mm."""

    depth: Field
    fat: float


@dataclass(frozen=True)
class Cavity:
    """The room that the fetus has: centre and half axes in mm."""

    centre: Field
    half: Field


@dataclass(frozen=True)
class Head:
    """Where the brain lies: centre and half axes in mm, and the (3, 3) turn of the head."""

    centre: Field
    half: Field
    turn: Field


def varied(generator: Generator) -> Greys:
    """The greys of one patient."""
    factors = 1 + 0.08 * np.clip(generator.normal(size=len(fields(Greys))), -2.0, 2.0)
    usual = Greys()
    names = (tissue.name for tissue in fields(Greys))
    return Greys(*(float(getattr(usual, name) * factor) for name, factor in zip(names, factors, strict=True)))


def _near(canvas: Canvas, low: Field, high: Field) -> Canvas:
    """The part of the canvas around a box, for speed; what is drawn there is drawn on the canvas."""
    parts: list[slice] = []
    for axis in range(3):
        line = np.moveaxis(canvas.places[axis], axis, 0)[:, 0, 0]
        inside = np.flatnonzero((line > low[axis] - _UNTIL) & (line < high[axis] + _UNTIL))
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
    places = canvas.places[:, parts[0], parts[1], parts[2]]
    here = tuple(parts)
    return Canvas(places, canvas.voxel, canvas.grey[here], canvas.mask[here])


def _ball(canvas: Canvas, centre: Place, axes: Place, grey: float, bumps: Field | None = None) -> None:
    """Lay an upright ellipsoid."""
    middle, half = np.asarray(centre, dtype=np.float64), np.asarray(axes, dtype=np.float64)
    reach = 1.3 * half
    _near(canvas, middle - reach, middle + reach).lay_ellipsoid(middle, half, grey, bumps=bumps)


def _tube(canvas: Canvas, points: Sequence[Place], layers: Sequence[tuple[float, float]]) -> None:
    """Lay a tube of several layers along points: (radius in mm, grey), the outermost first."""
    ends = np.asarray(points, dtype=np.float64)
    near = _near(canvas, ends.min(axis=0) - layers[0][0], ends.max(axis=0) + layers[0][0])
    depth = depth_in_tube(near.places, list(ends), 1.0)
    for radius, grey in layers:
        near.lay(depth / radius, radius, grey)


def _spread(generator: Generator, *half: float) -> Field:
    """A random place (3,) in a box around the origin."""
    return np.asarray(half) * generator.uniform(-1, 1, size=3)


def _direction(generator: Generator) -> Field:
    """A random direction (3,)."""
    arrow = generator.normal(size=3)
    return arrow / np.linalg.norm(arrow)


def paint_mother(canvas: Canvas, greys: Greys, generator: Generator) -> Belly:
    """What fills the belly: fat, spine with the bright ring of its canal, kidneys, bones of the pelvis, bowel."""
    body = np.array([39.5, 35.0, 400.0]) + np.array([2.5, 2.0, 0.0]) * generator.uniform(-1, 1, size=3)
    depth = depth_in(canvas.places, np.zeros(3), body, 0.03 * generator.normal(size=(3, 3)))
    canvas.lay(depth, 37.0, 0.7 * greys.fat)
    _paint_bowel(canvas, greys, generator)
    for side in (-1.0, 1.0):
        _tube(canvas, [(9.5 * side, -22, -90), (9.5 * side, -22, 90)], [(5.0, greys.muscle)])
        kidney = np.array([20.0 * side, -13.0, 44.0]) + _spread(generator, 2, 2, 8)
        _ball(canvas, kidney, (6.5, 5.5, 13), greys.kidney, 0.1 * generator.normal(size=(3, 3)))
        _ball(canvas, kidney - np.array([2.0 * side, 0, 0]), (2.6, 2.0, 6), greys.urine)
        hip = np.array([24.0 * side, -3.0, -54.0]) + _spread(generator, 2, 3, 5)
        for radius, grey in ((9.0, 0.8 * greys.fat), (7.6, greys.bone), (6.6, greys.marrow)):
            _ball(canvas, hip, (radius, radius, radius), grey)
    _tube(canvas, [(0, -17.5, -90), (0, -17.5, 90)], [(6.6, greys.bone), (5.8, greys.marrow)])
    canal = [(3.6, greys.bone), (3.0, greys.csf), (1.5, greys.deep)]
    _tube(canvas, [(0, -26, -90), (0, -26, 90)], canal)
    return Belly(depth, generator.uniform(2.2, 4.8))


def close_belly(canvas: Canvas, belly: Belly, greys: Greys) -> None:
    """Muscle and skin fat around what fills the belly, and air around all."""
    for inset, grey in ((belly.fat + 1.6, greys.muscle), (belly.fat, greys.fat), (0.0, 0.01)):
        # What lies outside of the outline is what lies below depth 1 of the outline turned inside out.
        canvas.lay(2 - belly.depth / (1 - inset / 37.0), 37.0, grey)


def _paint_bowel(canvas: Canvas, greys: Greys, generator: Generator) -> None:
    """Loops that fill the belly; some have bright walls, and what is in them may be anything."""
    for _ in range(120):
        angle, far = generator.uniform(0, 2 * np.pi), np.sqrt(generator.uniform(0.1, 1.0))
        start = np.array([31 * far * np.cos(angle), 4 + 25 * far * np.sin(angle), generator.uniform(-75, 75)])
        bends = np.array([[0.0, 0, 0], _spread(generator, 9, 7, 9), _spread(generator, 11, 9, 14)])
        radius = generator.uniform(2.0, 4.8)
        content = generator.uniform(0.05, 0.95)
        wall = greys.organ if generator.uniform() < 0.6 else greys.csf * generator.uniform(0.7, 1.0)
        _tube(canvas, list(start + bends), [(radius + 0.9, wall), (radius, content)])


def _cavity(generator: Generator) -> Cavity:
    half = np.array([26.5, 23.0, 47.0]) + np.array([2.5, 2.0, 5.0]) * generator.uniform(-1, 1, size=3)
    return Cavity(np.array([0.0, 4.5, 2.0]) + _spread(generator, 6, 2.5, 6), half)


def paint_uterus(canvas: Canvas, greys: Greys, generator: Generator) -> Cavity:
    """Bladder, uterine wall, fluid with the dark clouds of its flow, and the placenta on the wall."""
    cavity = _cavity(generator)
    below = cavity.centre[2] - cavity.half[2]
    bladder = np.array([0.0, 14.0, below + 1]) + _spread(generator, 4, 3, 4)
    size = np.array([10.0, 7.5, 10.0]) * generator.uniform(0.7, 1.3)
    _ball(canvas, bladder, size + 1.3, greys.muscle)
    _ball(canvas, bladder, size, greys.urine)
    depth = depth_in(canvas.places, cavity.centre, cavity.half, 0.08 * generator.normal(size=(3, 3)))
    thick = generator.uniform(1.8, 3.2)
    canvas.lay(depth / (1 + thick / 23), 23.0, greys.wall)
    canvas.lay(depth, 23.0, greys.fluid)
    shape = canvas.grey.shape
    flow = ramp(cloud(generator, shape, (5, 5, 12)), 0.2, 1.8) * generator.uniform(0.15, 0.5)
    canvas.grey[:] *= 1 - flow * ramp(depth, 1.0, 0.85)
    angle, height = generator.uniform(-0.3 * np.pi, 1.3 * np.pi), generator.uniform(-0.4, 0.4)
    toward = np.array([np.cos(angle), np.sin(angle), height]) / np.hypot(1.0, height)
    scaled = (canvas.places - upright(cavity.centre)) / upright(cavity.half)
    # A lens on the wall: near to the wall, and within some angle of where it lies.
    aside = 1 - np.tensordot(toward, scaled, axes=1) / length(scaled)
    reach, inward = generator.uniform(0.35, 0.7), generator.uniform(0.22, 0.42)
    lens = (1 - depth) / inward + aside / reach
    lobes = greys.placenta * (1 + 0.14 * cloud(generator, shape, (14, 14, 24)))
    cover = ramp(lens, 1.06, 0.94) * ramp(depth, 1.03, 0.97)
    canvas.grey[:] += cover * (lobes - canvas.grey)
    return cavity


def paint_lumps(canvas: Canvas, cavity: Cavity, greys: Greys, generator: Generator) -> None:
    """Cysts and fibroids beside the uterus: round, with bright rims, smaller than a brain and fainter."""
    for _ in range(int(generator.integers(4, 9))):
        out = _direction(generator) * np.array([1.0, 1.0, 1.15])
        centre = cavity.centre + cavity.half * out * generator.uniform(1.0, 1.15)
        size = generator.uniform(3.5, 6.8) * generator.uniform(0.85, 1.15, size=3)
        bumps = 0.06 * generator.normal(size=(3, 3))
        rim = greys.csf * generator.uniform(0.65, 0.95)
        layers = ((1.15, greys.bone), (1.0, rim), (generator.uniform(0.68, 0.82), greys.flesh))
        for share, grey in layers:
            _ball(canvas, centre, share * size, grey, bumps)


def place_head(cavity: Cavity, generator: Generator) -> Head:
    """A head of some age, turned at random, somewhere in the cavity."""
    half = np.array([14.0, 17.2, 15.3]) * generator.uniform(0.86, 1.12)
    half *= generator.uniform(0.96, 1.04, size=3)
    free = np.maximum(cavity.half - 1.16 * float(half.max()), 2.0)
    centre = cavity.centre + free * generator.uniform(-0.75, 0.75, size=3)
    return Head(centre, half, rotation(generator.uniform(-np.pi, np.pi, size=3)))


def paint_fetus(canvas: Canvas, head: Head, cavity: Cavity, greys: Greys, generator: Generator) -> None:
    """Trunk with lungs, heart, liver, stomach and spine, four limbs, the cord, and the face."""
    way = -1.0 if head.centre[2] > cavity.centre[2] else 1.0
    along = np.array([0.0, 0.0, way]) + 0.5 * _spread(generator, 1, 1, 0)
    along /= np.linalg.norm(along)
    middle = head.centre + along * (float(head.half.mean()) + 16.0)
    middle[:2] = cavity.centre[:2] + 0.5 * (middle[:2] - cavity.centre[:2])
    _tube(canvas, [head.centre, middle], [(5.5, greys.flesh)])
    size = np.array([11.0, 10.5, 18.0]) * generator.uniform(0.88, 1.08)
    bumps = 0.08 * generator.normal(size=(3, 3))
    for share, grey in ((1.06, greys.skin), (0.96, greys.flesh)):
        _ball(canvas, middle, share * size, grey, bumps)
    front = np.array([*generator.normal(size=2), 0.0])
    front /= np.linalg.norm(front)
    side = np.array([-front[1], front[0], 0.0])
    for sign in (-1.0, 1.0):
        _ball(canvas, middle + 4.2 * sign * side - 5 * along, (3.4, 3.4, 5.0), greys.lung)
    _ball(canvas, middle - 4 * along + 2.5 * front, (3.2, 3.0, 3.2), greys.bone)
    _ball(canvas, middle + 5 * along + 2.0 * front, (6.0, 5.5, 5.0), 0.7 * greys.flesh)
    _ball(canvas, middle + 5 * along - 3.5 * side, (2.2, 2.2, 2.6), greys.urine)
    back = middle - 6.0 * front
    spine = [(2.2, greys.bone), (1.6, greys.csf), (0.8, greys.deep)]
    _tube(canvas, [back - 13 * along, back + 13 * along], spine)
    for number in range(4):
        root = middle + (9 if number < 2 else -9) * along + 6 * _direction(generator)
        knee = root + 9 * _direction(generator)
        points = [root, knee, knee + 9 * _direction(generator)]
        _tube(canvas, points, [(generator.uniform(2.0, 3.2), greys.flesh), (0.8, greys.bone)])
    loops = middle + 5 * front + np.cumsum(5.0 * generator.normal(size=(6, 3)), axis=0)
    _tube(canvas, list(loops), [(1.5, greys.organ), (0.6, greys.bone)])
    for reach, height, radius, grey in (
        (0.80, -0.62, 7.0, greys.flesh),
        (0.0, -1.05, 7.5, greys.flesh),
        (0.92, -0.66, 3.0, greys.organ),
    ):
        _ball(canvas, _of_head(head, 0.0, reach, height), (radius, radius, radius), grey)
    for sign in (-1.0, 1.0):
        _ball(canvas, _of_head(head, 0.4 * sign, 0.98, -0.52), (2.2, 2.2, 2.2), greys.csf)


def _of_head(head: Head, x: float, y: float, z: float) -> Field:
    """A place (3,) that is given in the brain's own half axes: to its right, front and top."""
    return head.centre + head.turn @ (head.half * np.array([x, y, z]))


def paint_head(canvas: Canvas, head: Head, greys: Greys, generator: Generator) -> None:
    """Scalp, skull, the bright rim of CSF, and the brain in it. CSF and brain are the mask."""
    reach = 1.5 * float(head.half.max())
    box = _near(canvas, head.centre - reach, head.centre + reach).moved(head.centre, head.turn, 1.0)
    radius = float(head.half.mean())
    outer = depth_in(box.places, np.zeros(3), head.half, 0.05 * generator.normal(size=(3, 3)))
    box.lay(outer / 1.16, radius, greys.flesh)
    box.lay(outer / 1.09, radius, greys.skull)
    box.lay(outer, radius, greys.csf * generator.uniform(0.85, 1.0), BRAIN)
    shift = head.half * _spread(generator, 0.02, 0.03, 0.03)
    rim = generator.uniform(0.82, 0.90)
    folds = 0.10 * generator.normal(size=(3, 3))
    inner = np.maximum(depth_in(box.places, shift, rim * head.half, folds), outer / 0.96)
    box.lay(inner, radius, greys.cortex, BRAIN)
    box.lay(inner / generator.uniform(0.80, 0.87), radius, greys.white, BRAIN)
    right, front, top = box.places / upright(head.half)
    midline = np.maximum(0.40 / np.hypot(front, top), outer / 0.96)
    fissure = 1 + (np.abs(right) - generator.uniform(0.025, 0.055)) * head.half[0] / radius
    box.lay(np.maximum(fissure, midline), radius, greys.csf, BRAIN)

    def part(x: float, y: float, z: float, axes: tuple[float, float, float], grey: float) -> None:
        half = head.half * np.asarray(axes)
        depth = depth_in(box.places, head.half * np.array([x, y, z]), half)
        # As steep as the brain's own depth, so that an edge on the brain's is as soft as that.
        depth = 1 + (depth - 1) * float(half.mean()) / radius
        box.lay(np.maximum(depth, outer / 0.95), radius, grey, BRAIN)

    wide = generator.uniform(0.75, 1.4)
    for sign in (-1.0, 1.0):
        part(0.20 * sign, 0.02, -0.08, (0.19, 0.28, 0.26), greys.deep)
        part(0.30 * sign, -0.14, 0.10, (0.12 * wide, 0.42, 0.14 * wide), greys.csf)
    part(0.0, 0.24, 0.10, (0.09, 0.13, 0.10), greys.csf)
    part(0.0, -0.52, -0.60, (0.62, 0.34, 0.32), greys.csf)
    part(0.0, -0.46, -0.55, (0.50, 0.25, 0.24), greys.cortex)
    part(0.0, -0.16, -0.58, (0.17, 0.16, 0.42), greys.deep)
