import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.losses import focal as module
from fewmask.losses.focal import focal
from fewmask.losses.segmentation import cross_entropy
from fewmask.shapes import IGNORED

torch.set_num_threads(1)


def drawn(seed: int, images: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 3, 5, 4, dtype=torch.float64, generator=generator)
    masks = torch.randint(3, (images, 5, 4), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = IGNORED
    return logits, masks


def summed_by_hand(logits: torch.Tensor, masks: torch.Tensor, gamma: float) -> tuple[float, int]:
    """Pixel by pixel, from the probabilities."""
    total, count = 0.0, 0
    for image, row, column in torch.cartesian_prod(*(torch.arange(side) for side in masks.shape)).tolist():
        true_class = int(masks[image, row, column])
        if true_class != IGNORED:
            scores = [math.exp(score) for score in logits[image, :, row, column].tolist()]
            chance = scores[true_class] / sum(scores)
            total -= (1 - chance) ** gamma * math.log(chance)
            count += 1
    return total, count


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=15, deadline=None)
def test_the_written_formula(seed: int, gamma: float) -> None:
    logits, masks = drawn(seed)
    total, count = summed_by_hand(logits, masks, gamma)
    assert float(focal(logits, masks, gamma)) == pytest.approx(total / count, rel=1e-10)


def test_hand_worked() -> None:
    """Two classes, undecided: (1/2)^2 ln 2. Sure by 9 to 1: 0.01 x 0.105, or 0.81 x 2.303 where wrong."""
    undecided, zeros = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long()
    assert float(focal(undecided, zeros)) == pytest.approx(0.25 * math.log(2))
    sure = undecided.clone()
    sure[:, 0] = math.log(9)
    assert float(focal(sure, zeros)) == pytest.approx(-0.01 * math.log(0.9), rel=1e-5)
    assert float(focal(sure, zeros + 1)) == pytest.approx(-0.81 * math.log(0.1), rel=1e-5)


def test_without_gamma_it_is_the_cross_entropy_gradient_and_all() -> None:
    logits, masks = drawn(1)
    logits.requires_grad_()
    (ours,) = torch.autograd.grad(focal(logits, masks, 0.0), logits)
    (theirs,) = torch.autograd.grad(cross_entropy(logits, masks), logits)
    torch.testing.assert_close(focal(logits, masks, 0.0), cross_entropy(logits, masks), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradient(gamma: float) -> None:
    logits, masks = drawn(2)
    assert torch.autograd.gradcheck(lambda scores: focal(scores, masks, gamma), logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("certainty", [-200.0, 200.0])
def test_certain_answers_stay_finite(gamma: float, certainty: float) -> None:
    logits = torch.tensor([certainty, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    loss = focal(logits, torch.zeros(1, 1, 1).long(), gamma)
    loss.backward()
    assert loss.item() == pytest.approx(0.0 if certainty > 0 else 200.0, abs=1e-6)
    assert bool(torch.isfinite(logits.grad).all())


def test_ignored_pixels_have_no_say_and_no_gradient() -> None:
    logits, masks = drawn(3)
    ignored = masks == IGNORED
    other = torch.where(ignored[:, None], torch.full_like(logits, 7.0), logits).requires_grad_()
    loss = focal(other, masks)
    loss.backward()
    torch.testing.assert_close(loss.detach(), focal(logits, masks), rtol=1e-12, atol=0)
    gradient = other.grad.abs().sum(1)
    assert float(gradient[ignored].sum()) == 0.0 and bool((gradient[~ignored] > 0).all())


def test_a_batch_without_pixels_costs_nothing() -> None:
    logits, masks = drawn(4)
    logits.requires_grad_()
    loss = focal(logits, masks.fill_(IGNORED))
    loss.backward()
    assert loss.item() == 0.0 and float(logits.grad.abs().sum()) == 0.0


def test_sums_run_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image here, two in another process: the mean is over the pixels of all three."""
    logits, masks = drawn(5, images=3)
    elsewhere = torch.tensor(summed_by_hand(logits[1:], masks[1:], 2.0), dtype=torch.float64)
    whole = focal(logits, masks)
    monkeypatch.setattr(module, "sum_over_ranks", lambda own: own + elsewhere)
    torch.testing.assert_close(focal(logits[:1], masks[:1]), whole, rtol=1e-10, atol=0)


def test_half_precision_is_summed_in_single() -> None:
    logits, masks = drawn(6)
    half = logits.bfloat16()
    assert focal(half, masks).dtype == torch.float32
    torch.testing.assert_close(focal(half, masks), focal(half.float(), masks))
