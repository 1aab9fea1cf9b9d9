"""DRS learns from tags and maps the object; its second network learns maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from fewmask.config import from_mapping, to_mapping
from fewmask.data.batch import SoftlyLabelled, Tagged
from fewmask.errors import InputFault
from fewmask.losses.tag_loss import balancing_weight, map_distance, map_regression
from fewmask.methods.base import Adam, Method
from fewmask.methods.refined_maps import RefinedMaps, RefinedMapsConfig, RefinedMapsWeights
from fewmask.methods.suppressed_tags import (
    PAPERS_SCALES,
    SuppressedTags,
    SuppressedTagsConfig,
    SuppressedTagsWeights,
)
from fewmask.networks.suppressed_vgg import (
    FixedSuppression,
    LearntSuppression,
    NoSuppression,
    SuppressedVGGConfig,
)
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

SIZE = 32
TASK = Task(1, ("background", "square"), SIZE)
FAST = SuppressedTagsConfig(network=SuppressedVGGConfig(1 / 16), optimiser=Adam(rate=3e-3))


def squares(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, with a bright square in every other image and a bright bar of three pixels in the rest; and masks."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1.0, -0.4, (count, 1, SIZE, SIZE)).astype(np.float32)
    masks = np.zeros((count, SIZE, SIZE), np.float32)
    for index in range(count):
        row, column = rng.integers(2, SIZE - 12, 2)
        if index % 2:
            masks[index, row : row + 10, column : column + 10] = 1.0
            images[index, 0] += masks[index]
        else:
            images[index, 0, row : row + 3, column] += 1.0
    return torch.tensor(images), torch.arange(count).remainder(2).float(), torch.tensor(masks)


def auc(scores: torch.Tensor, tags: torch.Tensor) -> float:
    """The share of pairs that are in the right order."""
    positive, negative = scores[tags == 1], scores[tags == 0]
    return (positive[:, None] > negative[None]).float().mean().item()


def cpu() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def build(config: SuppressedTagsConfig, task: Task = TASK) -> SuppressedTags:
    torch.manual_seed(0)
    return config.build(task, None)


@pytest.mark.parametrize("suppression", [FixedSuppression(), LearntSuppression()])
def test_it_learns_which_images_show_a_square(suppression: object) -> None:
    method = build(replace(FAST, network=SuppressedVGGConfig(1 / 16, suppression))).train()
    images, tags, _ = squares(30 * 16, 1)
    losses: list[float] = []
    for step in range(30):
        share = slice(step * 16, step * 16 + 16)
        batch = Tagged(images[share], tags[share])
        (turn,) = play(cpu(), method, method.training_step(batch, step / 30), step / 30)
        losses.append(turn.loss.item())
    assert np.mean(losses[-5:]) < 0.85 * losses[0]
    images, tags, _ = squares(64, 2)
    with torch.no_grad():
        assert auc(method.eval().judge(images), tags) > 0.9


@pytest.mark.parametrize("scales", [(1.0,), PAPERS_SCALES])
def test_its_maps(scales: tuple[float, ...]) -> None:
    method = build(replace(FAST, scales=scales)).train()
    images, _, _ = squares(3, 3)
    maps = method.own_maps(torch.cat([images, torch.full((1, 1, SIZE, SIZE), 0.3)]))
    assert maps.shape == (4, SIZE, SIZE) and not maps.requires_grad and method.training
    assert torch.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    precise, images = method.double(), images.double()
    alone = torch.cat([precise.own_maps(image[None]) for image in images])
    assert torch.allclose(alone, precise.own_maps(images), atol=1e-5)


def test_no_positive_score_means_no_evidence() -> None:
    method = build(FAST)
    torch.nn.init.zeros_(method.classifier.head.weight)
    torch.nn.init.constant_(method.classifier.head.bias, -1.0)
    images, _, _ = squares(2, 3)
    assert torch.equal(method.own_maps(images), torch.zeros(2, SIZE, SIZE))


def test_of_several_scales_the_greatest_counts() -> None:
    method = build(replace(FAST, scales=PAPERS_SCALES)).eval()
    images, _, _ = squares(2, 3)
    looks = []
    for side in (24, 32, 40):  # 25.6, 32 and 38.4, rounded to multiples of 8
        rescaled = functional.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
        with torch.no_grad():
            scores = method.classifier.scores(rescaled).relu()
        shares = scores / (scores.flatten(1).max(1).values.view(-1, 1, 1, 1) + 1e-7)
        resized = functional.interpolate(shares, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        looks.append(resized[:, 0])
    assert torch.allclose(method.own_maps(images), torch.stack(looks).max(0).values, atol=1e-6)


def test_the_rarer_kind_weighs_more_unless_told_otherwise() -> None:
    task = replace(TASK, prevalence=0.2)
    assert build(FAST, task).positive_weight == pytest.approx(4.0)
    assert "4 times" in build(FAST, task).remarks[0]
    assert build(replace(FAST, balanced=False), task).positive_weight == 1.0
    assert build(FAST).positive_weight == 1.0
    images, _, _ = squares(4, 1)
    losses = []
    for method in (build(FAST, task), build(replace(FAST, balanced=False), task)):
        (turn,) = list(method.training_step(Tagged(images, torch.ones(4)), 0.0))
        losses.append(turn.loss.item())
    assert losses[0] == pytest.approx(4.0 * losses[1], rel=1e-5)


@pytest.mark.parametrize(("share", "kind"), [(0.0, "negative"), (1.0, "positive")])
def test_tags_of_one_kind_are_refused(share: float, kind: str) -> None:
    with pytest.raises(InputFault, match=f"every training slice is {kind}"):
        build(FAST, replace(TASK, prevalence=share))
    assert balancing_weight(0.5) == 1.0


def test_a_weight_of_nothing_never_looks_at_the_batch() -> None:
    method = build(replace(FAST, weights=SuppressedTagsWeights(0.0)))
    nothing = Tagged(torch.full((1,), float("nan")), torch.ones(1))
    (turn,) = list(method.training_step(nothing, 0.0))
    assert turn.terms == {} and turn.loss.item() == 0.0


def refiner(config: RefinedMapsConfig | None = None) -> RefinedMaps:
    network = SuppressedVGGConfig(1 / 16, NoSuppression())
    torch.manual_seed(0)
    return (config or RefinedMapsConfig(network=network, optimiser=Adam(rate=3e-3))).build(TASK, None)


def test_the_second_network_learns_maps() -> None:
    method = refiner().train()
    images, _, masks = squares(25 * 16, 1)
    losses: list[float] = []
    for step in range(25):
        share = slice(step * 16, step * 16 + 16)
        batch = SoftlyLabelled(images[share], masks[share], masks[share])
        (turn,) = play(cpu(), method, method.training_step(batch, step / 25), step / 25)
        losses.append(turn.loss.item())
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    images, _, masks = squares(32, 2)
    maps = method.own_maps(images)
    assert maps.shape == masks.shape and maps.min() >= 0 and maps.max() <= 1
    inside, outside = maps[masks == 1].mean(), maps[masks == 0].mean()
    assert inside > 2 * outside
    with torch.no_grad():
        method.eval()
        strongest = method._regressed(images).flatten(1).max(1).values
        assert torch.equal(method.judge(images) > 0, strongest > 0.5)
    assert torch.isfinite(method.own_maps(torch.zeros(1, 1, SIZE, SIZE))).all()
    off = refiner(RefinedMapsConfig(network=SuppressedVGGConfig(1 / 16), weights=RefinedMapsWeights(0.0)))
    assert next(iter(off.training_step(batch, 0.0))).terms == {}


def test_the_losses_by_hand() -> None:
    one = torch.tensor([[[[1.0, -2.0], [3.0, 0.5]]]], dtype=torch.float64)
    other = torch.tensor([[[[-1.0, -5.0], [1.0, 1.0]]]], dtype=torch.float64)
    assert map_distance(one, other).item() == pytest.approx((1.0 + 0.0 + 2.0 + 0.5) / 4)
    assert map_regression(one, other).item() == pytest.approx((4.0 + 9.0 + 4.0 + 0.25) / 4)
    leaves = (one.requires_grad_(), other.requires_grad_())
    assert torch.autograd.gradcheck(map_distance, leaves)
    assert torch.autograd.gradcheck(map_regression, leaves)


@pytest.mark.parametrize("method", [build(FAST), refiner()])
def test_there_are_no_masks(method: Method) -> None:
    assert not method.draws_masks
    for segment in (method.segment, method.validate_segment):
        with pytest.raises(InputFault, match="no masks"):
            segment(torch.zeros(1, 1, SIZE, SIZE))
    images, _, _ = squares(2, 1)
    method.eval()
    assert torch.equal(method.validate_judge(images, None), method.judge(images))


@pytest.mark.parametrize("config", [FAST, SuppressedTagsConfig(scales=PAPERS_SCALES), RefinedMapsConfig()])
def test_options_survive_yaml(config: SuppressedTagsConfig | RefinedMapsConfig) -> None:
    assert from_mapping(type(config), to_mapping(config), "here") == config


def test_the_rate_falls_by_ten_at_each_third() -> None:
    for schedule in (SuppressedTagsConfig().optimiser.schedule, RefinedMapsConfig().optimiser.schedule):
        factors = [schedule.factor(epoch / 15) for epoch in (0, 4, 5, 9, 10, 14)]
        assert factors == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_bad_scales() -> None:
    for scales in ((), (0.0,), (1.0, 5.0)):
        with pytest.raises(InputFault, match="scales"):
            SuppressedTagsConfig(scales=scales)
