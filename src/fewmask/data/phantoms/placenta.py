"""The placenta phantom: two hospitals that lay the same organ on different tables, beside different rulers.

In the source the ruler is bright and the cloth is dark; in the target the ruler is dark and the board is pale. A
translator that only matches colours therefore exchanges the two, which is the failure that MSL (Zhang et al. 2020,
Sec. 3.3) is about. Disc, cord and how things lie are drawn alike in both.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.phantoms.fields import Generator
from fewmask.data.phantoms.folder import Drawn, DrawnCase, checked, refuse_occupied, write_about
from fewmask.data.phantoms.placenta_paint import CLASSES, Look, paint
from fewmask.data.phantoms.placenta_scene import Layout, Placenta, draw_placenta, lay_out
from fewmask.files import replaced, write_csv

SIZE = 128

SOURCE_LOOK = Look(
    woven=True,
    grounds=((0.10, 0.20, 0.36), (0.08, 0.28, 0.34), (0.10, 0.31, 0.25), (0.13, 0.17, 0.30)),
    ruler=(0.92, 0.93, 0.92),
    ticks=(0.08, 0.08, 0.10),
    tint=(1.0, 1.0, 1.0),
    balance=(1.0, 1.0, 1.0),
    light=0.10,
    blur=0.0025,
    grain=0.010,
    smears=0.15,
)
TARGET_LOOK = Look(
    woven=False,
    grounds=((0.88, 0.85, 0.78), (0.82, 0.84, 0.86), (0.90, 0.82, 0.70), (0.84, 0.87, 0.80)),
    ruler=(0.10, 0.12, 0.20),
    ticks=(0.86, 0.86, 0.82),
    tint=(0.96, 1.06, 0.94),
    balance=(1.04, 0.99, 0.90),
    light=0.38,
    blur=0.0048,
    grain=0.020,
    smears=0.45,
)


@dataclass(frozen=True)
class Hospital:
    """One of the two folders: how many cases by default, and how closely its distractors follow the outcome.

    `agreement` is the chance that blot and card tell whether the stage is 2 or 3; with half of the patients in
    these stages, 0.95 is a correlation of 0.9 and 0.5 is none.
    """

    index: int
    folder: str
    site: str
    cases: int
    look: Look
    agreement: float


HOSPITALS = (
    Hospital(0, "Dataset901_PlacentaSource", "source_hospital", 120, SOURCE_LOOK, 0.95),
    Hospital(1, "Dataset902_PlacentaTarget", "target_hospital", 75, TARGET_LOOK, 0.5),
)


def first_photograph(case: int) -> int:
    """The case in which this case's patient is seen first: itself, but for the one photograph in ten that is a second.

    Of fifty cases, five are second photographs; the last of these is of a test patient.
    """
    block, place = divmod(case, 10)
    of_test = block % 5 == 4
    if of_test and place == 8:
        return case - 5
    return case - 1 if place == 2 and not of_test else case


def part_of(case: int) -> str:
    """Every fifth case is a test case, whatever the number of cases."""
    return "test" if case % 5 == 3 else "train"


@dataclass(frozen=True)
class Scene:
    """One case before it is painted: what lies where, and the generator that paints it."""

    placenta: Placenta
    layout: Layout
    generator: Generator


@dataclass(frozen=True)
class Photograph:
    """One painted case: the picture (size, size, 3) and its mask (size, size), both uint8."""

    scene: Scene
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def scene(hospital: Hospital, case: int, seed: int) -> Scene:
    """Draw what one case shows, which depends on nothing but its hospital, number and seed."""
    placenta = draw_placenta(np.random.default_rng([seed, hospital.index, first_photograph(case), 0]))
    generator = np.random.default_rng([seed, hospital.index, case, 1])
    told = generator.uniform(size=2) < hospital.agreement
    stained, carded = bool((placenta.fir >= 2) == told[0]), bool((placenta.mir >= 2) == told[1])
    return Scene(placenta, lay_out(generator, placenta, stained, carded), generator)


def photograph(hospital: Hospital, case: int, seed: int, size: int) -> Photograph:
    """Draw and paint one case at `size` pixels a side; another size is the same scene, but for the grain."""
    drawn = scene(hospital, case, seed)
    image, mask = paint(drawn.layout, drawn.placenta, hospital.look, size, drawn.generator)
    return Photograph(drawn, image, mask)


def _write_hospital(root: Path, hospital: Hospital, seed: int, cases: int, size: int) -> None:
    """Write one hospital's folder; `dataset.json` comes last, so that a folder that has one is whole."""
    prefix = "source" if hospital.index == 0 else "target"
    rows: list[tuple[object, ...]] = []
    for number in range(cases):
        patient = f"{prefix}_patient{first_photograph(number):04d}"
        drawn = DrawnCase(f"{prefix}{number:04d}", patient, hospital.site, part_of(number))
        photo = photograph(hospital, number, seed, size)
        for path, pixels in (
            (drawn.image_path(root, ".png"), photo.image),
            (drawn.mask_path(root, ".png"), photo.mask),
        ):
            with replaced(path) as temporary:
                Image.fromarray(pixels).save(temporary, compress_level=4)
        rows.append(
            (drawn.name, patient, drawn.site, drawn.split, photo.scene.placenta.fir, photo.scene.placenta.mir)
        )
    write_csv(root / "cases.csv", ("case", "patient", "site", "split", "fir", "mir"), rows)
    description = f"Drawn photographs of placentas as from a {prefix} hospital; synthetic, made by fewmask"
    about = Drawn(hospital.folder, description, ("R", "G", "B"), CLASSES, ".png", "placenta", seed, size)
    write_about(root, about, sum(row[3] == "train" for row in rows))


def write_placenta(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write both hospitals' folders below `out`; `cases` holds for each of them, `size` is the side in pixels."""
    size = SIZE if size is None else size
    roots = tuple(out / hospital.folder for hospital in HOSPITALS)
    checked("placenta", seed, HOSPITALS[0].cases if cases is None else cases, size)
    refuse_occupied(roots)
    for root, hospital in zip(roots, HOSPITALS, strict=True):
        _write_hospital(root, hospital, seed, hospital.cases if cases is None else cases, size)
    return roots
