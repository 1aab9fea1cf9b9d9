import pytest
import torch
from torch import nn

from fewmask.config import from_mapping, to_mapping
from fewmask.errors import InputFault
from fewmask.networks.attention import AgganAttention, AttentionDecoder, MaskBranch, ResidualAttention

torch.set_num_threads(1)

CONFIGS = [
    ResidualAttention(width=4),
    ResidualAttention(width=4, depth=3),
    AgganAttention(width=4),
    AgganAttention(kernels="literal", width=4),
]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_by_hand() -> None:
    """Stem, residual units of two 3x3, and the ends; the last convolution alone has a bias."""
    stem, unit = 49 * 3 * 32, 2 * 9 * 32 * 32
    assert parameter_count(ResidualAttention().build(3)) == stem + 5 * unit + 32 * 32 + 33 == 97_921
    assert parameter_count(ResidualAttention(depth=3).build(3)) == stem + 8 * unit + 32 * 32 + 33 == 153_217
    encoder = stem + 9 * 32 * 64 + 2 * 9 * 64 * 64
    true = encoder + 9 * 64 * 64 + 9 * 64 * 32 + 49 * 32 + 1
    literal = encoder + 64 * 64 + 64 * 32 + 32 + 1
    assert parameter_count(AgganAttention().build(3)) == true == 153_729
    assert parameter_count(AgganAttention(kernels="literal").build(3)) == literal == 103_041
    assert parameter_count(AgganAttention().build(1)) == true - 2 * 49 * 32


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (48, 32), (64, 80)])
def test_one_map_as_large_as_the_image(config, rows: int, columns: int) -> None:
    torch.manual_seed(0)
    attention = config.build(3)(torch.randn(2, 3, rows, columns).clamp(-1, 1)).detach()
    assert attention.shape == (2, 1, rows, columns)
    assert 0.0 < float(attention.min()) < float(attention.max()) < 1.0
    assert float((attention - 0.5).abs().max()) < 0.4, "fresh weights decide nothing"


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_every_parameter_learns(config) -> None:
    torch.manual_seed(0)
    network = config.build(1)
    attention = network(torch.randn(1, 1, 32, 32))
    (attention * torch.randn_like(attention)).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in network.parameters())


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_weights_and_biases(config) -> None:
    torch.manual_seed(0)
    network = type(config)(**{**to_mapping(config), "width": 16}).build(3)
    biased = [name for name, _ in network.named_parameters() if name.endswith("bias")]
    assert len(biased) == 1, "no bias before an instance norm"
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert float(parameter.detach()) == 0.0
        elif parameter.numel() > 100:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_layers_of_aggan() -> None:
    def kernels(network: AttentionDecoder) -> list[tuple[int, int]]:
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        return [(layer.kernel_size[0], layer.stride[0]) for layer in layers]

    before = [(7, 2), (3, 2), (3, 1), (3, 1)]
    assert kernels(AgganAttention().build(3)) == [*before, (3, 1), (3, 1), (7, 1)]
    assert kernels(AgganAttention(kernels="literal").build(3)) == [*before, (1, 1), (1, 1), (1, 1)]


def test_literal_kernels_draw_blocks_and_true_ones_do_not() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 32)
    for kernels, blocky in (("literal", True), ("true", False)):
        attention = AgganAttention(kernels=kernels, width=4).build(3)(images)
        block = nn.functional.interpolate(attention[:, :, ::4, ::4], scale_factor=4, mode="nearest")
        assert torch.allclose(block, attention, atol=1e-6) is blocky


def test_mask_branch_adds_its_skip() -> None:
    """With the residual units idle, what is left is stem, pools, bilinear steps and sums, written out here."""
    torch.manual_seed(0)
    network = MaskBranch(2, width=3, depth=2).double()
    for unit in [*network.down, network.bottom, *network.skip, *network.up]:
        nn.init.zeros_(unit.change[-2].weight)
    images = torch.randn(1, 2, 32, 32, dtype=torch.float64)

    def larger(features: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)

    pool = nn.functional.max_pool2d
    quarter = pool(network.stem(images), 2)
    hidden = network.decide[:-1](larger(larger(pool(quarter, 2)) + quarter))
    expected = torch.sigmoid(network.decide[-1](larger(hidden)))
    torch.testing.assert_close(network(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_smallest_size_works_and_less_is_refused(config) -> None:
    network = config.build(1)
    side = network.smallest_size
    assert side <= 32
    assert 16 % network.divisor == 0
    assert network(torch.randn(1, 1, side, side)).shape == (1, 1, side, side)
    for wrong in (side - network.divisor, side + 1):
        with pytest.raises(ValueError, match=f"multiples of {network.divisor} from {side} up"):
            network(torch.randn(1, 1, side, wrong))


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_configs_survive_a_recipe(config) -> None:
    assert from_mapping(type(config), to_mapping(config), "recipe") == config


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputFault, match="width=0"):
        AgganAttention(width=0)
    with pytest.raises(InputFault, match="width=-1"):
        ResidualAttention(width=-1)
    with pytest.raises(InputFault, match="kernels"):
        from_mapping(AgganAttention, {"kernels": "5x5"}, "recipe")
    with pytest.raises(InputFault, match="depth"):
        from_mapping(ResidualAttention, {"depth": 4}, "recipe")
