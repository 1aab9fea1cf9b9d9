"""DRS's network: suppressors against loops, torchvision's names, and the input rule of all classifiers from tags."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewmask.config import from_mapping, to_mapping
from fewmask.errors import InputFault
from fewmask.networks.evidence import at_rest, evidence_maps, slice_scores, stretched
from fewmask.networks.initial import smooth_noise
from fewmask.networks.suppressed_vgg import (
    FixedSuppression,
    FixedSuppressor,
    LearntSuppression,
    LearntSuppressor,
    NoSuppression,
    SuppressedVGG,
    SuppressedVGGConfig,
)

torch.set_num_threads(1)

SUPPRESSIONS = [FixedSuppression(), LearntSuppression(), NoSuppression()]

VGG16 = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
"""Torchvision's `features`: the number of each convolution, and the features it gives and takes."""


def capped(features: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """min(ReLU(x), delta max ReLU(x)), pixel by pixel."""
    out = np.zeros_like(features)
    for image, channel in np.ndindex(*features.shape[:2]):
        plane = features[image, channel]
        top = max(0.0, plane.max())
        for place in np.ndindex(*plane.shape):
            out[image, channel][place] = min(max(plane[place], 0.0), deltas[image, channel] * top)
    return out


def small(suppression: object, width: float = 0.0625, channels: int = 1) -> SuppressedVGG:
    torch.manual_seed(0)
    return SuppressedVGG(channels, SuppressedVGGConfig(width, suppression)).eval()


@pytest.mark.parametrize("delta", [0.55, 1.0, 0.1])
def test_a_fixed_suppressor_is_its_loop(delta: float) -> None:
    features = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    features[1, 2] = -1.0
    expected = capped(features.numpy(), np.full((2, 3), delta))
    assert np.allclose(FixedSuppressor(delta)(features).numpy(), expected, atol=1e-7)


def test_a_learnt_suppressor_is_its_loop_and_learns() -> None:
    torch.manual_seed(2)
    suppressor = LearntSuppressor(3)
    features = torch.randn(2, 3, 5, 4)
    matrix = suppressor.control.weight.detach().numpy()
    means = np.maximum(features.numpy(), 0.0).mean((2, 3))
    deltas = 1.0 / (1.0 + np.exp(-means @ matrix.T))
    assert np.allclose(suppressor(features).detach().numpy(), capped(features.numpy(), deltas), atol=1e-6)
    shares = suppressor.deltas(features.relu())
    assert ((shares > 0) & (shares < 1)).all()
    assert [name for name, _ in suppressor.named_parameters()] == ["control.weight"]
    suppressor(features).sum().backward()
    assert suppressor.control.weight.grad is not None and suppressor.control.weight.grad.abs().sum() > 0


def test_every_convolution_is_suppressed_and_fresh_shares_are_near_one_half() -> None:
    network = small(LearntSuppression())
    seen: list[float] = []
    for layer in network.modules():
        if isinstance(layer, LearntSuppressor):
            layer.register_forward_hook(
                lambda module, given, _: seen.extend(module.deltas(given[0].relu()).flatten().tolist())
            )
    network(torch.rand(2, 1, 32, 32))
    assert len([layer for layer in network.modules() if isinstance(layer, LearntSuppressor)]) == 16
    assert min(seen) > 0.4 and max(seen) < 0.6


@pytest.mark.parametrize(
    ("suppression", "added"),
    [(NoSuppression(), 0), (FixedSuppression(), 0), (LearntSuppression(), 2_596_864)],
)
def test_the_papers_size(suppression: object, added: int) -> None:
    with torch.device("meta"):
        network = SuppressedVGG(1, SuppressedVGGConfig(suppression=suppression))
    body = sum(9 * inner * outer + outer for outer, inner in VGG16.values())
    assert body == 14_714_688
    expected = body + 3 * (9 * 512 * 512 + 512) + 513 + added
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    convolutions = {
        number: (layer.out_channels, layer.in_channels)
        for number, layer in enumerate(network.features)
        if isinstance(layer, nn.Conv2d)
    }
    assert convolutions == VGG16
    assert [network.features[number].dilation for number in (21, 24, 26, 28)] == [(1, 1), *[(2, 2)] * 3]


def test_weights_of_torchvision_are_taken_by_name(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = small(LearntSuppression(), width=1 / 64)
    weights = {}
    for number in VGG16:
        shape = network.features[number].weight.shape
        weights[f"features.{number}.weight"] = torch.rand(shape)
        weights[f"features.{number}.bias"] = torch.rand(shape[0])
    head = network.head.weight.clone()
    path = tmp_path / "vgg16.pth"
    torch.save(weights | {"classifier.0.weight": torch.rand(2, 2)}, path)
    assert network.load_imagenet(path) == 26
    for key, value in weights.items():
        assert torch.equal(network.state_dict()[key], value)
    assert torch.equal(network.head.weight, head)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "is of shape"),
        ({}, "is missing"),
        ([1], "no state dict"),
        (None, "no such file"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, content: object, words: str) -> None:
    network = small(FixedSuppression())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    path = tmp_path / "weights.pth"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(InputFault, match=words) as fault:
        network.load_imagenet(path)
    assert "\n" not in str(fault.value) and str(path) in str(fault.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_text("hello")
    with pytest.raises(InputFault, match="read safely"):
        small(FixedSuppression()).load_imagenet(tmp_path / "weights.pth")


@pytest.mark.parametrize("suppression", SUPPRESSIONS)
def test_places_are_eight_pixels_and_the_score_is_their_mean(suppression: object) -> None:
    network = small(suppression)
    images = torch.rand(2, 1, 40, 33)
    scores = network.scores(images)
    assert scores.shape == (2, 1, 5, 4)
    assert torch.allclose(network(images), scores.mean((1, 2, 3)), atol=1e-7)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-6)


def test_fresh_weights_let_the_signal_through() -> None:
    """Uncompensated, sixteen caps at one half leave a fiftieth to a thousandth of what plain rectifiers do."""
    torch.manual_seed(5)
    images = smooth_noise(4, 48)

    def size(suppression: object) -> float:
        return small(suppression, 0.25).scores(images).abs().mean().item()

    plain = size(NoSuppression())
    assert 0.1 < plain < 5.0
    for suppression in (FixedSuppression(), LearntSuppression()):
        assert 0.08 < size(suppression) / plain < 12.0


def test_the_input_rule() -> None:
    """The score depends on a slice only up to its brightness and contrast; grey counts as three channels."""
    images = torch.rand(2, 1, 16, 16)
    unit = stretched(images * 0.25 - 0.8)
    assert unit.shape == (2, 3, 16, 16)
    assert torch.allclose(unit.amin((1, 2, 3)), torch.zeros(2))
    assert torch.allclose(unit.amax((1, 2, 3)), torch.ones(2))
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    assert torch.allclose(unit, ((images - low) / (high - low)).expand(-1, 3, -1, -1), atol=1e-5)
    assert torch.equal(stretched(torch.full((1, 1, 4, 4), 0.3)), torch.zeros(1, 3, 4, 4))
    colour = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(stretched(colour)[0, :, 0, 0], torch.tensor([0.0, 0.5, 1.0]))
    assert small(FixedSuppression(), channels=2).scores(torch.rand(1, 2, 16, 16)).shape == (1, 1, 2, 2)


def test_evidence() -> None:
    scores = torch.tensor([[[[-1.0, 2.0], [4.0, 0.0]]], [[[-3.0, -1.0], [-2.0, -5.0]]]])
    maps = evidence_maps(scores, 2, 2)
    assert torch.allclose(maps[0], torch.tensor([[0.0, 0.5], [1.0, 0.0]]), atol=1e-6)
    assert torch.equal(maps[1], torch.zeros(2, 2))
    # Half-way between 0 and 0.5, with pixel centres: 3/4 and 1/4 of the neighbours.
    assert evidence_maps(scores, 4, 4)[0, 0].tolist() == pytest.approx([0.0, 0.125, 0.375, 0.5], abs=1e-6)
    assert slice_scores(scores).tolist() == [1.25, -2.75]


def test_at_rest_goes_back_to_learning() -> None:
    network = nn.Dropout(0.5).train()
    with pytest.raises(RuntimeError), at_rest(network):
        assert not network.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert network.training and torch.is_grad_enabled()


@pytest.mark.parametrize("suppression", SUPPRESSIONS)
def test_options_survive_yaml(suppression: object) -> None:
    config = SuppressedVGGConfig(0.5, suppression)
    assert from_mapping(SuppressedVGGConfig, to_mapping(config), "here") == config


def test_bad_options() -> None:
    for delta in (0.0, 1.1):
        with pytest.raises(InputFault, match="delta"):
            FixedSuppression(delta=delta)
    with pytest.raises(InputFault, match="width"):
        SuppressedVGGConfig(0.0)
    with pytest.raises(ValueError, match="at least 8"):
        small(FixedSuppression()).scores(torch.zeros(1, 1, 7, 16))
