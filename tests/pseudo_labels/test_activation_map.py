"""Class activation maps against captum, plain loops over channels, and numbers worked by hand."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.networks.vgg import LAYERS, TagVGG, VGGConfig
from fewmask.pseudo_label_config import Cam
from fewmask.pseudo_labels.activation_map import (
    LayerMaps,
    Score,
    ablation_cam,
    average_cam,
    class_activation_map,
    grad_cam,
    grad_cam_pp,
    maps_of,
    score_cam,
)
from fewmask.pseudo_labels.channel_scores import shown_alone

torch.set_num_threads(1)

CAMS: tuple[Cam, ...] = ("cam", "gradcam", "gradcam_pp", "scorecam", "ablationcam")

Ask = Callable[[nn.Module, Tensor, Sequence[nn.Module], Score], LayerMaps]

ASKS: tuple[Ask, ...] = (grad_cam, grad_cam_pp, score_cam, ablation_cam)


def shown(logits: Tensor) -> Tensor:
    """The score of showing the object."""
    return logits[:, 1]


def small(width: float = 1 / 16) -> TagVGG:
    torch.manual_seed(0)
    network = TagVGG(1, VGGConfig(width=width)).eval()
    with torch.no_grad():
        # With this seed the score would be negative everywhere, and its maps nothing but zeros.
        network.head.weight.neg_()
    return network


def slices(count: int = 2, side: int = 32) -> Tensor:
    torch.manual_seed(1)
    noise = torch.rand(count, 1, side, side) * 2 - 1
    return functional.avg_pool2d(noise, 5, stride=1, padding=2)


def output_of(layer: nn.Module, network: nn.Module, images: Tensor) -> Tensor:
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _given, maps: found.append(maps.detach().clone()))
    with torch.no_grad():
        network(images)
    handle.remove()
    return found[0]


def drawn(maps: Tensor, images: Tensor) -> Tensor:
    """(B, h, w) rectified and drawn out to the images' size."""
    size = images.shape[-2:]
    return functional.interpolate(maps.relu()[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def correlation(one: Tensor, other: Tensor) -> float:
    return float(np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1])


# Against independent implementations.


@pytest.mark.parametrize("name", LAYERS)
def test_grad_cam_is_captums(name: str) -> None:
    attr = pytest.importorskip("captum.attr")
    network, images = small(), slices(3)
    layer = network.layer(name)
    theirs = attr.LayerGradCam(network, layer).attribute(images, target=1, relu_attributions=True)
    expected = attr.LayerAttribution.interpolate(theirs.detach(), images.shape[-2:], "bilinear")
    ours = grad_cam(network, images, [layer], shown).raw
    assert expected.max() > 0
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    assert correlation(ours, expected) >= 0.9999


def test_grad_cam_plus_plus_is_the_formula_in_numpy() -> None:
    network, images = small(), slices(2)
    layer = network.layer("block5")
    maps = output_of(layer, network, images).requires_grad_()
    network.after("block5", maps)[:, 1].sum().backward()
    assert maps.grad is not None
    gradients, values = maps.grad.double().numpy(), maps.detach().double().numpy()
    expected = np.zeros((2, *values.shape[2:]))
    for image in range(2):
        for k in range(values.shape[1]):
            g, a = gradients[image, k], values[image, k]
            shares = np.zeros_like(g)
            some = g != 0
            shares[some] = g[some] ** 2 / (2 * g[some] ** 2 + a.sum() * g[some] ** 3 + 1e-6)
            expected[image] += (shares * np.maximum(g, 0)).sum() * a
    ours = grad_cam_pp(network, images, [layer], shown).raw[:, 0]
    assert np.allclose(ours.numpy(), drawn(torch.from_numpy(expected), images).numpy(), rtol=1e-4)


def looped_ablation(network: nn.Module, images: Tensor, layer: nn.Module) -> Tensor:
    """One full forward pass for each channel and image."""
    maps = output_of(layer, network, images)
    expected = torch.zeros(len(images), *maps.shape[2:])
    for row, image in enumerate(images):
        whole = network(image[None])[0, 1]
        for k in range(maps.shape[1]):

            def silence(_layer: nn.Module, _given: Any, given_out: Tensor, k: int = k) -> Tensor:
                ablated = given_out.clone()
                ablated[:, k] = 0
                return ablated

            handle = layer.register_forward_hook(silence)
            without = network(image[None])[0, 1]
            handle.remove()
            expected[row] += (whole - without) / whole * maps[row, k]
    return drawn(expected, images)


@pytest.mark.parametrize("name", ["block2", "block5", "head"])
@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_ablation_cam_is_a_loop_over_channels(name: str, at_once: int) -> None:
    network, images = small(), slices(2)
    layer = network.layer(name)
    with torch.no_grad():
        expected = looped_ablation(network, images, layer)
    assert expected.max() > 0
    whole = ablation_cam(network, images, [layer], shown, at_once=at_once)
    tail = ablation_cam(network, images, [layer], shown, [partial(network.after, name)], at_once)
    for maps in (whole, tail):
        assert torch.allclose(maps.raw[:, 0], expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_ablation_with_a_tail_runs_the_trunk_once() -> None:
    network, images = small(), slices(3)
    runs: list[int] = []
    network.layer("block4").register_forward_hook(lambda _layer, given, _maps: runs.append(len(given[0])))
    maps_of(network, images, "ablationcam", ["block5", "head"], shown)
    assert runs == [3]


def looped_score_cam(network: nn.Module, images: Tensor, layer: nn.Module, hidden: float) -> Tensor:
    maps = output_of(layer, network, images)
    expected = torch.zeros(len(images), *maps.shape[2:])
    for row, image in enumerate(images):
        scores: list[Tensor] = []
        for channel in maps[row]:
            size = images.shape[-2:]
            veil = functional.interpolate(channel[None, None], size=size, mode="bilinear")[0]
            constant = bool(channel.max() == channel.min())
            veil = veil * 0 if constant else (veil - veil.min()) / (veil.max() - veil.min())
            scores.append(network((hidden + veil * (image - hidden))[None])[0, 1])
        shares = torch.stack(scores).softmax(0)
        expected[row] = sum(share * channel for share, channel in zip(shares, maps[row], strict=True))
    return drawn(expected, images)


@pytest.mark.parametrize("name", ["block2", "block5", "head"])
@pytest.mark.parametrize(("hidden", "at_once"), [(0.0, 1), (0.0, 7), (-1.0, 1000)])
def test_score_cam_is_a_loop_over_channels(name: str, hidden: float, at_once: int) -> None:
    network, images = small(), slices(2)
    layer = network.layer(name)
    with torch.no_grad():
        expected = looped_score_cam(network, images, layer, hidden)
    ours = score_cam(network, images, [layer], shown, at_once, hidden).raw[:, 0]
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_cam_is_the_weighted_sum_of_channels() -> None:
    network, images = small(), slices(2)
    last, block5 = network.layer("head"), network.layer("block5")
    one_hot = class_activation_map(network, images, [last], [torch.tensor([0.0, 1.0])])
    logit_map = output_of(last, network, images)[:, 1]
    assert torch.equal(one_hot.raw[:, 0], drawn(logit_map, images))
    row = network.head.weight[1, :, 0, 0].detach()
    linear = class_activation_map(network, images, [block5], [row])
    expected = drawn(logit_map - network.head.bias[1].detach(), images)
    assert torch.allclose(linear.raw[:, 0], expected, atol=1e-5)
    by_name = maps_of(network, images, "cam", ["block5", "head"], shown)
    assert torch.allclose(by_name.raw, torch.cat([linear.raw, one_hot.raw], 1), rtol=1e-4, atol=1e-5)


def test_cam_is_refused_where_it_is_not_defined() -> None:
    with pytest.raises(InputFault, match=r"maps of 'block4'.*layers=\[head\]"):
        maps_of(small(), slices(), "cam", ["head", "block4"], shown)


# What the methods have in common.


def test_by_hand() -> None:
    """Two channels of 2 x 2, score = 3 mean(A_0) - mean(A_1): the gradients are 3/4 and -1/4."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            means = self.layer(images).mean((2, 3))
            return 3 * means[:, 0] - means[:, 1]

    network = Two()
    images = torch.tensor([[[[4.0, 0.0], [2.0, 2.0]], [[0.0, 8.0], [6.0, 2.0]]]])
    maps = grad_cam(network, images, [network.layer], lambda scores: scores)
    # 3/4 A_0 - 1/4 A_1 = [3, -2; 0, 1]
    assert maps.raw[0, 0].tolist() == [[3.0, 0.0], [0.0, 1.0]]
    assert maps.normalised[0, 0].flatten().tolist() == pytest.approx([1.0, 0.0, 0.0, 1 / 3], abs=1e-6)
    # f = 3 * 2 - 4 = 2; without A_0 it is -4, without A_1 6: shares 3 and -2, 3 A_0 - 2 A_1 = [12, -16; -6, 2]
    ablated = ablation_cam(network, images, [network.layer], lambda scores: scores)
    assert ablated.raw[0, 0].tolist() == [[12.0, 0.0], [0.0, 2.0]]


def test_at_the_head_three_methods_are_one_up_to_scale() -> None:
    """Sheet 5.8: the gradient is 1/N on the class's channel and 0 on the other, and silencing it takes all away."""
    network, images = small(), slices(4)
    with torch.no_grad():
        network.head.bias.fill_(0.5)
    by_method = [
        maps_of(network, images, cam, ["head"], shown).normalised
        for cam in ("cam", "gradcam", "gradcam_pp", "ablationcam")
    ]
    assert by_method[0].amax((1, 2, 3)).min() > 0.5
    for other in by_method[1:]:
        assert torch.allclose(other, by_method[0], atol=1e-3)
    block5 = [
        maps_of(network, images, cam, ["block5"], shown).normalised for cam in ("gradcam", "gradcam_pp")
    ]
    assert (block5[0] - block5[1]).abs().max() > 0.01


@pytest.mark.parametrize("cam", CAMS)
def test_a_batch_is_its_images_one_by_one(cam: Cam) -> None:
    network, images = small(), slices(3)
    names = ["head"] if cam == "cam" else ["block3", "block5", "head"]
    batch = maps_of(network, images, cam, names, shown)
    alone = [maps_of(network, image[None], cam, names, shown) for image in images]
    assert batch.raw.shape == batch.normalised.shape == (3, len(names), 32, 32)
    for ours, single in (
        (batch.raw, torch.cat([maps.raw for maps in alone])),
        (batch.normalised, torch.cat([maps.normalised for maps in alone])),
    ):
        assert torch.allclose(ours, single, rtol=1e-3, atol=1e-4 * float(single.max()))


@pytest.mark.parametrize("ask", ASKS)
def test_many_layers_at_once_are_many_calls_and_one_pass(ask: Ask) -> None:
    network, images = small(), slices(2)
    layers = [network.layer(name) for name in LAYERS]
    single = torch.cat([ask(network, images, [layer], shown).raw for layer in layers], 1)
    assert torch.allclose(ask(network, images, layers, shown).raw, single, rtol=1e-4, atol=1e-7)
    if ask in (grad_cam, grad_cam_pp):
        passes: list[int] = []
        network.register_forward_hook(lambda _network, given, _logits: passes.append(len(given[0])))
        ask(network, images, layers, shown)
        assert passes == [2]


@pytest.mark.parametrize("cam", CAMS)
def test_names_and_functions_agree(cam: Cam) -> None:
    network, images = small(), slices(2)
    layers = [network.layer("block5"), network.layer("head")]
    by_name = maps_of(network, images, cam, ["block5", "head"], shown).raw
    match cam:
        case "gradcam":
            expected = grad_cam(network, images, layers, shown).raw
        case "gradcam_pp":
            expected = grad_cam_pp(network, images, layers, shown).raw
        case "scorecam":
            expected = score_cam(network, images, layers, shown, hidden=-1.0).raw
        case "ablationcam":
            expected = ablation_cam(network, images, layers, shown).raw
        case "cam":
            weights = [network.head.weight[1, :, 0, 0].detach(), torch.tensor([0.0, 1.0])]
            expected = class_activation_map(network, images, layers, weights).raw
    assert torch.allclose(by_name, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_normalised_is_divided_by_its_peak_before_it_is_drawn_out() -> None:
    network, images = small(), slices(2)
    values = output_of(network.head, network, images)
    weights = torch.tensor([1.0, -0.5])
    coarse = (values[:, 0] - 0.5 * values[:, 1]).relu()
    assert coarse.amax((1, 2)).min() > 0
    maps = class_activation_map(network, images, [network.head], [weights])
    expected = drawn(coarse / (coarse.amax((1, 2), keepdim=True) + 1e-7), images)
    assert torch.allclose(maps.normalised[:, 0], expected, atol=1e-6)
    assert torch.allclose(maps.raw[:, 0], drawn(coarse, images), atol=1e-6)


@pytest.mark.parametrize("cam", CAMS)
def test_what_the_network_gave_comes_with_the_maps(cam: Cam) -> None:
    network, images = small(), slices(3)
    with torch.no_grad():
        plain = network(images)
    assert torch.allclose(maps_of(network, images, cam, ["head"], shown).output, plain, atol=1e-6)


def test_average_is_the_mean_of_normalised_maps() -> None:
    maps = LayerMaps(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), None)
    expected = (maps.normalised[:, 0] + maps.normalised[:, 1] + maps.normalised[:, 2]) / 3
    assert torch.allclose(average_cam(maps), expected)


# What is left of the network afterwards.


def no_hooks(network: TagVGG) -> bool:
    parts = [*network.modules(), *(network.layer(name) for name in LAYERS)]
    return not any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in parts)


def broken(_logits: Tensor) -> Tensor:
    raise RuntimeError("the score broke")


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("score", [shown, broken])
def test_the_network_is_left_as_it_was(ask: Ask, score: Score) -> None:
    network, images = small(), slices(2)
    network.train()
    network.features[0].eval()
    network.features[2].weight.requires_grad_(False)
    layers = [network.layer(name) for name in LAYERS]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    flags = [weight.requires_grad for weight in network.parameters()]
    if score is broken:
        with pytest.raises(RuntimeError, match="the score broke"):
            ask(network, images, layers, score)
    else:
        maps = ask(network, images, layers, score)
        assert not maps.raw.requires_grad
        assert not maps.normalised.requires_grad
    assert no_hooks(network)
    assert [part.training for part in network.modules()] == modes
    assert [weight.requires_grad for weight in network.parameters()] == flags
    assert all(weight.grad is None for weight in network.parameters())
    assert images.grad is None
    assert not images.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_gradients_that_were_there_stay() -> None:
    network, images = small(), slices(2)
    network(images).sum().backward()
    kept = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    grad_cam(network, images, [network.layer("block3")], shown)
    assert all(torch.equal(weight.grad, was) for weight, was in zip(network.parameters(), kept, strict=True))


def test_dropout_does_not_reach_the_maps() -> None:
    network, images = small(), slices(2)
    calm = grad_cam(network, images, [network.layer("block4")], shown).raw
    assert torch.equal(grad_cam(network.train(), images, [network.layer("block4")], shown).raw, calm)


def test_within_no_grad_and_inference_mode() -> None:
    network, images = small(), slices(2)
    expected = maps_of(network, images, "gradcam", LAYERS, shown).raw
    for quiet in (torch.no_grad, torch.inference_mode):
        with quiet():
            assert torch.equal(maps_of(network, images, "gradcam", LAYERS, shown).raw, expected)
            assert torch.equal(maps_of(network, images.clone(), "gradcam", LAYERS, shown).raw, expected)


# Other networks.


class InPlace(nn.Module):
    """Changes its convolutions' outputs in place, as a module and as a function."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.rectify = nn.ReLU(inplace=in_place)
        self.two = nn.Conv2d(4, 5, 3, padding=1)
        self.three = nn.Conv2d(5, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        maps = self.two(self.rectify(self.one(images)))
        if self.in_place:
            maps += 1
        else:
            maps = maps + 1
        maps = functional.relu(maps, inplace=self.in_place)
        return maps.mean(), {"logits": self.three(maps).mean((2, 3))}


@pytest.mark.parametrize("ask", ASKS)
def test_in_place_layers_do_not_spoil_maps_and_outputs_may_be_several(ask: Ask) -> None:
    torch.manual_seed(10)
    careful, careless = InPlace(False), InPlace(True)
    careless.load_state_dict(careful.state_dict())
    images = slices(2, side=12)
    calm, spoilt = (
        ask(
            network, images, [network.one, network.rectify, network.two], lambda out: out[1]["logits"][:, 1]
        ).raw
        for network in (careful, careless)
    )
    assert calm.amax((0, 2, 3)).min() > 0
    assert torch.allclose(calm, spoilt, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ask", ASKS)
def test_layers_and_scores_that_will_not_do(ask: Ask) -> None:
    torch.manual_seed(0)
    shared = nn.ReLU()
    unused = nn.Conv2d(1, 1, 1)
    flat = nn.Flatten()
    convolution = nn.Conv2d(1, 2, 3)
    network = nn.Sequential(convolution, shared, nn.Conv2d(2, 2, 3), shared, nn.AdaptiveAvgPool2d(1), flat)
    images = slices(2, side=12)
    for layer, words in (
        (flat, "Flatten: gives 2 axes"),
        (shared, "runs more than once"),
        (unused, "did not run"),
    ):
        with pytest.raises(InputFault, match=words):
            ask(network, images, [layer], shown)
    with pytest.raises(InputFault, match=r"score: gives \((2, 2\) for 2|4, 2\) for 4) images"):
        ask(network, images, [convolution], lambda logits: logits)
    assert not any(part._forward_hooks for part in network.modules())


@pytest.mark.parametrize("ask", [grad_cam, grad_cam_pp])
def test_a_score_that_does_not_depend_on_the_layer(ask: Ask) -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.left(images).mean((2, 3)), self.right(images).mean((2, 3))

    network, images = Forked(), slices(2)
    for layers in ([network.right], [network.left, network.right]):
        with pytest.raises(InputFault, match="does not depend on every layer"):
            ask(network, images, layers, lambda pair: pair[0][:, 1])


@pytest.mark.parametrize("channels", [1, 3, 2])
def test_any_number_of_channels(channels: int) -> None:
    torch.manual_seed(0)
    network = TagVGG(channels, VGGConfig(width=1 / 32))
    images = torch.rand(2, channels, 24, 40) * 2 - 1
    for cam in CAMS:
        maps = maps_of(network, images, cam, ["head"], shown)
        assert maps.raw.shape == (2, 1, 24, 40)
        assert maps.raw.isfinite().all()


# What must never be NaN.


@pytest.mark.parametrize("cam", CAMS)
def test_constant_slices(cam: Cam) -> None:
    network = small()
    names = ["head"] if cam == "cam" else LAYERS
    images = torch.cat([torch.full((1, 1, 32, 32), 0.7), slices(1), torch.full((1, 1, 32, 32), -1.0)])
    maps = maps_of(network, images, cam, names, shown)
    assert maps.raw.isfinite().all()
    assert maps.normalised.isfinite().all()
    assert maps.normalised.min() >= 0
    assert maps.normalised.max() <= 1
    # Without biases such a slice, which is black to the network, has nothing to look at.
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.bias)
    maps = maps_of(network, images, cam, names, shown)
    assert not maps.raw[[0, 2]].any()
    assert not maps.normalised[[0, 2]].any()


@pytest.mark.parametrize("ask", ASKS)
def test_maps_without_a_positive_value_stay_zero(ask: Ask) -> None:
    torch.manual_seed(0)
    network, images = small(), slices(2)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(-2.0)
    maps = ask(network, images, [network.layer("head")], shown)
    assert not maps.raw.any()
    assert not maps.normalised.any()


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -1.3])
def test_a_constant_map_shows_nothing(value: float) -> None:
    """Interpolating it rounds, and the remainder must not be stretched to a picture."""
    seen: list[Tensor] = []

    def judge(images: Tensor) -> Tensor:
        seen.append(images)
        return images.mean((1, 2, 3))

    maps = torch.full((1, 2, 5, 5), value)
    maps[0, 1, 2, 2] += 0.01
    shares = shown_alone(judge, slices(1), maps, hidden=-1.0, at_once=1)
    assert torch.equal(seen[0], torch.full((1, 1, 32, 32), -1.0))
    assert seen[1].max() > -1.0
    assert shares.sum().item() == pytest.approx(1.0)


def test_a_score_of_exactly_zero() -> None:
    network, images = small(), slices(2)
    maps = ablation_cam(network, images, [network.layer("block5")], lambda logits: logits[:, 1] * 0)
    assert not maps.raw.any()


@pytest.mark.parametrize("cam", CAMS)
def test_under_autocast(cam: Cam) -> None:
    network, images = small(1 / 4), slices(2, side=48)
    names = ["head"] if cam == "cam" else ["block4", "head"]
    precise = maps_of(network, images, cam, names, shown)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = maps_of(network, images, cam, names, shown)
    assert rounded.raw.dtype == rounded.normalised.dtype == torch.float32
    assert rounded.raw.isfinite().all()
    assert correlation(precise.normalised, rounded.normalised) > 0.99


def test_double_precision_is_kept() -> None:
    network, images = small().double(), slices(2).double()
    assert grad_cam(network, images, [network.layer("block3")], shown).raw.dtype == torch.float64
