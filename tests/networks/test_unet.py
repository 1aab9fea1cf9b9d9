from itertools import pairwise

import pytest
import torch
from torch import nn

from fewmask.errors import InputFault
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.unet import UNet, UNetConfig

torch.set_num_threads(1)

SMALL = UNetConfig(widths=(4, 8, 16))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def counted_by_hand(channels: int, classes: int, widths: tuple[int, ...]) -> int:
    count = 0
    for inner, outer in pairwise((channels, *widths)):
        count += 9 * inner * outer + 9 * outer * outer + 2 * (2 * outer)
    for shallow, deep in pairwise(widths):
        rise = 4 * deep * shallow + shallow
        level = 9 * (2 * shallow) * shallow + 9 * shallow * shallow + 2 * (2 * shallow)
        count += rise + level
    return count + widths[0] * classes + classes


@pytest.mark.parametrize(("channels", "classes", "widths"), [(1, 2, (32, 64, 128, 256, 512)), (3, 4, (4, 8))])
def test_parameter_count(channels: int, classes: int, widths: tuple[int, ...]) -> None:
    assert parameters(UNet(channels, classes, UNetConfig(widths))) == counted_by_hand(
        channels, classes, widths
    )


def test_parameter_count_against_a_published_network() -> None:
    """PyMIC's U-Net has 1,944,034: ours, biases before the norms, and a last convolution of 3x3 instead of 1x1."""
    widths = (16, 32, 64, 128, 256)
    idle_biases = 2 * sum(widths) + 2 * sum(widths[:-1])
    larger_head = 8 * widths[0] * 2
    assert parameters(UNet(1, 2, UNetConfig(widths))) + idle_biases + larger_head == 1_944_034


def test_nineteen_layers() -> None:
    with torch.device("meta"):
        network = UNet(1, 2, UNetConfig(widths=(64, 128, 256, 512, 1024)))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 19
    assert [layer.bias is not None for layer in layers] == [False] * 18 + [True]
    assert [layer.kernel_size for layer in layers] == [(3, 3)] * 18 + [(1, 1)]


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_shapes_and_gradients_reach_everything(norm: str) -> None:
    torch.manual_seed(0)
    network = UNet(3, 5, UNetConfig(widths=(4, 8, 16), norm=norm, dropout=0.1))
    images = torch.randn(2, 3, 16, 24)
    assert [tuple(level.shape) for level in network.features(images)] == [
        (2, 4, 16, 24),
        (2, 8, 8, 12),
        (2, 16, 4, 6),
    ]
    logits = network(images)
    assert logits.shape == (2, 5, 16, 24)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in network.parameters())
    kind = SharedBatchNorm2d if norm == "batch" else nn.InstanceNorm2d
    assert sum(isinstance(layer, kind) for layer in network.modules()) == 10


def test_features_then_decode_is_forward() -> None:
    network = UNet(1, 2, SMALL).eval()
    images = torch.randn(1, 1, 8, 8)
    assert torch.equal(network.decode(network.features(images)), network(images))


def test_finest_features_reach_the_masks_by_the_short_way() -> None:
    """With the coarse maps silenced, the logits still depend on the finest ones: the concatenation is there."""
    torch.manual_seed(0)
    network = UNet(1, 2, SMALL).eval()
    silent = [torch.randn(1, 4, 8, 8), torch.zeros(1, 8, 4, 4), torch.zeros(1, 16, 2, 2)]
    other = [torch.randn(1, 4, 8, 8), *silent[1:]]
    assert not torch.allclose(network.decode(silent), network.decode(other))


def test_dropout_only_in_training() -> None:
    network = UNet(1, 2, UNetConfig(widths=(4, 8), dropout=0.5))
    images = torch.randn(2, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_it_learns_one_image_by_heart() -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, SMALL)
    images = torch.randn(2, 1, 16, 16)
    masks = (images[:, 0] > 0.3).long()
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(images), masks)
        loss.backward()
        optimiser.step()
    assert float((network(images).argmax(1) == masks).float().mean()) > 0.95


def test_faults() -> None:
    with pytest.raises(ValueError, match="multiples of 4, not 16 x 18"):
        UNet(1, 2, SMALL)(torch.zeros(1, 1, 16, 18))
    with pytest.raises(InputFault, match="widths"):
        UNetConfig(widths=())
    with pytest.raises(InputFault, match="dropout"):
        UNetConfig(dropout=1.0)
