"""One network with two answers: which image teaches which, and what each answer is."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewmask.data.batch import PartlyLabelled
from fewmask.errors import InputFault
from fewmask.losses.segmentation import cross_entropy
from fewmask.losses.turn import Turn
from fewmask.methods.joint import Joint, JointConfig, JointWeights
from fewmask.networks.deeplab import DeepLabv3Config
from fewmask.networks.fcn import FCNConfig
from fewmask.networks.outcome_branch import BranchConfig
from fewmask.networks.unet import UNetConfig
from fewmask.pseudo_label_config import CamMaps
from fewmask.pseudo_labels.activation_map import maps_of
from fewmask.recipes.names import RECIPES
from fewmask.shapes import IGNORED, Task

torch.set_num_threads(1)

TASK = Task(1, ("background", "cervix"), 32, prevalence=0.1)
CONFIG = JointConfig(network=UNetConfig((4, 8, 8)), branch=BranchConfig(widths=(6, 4), dropout=0.0))
MASKS_ALONE = JointWeights(outcome=0.0)
OUTCOME_ALONE = JointWeights(cross_entropy=0.0, dice=0.0)


def joint(task: Task = TASK, **changes: Any) -> Joint:
    """The same fresh network every time, its norms at rest, so that images do not see one another."""
    torch.manual_seed(0)
    method = replace(CONFIG, **changes).build(task, None).double()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method.eval()


def batch(count: int = 5, classes: int = 2) -> PartlyLabelled:
    """Images of which the first is fully labelled, the second has a mask, the third an outcome, and so on."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    masks = torch.randint(classes, (count, 32, 32), generator=generator)
    has_mask = torch.tensor([True, True, False, False, True])[:count]
    has_outcome = torch.tensor([True, False, True, False, True])[:count]
    masks[~has_mask] = IGNORED
    outcomes = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])[:count]
    return PartlyLabelled(images, masks, has_mask, outcomes, has_outcome)


def part(whole: PartlyLabelled, chosen: Tensor) -> PartlyLabelled:
    return PartlyLabelled(
        whole.images[chosen],
        whole.masks[chosen],
        whole.has_mask[chosen],
        whole.outcomes[chosen],
        whole.has_outcome[chosen],
    )


def turn_of(method: Joint, given: PartlyLabelled) -> Turn:
    (turn,) = method.training_step(given, 0.0)
    assert isinstance(turn, Turn)
    return turn


def gradients(method: Joint, loss: Tensor) -> list[Tensor]:
    method.zero_grad()
    loss.backward()
    return [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for weight in method.parameters()
    ]


def test_each_image_counts_in_the_terms_whose_labels_it_has() -> None:
    given, method = batch(), joint()
    together = gradients(method, turn_of(method, given).loss)
    outlined, diagnosed = joint(weights=MASKS_ALONE), joint(weights=OUTCOME_ALONE)
    by_masks = gradients(outlined, turn_of(outlined, part(given, given.has_mask)).loss)
    by_outcomes = gradients(diagnosed, turn_of(diagnosed, part(given, given.has_outcome)).loss)
    for both, one, other in zip(together, by_masks, by_outcomes, strict=True):
        assert torch.allclose(both, one + other, rtol=1e-9, atol=1e-12)
    assert any(bool(one.any()) for one in by_masks) and any(bool(one.any()) for one in by_outcomes)


def test_an_image_without_any_label_teaches_nothing() -> None:
    method, given = joint(), batch()
    turn = turn_of(method, part(given, torch.tensor([3])))
    assert {name: float(value) for name, value in turn.terms.items()} == {
        "cross_entropy": 0.0,
        "dice": 0.0,
        "outcome": 0.0,
    }
    assert not any(bool(gradient.any()) for gradient in gradients(method, turn.loss))


def test_the_loss_is_the_papers() -> None:
    """alpha BCE + (1 - alpha) Dice + beta BCE_w, over the pixels and the images that are labelled."""
    given = batch()
    method = joint(balance=False)
    turn = turn_of(method, given)
    logits, outcome = method.segmenter(given.images)
    score, truth = logits[given.has_mask, 1] - logits[given.has_mask, 0], given.masks[given.has_mask].double()
    area = score.sigmoid()
    overlap = 2 * (area * truth).sum() / (area.square().sum() + truth.square().sum() + 1e-7)
    weight = (1 - 0.1) / 0.1
    by_hand = {
        "cross_entropy": functional.binary_cross_entropy_with_logits(score, truth),
        "dice": 1 - overlap,
        "outcome": functional.binary_cross_entropy_with_logits(
            outcome[given.has_outcome],
            given.outcomes[given.has_outcome].double(),
            pos_weight=torch.tensor(weight),
        ),
    }
    assert {name: float(value) for name, value in turn.terms.items()} == pytest.approx(
        {name: float(value.detach()) for name, value in by_hand.items()}, rel=1e-6
    )
    expected = 0.5 * by_hand["cross_entropy"] + 0.5 * by_hand["dice"] + 0.8 * by_hand["outcome"]
    assert float(turn.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_cross_entropy_of_two_classes_is_the_binary_one_of_the_one_score() -> None:
    given, method = batch(), joint()
    logits, _ = method.segmenter(given.images)
    scores = method.segmenter.body.decode(method.segmenter.body.features(given.images))[:, 0]
    known = given.masks != IGNORED
    binary = functional.binary_cross_entropy_with_logits(scores[known], given.masks[known].double())
    assert cross_entropy(logits, given.masks).item() == pytest.approx(binary.item(), rel=1e-12)


def test_what_an_image_with_the_outcome_weighs() -> None:
    assert joint().positive_weight == 1.0 and joint().remarks == ()
    unbalanced = joint(balance=False)
    assert unbalanced.positive_weight == pytest.approx(9.0) and "9 times" in unbalanced.remarks[0]
    assert joint(positive_weight=4.0).positive_weight == 4.0
    assert joint(balance=False, positive_weight=4.0).positive_weight == 4.0
    assert joint(replace(TASK, prevalence=None), balance=False).positive_weight == 1.0
    assert joint(balance=False, weights=MASKS_ALONE).remarks == ()
    with pytest.raises(InputFault, match="positive_weight=0: must be above 0"):
        JointConfig(positive_weight=0.0)


def test_both_answers_of_one_pass_are_each_answer_alone() -> None:
    method, images = joint(), batch().images
    logits, translation, outcome = method.segment_with_translation(images)
    assert translation is None and outcome is not None
    assert torch.equal(method.segment(images), logits)
    assert torch.equal(method.validate_segment(images), logits)
    for told in (method.judge(images), method.validate_judge(images, batch().masks)):
        assert told is not None and torch.equal(told, outcome)
    assert outcome.shape == (5,) and logits.shape == (5, 2, 32, 32)


def test_what_was_not_learnt_is_not_told() -> None:
    images = batch().images
    outlined, diagnosed = joint(weights=MASKS_ALONE), joint(weights=OUTCOME_ALONE)
    assert outlined.segment_with_translation(images).outcome is None
    assert outlined.judge(images) is None and outlined.validate_judge(images, batch().masks) is None
    assert outlined.look(images, CamMaps(layers=("level3",))) is None and outlined.looks_at == ()
    assert outlined.draws_masks and not diagnosed.draws_masks
    for ask in (diagnosed.segment, diagnosed.validate_segment, diagnosed.segment_with_translation):
        with pytest.raises(InputFault, match="draws no masks"):
            ask(images)
    assert diagnosed.judge(images) is not None


@pytest.mark.parametrize(
    ("tap", "deepest"), [("bottleneck", "level3"), ("enc4", "level2"), ("all_levels", "level3")]
)
def test_maps_of_where_it_looked_for_the_outcome(tap: Any, deepest: str) -> None:
    method = joint(branch=BranchConfig(tap, (6,), 0.0))
    assert method.looks_at[-1] == deepest and method.looks_at[0] == "level1"
    assert method.segmenter.branch is not None
    with torch.no_grad():
        for weight in method.segmenter.branch.parameters():
            weight.abs_()  # Whatever the levels see only raises the score, so that there is a map.
    images = batch(2).images
    found = method.look(images, CamMaps(layers=(deepest,)))
    by_hand = maps_of(method.segmenter, images, "gradcam", [deepest], lambda answers: answers.outcome)
    assert found is not None and torch.equal(found.maps, by_hand.normalised)
    assert (found.maps.amax((1, 2, 3)) > 0.5).all(), "an empty map would equal any other"
    told = method.judge(images)
    assert told is not None and torch.allclose(found.scores, told) and not found.scores.requires_grad


@pytest.mark.parametrize("network", [FCNConfig(1 / 16), DeepLabv3Config(1 / 16)], ids=["fcn", "deeplabv3"])
def test_weights_of_torchvision_are_for_the_networks_that_have_them(network: Any, tmp_path: Path) -> None:
    donor, taker = joint(network=network), joint(network=network, weights=MASKS_ALONE)
    weights = {name: value.clone() for name, value in donor.segmenter.body.state_dict().items()}
    weights = {name: value + 1 for name, value in weights.items() if value.is_floating_point()}
    torch.save(weights, tmp_path / "net.pth")
    assert taker.load_imagenet(tmp_path / "net.pth") > 100
    found = taker.segmenter.body.state_dict()["backbone.conv1.weight"]
    assert torch.equal(found, weights["backbone.conv1.weight"])


def test_the_unet_takes_no_weights(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(InputFault, match=r"net\.pth: this method has no network .*; leave --weights out"):
        joint().load_imagenet(tmp_path / "net.pth")


def test_several_classes() -> None:
    task = Task(1, ("background", "anterior lip", "posterior lip"), 32)
    method, given = joint(task), batch(classes=3)
    assert method.segment(given.images).shape == (5, 3, 32, 32)
    turn = turn_of(method, given)
    assert all(math.isfinite(float(value)) and float(value) > 0 for value in turn.terms.values())


def test_the_recipes_are_the_rows_of_the_paper() -> None:
    learnt = {
        name: RECIPES[name](False) for name in ("joint", "joint_without_outcome", "joint_without_masks")
    }
    answers = {
        name: (recipe.stages[0].method.learns_masks, recipe.learns_outcome, recipe.takes_partly_labelled)
        for name, recipe in learnt.items()
    }
    assert answers == {
        "joint": (True, True, True),
        "joint_without_outcome": (True, False, False),
        "joint_without_masks": (False, True, True),
    }
    assert [learnt[name].takes_undiagnosed for name in answers] == [True, True, False]
    assert RECIPES["markers"](True).takes_partly_labelled and RECIPES["markers"](True).takes_undiagnosed
    assert not RECIPES["supervised"](True).learns_outcome and not RECIPES["fcn"](True).learns_outcome
    method = RECIPES["joint"](False).stages[0].method.build(Task(1, ("background", "cervix"), 256), None)
    branch = method.segmenter.branch
    assert sum(weight.numel() for weight in branch.parameters()) == 278_913
