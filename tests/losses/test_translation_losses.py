import pytest
import torch

from fewmask.losses.translation import cycle_consistency, identity

torch.set_num_threads(1)


@pytest.mark.parametrize("loss", [cycle_consistency, identity])
def test_mean_absolute_difference(loss) -> None:
    images = torch.tensor([[[[0.0, 1.0], [-1.0, 0.5]]]])
    others = torch.tensor([[[[0.5, 1.0], [1.0, 0.25]]]])
    assert float(loss(images, others)) == pytest.approx((0.5 + 0 + 2 + 0.25) / 4)
    assert float(loss(images, images)) == 0.0
    assert float(loss(-torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4))) == 2.0


@pytest.mark.parametrize("loss", [cycle_consistency, identity])
def test_gradient(loss) -> None:
    torch.manual_seed(0)
    images, others = (torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(loss, (images, others))


def test_single_precision_at_least() -> None:
    assert (
        cycle_consistency(torch.zeros(1, 1, 2, 2).bfloat16(), torch.ones(1, 1, 2, 2)).dtype == torch.float32
    )
