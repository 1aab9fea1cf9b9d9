"""Painting one transvaginal scan: echoes along beams, their speckle, and the picture that a scanner makes of them.

Tissues are levels of echo in dB on a grid of beams (depth, beam), where what lies behind a bone or a bladder is found
by summing down a beam. Noise on that grid, smoothed as by a pulse, has Rayleigh's speckle; its logarithm is the grey.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter, map_coordinates

from fewmask.data.phantoms.cervix_shape import Axis, Cervix, Points, View
from fewmask.data.phantoms.fields import Field, Generator, cloud, ramp

_FINER = 2
"""Drawn at so many times the size and averaged, as a scanner's own display does."""

_MARGIN, _SHOWN = 0.025, 0.95
"""In shares of the picture's side: how far below its top the probe's face lies, and how deep the deepest echo."""

_PULSE_MM = (0.36, 0.55)
"""Deviation of the pulse along the beam, and across it at half depth: what makes speckle longer across."""

_EDGE_MM, _SHEATH_MM = 0.3, 1.6
"""How soft the cervix's edge is, and how far the bright sheath reaches from it."""

_LOOKS = 2
"""How many looks from other angles a scanner averages, which takes the edge off the speckle."""


@dataclass(frozen=True)
class Machine:
    """How a clinic scans: the radius of its probe's face, half the angle of its fan, and what it does to echoes.

    The radius is in shares of the picture's side and the angle in radians, so that a large and a small one make
    almost a rectangle. `gain` is the grey of the tissue's echo in [0, 1], `range_db` how many dB lie between black and
    white, `fading` what is lost in dB a mm, `floor_db` the noise of the electronics.
    """

    radius: float
    half_angle: float
    gain: float
    range_db: float
    fading: float
    floor_db: float


@dataclass(frozen=True)
class _Surroundings:
    """What lies around the cervix in one picture: directions in radians, lengths in mm.

    The cavity is the wedge at the canal's inner end between the front and the back wall of the uterus.
    """

    front: float
    back: float
    wall_mm: float
    bladder: complex
    bladder_mm: tuple[float, float]
    head: complex
    head_mm: float
    rectum_mm: float


def _surroundings(cervix: Cervix, view: View, generator: Generator) -> _Surroundings:
    """Draw what lies around a cervix; the front wall leaves it at the uterocervical angle."""
    axis = view.axis
    front = axis.heading - np.deg2rad(cervix.angle)
    back = axis.heading - np.deg2rad(generator.uniform(230.0, 250.0))
    radius = generator.uniform(24.0, 32.0)
    between = front + (back - front) * generator.uniform(0.45, 0.6)
    # The smaller bladder is nearly empty; either lies in the corner between cervix and uterus.
    length = generator.uniform(3.0, 10.0)
    corner = axis.heading - np.deg2rad(cervix.angle) * generator.uniform(0.5, 0.68)
    away = 13.0 + 0.75 * length + generator.uniform(0.0, 3.0)
    return _Surroundings(
        front=float(front),
        back=float(back),
        wall_mm=generator.uniform(3.0, 4.5),
        bladder=complex(axis.start + away * np.exp(1j * corner)),
        bladder_mm=(length * generator.uniform(1.2, 1.7), length),
        head=complex(axis.start + (radius + generator.uniform(4.0, 13.0)) * np.exp(1j * between)),
        head_mm=radius,
        rectum_mm=generator.uniform(13.0, 18.0),
    )


@dataclass(frozen=True)
class _Beams:
    """The grid of beams: where each sample lies, and the echo (dB) and the loss (dB a mm) of the tissue there.

    `depth` (rows, 1) is in mm from the probe's face, `directions` (1, columns) are the beams' unit vectors.
    """

    places: Points
    depth: Field
    directions: Points
    step_mm: float
    echo: Field
    loss: Field

    def lay(self, cover: Field, echo: Field | float, loss: float) -> None:
        """Put a tissue over what is there, where `cover` is 1."""
        self.echo[:] += cover * (echo - self.echo)
        self.loss[:] += cover * (loss - self.loss)

    def cloud(self, generator: Generator, down: int, across: int) -> Field:
        """A cloud over all beams."""
        return cloud(generator, self.places.shape, (down, across))


def _beams(machine: Machine, side_mm: float, size: int) -> _Beams:
    """An empty grid, about two samples a pixel along the beams and one across."""
    rows, columns = 2 * size, size + size // 2
    step, radius = _SHOWN * side_mm / rows, machine.radius * side_mm
    depth: Field = (np.arange(rows, dtype=np.float64)[:, None] + 0.5) * step
    angles = machine.half_angle * ((np.arange(columns) + 0.5) / columns * 2 - 1)
    directions = 1j * np.exp(-1j * angles)[None]
    places = (radius + depth) * directions - 1j * radius
    return _Beams(places, depth, directions, step, np.zeros(places.shape), np.zeros(places.shape))


def _paint_tissue(grid: _Beams, generator: Generator) -> None:
    """What everything else lies in: layers across the beams, the bright near field, a dark band of muscle."""
    grid.echo[:] = 1.9 * grid.cloud(generator, 26, 5) + 1.5 * grid.cloud(generator, 11, 9)
    grid.echo[:] += 1.2 * grid.cloud(generator, 44, 20)
    grid.echo[:] += 5.0 * np.exp(-grid.depth / 3.0) * (1.4 + np.cos(2 * np.pi * grid.depth / 1.5))
    from_muscle = grid.depth + 0.9 * grid.cloud(generator, 4, 5) - generator.uniform(4.5, 8.0)
    grid.echo[:] -= 5.0 * ramp(np.abs(from_muscle), 1.9, 1.0)
    grid.echo[:] += 3.0 * ramp(np.abs(from_muscle - 2.6), 0.9, 0.3)


def _paint_uterus(grid: _Beams, around: _Surroundings, axis: Axis, generator: Generator) -> None:
    """Bladder, cavity, the head in it, and the walls."""
    ragged = 0.5 * grid.cloud(generator, 10, 8)
    turned = (grid.places - around.bladder) * np.exp(-1j * (around.front + np.pi / 2))
    long, short = around.bladder_mm
    outside = (np.hypot(turned.real / long, turned.imag / short) - 1) * short + ragged
    grid.lay(ramp(outside, 2.4, 1.0), 3.5 + 1.5 * ragged, 0.0)
    grid.lay(ramp(outside, 0.5, -0.4), -34.0, -0.28)
    from_inner = grid.places - axis.start
    # Seen from the wedge's own middle line no angle jumps within it.
    middle, opening = (around.front + around.back) / 2, abs(around.front - around.back) / 2
    aside = np.abs(np.angle(from_inner * np.exp(-1j * middle))) - opening
    cavity = ramp(aside * np.abs(from_inner) + ragged, 0.5, -0.5)
    grid.lay(cavity, -31.0, -0.12)
    _paint_head(grid, around, cavity, generator)
    flesh = -2.0 + 2.2 * grid.cloud(generator, 22, 26)
    for way, side in ((around.front, 1.0), (around.back, -1.0)):
        local = from_inner * np.exp(-1j * way)
        beside = np.abs(local.imag * side - around.wall_mm) - around.wall_mm + 0.8 * ragged
        wall = ramp(beside, 0.4, -0.4) * ramp(local.real, -2.0, 1.0)
        grid.lay(wall, flesh + 5.0 * ramp(np.abs(beside), 0.8, 0.2), 0.02)


def _paint_head(grid: _Beams, around: _Surroundings, cavity: Field, generator: Generator) -> None:
    """The edge of the head: brightest where the beam meets it squarely, with brain and shadow behind it."""
    from_head = grid.places - around.head
    beyond = np.abs(from_head) - around.head_mm
    square = np.abs((from_head * np.conj(grid.directions)).real) / np.maximum(np.abs(from_head), 1.0)
    grid.lay(ramp(beyond, 0.3, -0.6) * cavity, -15.0 + 2.5 * grid.cloud(generator, 14, 16), 0.0)
    grid.lay(ramp(np.abs(beyond), 1.5, 0.7) * cavity, 3.0 + 9.0 * square**3, 2.2)


def _paint_behind(grid: _Beams, around: _Surroundings, axis: Axis, generator: Generator) -> None:
    """The rectum's bright wall below the cervix, with the shadow of its gas, in places."""
    along, across = axis.along_and_across(grid.places)
    below = across - around.rectum_mm + 1.6 * grid.cloud(generator, 3, 6)
    gassy = ramp(grid.cloud(generator, 2, 5), -0.2, 1.0) * ramp(along, 0.0, 6.0)
    grid.echo[:] += 7.0 * ramp(np.abs(below), 1.5, 0.4) * ramp(along, -2.0, 4.0)
    grid.loss[:] += 1.6 * gassy * ramp(np.abs(below), 1.6, 0.8)


def _paint_cervix(
    grid: _Beams, cervix: Cervix, axis: Axis, cover: Field, near: Field, generator: Generator
) -> None:
    """Stroma whose echo falls and evens out as it softens, its sheath, the darker gland, and the canal in it."""
    along, across = axis.along_and_across(grid.places)
    sheath = ramp(along, 0.0, 4.0) * near * (1 - cover)
    grid.echo[:] += 7.0 * sheath * ramp(grid.cloud(generator, 7, 9), -2.0, 0.0)
    # A whisper of a curve: no canal is a line drawn with compasses.
    across = across + 0.45 * grid.cloud(generator, 8, 9)
    lumps = 1.6 * grid.cloud(generator, 20, 18) + 1.3 * grid.cloud(generator, 9, 8)
    stroma = -4.0 - 1.7 * cervix.softness + np.exp(-0.45 * cervix.softness) * lumps
    grid.lay(cover, stroma, 0.06)
    rim = 4 * cover * (1 - cover)
    grid.echo[:] -= 4.5 * rim
    within = ramp(along, -0.5, 1.0) * ramp(axis.length - along, -0.5, 1.0) * cover
    grid.echo[:] -= 2.6 * within * ramp(np.abs(across), 3.2, 1.6)
    grid.echo[:] += 3.0 * within * ramp(np.abs(np.abs(across) - 1.3), 0.8, 0.2)
    grid.echo[:] -= 9.0 * within * ramp(np.abs(across), 1.0, 0.4)


def _pulse(deviation: float) -> Field:
    """The weights of a Gaussian pulse in samples, which leave the variance of white noise as it is."""
    steps = np.arange(-int(3 * deviation + 1), int(3 * deviation + 2))
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    return weights / np.sqrt((weights**2).sum())


def _received(grid: _Beams, machine: Machine, side_mm: float, generator: Generator) -> Field:
    """The grey (depth, beam) that a scanner gives to the echoes: loss, shadows, speckle, noise, logarithm."""
    shadows = ramp(cloud(generator, grid.directions.shape[1:], (13,)), 1.0, 2.3) * ramp(grid.depth, 2.0, 9.0)
    lost = np.cumsum(grid.loss, axis=0) * grid.step_mm + machine.fading * grid.depth
    echo = grid.echo - np.clip(lost, -9.0, 30.0) - 6.0 * shadows
    amplitude = 10 ** (echo / 20)
    gain = machine.gain + 0.035 * float(np.clip(generator.normal(), -2.0, 2.0))
    noise = generator.standard_normal((2, 2 * _LOOKS, *echo.shape))
    pitch = 2 * machine.half_angle * (machine.radius + _SHOWN / 2) * side_mm / echo.shape[1]
    signal = amplitude * noise[0]
    for axis, deviation in ((1, _PULSE_MM[0] / grid.step_mm), (2, _PULSE_MM[1] / pitch)):
        signal = correlate1d(signal, _pulse(deviation), axis=axis, mode="nearest")
    electronics = 10 ** ((machine.floor_db + 0.08 * grid.depth) / 20) * noise[1]
    power = ((signal + electronics) ** 2).mean(axis=0)
    return gain + 10 * np.log10(power + 1e-9) / machine.range_db


def _converted(grey: Field, machine: Machine, size: int) -> Field:
    """Beams turned into a picture (size, size), black where no beam went. Lengths are shares of its side."""
    fine = size * _FINER
    places = (np.arange(fine) + 0.5) / fine
    from_apex = (places - 0.5) + 1j * (places[:, None] - _MARGIN + machine.radius)
    depth = (np.abs(from_apex) - machine.radius) / _SHOWN
    angle = np.angle(1j * np.conj(from_apex)) / machine.half_angle
    (rows, columns), seen = grey.shape, (depth > 0) & (depth < 1) & (np.abs(angle) < 1)
    where = np.stack([depth * rows - 0.5, (angle + 1) / 2 * columns - 0.5])
    picture = np.where(seen, map_coordinates(grey, where, order=1, mode="nearest"), 0.0)
    return np.clip(picture, 0.0, 1.0).reshape(size, _FINER, size, _FINER).mean(axis=(1, 3))


def in_pixels(points: Points, side_mm: float, size: int) -> Points:
    """Places in mm as places in the picture, x + iy from its corner: a pixel's middle is at 0.5 + 0.5i."""
    return (points + complex(0.5, _MARGIN) * side_mm) * (size / side_mm)


def paint(
    cervix: Cervix, view: View, cover: Field, machine: Machine, side_mm: float, generator: Generator
) -> Field:
    """The scan (size, size) in [0, 1] of a cervix that covers `cover` (size, size) of each pixel."""
    size = cover.shape[0]
    around = _surroundings(cervix, view, generator)
    grid = _beams(machine, side_mm, size)
    _paint_tissue(grid, generator)
    _paint_behind(grid, around, view.axis, generator)
    _paint_uterus(grid, around, view.axis, generator)
    places = in_pixels(grid.places, side_mm, size) - (0.5 + 0.5j)
    blurs = [gaussian_filter(cover, width * size / side_mm) for width in (_EDGE_MM, _SHEATH_MM)]
    edged, near = (map_coordinates(blur, np.stack([places.imag, places.real]), order=1) for blur in blurs)
    _paint_cervix(grid, cervix, view.axis, edged, near, generator)
    return _converted(_received(grid, machine, side_mm, generator), machine, size)
