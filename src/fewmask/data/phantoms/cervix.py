"""The cervix phantom: transvaginal scans with the cervix, its outline, callipers, and who gave birth too early.

One patient in ten did. Her risk is drawn in what a scan can show: a short cervix, an inner end that has opened like a
funnel, an obtuse uterocervical angle, and tissue whose echo is low and even because it has softened. The length that
is written down tells some of it, all signs together most, and chance keeps the rest. Bladder, the head's edge, walls
and rectum lie around the cervix, and no grey is its own: gain and shadows differ from scan to scan, and speckle by more
than tissues. Clinics differ in the probe, the gain and the zoom. Whether callipers and figures are there is drawn
without regard to the outcome; but callipers lie at the canal's ends, as in life.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from fewmask.data.phantoms.cervix_marks import mark_canal, write_margin
from fewmask.data.phantoms.cervix_paint import Machine, in_pixels, paint
from fewmask.data.phantoms.cervix_shape import Cervix, coverage, draw_cervix, lay_out
from fewmask.data.phantoms.fields import Field
from fewmask.data.phantoms.folder import Drawn, DrawnCase, checked, refuse_occupied, write_about
from fewmask.files import replaced, write_csv

FOLDER = "Dataset910_CervixPhantom"
CLASSES = ("background", "cervix")
SIZE = 128

CASES = 600
"""Pictures, of about 240 patients, half of them for the test.

300 to train on, 35 of them preterm, are about as many as Wlodarczyk et al. 2020 had in all (354, 35). Of as many
to test on, 12 of 120 patients have the outcome, which leaves an AUC of 0.8 a standard error of 0.08; with 4 of 40 it
would be 0.14. Test pictures cost no training.
"""

BLOCK = 20
"""Of so many patients in a row one in the training part and one in the test part has the outcome."""

MOST_IMAGES = 4


@dataclass(frozen=True)
class Clinic:
    """A site: its machine, and how many mm its pictures measure from side to side."""

    site: str
    machine: Machine
    sides_mm: tuple[float, ...]


CLINICS = (
    Clinic(
        "clinic_a",
        Machine(0.15, 1.15, gain=0.60, range_db=58.0, fading=0.13, floor_db=-38.0),
        (66.0, 72.0, 78.0),
    ),
    Clinic(
        "clinic_b",
        Machine(7.0, 0.064, gain=0.53, range_db=54.0, fading=0.17, floor_db=-30.0),
        (60.0, 66.0, 72.0),
    ),
)


@dataclass(frozen=True)
class Patient:
    """One patient: her cervix, her outcome, and the risk (a probability) that the outcome was drawn with.

    `measured_mm` is the length that a sonographer wrote down, None where nobody did. The risk is for tests and is
    written nowhere.
    """

    number: int
    cervix: Cervix
    clinic: Clinic
    images: int
    measured_mm: float | None
    preterm: bool
    risk: float

    @property
    def part(self) -> str:
        """Every second patient is a test patient."""
        return "test" if self.number % 2 else "train"


@dataclass(frozen=True)
class DrawnCervix:
    """One scan: picture (size, size, 3) and mask (size, size), uint8, and where callipers hide the picture.

    `control_points` (3n, 2) are x and y, in pixels from the picture's corner, of the outline's n cubic Bezier curves:
    curve i has the points 3i to 3i + 3, and the last curve ends in point 0. A pixel's middle is at (0.5, 0.5).
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    callipers: NDArray[np.bool_]
    control_points: Field
    pixel_mm: float


def risk_of(cervix: Cervix) -> float:
    """The probability of birth before term that a cervix carries, by a logistic model of its four signs.

    Over all patients its AUC is about 0.9, that of the length alone 0.75.
    """
    short = (35.0 - cervix.length_mm) / 7.0
    obtuse = (cervix.angle - 97.0) / 17.0
    signs = 0.9 * short + 2.4 * cervix.funnel + 0.8 * obtuse + 1.4 * cervix.softness
    return float(expit(-3.8 + signs))


def _preterm(number: int, seed: int) -> bool:
    """Whether a patient is the one of her part, in her block, who has the outcome.

    In the first block these are the third and the fourth, so that a dozen pictures hold both outcomes on both sides.
    """
    block, place = divmod(number, BLOCK)
    chosen = np.random.default_rng([seed, block, 0, 1]).integers(BLOCK // 2, size=2) if block else (1, 1)
    return place // 2 == int(chosen[place % 2])


def patient(number: int, seed: int) -> Patient:
    """Draw one patient, who depends on nothing but her number and the seed.

    Her outcome is settled first, and she is drawn again until chance, at the odds of her risk, agrees with it: the
    share of outcomes is exact, and among those with and without it patients are as the model has them.
    """
    generator = np.random.default_rng([seed, number, 0])
    # The first patient leaves one of four pictures to the second, so that both parts have some.
    images = int(generator.integers(1, MOST_IMAGES if number == 0 else MOST_IMAGES + 1))
    clinic = CLINICS[int(generator.integers(len(CLINICS)))]
    written, slip = generator.uniform() < 0.85, 2.5 * float(np.clip(generator.normal(), -2.5, 2.5))
    preterm = _preterm(number, seed)
    while True:
        cervix = draw_cervix(generator)
        risk = risk_of(cervix)
        if (generator.uniform() < risk) == preterm:
            break
    measured = round(cervix.length_mm + slip, 1) if written else None
    return Patient(number, cervix, clinic, images, measured, preterm, risk)


def scan(whose: Patient, image: int, seed: int, size: int) -> DrawnCervix:
    """Draw one picture of a patient, which depends on nothing but her, its number, the seed and the size.

    A pixel is cervix where at least half of it is. Another size is the same scene but for the speckle.
    """
    generator = np.random.default_rng([seed, whose.number, image + 1])
    clinic = whose.clinic
    side_mm = float(generator.choice(clinic.sides_mm))
    where = complex(generator.normal(0.02, 0.02), generator.normal(0.42, 0.025)) * side_mm
    view = lay_out(whose.cervix, where, generator)
    # The depth is turned up until the cervix fits.
    side_mm = max(side_mm, 6.0 * np.ceil(2.2 * float(np.abs(view.outline.real).max()) / 6.0))
    outline = in_pixels(view.outline, side_mm, size)
    points = np.stack([outline.real, outline.imag], axis=-1)
    cover = coverage(points, size)
    grey = paint(whose.cervix, view, cover, clinic.machine, side_mm, generator)
    # How often the noise was drawn follows the size, and what is written over the picture must not.
    marks = np.random.default_rng([seed, whose.number, image + 1, 1])
    written, measured = marks.uniform(size=2) < (0.35, 0.4)
    if written:
        write_margin(grey, marks)
    picture = np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    callipers = np.zeros((size, size), dtype=np.bool_)
    if measured:
        inner, outer = in_pixels(view.axis.place(np.array([0.0, view.axis.length]), 0.0), side_mm, size)
        callipers = mark_canal(picture, complex(inner), complex(outer), marks)
    return DrawnCervix(picture, (cover >= 0.5).astype(np.uint8), callipers, points, side_mm / size)


def pictures(seed: int, cases: int) -> Iterator[tuple[Patient, int]]:
    """Patient after patient, each with all of her pictures' numbers, until there are `cases`."""
    number = 0
    while cases > 0:
        whose = patient(number, seed)
        for image in range(min(whose.images, cases)):
            yield whose, image
        number, cases = number + 1, cases - whose.images


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    with replaced(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=4)


def _write(root: Path, seed: int, cases: int, size: int) -> None:
    """Write the folder; `dataset.json` comes last, so that a folder that has one is whole."""
    rows: list[tuple[object, ...]] = []
    outlines: list[tuple[object, ...]] = []
    for index, (whose, image) in enumerate(pictures(seed, cases)):
        drawn = DrawnCase(f"cervix{index:04d}", f"patient{whose.number:04d}", whose.clinic.site, whose.part)
        seen = scan(whose, image, seed, size)
        _write_picture(drawn.image_path(root, ".png"), seen.image)
        _write_picture(drawn.mask_path(root, ".png"), seen.mask)
        _write_picture(root / "callipers" / f"{drawn.name}.png", seen.callipers.astype(np.uint8) * 255)
        told = (int(whose.preterm), whose.measured_mm, round(seen.pixel_mm, 6))
        rows.append((drawn.name, drawn.patient, drawn.site, drawn.split, *told))
        points = "; ".join(f"{x:.3f} {y:.3f}" for x, y in seen.control_points)
        outlines.append((drawn.name, CLASSES[1], "bezier", points))
    head = ("case", "patient", "site", "split", "preterm", "cervical_length_mm", "pixel_mm")
    write_csv(root / "cases.csv", head, rows)
    write_csv(root / "outlines.csv", ("image", "label", "kind", "points"), outlines)
    description = "Drawn transvaginal scans with the cervix and birth before term; synthetic, made by fewmask"
    about = Drawn(FOLDER, description, ("R", "G", "B"), CLASSES, ".png", "cervix", seed, size)
    write_about(root, about, sum(row[3] == "train" for row in rows))


def write_cervix(out: Path, seed: int, cases: int | None, size: int | None) -> tuple[Path, ...]:
    """Write the folder below `out`; `cases` is the number of pictures, of which a patient has one to four."""
    cases, size = CASES if cases is None else cases, SIZE if size is None else size
    checked("cervix", seed, cases, size)
    root = out / FOLDER
    refuse_occupied([root])
    _write(root, seed, cases, size)
    return (root,)
