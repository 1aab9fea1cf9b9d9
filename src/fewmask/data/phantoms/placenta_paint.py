"""Painting one photograph of a placenta, with the mask that belongs to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fewmask.data.phantoms.fields import Field, Generator, cloud, lay_over, nearest_of_curve, ramp
from fewmask.data.phantoms.placenta_scene import Layout, Placenta, direction, turned

Colour = tuple[float, float, float]
CLASSES = ("background", "disc", "cord", "ruler")
_FINER = 2  # Painted at twice the size, then averaged: soft edges without a special case for any shape.


@dataclass(frozen=True)
class Look:
    """What differs between two hospitals: the table, the ruler, the light and the camera; not the anatomy.

    `grounds` are the colours of the table, one of which is chosen for each photograph. `tint` multiplies the
    colours of disc and cord, `balance` the whole picture. `light` is how unevenly the table is lit, `blur` is
    in shares of the side, `grain` in shares of white, `smears` is how bloody the table is.
    """

    woven: bool
    grounds: tuple[Colour, ...]
    ruler: Colour
    ticks: Colour
    tint: Colour
    balance: Colour
    light: float
    blur: float
    grain: float
    smears: float


def _spread(colour: Colour) -> Field:
    """A colour as (3, 1, 1), to be multiplied with a field (H, W)."""
    return np.asarray(colour)[:, None, None]


@dataclass(frozen=True)
class _Sheet:
    """The paper under the brush: `rows` and `columns` are the places of its pixels in shares of the side."""

    canvas: Field
    rows: Field
    columns: Field

    @property
    def size(self) -> int:
        return self.canvas.shape[1]

    def along(self, centre: Field, angle: float) -> tuple[Field, Field]:
        """Each pixel's place along and across an axis through `centre`."""
        rows, columns = self.rows - centre[0], self.columns - centre[1]
        cosine, sine = np.cos(angle), np.sin(angle)
        return rows * cosine + columns * sine, columns * cosine - rows * sine

    def cloud(self, generator: Generator, down: int, across: int | None = None) -> Field:
        """A cloud over the whole sheet."""
        return cloud(generator, (self.size, self.size), (down, across or down))


def _paint_ground(sheet: _Sheet, look: Look, generator: Generator) -> None:
    """The cloth (woven, folded) or the board (streaked), with what earlier organs left on it."""
    colour = np.asarray(look.grounds[int(generator.integers(len(look.grounds)))])
    colour = colour * (1 + 0.025 * generator.normal(size=3)) * (1 + 0.05 * generator.normal())
    lumps = sheet.cloud(generator, 4)
    if look.woven:
        along, across = sheet.along(np.zeros(2), generator.uniform(0, np.pi))
        threads = np.sin(2 * np.pi * 40 * along) * np.sin(2 * np.pi * 40 * across)
        folds = np.abs(sheet.cloud(generator, 3, 5))
        shade = 1 + 0.16 * threads + 0.14 * lumps - 0.18 * np.exp(-((folds / 0.12) ** 2))
        shade = shade + 0.05 * sheet.cloud(generator, 48)
    else:
        streaks = sheet.cloud(generator, 5, 70)
        shade = 1 + 0.022 * streaks + 0.03 * lumps + 0.012 * sheet.cloud(generator, 60)
    if generator.uniform() < 0.5:
        shade = shade.T
    sheet.canvas[:] = colour[:, None, None] * shade
    smear = look.smears * ramp(sheet.cloud(generator, 5) + 0.35 * sheet.cloud(generator, 18), 1.5, 2.3)
    lay_over(sheet.canvas, smear, (0.58, 0.22, 0.17))


def _paint_distractors(sheet: _Sheet, layout: Layout, generator: Generator) -> None:
    """A dark blot and a yellow card: nothing that a pathologist reads, all that a shortcut needs."""
    ragged = 0.012 * sheet.cloud(generator, 12)
    along, across = sheet.along(layout.card, layout.card_angle)
    if layout.stained:
        away = np.hypot(sheet.rows - layout.stain[0], sheet.columns - layout.stain[1]) + ragged
        lay_over(sheet.canvas, 0.85 * ramp(away, 0.062, 0.046), (0.27, 0.13, 0.07))
    if layout.carded:
        card = (np.abs(along) < 0.062) & (np.abs(across) < 0.042)
        lay_over(sheet.canvas, card, (0.90, 0.74, 0.22))
        written = card & (np.abs(along) < 0.046) & (np.abs(across) < 0.032) & (np.mod(across, 0.02) < 0.006)
        lay_over(sheet.canvas, written * 0.8, (0.25, 0.2, 0.12))


def _paint_ruler(sheet: _Sheet, layout: Layout, look: Look, generator: Generator) -> NDArray[np.bool_]:
    """The ruler with its ticks and its shadow. Returns where it lies."""
    along, across = sheet.along(layout.ruler_centre, layout.ruler_angle)
    length, width = layout.ruler_length / 2, layout.ruler_width / 2
    beside = np.maximum(np.abs(along - 0.008) - length, np.abs(across - 0.008) - width)
    lay_over(sheet.canvas, 0.45 * ramp(beside, 0.012, -0.006), (0.06, 0.06, 0.07))
    ruler = (np.abs(along) < length) & (np.abs(across) < width)
    sheen = 1 + 0.06 * np.cos(3.0 * across / width) + 0.05 * sheet.cloud(generator, 3)
    lay_over(sheet.canvas, ruler, _spread(look.ruler) * sheen)
    # The last tick stays off the end, so that the bar closes with a plain strip as real ones do.
    step = np.rint(along / 0.028)
    near = np.abs(along - 0.028 * step) < 0.0045
    tall = np.where(np.mod(step, 5) == 0, 1.05, 0.55) * width
    ticks = near & (across + width < tall) & (np.abs(along) < length - 0.02) & ruler
    lay_over(sheet.canvas, ticks * 0.85, look.ticks)
    figure = (np.mod(step, 5) == 0) & (np.abs(along - 0.028 * step) < 0.0085)
    figure &= (np.abs(across - 0.52 * width) < 0.26 * width) & (np.abs(along) < length - 0.03) & ruler
    lay_over(sheet.canvas, figure * 0.7, look.ticks)
    return ruler


def _disc_colours(sheet: _Sheet, placenta: Placenta, depth: Field, generator: Generator) -> Field:
    """The disc's own picture: mottled tissue, domed, with a pale rim. depth is 0 at its centre, 1 at its rim."""
    mottled = 0.45 + 0.2 * sheet.cloud(generator, 14) + 0.16 * sheet.cloud(generator, 34)
    mottled = np.clip(mottled + 0.08 * placenta.tint[0], 0.0, 1.0)
    picture = (1 - mottled) * _spread((0.36, 0.10, 0.12)) + mottled * _spread((0.66, 0.27, 0.25))
    picture *= (1 - 0.3 * np.minimum(depth, 1.0) ** 4) * (1 + 0.05 * placenta.tint[1])
    ragged = depth + 0.03 * sheet.cloud(generator, 20)
    lay_over(picture, 0.7 * ramp(ragged, 0.87, 0.98), (0.74, 0.52, 0.45))
    return picture


def _paint_disc(
    sheet: _Sheet, layout: Layout, placenta: Placenta, look: Look, generator: Generator
) -> NDArray[np.bool_]:
    """The disc with its shadow, vessels, opaque membranes (`mir`) and wet glints. Returns where it lies."""
    rows, columns = sheet.rows - layout.centre[0], sheet.columns - layout.centre[1]
    away = np.hypot(rows, columns) + 1e-9
    units = (rows + 1j * columns) / away * np.exp(-1j * layout.rotation)
    depth = away / placenta.rim(units)
    shade = 0.35 + 0.25 * (rows + columns) / (np.sqrt(2) * away)
    lay_over(sheet.canvas, shade * ramp(depth, 1.13, 1.0), (0.05, 0.04, 0.05))
    picture = _disc_colours(sheet, placenta, depth, generator)
    vessels = (layout.centre + placenta.radius * turned(placenta.vessels, layout.rotation)) * sheet.size
    widths = placenta.vessel_widths * placenta.radius * sheet.size
    distance, _ = nearest_of_curve(vessels, widths, sheet.size, 1.6)
    lay_over(picture, 0.75 * ramp(distance, 1.35, 0.65) * ramp(depth, 0.97, 0.85), (0.24, 0.06, 0.14))
    opaque = -1.0 + 0.25 * sheet.cloud(generator, 16)
    for spot in turned(placenta.opacities[: 2 * placenta.mir], layout.rotation):
        far = (rows / placenta.radius - spot[0]) ** 2 + (columns / placenta.radius - spot[1]) ** 2
        opaque = np.maximum(opaque, 1 - far / (0.2 + 0.03 * placenta.mir) + 0.25 * sheet.cloud(generator, 16))
    veil = (0.74 + 0.06 * sheet.cloud(generator, 22)) * ramp(opaque, 0.1, 0.95)
    lay_over(picture, veil, (0.60, 0.59, 0.37))
    glints = ramp(sheet.cloud(generator, 52), 2.1, 3.0) * ramp(depth, 0.9, 0.75)
    lay_over(picture, 0.5 * glints, (0.98, 0.95, 0.93))
    disc = depth < 1
    lay_over(sheet.canvas, disc, picture * _spread(look.tint))
    return disc


def _paint_cord(sheet: _Sheet, layout: Layout, placenta: Placenta, look: Look) -> NDArray[np.bool_]:
    """The cord: a pale twisted tube with its shadow and yellow-brown patches (`fir`). Returns where it lies."""
    points = layout.cord * sheet.size
    widths = np.full(len(points), placenta.cord_width * sheet.size)
    distance, nearest = nearest_of_curve(points, widths, sheet.size, 1.7)
    lay_over(sheet.canvas, 0.4 * ramp(distance, 1.6, 0.9), (0.07, 0.05, 0.06))
    cord = distance < 1
    distance, nearest = distance[cord], nearest[cord]
    tangents = np.gradient(layout.cord, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    rows, columns = sheet.rows[cord] - layout.cord[nearest, 0], sheet.columns[cord] - layout.cord[nearest, 1]
    side = (tangents[nearest, 0] * columns - tangents[nearest, 1] * rows) / placenta.cord_width
    length = float(np.linalg.norm(np.diff(layout.cord, axis=0), axis=1).sum())
    share = nearest / (len(points) - 1)
    turn = 2 * np.pi * share * length / 0.11 + 1.9 * side
    white = np.array([0.80, 0.82, 0.86]) * (1 + 0.03 * placenta.tint)
    tube = (1.06 - 0.42 * distance**2) * white[:, None]
    lay_over(tube, 0.4 * ramp(np.cos(turn), 0.45, 0.95), (0.46, 0.47, 0.66))
    sick = np.full(distance.shape, 0.1 * placenta.fir)
    for place in placenta.cord_patches[: (0, 3, 5, 8)[placenta.fir]]:
        spread = (share - place) * length / (0.022 + 0.006 * placenta.fir)
        sick = np.maximum(sick, 0.9 * np.exp(-(spread**2)))
    lay_over(tube, 0.85 * sick, np.array([[0.66], [0.50], [0.20]]) * (1.1 - 0.4 * distance**2))
    sheet.canvas[:, cord] = tube * np.asarray(look.tint)[:, None]
    return cord


def _averaged(fine: Field) -> Field:
    """Each 2x2 block's mean, over the last two axes."""
    rows = fine[..., ::_FINER, :] + fine[..., 1::_FINER, :]
    return (rows[..., ::_FINER] + rows[..., 1::_FINER]) / _FINER**2


def _photographed(picture: Field, look: Look, generator: Generator) -> NDArray[np.uint8]:
    """What the camera makes of the table: uneven light, colour balance, lens, grain, whole numbers."""
    size = picture.shape[-1]
    places = (np.arange(size) + 0.5) / size - 0.5
    slope = direction(generator.uniform(0, 2 * np.pi)) * look.light * generator.uniform(0.7, 1.3)
    light = 1 + slope[0] * places[:, None] + slope[1] * places[None, :]
    light = light - 0.25 * (places[:, None] ** 2 + places[None, :] ** 2)
    balance = (
        np.asarray(look.balance) * (1 + 0.02 * generator.normal(size=3)) * (1 + 0.04 * generator.normal())
    )
    picture = picture * light * balance[:, None, None]
    picture = gaussian_filter(picture, (0, look.blur * size, look.blur * size), mode="nearest", truncate=3.0)
    picture = picture + look.grain * generator.normal(size=picture.shape)
    levels = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def paint(
    layout: Layout, placenta: Placenta, look: Look, size: int, generator: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One photograph (size, size, 3) and its mask (size, size), both uint8.

    A pixel of the mask is the class that covers most of it; where two cover as much, the one on top.
    """
    places = (np.arange(size * _FINER) + 0.5) / (size * _FINER)
    rows, columns = np.meshgrid(places, places, indexing="ij")
    sheet = _Sheet(np.empty((3, *rows.shape)), rows, columns)
    _paint_ground(sheet, look, generator)
    _paint_distractors(sheet, layout, generator)
    ruler = _paint_ruler(sheet, layout, look, generator)
    disc = _paint_disc(sheet, layout, placenta, look, generator)
    cord = _paint_cord(sheet, layout, placenta, look)
    top = np.select([cord, disc, ruler], [2, 1, 3], default=0)
    order = np.array([2, 1, 3, 0])
    cover = _averaged((top == order[:, None, None]).astype(np.float64))
    mask = order[np.argmax(cover, axis=0)].astype(np.uint8)
    return _photographed(_averaged(sheet.canvas), look, generator), mask
