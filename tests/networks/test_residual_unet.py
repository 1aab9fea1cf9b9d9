from itertools import pairwise

import pytest
import torch
from torch import nn

from fewmask.errors import InputFault
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.residual_unet import ResidualUNet, ResidualUNetConfig, ResidualUnit

torch.set_num_threads(1)


def counted_by_hand(channels: int, classes: int, widths: tuple[int, ...]) -> int:
    """Two 3x3 convolutions, a 1x1 shortcut and three norms a unit; all widths change, so each has a shortcut."""

    def unit(inner: int, outer: int) -> int:
        return 9 * inner * outer + 9 * outer * outer + inner * outer + 3 * 2 * outer

    count = sum(unit(inner, outer) for inner, outer in pairwise((channels, *widths)))
    for shallow, deep in pairwise(widths):
        count += 4 * deep * shallow + shallow + unit(2 * shallow, shallow)
    return count + widths[0] * classes + classes


@pytest.mark.parametrize(("channels", "classes", "widths"), [(1, 5, (16, 32, 64, 128, 256)), (3, 4, (4, 8))])
def test_parameter_count(channels: int, classes: int, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = ResidualUNet(channels, classes, ResidualUNetConfig(widths))
    assert sum(p.numel() for p in network.parameters()) == counted_by_hand(channels, classes, widths)


def test_published_widths_by_default() -> None:
    with torch.device("meta"):
        network = ResidualUNet(1, 5, ResidualUNetConfig())
        maps = network.features(torch.empty(1, 1, 256, 256))
    assert [tuple(level.shape[1:]) for level in maps] == [
        (16, 256, 256),
        (32, 128, 128),
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
    ]


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_shapes_and_gradients_reach_everything(norm: str) -> None:
    torch.manual_seed(0)
    network = ResidualUNet(3, 5, ResidualUNetConfig((4, 8, 16), norm))
    images = torch.randn(2, 3, 16, 24)
    maps = network.features(images)
    assert [tuple(level.shape) for level in maps] == [(2, 4, 16, 24), (2, 8, 8, 12), (2, 16, 4, 6)]
    assert all(level.min().item() == 0.0 for level in maps)
    logits = network(images)
    assert logits.shape == (2, 5, 16, 24)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in network.parameters())
    kind = SharedBatchNorm2d if norm == "batch" else nn.InstanceNorm2d
    assert sum(isinstance(layer, kind) for layer in network.modules()) == 15


def test_every_level_reaches_the_decoder() -> None:
    """A change of any level's map changes the answer: that is where a mask can be laid."""
    torch.manual_seed(0)
    network = ResidualUNet(1, 2, ResidualUNetConfig((4, 8, 16))).eval()
    with torch.no_grad():
        maps = network.features(torch.randn(1, 1, 16, 16))
        plain = network.decode(maps)
        for level, changed in enumerate(maps):
            other = network.decode([*maps[:level], 1.5 * changed, *maps[level + 1 :]])
            assert float((other - plain).abs().max()) > 1e-4


def test_a_unit_adds_its_branch_to_its_input() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(4, 4, "batch").eval()
    maps = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(unit(maps), (unit.branch(maps) + maps).clamp(min=0.0))
    for parameter in unit.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(unit(maps), maps.clamp(min=0.0))


def test_a_halving_shortcut_takes_means_of_four() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(2, 3, "batch", stride=2).eval()
    maps = torch.randn(1, 2, 4, 4)
    means = maps.reshape(1, 2, 2, 2, 2, 2).mean((3, 5))
    expected = torch.einsum("oi,bihw->bohw", unit.shortcut[1].weight[:, :, 0, 0], means)
    # A fresh norm out of training divides by sqrt(1 + 1e-5).
    torch.testing.assert_close(unit.shortcut(maps), expected / (1 + 1e-5) ** 0.5)


def test_narrow_networks_survive_their_backward_pass() -> None:
    """A strided 1x1 convolution of 4 maps wrote beyond its memory here; the process died."""
    torch.manual_seed(0)
    for _ in range(5):
        network = ResidualUNet(1, 2, ResidualUNetConfig((4, 8, 16)))
        network(torch.randn(8, 1, 64, 64)).sum().backward()


def test_refusals() -> None:
    with pytest.raises(InputFault, match=r"widths=\[\]"):
        ResidualUNetConfig(())
    with pytest.raises(InputFault, match="positive"):
        ResidualUNetConfig((4, 0))
    with pytest.raises(ValueError, match="multiples of 4, not 10 x 16"):
        ResidualUNet(1, 2, ResidualUNetConfig((2, 4, 8)))(torch.zeros(1, 1, 10, 16))
