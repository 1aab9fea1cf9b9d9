"""Two classifiers from tags, of which one finds the telling part of the object and one the rest (AMR).

Qin et al. 2022: the spotlight branch gives a plain activation map, the compensation branch's gates weaken what is
extreme, and both maps are pulled together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor, nn

from fewmask.data.batch import Tagged
from fewmask.errors import InputFault
from fewmask.losses.classification import binary_cross_entropy
from fewmask.losses.tag_loss import balancing_weight, map_distance
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import SGD, AnyOptimiser, Method, Move, Player, Schedule
from fewmask.networks.evidence import at_rest, evidence_maps, of_the_strongest, slice_scores
from fewmask.networks.modulated_resnet import ModulatedPair
from fewmask.networks.resnet import ResNetConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, SoftMasks, Task


@dataclass(frozen=True)
class SpotlightTagsWeights(Weights):
    """Weights of both branches' own losses and of the distance of their maps. Qin et al. 2022."""

    spotlight: float | Ramp = 0.5
    compensation: float | Ramp = 0.5
    consistency: float | Ramp = 0.05


@dataclass(frozen=True)
class SpotlightTagsConfig:
    """Options of `SpotlightTags`.

    `spotlight_share` is the spotlight's part in the score and in the map, in [0, 1]. `balanced` gives the rarer kind
    of slice as much weight in all as the other has.
    """

    reads: ClassVar[Reads] = "tagged"

    kind: Literal["spotlight_tags"] = "spotlight_tags"
    network: ResNetConfig = ResNetConfig()
    spotlight_share: float = 0.5
    balanced: bool = True
    weights: SpotlightTagsWeights = SpotlightTagsWeights()
    optimiser: AnyOptimiser = SGD(rate=0.01, momentum=0.9, weight_decay=1e-4, schedule=Schedule("poly", 0.0))

    def __post_init__(self) -> None:
        if not 0.0 <= self.spotlight_share <= 1.0:
            raise InputFault(f"spotlight_share={self.spotlight_share:g}: must be from 0 to 1, e.g. 0.5")

    def build(self, task: Task, segmenter: nn.Module | None) -> "SpotlightTags":
        """The method with fresh networks."""
        return SpotlightTags(self, task)


class SpotlightTags(Method):
    """Two branches, one player; they give a score for a slice, and a map of the object.

    Qin et al. 2022 (AMR). Differs:
    - Both branches learn at once. The authors' code trains the spotlight first and then detaches all that it says, so
      that its own loss teaches nothing. What is kept of this: the consistency does not reach the spotlight's features.
    - One rate and a momentum of 0.9. The code has no momentum (its weight decay stands in its place), ten times the
      rate for the compensation's trunk, which comes to the same, and a tenth for the last layers.
    - Norms learn from the batch unless ImageNet weights are given; then, as in the code, their statistics are frozen.
      The code's first convolution and first stage are frozen as well; here they learn.
    - The map is the mean of both branches' maps in one look. The released inference climbs adversarially first
      (AdvCAM, at 7 scales) and lets the map walk at random afterwards (IRN): neither is kept.
    - Both kinds of slice are balanced; slices are stretched to [0, 1], as for every classifier from tags.
    """

    draws_masks: bool = False

    def __init__(self, config: SpotlightTagsConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.spotlight_share = config.spotlight_share
        self.positive_weight = balancing_weight(task.prevalence) if config.balanced else 1.0
        if self.positive_weight != 1.0:
            self.remarks = (
                f"a slice that shows it weighs {self.positive_weight:.3g} times one that does not",
            )
        self.branches = ModulatedPair(task.channels, config.network)
        self.players = (Player("branches", self.branches, config.optimiser),)

    def training_step(self, batch: Tagged, progress: float) -> Iterator[Move]:
        """One turn: both branches learn the batch's tags, and the compensation's map is pulled to the spotlight's."""

        @cache
        def spotlight_features() -> Tensor:
            return self.branches.spotlight.trunk(batch.images)

        @cache
        def compensation_scores() -> Tensor:
            return self.branches.compensation(batch.images)

        def tag_loss(scores: Tensor) -> Tensor:
            return binary_cross_entropy(slice_scores(scores), batch.tags, self.positive_weight)

        head = self.branches.spotlight.head
        yield self.weights.weigh(
            "branches",
            progress,
            spotlight=lambda: tag_loss(head(spotlight_features())),
            compensation=lambda: tag_loss(compensation_scores()),
            consistency=lambda: map_distance(head(spotlight_features().detach()), compensation_scores()),
        )

    def judge(self, images: Images) -> OutcomeLogits:
        """The score of each slice, both branches' together: positive where it shows the object."""
        spotlight, compensation = self.branches.spotlight(images), self.branches.compensation(images)
        return slice_scores(self._mixed(spotlight, compensation))

    def validate_judge(self, images: Images, masks: Masks | None) -> OutcomeLogits:
        """The same; masks are not looked at."""
        return self.judge(images)

    def own_maps(self, images: Images) -> SoftMasks:
        """Where the object is: both branches' maps, each as a share of its strongest place, together.

        Their mean is again taken as a share of its strongest place. Whether the slice shows the object at all, `judge`
        says. Made at rest and without gradients.
        """
        rows, columns = images.shape[-2:]
        with at_rest(self):
            spotlight = evidence_maps(self.branches.spotlight(images), rows, columns)
            compensation = evidence_maps(self.branches.compensation(images), rows, columns)
            return of_the_strongest(self._mixed(spotlight, compensation))

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `resnet50`; how many tensors each branch took. Raises InputFault."""
        return self.branches.load_imagenet(path)

    def segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        raise InputFault("this stage learns tags and draws no masks; give a run whose last stage segments")

    def validate_segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        return self.segment(images)

    def _mixed(self, spotlight: Tensor, compensation: Tensor) -> Tensor:
        return self.spotlight_share * spotlight + (1.0 - self.spotlight_share) * compensation
