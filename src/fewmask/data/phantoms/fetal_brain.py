"""The fetal phantom: stacks of thick slices through a mother's belly, in about a quarter of which the brain shows.

Made for tags ("this slice shows the brain"), with masks beside them to score by. What makes it hard: the brain is
medium grey behind a bright rim, and no brightness is its own. Fluid around the head, urine and the mother's
spinal fluid are as bright as the rim, and placenta, uterine wall, fetal trunk and kidneys as grey as the brain. Cysts,
hips, bowel loops and the spinal canal are round and bright-rimmed too, smaller or fainter, and lie in slices with and
without the brain. The head lies and is turned at random; slices are thick, so that the first and last blur into what
lies beside them; their brightness jumps from one to the next, and the head moves between them; the coil shades. All
of this was fixed before any method was run on it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.data.phantoms.bodies import Canvas, Volume, rotation
from fewmask.data.phantoms.fetal_brain_paint import (
    close_belly,
    paint_fetus,
    paint_head,
    paint_lumps,
    paint_mother,
    paint_uterus,
    place_head,
    varied,
)
from fewmask.data.phantoms.fields import Field, Generator, cloud, ramp
from fewmask.data.phantoms.folder import Drawn, DrawnCase, checked, refuse_occupied, write_about
from fewmask.data.volume import write_volume
from fewmask.files import write_csv

FOLDER = "Dataset909_FetalBrain"
CLASSES = ("background", "brain")
CASES, SIZE, TEST_EVERY = 40, 128, 4
SITE = "maternity"

PIXEL_MM, THICKNESS_MM = (0.5547, 0.6719), (6.50, 7.15)
"""The ranges of the data of Fu et al. 2023 (UM-CAM), at the default size. Differs: bodies are a quarter as large as
people's, because 128 pixels and not 512 must hold one; stacks have 16 to 20 slices and not about 50."""

FEWEST_SLICES, MOST_SLICES = 16, 20
_WITHIN = 3
"""How many thin slices are averaged into a thick one."""


@dataclass(frozen=True)
class Stack:
    """How one case is scanned: its slices, and the size of a voxel in mm."""

    slices: int
    spacing_mm: tuple[float, float, float]


def _stack(size: int, generator: Generator) -> Stack:
    slices = int(generator.integers(FEWEST_SLICES, MOST_SLICES + 1))
    pixel = float(generator.uniform(*PIXEL_MM)) * SIZE / size
    return Stack(slices, (pixel, pixel, float(generator.uniform(*THICKNESS_MM))))


def _canvas(size: int, stack: Stack, generator: Generator) -> Canvas:
    """Air, in slices a third as thick as they will be. The mother lies somewhat beside the middle."""
    shape = (size, size, stack.slices * _WITHIN)
    steps = np.asarray(stack.spacing_mm) / (1, 1, _WITHIN)
    lines = [(np.arange(count) - (count - 1) / 2) * step for count, step in zip(shape, steps, strict=True)]
    # Rows run from right to left and columns from front to back, as the file's affine says.
    places = np.stack(np.meshgrid(-lines[0], -lines[1], lines[2], indexing="ij"))
    places[:2] += generator.uniform(-6, 6, size=2)[:, None, None, None]
    return Canvas(places, stack.spacing_mm[0], np.full(shape, 0.01), np.zeros(shape, dtype=np.uint8))


def _moved_between_slices(canvas: Canvas, slices: int, generator: Generator) -> Canvas:
    """The same canvas, seen by what moves while the slices are taken one after the other."""
    shifts = 0.45 * np.clip(generator.normal(size=(2, slices)), -2.0, 2.0)
    places = canvas.places.copy()
    places[:2] += np.repeat(shifts, _WITHIN, axis=1)[:, None, None, :]
    return Canvas(places, canvas.voxel, canvas.grey, canvas.mask)


def _scanned(signal: Field, generator: Generator) -> NDArray[np.int16]:
    """What the scanner makes of the tissues (rows, columns, slices): shading, slices unlike each other, noise."""
    slices = signal.shape[2]
    signal = signal * (1 + 0.05 * cloud(generator, signal.shape, (24, 24, 18)))
    signal *= np.exp(0.22 * cloud(generator, signal.shape, (2, 2, 2)))
    # Slices are taken every other one first; what moved in between is darker or brighter as a whole, or in a patch.
    level = 1 + 0.09 * np.clip(generator.normal(size=slices), -2.0, 2.0)
    level[1::2] *= generator.uniform(0.88, 1.0)
    spoilt = np.where(generator.uniform(size=slices) < 0.2, generator.uniform(0.2, 0.6, size=slices), 0.0)
    patches = np.stack(
        [ramp(cloud(generator, signal.shape[:2], (3, 3)), 0.2, 1.6) for _ in range(slices)], axis=-1
    )
    signal *= level * (1 - spoilt * patches)
    noise = 0.035 * generator.normal(size=(2, *signal.shape))
    values = 1000 * generator.uniform(0.7, 1.3) * np.hypot(signal + noise[0], noise[1])
    return np.rint(np.clip(values, 0.0, 4095.0)).astype(np.int16)


def _affine(shape: tuple[int, ...], stack: Stack, generator: Generator) -> Field:
    """The (4, 4) voxel-to-mm matrix of a slightly oblique axial stack, stored from right to left and front to back."""
    affine = np.eye(4)
    turn = rotation(0.08 * np.clip(generator.normal(size=3), -2.0, 2.0))
    affine[:3, :3] = turn @ np.diag(np.asarray(stack.spacing_mm) * (-1, -1, 1))
    affine[:3, 3] = generator.uniform(-20, 20, size=3) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def scan(case: int, seed: int, size: int) -> Volume:
    """Draw one case (size, size, 16 to 20), which depends on nothing but its number, seed and size.

    A voxel is brain where at least two of the three thin slices in it are. Another size is the same scene but for
    the noise.
    """
    generator = np.random.default_rng([seed, case])
    stack = _stack(size, generator)
    greys = varied(generator)
    canvas = _canvas(size, stack, generator)
    belly = paint_mother(canvas, greys, generator)
    cavity = paint_uterus(canvas, greys, generator)
    paint_lumps(canvas, cavity, greys, generator)
    moving = _moved_between_slices(canvas, stack.slices, generator)
    head = place_head(cavity, generator)
    paint_fetus(moving, head, cavity, greys, generator)
    close_belly(canvas, belly, greys)
    paint_head(moving, head, greys, generator)
    shape = (size, size, stack.slices)
    thin = (*shape, _WITHIN)
    mask = (canvas.mask.reshape(thin).sum(axis=-1) * 2 > _WITHIN).astype(np.uint8)
    affine = _affine(shape, stack, generator)
    return Volume(_scanned(canvas.grey.reshape(thin).mean(axis=-1), generator), mask, affine)


def _write(root: Path, seed: int, cases: int, size: int) -> None:
    """Write the folder; `dataset.json` comes last, so that a folder that has one is whole."""
    rows: list[tuple[object, ...]] = []
    tags: list[tuple[object, ...]] = []
    for number in range(cases):
        part = "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"
        drawn = DrawnCase(f"fetus{number:04d}", f"mother{number:04d}", SITE, part)
        volume = scan(number, seed, size)
        write_volume(volume.image, volume.affine, drawn.image_path(root, ".nii.gz"))
        write_volume(volume.mask, volume.affine, drawn.mask_path(root, ".nii.gz"))
        rows.append((drawn.name, drawn.patient, drawn.site, part))
        shown = volume.mask.max(axis=(0, 1)).tolist()
        tags.extend((drawn.name, index, tag) for index, tag in enumerate(shown))
    write_csv(root / "cases.csv", ("case", "patient", "site", "split"), rows)
    write_csv(root / "slices.csv", ("case", "slice", CLASSES[1]), tags)
    description = "Drawn stacks as by fetal T2-weighted MR, with the brain; synthetic, made by fewmask"
    about = Drawn(FOLDER, description, ("T2w",), CLASSES, ".nii.gz", "fetal_brain", seed, size)
    write_about(root, about, sum(row[3] == "train" for row in rows))


def write_fetal_brain(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write the folder below `out`; `size` is a slice's side in pixels, the number of slices does not follow it."""
    cases, size = CASES if cases is None else cases, SIZE if size is None else size
    checked("fetal_brain", seed, cases, size)
    root = out / FOLDER
    refuse_occupied([root])
    _write(root, seed, cases, size)
    return (root,)
