from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import yaml
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from fewmask.config import from_mapping, to_mapping
from fewmask.data.batch import SoftlyLabelled
from fewmask.errors import InputFault
from fewmask.losses.turn import Ramp, Turn
from fewmask.methods import soft_masks as module
from fewmask.methods.base import SGD, AdaBelief, Adam, AnyOptimiser, Player, Schedule
from fewmask.methods.soft_masks import (
    QUARTER_TURNS,
    RISING_CONSENSUS,
    SCALES,
    SoftlySupervised,
    SoftMasksConfig,
    SoftMasksWeights,
    View,
    draw_view,
    look,
    weights_of,
)
from fewmask.networks.umcam_unet import LeakyUNetConfig
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

TASK = Task(1, ("background", "brain"), 32)
NARROW = LeakyUNetConfig(widths=(4, 8, 16))
TURNS = [View(quarter_turns=turns) for turns in (1, 2)]


def discs(images: int = 2, size: int = 32) -> SoftlyLabelled:
    """A bright disc in noise, a blurred map that is shifted, and a sharper label."""
    generator = torch.Generator().manual_seed(7)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = ((rows - size / 2) ** 2 + (columns - size / 3) ** 2).sqrt()
    disc = (distance < size / 5).float()
    noise = 0.2 * torch.randn(images, 1, size, size, generator=generator)
    label = torch.sigmoid(size / 5 - distance).expand(images, -1, -1)
    blurred = functional.avg_pool2d(disc[None, None], 9, stride=1, padding=4)[0].roll(2, -1)
    return SoftlyLabelled((disc - 0.5 + noise).clamp(-1, 1), blurred.expand(images, -1, -1), label)


def build(config: SoftMasksConfig | None = None, seed: int = 0) -> SoftlySupervised:
    torch.manual_seed(seed)
    return (config or SoftMasksConfig(network=NARROW)).build(TASK, None).train()


def with_views(**changes: Any) -> SoftMasksConfig:
    weights = SoftMasksWeights(consensus=0.1)
    return replace(SoftMasksConfig(network=NARROW, weights=weights, views=2), **changes)


def turn_of(method: SoftlySupervised, batch: SoftlyLabelled, progress: float = 0.0) -> Turn:
    (turn,) = method.training_step(batch, progress)
    assert isinstance(turn, Turn)
    return turn


def train(method: SoftlySupervised, batch: SoftlyLabelled, steps: int, seed: int = 0) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    for step in range(steps):
        torch.manual_seed(seed + step)
        play(fabric, method, method.training_step(batch, step / steps), step / steps)


def force_views(monkeypatch: pytest.MonkeyPatch, views: list[View]) -> None:
    waiting = list(views)
    monkeypatch.setattr(module, "draw_view", lambda: waiting.pop(0))


class Fixed(nn.Module):
    """Class scores that are a fixed function of each pixel by itself: equivariant under every view."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([1.0 - images, 2.0 * images.square()], dim=1)


@pytest.mark.parametrize("config", [SoftMasksConfig(network=NARROW), with_views()], ids=["one", "two"])
def test_thirty_steps_lower_the_loss(config: SoftMasksConfig) -> None:
    batch, method = discs(), build(config)

    def loss() -> float:
        """In one look, as it will be used: the written combination of the two terms."""
        with torch.no_grad():
            chance = method.eval().segment(batch.images).softmax(1)[:, 1]
        method.train()
        terms = [
            functional.binary_cross_entropy(0.999 * chance + 5e-4, labels)
            for labels in (batch.maps, batch.labels)
        ]
        return float(0.1 * terms[0] + 0.9 * terms[1])

    first = loss()
    train(method, batch, 30)
    assert loss() < 0.8 * first


def test_it_learns_a_label_by_heart() -> None:
    batch = discs()
    config = with_views(optimiser=SGD(rate=0.1, schedule=Schedule("poly", 0.0)))
    method = build(config)
    train(method, batch, 60)
    found = method.eval().segment(batch.images).argmax(1) == 1
    truth = batch.labels > 0.5
    assert float(2 * (found & truth).sum() / (found.sum() + truth.sum())) > 0.8


def test_the_loss_is_the_written_combination() -> None:
    method, batch = build(SoftMasksConfig(network=replace(NARROW, dropouts=(0.0,) * 3))), discs()
    turn = turn_of(method, batch)
    chance = method.segmenter(batch.images).softmax(1)[:, 1]
    by_map, by_label = (
        functional.binary_cross_entropy(0.999 * chance + 5e-4, labels)
        for labels in (batch.maps, batch.labels)
    )
    assert turn.player == "segmenter"
    torch.testing.assert_close(turn.terms["map"], by_map.detach())
    torch.testing.assert_close(turn.terms["seed_label"], by_label.detach())
    torch.testing.assert_close(turn.loss, 0.1 * by_map + 0.9 * by_label)


def test_a_term_without_weight_is_never_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> torch.Tensor:
        raise AssertionError("computed")

    monkeypatch.setattr(module, "consensus", refuse)
    assert set(turn_of(build(with_views(weights=SoftMasksWeights())), discs()).terms) == {"map", "seed_label"}
    with pytest.raises(AssertionError, match="computed"):
        turn_of(build(with_views()), discs())
    late = with_views(weights=SoftMasksWeights(consensus=RISING_CONSENSUS))
    assert "consensus" not in turn_of(build(late), discs(), progress=0.1).terms
    with pytest.raises(AssertionError, match="computed"):
        turn_of(build(late), discs(), progress=0.11)
    monkeypatch.setattr(module, "soft_cross_entropy", refuse)
    nothing = SoftMasksWeights(map=0.0, seed_label=0.0)
    assert turn_of(build(SoftMasksConfig(network=NARROW, weights=nothing)), discs()).terms == {}


def test_the_readings_of_lambda_swap() -> None:
    assert weights_of(0.1, "map") == SoftMasksWeights()
    swapped = weights_of(0.1, "seed_label", consensus=0.2)
    assert (swapped.map, swapped.seed_label, swapped.consensus) == (0.9, 0.1, 0.2)
    batch = discs()
    exchanged = SoftlyLabelled(batch.images, batch.labels, batch.maps)
    losses = [
        turn_of(build(SoftMasksConfig(network=NARROW, weights=weights)), given).loss
        for weights, given in ((weights_of(0.3, "map"), batch), (weights_of(0.3, "seed_label"), exchanged))
    ]
    torch.testing.assert_close(losses[0], losses[1])
    for wrong in (-0.1, 1.5):
        with pytest.raises(InputFault, match="from 0 to 1"):
            weights_of(wrong, "map")


def test_the_paper_s_ramp() -> None:
    """Nothing at epoch 20 of 200, half of 0.1 at epoch 110, all of it at the end."""
    assert [RISING_CONSENSUS.at(epoch / 200) for epoch in (0, 20)] == [0.0, 0.0]
    assert RISING_CONSENSUS.at(110 / 200) == pytest.approx(0.05)
    assert RISING_CONSENSUS.at(1.0) == 0.1


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("views", [TURNS, [View(1.5), View(quarter_turns=1)], [View(), TURNS[1]]], ids=str)
def test_an_equivariant_network_agrees_with_itself(
    monkeypatch: pytest.MonkeyPatch, views: list[View], size: int
) -> None:
    force_views(monkeypatch, views)
    method = build(with_views(agreement_weighted=True))
    method.segmenter = Fixed()
    method.divisor = 16
    batch = discs(size=size)
    turn = turn_of(method, batch)
    assert float(turn.terms["consensus"]) == pytest.approx(0.0, abs=1e-12)
    chance = Fixed()(batch.images).softmax(1)[:, 1]
    plain = functional.binary_cross_entropy(0.999 * chance + 5e-4, batch.maps)
    torch.testing.assert_close(turn.terms["map"], plain)


@pytest.mark.parametrize("views", [TURNS, [View(0.75), View(1.5)]], ids=str)
def test_a_random_network_disagrees_with_itself(monkeypatch: pytest.MonkeyPatch, views: list[View]) -> None:
    force_views(monkeypatch, views * 2)
    method = build(with_views(network=replace(NARROW, dropouts=(0.0,) * 3), agreement_weighted=True))
    with torch.no_grad():
        method.segmenter.head.weight.mul_(5.0)
    batch = discs()
    turn = turn_of(method, batch)
    with torch.no_grad():
        logits = [look(method.segmenter, batch.images, view, method.divisor) for view in views]
    one, other = (scores.softmax(1) for scores in logits)
    by_hand = ((one - other) * (one.log() - other.log())).sum(1).mean()
    assert float(by_hand) > 1e-3
    torch.testing.assert_close(turn.terms["consensus"], by_hand)
    mean = (one[:, 1] + other[:, 1]) / 2
    weight = 1 - (one[:, 1] - mean).square()
    surprise = torch.stack(
        [
            functional.binary_cross_entropy(0.999 * chance[:, 1] + 5e-4, batch.labels, reduction="none")
            for chance in (one, other)
        ]
    )
    expected = (weight * surprise).sum((1, 2, 3)).mean() / weight.sum()
    torch.testing.assert_close(turn.terms["seed_label"], expected)
    assert not torch.isclose(expected, surprise.mean(), rtol=1e-6)


class Recording(nn.Module):
    """Remembers what it was shown, and gives it back as the class scores."""

    shown: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shown = images
        return torch.cat([images, -images], dim=1)


def test_a_turned_view_shows_the_image_turned() -> None:
    network = Recording()
    images = torch.arange(6.0).view(1, 1, 2, 3)
    logits = look(network, images, View(quarter_turns=1), divisor=1)
    # Counter-clockwise: the last column becomes the first row.
    assert network.shown[0, 0].tolist() == [[2.0, 5.0], [1.0, 4.0], [0.0, 3.0]]
    assert torch.equal(logits[:, :1], images)


def test_a_rescaled_view_repeats_or_leaves_out_pixels_and_is_extended_by_darkness() -> None:
    network = Recording()
    images = torch.arange(16.0).view(1, 1, 4, 4)
    logits = look(network, images, View(scale=0.5), divisor=4)
    assert network.shown[0, 0].tolist() == [
        [5.0, 7.0, -1.0, -1.0],
        [13.0, 15.0, -1.0, -1.0],
        [-1.0] * 4,
        [-1.0] * 4,
    ]
    assert logits[0, 0].tolist() == [[5.0, 5.0, 7.0, 7.0]] * 2 + [[13.0, 13.0, 15.0, 15.0]] * 2
    assert torch.equal(look(network, images, View(scale=1.5), divisor=4)[:, :1], images)
    assert network.shown.shape == (1, 1, 8, 8)
    assert network.shown[0, 0, 0].tolist() == [0.0, 1.0, 1.0, 2.0, 3.0, 3.0, -1.0, -1.0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [16, 96, 112])
def test_every_scale_fits_every_size(scale: float, size: int) -> None:
    method = build(SoftMasksConfig(network=LeakyUNetConfig(widths=(2, 2, 2, 2, 2))))
    assert method.divisor == 16
    images = torch.randn(2, 1, size, size)
    assert look(method.segmenter, images, View(scale=scale), method.divisor).shape == (2, 2, size, size)


def test_views_are_drawn_from_the_global_generator() -> None:
    torch.manual_seed(5)
    views = [draw_view() for _ in range(800)]
    torch.manual_seed(5)
    assert views == [draw_view() for _ in range(800)]
    rescaled = [view for view in views if view.quarter_turns == 0]
    assert 350 < len(rescaled) < 450
    for scale in SCALES:
        assert 70 < sum(view.scale == scale for view in rescaled) < 130
    turned = [view for view in views if view.quarter_turns]
    assert all(view.scale == 1.0 for view in turned)
    for turns in QUARTER_TURNS:
        assert 160 < sum(view.quarter_turns == turns for view in turned) < 240


@pytest.mark.parametrize("config", [SoftMasksConfig(network=NARROW), with_views()], ids=["one", "two"])
def test_one_seed_gives_one_result(config: SoftMasksConfig) -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        method = build(config)
        train(method, discs(), 3, seed)
        return method.state_dict()

    first, second, other = trained(10), trained(10), trained(20)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert not all(torch.equal(value, other[key]) for key, value in first.items())


def test_both_views_teach_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consensus alone has a gradient, and so moves the segmenter."""
    force_views(monkeypatch, TURNS)
    method = build(with_views(weights=SoftMasksWeights(map=0.0, seed_label=0.0, consensus=1.0)))
    gradients = torch.autograd.grad(turn_of(method, discs()).loss, method.players[0].parameters)
    assert float(gradients[0].abs().max()) > 1e-8


def test_it_segments_in_one_look() -> None:
    method, images = build(with_views()).eval(), discs().images
    assert torch.equal(method.segment(images), method.segmenter(images))
    assert torch.equal(method.validate_segment(images), method.segment(images))


def test_bf16_training_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    force_views(monkeypatch, [View(0.75), View(quarter_turns=1)])
    method = build(with_views(agreement_weighted=True))
    with torch.autocast("cpu", torch.bfloat16):
        turn = turn_of(method, discs())
    turn.loss.backward()
    assert turn.loss.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_faults() -> None:
    with pytest.raises(InputFault, match="consensus: one view"):
        SoftMasksConfig(weights=SoftMasksWeights(consensus=RISING_CONSENSUS))
    with pytest.raises(InputFault, match="agreement_weighted: one view"):
        SoftMasksConfig(agreement_weighted=True)
    with pytest.raises(InputFault, match="not 3 classes"):
        SoftMasksConfig(network=NARROW).build(Task(1, ("background", "liver", "spleen"), 32), None)
    with pytest.raises(InputFault, match="here: views"):
        from_mapping(SoftMasksConfig, {"views": 3}, "here")
    with pytest.raises(InputFault, match="nesterov needs"):
        SGD(momentum=0.0, nesterov=True)


@pytest.mark.parametrize(
    "config",
    [SoftMasksConfig(), with_views(weights=SoftMasksWeights(consensus=RISING_CONSENSUS))],
    ids=["one", "two"],
)
def test_the_options_survive_yaml(config: SoftMasksConfig) -> None:
    mapping: Any = yaml.safe_load(yaml.safe_dump(to_mapping(config)))
    assert from_mapping(SoftMasksConfig, mapping, "here") == config
    assert mapping["optimiser"]["kind"] == "sgd"
    assert isinstance(config.weights.consensus, float | Ramp)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_its_formula(nesterov: bool) -> None:
    """One number at a time: v <- m v + (g + d x); x <- x - r v, or with Nesterov x <- x - r (g + d x + m v)."""
    rate, momentum, decay = 0.1, 0.9, 0.05
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    player = Player("one", network, SGD(rate=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay))
    value, speed = 1.0, 0.0
    for gradient in (0.3, -0.2, 0.5, 0.4):
        network.weight.grad = torch.full_like(network.weight, gradient)
        player.step(0.99)
        pull = gradient + decay * value
        speed = momentum * speed + pull
        value -= rate * (pull + momentum * speed if nesterov else speed)
        assert network.weight.item() == pytest.approx(value, rel=1e-12)


def test_the_poly_schedule() -> None:
    """(1 - progress)^0.9, and after a hold the same over what is left."""
    poly = Schedule("poly", hold=0.0)
    assert [poly.factor(progress) for progress in (0.0, 0.5, 0.75, 1.0)] == pytest.approx(
        [1.0, 0.5**0.9, 0.25**0.9, 0.0]
    )
    held = Schedule("poly", hold=0.5, power=2.0)
    assert [held.factor(progress) for progress in (0.25, 0.5, 0.75)] == pytest.approx([1.0, 1.0, 0.25])
    player = Player("one", nn.Linear(1, 1), SoftMasksConfig().optimiser)
    player.step(0.5)
    assert player.optimiser.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**0.9)


@dataclass(frozen=True)
class _Config:
    one: AnyOptimiser = field(default_factory=SGD)
    other: AnyOptimiser = field(default_factory=Adam)


@pytest.mark.parametrize(
    "config", [_Config(), _Config(AdaBelief(), SGD(rate=1.0, nesterov=True)), _Config(Adam(rate=0.5), SGD())]
)
def test_yaml_keeps_three_optimisers_apart(config: _Config) -> None:
    mapping: Any = yaml.safe_load(yaml.safe_dump(to_mapping(config)))
    assert from_mapping(_Config, mapping, "here") == config
