import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.losses.feature_gap import local_mask, pass_for_source, recognise

torch.set_num_threads(1)

MEASURES = ("symmetric", "literal", "entropy")


def verdicts(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_masks_worked_by_hand() -> None:
    """Literal: target recognised, source recognised, confused. Symmetric: the same three."""
    literal = local_mask(verdicts(0.0, 1.0, 0.5), "literal").flatten().tolist()
    assert literal == pytest.approx([0.0, 0.7616, 0.4621], abs=1e-4)
    symmetric = local_mask(verdicts(-1.0, 1.0, 0.0), "symmetric").flatten().tolist()
    assert symmetric == pytest.approx([0.7616, 0.7616, 0.0], abs=1e-4)


def test_entropy_mask_worked_by_hand() -> None:
    """ln 3 is a chance of 3 in 4: 1 - H(3/4) = 1 - 0.8113 bit. No verdict is too extreme for a number."""
    mask = local_mask(verdicts(0.0, math.log(3), -math.log(3), 1e4, -1e4), "entropy").flatten().tolist()
    assert mask == pytest.approx([0.0, 0.1887, 0.1887, 1.0, 1.0], abs=1e-4)


@given(st.floats(-8, 8))
@settings(max_examples=40, deadline=None)
def test_entropy_mask_is_one_minus_the_entropy_in_bits(verdict: float) -> None:
    chance = 1 / (1 + math.exp(-verdict))
    bits = -sum(part * math.log2(part) for part in (chance, 1 - chance))
    assert float(local_mask(verdicts(verdict), "entropy")) == pytest.approx(1 - bits, abs=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_mask_is_a_map_in_the_unit_interval_without_a_gradient(measure: str) -> None:
    torch.manual_seed(0)
    given = (5 * torch.randn(2, 1, 4, 3)).requires_grad_()
    mask = local_mask(given, measure)
    assert mask.shape == given.shape and not mask.requires_grad
    assert float(mask.min()) >= 0.0 and float(mask.max()) <= 1.0


def test_the_critics_wishes_worked_by_hand() -> None:
    assert float(recognise(verdicts(1.0), verdicts(-1.0), "symmetric")) == 0.0
    assert float(recognise(verdicts(0.0), verdicts(0.0), "symmetric")) == 2.0
    assert float(recognise(verdicts(-1.0), verdicts(1.0), "symmetric")) == 8.0
    assert float(recognise(verdicts(1.0), verdicts(0.0), "literal")) == 0.0
    assert float(recognise(verdicts(0.5), verdicts(0.5), "literal")) == 0.5
    assert float(recognise(verdicts(0.0, 2.0), verdicts(3.0), "literal")) == 10.0
    assert float(recognise(verdicts(0.0), verdicts(0.0), "entropy")) == pytest.approx(2 * math.log(2))
    assert float(recognise(verdicts(40.0), verdicts(-40.0), "entropy")) == pytest.approx(0.0, abs=1e-6)


def test_the_encoders_wishes_worked_by_hand() -> None:
    for measure in ("symmetric", "literal"):
        assert float(pass_for_source(verdicts(1.0), measure)) == 0.0
        assert float(pass_for_source(verdicts(-1.0, 0.0), measure)) == 2.5
    assert float(pass_for_source(verdicts(0.0), "entropy")) == pytest.approx(math.log(2))
    assert float(pass_for_source(verdicts(-200.0), "entropy")) == pytest.approx(200.0)


@given(st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=30, deadline=None)
def test_symmetric_is_literal_on_a_ruler_twice_as_long(source: float, target: float) -> None:
    """With D' = 2 D - 1 every least-squares term is four times the literal one, as the docstring says."""
    longer = [verdicts(2 * verdict - 1) for verdict in (source, target)]
    plain = [verdicts(source), verdicts(target)]
    assert float(recognise(*longer)) == pytest.approx(4 * float(recognise(*plain, "literal")), abs=1e-4)
    assert float(pass_for_source(longer[1])) == pytest.approx(
        4 * float(pass_for_source(plain[1], "literal")), abs=1e-4
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients(measure: str) -> None:
    torch.manual_seed(0)
    source, target = (torch.randn(2, 1, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda one, other: recognise(one, other, measure), (source, target))
    assert torch.autograd.gradcheck(lambda given: pass_for_source(given, measure), target)


@pytest.mark.parametrize("measure", MEASURES)
def test_half_precision_is_judged_in_single(measure: str) -> None:
    half = verdicts(0.25, -1.5).bfloat16()
    assert local_mask(half, measure).dtype == torch.float32
    assert recognise(half, half, measure).dtype == torch.float32
