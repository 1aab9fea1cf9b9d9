"""Drawn bodies in three dimensions: how they are laid, scanned and written as two scanners' folders.

A body is drawn in scanner coordinates (mm to the right, to the front, to the head); what the arrays look like
follows from each scanner's spacing, slant and flips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.data.phantoms.fields import Field, Generator, cloud
from fewmask.data.phantoms.folder import Drawn, DrawnCase, checked, refuse_occupied, write_about
from fewmask.data.volume import write_volume
from fewmask.files import write_csv

SIZE = 64

Place = tuple[float, float, float] | Field


@dataclass(frozen=True)
class Scanner:
    """One of the two folders. `spacing_mm` and `slices` hold at the default size; a smaller size is a coarser scan.

    `flips` are the signs of the array's axes against right, front, head. `slant` is the spread in radians of how
    obliquely patients lie. `greys` are the tissues' values, in the anatomy's own order. `noise` is a deviation in
    grey values; `texture` one too in CT, but a share of the signal in MR (`magnetic`), as `shading` is.
    """

    index: int
    folder: str
    channel: str
    site: str
    spacing_mm: tuple[float, float, float]
    flips: tuple[int, int, int]
    slant: float
    greys: tuple[float, ...]
    magnetic: bool
    noise: float
    texture: float
    shading: float = 0.0
    slices: float = SIZE / 3

    def shape(self, size: int) -> tuple[int, int, int]:
        """Rows, columns and slices at `size` voxels a side."""
        return size, size, round(self.slices * size / SIZE)


@dataclass(frozen=True)
class Volume:
    """One drawn case: grey values (int16) and mask (uint8), both (rows, columns, slices), and where they lie."""

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: Field


@dataclass(frozen=True)
class Canvas:
    """A body while it is drawn: what is laid later takes over the voxels, their grey values and their classes.

    places (3, rows, columns, slices) and voxel in mm.
    """

    places: Field
    voxel: float
    grey: Field
    mask: NDArray[np.uint8]

    def moved(self, centre: Place, turn: Field, scale: float) -> "Canvas":
        """The same voxels in the coordinates of a part that lies at `centre`, turned and `scale` times as large."""
        local = np.tensordot(turn.T, self.places - upright(np.asarray(centre)), axes=1) / scale
        return Canvas(local, self.voxel / scale, self.grey, self.mask)

    def lay(self, depth: Field, radius: float, grey: float, value: int = 0) -> None:
        """Lay what lies below depth 1; its surface is about `radius` mm from where the depth is 0."""
        # In place, because most of the time would go into fresh memory.
        cover = 1 - depth
        cover *= radius
        cover /= self.voxel
        cover += 0.5
        np.clip(cover, 0.0, 1.0, out=cover)
        cover *= grey - self.grey
        self.grey[:] += cover
        self.mask[depth < 1] = value

    def lay_ellipsoid(
        self, centre: Place, axes: Place, grey: float, value: int = 0, bumps: Field | None = None
    ) -> None:
        """Lay a bumpy ellipsoid that stands upright in this canvas's coordinates."""
        half = np.asarray(axes, dtype=np.float64)
        depth = depth_in(self.places, np.asarray(centre, dtype=np.float64), half, bumps)
        self.lay(depth, float(np.sort(half)[:2].mean()), grey, value)

    def lay_tube(self, points: Sequence[Place], radius: float, grey: float, value: int = 0) -> None:
        """Lay a tube along straight pieces between points."""
        self.lay(depth_in_tube(self.places, points, radius), radius, grey, value)


Paint = Callable[[Canvas, Scanner, Generator], None]


@dataclass(frozen=True)
class Anatomy:
    """A kind of drawn body: its classes (the first is background), its two scanners and who paints it.

    Every `test_every`-th case is a test case. `tagged` names the class of which `slices.csv` tells the slices.
    """

    kind: str
    shows: str
    classes: tuple[str, ...]
    scanners: tuple[Scanner, Scanner]
    paint: Paint
    cases: int
    test_every: int
    tagged: str = ""


def rotation(angles: Field) -> Field:
    """The (3, 3) rotation about x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        plane = np.eye(3)
        plane[first, first] = plane[second, second] = np.cos(angle)
        plane[second, first] = np.sin(angle)
        plane[first, second] = -plane[second, first]
        turned = plane @ turned
    return turned


def upright(vector: Field) -> Field:
    """A vector (3,) as (3, 1, 1, 1), to be used with places (3, rows, columns, slices)."""
    return vector[:, None, None, None]


def length(places: Field) -> Field:
    """The distance of each place (3, ...) from the origin, never quite 0."""
    return np.sqrt((places**2).sum(axis=0)) + 1e-9


def depth_in(places: Field, centre: Field, axes: Field, bumps: Field | None = None) -> Field:
    """0 at the centre of a bumpy ellipsoid, 1 on its surface. places (3, ...) and axes in one unit.

    `bumps` (3, 3) weighs the products of the direction's components: harmonics of the first and third order.
    """
    scaled = places - upright(centre)
    scaled /= upright(axes)
    far = length(scaled)
    if bumps is None:
        return far
    units = scaled / far
    wave = (np.tensordot(bumps, units, axes=([0], [0])) * (units**2 - 1 / 3)).sum(axis=0)
    return far / (1 + np.clip(wave, -0.2, 0.2))


def depth_in_tube(places: Field, points: Sequence[Place], radius: float) -> Field:
    """The distance of each place (3, ...) from a line through points, in radii."""
    nearest = np.full(places.shape[1:], np.inf)
    ends = np.asarray(points, dtype=np.float64)
    for start, end in pairwise(ends):
        piece = end - start
        away = places - upright(start)
        share = np.tensordot(piece / float(piece @ piece), away, axes=1)
        np.clip(share, 0.0, 1.0, out=share)
        for axis in range(3):
            away[axis] -= share * piece[axis]
        away *= away
        np.minimum(nearest, away.sum(axis=0), out=nearest)
    return np.sqrt(nearest) / radius


def _affine(scanner: Scanner, shape: tuple[int, int, int], generator: Generator) -> tuple[Field, Field]:
    """The (4, 4) voxel-to-mm matrix, and the point in mm at which the volume's centre lies."""
    spacing = np.asarray(scanner.spacing_mm) * SIZE / shape[0]
    turn = rotation(scanner.slant * np.clip(generator.normal(size=3), -2.0, 2.0))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing * np.asarray(scanner.flips))
    centre = generator.uniform(-20, 20, size=3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine, centre


def _scanned(grey: Field, scanner: Scanner, generator: Generator) -> NDArray[np.int16]:
    """What the scanner makes of the tissues: MR's coil shading and Rician noise, or CT's plain noise in HU."""
    texture = cloud(generator, grey.shape, (16, 16, 8))
    noise = scanner.noise * generator.normal(size=(2, *grey.shape))
    if scanner.magnetic:
        shading = np.exp(scanner.shading * cloud(generator, grey.shape, (2, 2, 2)))
        scale = generator.uniform(0.8, 1.25)
        signal = grey * (1 + scanner.texture * texture) * shading
        values = scale * np.hypot(signal + noise[0], noise[1])
    else:
        values = np.maximum(grey + scanner.texture * texture * (grey > -500) + noise[0], -1024.0)
    return np.rint(np.clip(values, -1024.0, 3071.0)).astype(np.int16)


def varied_greys(scanner: Scanner, generator: Generator, spread: float) -> list[float]:
    """The scanner's greys, of which each patient's differ a little; those of air and lung, the first two, do not."""
    greys = np.asarray(scanner.greys)
    greys[2:] += spread * np.clip(generator.normal(size=len(greys) - 2), -2.0, 2.0)
    return [float(grey) for grey in greys]


def mild_bumps(generator: Generator) -> Field:
    """Bumps as an organ's surface has them."""
    return 0.12 * generator.normal(size=(3, 3))


def scan(anatomy: Anatomy, scanner: Scanner, case: int, seed: int, size: int) -> Volume:
    """Draw one case, which depends on nothing but its anatomy, scanner, number, seed and size."""
    generator = np.random.default_rng([seed, scanner.index, case])
    shape = scanner.shape(size)
    affine, centre = _affine(scanner, shape, generator)
    indices = np.indices(shape, dtype=np.float64)
    places = np.tensordot(affine[:3, :3], indices, axes=1) + upright(affine[:3, 3] - centre)
    air = np.full(shape, scanner.greys[0])
    canvas = Canvas(places, scanner.spacing_mm[0] * SIZE / size, air, np.zeros(shape, dtype=np.uint8))
    anatomy.paint(canvas, scanner, generator)
    return Volume(_scanned(canvas.grey, scanner, generator), canvas.mask, affine)


def _write_scanner(root: Path, anatomy: Anatomy, scanner: Scanner, seed: int, cases: int, size: int) -> None:
    """Write one scanner's folder; `dataset.json` comes last, so that a folder that has one is whole."""
    prefix = "source" if scanner.index == 0 else "target"
    rows: list[tuple[object, ...]] = []
    tags: list[tuple[object, ...]] = []
    for number in range(cases):
        part = "test" if number % anatomy.test_every == 3 else "train"
        name = f"{prefix}{number:04d}"
        drawn = DrawnCase(name, f"{prefix}_patient{number:04d}", scanner.site, part)
        volume = scan(anatomy, scanner, number, seed, size)
        write_volume(volume.image, volume.affine, drawn.image_path(root, ".nii.gz"))
        write_volume(volume.mask, volume.affine, drawn.mask_path(root, ".nii.gz"))
        rows.append((name, drawn.patient, drawn.site, part))
        if anatomy.tagged:
            shown = (volume.mask == anatomy.classes.index(anatomy.tagged)).any(axis=(0, 1))
            tags.extend((name, index, int(tag)) for index, tag in enumerate(shown))
    write_csv(root / "cases.csv", ("case", "patient", "site", "split"), rows)
    if anatomy.tagged:
        write_csv(root / "slices.csv", ("case", "slice", anatomy.tagged), tags)
    description = f"Drawn bodies as by {scanner.channel}, {anatomy.shows}; synthetic, made by fewmask"
    about = Drawn(
        scanner.folder, description, (scanner.channel,), anatomy.classes, ".nii.gz", anatomy.kind, seed, size
    )
    write_about(root, about, sum(row[3] == "train" for row in rows))


def write_bodies(
    anatomy: Anatomy, out: Path, seed: int, cases: int | None, size: int | None
) -> tuple[Path, ...]:
    """Write both scanners' folders below `out`; `cases` holds for each, `size` is a slice's side in voxels."""
    cases, size = anatomy.cases if cases is None else cases, SIZE if size is None else size
    checked(anatomy.kind, seed, cases, size)
    roots = tuple(out / scanner.folder for scanner in anatomy.scanners)
    refuse_occupied(roots)
    for root, scanner in zip(roots, anatomy.scanners, strict=True):
        _write_scanner(root, anatomy, scanner, seed, cases, size)
    return roots
