"""The optimisers that a player may have: by their formulas, and through YAML."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from fewmask.config import from_mapping, to_mapping
from fewmask.errors import InputFault
from fewmask.methods.base import AdaBelief, Adam, AnyOptimiser, CoupledAdam, Player, Schedule

torch.set_num_threads(1)


def by_hand(gradients: list[float], rate: float, decay: float, rectify: bool) -> list[float]:
    """Zhuang et al. 2020, Alg. 1, with decoupled decay and RAdam's rectification, one number at a time."""
    beta1, beta2, epsilon = 0.5, 0.9, 1e-16
    value, mean, belief = 1.0, 0.0, 0.0
    values: list[float] = []
    longest = 2 / (1 - beta2) - 1
    for step, gradient in enumerate(gradients, start=1):
        value *= 1 - rate * decay
        mean = beta1 * mean + (1 - beta1) * gradient
        belief = beta2 * belief + (1 - beta2) * (gradient - mean) ** 2 + epsilon
        momentum = mean / (1 - beta1**step)
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        if not rectify:
            value -= rate * momentum / (math.sqrt(belief / (1 - beta2**step)) + epsilon)
        elif length < 5:
            value -= rate * momentum
        else:
            shrink = math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            value -= rate * shrink * momentum * math.sqrt(1 - beta2**step) / (math.sqrt(belief) + epsilon)
        values.append(value)
    return values


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adabelief_is_its_formula(rectify: bool, decay: float) -> None:
    gradients = [0.3, -0.2, 0.5, 0.4, 0.1, -0.6, 0.2, 0.2, 0.9, -0.1]
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    config = AdaBelief(rate=1e-2, rectify=rectify, weight_decay=decay)
    player = Player("one", network, config)
    seen: list[float] = []
    for gradient in gradients:
        network.weight.grad = torch.full_like(network.weight, gradient)
        player.step(0.0)
        seen.append(network.weight.item())
    assert seen == pytest.approx(by_hand(gradients, 1e-2, decay, rectify), rel=1e-9)


def coupled_by_hand(gradients: list[float], rate: float, decay: float) -> list[float]:
    """Kingma & Ba 2015, Alg. 1, the decay being part of the gradient, one number at a time."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    value, mean, square = 1.0, 0.0, 0.0
    values: list[float] = []
    for step, gradient in enumerate(gradients, start=1):
        decayed = gradient + decay * value
        mean = beta1 * mean + (1 - beta1) * decayed
        square = beta2 * square + (1 - beta2) * decayed**2
        value -= rate * (mean / (1 - beta1**step)) / (math.sqrt(square / (1 - beta2**step)) + epsilon)
        values.append(value)
    return values


def test_coupled_adam_is_its_formula_and_torchs_own() -> None:
    gradients = [0.3, -0.2, 0.5, 0.4, 0.1, -0.6, 0.2, 0.2, 0.9, -0.1]
    network, twin = (nn.Linear(1, 1, bias=False).double() for _ in range(2))
    nn.init.ones_(network.weight)
    nn.init.ones_(twin.weight)
    player = Player("one", network, CoupledAdam(rate=1e-2, weight_decay=0.1))
    theirs = torch.optim.Adam(twin.parameters(), lr=1e-2, weight_decay=0.1)
    seen: list[float] = []
    for step, gradient in enumerate(gradients):
        network.weight.grad = torch.full_like(network.weight, gradient)
        twin.weight.grad = torch.full_like(twin.weight, gradient)
        player.step(step / len(gradients))
        theirs.step()
        assert torch.equal(network.weight, twin.weight)
        seen.append(network.weight.item())
    assert seen == pytest.approx(coupled_by_hand(gradients, 1e-2, 0.1), rel=1e-9)


def test_the_rate_follows_the_schedule() -> None:
    network = nn.Linear(1, 1)
    player = Player("one", network, AdaBelief(rate=1e-2, schedule=Schedule("linear", 0.5)))
    player.step(0.75)
    assert player.optimiser.param_groups[0]["lr"] == pytest.approx(5e-3)
    constant = Player("one", network, AdaBelief(rate=1e-2))
    constant.step(0.99)
    assert constant.optimiser.param_groups[0]["lr"] == 1e-2


@dataclass(frozen=True)
class _Config:
    one: AnyOptimiser = field(default_factory=Adam)
    other: AnyOptimiser = field(default_factory=AdaBelief)


@pytest.mark.parametrize(
    "config",
    [
        _Config(),
        _Config(AdaBelief(rate=2e-4), Adam()),
        _Config(Adam(rate=1.0), AdaBelief()),
        _Config(CoupledAdam(rate=1e-4, weight_decay=5e-4), Adam(weight_decay=5e-4)),
    ],
)
def test_yaml_keeps_them_apart(config: _Config) -> None:
    mapping: Any = yaml.safe_load(yaml.safe_dump(to_mapping(config)))
    assert from_mapping(_Config, mapping, "here") == config
    assert "kind" not in to_mapping(Adam())


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(InputFault, match="here: one"):
        from_mapping(_Config, {"one": {"kind": "adagrad"}}, "here")
