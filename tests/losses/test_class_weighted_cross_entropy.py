import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.losses.segmentation import DiceForm, class_weighted_cross_entropy, soft_dice
from fewmask.losses.weight_size import weight_size
from fewmask.shapes import IGNORED

torch.set_num_threads(1)


def logits_of(probabilities: list[list[float]]) -> torch.Tensor:
    """One row of pixels, (1, K, 1, W), whose softmax is the given columns."""
    return torch.tensor(probabilities, dtype=torch.float64).log().T[None, :, None]


def test_worked_by_hand() -> None:
    """Three pixels of class 0, one of class 1: weights 1/4 and 3/4."""
    logits = logits_of([[0.5, 0.5], [0.8, 0.2], [0.1, 0.9], [0.6, 0.4]])
    masks = torch.tensor([[[0, 0, 0, 1]]])
    common = -(math.log(0.5) + math.log(0.8) + math.log(0.1))
    expected = (0.25 * common - 0.75 * math.log(0.4)) / 4
    assert float(class_weighted_cross_entropy(logits, masks)) == pytest.approx(expected, rel=1e-12)


def test_a_hopeless_pixel_costs_the_floor_and_pulls_no_more() -> None:
    logits = logits_of([[0.001, 0.999], [0.3, 0.7]]).requires_grad_()
    loss = class_weighted_cross_entropy(logits, torch.tensor([[[0, 1]]]))
    assert float(loss.detach()) == pytest.approx(-0.5 * (math.log(0.005) + math.log(0.7)) / 2, rel=1e-12)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[..., 0].abs().max() == 0.0
    assert logits.grad[..., 1].abs().min() > 0.0


def test_ignored_pixels_weigh_nothing_but_are_in_the_mean() -> None:
    """The sheet: an all-zero one-hot row has no surprise and no mass in N, while the mean is over all pixels."""
    seen = logits_of([[0.5, 0.5], [0.8, 0.2]])
    masks = torch.tensor([[[0, 1]]])
    other = torch.cat([seen, logits_of([[0.01, 0.99], [0.7, 0.3]])], dim=-1)
    with_ignored = torch.tensor([[[0, 1, IGNORED, IGNORED]]])
    alone = class_weighted_cross_entropy(seen, masks)
    torch.testing.assert_close(class_weighted_cross_entropy(other, with_ignored), alone / 2)


@pytest.mark.parametrize("label", [1, IGNORED])
def test_one_class_alone_or_none_costs_nothing(label: int) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = class_weighted_cross_entropy(logits, torch.full((2, 4, 4), label))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None and float(logits.grad.abs().max()) == 0.0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_pixel_by_pixel(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 3, 3, 2, dtype=torch.float64, generator=generator)
    masks = torch.randint(3, (2, 3, 2), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = IGNORED
    labelled = [int(label) for label in masks.flatten() if label != IGNORED]
    total = 0.0
    for index, label in enumerate(masks.flatten().tolist()):
        if label != IGNORED:
            scores = logits.movedim(1, -1).reshape(-1, 3)[index].tolist()
            probability = math.exp(scores[label]) / sum(math.exp(score) for score in scores)
            weight = 1 - labelled.count(label) / len(labelled)
            total -= weight * math.log(max(probability, 0.005))
    assert float(class_weighted_cross_entropy(logits, masks)) == pytest.approx(total / masks.numel())


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    masks = torch.randint(3, (2, 3, 2), generator=generator)
    masks[0, 0, 0] = IGNORED
    assert float(logits.detach().softmax(1).min()) > 0.006
    assert torch.autograd.gradcheck(lambda scores: class_weighted_cross_entropy(scores, masks), logits)
    assert torch.autograd.gradcheck(lambda weights: weight_size([weights]), logits)


def test_half_precision_is_reckoned_in_single() -> None:
    logits = torch.randn(1, 3, 4, 4)
    masks = torch.randint(3, (1, 4, 4))
    half = class_weighted_cross_entropy(logits.bfloat16(), masks)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, class_weighted_cross_entropy(logits.bfloat16().float(), masks))


def test_the_dice_beside_it_charges_an_absent_class() -> None:
    """D1 of a perfect answer is the share of classes that do not occur."""
    form = DiceForm(above=0.0, below=1e-7)
    masks = torch.tensor([[[0, 1], [1, 2]]])
    perfect = torch.nn.functional.one_hot(masks, 5).movedim(-1, 1).double()
    assert float(soft_dice(perfect, masks, form)) == pytest.approx(2 / 5, abs=1e-6)


def test_weight_size_is_half_the_sum_of_squares() -> None:
    assert float(weight_size([torch.tensor([3.0, 4.0]), torch.tensor([[2.0]])])) == pytest.approx(14.5)
