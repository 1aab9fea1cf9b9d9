from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.networks.fcn import FCN, FCNConfig
from fewmask.networks.resnet import ResNet50, ResNetConfig

torch.set_num_threads(1)

NARROW = FCNConfig(1 / 8)

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def small(outputs: int = 1, channels: int = 1) -> FCN:
    torch.manual_seed(0)
    return FCN(channels, outputs, NARROW)


def torchvision_like(network: nn.Module) -> dict[str, Tensor]:
    """A file of random weights under torchvision's names, the auxiliary classifier among them."""
    weights = {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value + 7
        for name, value in network.state_dict().items()
        if name != "backbone.frozen"
    }
    return {**weights, "aux_classifier.0.weight": torch.zeros(4), "aux_classifier.4.bias": torch.zeros(21)}


def backbone_count() -> int:
    """Weights and norms of ResNet-50, block by block: 23,508,032."""
    count, inner = 49 * 3 * 64 + 2 * 64, 64
    for features, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        outer = 4 * features
        count += inner * outer + 2 * outer
        for _ in range(blocks):
            count += inner * features + 9 * features**2 + features * outer + 2 * (2 * features + outer)
            inner = outer
    return count


def test_parameters_by_hand() -> None:
    """Torchvision publishes 35,322,218 for `fcn_resnet50`, its auxiliary classifier among them."""
    with torch.device("meta"):
        network = FCN(1, 21, FCNConfig())
    assert backbone_count() == 23_508_032
    head = 9 * 2048 * 512 + 2 * 512 + 512 * 21 + 21
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    assert backbone_count() + head + auxiliary == 35_322_218
    assert sum(weight.numel() for weight in network.parameters()) == backbone_count() + head == 32_957_013


def test_names() -> None:
    backbone = [f"backbone.{name}" for name in ResNet50(1, ResNetConfig(1 / 8)).state_dict()]
    head = ["0.weight", *(f"1.{kind}" for kind in NORM), "4.weight", "4.bias"]
    assert set(small().state_dict()) == {*backbone, *(f"classifier.{name}" for name in head)}
    assert [type(layer) for layer in small().classifier][2:4] == [nn.ReLU, nn.Dropout]
    assert small().classifier[3].p == 0.1


def test_shapes() -> None:
    network = small(outputs=3).eval()
    maps = network.features(torch.rand(2, 1, 64, 96))
    places = ((32, 48), (16, 24), (8, 12), (8, 12), (8, 12))
    expected = [(2, width, *place) for width, place in zip((8, 32, 64, 128, 256), places, strict=True)]
    assert [tuple(level.shape) for level in maps] == expected
    assert network.widths == (8, 32, 64, 128, 256)
    assert network.decode(maps).shape == (2, 3, 64, 96)


def test_the_head_by_hand() -> None:
    network = small(outputs=2)
    network.train()(torch.rand(2, 1, 64, 64))
    network.eval()
    images = torch.rand(2, 1, 64, 64)
    maps = network.features(images)
    state = {name.removeprefix("classifier."): value for name, value in network.state_dict().items()}
    hidden = functional.conv2d(maps[-1], state["0.weight"], padding=1)
    scale = state["1.weight"] / (state["1.running_var"] + 1e-5).sqrt()
    hidden = (hidden - state["1.running_mean"][:, None, None]) * scale[:, None, None]
    hidden = (hidden + state["1.bias"][:, None, None]).relu()
    scores = torch.einsum("ok,bkhw->bohw", state["4.weight"][:, :, 0, 0], hidden)
    scores += state["4.bias"][:, None, None]
    expected = functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=False)
    assert torch.allclose(network(images), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(network(images), network(images))
    silenced = [torch.randn_like(level) for level in maps[:-1]]
    assert torch.equal(network.decode([*silenced, maps[-1]]), network.decode(maps))


def test_gradients_reach_everything_at_half_precision_too() -> None:
    network = small(outputs=2)
    images = torch.rand(2, 1, 64, 64)
    (network(images) * torch.randn(2, 2, 64, 64)).sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in network.parameters())
    precise = network.eval()(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(images)
    assert rough.dtype == torch.bfloat16
    assert (rough - precise).abs().max() < 0.05 * precise.abs().max()
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(images).float().square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("outputs", [21, 1])
def test_weights_of_torchvisions_network(tmp_path: Path, outputs: int) -> None:
    weights = torchvision_like(small(outputs=21))
    torch.save(weights, tmp_path / "fcn.pth")
    network = small(outputs)
    last = network.classifier[4].weight.clone()
    taken = network.load_imagenet(tmp_path / "fcn.pth")
    aside = {"backbone.frozen"} | ({"classifier.4.weight", "classifier.4.bias"} if outputs == 1 else set())
    state = network.state_dict()
    assert taken == len(set(state) - aside)
    assert all(torch.equal(state[name], weights[name]) for name in set(state) - aside)
    assert torch.equal(state["classifier.4.weight"], last) == (outputs == 1)
    network.train()(torch.rand(2, 1, 64, 64))
    assert torch.equal(
        network.state_dict()["backbone.bn1.running_mean"], weights["backbone.bn1.running_mean"]
    )
    assert not torch.equal(network.classifier[1].running_mean, weights["classifier.1.running_mean"])
    again = small(outputs)
    again.load_state_dict(network.state_dict())
    assert not again.train().backbone.bn1.training and again.classifier[1].training


def test_weights_of_a_classification_network(tmp_path: Path) -> None:
    whole = torchvision_like(small())
    weights = {
        name.removeprefix("backbone."): value
        for name, value in whole.items()
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked")
    }
    torch.save(
        {**weights, "fc.weight": torch.zeros(10, 256), "fc.bias": torch.zeros(10)}, tmp_path / "old.pth"
    )
    network = small()
    head = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    assert network.load_imagenet(tmp_path / "old.pth") == len(weights)
    state = network.backbone.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    assert all(torch.equal(value, head[name]) for name, value in network.classifier.state_dict().items())


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("backbone.layer4.2.conv3.weight", "layer4.2.conv3.weight is of shape"),
        ("classifier.0.weight", "classifier.0.weight is of shape"),
    ],
)
def test_weights_that_do_not_fit_leave_the_network_as_it_was(
    tmp_path: Path, spoilt: str, message: str
) -> None:
    torch.save({**torchvision_like(small()), spoilt: torch.zeros(3)}, tmp_path / "fcn.pth")
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputFault, match=message) as raised:
        network.load_imagenet(tmp_path / "fcn.pth")
    assert "fcn.pth" in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_file_without_a_classifier_is_refused(tmp_path: Path) -> None:
    weights = torchvision_like(small())
    bare = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    torch.save(bare, tmp_path / "bare.pth")
    with pytest.raises(InputFault, match=r"classifier.0.weight is missing"):
        small().load_imagenet(tmp_path / "bare.pth")


def test_faults() -> None:
    with pytest.raises(ValueError, match="multiples of 8, not 64 x 60"):
        small()(torch.zeros(1, 1, 64, 60))
    with pytest.raises(InputFault, match="FCN width=0"):
        FCNConfig(0.0)
