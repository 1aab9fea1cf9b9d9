"""The nested phantom: a small structure inside a larger one inside a body, once as by MR and once as by CT.

The two scanners map tissues to grey values differently, and not monotonically: fat is the brightest tissue of one and
the darkest of the other, bone the reverse, and the two structures change places. Bodies are drawn alike in
both, in scanner coordinates; what the arrays look like follows from each scanner's spacing, slant and flips.
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from fewmask.data.phantoms.fields import Field, Generator, cloud
from fewmask.data.phantoms.folder import Drawn, DrawnCase, checked, refuse_occupied, write_about, write_table
from fewmask.files import replaced

SIZE = 64
CASES = 12
CLASSES = ("background", "outer", "inner")
MILLIMETRES = 2  # NIfTI's code for the unit of space.


@dataclass(frozen=True)
class Scanner:
    """One of the two folders. `spacing_mm` holds at the default size; a smaller size is a coarser scan.

    `flips` are the signs of the array's axes against right, front, head. `slant` is the spread in radians of how
    obliquely patients lie. `greys` are the values of air, muscle, fat, bone, vessel, outer and inner.
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


SCANNERS = (
    Scanner(
        0, "Dataset903_NestedSource", "MR", "source_hospital", (1.0, 1.0, 3.0), (1, 1, 1), 0.12,
        (0.0, 330.0, 880.0, 60.0, 640.0, 560.0, 190.0), True,
    ),
    Scanner(
        1, "Dataset904_NestedTarget", "CT", "target_hospital", (0.8, 0.8, 2.0), (-1, -1, 1), 0.0,
        (-1000.0, 50.0, -95.0, 620.0, 210.0, 115.0, 280.0), False,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """One drawn case: grey values (int16) and mask (uint8), both (rows, columns, slices), and where they lie."""

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: Field


def _rotation(angles: Field) -> Field:
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


def _affine(scanner: Scanner, shape: tuple[int, int, int], generator: Generator) -> tuple[Field, Field]:
    """The (4, 4) voxel-to-mm matrix, and the point in mm at which the volume's centre lies."""
    spacing = np.asarray(scanner.spacing_mm) * SIZE / shape[0]
    turn = _rotation(scanner.slant * np.clip(generator.normal(size=3), -2.0, 2.0))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing * np.asarray(scanner.flips))
    centre = generator.uniform(-20, 20, size=3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine, centre


def _upright(vector: Field) -> Field:
    """A vector (3,) as (3, 1, 1, 1), to be used with places (3, rows, columns, slices)."""
    return vector[:, None, None, None]


def _length(places: Field) -> Field:
    """The distance of each place (3, ...) from the origin, never quite 0."""
    return np.sqrt((places**2).sum(axis=0)) + 1e-9


def _depth(places: Field, centre: Field, axes: Field, bumps: Field | None = None) -> Field:
    """0 at the centre of a bumpy ellipsoid, 1 on its surface. places (3, ...) and axes in one unit.

    `bumps` (3, 3) weighs the products of the direction's components: harmonics of the first and third order.
    """
    scaled = (places - _upright(centre)) / _upright(axes)
    far = _length(scaled)
    if bumps is None:
        return far
    units = scaled / far
    wave = (np.tensordot(bumps, units, axes=([0], [0])) * (units**2 - 1 / 3)).sum(axis=0)
    return far / (1 + np.clip(wave, -0.2, 0.2))


def _cover(depth: Field, radius: float, voxel: float) -> Field:
    """How much of each voxel a surface of this radius (mm) encloses, seen as locally flat."""
    return np.clip((1 - depth) * radius / voxel + 0.5, 0.0, 1.0)


def _structures(places: Field, generator: Generator) -> tuple[Field, Field, float]:
    """Depths of outer and inner, and outer's mean radius in mm.

    Inner is drawn in outer's own bent coordinates and stays below 0.93 of its depth there (0.18 aside
    and 0.62 wide, with bumps of a fifth): it can never break through.
    """
    centre = np.array([2.5, 3.0, 0.0]) + generator.normal(size=3) * np.array([1.0, 1.0, 1.5])
    axes = np.array([12.5, 10.5, 15.0]) * generator.uniform(0.88, 1.1, size=3)
    turn = _rotation(generator.normal(size=3) * 0.35)
    local = np.tensordot(turn.T, places - _upright(centre), axes=1)
    outer = _depth(local, np.zeros(3), axes, generator.normal(size=(3, 3)) * 0.16)
    straight = local / _upright(axes)
    bent = straight * (outer / _length(straight))
    aside = generator.normal(size=3)
    aside *= generator.uniform(0.08, 0.18) / np.linalg.norm(aside)
    inner = _depth(bent, aside, generator.uniform(0.52, 0.62, size=3), generator.normal(size=(3, 3)) * 0.16)
    return outer, inner, float(axes.mean())


def _tissues(
    places: Field, scanner: Scanner, voxel: float, generator: Generator
) -> tuple[Field, NDArray[np.uint8]]:
    """Noise-free grey values and the mask. places (3, ...) in mm from the body's middle; voxel in mm."""
    air, muscle, fat, bone, vessel, outer_grey, inner_grey = scanner.greys
    grey = np.full(places.shape[1:], air)

    def lay(depth: Field, radius: float, value: float) -> None:
        cover = _cover(depth, radius, voxel)
        grey[:] = grey + cover * (value - grey)

    body = np.array([23.0, 20.0, 90.0]) * generator.uniform(0.95, 1.04, size=3)
    lay(_depth(places, np.zeros(3), body), 20.0, fat)
    lay(_depth(places, np.zeros(3), body - np.array([2.6, 2.2, 5.0])), 18.0, muscle)
    # Clutter takes the greys of every other tissue, so that no grey value alone tells a structure.
    for number, value in enumerate((fat, vessel, outer_grey, inner_grey, vessel, bone)):
        angle = 2 * np.pi * (number + generator.uniform(0.1, 0.9)) / 6
        radius = generator.uniform(2.2, 3.6)
        centre = np.array([15.5 * np.cos(angle), 13.0 * np.sin(angle), generator.uniform(-18, 18)])
        axes = np.array([radius, radius, generator.uniform(4.0, 12.0)])
        lay(_depth(places, centre, axes, generator.normal(size=(3, 3)) * 0.2), radius, value)
    spine = np.array([generator.normal() * 0.5, -13.0, 0.0])
    lay(_depth(places, spine, np.array([4.2, 3.4, 80.0])), 3.8, bone)
    outer, inner, radius = _structures(places, generator)
    lay(outer, radius, outer_grey)
    lay(inner, radius / 2, inner_grey)
    return grey, np.select([inner < 1, outer < 1], [2, 1], default=0).astype(np.uint8)


def _scanned(grey: Field, scanner: Scanner, generator: Generator) -> NDArray[np.int16]:
    """What the scanner makes of the tissues: MR's coil shading and Rician noise, or CT's plain noise in HU."""
    texture = cloud(generator, grey.shape, (16, 16, 8))
    noise = generator.normal(size=(2, *grey.shape))
    if scanner.magnetic:
        shading = np.exp(0.16 * cloud(generator, grey.shape, (2, 2, 2)))
        scale = generator.uniform(0.8, 1.25)
        signal = grey * (1 + 0.04 * texture) * shading
        values = scale * np.hypot(signal + 22.0 * noise[0], 22.0 * noise[1])
    else:
        values = np.maximum(grey + 6.0 * texture * (grey > -500) + 14.0 * noise[0], -1024.0)
    return np.rint(np.clip(values, -1024.0, 3071.0)).astype(np.int16)


def scan(scanner: Scanner, case: int, seed: int, size: int) -> Volume:
    """Draw one case, which depends on nothing but its scanner, number, seed and size."""
    generator = np.random.default_rng([seed, scanner.index, case])
    shape = (size, size, round(size / 3))
    affine, centre = _affine(scanner, shape, generator)
    indices = np.indices(shape, dtype=np.float64)
    places = np.tensordot(affine[:3, :3], indices, axes=1) + _upright(affine[:3, 3] - centre)
    voxel = scanner.spacing_mm[0] * SIZE / size
    grey, mask = _tissues(places, scanner, voxel, generator)
    return Volume(_scanned(grey, scanner, generator), mask, affine)


def _write_volume(path: Path, values: np.ndarray, affine: Field) -> None:
    """Write one NIfTI volume in mm, with the affine as both of the header's forms (1: scanner coordinates)."""
    volume = nibabel.Nifti1Image(values, affine)
    volume.header.set_xyzt_units(MILLIMETRES)
    volume.set_sform(affine, code=1)
    volume.set_qform(affine, code=1)
    with replaced(path) as temporary:
        nibabel.save(volume, temporary)


def _write_scanner(root: Path, scanner: Scanner, seed: int, cases: int, size: int) -> None:
    """Write one scanner's folder; `dataset.json` comes last, so that a folder that has one is whole."""
    prefix = "source" if scanner.index == 0 else "target"
    rows: list[tuple[object, ...]] = []
    tags: list[tuple[object, ...]] = []
    for number in range(cases):
        part = "test" if number % 4 == 3 else "train"
        name = f"{prefix}{number:04d}"
        drawn = DrawnCase(name, f"{prefix}_patient{number:04d}", scanner.site, part)
        volume = scan(scanner, number, seed, size)
        _write_volume(drawn.image_path(root, ".nii.gz"), volume.image, volume.affine)
        _write_volume(drawn.mask_path(root, ".nii.gz"), volume.mask, volume.affine)
        rows.append((name, drawn.patient, drawn.site, part))
        shown = (volume.mask == CLASSES.index("inner")).any(axis=(0, 1))
        tags.extend((name, index, int(tag)) for index, tag in enumerate(shown))
    write_table(root / "cases.csv", ("case", "patient", "site", "split"), rows)
    write_table(root / "slices.csv", ("case", "slice", "inner"), tags)
    description = (
        f"Drawn bodies as by {scanner.channel}, one structure inside another; synthetic, made by fewmask"
    )
    about = Drawn(scanner.folder, description, (scanner.channel,), CLASSES, ".nii.gz", "nested", seed, size)
    write_about(root, about, sum(row[3] == "train" for row in rows))


def write_nested(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write both scanners' folders below `out`; `cases` holds for each, `size` is a slice's side in voxels."""
    cases, size = CASES if cases is None else cases, SIZE if size is None else size
    checked("nested", seed, cases, size)
    roots = tuple(out / scanner.folder for scanner in SCANNERS)
    refuse_occupied(roots)
    for root, scanner in zip(roots, SCANNERS, strict=True):
        _write_scanner(root, scanner, seed, cases, size)
    return roots
