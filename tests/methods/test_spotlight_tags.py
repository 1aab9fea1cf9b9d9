"""AMR: which term reaches which branch, and what the map is made of."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from fewmask.config import from_mapping, to_mapping
from fewmask.data.batch import Tagged
from fewmask.errors import InputFault
from fewmask.methods.base import SGD, Schedule
from fewmask.methods.spotlight_tags import SpotlightTags, SpotlightTagsConfig, SpotlightTagsWeights
from fewmask.networks.resnet import ResNetConfig
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

SIZE = 32
TASK = Task(1, ("background", "square"), SIZE)
NARROW = SpotlightTagsConfig(network=ResNetConfig(1 / 32))


def build(config: SpotlightTagsConfig = NARROW, task: Task = TASK) -> SpotlightTags:
    torch.manual_seed(0)
    return config.build(task, None)


def images(count: int = 4) -> torch.Tensor:
    """Noise, with a bright square in every other image."""
    noise = torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.6 - 1.0
    noise[1::2, :, 8:20, 8:20] += 1.0
    return noise


def tags(count: int = 4) -> torch.Tensor:
    return torch.arange(count).remainder(2).float()


def touched(weights: SpotlightTagsWeights) -> set[str]:
    """The parts of the branches that get a gradient that is not 0."""
    method = build(replace(NARROW, weights=weights)).train()
    (turn,) = list(method.training_step(Tagged(images(), tags()), 0.0))
    turn.loss.backward()
    return {
        ".".join(name.split(".")[:2])
        for name, parameter in method.branches.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("spotlight", {"spotlight.trunk", "spotlight.head"}),
        ("compensation", {"compensation.trunk", "compensation.head"}),
        ("consistency", {"spotlight.head", "compensation.trunk", "compensation.head"}),
    ],
)
def test_each_term_reaches_its_parts_alone(term: str, parts: set[str]) -> None:
    assert touched(replace(SpotlightTagsWeights(0.0, 0.0, 0.0), **{term: 1.0})) == parts


def test_a_branch_that_no_term_needs_is_never_run() -> None:
    method = build(replace(NARROW, weights=SpotlightTagsWeights(spotlight=0.0, consistency=0.0))).train()
    method.branches.spotlight.register_forward_hook(lambda *_: pytest.fail("the spotlight ran"))
    method.branches.spotlight.trunk.register_forward_hook(lambda *_: pytest.fail("the spotlight ran"))
    (turn,) = list(method.training_step(Tagged(images(), tags()), 0.0))
    assert set(turn.terms) == {"compensation"}


def test_each_branch_runs_once_a_step() -> None:
    method = build().train()
    ran: list[str] = []
    for name, branch in (
        ("spotlight", method.branches.spotlight),
        ("compensation", method.branches.compensation),
    ):
        branch.trunk.register_forward_hook(lambda *_, name=name: ran.append(name))
    list(method.training_step(Tagged(images(), tags()), 0.0))
    assert sorted(ran) == ["compensation", "spotlight"]


def test_the_loss_by_hand() -> None:
    method = build(task=replace(TASK, prevalence=0.25)).train()
    (turn,) = list(method.training_step(Tagged(images(), tags()), 0.0))
    again = build(task=replace(TASK, prevalence=0.25)).train()
    maps = [branch(images()) for branch in (again.branches.spotlight, again.branches.compensation)]
    terms = [
        functional.binary_cross_entropy_with_logits(
            scores.flatten(1).mean(1), tags(), pos_weight=torch.tensor(3.0)
        )
        for scores in maps
    ]
    distance = (maps[0].clamp(min=0) - maps[1].clamp(min=0)).abs().mean()
    expected = 0.5 * terms[0] + 0.5 * terms[1] + 0.05 * distance
    assert turn.loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert turn.terms["consistency"].item() == pytest.approx(distance.item(), rel=1e-4)
    assert distance > 0


def test_a_few_steps_lower_the_loss() -> None:
    optimiser = SGD(rate=0.03, weight_decay=1e-4, schedule=Schedule("poly", 0.0))
    method = build(replace(NARROW, network=ResNetConfig(1 / 16), optimiser=optimiser)).train()
    fabric = Fabric(accelerator="cpu", devices=1)
    losses = []
    for step in range(10):
        batch = Tagged(images(8), tags(8))
        (turn,) = play(fabric, method, method.training_step(batch, step / 10), step / 10)
        losses.append(turn.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.isfinite(parameter).all() for parameter in method.parameters())


@pytest.mark.parametrize("share", [0.5, 1.0, 0.0])
def test_the_map_and_the_score_are_both_branches(share: float) -> None:
    method = build(replace(NARROW, spotlight_share=share)).train()
    method.branches.spotlight(images())
    method.branches.compensation(images())  # The running statistics are of something.
    shown = torch.cat([images(), torch.full((1, 1, SIZE, SIZE), 0.3)])
    maps = method.own_maps(shown)
    assert method.training and not maps.requires_grad and maps.shape == (5, SIZE, SIZE)
    assert torch.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    method.eval()
    with torch.no_grad():
        scores = [method.branches.spotlight(shown), method.branches.compensation(shown)]
        judged = method.judge(shown)
    mixed = share * scores[0] + (1.0 - share) * scores[1]
    assert torch.allclose(judged, mixed.mean((1, 2, 3)), atol=1e-6)
    parts = []
    for one in scores:
        positive = one.clamp(min=0)
        normalised = positive / (positive.flatten(1).max(1).values.view(-1, 1, 1, 1) + 1e-7)
        parts.append(
            functional.interpolate(normalised, size=SIZE, mode="bilinear", align_corners=False)[:, 0]
        )
    both = share * parts[0] + (1.0 - share) * parts[1]
    expected = both / (both.flatten(1).max(1).values.view(-1, 1, 1) + 1e-7)
    assert torch.allclose(maps, expected, atol=1e-5)
    alone = torch.cat([method.own_maps(image[None]) for image in shown])
    assert torch.allclose(alone, maps, atol=1e-4)


def test_no_positive_score_means_no_evidence() -> None:
    method = build()
    for branch in (method.branches.spotlight, method.branches.compensation):
        torch.nn.init.zeros_(branch.head.weight)
    assert torch.equal(method.own_maps(images()), torch.zeros(4, SIZE, SIZE))


def test_there_are_no_masks() -> None:
    method = build().eval()
    assert not method.draws_masks
    for segment in (method.segment, method.validate_segment):
        with pytest.raises(InputFault, match="no masks"):
            segment(images())
    assert torch.equal(method.validate_judge(images(), None), method.judge(images()))


def test_options_survive_yaml_and_bad_ones_are_refused() -> None:
    for config in (NARROW, SpotlightTagsConfig()):
        assert from_mapping(SpotlightTagsConfig, to_mapping(config), "here") == config
    with pytest.raises(InputFault, match="spotlight_share"):
        SpotlightTagsConfig(spotlight_share=1.2)
    with pytest.raises(InputFault, match="every training slice is negative"):
        build(task=replace(TASK, prevalence=0.0))
