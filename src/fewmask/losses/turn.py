"""A turn is what one player minimises now; weights say which terms it is made of.

A weight of 0 means that the term is never computed, so switching a term off costs nothing and no training
step holds an `if`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

Thunk = Callable[[], Tensor]


@dataclass(frozen=True)
class Ramp:
    """A weight that rises linearly from 0 at `start` to `peak` at `end`, both as shares of the training in [0, 1]."""

    peak: float
    start: float = 0.0
    end: float = 0.0

    def at(self, progress: float) -> float:
        """The weight when a share `progress` of the training is done."""
        if progress < self.start:
            return 0.0
        if progress >= self.end:
            return self.peak
        return self.peak * (progress - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class Turn:
    """One player's move: the loss to minimise and the unweighted values of its terms, for the log."""

    player: str
    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """Base of each method's weights: one field a loss term, a number or a `Ramp`."""

    def value(self, term: str, progress: float) -> float:
        """The weight of a term when a share `progress` of the training is done."""
        weight = getattr(self, term)
        return weight.at(progress) if isinstance(weight, Ramp) else float(weight)

    def weigh(self, player: str, progress: float, **terms: Thunk) -> Turn:
        """The weighted sum of the terms whose weight is not 0. Each term is named after the field of its weight."""
        values: dict[str, Tensor] = {}
        parts: list[Tensor] = []
        for name, term in terms.items():
            weight = self.value(name, progress)
            if weight != 0.0:
                values[name] = term()
                parts.append(weight * values[name])
        loss = torch.stack(parts).sum() if parts else torch.zeros(())
        return Turn(player, loss, {name: value.detach() for name, value in values.items()})

    def gate(self, player: str, progress: float, **terms: Thunk) -> Turn:
        """The unweighted sum of a critic's terms: a weight that is not 0 opens the gate, however small it is.

        A critic's own learning must not slow down because the others listen to it less.
        """
        values = {name: term() for name, term in terms.items() if self.value(name, progress) != 0.0}
        loss = torch.stack(list(values.values())).sum() if values else torch.zeros(())
        return Turn(player, loss, {name: value.detach() for name, value in values.items()})


def term_names(weights: Weights) -> tuple[str, ...]:
    """The loss terms that the weights know, in their order."""
    return tuple(field.name for field in fields(weights))
