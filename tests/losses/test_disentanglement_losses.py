"""The losses of content and style: worked by hand, and their gradients."""

import pytest
import torch
from torch.autograd import gradcheck

from fewmask.losses.disentanglement import (
    difference,
    fool_scales,
    swap_contents,
    tell_apart_scales,
    tell_contents_apart,
)

torch.set_num_threads(1)


def test_the_difference_is_a_mean() -> None:
    assert difference(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item() == 1.5


def test_scales_are_summed_without_a_half() -> None:
    real = [torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 1, 1), 1.0)]
    fake = [torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 1, 1), -1.0)]
    assert tell_apart_scales(real, fake).item() == pytest.approx(0.25 + 4.0 + 0.0 + 1.0)
    assert fool_scales(fake).item() == pytest.approx(1.0 + 4.0)


def test_the_encoder_wants_the_contents_labels_swapped() -> None:
    source, target = torch.tensor([[[[0.75]]]]), torch.tensor([[[[0.5]]]])
    assert tell_contents_apart(source, target).item() == pytest.approx(0.0625 + 0.25)
    assert swap_contents(source, target).item() == pytest.approx(0.5625 + 0.25)


def test_gradients() -> None:
    torch.manual_seed(0)
    one, other = (torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for loss in (
        difference,
        tell_contents_apart,
        swap_contents,
        lambda a, b: tell_apart_scales([a, b], [b, a]),
        lambda a, b: fool_scales([a, b]),
    ):
        assert gradcheck(loss, (one, other))
