from itertools import pairwise

import pytest
import torch

from fewmask.errors import InputFault
from fewmask.networks.classifier import Classifier, ClassifierConfig
from fewmask.networks.norm import SharedBatchNorm2d

torch.set_num_threads(1)


@pytest.mark.parametrize(("channels", "widths"), [(1, (4, 8)), (3, (4, 8, 16)), (3, (5,))])
def test_parameter_count(channels: int, widths: tuple[int, ...]) -> None:
    network = Classifier(channels, ClassifierConfig(widths))
    expected = widths[-1] + 1
    for inner, outer in pairwise((channels, *widths)):
        expected += 9 * inner * outer + 9 * outer * outer + 2 * (2 * outer)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 3, 33, 20)])
def test_one_number_an_image(shape: tuple[int, ...]) -> None:
    network = Classifier(3, ClassifierConfig((4, 8, 16))).eval()
    assert network(torch.rand(shape)).shape == shape[:1]


def test_an_image_is_judged_alone() -> None:
    torch.manual_seed(0)
    network = Classifier(3, ClassifierConfig((4, 8))).eval()
    images = torch.rand(3, 3, 16, 16)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-6)


def test_it_sees_what_and_not_where() -> None:
    """The mean over the image: a pattern away from the rim counts alike wherever it lies."""
    torch.manual_seed(0)
    network = Classifier(1, ClassifierConfig((4, 8))).eval()
    images = torch.zeros(2, 1, 32, 32)
    images[0, 0, 8:12, 8:12] = 1.0
    images[1, 0, 18:22, 16:20] = 1.0
    first, second = network(images).tolist()
    assert first == pytest.approx(second, abs=1e-5)
    assert first != pytest.approx(network(torch.zeros(1, 1, 32, 32)).item(), abs=1e-5)


def test_norms_are_shared_and_dropout_is_off_at_rest() -> None:
    network = Classifier(3, ClassifierConfig((4, 8), dropout=0.5))
    assert sum(isinstance(layer, SharedBatchNorm2d) for layer in network.modules()) == 4
    images = torch.rand(2, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_from_each_of_its_layers_it_goes_on_to_the_same_score() -> None:
    torch.manual_seed(0)
    network = Classifier(3, ClassifierConfig((4, 8, 16)))
    images = torch.rand(2, 3, 33, 20)
    for _ in range(5):
        network(images)
    network.eval()
    held: dict[str, torch.Tensor] = {}
    for name in network.layer_names:
        network.layer(name).register_forward_hook(
            lambda _layer, _given, maps, name=name: held.update({name: maps})
        )
    scores = network(images)
    assert {name: maps.shape[1] for name, maps in held.items()} == {"level1": 4, "level2": 8, "level3": 16}
    for name, maps in dict(held).items():
        assert torch.allclose(network.after(name, maps), scores, rtol=0, atol=1e-6)
        assert not torch.allclose(network.after(name, 2.0 * maps), scores, rtol=0, atol=1e-4)
    for ask in (network.layer, lambda name: network.after(name, images)):
        with pytest.raises(InputFault, match="no layer 'level4'"):
            ask("level4")


@pytest.mark.parametrize(("widths", "dropout"), [((), 0.0), ((4, 0), 0.0), ((4,), 1.0), ((4,), -0.1)])
def test_bad_options(widths: tuple[int, ...], dropout: float) -> None:
    with pytest.raises(InputFault, match="classifier"):
        ClassifierConfig(widths, dropout=dropout)
