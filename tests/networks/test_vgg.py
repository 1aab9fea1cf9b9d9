"""The classifier from tags: VGG-16 by its published numbers, torchvision's names, and its named layers."""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.networks.vgg import LAYERS, TagVGG, VGGConfig

torch.set_num_threads(1)

TORCHVISION_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""The places of the convolutions in torchvision's `vgg16().features`."""

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)

SMALL = VGGConfig(width=1 / 16)


def small(dilated: bool = True) -> TagVGG:
    torch.manual_seed(0)
    return TagVGG(1, VGGConfig(width=1 / 16, dilated=dilated)).eval()


@pytest.fixture(scope="module")
def full() -> TagVGG:
    return TagVGG(1, VGGConfig())


def torchvision_weights() -> dict[str, Tensor]:
    """What torchvision's vgg16 has in its state dict, drawn anew."""
    torch.manual_seed(1)
    weights: dict[str, Tensor] = {}
    for place, (inner, outer) in zip(TORCHVISION_CONVOLUTIONS, pairwise((3, *WIDTHS)), strict=True):
        weights[f"features.{place}.weight"] = torch.randn(1).expand(outer, inner, 3, 3)
        weights[f"features.{place}.bias"] = torch.randn(outer)
    weights["classifier.6.bias"] = torch.zeros(1000)
    return weights


def test_parameters_by_hand(full: TagVGG) -> None:
    """9 in out + out for each convolution: 14,714,688 as published for VGG-16 without its last three layers."""
    by_hand = sum(9 * inner * outer + outer for inner, outer in pairwise((3, *WIDTHS)))
    assert by_hand == 14_714_688
    assert sum(weight.numel() for weight in full.parameters()) == by_hand + 2 * 512 + 2 == 14_715_714


def test_state_dict_has_torchvisions_names(full: TagVGG) -> None:
    names = [f"features.{place}.{kind}" for place in TORCHVISION_CONVOLUTIONS for kind in ("weight", "bias")]
    assert list(full.state_dict()) == [*names, "head.weight", "head.bias"]
    assert list(small(dilated=False).state_dict()) == [*names, "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("dilated", "sides"), [(True, (224, 112, 56, 28, 28, 28)), (False, (224, 112, 56, 28, 14, 7))]
)
def test_sizes_of_the_layers(dilated: bool, sides: tuple[int, ...]) -> None:
    network = small(dilated)
    seen: list[torch.Size] = []
    for name in LAYERS:
        network.layer(name).register_forward_hook(lambda _layer, _given, maps: seen.append(maps.shape))
    assert network(torch.rand(1, 1, 224, 224)).shape == (1, 2)
    widths = (4, 8, 16, 32, 32, 2)
    assert seen == [(1, width, side, side) for width, side in zip(widths, sides, strict=True)]


def plain_forward(network: TagVGG, images: Tensor, dilated: bool) -> Tensor:
    """Sheet 5.1 written out with the state dict's tensors alone."""
    weights = network.state_dict()
    low, high = images.amin((1, 2, 3), True), images.amax((1, 2, 3), True)
    maps = ((images - low) / (high - low)).repeat(1, 3, 1, 1)
    for place in TORCHVISION_CONVOLUTIONS:
        apart = 2 if dilated and place >= 24 else 1
        weight, bias = weights[f"features.{place}.weight"], weights[f"features.{place}.bias"]
        maps = functional.conv2d(maps, weight, bias, padding=apart, dilation=apart).relu()
        if place in (2, 7, 14) or (place in (21, 28) and not dilated):
            maps = functional.max_pool2d(maps, 2, 2)
        elif place == 21:
            maps = functional.max_pool2d(maps, 3, 1, 1)
    return functional.conv2d(maps, weights["head.weight"], weights["head.bias"]).mean((2, 3))


@pytest.mark.parametrize("dilated", [True, False])
def test_forward_is_the_sheets(dilated: bool) -> None:
    network = small(dilated)
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    assert torch.allclose(network(images), plain_forward(network, images, dilated), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dilated", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_going_on_from_a_layer(name: str, dilated: bool) -> None:
    network = small(dilated)
    found: list[tuple[Tensor, int]] = []
    network.layer(name).register_forward_hook(
        lambda _layer, _given, maps: found.append((maps, maps._version))
    )
    images = torch.rand(2, 1, 48, 48)
    logits = network(images)
    maps, version = found[0]
    assert maps._version == version, "what follows must not change a layer's maps in place"
    assert torch.allclose(network.after(name, maps), logits, rtol=1e-5, atol=1e-7)
    assert network.after(name, maps[:1].repeat(3, 1, 1, 1)).shape == (3, 2)


def test_named_layers_are_rectified_and_the_head_is_not() -> None:
    network = small()
    lowest: list[float] = []
    for name in LAYERS:
        network.layer(name).register_forward_hook(
            lambda _layer, _given, maps: lowest.append(maps.min().item())
        )
    network(torch.rand(4, 1, 32, 32))
    assert lowest[:5] == [0.0] * 5
    assert lowest[5] != 0.0


def test_unknown_layer() -> None:
    with pytest.raises(InputFault, match="did you mean 'block3'"):
        small().layer("blok3")
    with pytest.raises(InputFault, match="no layer 'tail'"):
        small().after("tail", torch.zeros(1, 2, 3, 3))


def test_constant_slice_is_black_and_brightness_does_not_matter() -> None:
    network = small()
    slices = torch.stack([torch.full((1, 32, 32), value) for value in (-1.0, 0.3, 1.0)])
    logits = network(slices)
    assert logits.isfinite().all()
    assert torch.equal(logits, logits[:1].expand_as(logits))
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    assert torch.allclose(network(images), network(0.3 * images - 0.5), rtol=1e-4, atol=1e-6)


def test_grey_is_three_equal_channels() -> None:
    network = small()
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(network(images), network(images.repeat(1, 3, 1, 1)))
    entry = TagVGG(4, SMALL).features[0]
    assert isinstance(entry, nn.Conv2d)
    assert entry.in_channels == 4


def test_dropout_silences_the_last_block_only_while_learning() -> None:
    network = small()
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(network(images), network(images))
    network.train()
    first: list[Tensor] = []
    network.layer("block4").register_forward_hook(lambda _layer, _given, maps: first.append(maps))
    once, twice = network(images), network(images)
    assert torch.equal(*first)
    assert not torch.equal(once, twice)
    silenced: list[float] = []
    network.silence.register_forward_hook(
        lambda _layer, given, left: silenced.append(
            ((left == 0) & (given[0] > 0)).sum() / (given[0] > 0).sum()
        )
    )
    network(torch.rand(16, 1, 64, 64))
    assert len(silenced) == 3
    assert silenced == pytest.approx([0.5] * 3, abs=0.05)


def test_a_copy_and_a_saved_network_are_the_same_network() -> None:
    network = small()
    images = torch.rand(2, 1, 32, 32)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(1.1)
    assert not torch.allclose(twin(images), network(images))
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(images), network(images))
    assert twin.double()(images.double()).dtype == torch.float64


def test_fresh_signal_reaches_the_head(full: TagVGG) -> None:
    """The signal keeps its size through thirteen layers."""
    sizes: list[float] = []
    handles = [
        full.layer(name).register_forward_hook(
            lambda _layer, _given, maps: sizes.append(maps.square().mean().item())
        )
        for name in LAYERS[:5]
    ]
    with torch.no_grad():
        full.eval()(torch.rand(1, 1, 32, 32))
    for handle in handles:
        handle.remove()
    assert min(sizes) > 0.01
    assert max(sizes) < 100.0


def test_imagenet_weights_all_arrive(full: TagVGG, tmp_path: Path) -> None:
    network = copy.deepcopy(full)
    weights = torchvision_weights()
    torch.save(weights, tmp_path / "vgg16.pth")
    head = network.head.weight.clone()
    assert network.load_imagenet(tmp_path / "vgg16.pth") == 26
    state = network.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in weights if name.startswith("features."))
    assert torch.equal(network.head.weight, head)


def without_one(weights: dict[str, Tensor]) -> None:
    del weights["features.26.weight"]


def misshaped(weights: dict[str, Tensor]) -> None:
    weights["features.28.bias"] = torch.zeros(4)


@pytest.mark.parametrize(
    ("spoil", "named"), [(without_one, "features.26.weight"), (misshaped, "features.28.bias")]
)
def test_unfit_weights_are_refused_whole(
    full: TagVGG, tmp_path: Path, spoil: Callable[[dict[str, Tensor]], None], named: str
) -> None:
    weights = torchvision_weights()
    spoil(weights)
    torch.save(weights, tmp_path / "vgg16.pth")
    before = full.features[0].weight.clone()
    with pytest.raises(InputFault, match=named) as raised:
        full.load_imagenet(tmp_path / "vgg16.pth")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert torch.equal(full.features[0].weight, before)


def test_narrow_networks_and_odd_channels_take_no_imagenet_weights(tmp_path: Path) -> None:
    torch.save(torchvision_weights(), tmp_path / "vgg16.pth")
    with pytest.raises(InputFault, match="width=1"):
        small().load_imagenet(tmp_path / "vgg16.pth")
    with pytest.raises(InputFault, match="1 or 3 channels"):
        TagVGG(2, VGGConfig()).load_imagenet(tmp_path / "vgg16.pth")


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    network = small()
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"features.0.weight": Path}, tmp_path / "code.pth")
    for name, words in (
        ("absent.pth", "no such file"),
        ("broken.pth", "read safely"),
        ("code.pth", "read safely"),
        ("tensor.pth", "no state dict"),
    ):
        with pytest.raises(InputFault, match=words):
            network.load_imagenet(tmp_path / name)


@pytest.mark.parametrize(
    ("width", "dropout"), [(0.0, 0.5), (-1.0, 0.5), (100.0, 0.5), (1.0, 1.0), (1.0, -0.1)]
)
def test_bad_options(width: float, dropout: float) -> None:
    with pytest.raises(InputFault, match="vgg"):
        VGGConfig(width=width, dropout=dropout)


@pytest.mark.parametrize(("dilated", "side"), [(True, 7), (False, 31)])
def test_too_small(dilated: bool, side: int) -> None:
    with pytest.raises(ValueError, match=f"from {side + 1} up"):
        small(dilated)(torch.zeros(1, 1, side, 40))
    assert small(dilated)(torch.zeros(1, 1, side + 1, 40)).isfinite().all()
