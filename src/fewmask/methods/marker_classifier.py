"""A prognosis the long way round: outline the organ, measure it as a clinician would, and tell the outcome from that.

The comparator of Wlodarczyk et al. 2020, Table 3 (their paper of 2019): cervical length and angle from a U-Net's masks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fewmask.data.batch import Diagnosed
from fewmask.errors import InputFault
from fewmask.losses.classification import binary_cross_entropy
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import AnyOptimiser, CoupledAdam, Method, Move, Player, Segmentation
from fewmask.metrics.markers import NAMES, markers_of
from fewmask.networks.norm import NormOfMeans
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, Task


@dataclass(frozen=True)
class MarkerWeights(Weights):
    """The weight of the classifier's one term."""

    cross_entropy: float | Ramp = 1.0


@dataclass(frozen=True)
class MarkersConfig:
    """Options of `MarkerClassifier`. With `balance` the rarer outcome's images are drawn as often as the others."""

    reads: ClassVar[Reads] = "outcomes"

    kind: Literal["markers"] = "markers"
    balance: bool = True
    weights: MarkerWeights = MarkerWeights()
    optimiser: AnyOptimiser = CoupledAdam(rate=1e-2, weight_decay=1e-3)

    def build(self, task: Task, segmenter: nn.Module | None) -> "MarkerClassifier":
        """The method with a fresh classifier behind a trained segmenter."""
        if segmenter is None:
            raise InputFault(
                "recipe: markers needs `segmenter:`, the name of an earlier stage that trains one"
            )
        return MarkerClassifier(self, task, segmenter)


class MarkerClassifier(Method):
    """A logistic regression on `Markers` of the first class's mask, each standardised, and on whether there is a mask.

    Measures are in pixels of the prepared image. An image without a mask has the mean of every measure.
    """

    def __init__(self, config: MarkersConfig, task: Task, segmenter: nn.Module) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.segmenter = segmenter.eval().requires_grad_(False)
        self.standardise = NormOfMeans(len(NAMES) + 1)
        self.regression = nn.Linear(len(NAMES) + 1, 1)
        classifier = nn.ModuleList([self.standardise, self.regression])
        self.players = (Player("classifier", classifier, config.optimiser),)

    def train(self, mode: bool = True) -> "MarkerClassifier":
        """Training mode for the classifier only: the segmenter stays frozen, its batch norms too."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def training_step(self, batch: Diagnosed, progress: float) -> Iterator[Move]:
        """One turn: the classifier learns the batch's outcomes from the masks that the segmenter draws."""
        scores = self._told(self.segment(batch.images))
        yield self.weights.weigh(
            "classifier", progress, cross_entropy=lambda: binary_cross_entropy(scores, batch.outcomes)
        )

    @torch.no_grad()
    def segment(self, images: Images) -> Logits:
        """Class scores of the frozen segmenter."""
        return self.segmenter(images).logits

    def segment_with_translation(self, images: Images) -> Segmentation:
        """Both answers from one pass of the segmenter."""
        logits = self.segment(images)
        return Segmentation(logits, None, self._told(logits))

    def validate_segment(self, images: Images) -> Logits:
        """The same: training and segmentation share one domain."""
        return self.segment(images)

    def judge(self, images: Images) -> OutcomeLogits:
        """The outcome's score of each image."""
        return self._told(self.segment(images))

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits:
        """The same; masks are not looked at."""
        return self.judge(images)

    def _told(self, logits: Logits) -> OutcomeLogits:
        measures = self._measured(logits)[..., None, None]
        return self.regression(self.standardise(measures)[..., 0, 0])[:, 0]

    def _measured(self, logits: Logits) -> Tensor:
        """The measures (B, n + 1) of the first class's mask; the last is 1 where there is one."""
        found = [markers_of(mask, None) for mask in (logits.argmax(1) == 1).cpu().numpy()]
        rows = np.full((len(found), len(NAMES) + 1), np.nan)
        for row, markers in zip(rows, found, strict=True):
            row[-1] = markers is not None
            if markers is not None:
                row[:-1] = markers.as_row()
        values = torch.from_numpy(rows).to(logits.device, torch.float32)
        known = torch.where(values.isnan(), self._usual(), values)
        # A mask hides what its scores were: where they are not finite, the loss shall not be either.
        return torch.where(logits.isfinite().flatten(1).all(1)[:, None], known, torch.nan)

    def _usual(self) -> Tensor:
        """What each measure was on average so far."""
        assert self.standardise.running_mean is not None
        return self.standardise.running_mean
