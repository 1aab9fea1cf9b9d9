import pytest
import torch
from torch import nn

from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.shared_encoder import ImageDecoder, SegmentationHead, SharedEncoder
from fewmask.networks.zero_padded import RectifiedBlock, TimedDropout

torch.set_num_threads(1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_of_the_paper() -> None:
    with torch.device("meta"):
        assert count(SharedEncoder(1)) == 27_517_424
        assert count(ImageDecoder(512, 1)) == 1_902_848
        assert count(SegmentationHead(512, 5)) == 2_560


def test_shapes_of_the_paper() -> None:
    with torch.device("meta"):
        images = torch.zeros(2, 1, 256, 256)
        taps = SharedEncoder(1)(images)
        assert taps.last.shape == taps.earlier.shape == (2, 512, 32, 32)
        assert ImageDecoder(512, 1)(taps.last, images).shape == (2, 1, 256, 256)
        assert SegmentationHead(512, 5)(taps.last).shape == (2, 5, 256, 256)


def test_the_earlier_tap_lies_before_the_dilated_blocks() -> None:
    torch.manual_seed(0)
    encoder = SharedEncoder(1, width=1)
    dilations = [layer.dilation[0] for layer in encoder.end.modules() if isinstance(layer, nn.Conv2d)]
    assert dilations == [2, 2, 2, 2, 1, 1]
    assert all(layer.dilation == (1, 1) for layer in encoder.body.modules() if isinstance(layer, nn.Conv2d))
    taps = encoder(torch.randn(2, 1, 16, 16))
    torch.testing.assert_close(encoder.eval().end(taps.earlier), encoder.end(taps.earlier))
    assert taps.last.min() >= 0 and taps.earlier.min() >= 0


def test_every_convolution_of_the_encoder_has_a_dropout_and_a_batch_norm_behind_it() -> None:
    encoder = SharedEncoder(1, width=1, dropout=0.25)
    rows = [part for part in encoder.modules() if isinstance(part, nn.Sequential)]
    seen = 0
    for row in rows:
        parts = list(row)
        for place, part in enumerate(parts):
            if isinstance(part, nn.Conv2d):
                seen += 1
                assert part.bias is None
                dropout, norm = parts[place + 1], parts[place + 2]
                assert isinstance(dropout, TimedDropout) and dropout.rate == 0.25
                assert isinstance(norm, SharedBatchNorm2d) and norm.affine and norm.momentum == 0.1
    assert seen == 1 + 2 * 14 + 2


def test_more_features_are_zeros_half_before_and_half_after() -> None:
    """With weights of 0 what comes out is what came in, between zeros."""
    block = RectifiedBlock(2, 6, "instance", TimedDropout(0.0))
    for part in block.change:
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
    features = torch.rand(1, 2, 4, 4)
    nothing = torch.zeros(1, 2, 4, 4)
    torch.testing.assert_close(block(features), torch.cat([nothing, features, nothing], 1))


def test_the_sum_of_a_block_is_rectified() -> None:
    torch.manual_seed(0)
    block = RectifiedBlock(3, 3, "instance", TimedDropout(0.0))
    features = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(block(features), torch.relu(features + block.change(features)))
    assert bool((block(features) == 0).any())


@pytest.mark.parametrize(
    ("when", "in_training", "in_use"),
    [("always", True, True), ("training", True, False), ("off", False, False)],
)
def test_when_the_decoder_silences(when: str, in_training: bool, in_use: bool) -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder(4, 1, width=2, dropout=when)  # pyright: ignore[reportArgumentType]
    features, images = torch.rand(1, 4, 4, 4), torch.zeros(1, 1, 32, 32)
    for training, expected in ((True, in_training), (False, in_use)):
        decoder.train(training)
        assert (not torch.equal(decoder(features, images), decoder(features, images))) is expected


def test_a_quarter_is_silenced_and_the_mean_kept() -> None:
    torch.manual_seed(0)
    silenced = TimedDropout(0.25)(torch.ones(100_000))
    assert float((silenced == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(silenced.max()) == pytest.approx(1 / 0.75)


def test_the_decoder_adds_to_the_image() -> None:
    decoder = ImageDecoder(4, 1, width=2)
    nn.init.zeros_(decoder.change[-1].weight)
    images = torch.rand(1, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(decoder(torch.rand(1, 4, 4, 4), images), torch.tanh(images))


def test_tiles_stand_for_channels_repeated_beforehand() -> None:
    torch.manual_seed(0)
    tiled, plain = SharedEncoder(1, width=1, tiles=3), SharedEncoder(3, width=1)
    plain.load_state_dict(tiled.state_dict())
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(tiled(images).last, plain(images.expand(-1, 3, -1, -1)).last)


def test_the_head_is_linear_between_the_features_centres() -> None:
    head = SegmentationHead(1, 2)
    nn.init.ones_(head.scores.weight)
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    row = head(ramp)[0, 0, 16]
    expected = ((torch.arange(32.0) + 0.5) / 8 - 0.5).clamp(0, 3)
    torch.testing.assert_close(row, expected)


def test_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    encoder = SharedEncoder(1, width=4)
    weights = torch.cat(
        [part.weight.detach().flatten() for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    )
    assert float(weights.abs().max()) <= 0.02
    # The deviation of a normal that is cut off at two deviations.
    assert float(weights.std()) == pytest.approx(0.0088, rel=0.01)


def test_a_size_that_cannot_be_halved_thrice_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        SharedEncoder(1, width=1)(torch.zeros(1, 1, 12, 16))
