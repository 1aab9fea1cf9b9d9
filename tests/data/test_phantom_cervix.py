"""The cervix phantom: one patient in ten has the outcome, scans show her risk, and callipers tell nothing of it."""

import csv
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as ClosedPath
from PIL import Image
from scipy.ndimage import binary_dilation, label
from tests.data.drawn_organs import best_dice

from fewmask.data.layouts import read_cohort
from fewmask.data.outlines.bezier import bezier_path, flattened
from fewmask.data.outlines.shape import BezierPath
from fewmask.data.outlines.winding import crossing
from fewmask.data.phantoms.cervix import (
    BLOCK,
    CLINICS,
    DrawnCervix,
    Patient,
    patient,
    pictures,
    risk_of,
    scan,
    write_cervix,
)
from fewmask.data.phantoms.cervix_shape import coverage, draw_cervix, lay_out
from fewmask.errors import InputFault
from fewmask.metrics.classification import auc
from fewmask.metrics.markers import axis_length

INNER_END, OUTER_TIP = 21, 9
"""Where the outline's control points touch the canal's inner end, and the tip beyond its outer one."""


@cache
def women() -> list[Patient]:
    return [patient(number, 0) for number in range(1000)]


@cache
def drawn(number: int, image: int, size: int = 64) -> DrawnCervix:
    return scan(patient(number, 0), image, 0, size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cervix(tmp_path_factory.mktemp("cervix"), 0, 40, 32)[0]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_one_patient_in_ten_has_the_outcome_on_either_side():
    preterm = np.array([woman.preterm for woman in women()])
    assert preterm.mean() == 0.1
    assert (preterm.reshape(-1, BLOCK)[:, ::2].sum(axis=1) == 1).all(), "one train patient of each block"
    assert (preterm.reshape(-1, BLOCK)[:, 1::2].sum(axis=1) == 1).all(), "one test patient of each block"
    places = np.flatnonzero(preterm) % BLOCK
    assert len(set(places[2:])) == BLOCK, "but any of them"


@pytest.mark.parametrize("seed", range(6))
def test_a_dozen_pictures_hold_both_outcomes_on_both_sides_and_four_both_sides(seed):
    few = [whose for whose, _ in pictures(seed, 12)]
    assert {(whose.part, whose.preterm) for whose in few} >= {
        (part, preterm) for part in ("train", "test") for preterm in (False, True)
    }
    assert {whose.part for whose, _ in pictures(seed, 4)} == {"train", "test"}


def test_the_latent_risk_tells_the_outcome_and_the_length_alone_tells_less():
    preterm = [woman.preterm for woman in women()]
    best = auc([woman.risk for woman in women()], preterm)
    assert best is not None and 0.85 < best < 0.92
    for sign in ("length_mm", "funnel", "angle", "softness"):
        way = -1 if sign == "length_mm" else 1
        alone = auc([way * getattr(woman.cervix, sign) for woman in women()], preterm)
        assert alone is not None and 0.6 < alone < best - 0.08, sign
    written = [woman for woman in women() if woman.measured_mm is not None]
    by_hand = auc([-(woman.measured_mm or 0) for woman in written], [woman.preterm for woman in written])
    assert by_hand is not None and 0.6 < by_hand < best - 0.08


def test_settling_outcomes_first_leaves_the_risk_a_probability():
    """Drawn freely, a tenth would have the outcome; and of those with a risk p about p have it."""
    generator = np.random.default_rng(5)
    free = np.array([risk_of(draw_cervix(generator)) for _ in range(4000)])
    assert free.mean() == pytest.approx(0.1, abs=0.01)
    risk, preterm = np.array([(woman.risk, woman.preterm) for woman in women()]).T
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        group = (risk >= low) & (risk < high)
        mean = risk[group].mean()
        error = 3 * np.sqrt(mean * (1 - mean) / group.sum())
        assert preterm[group].mean() == pytest.approx(mean, abs=error), (low, high)
    quantiles = np.linspace(0.05, 0.95, 10)
    assert np.quantile(risk, quantiles) == pytest.approx(np.quantile(free, quantiles), rel=0.25)


def test_a_sonographer_measures_with_some_error_and_not_always():
    error = np.array(
        [w.measured_mm - w.cervix.length_mm for w in women() if w.measured_mm is not None], dtype=float
    )
    assert 0.1 < 1 - len(error) / 1000 < 0.2
    assert abs(error.mean()) < 0.3
    assert 2.0 < error.std() < 2.6
    assert {w.images for w in women()} == {1, 2, 3, 4}
    assert np.mean([w.images for w in women()]) == pytest.approx(2.5, abs=0.1)


def test_callipers_know_nothing_of_the_outcome():
    with_outcome = [w.number for w in women() if w.preterm][:45]
    without = [number + (2 if number % BLOCK < BLOCK - 2 else -2) for number in with_outcome]
    assert not any(women()[number].preterm for number in without)
    shares = [
        np.mean([drawn(number, image, 32).callipers.any() for number in group for image in range(4)])
        for group in (with_outcome, without)
    ]
    # Three standard errors of a share of 0.4 in 180 pictures.
    assert shares == pytest.approx([0.4, 0.4], abs=0.11)


def test_callipers_are_all_that_is_coloured_and_lie_at_the_canals_ends():
    seen = 0
    for number in range(20):
        picture = drawn(number, 0, 128)
        image = picture.image.astype(int)
        coloured = image.max(axis=2) - image.min(axis=2)
        assert (coloured[~picture.callipers] == 0).all()
        assert (coloured[picture.callipers] > 100).all()
        if not picture.callipers.any():
            continue
        seen += 1
        places = np.argwhere(picture.callipers)[:, ::-1] + 0.5
        for at in (INNER_END, OUTER_TIP):
            away = np.linalg.norm(places - picture.control_points[at], axis=1)
            assert away.min() < 0.04 * 128
        assert (picture.mask[picture.callipers] == 1).mean() > 0.6
    assert 4 <= seen <= 13


def area_and_centre(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Green's theorem on each cubic, integrated by Gauss's rule of 12 points, which is exact for polynomials."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    t, weights = (nodes + 1) / 2, weights / 2
    area, moment = 0.0, np.zeros(2)
    for start in range(0, len(points), 3):
        ends = points[[(start + offset) % len(points) for offset in range(4)]]
        curve = np.array([np.polynomial.Polynomial([1, -1]) ** (3 - k) * np.polynomial.Polynomial([0, 1]) ** k
                          * (1, 3, 3, 1)[k] for k in range(4)])  # fmt: skip
        x, y = (sum(curve * ends[:, axis]) for axis in range(2))
        area += float((weights * x(t) * y.deriv()(t)).sum())
        moment += [
            (weights * x(t) ** 2 * y.deriv()(t)).sum() / 2,
            -(weights * y(t) ** 2 * x.deriv()(t)).sum() / 2,
        ]
    return area, moment / area


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_mask_is_the_outlines_inside(size):
    for number in range(5):
        picture = drawn(number, 0, size)
        area, centre = area_and_centre(picture.control_points)
        assert picture.mask.sum() == pytest.approx(area, rel=1.5 / size)
        places = np.argwhere(picture.mask)[:, ::-1] + 0.5
        assert places.mean(axis=0) == pytest.approx(centre, abs=0.2)


def test_a_pixel_is_covered_as_far_as_an_independent_figure_covers_it():
    points = drawn(2, 0, 64).control_points
    t = np.linspace(0, 1, 200, endpoint=False)[:, None]
    line = np.concatenate([
        (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
        for p in (np.concatenate([points, points[:1]])[i : i + 4] for i in range(0, len(points), 3))
    ])  # fmt: skip
    places = (np.arange(384) + 0.5) / 6
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    inside = ClosedPath(line).contains_points(grid).reshape(64, 6, 64, 6).mean(axis=(1, 3))
    assert np.abs(coverage(points, 64) - inside).max() < 0.15
    assert coverage(points, 64).sum() == pytest.approx(inside.sum(), rel=0.003)


def test_the_cervix_is_one_piece_within_the_picture_and_the_fan():
    for number in range(40):
        picture = drawn(number, 0)
        assert label(picture.mask)[1] == 1
        assert (picture.control_points > 0).all() and (picture.control_points < 64).all()
        assert 0.03 < picture.mask.mean() < 0.2
        assert (picture.image[picture.mask == 1].mean(axis=-1) > 8).mean() > 0.97


def test_no_outline_crosses_itself():
    for woman in women()[:250]:
        view = lay_out(woman.cervix, 30 + 30j, np.random.default_rng(woman.number))
        points = np.stack([view.outline.real, view.outline.imag], axis=-1)
        path = BezierPath(points, tuple(range(0, len(points), 3)))
        assert crossing(np.concatenate(flattened(path.curves))) is None, woman.number


def test_pictures_of_a_patient_differ_and_show_one_cervix():
    first, second = drawn(6, 0), drawn(6, 1)
    assert not np.array_equal(first.image, second.image)
    assert np.mean(first.mask != second.mask) > 0.005
    lengths = np.array([
        [axis_length(d.mask > 0, (d.pixel_mm, d.pixel_mm)) for d in (drawn(number, 0), drawn(number, 1))]
        for number in range(40)
    ])  # fmt: skip
    assert np.corrcoef(lengths.T)[0, 1] > 0.85
    assert np.abs(lengths[:, 0] / lengths[:, 1] - 1).max() < 0.2
    true = [women()[number].cervix.length_mm for number in range(40)]
    assert np.corrcoef(lengths.mean(axis=1), true)[0, 1] > 0.85


def test_the_echo_falls_and_evens_out_as_the_tissue_softens():
    beside, spread, soft = [], [], []
    for number in range(80):
        picture = drawn(number, 0)
        grey = picture.image[..., 1].astype(float)
        cervix = (picture.mask == 1) & ~picture.callipers
        around = binary_dilation(cervix, iterations=5) & ~binary_dilation(cervix, iterations=2) & (grey > 60)
        beside.append(grey[cervix].mean() - grey[around].mean())
        spread.append(grey[cervix].std())
        soft.append(women()[number].cervix.softness)
    assert np.corrcoef(beside, soft)[0, 1] < -0.5
    assert np.corrcoef(spread, soft)[0, 1] < -0.3


def test_no_grey_value_tells_the_cervix():
    dice = np.array([best_dice(d.image[..., 0], d.mask > 0) for d in (drawn(n, 0, 128) for n in range(20))])
    assert dice[:, 0].mean() < 0.35
    assert dice[:, 1].mean() < 0.45
    assert dice.max() < 0.6


def test_the_clinics_differ_in_gain_depth_and_fan():
    grey: dict[str, list[float]] = {clinic.site: [] for clinic in CLINICS}
    sides: dict[str, list[float]] = {clinic.site: [] for clinic in CLINICS}
    for number in range(40):
        picture, site = drawn(number, 0), women()[number].clinic.site
        grey[site].append(float(np.median(picture.image[picture.mask == 1])))
        sides[site].append(picture.pixel_mm * 64)
        # Of the sector the lower corners are black, of the rectangle nearly none.
        assert (picture.image[-7:-4, :2].max() == 0) == (site == "clinic_a")
    assert np.mean(grey["clinic_a"]) > np.mean(grey["clinic_b"]) + 10
    assert np.mean(sides["clinic_a"]) > np.mean(sides["clinic_b"]) + 3
    assert min(map(len, sides.values())) > 10
    preterm, site = np.array([(w.preterm, w.clinic is CLINICS[0]) for w in women()]).T
    assert abs(np.corrcoef(preterm, site)[0, 1]) < 0.1, "the clinic does not tell the outcome"


@pytest.mark.parametrize("size", [32, 64, 256])
def test_another_size_is_the_same_scene(size):
    for number in (0, 3, 5):
        other, usual = drawn(number, 0, size), drawn(number, 0, 128)
        assert other.control_points * 128 / size == pytest.approx(usual.control_points)
        assert other.pixel_mm * size == pytest.approx(usual.pixel_mm * 128)
        assert other.callipers.any() == usual.callipers.any()
        small = min(size, 128)
        greys = [
            np.where(d.callipers, 0, d.image[..., 1])
            .reshape(small, n // small, small, n // small)
            .mean((1, 3))
            for d, n in ((other, size), (usual, 128))
        ]
        inside = (slice(small // 4, None), slice(None, -small // 8))  # where no figure is written
        assert np.corrcoef(greys[0][inside].ravel(), greys[1][inside].ravel())[0, 1] > 0.75


def test_the_folder_is_a_cohort_with_everything_written_down(folder):
    cohort = read_cohort(folder)
    assert (cohort.classes, cohort.channels) == (("background", "cervix"), ("R", "G", "B"))
    assert len(cohort.cases) == 40 and cohort.patients_known
    rows, outlines = table(folder / "cases.csv"), table(folder / "outlines.csv")
    assert list(rows[0]) == ["case", "patient", "site", "split", "preterm", "cervical_length_mm", "pixel_mm"]
    assert [row["case"] for row in rows] == [f"cervix{n:04d}" for n in range(40)]
    shown = list(pictures(0, 40))
    for row, outline, (whose, number) in zip(rows, outlines, shown, strict=True):
        assert outline["image"] == row["case"] and outline["label"] == "cervix"
        assert (row["preterm"], row["split"]) == (str(int(whose.preterm)), whose.part)
        assert row["cervical_length_mm"] == ("" if whose.measured_mm is None else str(whose.measured_mm))
        picture = drawn(whose.number, number, 32)
        assert float(row["pixel_mm"]) == pytest.approx(picture.pixel_mm, abs=1e-6)
        suffix = "Tr" if row["split"] == "train" else "Ts"
        for path, expected in (
            (folder / f"images{suffix}" / f"{row['case']}_0000.png", picture.image),
            (folder / f"labels{suffix}" / f"{row['case']}.png", picture.mask),
            (folder / "callipers" / f"{row['case']}.png", np.where(picture.callipers, 255, 0)),
        ):
            assert np.array_equal(np.asarray(Image.open(path)), expected)
        assert outline["kind"] == "bezier"
        points = [[float(number) for number in pair.split()] for pair in outline["points"].split("; ")]
        assert np.array(points) == pytest.approx(picture.control_points, abs=1e-3)
        assert bezier_path(points, "outlines.csv").starts == tuple(range(0, 24, 3))
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    trained = sum(row["split"] == "train" for row in rows)
    assert (about["synthetic"], about["phantom"], about["numTraining"]) == (True, "cervix", trained)


def test_a_patient_lies_on_one_side_with_one_outcome_and_one_length(folder):
    told: dict[str, set[tuple[str, ...]]] = {}
    for row in table(folder / "cases.csv"):
        told.setdefault(row["patient"], set()).add(
            (row["split"], row["site"], row["preterm"], row["cervical_length_mm"])
        )
    assert all(len(one) == 1 for one in told.values())
    assert {next(iter(one))[0] for one in told.values()} == {"train", "test"}


def test_more_cases_change_no_earlier_one(folder, tmp_path):
    (fewer,) = write_cervix(tmp_path, 0, 9, 32)
    assert table(fewer / "cases.csv") == table(folder / "cases.csv")[:9]
    assert table(fewer / "outlines.csv") == table(folder / "outlines.csv")[:9]
    for path in fewer.rglob("*.png"):
        assert path.read_bytes() == (folder / path.relative_to(fewer)).read_bytes()


@pytest.mark.parametrize(
    ("cases", "size", "seed", "remedy"),
    [(3, 64, 0, "4 or more"), (8, 16, 0, "32 or more"), (8, 64, -1, "positive")],
)
def test_numbers_that_cannot_be_drawn_are_refused(tmp_path, cases, size, seed, remedy):
    with pytest.raises(InputFault, match=remedy):
        write_cervix(tmp_path, seed, cases, size)
    assert list(tmp_path.iterdir()) == []


def test_the_phantom_is_frozen():
    """A changed checksum is a changed phantom: results on the old one no longer hold (see test_phantom.py)."""
    summary = hashlib.sha256()
    for size in (32, 128):
        for whose, number in pictures(0, 8):
            picture = drawn(whose.number, number, size)
            for pixels in (picture.image, picture.mask, picture.callipers):
                summary.update(np.ascontiguousarray(pixels).tobytes())
    told = [(w.preterm, w.part, w.images, w.measured_mm) for w in women()[:100]]
    summary.update(repr(told).encode())
    assert summary.hexdigest()[:16] == "7a7f48563f91379a"
