from itertools import pairwise

import pytest
import torch
from torch import nn

from fewmask.errors import InputFault
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.umcam_unet import LeakyUNet, LeakyUNetConfig, two_leaky_convolutions

torch.set_num_threads(1)

SMALL = LeakyUNetConfig(widths=(4, 8, 16))


def counted_by_hand(channels: int, classes: int, widths: tuple[int, ...]) -> int:
    """Weights and biases of every convolution, scale and offset of every norm."""
    count = 9 * widths[0] * classes + classes
    for inner, outer in pairwise((channels, *widths)):
        count += (9 * inner + 1) * outer + (9 * outer + 1) * outer + 4 * outer
    for shallow, deep in pairwise(widths):
        count += (4 * deep + 1) * shallow
        count += (9 * 2 * shallow + 1) * shallow + (9 * shallow + 1) * shallow + 4 * shallow
    return count


@pytest.mark.parametrize(
    ("channels", "classes", "widths", "published"),
    [(1, 2, (16, 32, 64, 128, 256), 1_944_034), (3, 2, (8, 16, 32, 64, 128), None), (2, 4, (4, 8), None)],
)
def test_parameter_count(channels: int, classes: int, widths: tuple[int, ...], published: int | None) -> None:
    network = LeakyUNet(channels, classes, LeakyUNetConfig(widths))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == counted_by_hand(channels, classes, widths)
    assert published is None or count == published


def test_default_is_the_published_one() -> None:
    with torch.device("meta"):
        network = LeakyUNet(1, 2, LeakyUNetConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_944_034
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [
        0.05,
        0.1,
        0.2,
        0.3,
        0.5,
    ]
    assert sum(isinstance(layer, SharedBatchNorm2d) for layer in network.modules()) == 18
    assert network.head.kernel_size == (3, 3)


@pytest.mark.parametrize("size", [(16, 16), (48, 32), (96, 96)])
def test_sizes_that_are_multiples_of_16(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = LeakyUNet(1, 2, LeakyUNetConfig(widths=(2, 4, 8, 16, 32)))
    assert network.divisor == 16
    assert network(torch.randn(2, 1, *size)).shape == (2, 2, *size)
    with pytest.raises(ValueError, match="multiples of 16"):
        network(torch.randn(2, 1, size[0], size[1] + 8))


def test_gradients_reach_every_weight_but_the_idle_biases() -> None:
    """A norm takes away what a bias before it adds: those biases change nothing, and have no gradient to speak of."""
    torch.manual_seed(0)
    network = LeakyUNet(3, 2, SMALL).double()
    logits = network(torch.randn(2, 3, 16, 24, dtype=torch.float64))
    (logits * torch.randn_like(logits)).sum().backward()
    idle = {
        id(layer.bias)
        for block in network.modules()
        if isinstance(block, nn.Sequential)
        for layer in block
        if isinstance(layer, nn.Conv2d)
    }
    assert len(idle) == 10
    for parameter in network.parameters():
        largest = float(parameter.grad.abs().max())
        assert (largest < 1e-9) if id(parameter) in idle else (largest > 1e-6)


def test_one_block_by_hand() -> None:
    """Written out with torch's own functions: convolution, norm by the batch, 0.01 of what is negative."""
    torch.manual_seed(1)
    block = two_leaky_convolutions(2, 3).double()
    maps = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    expected = maps
    for place in (0, 4):
        expected = nn.functional.conv2d(expected, block[place].weight, block[place].bias, padding=1)
        mean = expected.mean((0, 2, 3), keepdim=True)
        spread = (expected - mean).square().mean((0, 2, 3), keepdim=True)
        expected = (expected - mean) / (spread + 1e-5).sqrt()
        expected = torch.where(expected > 0, expected, 0.01 * expected)
    torch.testing.assert_close(block(maps), expected, rtol=1e-10, atol=1e-12)


def test_dropout_only_in_training_and_only_in_the_encoder() -> None:
    torch.manual_seed(0)
    network = LeakyUNet(1, 2, LeakyUNetConfig((4, 8), (0.5, 0.5)))
    images = torch.randn(2, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    features = network.features(images)
    assert torch.equal(network.decode(features), network.decode(features))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_fewer_levels_take_the_first_dropouts() -> None:
    network = LeakyUNet(1, 2, LeakyUNetConfig((4, 8)))
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.05, 0.1]


@pytest.mark.parametrize(
    ("widths", "dropouts", "match"),
    [
        ((), (0.1,), r"widths=\[\]: give one positive number a level"),
        ((4, 0), (0.1, 0.1), "widths"),
        ((4, 8), (0.1,), "one for each of the 2 levels"),
        ((4, 8), (0.1, 1.0), "below 1"),
        ((4,), (-0.1,), "at least 0"),
    ],
)
def test_faults(widths: tuple[int, ...], dropouts: tuple[float, ...], match: str) -> None:
    with pytest.raises(InputFault, match=match):
        LeakyUNetConfig(widths, dropouts)
