"""AMR's networks: the gates by their formula, ResNet-50's names and size, frozen norms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewmask.errors import InputFault
from fewmask.networks.modulated_resnet import (
    GaussianProjection,
    ModulatedPair,
    Modulation,
    gaussian_projection,
)
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.resnet import Bottleneck, ResNet50, ResNetConfig, no_gate

torch.set_num_threads(1)

NARROW = ResNetConfig(1 / 16)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def numpy_projection(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-((values - mean) ** 2) / (2 * deviation**2)) / (np.sqrt(2 * np.pi) * deviation)


def test_the_projection_is_its_formula() -> None:
    values = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 2
    plain = values.numpy()
    expected = numpy_projection(plain, 2.0, 0.5)
    found = gaussian_projection(values, torch.tensor(2.0), torch.tensor(0.5, dtype=torch.float64))
    assert np.allclose(found.numpy(), expected, rtol=1e-12)
    gate = GaussianProjection().double().train()
    deviation = math.sqrt(plain.var() + 1e-5)
    assert np.allclose(gate(values).numpy(), numpy_projection(plain, plain.mean(), deviation), rtol=1e-10)


def test_the_usual_is_raised_and_extremes_are_lowered() -> None:
    values = torch.linspace(-3, 3, 61)
    factors = GaussianProjection().train()(values)
    assert factors.argmax() == 30
    assert (factors[:30].diff() > 0).all() and (factors[31:].diff() < 0).all()
    # Two deviations away the factor is e^-2 of the greatest.
    place = int((values - 2 * values.std(correction=0)).abs().argmin())
    ratio = math.exp(-0.5 * (values[place] / math.sqrt(values.var(correction=0) + 1e-5)) ** 2)
    assert (factors[place] / factors[30]).item() == pytest.approx(ratio, rel=1e-4)


def test_mean_and_deviation_carry_no_gradient() -> None:
    values = torch.randn(5, dtype=torch.float64, requires_grad=True)
    gate = GaussianProjection().double().train()
    gate(values).sum().backward()
    mean, variance = values.detach().mean(), values.detach().var(correction=0) + 1e-5
    expected = gate(values.detach()) * -(values.detach() - mean) / variance
    assert values.grad is not None and torch.allclose(values.grad, expected, rtol=1e-9)


def test_at_rest_running_statistics_hold_whatever_is_beside_a_slice() -> None:
    gate = GaussianProjection().train()
    batches = [torch.randn(6, 4) * 0.2 + 1.0 for _ in range(3)]
    for batch in batches:
        gate(batch)
    assert gate.mean.item() == pytest.approx(np.mean([b.mean().item() for b in batches]), rel=1e-5)
    gate.eval()
    values = torch.randn(2, 4)
    assert torch.equal(gate(values)[:1], gate(values[:1]))
    again = GaussianProjection()
    again.load_state_dict(gate.state_dict())
    assert torch.equal(again.eval()(values), gate(values))


def test_values_that_are_all_alike_stay_finite() -> None:
    for gate in (GaussianProjection().train(), GaussianProjection().eval()):
        assert torch.isfinite(gate(torch.full((2, 3), 0.4))).all()
    modulation = Modulation(16).train()
    assert torch.isfinite(modulation(torch.zeros(2, 16, 4, 4))).all()


@pytest.mark.parametrize(("width", "squeezed"), [(256, 16), (2048, 128), (16, 1), (8, 1)])
def test_size_of_a_gate(width: int, squeezed: int) -> None:
    expected = (width * squeezed + squeezed) + (squeezed * width + width) + 2 * 49 + 2
    assert count(Modulation(width)) == expected


def test_a_gate_by_hand() -> None:
    torch.manual_seed(1)
    gate = Modulation(16).train()
    features = torch.randn(3, 16, 6, 5)
    logits = gate.excite(torch.relu(gate.squeeze(features.mean((2, 3))))).detach()
    deviation = math.sqrt(logits.var(correction=0) + 1e-5)
    scaled = features * torch.as_tensor(
        numpy_projection(logits.numpy(), float(logits.mean()), deviation), dtype=torch.float32
    ).reshape(3, 16, 1, 1)
    pooled = torch.stack([scaled.max(1).values, scaled.mean(1)], dim=1)
    places = nn.functional.conv2d(pooled, gate.place.weight.detach(), padding=3)
    places = (places - places.mean()) / (places.var(correction=0) + 1e-5).sqrt()
    deviation = math.sqrt(places.var(correction=0) + 1e-5)
    expected = scaled * torch.as_tensor(
        numpy_projection(places.numpy(), float(places.mean()), deviation), dtype=torch.float32
    )
    assert torch.allclose(gate(features), expected, atol=1e-5)


def test_the_gate_is_before_the_sum() -> None:
    class Nothing(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return 0.0 * features

    block = Bottleneck(8, 2, 1, lambda width: Nothing()).eval()
    features = torch.rand(1, 8, 4, 4)
    assert torch.equal(block(features), features)
    assert not torch.equal(Bottleneck(8, 2, 1, no_gate).eval()(features), features)


def test_the_papers_size() -> None:
    with torch.device("meta"):
        pair = ModulatedPair(1, ResNetConfig())
    assert count(pair.spotlight.trunk) == 23_508_032
    assert count(pair.spotlight) == 23_510_080
    widths = [
        4 * features for features, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)) for _ in range(blocks)
    ]
    gates = sum(2 * width * (width // 16) + width // 16 + width + 100 for width in widths)
    assert count(pair.compensation) == 23_510_080 + gates == 23_510_080 + 2_532_592


@pytest.mark.parametrize(
    ("strides", "place"), [((2, 2, 2, 1), 16), ((1, 2, 2, 1), 8), ((2, 2, 2, 2), 32), ((1, 1, 1, 1), 2)]
)
def test_strides(strides: tuple[int, int, int, int], place: int) -> None:
    trunk = ResNet50(1, ResNetConfig(1 / 16, strides)).eval()
    assert trunk(torch.rand(1, 1, 64, 32)).shape == (1, 128, 64 // place, 32 // place)


def torchvision_like(trunk: ResNet50) -> dict[str, torch.Tensor]:
    """A file of torchvision's names, spelt out here: what the trunk must find in it."""
    blocks = {1: 3, 2: 4, 3: 6, 4: 3}
    parts = ["conv1", "bn1"]
    for stage, number in blocks.items():
        for block in range(number):
            here = [f"layer{stage}.{block}.{kind}{place}" for place in (1, 2, 3) for kind in ("conv", "bn")]
            parts += here + ([f"layer{stage}.0.downsample.{n}" for n in (0, 1)] if block == 0 else [])
    own = trunk.state_dict()
    weights: dict[str, torch.Tensor] = {"fc.weight": torch.rand(10, 4), "fc.bias": torch.rand(10)}
    for part in parts:
        for kind in ("weight", "bias", "running_mean", "running_var"):
            norm = part.split(".")[-1].startswith("bn") or part.endswith("downsample.1")
            if kind == "weight" or norm:
                weights[f"{part}.{kind}"] = torch.rand_like(own[f"{part}.{kind}"]) + 0.5
    return weights


def test_weights_of_torchvision_are_taken_by_name_and_freeze_the_norms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = ModulatedPair(1, NARROW).train()
    weights = torchvision_like(pair.spotlight.trunk)
    torch.save(weights, tmp_path / "resnet50.pth")
    gate = pair.compensation.trunk.layer2[1].gate.squeeze.weight.clone()
    assert pair.load_imagenet(tmp_path / "resnet50.pth") == len(weights) - 2
    assert torch.equal(pair.compensation.trunk.layer2[1].gate.squeeze.weight, gate)
    names = set(weights) - {"fc.weight", "fc.bias"}
    before = {}
    for branch in (pair.spotlight, pair.compensation):
        state = branch.trunk.state_dict()
        assert all(torch.equal(state[name], weights[name]) for name in names)
        own = {name for name in state if ".gate." not in name and not name.endswith("num_batches_tracked")}
        assert own == names | {"frozen"}
        before[branch] = state["bn1.running_mean"].clone()
    pair.train()
    images = torch.rand(2, 1, 32, 32)
    assert torch.isfinite(pair.compensation(images)).all()
    pair.spotlight(images)
    for branch, mean in before.items():
        assert torch.equal(branch.trunk.bn1.running_mean, mean)
    assert pair.compensation.trunk.layer1[0].gate.norm.training
    assert any(p is pair.spotlight.trunk.bn1.weight and p.requires_grad for p in pair.parameters())
    again = ModulatedPair(1, NARROW)
    again.load_state_dict(pair.state_dict())
    assert not again.train().spotlight.trunk.bn1.training


def test_without_weights_the_norms_learn_from_the_batch() -> None:
    trunk = ResNet50(1, NARROW).train()
    trunk(torch.rand(2, 1, 32, 32))
    assert not torch.equal(trunk.bn1.running_mean, torch.zeros_like(trunk.bn1.running_mean))
    assert all(
        isinstance(norm, SharedBatchNorm2d) for norm in trunk.modules() if isinstance(norm, nn.BatchNorm2d)
    )


def test_weights_that_do_not_fit_leave_the_network_as_it_was(tmp_path: Path) -> None:
    trunk = ResNet50(1, NARROW)
    weights = torchvision_like(trunk)
    weights["layer4.2.conv3.weight"] = torch.zeros(3)
    torch.save(weights, tmp_path / "resnet50.pth")
    before = trunk.conv1.weight.clone()
    with pytest.raises(InputFault, match=r"layer4.2.conv3.weight is of shape \(3,\)"):
        trunk.load_imagenet(tmp_path / "resnet50.pth")
    assert torch.equal(trunk.conv1.weight, before) and not bool(trunk.frozen)


def test_bad_options() -> None:
    with pytest.raises(InputFault, match="width"):
        ResNetConfig(0.0)
    with pytest.raises(InputFault, match="strides"):
        ResNetConfig(strides=(2, 3, 2, 1))
