import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fewmask.losses.classification import binary_cross_entropy, known_cross_entropy

torch.set_num_threads(1)

numbers = st.floats(-6, 6)


def test_by_hand() -> None:
    assert float(binary_cross_entropy(torch.zeros(4), torch.tensor([0.0, 1, 0, 1]))) == pytest.approx(
        math.log(2)
    )
    # p = 0.8 for a case with the outcome and for one without it.
    logits = torch.tensor([math.log(4), math.log(4)])
    by_hand = (3 * -math.log(0.8) - math.log(0.2)) / 2
    assert float(binary_cross_entropy(logits, torch.tensor([1.0, 0.0]), 3.0)) == pytest.approx(by_hand)


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=8), st.floats(0.1, 9))
@settings(max_examples=40, deadline=None)
def test_against_torch(pairs: list[tuple[float, bool]], weight: float) -> None:
    logits = torch.tensor([logit for logit, _ in pairs], dtype=torch.float64)
    outcomes = torch.tensor([float(found) for _, found in pairs], dtype=torch.float64)
    theirs = functional.binary_cross_entropy_with_logits(logits, outcomes, pos_weight=torch.tensor(weight))
    assert torch.allclose(binary_cross_entropy(logits, outcomes, weight), theirs, rtol=1e-6)


def test_extreme_scores_stay_finite() -> None:
    logits = torch.tensor([500.0, -500.0], requires_grad=True)
    loss = binary_cross_entropy(logits, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(500.0)
    assert logits.grad is not None and torch.allclose(logits.grad, torch.tensor([0.5, -0.5]))


def test_half_precision_is_summed_in_single() -> None:
    assert binary_cross_entropy(torch.zeros(2).bfloat16(), torch.tensor([0.0, 1.0])).dtype == torch.float32


def test_gradients() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    outcomes = torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda given: binary_cross_entropy(given, outcomes, 2.5), logits)


def test_the_weight_makes_a_rare_outcome_count_as_much() -> None:
    """With w = negatives / positives an answer that is the same for all is best at one half."""
    outcomes = torch.tensor([1.0, 0, 0, 0])
    level = torch.zeros(4, requires_grad=True)
    binary_cross_entropy(level, outcomes, 3.0).backward()
    assert level.grad is not None and float(level.grad.sum()) == pytest.approx(0.0, abs=1e-7)


cases = st.lists(st.tuples(numbers, st.booleans(), st.booleans()), min_size=1, max_size=8)


@given(cases, st.floats(0.1, 9))
@settings(max_examples=40, deadline=None)
def test_known_outcomes_against_torch(drawn: list[tuple[float, bool, bool]], weight: float) -> None:
    logits = torch.tensor([logit for logit, _, _ in drawn], dtype=torch.float64)
    outcomes = torch.tensor([float(found) for _, found, _ in drawn], dtype=torch.float64)
    known = torch.tensor([there for _, _, there in drawn])
    ours = known_cross_entropy(logits, outcomes, known, weight)
    if not known.any():
        assert float(ours) == 0.0
        return
    theirs = functional.binary_cross_entropy_with_logits(
        logits[known], outcomes[known], pos_weight=torch.tensor(weight)
    )
    assert torch.allclose(ours, theirs, rtol=1e-6)
    assert torch.equal(ours, known_cross_entropy(logits, torch.where(known, outcomes, 0.5), known, weight))


def test_unknown_outcomes_pull_at_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    outcomes = torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64)
    known = torch.tensor([True, False, True, False, True])
    assert torch.autograd.gradcheck(lambda given: known_cross_entropy(given, outcomes, known, 2.5), logits)
    known_cross_entropy(logits, outcomes, known, 2.5).backward()
    assert logits.grad is not None and ((logits.grad != 0) == known).all()


def test_where_no_outcome_is_known_nothing_is_learnt() -> None:
    logits = torch.tensor([80.0, -500.0], requires_grad=True)
    loss = known_cross_entropy(logits, torch.zeros(2), torch.zeros(2, dtype=torch.bool), 9.0)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and logits.grad.tolist() == [0.0, 0.0]
