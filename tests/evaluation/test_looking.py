"""Which methods can be asked where they look, at which layers, and what they answer."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from fewmask.methods.joint import JointConfig, JointWeights
from fewmask.methods.outcome import OutcomeClassifier, OutcomeConfig
from fewmask.methods.supervised import SupervisedConfig
from fewmask.methods.tags import TagConfig
from fewmask.networks.classifier import ClassifierConfig
from fewmask.networks.outcome_branch import BranchConfig
from fewmask.networks.unet import UNetConfig
from fewmask.networks.vgg import VGGConfig
from fewmask.pseudo_label_config import CamMaps
from fewmask.shapes import Task

torch.set_num_threads(1)

TASK = Task(1, ("background", "cervix"), 32)
UNET = UNetConfig((4, 8, 16))
LEVELS = ("level1", "level2", "level3")


def images() -> torch.Tensor:
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (JointConfig(network=UNET, branch=BranchConfig("bottleneck", (8,))), LEVELS),
        (JointConfig(network=UNET, branch=BranchConfig("enc4", (8,))), LEVELS[:2]),
        (JointConfig(network=UNET, branch=BranchConfig("all_levels", (8,))), LEVELS),
        (OutcomeConfig(network=ClassifierConfig((4, 8, 16))), LEVELS),
        (TagConfig(network=VGGConfig(1 / 32)), ("block1", "block2", "block3", "block4", "block5", "head")),
    ],
)
def test_every_layer_that_is_named_can_be_asked(config: Any, layers: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    method = config.build(TASK, None).eval()
    assert method.looks_at == layers
    for layer in method.looks_at:
        look = method.look(images(), CamMaps(layers=(layer,)))
        assert look.maps.shape == (2, 1, 32, 32)
        assert torch.allclose(look.scores, method.judge(images()), atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [JointConfig(network=UNET, branch=BranchConfig(), weights=JointWeights(outcome=0.0)), SupervisedConfig()],
)
def test_who_tells_no_outcome_cannot_be_asked(config: Any) -> None:
    method = config.build(TASK, None)
    assert method.looks_at == () and method.look(images(), CamMaps(layers=("level1",))) is None


def test_the_map_of_an_outcome_is_the_weighted_sum_that_makes_its_score() -> None:
    """Behind the deepest level lie a mean and one linear layer, so Grad-CAM is CAM, Zhou et al. 2016, Eq. 2."""
    torch.manual_seed(0)
    method = OutcomeConfig(network=ClassifierConfig((4, 8, 16))).build(TASK, None)
    assert isinstance(method, OutcomeClassifier)
    for _ in range(5):
        method.classifier(images())
    method.eval()
    held: list[torch.Tensor] = []
    method.classifier.layer("level3").register_forward_hook(lambda _layer, _given, maps: held.append(maps))
    method.judge(images())
    by_hand = torch.einsum("k,bkhw->bhw", method.classifier.head.weight[0], held[0])[:, None].relu()
    by_hand = by_hand / by_hand.amax((2, 3), keepdim=True)
    drawn = functional.interpolate(by_hand, size=(32, 32), mode="bilinear", align_corners=False)
    for cam in ("gradcam", "cam"):
        look = method.look(images(), CamMaps(cam=cam, layers=("level3",)))
        assert look.maps.max() > 0.5 and torch.allclose(look.maps, drawn, atol=1e-3)
