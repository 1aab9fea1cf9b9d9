"""Several annotators: the majority, STAPLE against ITK's and against its sums written out, and how far they agree."""

import numpy as np
import pytest

from fewmask.data.outlines.agreement import Agreement, Pair, agreement_of, cohens_kappa, pairs_of
from fewmask.data.outlines.label_map import label_map
from fewmask.data.outlines.merge import OBJECT, merged, staple, vote_shares
from fewmask.data.outlines.shape import Outline, Shape, rectangle


def annotated(
    seed: int, annotators: int, size: tuple[int, int] = (50, 60)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An ellipse as annotators of known sensitivity and specificity mark it, and these."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    truth = ((x / size[1] - 0.5) / 0.3) ** 2 + ((y / size[0] - 0.5) / 0.3) ** 2 < 1
    sensitivity, specificity = draws.uniform(0.75, 0.98, annotators), draws.uniform(0.93, 0.999, annotators)
    chances = np.where(truth, sensitivity[:, None, None], 1 - specificity[:, None, None])
    return draws.random(chances.shape) < chances, sensitivity, specificity


def box(left: float, top: float, right: float, bottom: float) -> Shape:
    return rectangle(left, top, right, bottom, "")


def outline(shape: Shape, annotator: str | None = None, label: str = "organ") -> Outline:
    return Outline("a.png", label, annotator, shape)


class TestMajority:
    def test_more_than_half_is_the_object_and_a_tie_is_not(self) -> None:
        masks = np.array([[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 0]], [[1, 1, 0, 0]]], bool)
        assert vote_shares(masks).tolist() == [[1.0, 0.75, 0.25, 0.0]]
        assert (merged(masks, "majority") > OBJECT).tolist() == [[True, True, False, False]]
        assert (merged(masks[:2], "majority") > OBJECT).tolist() == [[True, True, False, False]]


class TestStaple:
    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_itks(self, seed: int) -> None:
        sitk = pytest.importorskip("SimpleITK")
        masks = annotated(seed, 2 + seed)[0]
        itk = sitk.STAPLEImageFilter()
        itk.SetForegroundValue(1)
        images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
        probability = sitk.GetArrayFromImage(itk.Execute(images))
        ours = staple(masks)
        np.testing.assert_allclose(ours.probability, probability, atol=1e-5)
        np.testing.assert_allclose(ours.sensitivity, itk.GetSensitivity(), atol=1e-6)
        np.testing.assert_allclose(ours.specificity, itk.GetSpecificity(), atol=1e-6)

    def test_it_is_its_sums_written_out_pixel_by_pixel(self) -> None:
        masks = annotated(5, 3)[0]
        votes = masks.reshape(3, -1)
        truth = votes.mean(axis=0)
        prior = truth.mean()
        for _ in range(100):
            p = [(truth * vote).sum() / truth.sum() for vote in votes]
            q = [((1 - truth) * ~vote).sum() / (1 - truth).sum() for vote in votes]
            yes, no = np.full(len(truth), prior), np.full(len(truth), 1 - prior)
            for vote, found, clear in zip(votes, p, q, strict=True):
                yes *= np.where(vote, found, 1 - found)
                no *= np.where(vote, 1 - clear, clear)
            truth = yes / (yes + no)
        ours = staple(masks)
        np.testing.assert_allclose(ours.probability.ravel(), truth, atol=1e-5)
        np.testing.assert_allclose(np.stack(ours[1:]), np.array([p, q]), atol=1e-5)

    def test_it_finds_who_is_good_and_weighs_them(self) -> None:
        masks, sensitivity, specificity = annotated(7, 5, (300, 300))
        ours = staple(masks)
        np.testing.assert_allclose(ours.sensitivity, sensitivity, atol=0.03)
        np.testing.assert_allclose(ours.specificity, specificity, atol=0.01)

    def test_one_good_annotator_outweighs_two_who_guess(self) -> None:
        draws = np.random.default_rng(0)
        truth = np.zeros((60, 60), bool)
        truth[15:45, 10:50] = True
        good = [truth ^ (draws.random(truth.shape) < 0.02) for _ in range(3)]
        guesses = [draws.random(truth.shape) < 0.4 for _ in range(4)]
        masks = np.stack([*good, *guesses])
        wrong = [((merged(masks, how) > OBJECT) != truth).mean() for how in ("majority", "staple")]
        assert wrong[1] < 0.01 < wrong[0]

    def test_nothing_everything_one_annotator_and_all_alike_stay_what_they_are(self) -> None:
        some = annotated(0, 1)[0]
        for masks in (some, np.repeat(some, 3, axis=0), np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool)):
            np.testing.assert_allclose(staple(masks).probability, masks[0], atol=1e-6)

    def test_annotators_who_contradict_each_other_give_numbers(self) -> None:
        # The sums come to 0 / 0 here: the first is taken for never wrong when marking, the third when not.
        marked = ["000000001", "111111100", "110111111", "001011000"]
        masks = np.array([[int(pixel) for pixel in text] for text in marked], bool).reshape(4, 3, 3)
        probability = staple(masks).probability
        assert np.isfinite(probability).all() and probability.min() >= 0 and probability.max() <= 1

    def test_too_many_annotators(self) -> None:
        with pytest.raises(ValueError, match="at most 62"):
            staple(np.ones((63, 2, 2), bool))


class TestAgreement:
    def test_pairs_by_hand(self) -> None:
        masks = np.zeros((3, 20, 20), bool)
        masks[0, 5:10, 5:15] = masks[1, 5:10, 7:17] = True
        first, second, third = pairs_of(masks, ("ann", "bo", None), "a", "organ")
        # 40 pixels in common of 50 and 50; of the box of 5 x 12, 0 are marked by neither.
        assert first == Pair(
            "a",
            "organ",
            "ann",
            "bo",
            0.8,
            pytest.approx((40 / 60 - chance(50, 50, 60)) / (1 - chance(50, 50, 60))),
        )
        assert (second.first, second.other, second.dice) == ("ann", None, 0.0)
        assert (third.first, third.other, third.dice) == ("bo", None, 0.0)
        assert (
            pairs_of(masks[2:], ("ann",), "a", "organ") == pairs_of(masks[:1], ("ann",), "a", "organ") == []
        )

    def test_kappa_is_taken_in_the_box_so_that_background_does_not_flatter(self) -> None:
        masks = annotated(3, 2)[0]
        wide = np.pad(masks, ((0, 0), (100, 300), (50, 20)))
        assert pairs_of(masks, "ab", "i", "l")[0].kappa == pytest.approx(
            pairs_of(wide, "ab", "i", "l")[0].kappa
        )
        assert pairs_of(masks, "ab", "i", "l")[0].kappa != pytest.approx(
            cohens_kappa(wide[0], wide[1]), abs=0.05
        )

    @pytest.mark.parametrize("seed", range(5))
    def test_kappa_is_that_of_the_two_by_two_table(self, seed: int) -> None:
        first, other = np.random.default_rng(seed).random((2, 30)) < 0.4
        a, b, c, d = (int((x & y).sum()) for x in (first, ~first) for y in (other, ~other))
        expected = 2 * (a * d - b * c) / ((a + b) * (b + d) + (a + c) * (c + d))
        assert cohens_kappa(first, other) == pytest.approx(expected)

    def test_kappa_cannot_be_said_where_both_marked_all_or_nothing(self) -> None:
        full, empty = np.ones(9, bool), np.zeros(9, bool)
        assert cohens_kappa(full, full) is cohens_kappa(empty, empty) is None
        assert cohens_kappa(full, empty) == 0.0

    def test_an_image_with_many_pairs_counts_once(self) -> None:
        pairs = [Pair("a", "organ", "x", str(k), 0.4, 0.1) for k in range(3)]
        pairs += [Pair("b", "organ", "x", "y", 0.8, None), Pair("b", "organ", "y", "z", None, None)]
        pairs += [Pair("b", "other", "x", "y", 0.1, 0.1)]
        assert agreement_of("organ", pairs) == Agreement(
            "organ", 2, 4, pytest.approx(0.6), pytest.approx(0.1)
        )
        assert agreement_of("third", pairs) == Agreement("third", 0, 0, None, None)


def chance(first: int, other: int, pixels: int) -> float:
    return (first * other + (pixels - first) * (pixels - other)) / pixels**2


class TestLabelMap:
    def test_objects_of_one_annotator_are_joined_before_the_vote(self) -> None:
        drawn = [
            outline(box(0, 0, 4, 4), "ann"),
            outline(box(6, 0, 10, 4), "ann"),
            outline(box(0, 0, 10, 4), "bo"),
            outline(box(8, 0, 10, 4), "cy"),
        ]
        found = label_map("a", drawn, ("organ",), (6, 12), "majority")
        expected = np.zeros((6, 12), np.uint8)
        expected[:4, [0, 1, 2, 3, 6, 7, 8, 9]] = 1
        np.testing.assert_array_equal(found.classes, expected)
        assert found.annotators == ("ann", "bo", "cy")
        assert [pair.dice for pair in found.pairs] == [
            pytest.approx(64 / 72),
            pytest.approx(0.4),
            pytest.approx(16 / 48),
        ]

    def test_who_drew_something_else_says_that_this_is_not_there(self) -> None:
        drawn = [
            outline(box(0, 0, 4, 4), "ann"),
            outline(box(5, 0, 8, 4), "ann", "tumour"),
            outline(box(0, 0, 4, 4), "bo"),
        ]
        found = label_map("a", drawn, ("organ", "tumour"), (6, 12), "majority")
        assert np.unique(found.classes).tolist() == [0, 1]
        assert [(pair.label, pair.dice) for pair in found.pairs] == [("organ", 1.0), ("tumour", 0.0)]

    def test_of_overlapping_labels_the_surer_one_else_the_later(self) -> None:
        drawn = [outline(box(0, 0, 10, 6)), outline(box(2, 2, 5, 5), label="tumour")]
        found = label_map("a", drawn, ("organ", "tumour"), (6, 12), "majority")
        assert (found.classes[3, 3], found.classes[0, 0], found.contested) == (2, 1, 9)
        assert label_map("a", drawn, ("tumour", "organ"), (6, 12), "majority").classes[3, 3] == 2
        three = [outline(box(0, 0, 10, 6), name) for name in "abc"]
        three += [outline(box(2, 2, 5, 5), name, "tumour") for name in "ab"]
        assert label_map("a", three, ("organ", "tumour"), (6, 12), "majority").classes[3, 3] == 1

    def test_outlines_that_hold_no_centre_are_counted(self) -> None:
        drawn = [outline(box(0, 0, 4, 4)), outline(box(6.6, 1, 7.4, 5))]
        found = label_map("a", drawn, ("organ",), (6, 12), "staple")
        assert (found.hollow, int(found.classes.sum()), found.pairs) == (1, 16, ())
