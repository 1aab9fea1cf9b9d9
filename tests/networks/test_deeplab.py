from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.networks import norm
from fewmask.networks.deeplab import AtrousPyramid, DeepLabv3, DeepLabv3Config
from fewmask.networks.fcn import FCN, FCNConfig
from fewmask.networks.norm import NormOfMeans
from fewmask.networks.resnet import ResNet50, ResNetConfig
from fewmask.networks.unet import UNet, UNetConfig

torch.set_num_threads(1)

NARROW = DeepLabv3Config(1 / 8)

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def small(outputs: int = 1, channels: int = 1) -> DeepLabv3:
    torch.manual_seed(0)
    return DeepLabv3(channels, outputs, NARROW)


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_parameters_by_hand() -> None:
    """Torchvision publishes 42,004,074 for `deeplabv3_resnet50`, its auxiliary classifier among them."""
    norm = 2 * 256
    near = 2048 * 256 + norm
    dilated = 9 * 2048 * 256 + norm
    project = 5 * 256 * 256 + norm
    head = 2 * near + 3 * dilated + project + 9 * 256 * 256 + norm + 256 * 21 + 21
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    with torch.device("meta"):
        network = DeepLabv3(1, 21, DeepLabv3Config())
    assert count(network.backbone) == 23_508_032
    assert 23_508_032 + head + auxiliary == 42_004_074
    assert count(network) == 23_508_032 + head == 39_638_869


def test_the_u_net_is_the_smallest_as_the_paper_says() -> None:
    """Wlodarczyk et al. 2020, Sec. 3.1: "the least parameters among the other networks tested"."""
    with torch.device("meta"):
        unet = UNet(1, 1, UNetConfig((64, 128, 256, 512, 1024)))
        others = [FCN(1, 1, FCNConfig()), DeepLabv3(1, 1, DeepLabv3Config())]
    assert count(unet) < min(count(other) for other in others)


def test_names() -> None:
    backbone = [f"backbone.{name}" for name in ResNet50(1, ResNetConfig(1 / 8)).state_dict()]
    convolutions = {f"0.convs.{place}.0": f"0.convs.{place}.1" for place in range(4)}
    convolutions |= {"0.convs.4.1": "0.convs.4.2", "0.project.0": "0.project.1", "1": "2"}
    head = [f"{layer}.weight" for layer in convolutions] + ["4.weight", "4.bias"]
    head += [f"{layer}.{kind}" for layer in convolutions.values() for kind in NORM]
    network = small()
    assert set(network.state_dict()) == {*backbone, *(f"classifier.{name}" for name in head)}
    silenced = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert silenced == [0.5] and network.classifier[0].project[3].p == 0.5


def test_the_pyramid_by_hand() -> None:
    torch.manual_seed(1)
    pyramid = AtrousPyramid(16, 8, (2, 5)).eval()
    maps = torch.rand(2, 16, 12, 10)
    state = pyramid.state_dict()
    assert [state[f"convs.{place}.0.weight"].shape[-1] for place in range(3)] == [1, 3, 3]
    parts = [functional.conv2d(maps, state["convs.0.0.weight"])]
    for place, rate in ((1, 2), (2, 5)):
        padded = functional.pad(maps, (rate, rate, rate, rate))
        total = torch.zeros(2, 8, 12, 10)
        for row in range(3):
            for column in range(3):
                seen = padded[:, :, row * rate : row * rate + 12, column * rate : column * rate + 10]
                weight = state[f"convs.{place}.0.weight"][:, :, row, column]
                total += torch.einsum("ok,bkhw->bohw", weight, seen)
        parts.append(total)
    means = maps.mean((2, 3)) @ state["convs.3.1.weight"][:, :, 0, 0].T
    parts.append(means[:, :, None, None].expand(2, 8, 12, 10))
    rest = (1 + 1e-5) ** -0.5
    joined = torch.cat([(part * rest).relu() for part in parts], 1)
    expected = (functional.conv2d(joined, state["project.0.weight"]) * rest).relu()
    assert torch.allclose(pyramid(maps), expected, atol=1e-5)


def test_shapes_and_two_passes_are_one() -> None:
    network = small(outputs=3, channels=3).eval()
    images = torch.rand(2, 3, 64, 96)
    maps = network.features(images)
    assert tuple(level.shape[1] for level in maps) == network.widths == (8, 32, 64, 128, 256)
    assert {tuple(level.shape[-2:]) for level in maps[2:]} == {(8, 12)} and network.divisor == 8
    logits = network(images)
    assert logits.shape == (2, 3, 64, 96)
    assert torch.equal(network(images), logits) and torch.equal(network.decode(maps), logits)


def test_gradients_reach_everything_at_half_precision_too() -> None:
    network = small()
    images = torch.rand(2, 1, 64, 64)
    (network(images) * torch.randn(2, 1, 64, 64)).sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in network.parameters())
    precise = network.eval()(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(images)
    assert (rough - precise).abs().max() < 0.05 * precise.abs().max()
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(images).float().square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_a_batch_of_one_trains() -> None:
    network = small().train()
    norm = network.classifier[0].convs[4][2]
    assert isinstance(norm, NormOfMeans)
    with torch.no_grad():
        norm.running_mean.fill_(0.1)
    (network(torch.rand(1, 1, 64, 64)) * torch.randn(1, 1, 64, 64)).sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in network.classifier[0].convs[4].parameters())
    assert torch.equal(norm.running_mean, torch.full((32,), 0.1)) and norm.num_batches_tracked == 0
    network(torch.rand(2, 1, 64, 64))
    assert not torch.equal(norm.running_mean, torch.full((32,), 0.1)) and norm.num_batches_tracked == 1


def test_the_norm_of_means_is_torchs_own_but_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, torchs = NormOfMeans(8), nn.BatchNorm2d(8)
    torchs.load_state_dict(ours.state_dict())
    batch = torch.randn(4, 8, 1, 1) + 3.0
    assert torch.equal(ours(batch), torchs(batch))
    single = torch.randn(1, 8, 1, 1)
    assert torch.equal(ours.train()(single), torchs.eval()(single))
    assert torch.equal(ours.eval()(single), torchs(single))
    # Among several processes one image each makes a batch, whose norm is the shared one.
    # The second answer is for that one, which is torch's own where there is nobody to share with.
    answers = iter((2, 1))
    monkeypatch.setattr(norm, "rank_count", lambda: next(answers))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ours.train()(single)


def torchvision_like(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value + 7
        for name, value in network.state_dict().items()
        if name != "backbone.frozen"
    }


def test_weights_of_torchvisions_network(tmp_path: Path) -> None:
    weights = torchvision_like(small(outputs=21))
    torch.save(weights, tmp_path / "deeplab.pth")
    network = small(outputs=1)
    own = {name for name in network.state_dict() if not name.startswith("classifier.4.")} - {
        "backbone.frozen"
    }
    assert network.load_imagenet(tmp_path / "deeplab.pth") == len(own)
    state = network.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in own)
    assert network.backbone.frozen


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision_like(FCN(1, 1, FCNConfig(1 / 8))), tmp_path / "fcn.pth")
    with pytest.raises(InputFault, match=r"classifier.0.convs.0.0.weight is missing"):
        small().load_imagenet(tmp_path / "fcn.pth")
    with pytest.raises(InputFault, match="no such file; give the state dict of torchvision's"):
        small().load_imagenet(tmp_path / "absent.pth")


def test_bad_options() -> None:
    with pytest.raises(InputFault, match="DeepLabv3 width=5"):
        DeepLabv3Config(5.0)
    for rates in ((), (12, 0)):
        with pytest.raises(InputFault, match="DeepLabv3 rates"):
            DeepLabv3Config(rates=rates)
