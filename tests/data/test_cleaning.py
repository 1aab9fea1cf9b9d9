"""Marks on drawn scans: coloured ones to the pixel, grey ones mark by mark; nothing else is touched; refusals."""

import colorsys
import sys

import numpy as np
import pytest
from scipy import ndimage
from tests.data.drawn_marks import GREEN, WHITE, YELLOW, burnt, callipers, coverage, cross, scan, word

from fewmask.data.cleaning.coloured import colour_of, coloured_marks
from fewmask.data.cleaning.grey import boxes_of, grey_marks
from fewmask.data.cleaning.marks import found_marks, inpainted
from fewmask.data.cleaning.options import CleaningOptions, hue_ranges
from fewmask.data.phantoms.cervix import pictures
from fewmask.data.phantoms.cervix import scan as pixels_of
from fewmask.errors import InputFault

TIGHT = CleaningOptions(rim=0)


def plain(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[None], 3, axis=0)


@pytest.mark.parametrize("size", [96, 128, 256])
def test_the_phantoms_callipers_go_and_little_else(size: int) -> None:
    marked = others = burnt_in = rest = 0
    for whose, image in pictures(0, 12):
        drawn = pixels_of(whose, image, 0, size)
        before = np.moveaxis(drawn.image, -1, 0)
        marks = found_marks(before, CleaningOptions()).to_replace(CleaningOptions())
        changed = (inpainted(before, marks) != before).any(axis=0)
        marked += int((changed & drawn.callipers).sum())
        burnt_in += int(drawn.callipers.sum())
        others += int((changed & ~drawn.callipers).sum())
        rest += int((~drawn.callipers).sum())
    assert burnt_in > 100 and marked >= 0.99 * burnt_in and others <= 0.005 * rest


class TestColoured:
    @pytest.mark.parametrize("colour", [YELLOW, GREEN])
    @pytest.mark.parametrize(("size", "options"), [(256, TIGHT), (640, TIGHT), (640, CleaningOptions(rim=1))])
    def test_callipers_go_and_the_rest_keeps_every_bit(
        self, colour: tuple[int, int, int], size: int, options: CleaningOptions
    ) -> None:
        grey, covered = scan(size, 1), coverage(size, callipers(size))
        picture = burnt(grey, covered, colour)
        marks = found_marks(picture, options)
        assert marks.coloured[covered > 0.02].mean() >= 0.99
        assert marks.coloured[covered == 0].mean() <= 0.005
        clean = inpainted(picture, marks.to_replace(options))
        np.testing.assert_array_equal(clean[:, ~marks.coloured], picture[:, ~marks.coloured])
        assert (clean != picture).any(axis=0)[covered > 0.5].mean() >= 0.99
        assert not coloured_marks(clean, options).marked.any(), "no second cleaning is needed"

    def test_what_is_filled_in_is_like_the_surroundings(self) -> None:
        grey, covered = scan(512, 2), coverage(512, callipers(512))
        picture = burnt(grey, covered, GREEN)
        marked = found_marks(picture, CleaningOptions()).coloured
        clean = inpainted(picture, marked).astype(float)
        around = ndimage.uniform_filter(grey.astype(float), 15)
        off = (clean - around)[:, marked]
        assert abs(off.mean()) < 4 and np.abs(off).mean() < 10
        assert np.abs(picture - around)[:, marked].mean() > 30, "and was not before"
        assert np.ptp(clean, axis=0)[marked].max() < 10, "and grey again"

    @pytest.mark.parametrize("seed", range(3))
    def test_a_scan_without_marks_stays_as_it_is(self, seed: int) -> None:
        grey = scan(320, seed)
        for picture in (grey[None], plain(grey)):
            marks = found_marks(picture, CleaningOptions(grey="remove"))
            gone = marks.to_replace(CleaningOptions(grey="remove"))
            assert not gone.any() and marks.boxes == ()
            np.testing.assert_array_equal(inpainted(picture, gone), picture)

    def test_colours_are_the_standard_librarys(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20)).astype(np.uint8)
        pixels[:, 0, :5] = np.array([[0, 90, 255, 255, 0], [0, 90, 0, 255, 0], [0, 90, 0, 255, 255]])
        colour = colour_of(pixels)
        for row, column in np.ndindex(20, 20):
            hue, saturation, value = colorsys.rgb_to_hsv(
                *(int(part) / 255 for part in pixels[:, row, column])
            )
            assert colour.hue[row, column] == pytest.approx(360 * hue, abs=1e-3)
            assert colour.saturation[row, column] == pytest.approx(saturation, abs=1e-5)
            assert colour.value[row, column] == pytest.approx(value, abs=1e-5)

    @pytest.mark.parametrize(
        ("hues", "found"),
        [
            ("40-170", [False, True, False, False]),
            ("350-20", [True, False, False, True]),
            ("360-20", [True, False, False, False]),
            ("300-360", [True, False, False, True]),
            ("55-65, 200-260", [False, True, True, False]),
            ("0-360", [True, True, True, True]),
        ],
    )
    def test_hues_are_in_degrees_and_go_round(self, hues: str, found: list[bool]) -> None:
        """Red is at 0, yellow at 60, blue at 240, and a red with a touch of blue at 355."""
        picture = plain(np.full((40, 80), 90, np.uint8))
        for index, colour in enumerate([(255, 0, 0), (255, 255, 0), (0, 0, 255), (240, 0, 20)]):
            picture[:, 20, 10 + 20 * index] = colour
        marks = coloured_marks(picture, CleaningOptions(hues=hues, rim=0))
        assert marks.marked[20, 10::20].tolist() == found
        assert marks.other_hues == found.count(False)

    def test_a_rim_is_as_wide_as_asked_also_at_the_edge(self) -> None:
        picture = plain(np.full((30, 30), 90, np.uint8))
        picture[:, 0, 0] = picture[:, 15, 15] = YELLOW
        for rim in (0, 1, 3):
            expected = np.zeros((30, 30), bool)
            expected[: rim + 1, : rim + 1] = expected[15 - rim : 16 + rim, 15 - rim : 16 + rim] = True
            np.testing.assert_array_equal(coloured_marks(picture, CleaningOptions(rim=rim)).marked, expected)

    def test_faint_colours_and_dark_ones_are_no_marks(self) -> None:
        picture = plain(np.full((20, 20), 100, np.uint8))
        picture[:, 5, 5] = (120, 120, 96)
        picture[:, 15, 15] = (50, 50, 0)
        assert not coloured_marks(picture, CleaningOptions()).marked.any()
        low = CleaningOptions(least_saturation=0.15, least_value=0.15, rim=0)
        assert coloured_marks(picture, low).marked.nonzero()[0].tolist() == [5, 15]

    def test_a_photograph_is_left_alone(self) -> None:
        photograph = plain(scan(128, 0))
        photograph[2] //= 3
        marks = found_marks(photograph, CleaningOptions(grey="remove"))
        assert marks.photograph
        assert not marks.coloured.any() and not marks.grey.any()


class TestGrey:
    @pytest.mark.parametrize("size", [256, 400, 640])
    def test_crosses_dots_and_letters_are_found_and_speckle_is_not(self, size: int) -> None:
        grey = scan(size, 3)
        apart = np.zeros(grey.shape, bool)
        assert not grey_marks(grey, apart).any()
        crossed = coverage(size, callipers(size))
        found = grey_marks(burnt(grey, crossed, WHITE)[0], apart)
        for row, column in ((0.4, 0.15), (0.61, 0.72), (0.3, 0.45), (0.8, 0.4)):
            top, left, side = int((row - 0.02) * size), int((column - 0.02) * size), int(0.04 * size)
            assert found[top : top + side, left : left + side].any(), (row, column)
        assert found[crossed > 0.5].mean() >= 0.65
        assert found[ndimage.maximum_filter(crossed, 5) == 0].mean() <= 0.001

    def test_a_word_is_one_box_also_in_the_black_margin(self) -> None:
        grey = scan(512, 4)
        for row, column in ((440, 60), (100, 466)):
            written = coverage(512, word("LT", row, column, 20))
            found = grey_marks(burnt(grey, written, WHITE)[0], np.zeros(grey.shape, bool))
            (box,) = boxes_of(found)
            rows, columns = (written > 0.5).nonzero()
            edges = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            np.testing.assert_allclose(box, edges, atol=2)

    def test_reporting_changes_nothing_and_removal_only_the_marks(self) -> None:
        grey, covered = scan(256, 5), coverage(256, callipers(256))
        picture = burnt(grey, covered, WHITE)[:1]
        told, removed = CleaningOptions(), CleaningOptions(grey="remove")
        marks = found_marks(picture, told)
        assert marks.grey.any() and not marks.to_replace(told).any()
        gone = marks.to_replace(removed)
        assert (gone & marks.grey).sum() == marks.grey.sum()
        clean = inpainted(picture, gone)
        np.testing.assert_array_equal(clean[:, ~gone], picture[:, ~gone])
        around = ndimage.uniform_filter(grey.astype(float), 15)
        marked = gone & (covered > 0.5)
        assert np.abs(clean[0].astype(float) - around)[marked].mean() < 20
        assert np.abs(picture[0].astype(float) - around)[marked].mean() > 80

    def test_a_coloured_mark_is_no_grey_one_as_well(self) -> None:
        grey, covered = scan(512, 6), coverage(512, callipers(512))
        marks = found_marks(burnt(grey, covered, YELLOW), CleaningOptions())
        assert marks.coloured.any() and not marks.grey.any()

    def test_boxes_are_around_marks_and_far_ones_stay_apart(self) -> None:
        marks = np.zeros((200, 200), bool)
        marks[10:14, 20:29] = marks[11, 31] = marks[150, 160:163] = True
        assert boxes_of(marks) == ((20, 10, 12, 4), (160, 150, 3, 1))
        assert boxes_of(marks & False) == ()


class TestFaults:
    @pytest.mark.parametrize("hues", ["", "yellow", "40", "40-", "-5-20", "40-361", "nan-20", "40-170,"])
    def test_hues_that_are_none(self, hues: str) -> None:
        with pytest.raises(InputFault, match="range of degrees from 0 to 360"):
            hue_ranges(hues)
        with pytest.raises(InputFault, match="range of degrees"):
            CleaningOptions(hues=hues)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"least_saturation": 0.0}, "least saturation 0"),
            ({"least_saturation": 1.1}, "least saturation 1.1"),
            ({"least_value": float("nan")}, "least value nan"),
            ({"grey": "delete"}, "'delete'"),
            ({"rim": -1}, "rim -1"),
            ({"rim": 11}, "from 0 to 10"),
        ],
    )
    def test_values_that_make_no_sense(self, wrong: dict, told: str) -> None:
        with pytest.raises(InputFault, match=told):
            CleaningOptions(**wrong)

    def test_without_opencv_the_remedy_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)
        picture, marked = np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=bool)
        with pytest.raises(InputFault, match=r"pip install fewmask\[marks\]"):
            inpainted(picture, marked)
        np.testing.assert_array_equal(inpainted(picture, marked & False), picture)

    def test_nothing_to_fill_in_from(self) -> None:
        with pytest.raises(ValueError, match="every pixel"):
            inpainted(np.zeros((1, 4, 4), np.uint8), np.ones((4, 4), bool))


def test_a_cross_on_the_very_corner_goes() -> None:
    grey = scan(128, 7)
    covered = coverage(128, lambda pen: cross(pen, 0.0, 0.0, 6.0, 1.5))
    picture = burnt(grey, covered, GREEN)
    clean = inpainted(picture, found_marks(picture, CleaningOptions()).coloured)
    assert covered.any() and np.ptp(clean.astype(int), axis=0).max() < 10
