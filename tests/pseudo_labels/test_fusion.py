"""Fusion of maps: the sheet's oracle, a plain loop, and maps with nothing in them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Weighting
from fewmask.pseudo_labels.fusion import entropy, fused, min_max, weighted_mean

torch.set_num_threads(1)

WEIGHTINGS: tuple[Weighting, ...] = ("inverse_entropy", "exponential", "equal")


def stack(*values: float) -> torch.Tensor:
    """One slice of one pixel, a map a value."""
    return torch.tensor(values).reshape(1, -1, 1, 1)


def plain(values: list[float], weighting: Weighting) -> float:
    """The weighted mean of one pixel, written out."""
    weights: list[float] = []
    for p in values:
        h = max(0.0, -(p * math.log(p + 1e-6) + (1 - p) * math.log(1 - p + 1e-6)))
        weights.append(
            {"inverse_entropy": 1 / (h + 1e-6), "exponential": math.exp(-h), "equal": 1.0}[weighting]
        )
    return sum(w * p for w, p in zip(weights, values, strict=True)) / (sum(weights) + 1e-6)


@pytest.mark.parametrize(
    ("weighting", "expected"), [("exponential", 0.7364), ("inverse_entropy", 0.7723), ("equal", 0.7)]
)
def test_pixel_of_the_sheet(weighting: Weighting, expected: float) -> None:
    assert weighted_mean(stack(0.9, 0.5), weighting).item() == pytest.approx(expected, abs=1e-4)


def test_entropy_is_in_nats_and_never_negative() -> None:
    nats = entropy(torch.tensor([0.0, 0.5, 0.9, 1.0]))
    assert nats.tolist() == pytest.approx([0.0, math.log(2), 0.325083, 0.0], abs=1e-5)
    assert (entropy(torch.linspace(0, 1, 1001)) >= 0).all()


def test_half_precision_is_not_used_inside() -> None:
    maps = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    maps[0, 0] = 1.0
    for weighting in WEIGHTINGS:
        assert torch.equal(weighted_mean(maps, weighting), weighted_mean(maps.float(), weighting))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from(WEIGHTINGS))
def test_weighted_mean_equals_a_plain_loop(values: list[float], weighting: Weighting) -> None:
    maps = torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)
    assert weighted_mean(maps, weighting).item() == pytest.approx(plain(values, weighting), abs=1e-9)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equal_maps_give_the_map_back(weighting: Weighting) -> None:
    one = torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        weighted_mean(one.expand(-1, 4, -1, -1), weighting), one[:, 0], atol=3e-6, rtol=0
    )


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_single_map_comes_back_stretched(weighting: Weighting) -> None:
    maps = 0.2 + 0.5 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    torch.testing.assert_close(fused(maps, weighting), ((maps - low) / (high - low))[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_order_of_the_maps_and_the_other_slices_do_not_matter(weighting: Weighting) -> None:
    maps = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    together = fused(maps, weighting)
    torch.testing.assert_close(fused(maps.flip(1), weighting), together)
    torch.testing.assert_close(fused(maps[1:2], weighting), together[1:2])
    assert together.amin((1, 2)).tolist() == [0.0] * 3
    assert together.amax((1, 2)).tolist() == [1.0] * 3


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_maps_come_back(weighting: Weighting, value: float) -> None:
    answer = fused(torch.full((1, 3, 33, 31), value), weighting)
    torch.testing.assert_close(answer, torch.full((1, 33, 31), value), atol=3e-6, rtol=0)


def test_rounding_noise_is_not_stretched() -> None:
    noisy = torch.full((1, 4, 4), 0.3)
    noisy[0, 0, 0] += 1e-7
    assert min_max(noisy).amax() < 0.31
    assert min_max(torch.full((1, 2, 2), -2.0)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_maps_that_are_no_maps_are_refused() -> None:
    wrong = [torch.zeros(1, 4, 4), torch.full((1, 1, 2, 2), 1.5), torch.full((1, 1, 2, 2), math.nan)]
    for maps in [*wrong, torch.full((1, 1, 2, 2), -0.1), torch.zeros(1, 0, 2, 2)]:
        with pytest.raises(InputFault) as fault:
            fused(maps, "equal")
        assert "\n" not in str(fault.value)
