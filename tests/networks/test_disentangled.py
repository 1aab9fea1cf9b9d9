"""Content, style, decoder and their critics: the published sizes, every image size, and the norms by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from fewmask.networks.disentangled import (
    ContentCritic,
    ContentEncoder,
    Disentangler,
    PreactivatedBlock,
    ScaledCritic,
    StyledDecoder,
    StyleEncoder,
    styled,
    valid_layers,
)

torch.set_num_threads(1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_those_of_the_published_networks() -> None:
    assert count(ContentEncoder(1)) == 1_348_800
    assert count(StyleEncoder(1, size=256)) == 954_696
    decoder = StyledDecoder(1)
    assert count(decoder.perceptron) == 675_648
    assert count(decoder) - count(decoder.perceptron) == 1_438_337
    critic = ScaledCritic(1, size=256)
    assert [count(scale) for scale in critic.critics] == [1_739_617] * 3


@pytest.mark.parametrize(("size", "layers"), [(512, 4), (256, 3), (128, 2), (64, 1)])
def test_the_content_critic_has_as_many_layers_as_fit(size: int, layers: int) -> None:
    assert valid_layers(size) == layers
    side = size // 4
    for _ in range(layers):
        side = (side - 7) // 2 + 1
    verdicts = ContentCritic(size, width=2)(torch.randn(1, 2, size // 4, size // 4))
    assert verdicts.shape == (1, 1, side - 2, side - 2)
    one = 7 * 7 * 128 * 128 + 128 + 2 * 128
    assert count(ContentCritic(size)) == layers * one + 9 * 128 + 1


def test_the_content_critic_of_a_tiny_image_has_a_border() -> None:
    assert ContentCritic(32, width=2)(torch.randn(2, 2, 8, 8)).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_network_takes_every_size(size: int) -> None:
    networks = Disentangler(3, size, width=2)
    images = torch.rand(2, 3, size, size) * 2 - 1
    content = networks.content_encoder(images)
    styles = networks.target_style_encoder(images)
    assert content.shape == (2, 8, size // 4, size // 4)
    assert styles.shape == (2, 8)
    drawn = networks.decoder(content, styles)
    assert drawn.shape == images.shape
    assert drawn.abs().max() <= 1.0
    verdicts = ScaledCritic(3, size, width=2)(images)
    sides = [size, size // 2, size // 4]
    assert [tuple(of_scale.shape[2:]) for of_scale in verdicts] == [
        (max(2, side // 32), max(2, side // 32)) for side in sides
    ]


def test_a_size_that_does_not_come_back_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4, not 32 x 30"):
        ContentEncoder(1, width=2)(torch.zeros(1, 1, 32, 30))
    with pytest.raises(ValueError, match="3 scales need images of 16 pixels"):
        ScaledCritic(1, size=8)


def by_hand(features: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True)
    variance = features.var((2, 3), keepdim=True, unbiased=False)
    normal = (features - mean) / torch.sqrt(variance + 1e-5)
    moved = normal * (1.0 + scale[:, :, None, None]) + offset[:, :, None, None]
    return torch.where(moved > 0, moved, 0.2 * moved)


def test_an_adaptive_norm_scales_by_one_more_than_its_style() -> None:
    torch.manual_seed(0)
    features, scale, offset = torch.randn(2, 3, 5, 4), torch.randn(2, 3), torch.randn(2, 3)
    assert torch.allclose(
        styled(features, torch.cat([scale, offset], 1)), by_hand(features, scale, offset), atol=1e-5
    )


def test_the_decoder_uses_its_style_numbers_in_order_and_each_once() -> None:
    torch.manual_seed(1)
    decoder = StyledDecoder(1, width=2, blocks=1)
    content, styles = torch.randn(2, 8, 6, 6), torch.randn(2, 8)
    numbers = decoder.perceptron(styles)
    places = [0, 16, 32, 48, 56, 60]
    manners = [numbers[:, start:stop].chunk(2, 1) for start, stop in pairwise(places)]
    assert numbers.shape[1] == places[-1]
    block = decoder.blocks[0]
    inner = block.second(by_hand(block.first(by_hand(content, *manners[0])), *manners[1]))
    features = by_hand((content + inner) / math.sqrt(2), *manners[2])
    for rise, manner in zip(decoder.rise, manners[3:], strict=True):
        larger = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        features = by_hand(rise(larger), *manner)
    expected = torch.tanh(decoder.draw[0](features))
    assert torch.allclose(decoder(content, styles), expected, atol=1e-5)


def test_a_block_leaves_what_it_was_given_alone() -> None:
    block = PreactivatedBlock(2)
    features = torch.randn(1, 2, 4, 4)
    before = features.clone()
    out = block(features)
    assert torch.equal(features, before)
    assert torch.allclose(out * math.sqrt(2) - features, block.change(features), atol=1e-5)


def test_weights_are_drawn_for_leaky_rectifiers() -> None:
    torch.manual_seed(0)
    layer = ContentEncoder(1).layers[6]
    assert isinstance(layer, nn.Conv2d)
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / 1.04 / (16 * 64)), rel=0.01)
    assert not layer.bias.detach().any()
