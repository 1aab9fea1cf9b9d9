"""ResNet-50's levels, and the form that dilates. Its gates and weights: test_modulated_resnet.py."""

import pytest
import torch
from torch import nn

from fewmask.networks.evidence import stretched
from fewmask.networks.resnet import ResNet50, ResNetConfig

torch.set_num_threads(1)

NARROW = ResNetConfig(1 / 8, (2, 2, 2, 2))

STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def names_of_resnet50() -> list[str]:
    """The state dict of torchvision's `resnet50` without its linear layer."""
    layers = ["conv1", "bn1"]
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            here = f"layer{stage}.{block}"
            layers += [f"{here}.{kind}{place}" for place in (1, 2, 3) for kind in ("conv", "bn")]
            layers += [f"{here}.downsample.{place}" for place in (0, 1) if block == 0]
    names: list[str] = []
    for layer in layers:
        convolution = "conv" in layer or layer.endswith("downsample.0")
        names += [f"{layer}.{kind}" for kind in (STATISTICS[:1] if convolution else STATISTICS)]
    return names


def trunks(dilated: tuple[bool, bool, bool]) -> tuple[ResNet50, ResNet50]:
    """A strided and a dilated network of the same weights, with statistics that are not those of a fresh norm."""
    torch.manual_seed(0)
    strided, other = ResNet50(1, NARROW), ResNet50(1, NARROW, dilated=dilated)
    strided.train()(torch.rand(2, 1, 64, 64))
    other.load_state_dict(strided.state_dict())
    return strided.eval(), other.eval()


def test_names() -> None:
    for dilated in ((False, False, False), (False, True, True)):
        assert [name for name in ResNet50(3, NARROW, dilated=dilated).state_dict() if name != "frozen"] == (
            names_of_resnet50()
        )


@pytest.mark.parametrize(
    ("dilated", "behind"), [((False, True, True), (1, 1, 2, 4)), ((False, False, True), (1, 1, 1, 2))]
)
def test_what_was_strided_over_is_computed_too(
    dilated: tuple[bool, bool, bool], behind: tuple[int, ...]
) -> None:
    """A dilated network's maps at every second or fourth place are the strided one's."""
    strided, other = trunks(dilated)
    images = torch.rand(2, 1, 64, 96)
    for coarse, fine, apart in zip(
        strided.features(images), other.features(images), (1, *behind), strict=True
    ):
        assert fine.shape[-2:] == (coarse.shape[-2] * apart, coarse.shape[-1] * apart)
        assert torch.allclose(fine[..., ::apart, ::apart], coarse, rtol=1e-4, atol=1e-5)


def test_the_first_block_of_a_stage_keeps_the_dilation_before_it() -> None:
    trunk = ResNet50(1, NARROW, dilated=(False, True, True))
    stages = (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)
    found = [[block.conv2.dilation[0] for block in stage] for stage in stages]
    assert found == [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]
    assert {block.conv2.stride for stage in stages[2:] for block in stage} == {(1, 1)}


def test_levels() -> None:
    trunk = ResNet50(1, NARROW).eval()
    images = torch.randn(2, 1, 64, 64)
    first = trunk.bn1(trunk.conv1(stretched(images))).relu()
    second = trunk.layer1(trunk.maxpool(first))
    third = trunk.layer2(second)
    fourth = trunk.layer3(third)
    maps = trunk.features(images)
    for found, expected in zip(maps, (first, second, third, fourth, trunk.layer4(fourth)), strict=True):
        assert torch.equal(found, expected) and found.min() >= 0
    assert tuple(level.shape[1] for level in maps) == trunk.widths == (8, 32, 64, 128, 256)
    assert torch.equal(trunk(images), maps[-1]) and trunk.width == trunk.widths[-1]


def test_levels_are_views_and_no_second_layers() -> None:
    trunk = ResNet50(1, NARROW)
    listed = [id(weight) for level in trunk.levels for weight in level.parameters()]
    assert sorted(listed) == sorted(id(weight) for weight in trunk.parameters())
    assert len(list(trunk.children())) == len(("conv1", "bn1", "relu", "maxpool")) + 4
    assert all(isinstance(level, nn.Sequential) for level in trunk.levels)
