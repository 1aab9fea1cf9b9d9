"""A segmenter that learns from soft pseudo-labels: an activation map, and the label that was grown from its seeds.

Fu et al. 2023 (UM-CAM), Sec. 2.2 and Eq. 8; with `views=2` the random-view consensus of Fu et al. 2025. Our copy of the
paper has lost the weight decay and names no schedule: both are those of its published code. The momentum is the paper's
0.9; its code has 0.99.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.data.batch import SoftlyLabelled
from fewmask.errors import InputFault
from fewmask.losses.soft_labels import agreement, consensus, soft_cross_entropy
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import SGD, AnyOptimiser, Method, Move, Player, Schedule
from fewmask.networks.umcam_unet import LeakyUNet, LeakyUNetConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, SoftMasks, Task

SCALES = (0.5, 0.75, 1.0, 1.5)
QUARTER_TURNS = (1, 2)
OUTSIDE = -1.0
"""What a view shows beyond the image's border: the darkest value, as in `fewmask.data.augment`."""

RISING_CONSENSUS = Ramp(0.1, 0.1, 1.0)
"""The paper's weight of the consensus: 0 up to epoch 20 of 200, 0.1 at the last."""


@dataclass(frozen=True)
class SoftMasksWeights(Weights):
    """Weights of the segmenter's terms: the map, the label grown from its seeds, and the consensus of two views.

    The defaults are lambda = 0.1 on the map's side, see `weights_of`.
    """

    map: float | Ramp = 0.1
    seed_label: float | Ramp = 0.9
    consensus: float | Ramp = 0.0


def weights_of(
    lambda_: float, reading: Literal["map", "seed_label"], consensus: float | Ramp = 0.0
) -> SoftMasksWeights:
    """The weights for the paper's lambda, in [0, 1]: `reading` is the term that has it, the other has the rest.

    Fu et al. 2023, Eq. 8, of which our copy of the paper has lost the formula: either may be meant.

    >>> weights_of(0.25, "seed_label")
    SoftMasksWeights(map=0.75, seed_label=0.25, consensus=0.0)
    """
    if not 0.0 <= lambda_ <= 1.0:
        raise InputFault(f"lambda={lambda_:g}: it shares out two labels; it must be from 0 to 1, e.g. 0.1")
    if reading == "map":
        return SoftMasksWeights(lambda_, 1.0 - lambda_, consensus)
    return SoftMasksWeights(1.0 - lambda_, lambda_, consensus)


@dataclass(frozen=True)
class SoftMasksConfig:
    """Options of `SoftlySupervised`.

    `views` is how often each batch is looked at: once as it is, or twice in random views. `agreement_weighted` lets a
    pixel count less on which the two views disagree.
    """

    reads: ClassVar[Reads] = "soft"

    kind: Literal["soft_masks"] = "soft_masks"
    network: LeakyUNetConfig = LeakyUNetConfig()
    weights: SoftMasksWeights = SoftMasksWeights()
    views: Literal[1, 2] = 1
    agreement_weighted: bool = False
    optimiser: AnyOptimiser = SGD(rate=0.01, weight_decay=5e-4, schedule=Schedule("poly", 0.0))

    def __post_init__(self) -> None:
        if self.views == 1 and self.agreement_weighted:
            raise InputFault("agreement_weighted: one view has none to agree with; set views=2 as well")
        consensus = self.weights.consensus
        peak = consensus.peak if isinstance(consensus, Ramp) else consensus
        if self.views == 1 and peak != 0.0:
            raise InputFault(
                "weights.consensus: one view has none to agree with; set views=2, or weights.consensus=0"
            )

    def build(self, task: Task, segmenter: nn.Module | None) -> "SoftlySupervised":
        """The method with a fresh network. Raises InputFault for a task of other than two classes."""
        return SoftlySupervised(self, task)


class SoftlySupervised(Method):
    """One network, one player."""

    def __init__(self, config: SoftMasksConfig, task: Task) -> None:
        super().__init__(task)
        if len(task.classes) != 2:
            raise InputFault(
                f"pseudo-labels tell one object from the background, not {len(task.classes)} classes; "
                "train with one tag at a time"
            )
        self.weights = config.weights
        self.views = config.views
        self.agreement_weighted = config.agreement_weighted
        network = LeakyUNet(task.channels, len(task.classes), config.network)
        self.divisor = network.divisor
        self.segmenter: nn.Module = network
        self.players = (Player("segmenter", self.segmenter, config.optimiser),)

    def training_step(self, batch: SoftlyLabelled, progress: float) -> Iterator[Move]:
        """One turn: the segmenter learns both labels, in one look or in two that shall agree."""
        looks = self._looks(batch.images)
        seen = agreement(looks[0], looks[-1]) if self.agreement_weighted else None
        yield self.weights.weigh(
            "segmenter",
            progress,
            map=lambda: mean_surprise(looks, batch.maps, seen),
            seed_label=lambda: mean_surprise(looks, batch.labels, seen),
            consensus=lambda: consensus(looks[0], looks[-1]),
        )

    def segment(self, images: Images) -> Logits:
        """Class scores of the U-Net, in one look at the images as they are."""
        return self.segmenter(images)

    def validate_segment(self, images: Images) -> Logits:
        """The same: training and segmentation share one domain."""
        return self.segmenter(images)

    def _looks(self, images: Images) -> list[Logits]:
        """Class scores in the images' own frame, from each look."""
        if self.views == 1:
            return [self.segmenter(images)]
        return [look(self.segmenter, images, draw_view(), self.divisor) for _ in range(self.views)]


class View(NamedTuple):
    """A way to look at a batch: `scale` times as large, or turned counter-clockwise by quarter turns."""

    scale: float = 1.0
    quarter_turns: int = 0


def draw_view() -> View:
    """A view at random, rescaled or turned with equal chance, from torch's global generator.

    Fu et al. 2025 (random-view consensus). Differs: how often its code draws either kind is not known here.
    """
    if _drawn(2) == 0:
        return View(scale=SCALES[_drawn(len(SCALES))])
    return View(quarter_turns=QUARTER_TURNS[_drawn(len(QUARTER_TURNS))])


def look(segmenter: nn.Module, images: Images, view: View, divisor: int) -> Logits:
    """Class scores from a view of the images, brought back to where the images' own pixels are.

    Pixels are repeated or left out, never mixed. A view whose sides are no multiples of `divisor` is extended by dark
    rows and columns, whose scores are dropped: so the scale is exact at every size.
    """
    turned = images.rot90(view.quarter_turns, (2, 3))
    viewed = _resized(turned, [round(side * view.scale) for side in turned.shape[-2:]])
    rows, columns = viewed.shape[-2:]
    extended = functional.pad(viewed, (0, -columns % divisor, 0, -rows % divisor), value=OUTSIDE)
    logits = segmenter(extended)[..., :rows, :columns]
    return _resized(logits, turned.shape[-2:]).rot90(-view.quarter_turns, (2, 3))


def mean_surprise(looks: Sequence[Logits], labels: SoftMasks, seen: Tensor | None) -> Tensor:
    """The soft cross-entropy of each look's class scores, and of these the mean."""
    return torch.stack([soft_cross_entropy(logits, labels, seen) for logits in looks]).mean()


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Each pixel is the nearest old one, centre to centre: then enlarging by 1.5 and going back changes nothing.

    torch's plain "nearest" compares corners, and would come back with every third pixel in its neighbour's place.
    """
    return functional.interpolate(maps, size=list(size), mode="nearest-exact")


def _drawn(count: int) -> int:
    return int(torch.randint(count, ()))
