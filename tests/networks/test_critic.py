import pytest
import torch
from torch import nn

from fewmask.networks.critic import PatchCritic

torch.set_num_threads(1)


def count(channels: int) -> int:
    """Three layers of width 64; biases in the first and the last convolution only."""
    weights = 16 * (channels * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    return weights + 64 + 1


@pytest.mark.parametrize("channels", [1, 3])
def test_parameter_count(channels: int) -> None:
    with torch.device("meta"):
        critic = PatchCritic(channels)
    assert sum(parameter.numel() for parameter in critic.parameters()) == count(channels)


def test_parameter_count_against_published_networks() -> None:
    """CycleGAN's has a bias everywhere; SIFA's has none, and a scale and an offset in each norm."""
    assert count(3) + 128 + 256 + 512 == 2_764_737
    assert count(1) - 65 + 2 * (128 + 256 + 512) == 2_763_520


def test_sixty_two_verdicts_a_side_for_512_pixels() -> None:
    assert PatchCritic(3, width=2)(torch.randn(1, 3, 512, 512)).shape == (1, 1, 62, 62)


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_field_of_view(layers: int, side: int) -> None:
    """The pixels that move the middle verdict, norms apart, are a square of the promised side."""
    torch.manual_seed(0)
    critic = PatchCritic(1, width=2, layers=layers).double()
    critic.judge = nn.Sequential(*(part for part in critic.judge if not isinstance(part, nn.InstanceNorm2d)))
    images = torch.randn(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    verdicts = critic(images)
    middle = verdicts.shape[-1] // 2
    verdicts[0, 0, middle, middle].backward()
    seen = images.grad[0, 0] != 0
    assert critic.field_of_view == side
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == side


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_smallest_size(layers: int) -> None:
    critic = PatchCritic(1, width=2, layers=layers)
    size = critic.smallest_size
    verdicts = critic(torch.randn(1, 1, size, size))
    assert verdicts.shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"{size} pixels"):
        critic(torch.randn(1, 1, size, size - 1))


def test_first_layer_is_not_normalised_and_verdicts_are_unbounded() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(1, width=4)
    assert [type(part).__name__ for part in critic.judge[:3]] == ["Conv2d", "LeakyReLU", "Conv2d"]
    assert isinstance(critic.judge[-1], nn.Conv2d)
    assert sum(isinstance(part, nn.InstanceNorm2d) for part in critic.judge) == 3
    assert all(part.negative_slope == 0.2 for part in critic.judge if isinstance(part, nn.LeakyReLU))
    biases = [part.bias is not None for part in critic.judge if isinstance(part, nn.Conv2d)]
    assert biases == [True, False, False, False, True]


def test_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    for part in PatchCritic(3, width=16).judge:
        if isinstance(part, nn.Conv2d):
            assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert part.bias is None or float(part.bias.detach().abs().max()) == 0.0
