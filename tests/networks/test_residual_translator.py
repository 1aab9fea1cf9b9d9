import pytest
import torch
from torch import nn

from fewmask.networks.residual_translator import ResidualTranslator

torch.set_num_threads(1)


def test_parameter_count_of_the_paper() -> None:
    with torch.device("meta"):
        translator = ResidualTranslator(1)
        tiled = ResidualTranslator(1, tiles=3)
    numbers = [
        sum(parameter.numel() for parameter in network.parameters()) for network in (translator, tiled)
    ]
    assert numbers == [2_849_537, 2_849_537 + 2 * 49 * 32]


def test_it_adds_to_the_image_and_keeps_its_size() -> None:
    translator = ResidualTranslator(1, width=2, blocks=1, tiles=3)
    images = torch.rand(1, 1, 24, 16) * 2 - 1
    assert translator(images).shape == images.shape
    last = translator.change[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    torch.testing.assert_close(translator(images), torch.tanh(images))


def test_norms_have_scale_and_offset_and_borders_are_zero() -> None:
    translator = ResidualTranslator(1, width=2, blocks=2)
    norms = [part for part in translator.modules() if isinstance(part, nn.InstanceNorm2d)]
    assert len(norms) == 3 + 2 * 2 + 2
    assert all(norm.affine and norm.eps == 1e-6 for norm in norms)
    assert all(part.padding_mode == "zeros" for part in translator.modules() if isinstance(part, nn.Conv2d))
    assert all(part.bias is not None for part in translator.modules() if isinstance(part, nn.Conv2d))


def test_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    translator = ResidualTranslator(1, width=8, blocks=2)
    for part in translator.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            assert float(part.weight.detach().abs().max()) <= 0.04
            assert float(part.weight.detach().std()) == pytest.approx(0.0176, rel=0.1)


def test_a_size_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        ResidualTranslator(1, width=2, blocks=1)(torch.zeros(1, 1, 18, 16))
