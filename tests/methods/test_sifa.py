"""SIFA's step against the published formulas, written out a second time below with nothing but torch."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.losses.turn import Ramp
from fewmask.methods.base import Schedule
from fewmask.methods.sifa import SIFA, SIFAConfig, SIFAWeights
from fewmask.recipes import cardiac
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

TASK = Task(1, ("background", "MYO", "LAC", "LVC"), 16)
NARROW: dict[str, Any] = {
    "encoder_width": 1,
    "translator_width": 2,
    "translator_blocks": 1,
    "decoder_width": 2,
    "critic_width": 2,
    "critic_layers": 2,
    "decoder_dropout": "off",
}
SECOND = SIFAConfig(**NARROW)
FIRST = replace(cardiac.FIRST_VERSION, encoder_dropout=0.0, **NARROW)

EXTRA = "auxiliary_prediction_critic"
ORDER = (
    "translator",
    "target_critic",
    "segmenter",
    "decoder",
    "source_critic",
    "prediction_critic",
    EXTRA,
)


def cpu() -> Fabric:
    """One process on the CPU."""
    return Fabric(accelerator="cpu", devices=1)


def built(config: SIFAConfig) -> SIFA:
    torch.manual_seed(0)
    method = config.build(TASK, None).double().train()
    for parameter in method.parameters():
        # Livelier than fresh weights, so that every term and every gradient is large enough to compare.
        parameter.data.mul_(3.0).add_(0.05 * torch.randn_like(parameter))
    return method


def batch(seed: int = 1, size: int = 16) -> Adaptation:
    random = torch.Generator().manual_seed(seed)
    source, target = (
        torch.rand(2, 1, size, size, generator=random, dtype=torch.float64) * 2 - 1 for _ in range(2)
    )
    masks = torch.randint(0, 3, (2, size, size), generator=random)
    return Adaptation(Labelled(source, masks), Unlabelled(target))


@dataclass
class Written:
    """One turn of the sheet's step at given weights: a loss for each player, nothing shared, nothing detached."""

    m: SIFA
    x_a: Tensor
    y_a: Tensor
    x_b: Tensor
    w_p: float
    second: bool

    def __post_init__(self) -> None:
        m = self.m
        self.fake_b = m.translator(self.x_a)
        self.z_fake_b, self.z_b = m.encoder(self.fake_b), m.encoder(self.x_b)
        self.fake_a = m.decoder(self.z_b.last, self.x_b)
        self.cycle_a = m.decoder(self.z_fake_b.last, self.fake_b)
        self.cycle_b = m.translator(self.fake_a)
        self.cycles = (
            10 * (self.x_a - self.cycle_a).abs().mean() + 10 * (self.x_b - self.cycle_b).abs().mean()
        )

    def task_loss(self, logits: Tensor) -> Tensor:
        p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
        entropy, dice, total = torch.zeros(()).double(), torch.zeros(()).double(), self.y_a.numel()
        for k in range(len(TASK.classes)):
            y = (self.y_a == k).double()
            entropy = entropy - (1 - y.sum() / total) * (y * p[:, k].clamp(0.005, 1).log()).sum() / total
            dice = dice + 2 * (p[:, k] * y).sum() / ((p[:, k] ** 2).sum() + y.sum() + 1e-7)
        return entropy + 1 - dice / len(TASK.classes)

    def translator(self) -> Tensor:
        return self.cycles + ((self.m.target_critic(self.fake_b) - 1) ** 2).mean()

    def target_critic(self) -> Tensor:
        return game(self.m.target_critic, self.x_b, self.fake_b)

    def decoder(self) -> Tensor:
        return self.cycles + ((self.m.source_critic(self.fake_a)[:, 0] - 1) ** 2).mean()

    def segmenter(self) -> Tensor:
        m = self.m
        heads = [m.encoder, m.head] + ([m.auxiliary_head] if self.second else [])
        size = sum(0.5 * (p**2).sum() for network in heads for p in network.parameters())
        loss = self.task_loss(m.head(self.z_fake_b.last)) + 1e-4 * size + 0.1 * self.decoder()
        loss = loss + 0.1 * ((m.source_critic(self.fake_a)[:, 1] - 1) ** 2).mean()
        loss = loss + self.w_p * ((m.prediction_critic(m.head(self.z_b.last)) - 1) ** 2).mean()
        if self.second:
            loss = loss + 0.1 * self.task_loss(m.auxiliary_head(self.z_fake_b.earlier))
            scores = m.auxiliary_prediction_critic(m.auxiliary_head(self.z_b.earlier))
            loss = loss + 0.01 * ((scores - 1) ** 2).mean()
        return loss

    def source_critic(self) -> Tensor:
        def main(images: Tensor) -> Tensor:
            return self.m.source_critic(images)[:, 0]

        def auxiliary(images: Tensor) -> Tensor:
            return self.m.source_critic(images)[:, 1]

        return game(main, self.x_a, self.fake_a) + game(auxiliary, self.cycle_a, self.fake_a)

    def prediction_critic(self) -> Tensor:
        m = self.m
        return game(m.prediction_critic, m.head(self.z_fake_b.last), m.head(self.z_b.last))

    def auxiliary_prediction_critic(self) -> Tensor:
        m = self.m
        real, fake = m.auxiliary_head(self.z_fake_b.earlier), m.auxiliary_head(self.z_b.earlier)
        return game(m.auxiliary_prediction_critic, real, fake)


def game(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (((critic(real) - 1) ** 2).mean() + (critic(fake) ** 2).mean())


def networks_of(m: SIFA, player: str, second: bool) -> list[nn.Module]:
    if player == "segmenter":
        return [m.encoder, m.head] + ([m.auxiliary_head] if second else [])
    return [getattr(m, player)]


@dataclass
class Plain:
    """The sheet's whole step: loss, gradient, Adam, player after player."""

    m: SIFA
    second: bool
    rate: float

    def __post_init__(self) -> None:
        self.names = [name for name in ORDER if self.second or name != EXTRA]
        self.parameters = {
            name: [p for part in networks_of(self.m, name, self.second) for p in part.parameters()]
            for name in self.names
        }
        self.optimisers = {
            name: torch.optim.Adam(
                self.parameters[name],
                self.rate if name == "segmenter" else 2e-4,
                (0.9 if name == "segmenter" else 0.5, 0.999),
            )
            for name in self.names
        }

    def forward(self, given: Adaptation, w_p: float) -> Written:
        source = given.source
        return Written(self.m, source.images, source.masks, given.target.images, w_p, self.second)

    def descend(self, name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.parameters[name], allow_unused=True, retain_graph=True)
        for parameter, gradient in zip(self.parameters[name], gradients, strict=True):
            parameter.grad = gradient

    def faithful(self, given: Adaptation, w_p: float) -> list[float]:
        losses: list[float] = []
        for name in self.names:
            loss = getattr(self.forward(given, w_p), name)()
            self.descend(name, loss)
            self.optimisers[name].step()
            losses.append(float(loss.detach()))
        return losses

    def one_forward(self, given: Adaptation, w_p: float) -> list[float]:
        drawn = self.forward(given, w_p)
        losses = {name: getattr(drawn, name)() for name in self.names}
        for name, loss in losses.items():
            self.descend(name, loss)
        for name in self.names:
            self.optimisers[name].step()
        return [float(loss.detach()) for loss in losses.values()]


def assert_alike(ours: SIFA, theirs: SIFA) -> None:
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize("order", ["faithful", "one_forward"])
def test_two_steps_of_the_second_version(order: str) -> None:
    """The losses of all turns, and the weights afterwards, are those of the formulas."""
    method = built(replace(SECOND, order=order))  # pyright: ignore[reportArgumentType]
    plain = Plain(deepcopy(method), second=True, rate=2e-4)
    for seed in range(2):
        turns = play(cpu(), method, method.training_step(batch(seed), 0.0), 0.0)
        assert [turn.player for turn in turns] == list(ORDER)
        written = getattr(plain, order)(batch(seed), 0.1)
        assert [float(turn.loss.detach()) for turn in turns] == pytest.approx(written, abs=1e-5)
    assert_alike(method, plain.m)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.0), (5, 1 / 3), (6, 2 / 3), (7, 1.0)])
def test_a_step_of_the_first_version(epoch: int, share: float) -> None:
    """No second head, the critic of predictions heard from epoch 5 on (it learns from the start), a falling rate."""
    method = built(FIRST)
    plain = Plain(deepcopy(method), second=False, rate=1e-3 * 0.9 ** (epoch // 2))
    turns = play(cpu(), method, method.training_step(batch(), epoch / 20), epoch / 20)
    assert [turn.player for turn in turns] == list(ORDER[:-1])
    written = plain.faithful(batch(), 0.1 * share)
    assert [float(turn.loss.detach()) for turn in turns] == pytest.approx(written, abs=1e-5)
    assert_alike(method, plain.m)


def test_the_order_matters() -> None:
    """The first turn is the same in both orders; later ones see what moved before them."""
    losses: list[list[float]] = []
    for order in ("faithful", "one_forward"):
        method = built(replace(SECOND, order=order))
        turns = play(cpu(), method, method.training_step(batch(), 0.0), 0.0)
        losses.append([float(turn.loss.detach()) for turn in turns])
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-12)
    assert all(abs(one - other) > 1e-9 for one, other in zip(losses[0][1:], losses[1][1:], strict=True))


def test_one_forward_is_a_simultaneous_move() -> None:
    (move,) = built(replace(SECOND, order="one_forward")).training_step(batch(), 0.0)
    assert isinstance(move, tuple) and len(move) == 7


def test_the_ramp_of_the_critic_of_predictions() -> None:
    weights = FIRST.weights
    values = [weights.value("prediction_adversarial", epoch / 20) for epoch in range(8)]
    assert values == pytest.approx([0, 0, 0, 0, 0, 0.1 / 3, 0.2 / 3, 0.1])
    assert weights.value("prediction_adversarial", 19 / 20) == 0.1


def test_the_rate_of_the_first_version_falls_in_stairs() -> None:
    schedule = cardiac.FIRST_VERSION.segmenter_optimiser.schedule
    factors = [schedule.factor(step / 24_000) for step in (0, 2399, 2400, 4799, 4800, 23_999)]
    assert factors == pytest.approx([1, 1, 0.9, 0.9, 0.81, 0.9**9])
    assert all(Schedule("stairs", hold=0.0, stairs=100).factor(k / 100) == 0.9**k for k in range(100))
    late = Schedule("stairs", hold=0.5, stairs=2, drop=0.1)
    assert [late.factor(share) for share in (0.5, 0.74, 0.76)] == pytest.approx([1.0, 1.0, 0.1])


NEVER = {
    ("prediction_adversarial",): "prediction_critic",
    ("auxiliary_prediction_adversarial",): EXTRA,
    ("target_adversarial",): "target_critic",
    ("source_adversarial", "auxiliary_source_adversarial"): "source_critic",
    (
        "auxiliary_cross_entropy",
        "auxiliary_dice",
        "auxiliary_prediction_adversarial",
    ): "auxiliary_head",
}


@pytest.mark.parametrize("order", ["faithful", "one_forward"])
@pytest.mark.parametrize("terms", NEVER, ids="+".join)
def test_what_only_a_switched_off_term_needs_is_never_run(terms: tuple[str, ...], order: str) -> None:
    weights = replace(SIFAWeights(), **dict.fromkeys(terms, 0.0))
    method = built(replace(SECOND, weights=weights, order=order))  # pyright: ignore[reportArgumentType]
    calls: list[str] = []
    for name in NEVER.values():
        getattr(method, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    turns = play(cpu(), method, method.training_step(batch(), 0.0), 0.0)
    unused = {name for needs, name in NEVER.items() if set(needs) <= set(terms)}
    assert set(calls) == set(NEVER.values()) - unused
    assert [turn.player for turn in turns] == [player.name for player in method.players]
    assert not unused & {player.name for player in method.players}


def test_without_cycle_nothing_comes_back_in_any_turn() -> None:
    """The decoder's weights hold inside the segmenter's `redrawing`, too."""
    method = built(replace(SECOND, weights=SIFAWeights(cycle=0.0, auxiliary_source_adversarial=0.0)))
    calls: list[int] = []
    method.translator.register_forward_hook(lambda *_: calls.append(1))
    turns = {turn.player: turn for turn in play(cpu(), method, method.training_step(batch(), 0.0), 0.0)}
    assert all("cycle" not in turn.terms for turn in turns.values())
    # One forward translation a turn (the decoder's and the source critic's need none), and no way back.
    assert len(calls) == 5


def test_a_redrawing_of_nothing_costs_nothing() -> None:
    weights = SIFAWeights(cycle=0.0, source_adversarial=0.0)
    method = built(replace(SECOND, weights=weights))
    turns = {turn.player: turn for turn in play(cpu(), method, method.training_step(batch(), 0.0), 0.0)}
    assert float(turns["segmenter"].terms["redrawing"]) == 0.0
    assert "decoder" not in turns
    assert "decoder" not in {player.name for player in method.players}


def test_batch_norms_learn_in_every_turn_that_runs_the_encoder() -> None:
    """Twice in each of six turns: on translated images and on target images."""
    method = built(SECOND)
    play(cpu(), method, method.training_step(batch(), 0.0), 0.0)
    counts = {int(value) for name, value in method.named_buffers() if "num_batches" in name}
    assert counts == {12}


def test_critics_see_earlier_batches() -> None:
    torch.manual_seed(0)
    method = built(replace(SECOND, replay=1, optimiser=replace(SECOND.optimiser, rate=0.0)))
    play(cpu(), method, method.training_step(batch(0), 0.0), 0.0)
    held = method.replay_target.content.clone()
    assert held.shape == (1, 2, 1, 16, 16)
    torch.testing.assert_close(held[0], method.translator(batch(0).source.images).detach())
    losses: set[float] = set()
    for _ in range(8):
        method.replay_target.content.copy_(held)
        turns = play(cpu(), method, method.training_step(batch(1), 0.0), 0.0)
        losses.add(round(float(turns[1].loss.detach()), 9))
    assert len(losses) == 2


def test_what_it_says_of_images() -> None:
    method = built(SECOND).eval()
    images = batch().target.images
    with torch.no_grad():
        expected = method.head(method.encoder(images).last)
        assert torch.equal(method.segment(images), expected)
        both = method.segment_twice(images)
        assert both is not None and torch.equal(both[0], expected)
        assert torch.equal(both[1], method.auxiliary_head(method.encoder(images).earlier))
        assert torch.equal(method.restyle(images), method.translator(images))
        assert torch.equal(method.validate_segment(images), method.segment(method.translator(images)))
        assert method.translate(images) is None
        assert built(FIRST).eval().segment_twice(images) is None


def test_the_ablation_of_the_conference_paper() -> None:
    full, output, image = (
        recipe(True).stages[0].method.weights
        for recipe in (cardiac.sifa_v1, cardiac.sifa_with_output_critic, cardiac.sifa_image_only)
    )
    assert output == replace(full, auxiliary_source_adversarial=0.0)
    assert image == replace(output, prediction_adversarial=0.0)
    assert full.prediction_adversarial == Ramp(0.1, 0.2, 0.35)


def test_full_sizes_are_the_papers() -> None:
    for recipe in (cardiac.sifa(False), cardiac.sifa_v1(False)):
        with torch.device("meta"):
            method = recipe.stages[0].method.build(Task(1, ("0", "1", "2", "3", "4"), 256), None)
        count = {name: sum(p.numel() for p in part.parameters()) for name, part in method.named_children()}
        tiles = recipe.stages[0].method.tiles - 1
        assert count["encoder"] == 27_517_424 + tiles * 49 * 16
        assert count["translator"] == 2_849_537 + tiles * 49 * 32
        assert (count["decoder"], count["head"]) == (1_902_848, 2_560)
        assert (count["source_critic"], count["target_critic"]) == (2_771_712, 2_763_520)
        assert count["prediction_critic"] == 2_767_616
        assert (recipe.size, recipe.stages[0].batch, method.remarks) == (256, 8, ())


def test_critics_that_see_whole_images_are_remarked_on() -> None:
    assert "whole image" in built(SECOND).remarks[0]


@pytest.mark.parametrize("order", ["faithful", "one_forward"])
def test_in_half_precision_every_weight_gets_a_gradient(order: str) -> None:
    """A weight that is first read without a memory must not stay without one for the rest of its turn."""
    method = built(replace(SECOND, order=order)).float()  # pyright: ignore[reportArgumentType]
    given = batch()
    source, target = given.source.images.float(), given.target.images.float()
    given = Adaptation(Labelled(source, given.source.masks), Unlabelled(target))
    engine = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    play(engine, method, method.training_step(given, 0.0), 0.0)
    for player in method.players:
        missing = [parameter for parameter in player.parameters if parameter.grad is None]
        assert not missing, player.name
