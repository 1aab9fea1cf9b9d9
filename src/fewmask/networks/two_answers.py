"""One network, two answers: where the object is, and what becomes of the patient."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from fewmask.config import did_you_mean
from fewmask.errors import InputFault
from fewmask.networks.outcome_branch import OutcomeBranch
from fewmask.shapes import Images, Logits, OutcomeLogits


class Body(Protocol):
    """What is needed of a segmenter, a module: an encoder of levels, and a decoder of their maps.

    `UNet` and every other `LevelledNetwork`, `FCN` and `DeepLabv3` have it.
    """

    divisor: int
    widths: tuple[int, ...]

    @property
    def encoder(self) -> Iterable[nn.Module]:
        """The levels, finest first; each gives its `widths` maps."""
        ...

    def halved(self, maps: Tensor) -> Tensor:
        """What the next level is given of a level's maps."""
        ...

    def features(self, images: Images) -> list[Tensor]:
        """The maps of every level, finest first."""
        ...

    def decode(self, features: list[Tensor]) -> Logits:
        """Scores for every pixel from these maps."""
        ...


class Answers(NamedTuple):
    """Class scores (B, K, H, W), and the outcome's (B,), or None where the network has no branch for it."""

    logits: Logits
    outcome: OutcomeLogits | None


class Judgement(NamedTuple):
    """The outcome's score (B,) alone, where nothing is drawn."""

    outcome: OutcomeLogits


class TwoAnswers(nn.Module):
    """A segmenter, and a branch that tells the outcome from the maps of its encoder, which runs once for both.

    Wlodarczyk et al. 2020, Sec. 2. `body` gives K - 1 scores a pixel, one for each class but the background, whose
    score is 0. So for K = 2 the softmax over the classes is the paper's sigmoid of one score, and cross-entropy its
    binary cross-entropy. Without a branch it is a plain segmenter.

    It names its layers for class activation maps of the outcome: "level1" to "levelN", the encoder's from the finest
    to the deepest.
    """

    def __init__(self, body: Body, branch: OutcomeBranch | None) -> None:
        super().__init__()
        self.body = body
        self.branch = branch
        self.layer_names = tuple(f"level{number + 1}" for number in range(len(body.widths)))

    def forward(self, images: Images) -> Answers:
        """Both answers. Raises ValueError where the size is not a multiple of the body's `divisor`."""
        features = self.body.features(images)
        return Answers(self.drawn(features), None if self.branch is None else self.branch(features))

    def drawn(self, features: list[Tensor]) -> Logits:
        """The class scores that the encoder's maps lead to."""
        scores = self.body.decode(features)
        return torch.cat([torch.zeros_like(scores[:, :1]), scores], dim=1)

    def told(self, features: list[Tensor]) -> OutcomeLogits:
        """The outcome's score from the encoder's maps. Raises ValueError where there is no branch."""
        return self._required_branch()(features)

    def judge(self, images: Images) -> OutcomeLogits:
        """The outcome's score of each image; nothing is decoded. Raises ValueError where there is no branch."""
        return self.told(self.body.features(images))

    def layer(self, name: str) -> nn.Module:
        """The level of the encoder of that name. Raises InputFault for another."""
        return list(self.body.encoder)[self._place(name)]

    def after(self, name: str, maps: Tensor) -> Judgement:
        """The outcome that a level's maps (n, C, h, w) lead to, for any n.

        Raises InputFault for a level that comes after one which the branch looks at: its maps alone do not tell.
        """
        branch = self._required_branch()
        place = self._place(name)
        finest = len(self.layer_names) + min(branch.taps)
        if place > finest:
            raise InputFault(
                f"{name}: the outcome is told from level{finest + 1} too, which lies before it; "
                f"name level{finest + 1} or one before it, or take maps by gradients, e.g. gradcam"
            )
        features = [maps]
        for level in list(self.body.encoder)[place + 1 :]:
            features.append(level(self.body.halved(features[-1])))
        return Judgement(branch(features))

    def _place(self, name: str) -> int:
        if name not in self.layer_names:
            raise InputFault(f"the network has no layer {name!r}; {did_you_mean(name, self.layer_names)}")
        return self.layer_names.index(name)

    def _required_branch(self) -> OutcomeBranch:
        if self.branch is None:
            raise ValueError("this network has no branch that tells an outcome")
        return self.branch
