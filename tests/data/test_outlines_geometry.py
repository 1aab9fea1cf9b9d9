"""Curves, polygons and ellipses become the pixels whose centres they enclose; outlines that cross are found."""

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.path import Path as PlotPath
from scipy.integrate import quad

from fewmask.data.outlines.bezier import TOLERANCE, bezier_path, flattened, pieces_of
from fewmask.data.outlines.pixels import MARGIN, pixels_of
from fewmask.data.outlines.shape import Ellipse, Outline, Shape, polygon, rectangle
from fewmask.data.outlines.winding import crossing, winding
from fewmask.errors import InputFault

LIPS = [(20.3, 30.1), (60.2, 5.7), (100.9, 12.4), (140.6, 60.2)]
"""Four control points of one curve."""


def mask(shape: Shape, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    return pixels_of(Outline("a.png", "organ", None, shape, "a.csv: row 2"), size)


def star(seed: int, corners: int, size: int = 96) -> np.ndarray:
    """A simple polygon with corners and dents, at places that are no pixel's centre."""
    draws = np.random.default_rng(seed)
    angles = np.sort(draws.uniform(0, 2 * np.pi, corners))
    radii = draws.uniform(0.1, 0.48, corners) * size
    return size / 2 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def shoelace(points: np.ndarray) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def perimeter(points: np.ndarray) -> float:
    return float(np.hypot(*(points - np.roll(points, -1, axis=0)).T).sum())


def bezier(points: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """A curve's place and derivative, by de Casteljau."""
    levels = [np.asarray(points, float)]
    while len(levels[-1]) > 1:
        levels.append((1 - t) * levels[-1][:-1] + t * levels[-1][1:])
    return levels[-1][0], 3 * (levels[-2][1] - levels[-2][0])


def enclosed(curves: list[np.ndarray]) -> float:
    """The area inside curves and the straight line that closes them: Green's formula, integrated numerically."""

    def swept(t: float, curve: np.ndarray) -> float:
        (x, y), (dx, dy) = bezier(curve, t)
        return (x * dy - y * dx) / 2

    total = sum(quad(swept, 0, 1, args=(curve,))[0] for curve in curves)
    (x0, y0), (x1, y1) = curves[-1][-1], curves[0][0]
    return abs(total + (x0 * y1 - y0 * x1) / 2)


class TestPixels:
    def test_a_polygon_of_whole_pixels_is_exactly_these(self) -> None:
        drawn = mask(polygon([[(2, 1), (6, 1), (6, 4), (2, 4)]], ""), (5, 8))
        expected = np.zeros((5, 8), bool)
        expected[1:4, 2:6] = True
        np.testing.assert_array_equal(drawn, expected)
        assert mask(rectangle(8, 5, 0, 0, ""), (5, 8)).all(), (
            "corners in any order; the whole image is the whole image"
        )

    def test_a_centre_on_the_line_belongs_to_what_is_right_of_it_and_below(self) -> None:
        drawn = mask(polygon([[(1.5, 1.5), (3.5, 1.5), (3.5, 2.5), (1.5, 2.5)]], ""), (4, 5))
        assert np.argwhere(drawn).tolist() == [[1, 1], [1, 2]]

    @pytest.mark.parametrize("seed", range(4))
    def test_two_areas_with_a_common_border_share_no_pixel_and_leave_none_out(self, seed: int) -> None:
        draws = np.random.default_rng(seed)
        # Halves of pixels, so that many centres lie on the border itself.
        border = np.column_stack([draws.integers(2, 60, 9) / 2, np.linspace(0, 24, 9).round(1)])
        left = mask(polygon([[(0, 0), *border.tolist(), (0, 24)]], ""), (24, 32))
        right = mask(polygon([[(32, 24), *border[::-1].tolist(), (32, 0)]], ""), (24, 32))
        np.testing.assert_array_equal(left, ~right)

    @pytest.mark.parametrize("seed", range(6))
    def test_any_polygon_is_what_matplotlib_finds_at_the_centres(self, seed: int) -> None:
        points = star(seed, 5 + 9 * seed)
        columns, rows = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
        inside = PlotPath(points).contains_points(np.column_stack([columns.ravel(), rows.ravel()]))
        for order in (points, points[::-1]):
            np.testing.assert_array_equal(
                mask(polygon([order.tolist()], ""), (96, 96)), inside.reshape(96, 96)
            )

    @pytest.mark.parametrize("seed", range(4))
    def test_the_area_is_the_polygons_and_over_all_places_in_a_pixel_its_mean_is(self, seed: int) -> None:
        points = star(seed, 12)
        area, edge = shoelace(points), perimeter(points)
        shifts = [(i / 8, j / 8) for i in range(8) for j in range(8)]
        areas = [mask(polygon([(points + shift).tolist()], ""), (97, 97)).sum() for shift in shifts]
        # Jarnik: a closed line of length L > 1 holds its area in whole-numbered points, to less than L.
        assert abs(areas[0] - area) < edge
        # The 64 masks are one of eight times the resolution.
        assert abs(np.mean(areas) - area) < edge / 8

    def test_the_rings_of_one_object_are_its_parts(self) -> None:
        parts = [[(1, 1), (3, 1), (3, 3), (1, 3)], [(2, 2), (5, 2), (5, 4), (2, 4)]]
        both = mask(polygon(parts, ""), (6, 6))
        assert both.sum() == 4 + 6 - 1
        np.testing.assert_array_equal(
            both, mask(polygon(parts[:1], ""), (6, 6)) | mask(polygon(parts[1:], ""), (6, 6))
        )


class TestBezier:
    def test_four_points_are_one_curve_and_the_straight_line_back(self) -> None:
        drawn = mask(bezier_path(LIPS, ""))
        area = enclosed([np.array(LIPS)])
        length = quad(lambda t: float(np.hypot(*bezier(np.array(LIPS), t)[1])), 0, 1)[0]
        length += float(np.hypot(*np.subtract(LIPS[3], LIPS[0])))
        assert abs(drawn.sum() - area) < length * (1 + TOLERANCE)
        shifts = [(i / 4, j / 4) for i in range(4) for j in range(4)]
        moved = [mask(bezier_path((np.array(LIPS) + shift).tolist(), "")).sum() for shift in shifts]
        assert abs(np.mean(moved) - area) < length * (1 / 4 + TOLERANCE)
        # The line back: halfway between the ends is the border, and the curve bulges upwards from it.
        assert drawn[40, 70] and not drawn[50, 70]

    def test_the_curve_passes_where_de_casteljau_says(self) -> None:
        drawn = mask(bezier_path(LIPS, ""))
        for t in np.linspace(0.1, 0.9, 9):
            (x, y), _ = bezier(np.array(LIPS), t)
            assert drawn[int(y + 1.5), int(x)] and not drawn[int(y - 1.5), int(x)]

    @pytest.mark.parametrize("tolerance", [0.5, 0.05, 0.005])
    def test_the_line_lies_within_the_tolerance(self, tolerance: float) -> None:
        curves = np.random.default_rng(0).uniform(0, 256, (4, 4, 2))
        for curve, line in zip(curves, flattened(curves, tolerance), strict=True):
            places = np.array([bezier(curve, t)[0] for t in np.linspace(0, 1, 400)])
            apart = [_distance(places, a, b) for a, b in pairwise([*line, curve[3]])]
            assert np.min(apart, axis=0).max() <= tolerance

    def test_it_has_no_more_pieces_than_it_takes(self) -> None:
        # A parabola of height 50 over a chord of 100: |B''| = 400 everywhere, and a piece's bulge is 400 / (8 n^2).
        parabola = np.array([(0, 0), (100 / 3, 200 / 3), (200 / 3, 200 / 3), (100, 0)])
        straight = np.array([(0, 0), (1, 1), (2, 2), (3, 3)], float)
        assert pieces_of(np.stack([parabola, straight]), 0.5) == [10, 1]
        assert pieces_of(parabola[None], 0.49) == [11]

    def test_a_circle_of_four_curves_is_the_circle_however_its_points_are_listed(self) -> None:
        # The customary length of the handles, with which the radius is right to 0.03 %.
        h = 0.5522847498 * 40
        quarter = np.array([(40, 0), (40, h), (h, 40)])
        turn = np.array([[0, 1], [-1, 0]])
        shared = np.array((80.2, 47.7)) + np.concatenate(
            [quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]
        )
        ring = np.concatenate([shared, shared[:1]])
        separate = np.concatenate([ring[i : i + 4] for i in range(0, 12, 3)])
        wobbly = separate.copy()
        wobbly[3::4] += 0.2
        masks = [mask(bezier_path(points.tolist(), "")) for points in (shared, ring, separate, wobbly)]
        assert abs(masks[0].sum() - np.pi * 1600) < 2 * np.pi * 40 / 4
        np.testing.assert_array_equal(masks[0], masks[1])
        np.testing.assert_array_equal(masks[0], masks[2])
        assert 0 < (masks[0] ^ masks[3]).sum() < 0.2 * 2 * np.pi * 40
        assert (masks[0] ^ mask(Ellipse((80.2, 47.7), (40, 40)))).sum() < (
            TOLERANCE + 0.0003 * 40
        ) * 2 * np.pi * 40

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_curves_enclose_what_lies_between_them(self, order: int) -> None:
        upper = np.array([(20, 60), (50, 10), (110, 10), (140, 60)], float)
        lower = np.array([(140, 60), (110, 30), (50, 30), (20, 60)], float)
        area = enclosed([upper]) - enclosed([lower])
        drawn = mask(bezier_path(np.concatenate([upper, lower])[::order].tolist(), ""))
        assert abs(drawn.sum() - area) < 0.02 * area
        assert not drawn[55, 80], "a banana is not closed by the straight line"

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 11])
    def test_a_wrong_number_of_points(self, count: int) -> None:
        with pytest.raises(InputFault, match=rf"row 2: {count} Bezier points; give 4"):
            bezier_path(star(0, 12)[:count].tolist(), "a.csv: row 2")

    @pytest.mark.parametrize("count", [7, 8, 10, 20])
    def test_several_curves_that_do_not_meet(self, count: int) -> None:
        with pytest.raises(
            InputFault, match=rf"row 2: the ends of its {count} Bezier points do not meet; close"
        ):
            bezier_path(star(0, 20)[:count].tolist(), "a.csv: row 2")


def _distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far points are from a straight piece."""
    along = np.clip((points - start) @ (end - start) / max(float((end - start) @ (end - start)), 1e-30), 0, 1)
    return np.hypot(*(points - start - along[:, None] * (end - start)).T)


class TestEllipse:
    def test_its_area_place_and_turn(self) -> None:
        drawn = mask(Ellipse((80.3, 45.1), (50, 20), np.radians(30)))
        assert abs(drawn.sum() - np.pi * 1000) < 60
        rows, columns = np.nonzero(drawn)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((80.3, 45.1), abs=0.2)
        # Clockwise on a screen: to the right and down. The long axis is the direction of most variance.
        along = np.linalg.eigh(np.cov(columns, rows))[1][:, 1]
        assert np.degrees(np.arctan(along[1] / along[0])) == pytest.approx(30, abs=0.5)

    def test_it_is_the_polygon_of_its_points(self) -> None:
        turns = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
        x, y = 50 * np.cos(turns), 20 * np.sin(turns)
        line = np.column_stack([80.31 + 0.8 * x - 0.6 * y, 45.1 + 0.6 * x + 0.8 * y])
        drawn = mask(Ellipse((80.31, 45.1), (50, 20), float(np.arctan2(0.6, 0.8))))
        np.testing.assert_array_equal(drawn, mask(polygon([line.tolist()], "")))


def crosses(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    """Whether two pieces cross, by solving for where they meet in fractions."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = (map(Fraction, map(float, point)) for point in (a, b, c, d))
    scale = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if scale == 0:
        return False
    s = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / scale
    t = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / scale
    return 0 < s < 1 and 0 < t < 1


class TestCrossing:
    @pytest.mark.parametrize("seed", range(30))
    def test_a_crossing_is_found_where_there_is_one(self, seed: int) -> None:
        line = np.random.default_rng(seed).uniform(0, 50, (3 + seed % 5, 2))
        pieces = list(zip(line, np.roll(line, -1, axis=0), strict=True))
        expected = {(i, j) for i, j in combinations(range(len(line)), 2) if crosses(*pieces[i], *pieces[j])}
        found = crossing(line)
        assert (found is None) == (not expected)
        if found is not None:
            assert found[:2] in expected
            for piece in found[:2]:
                assert _distance(found[2][None], *pieces[piece])[0] < 1e-9
        turns = winding(line * 10, (500, 500))
        assert (turns.max() - turns.min() > 1) == bool(expected)

    def test_of_several_crossings_the_one_with_the_largest_loop_is_told(self) -> None:
        line = np.array([(0, 0), (1, 2), (1, 0), (0, 2), (0, 40), (30, 10), (30, 40)], float)
        found = crossing(line)
        assert found is not None
        assert found[:2] == (4, 6)

    def test_a_bow_tie_is_refused_with_the_points_to_mend(self) -> None:
        tie = polygon([[(10, 10), (50, 50), (50, 10), (10, 50)]], "")
        with pytest.raises(InputFault) as fault:
            mask(tie)
        assert str(fault.value) == (
            "a.csv: row 2: the line from point 1 crosses the line from point 3 near (30.0, 30.0); "
            "draw the points in order around the object"
        )

    def test_a_loop_inside_is_refused_too(self) -> None:
        with pytest.raises(InputFault, match="the line from point 2 crosses the line from point 5 near"):
            mask(polygon([[(10, 10), (80, 10), (20, 60), (10, 50), (60, 15), (60, 80), (10, 80)]], ""))

    @pytest.mark.parametrize(
        ("points", "told"),
        [
            ([(20, 40), (140, 5), (20, 5), (140, 40)], None),
            ([(30, 60), (160, 0), (0, 0), (130, 60)], "the curve from point 1 crosses itself near (80.0"),
            (
                [(20, 40), (60, 80), (100, 0), (140, 40)],
                "the curve from point 1 crosses the closing line near (80.0",
            ),
        ],
    )
    def test_curves_that_cross(self, points: list[tuple[float, float]], told: str | None) -> None:
        if told is None:
            assert mask(bezier_path(points, "")).any()
            return
        with pytest.raises(InputFault) as fault:
            mask(bezier_path(points, ""))
        assert told in str(fault.value)

    def test_curves_of_a_path_are_called_by_the_number_of_their_first_point(self) -> None:
        upper, lower = [(20, 50), (60, 30), (100, 30), (140, 50)], [(140, 50), (100, 0), (60, 95), (20, 50)]
        with pytest.raises(InputFault, match="the curve from point 1 crosses the curve from point 5 near"):
            mask(bezier_path(upper + lower, ""))

    def test_a_line_that_passes_through_one_of_its_own_points(self) -> None:
        eight = [(0, 0), (20, 20), (40, 40), (40, 0), (20, 20), (0, 40)]
        with pytest.raises(InputFault, match="runs through one of its own points; draw"):
            mask(polygon([eight], ""))

    def test_touching_going_back_and_trembling_are_no_crossings(self) -> None:
        touching = [(0, 0), (20, 20), (40, 0), (40, 40), (20, 20), (0, 40)]
        assert mask(polygon([touching], "")).sum() > 100
        spur = [(10, 10), (30, 10), (50, 10), (30, 10), (30, 30), (10, 30)]
        np.testing.assert_array_equal(
            mask(polygon([spur], "")), mask(polygon([[(10, 10), (30, 10), (30, 30), (10, 30)]], ""))
        )
        trembling = [(10, 10), (50, 10), (50, 50), (10, 50), (10, 10.2), (10.1, 9.9), (10.2, 10.2)]
        assert crossing(np.array(trembling)) is not None
        assert mask(polygon([trembling], "")).sum() == 1600


class TestPlace:
    @pytest.mark.parametrize("x", [-MARGIN, 160 + MARGIN])
    def test_points_on_the_rim_are_cut_off_there(self, x: float) -> None:
        drawn = mask(polygon([[(x, 10), (80, 10), (80, 20), (x, 20)]], ""))
        assert drawn.sum() == 800

    @pytest.mark.parametrize(
        ("shape", "told"),
        [
            (
                polygon([[(10, 10), (161.5, 10), (20, 20)]], ""),
                r"point 2 \(161.5, 10\) lies outside the image of 160 x 96",
            ),
            (
                polygon([[(1, 1), (9, 1), (9, 9)], [(10, 10), (20, 10), (20, 98)]], ""),
                r"ring 2, point 3 \(20, 98\)",
            ),
            (
                bezier_path([(20, 30), (60, -40), (60, 40), (90, 30)], ""),
                r"control point 2 \(60, -40\) lies outside",
            ),
            (Ellipse((170, 10), (30, 30)), r"its centre \(170, 10\) lies outside"),
        ],
    )
    def test_points_outside_are_refused(self, shape: Shape, told: str) -> None:
        with pytest.raises(InputFault, match=rf"^a.csv: row 2: {told}"):
            mask(shape)

    def test_an_outline_of_another_image_size_is_refused(self) -> None:
        drawn = Outline("a.png", "organ", None, rectangle(0, 0, 5, 5, ""), "a.json: a.png", (10, 20))
        assert pixels_of(drawn, (10, 20)).sum() == 25
        with pytest.raises(
            InputFault, match=r"drawn on 20 x 10 pixels, but the image has 20 x 11; give the image"
        ):
            pixels_of(drawn, (11, 20))

    @pytest.mark.parametrize("points", [[(1, 1), (2, 2)], [(1, 1), (2, 2), (1, 1), (2, 2)]])
    def test_too_few_points(self, points: list[tuple[float, float]]) -> None:
        with pytest.raises(InputFault, match="row 2: 2 points enclose nothing; give 3 or more"):
            polygon([points], "a.csv: row 2")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_not_finite(self, value: float) -> None:
        with pytest.raises(InputFault, match="row 2: point 3 is not finite; mend"):
            polygon([[(1, 1), (5, 1), (5, value)]], "a.csv: row 2")
