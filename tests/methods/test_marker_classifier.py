"""A prognosis from what drawn masks measure: by hand, without a mask, and around a frozen segmenter."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewmask.data.batch import Diagnosed
from fewmask.errors import InputFault
from fewmask.losses.turn import Turn
from fewmask.methods.base import CoupledAdam
from fewmask.methods.joint import JointConfig
from fewmask.methods.marker_classifier import MarkerClassifier, MarkersConfig
from fewmask.metrics.markers import NAMES, markers_of
from fewmask.networks.two_answers import Answers
from fewmask.networks.unet import UNetConfig
from fewmask.shapes import Task

torch.set_num_threads(1)

TASK = Task(1, ("background", "cervix"), 32)


class Bright(nn.Module):
    """Takes bright pixels for the organ."""

    def forward(self, images: Tensor) -> Answers:
        return Answers(torch.cat([torch.zeros_like(images), 9 * images], dim=1), None)


def bars(*lengths: int) -> Tensor:
    """Images with a bright bar, six pixels high and so many long; none where the length is 0."""
    images = torch.full((len(lengths), 1, 32, 32), -1.0)
    for image, length in zip(images, lengths, strict=True):
        image[0, 12:18, 2 : 2 + length] = 1.0
    return images


def classifier(config: MarkersConfig | None = None) -> MarkerClassifier:
    torch.manual_seed(0)
    return (config or MarkersConfig()).build(TASK, Bright())


def listening_to(place: int) -> MarkerClassifier:
    """A regression that hands one measure on as it is."""
    method = classifier().eval()
    with torch.no_grad():
        method.regression.weight.zero_()
        method.regression.weight[0, place] = 1.0
        method.regression.bias.zero_()
        assert method.standardise.running_var is not None and method.standardise.running_mean is not None
        method.standardise.running_var.fill_(1.0 - method.standardise.eps)
        method.standardise.running_mean.zero_()
    return method


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_every_measure_of_a_drawn_mask_reaches_the_regression(place: int) -> None:
    images = bars(8, 20)
    images[1, 0, 20:24, 18:22] = 1.0  # A foot, so that the bar is bent and wider at one end.
    images[1, 0, 18:20, 18:22] = 1.0
    measured = [markers_of(image[0].numpy() > 0, None) for image in images]
    expected = [getattr(markers, NAMES[place]) for markers in measured if markers is not None]
    told = listening_to(place).judge(images)
    assert told.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert len(expected) == 2 and all(math.isfinite(value) for value in expected)


def test_an_image_without_a_mask_has_the_usual_measures_and_says_so() -> None:
    images = bars(8, 0)
    assert listening_to(len(NAMES)).judge(images).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    method = listening_to(0)
    assert method.standardise.running_mean is not None
    method.standardise.running_mean[0] = 11.0
    markers = markers_of(images[0, 0].numpy() > 0, None)
    assert markers is not None
    # What the regression is given is counted from the mean.
    assert method.judge(images).tolist() == pytest.approx([markers.length - 11.0, 0.0], abs=1e-5)


def test_both_answers_of_one_pass_are_each_answer_alone() -> None:
    method, images = classifier().eval(), bars(8, 0, 20)
    logits, translation, outcome = method.segment_with_translation(images)
    assert translation is None and outcome is not None and outcome.shape == (3,)
    assert torch.equal(method.segment(images), logits) and torch.equal(method.judge(images), outcome)
    assert torch.equal(method.validate_judge(images, torch.zeros(3, 32, 32, dtype=torch.long)), outcome)
    assert torch.equal(logits.argmax(1) == 1, images[:, 0] > 0)


def test_it_learns_that_a_short_one_has_the_outcome() -> None:
    method = classifier(MarkersConfig(optimiser=CoupledAdam(rate=0.05))).train()
    generator = np.random.default_rng(0)
    for _ in range(60):
        lengths = generator.integers(4, 28, 8)
        batch = Diagnosed(
            bars(*lengths), torch.zeros(8, 32, 32, dtype=torch.long), torch.from_numpy(lengths < 14).float()
        )
        (turn,) = method.training_step(batch, 0.0)
        assert isinstance(turn, Turn)
        method.zero_grad()
        turn.loss.backward()
        method.players[0].step(0.0)
    probabilities = method.eval().judge(bars(6, 10, 18, 24)).sigmoid()
    assert (probabilities[:2] > 0.5).all() and (probabilities[2:] < 0.5).all()


def test_a_batch_of_one_image_trains() -> None:
    """The forecast of a run's length begins with one."""
    method = classifier().train()
    batch = Diagnosed(bars(9), torch.zeros(1, 32, 32, dtype=torch.long), torch.ones(1))
    (turn,) = method.training_step(batch, 0.0)
    assert isinstance(turn, Turn) and turn.loss.isfinite()


def test_the_segmenter_stays_frozen() -> None:
    torch.manual_seed(0)
    segmenter = JointConfig(network=UNetConfig((4, 8))).build(TASK, None).segmenter
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    method = MarkersConfig().build(TASK, segmenter).train()
    assert not any(module.training for module in method.segmenter.modules()) and method.standardise.training
    batch = Diagnosed(bars(5, 9), torch.zeros(2, 32, 32, dtype=torch.long), torch.tensor([1.0, 0.0]))
    (turn,) = method.training_step(batch, 0.0)
    assert isinstance(turn, Turn)
    turn.loss.backward()
    method.players[0].step(0.0)
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())
    assert all(weight.grad is None for weight in segmenter.parameters())


def test_it_needs_a_segmenter() -> None:
    with pytest.raises(InputFault, match="markers needs `segmenter:`"):
        MarkersConfig().build(TASK, None)
