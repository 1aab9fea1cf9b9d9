"""Markers: lengths, widths, angles and bends of shapes whose measures are known, and of shapes that have no axis."""

from dataclasses import asdict, fields

import numpy as np
import pytest

from fewmask.metrics.markers import NAMES, Markers, axis_length, markers_of

SIDE = 160


def places(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Along and across (positive to the right of the heading), in px, of an axis through the picture's middle."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2 + 1e-3
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return x * cosine - y * sine, x * sine + y * cosine


def rectangle(length: float, width: float, angle: float = 0.0) -> np.ndarray:
    along, across = places(angle)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def stadium(length: float, width: float, angle: float = 0.0) -> np.ndarray:
    along, across = places(angle)
    return np.hypot(np.maximum(np.abs(along) - (length - width) / 2, 0), across) <= width / 2


def ring(radius: float, width: float, opening: float, middle: float = 90.0) -> np.ndarray:
    """The part of a ring that spans `opening` degrees around the direction `middle`."""
    along, across = places(middle)
    away = np.abs(np.hypot(along, across) - radius) <= width / 2
    return away & (np.abs(np.degrees(np.arctan2(across, along))) <= opening / 2)


def measured(mask: np.ndarray, spacing: tuple[float, float] | None = None) -> Markers:
    markers = markers_of(mask, spacing)
    assert markers is not None
    assert np.isfinite(markers.as_row()).all()
    return markers


@pytest.mark.parametrize("angle", [0, 17, 30, 45, 60, 90, 133, 170])
def test_straight_shapes_have_their_length_width_and_angle(angle):
    for shape, length, width, area in (
        (rectangle(60, 20, angle), 60, 20, 1200),
        (stadium(70, 20, angle), 70, 20, 50 * 20 + np.pi * 100),
        (rectangle(80, 8, angle), 80, 8, 640),
    ):
        markers = measured(shape)
        assert markers.length == pytest.approx(length, rel=0.02)
        assert markers.closed_length == pytest.approx(length, rel=0.03)
        assert markers.greatest_width == pytest.approx(width, abs=1.0)
        assert markers.area == pytest.approx(area, rel=0.04)
        assert markers.mean_width == pytest.approx(area / length, rel=0.04)
        assert markers.bend == pytest.approx(0, abs=2)
        level = angle if angle <= 90 else angle - 180
        assert (markers.angle - level + 90) % 180 - 90 == pytest.approx(0, abs=1)
        assert -90 < markers.angle <= 90
        assert (markers.funnelling, markers.taper) == pytest.approx((1, 1), abs=0.12 if width == 8 else 0.05)


@pytest.mark.parametrize("middle", [0, 30, 90, 200, 315])
@pytest.mark.parametrize(("radius", "width"), [(50, 20), (40, 20), (50, 10), (60, 26)])
def test_a_quarter_ring_has_the_length_of_its_middle_arc_and_a_bend_of_90(radius, width, middle):
    markers = measured(ring(radius, width, 90, middle))
    assert markers.length == pytest.approx(radius * np.pi / 2, rel=0.025)
    assert markers.closed_length == pytest.approx(radius * np.pi / 2, rel=0.025)
    assert markers.bend == pytest.approx(90, abs=4)
    assert markers.mean_width == pytest.approx(width, rel=0.03)
    assert markers.greatest_width == pytest.approx(width, abs=1.2)
    chord = middle + 90
    assert (markers.angle - chord + 90) % 180 - 90 == pytest.approx(0, abs=1.5)


@pytest.mark.parametrize("opening", [45, 70, 150, 200])
def test_any_bend_is_measured(opening):
    markers = measured(ring(50, 12, opening))
    assert markers.length == pytest.approx(50 * np.deg2rad(opening), rel=0.03)
    assert markers.bend == pytest.approx(opening, abs=6)


def test_an_axis_does_not_turn_towards_a_corner():
    """Principal curves that are free to turn end in the corners of a broad rectangle."""
    for angle in range(0, 180, 13):
        markers = measured(rectangle(40, 26, angle))
        assert markers.length == pytest.approx(40, rel=0.04)
        assert markers.bend < 6


def test_a_wider_end_is_funnelling_and_the_side_it_is_on_is_taper():
    along, across = places(0)
    inside = np.abs(along) <= 40
    wedge = inside & (np.abs(across) <= 10 - along / 10)
    left, right = 10 + 40 * 0.6 / 10, 10 - 40 * 0.6 / 10
    markers = measured(wedge)
    assert markers.taper == pytest.approx(left / right, rel=0.06)
    assert markers.funnelling == pytest.approx(left / 10, rel=0.05)
    mirrored = measured(wedge[:, ::-1])
    assert mirrored.taper == pytest.approx(1 / markers.taper, rel=0.03)
    assert mirrored.funnelling == pytest.approx(markers.funnelling, rel=0.03)
    waisted = inside & (np.abs(across) <= 8 + np.abs(along) / 10)
    markers = measured(waisted)
    assert markers.taper == pytest.approx(1, abs=0.05)
    assert markers.funnelling == pytest.approx((8 + 24 * 0.1) / 8.4, rel=0.06)


def test_a_notch_shortens_the_closed_length_alone():
    along, across = places(25)
    whole = rectangle(80, 24, 25)
    notched = whole & ~((np.abs(across) <= 6 * (-20 - along) / 20) & (along < -20))
    markers, intact = measured(notched), measured(whole)
    assert markers.length == pytest.approx(intact.length, rel=0.02)
    assert markers.closed_length == pytest.approx(60, rel=0.03)
    assert markers.greatest_width == pytest.approx(intact.greatest_width, abs=0.8)
    assert markers.bend < 3


def test_lengths_are_in_mm_where_the_spacing_is_known():
    shape = ring(50, 16, 90, 20)
    pixels, millimetres = measured(shape), measured(shape, (0.3, 0.3))
    assert (pixels.unit, millimetres.unit) == ("px", "mm")
    scales = dict.fromkeys(NAMES, 1.0) | dict.fromkeys(NAMES[:4], 0.3) | {"area": 0.09}
    expected = pixels.as_row() * [scales[name] for name in NAMES]
    assert millimetres.as_row() == pytest.approx(expected, rel=1e-6)


def test_flat_pixels_measure_as_square_ones_do():
    """A picture whose rows are twice as far apart has every second row of the same object."""
    for shape in (stadium(70, 20, 35), ring(50, 16, 90, 20)):
        square, flat = measured(shape, (0.5, 0.5)), measured(shape[::2], (1.0, 0.5))
        assert flat.length == pytest.approx(square.length, rel=0.02)
        assert flat.angle == pytest.approx(square.angle, abs=1.5)
        assert flat.bend == pytest.approx(square.bend, abs=5)
        assert flat.mean_width == pytest.approx(square.mean_width, rel=0.03)


def test_only_the_largest_object_counts_and_where_it_lies_does_not():
    shape = stadium(70, 20, 35)
    more = shape.copy()
    more[2:10, 2:30] = True
    more[150:, 5] = True
    assert measured(more) == measured(shape)
    shifted = np.zeros((400, 300), dtype=bool)
    shifted[201:361, 101:261] = shape
    assert measured(shifted).as_row() == pytest.approx(measured(shape).as_row(), rel=1e-6, abs=1e-6)


def test_an_empty_mask_has_no_markers():
    assert markers_of(np.zeros((8, 8), dtype=bool), None) is None
    assert axis_length(np.zeros((8, 8), dtype=bool), (0.5, 0.5)) is None
    assert axis_length(rectangle(60, 20), (0.5, 0.5)) == pytest.approx(30)


def test_a_pixel_a_line_and_a_square_measure_what_they_cover():
    empty = np.zeros((9, 12), dtype=bool)
    pixel, line, upright, square = (empty.copy() for _ in range(4))
    pixel[0, 3] = line[8] = upright[:, 0] = square[2:6, 4:8] = True
    for shape, length, width, angle in (
        (pixel, 1, 1, 0),
        (line, 12, 1, 0),
        (upright, 9, 1, 90),
        (square, 4, 4, 0),
    ):
        expected = (length, length, width, width, length * width, angle, 0, 1, 1)
        assert measured(shape).as_row() == pytest.approx(expected, abs=1e-5)
        scaled = measured(shape, (2.0, 2.0)).as_row()
        assert scaled[:5] == pytest.approx(np.multiply(expected[:5], (2, 2, 2, 2, 4)), abs=1e-5)
    slanted = measured(np.eye(9, dtype=bool))
    assert slanted.length == pytest.approx(8 * np.sqrt(2) + 1)
    assert (slanted.angle, slanted.bend) == pytest.approx((-45, 0), abs=1e-5)


def test_round_shapes_have_a_straight_level_axis():
    y, x = np.mgrid[:80, :80] - 39.5
    disc = measured(np.hypot(x, y) <= 20)
    assert disc.length == pytest.approx(40) == disc.greatest_width
    assert (disc.angle, disc.bend, disc.taper) == pytest.approx((0, 0, 1), abs=1e-4)
    hollow = measured(np.abs(np.hypot(x, y) - 30) <= 4)
    assert hollow.length == pytest.approx(68, abs=1.5)
    assert hollow.closed_length == pytest.approx(8, abs=1.5)
    assert measured(np.ones((50, 80), dtype=bool)).length == pytest.approx(80)


def test_any_scrap_measures_finitely():
    generator = np.random.default_rng(3)
    for _ in range(300):
        shape = tuple(generator.integers(1, 9, size=2))
        scrap = generator.uniform(size=shape) < generator.uniform(0.1, 1)
        if scrap.any():
            markers = measured(scrap, tuple(generator.uniform(0.1, 3, size=2)))
            row = dict(zip(NAMES, markers.as_row(), strict=True))
            assert all(row[name] > 0 for name in ("length", "mean_width", "greatest_width", "area", "taper"))
            assert 0 <= row["closed_length"] <= row["length"] * (1 + 1e-9)
            assert row["funnelling"] > 0 and 0 <= row["bend"] <= 300


def test_the_row_holds_every_measure_in_the_order_of_names():
    markers = measured(stadium(70, 20, 35))
    assert tuple(field.name for field in fields(Markers) if field.name != "unit") == NAMES
    assert markers.as_row().tolist() == [asdict(markers)[name] for name in NAMES]


def test_a_volume_is_refused():
    with pytest.raises(ValueError, match="2 dimensions"):
        markers_of(np.ones((3, 3, 3), dtype=bool), None)
