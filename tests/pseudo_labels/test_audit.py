"""Doubts about pseudo-labels and what is decided from them, against small cases worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from fewmask.errors import InputFault
from fewmask.pseudo_labels.audit import AuditRule, Doubts, disagreement, doubts_of, rank_doubts
from fewmask.pseudo_labels.expansion import Expanded
from fewmask.pseudo_labels.seeds import seeds_of

torch.set_num_threads(1)

GOOD = Doubts(
    positive=True,
    entropy=0.1,
    disagreement=0.1,
    geodesic_margin=0.9,
    components=1,
    largest_share=1.0,
    area_share=0.2,
)


def but(**changes: float | int | bool | None) -> Doubts:
    return dataclasses.replace(GOOD, **changes)


def worsening(many: int) -> list[Doubts]:
    """The later, the more doubtful by every measure."""
    return [
        but(
            entropy=0.01 * place,
            disagreement=0.01 * place,
            geodesic_margin=0.9 - 0.01 * place,
            components=1 + place,
            largest_share=1.0 / (1 + place),
            area_share=0.2,
        )
        for place in range(many)
    ]


def test_disagreement_by_hand() -> None:
    a, b, empty = torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2)
    a[0, 0], a[0, 1], b[0, 0] = 1.0, 0.5, 0.5
    # Soft Dice of a and b: 2 x 0.5 / (1.25 + 0.25) = 2/3.
    assert disagreement(torch.stack([a, b])[None]).item() == pytest.approx(1 / 3)
    # Pairs a-b 2/3, a-empty 0, b-empty 0.
    assert disagreement(torch.stack([a, b, empty])[None]).item() == pytest.approx(1 - 2 / 9)
    assert disagreement(torch.stack([empty, empty])[None]).item() == 0.0
    assert disagreement(torch.stack([a, a, a])[None]).item() == pytest.approx(0.0, abs=1e-6)
    assert disagreement(a[None, None]).item() == 0.0


def test_measures_of_an_expanded_slice() -> None:
    fused = torch.zeros(2, 4, 6)
    fused[0, 1, 1:3], fused[0, 3, 5] = torch.tensor([0.9, 0.5]), 0.6
    thresholds = torch.tensor([0.4, 0.4])
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, 1, 1:3] = True
    label, near, far = torch.zeros(2, 4, 6), torch.zeros(2, 4, 6), torch.zeros(2, 4, 6)
    label[0, 1, 1:4] = torch.tensor([0.9, 0.6, 0.5])
    near[0, 1, 1:3], far[0, 1, 1:3] = torch.tensor([1.0, 0.2]), torch.tensor([0.5, 0.6])
    # Outside the box, and therefore of no account.
    near[0, 3, 0] = 1.0
    expanded = Expanded(label, near, far, seeds_of(mask, 0), mask)
    first, second = doubts_of(fused[:, None], fused, thresholds, torch.tensor([True, False]), expanded)
    assert first.positive
    assert first.entropy == pytest.approx((0.325083 + math.log(2)) / 2, abs=1e-5)
    assert first.disagreement == 0.0
    assert first.geodesic_margin == pytest.approx((0.5 + 0.4) / 2)
    assert (first.components, first.largest_share) == (2, pytest.approx(2 / 3))
    # 0.5 is undecided, not labelled.
    assert first.area_share == pytest.approx(2 / 24)
    assert second == Doubts(False, None, 0.0, None, 0, 0.0, 0.0)


def test_measures_without_expansion() -> None:
    fused = torch.zeros(1, 4, 4)
    fused[0, 0, :2] = 0.9
    doubt = doubts_of(fused[:, None], fused, torch.tensor([0.5]), torch.tensor([True]))[0]
    assert doubt.entropy == pytest.approx(0.325083, abs=1e-5)
    assert doubt.geodesic_margin is None
    assert doubt.area_share == pytest.approx(2 / 16)


def test_constant_and_empty_maps_leave_no_nan() -> None:
    for value in (0.0, 0.5, 1.0):
        fused = torch.full((1, 4, 4), value)
        maps = fused[:, None].expand(-1, 3, -1, -1)
        doubt = doubts_of(maps, fused, torch.tensor([0.5]), torch.tensor([True]))[0]
        numbers = [number for number in dataclasses.astuple(doubt) if number is not None]
        assert all(math.isfinite(number) for number in numbers)
        assert rank_doubts([doubt])[0].decision == "reject"


def test_the_worst_tenth_is_rejected_and_the_next_three_tenths_reviewed() -> None:
    decisions = [verdict.decision for verdict in rank_doubts(worsening(20))]
    assert decisions == ["accept"] * 12 + ["review"] * 6 + ["reject"] * 2


def test_scores_by_hand() -> None:
    # Four slices; entropy and margin tell them apart, all else ties at the middle rank (0.5).
    doubts = [but(entropy=e, geodesic_margin=m) for e, m in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.7), (0.4, 0.9))]
    # Ranks of entropy 1 2 3 4; of -margin 1.5 3 4 1.5; the rest 0.5.
    ranks = [(0.5, 1.0), (1.5, 2.5), (2.5, 3.5), (3.5, 1.0)]
    expected = [(a / 4 + b / 4 + 4 * 0.5) / 6 for a, b in ranks]
    assert [verdict.score for verdict in rank_doubts(doubts)] == pytest.approx(expected)


@pytest.mark.parametrize(
    "worse",
    [
        {"entropy": 0.6},
        {"disagreement": 0.8},
        {"geodesic_margin": 0.1},
        {"components": 5},
        {"largest_share": 0.3},
        {"area_share": 0.01},
        {"area_share": 0.5},
    ],
)
def test_each_measure_counts_and_in_its_direction(worse: dict[str, float]) -> None:
    verdicts = rank_doubts([GOOD, GOOD, GOOD, but(**worse), GOOD])
    assert verdicts[3].score > max(verdict.score for verdict in verdicts[:3])
    assert verdicts[0].score == verdicts[4].score


def test_absolute_rejects_come_on_top_of_the_ranks() -> None:
    doubts = [
        but(area_share=0.0),
        *worsening(20),
        but(area_share=0.61),
        but(positive=False, area_share=0.0),
    ]
    verdicts = rank_doubts(doubts)
    assert [(v.score, v.decision, v.reason) for v in (verdicts[0], *verdicts[-2:])] == [
        (1.0, "reject", "empty"),
        (1.0, "reject", "too large"),
        (0.0, "accept", "no object"),
    ]
    assert verdicts[1:-2] == rank_doubts(doubts[1:-2])
    assert rank_doubts([but(area_share=0.60)])[0].decision == "accept"


def test_equals_meet_the_same_fate() -> None:
    assert {verdict.decision for verdict in rank_doubts([GOOD] * 30)} == {"accept"}
    # Two equals across the line of the worst tenth of ten: both are reviewed.
    doubts = worsening(10)
    doubts[8] = doubts[9]
    assert [verdict.decision for verdict in rank_doubts(doubts)][8:] == ["review", "review"]


def test_slices_without_a_measure_are_judged_by_the_others() -> None:
    bare = [dataclasses.replace(doubt, geodesic_margin=None, entropy=None) for doubt in worsening(20)]
    assert [verdict.decision for verdict in rank_doubts(bare)][-3:] == ["review", "reject", "reject"]
    mixed = rank_doubts([*worsening(9), but(geodesic_margin=None, entropy=None)])
    assert all(math.isfinite(verdict.score) for verdict in mixed)


def test_the_rule_can_be_changed() -> None:
    verdicts = rank_doubts([*worsening(4), but(area_share=0.4)], AuditRule(0.25, 0.5, 0.3))
    assert [verdict.decision for verdict in verdicts] == ["accept", "review", "review", "reject", "reject"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=25))
def test_the_order_of_the_slices_does_not_matter(cases: list[tuple[int, int]]) -> None:
    doubts = [but(entropy=e / 10, components=c) for e, c in cases]
    order = np.random.default_rng(len(cases)).permutation(len(doubts)).tolist()
    verdicts = rank_doubts(doubts)
    assert rank_doubts([doubts[place] for place in order]) == [verdicts[place] for place in order]
    assert all(0.0 <= verdict.score <= 1.0 for verdict in verdicts)
    n = len(doubts)
    by_entropy = (rankdata([e for e, _ in cases]) - 0.5) / n
    by_pieces = (rankdata([c for _, c in cases]) - 0.5) / n
    assert [verdict.score for verdict in verdicts] == pytest.approx((by_entropy + by_pieces + 2.0) / 6)


def test_no_slices_no_verdicts() -> None:
    assert rank_doubts([]) == []


def test_bad_input() -> None:
    maps, fused = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4)
    half, tags = torch.full((2,), 0.5), torch.tensor([True, False])
    for call in (
        lambda: doubts_of(maps, fused[:1], half, tags),
        lambda: doubts_of(maps, fused, half[:1], tags),
        lambda: doubts_of(fused, fused, half, tags),
        lambda: rank_doubts([but(entropy=math.nan)]),
        lambda: AuditRule(0.7, 0.4),
        lambda: AuditRule(largest_area=0.0),
    ):
        with pytest.raises(InputFault) as fault:
            call()
        assert "\n" not in str(fault.value)
