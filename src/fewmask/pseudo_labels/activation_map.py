"""Where a classifier looks: class activation maps of any list of a network's layers.

Every function takes a plain network, images (B, C, H, W), layers of the network whose outputs are (b, K, h, w), and
`score`, which makes one number an image, (B,), of whatever the network gives: for a class, its score before the
softmax. All layers come from one forward pass, and from one backward pass where gradients are needed. The network
runs in its evaluation mode, in which images do not depend on each other, and is left as it was: its mode, its
weights' `requires_grad` and their gradients. Autocast around a call is kept for the passes; maps are single precision.

Raises InputFault for a layer that gives no (b, K, h, w) or does not run exactly once, for a score that is not (B,),
and for one that does not depend on a layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Cam
from fewmask.pseudo_labels.channel_scores import shown_alone, silenced
from fewmask.pseudo_labels.layers import Layered, Network, all_of, at_rest, captured, with_maps
from fewmask.shapes import ActivationMaps, Images, SoftMasks

Score = Callable[[Any], Tensor]
"""One number for each image, (B,), of a network's output."""

DARKEST = -1.0
"""The darkest value of prepared images: what Score-CAM's hidden pixels become."""


@dataclass(frozen=True)
class LayerMaps:
    """One map a layer, both (B, M, H, W) at the images' size in the order of the layers, negatives being 0.

    `raw` has the method's own unit. `normalised` is in [0, 1]: each map is divided by its greatest value + 1e-7
    before it is drawn out bilinearly to the images' size, so that its peak may end a little below 1. A map without a
    positive value is 0 in both. `output` is what the network gave for the images by the way; its graph is spent.
    """

    raw: Tensor
    normalised: ActivationMaps
    output: Any


def grad_cam(network: Network, images: Images, layers: Sequence[nn.Module], score: Score) -> LayerMaps:
    """Maps of what raises the score, each channel weighing as much as its mean gradient.

    Selvaraju et al. 2017 (Grad-CAM), Eq. 1 and 2: ReLU(sum_k a_k A_k), a_k the mean over pixels of df / dA_k.
    """
    return _drawn_by(_mean_gradients, network, images, layers, score)


def grad_cam_pp(network: Network, images: Images, layers: Sequence[nn.Module], score: Score) -> LayerMaps:
    """As Grad-CAM, but pixels whose gradients are positive count, and count alike whatever the object's size.

    Chattopadhay et al. 2018 (Grad-CAM++), Eq. 10 and 19: a_k = sum_i a_k(i) ReLU(g_k(i)) with
    a_k(i) = g^2 / (2 g^2 + g^3 sum_j A_k(j) + 1e-6), which is 0 where g is.
    """
    return _drawn_by(_plus_plus, network, images, layers, score)


def class_activation_map(
    network: Network, images: Images, layers: Sequence[nn.Module], weights: Sequence[Tensor]
) -> LayerMaps:
    """Maps of one class whose score is a weighted sum of a layer's mean maps: each channel has its weight there.

    Zhou et al. 2016 (CAM), Eq. 2: sum_k w_k A_k; negatives become 0 here. `weights` are (K,) for each layer, or
    (B, K): the class's row of the linear layer behind the mean, or, where channel c of the layer already is the map
    of class c, 1 for it and 0 for the others.
    """
    output, activations = _activations(network, images, layers)
    rows = [weight.expand(len(images), -1) for weight in weights]
    return _layer_maps(images, output, activations, rows)


def score_cam(
    network: Network,
    images: Images,
    layers: Sequence[nn.Module],
    score: Score,
    at_once: int = 32,
    hidden: float = 0.0,
) -> LayerMaps:
    """Maps whose channels weigh as the image scores when only what the channel shows is left of it.

    Wang et al. 2020 (Score-CAM). One pass for each channel of each layer, `at_once` images in each: there is no
    shortcut. Where a channel shows nothing, the image becomes `hidden`; the paper's x H_k has 0.
    """
    output, activations = _activations(network, images, layers)

    def judge(seen: Tensor) -> Tensor:
        return _scores(score, network(seen), len(seen))

    with at_rest(network), torch.no_grad():
        weights = [shown_alone(judge, images, maps, hidden, at_once) for maps in activations]
    return _layer_maps(images, output, activations, weights)


def ablation_cam(
    network: Network,
    images: Images,
    layers: Sequence[nn.Module],
    score: Score,
    tails: Sequence[Callable[[Tensor], Any]] | None = None,
    at_once: int = 32,
) -> LayerMaps:
    """Maps whose channels weigh as the share of the score that is lost without them.

    Ramaswamy & Desai 2020 (Ablation-CAM), Eq. 4 and 5. `tails` has, for each layer, what the network makes of its
    maps: then the part before the layer runs once, and the part behind it once for each channel, `at_once` copies
    together. Without tails the whole network runs for each channel.
    """
    output, activations = _activations(network, images, layers)
    with at_rest(network), torch.no_grad():
        if tails is None:
            rests = [partial(_throughout, network, images, layer, score) for layer in layers]
        else:
            rests = [partial(_behind, tail, score) for tail in tails]
        weights = [silenced(rest, maps, at_once) for rest, maps in zip(rests, activations, strict=True)]
    return _layer_maps(images, output, activations, weights)


def average_cam(maps: LayerMaps) -> SoftMasks:
    """The plain mean of the normalised maps of all layers, in [0, 1]."""
    return maps.normalised.mean(1)


def maps_of(
    network: Layered, images: Images, cam: Cam, names: Sequence[str], score: Score, at_once: int = 32
) -> LayerMaps:
    """Maps by the name of a method, at layers given by name.

    "cam" takes only layers from which the score is a weighted sum of means, as it is from a last convolution
    (InputFault for others). Score-CAM hides pixels as the darkest value of prepared images. Differs: a network that
    stretches its images stretches what is left of them, too.
    """
    layers = [network.layer(name) for name in names]
    match cam:
        case "gradcam":
            return _drawn_by(_mean_gradients, network, images, layers, score, copies=False)
        case "gradcam_pp":
            return _drawn_by(_plus_plus, network, images, layers, score, copies=False)
        case "cam":
            return _drawn_by(
                partial(_linear_weights, tuple(names)), network, images, layers, score, copies=False
            )
        case "scorecam":
            return score_cam(network, images, layers, score, at_once, hidden=DARKEST)
        case "ablationcam":
            tails = [partial(network.after, name) for name in names]
            return ablation_cam(network, images, layers, score, tails, at_once)


class _Passed(NamedTuple):
    """What a layer gave, and the score's gradient with respect to it, both (B, K, h, w); and its place in the list."""

    place: int
    maps: Tensor
    gradient: Tensor


def _drawn_by(
    weigh: Callable[[_Passed], Tensor],
    network: Network,
    images: Images,
    layers: Sequence[nn.Module],
    score: Score,
    copies: bool = True,
) -> LayerMaps:
    """One forward and one backward pass for all layers and images; `weigh` makes (B, K) of what a layer gave.

    `copies` guards the layers' maps against what changes them in place; a `Layered` network promises not to.
    """
    # An outer no_grad or inference_mode is about the caller's own work; here gradients are the matter.
    with (
        at_rest(network),
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        captured(layers, for_gradients=True, copies=copies) as found,
    ):
        output = network(images)
        scores = _scores(score, output, len(images))
        held = all_of(found)
        gradients = _gradients(scores, held)
    maps = [kept.detach() for kept in held]
    passed = [_Passed(place, *pair) for place, pair in enumerate(zip(maps, gradients, strict=True))]
    return _layer_maps(images, output, maps, [weigh(one) for one in passed])


def _gradients(scores: Tensor, held: list[Tensor]) -> list[Tensor]:
    """Of the sum of scores: in evaluation mode an image's score depends on no other image."""
    found = torch.autograd.grad(scores.sum(), held, allow_unused=True) if scores.requires_grad else [None]
    gradients = [gradient for gradient in found if gradient is not None]
    if len(gradients) < len(held):
        raise InputFault("the score does not depend on every layer; name layers that lead to it")
    return gradients


def _mean_gradients(passed: _Passed) -> Tensor:
    gradient = passed.gradient
    if gradient.dtype == _single(gradient):
        return gradient.mean((2, 3))
    # Row by row: on a CPU the mean of bf16 values takes ten times as long, and one sum of all would lose digits.
    ones = torch.ones_like(gradient[:, 0])
    with torch.autocast(gradient.device.type, enabled=False):
        rows = torch.einsum("bhw,bkhw->bhk", ones, gradient)
    return rows.mean(1, dtype=_single(gradient)) / gradient.shape[-1]


def _plus_plus(passed: _Passed) -> Tensor:
    gradient = passed.gradient.to(_single(passed.gradient))
    total = passed.maps.sum((2, 3), keepdim=True, dtype=gradient.dtype)
    square = gradient.square()
    bottom = 2.0 * square + total * square * gradient + 1e-6
    # Where maps are negative the sum below the line can be 0.
    shares = torch.where(bottom == 0.0, 0.0, square / torch.where(bottom == 0.0, 1.0, bottom))
    return (shares * gradient.relu()).sum((2, 3))


def _linear_weights(names: tuple[str, ...], passed: _Passed) -> Tensor:
    """The weights of each mean map in the score: their gradients, which are the same at every pixel."""
    first = passed.gradient[:, :, :1, :1]
    if not torch.allclose(passed.gradient, first.expand_as(passed.gradient), rtol=1e-3, atol=0.0):
        raise InputFault(
            f"cam: the score is no weighted mean of the maps of {names[passed.place]!r}; "
            "name the last convolution, e.g. maps.layers=[head], or choose gradcam"
        )
    return passed.gradient.sum((2, 3), dtype=_single(passed.gradient))


def _throughout(
    network: Network, images: Tensor, layer: nn.Module, score: Score, rows: Tensor, maps: Tensor
) -> Tensor:
    with with_maps(layer, maps):
        return _scores(score, network(images[rows]), len(rows))


def _behind(tail: Callable[[Tensor], Any], score: Score, rows: Tensor, maps: Tensor) -> Tensor:
    return _scores(score, tail(maps), len(rows))


def _scores(score: Score, output: Any, count: int) -> Tensor:
    scores = score(output)
    if scores.shape != (count,):
        raise InputFault(
            f"score: gives {tuple(scores.shape)} for {count} images; make one number an image, e.g. logits[:, 1]"
        )
    return scores.to(_single(scores))


def _activations(network: Network, images: Images, layers: Sequence[nn.Module]) -> tuple[Any, list[Tensor]]:
    with at_rest(network), torch.no_grad(), captured(layers, for_gradients=False) as found:
        output = network(images)
        return output, all_of(found)


def _layer_maps(
    images: Images, output: Any, activations: Sequence[Tensor], weights: Sequence[Tensor]
) -> LayerMaps:
    """ReLU(sum_k a_k A_k) of each layer from its (B, K, h, w) and (B, K), at the images' size."""
    raw: list[Tensor] = []
    normalised: list[Tensor] = []
    for maps, shares in zip(activations, weights, strict=True):
        # In the maps' own precision: copying 64 maps of 256 x 256 to a finer one takes longer than their block.
        with torch.autocast(maps.device.type, enabled=False):
            total = torch.einsum("bk,bkhw->bhw", shares.to(maps.dtype), maps)
        looked = total.to(shares.dtype)[:, None].relu()
        peaks = looked.amax((2, 3), keepdim=True) + 1e-7
        for kept, values in ((raw, looked), (normalised, looked / peaks)):
            kept.append(
                functional.interpolate(values, size=images.shape[-2:], mode="bilinear", align_corners=False)
            )
    # Interpolation rounds: the last bit may lie beyond 1.
    return LayerMaps(torch.cat(raw, 1), torch.cat(normalised, 1).clamp_max(1.0), output)


def _single(values: Tensor) -> torch.dtype:
    """Single precision, or the values' own where that is finer."""
    return torch.promote_types(values.dtype, torch.float32)
