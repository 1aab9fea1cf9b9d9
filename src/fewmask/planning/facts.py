"""Everything that a route is chosen by: the folders by role, the gap between two of them, and the means at hand."""

from dataclasses import dataclass
from typing import Literal

from fewmask.data.gap import LARGE, SMALL, Gap
from fewmask.planning.holdings import Holding
from fewmask.planning.labels import OutcomeSeen
from fewmask.planning.modality import names_a_contrast

Level = Literal["small", "medium", "large", "unseen"]
"""How wide the gap is; "unseen" is one that images alone do not show, between channels of other names."""

FEW_MASKS = 5
"""From so many outlined cases on, masks are taken for the better teacher than tags. A rule of thumb."""

FEW_EVENTS = 20
"""With fewer patients who have an outcome, a threshold that a fifth of them chooses wanders."""

FEW_PICTURES, FEW_VOLUMES = 10, 3
"""With fewer target images than these there is no look to learn. The smallest that were tried here are 74 and 7."""


@dataclass(frozen=True)
class Facts:
    """What the folders hold and what is at hand.

    `masks` is a labelled cohort without a domain, or the few masks of the target beside a `source`. `outcome` is what
    shall be told beside the masks. `hours` is the time at hand, None for as long as it takes.
    """

    masks: Holding | None = None
    source: Holding | None = None
    target: Holding | None = None
    tags: Holding | None = None
    gap: Gap | None = None
    outcome: OutcomeSeen | None = None
    cuda: bool = False
    hours: float | None = None
    small: bool = False
    notes: tuple[str, ...] = ()

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """The folders that were given, in the order in which they are told of."""
        return tuple(h for h in (self.source, self.masks, self.tags, self.target) if h is not None)

    @property
    def one_folder(self) -> bool:
        """Whether source and target are two channels of the same patients."""
        if self.source is None or self.target is None:
            return False
        return self.source.folder == self.target.folder

    @property
    def crosses(self) -> bool:
        """Whether source and target are images of another kind, by modality or by the channels' names."""
        if self.source is None or self.target is None:
            return False
        modalities = {self.source.modality, self.target.modality}
        if "unknown" not in modalities and len(modalities) > 1:
            return True
        names = [tuple(name.casefold() for name in one.channels) for one in (self.source, self.target)]
        return names[0] != names[1] and all(map(names_a_contrast, names))

    @property
    def level(self) -> Level:
        """How wide the gap between source and target is, by the gap meter."""
        if self.gap is None:
            return "small"
        known = max(self.gap.intensity, self.gap.texture)
        if known >= LARGE:
            return "large"
        if self.crosses:
            return "unseen"
        return "medium" if known >= SMALL else "small"

    @property
    def inverted(self) -> bool:
        """Whether the ground of one cohort's images is dark and that of the other's bright."""
        if self.source is None or self.target is None:
            return False
        return abs(self.source.ground - self.target.ground) > 0.4

    @property
    def target_is_tiny(self) -> bool:
        """Whether the target has too few training images to learn its look from."""
        if self.target is None:
            return False
        return self.target.train < (FEW_VOLUMES if self.target.volumes else FEW_PICTURES)
