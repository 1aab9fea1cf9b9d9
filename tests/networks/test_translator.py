import pytest
import torch
from torch import nn

from fewmask.networks.translator import ResidualBlock, ResNetTranslator

torch.set_num_threads(1)


def count(channels: int, width: int, blocks: int) -> int:
    ends = 49 * channels * width + 49 * width * channels + channels
    halvings = 9 * width * 2 * width + 9 * 2 * width * 4 * width
    return ends + 2 * halvings + blocks * 2 * 9 * (4 * width) ** 2


def idle_biases(width: int, blocks: int) -> int:
    return (1 + 2 + 4) * width + blocks * 2 * 4 * width + (2 + 1) * width


@pytest.mark.parametrize(("channels", "width", "blocks"), [(3, 64, 9), (1, 8, 2)])
def test_parameter_count(channels: int, width: int, blocks: int) -> None:
    with torch.device("meta"):
        network = ResNetTranslator(channels, channels, width, blocks)
    assert sum(parameter.numel() for parameter in network.parameters()) == count(channels, width, blocks)


def test_parameter_count_against_published_networks() -> None:
    """With a bias before each norm it is CycleGAN's; with scale and offset in each norm too, it is SIFA's."""
    assert count(3, 64, 9) + idle_biases(64, 9) == 11_378_179
    assert count(1, 32, 9) + 3 * idle_biases(32, 9) == 2_849_537


def test_shape_range_and_gradients() -> None:
    torch.manual_seed(0)
    network = ResNetTranslator(3, 2, width=4, blocks=2)
    images = torch.randn(2, 3, 16, 24)
    redrawn = network(images)
    assert redrawn.shape == (2, 2, 16, 24)
    assert float(redrawn.detach().abs().max()) < 1.0
    (redrawn * torch.randn_like(redrawn)).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in network.parameters())


def test_no_bias_before_an_instance_norm() -> None:
    network = ResNetTranslator(1, 1, width=4, blocks=2)
    biased = [name for name, _ in network.named_parameters() if name.endswith("bias")]
    assert len(biased) == 1
    assert isinstance(network.decoder[-1], nn.Tanh)
    assert network.decoder[-2].bias is not None


def test_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    network = ResNetTranslator(3, 3, width=16, blocks=2)
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert abs(float(parameter.detach().mean())) < 0.002
        else:
            assert float(parameter.detach().abs().max()) == 0.0


def test_nothing_is_rectified_after_the_residual_sum() -> None:
    block = ResidualBlock(3)
    features = torch.randn(1, 3, 8, 8)
    nn.init.zeros_(block.change[-2].weight)
    assert torch.equal(block(features), features)


def test_borders_are_reflected() -> None:
    """A constant image stays constant: zero padding would draw a frame."""
    block = ResidualBlock(2)
    first = block.change[:2](torch.ones(1, 2, 6, 6))
    torch.testing.assert_close(first, first[:, :, :1, :1].expand_as(first))


def test_too_odd_a_size() -> None:
    with pytest.raises(ValueError, match="multiples of 4, not 16 x 18"):
        ResNetTranslator(1, 1, width=4, blocks=1)(torch.zeros(1, 1, 16, 18))
