"""One case on its way through a network: prepared slices there, and its own grid back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fewmask.data.case import Case
from fewmask.data.cut import neighbour_rows
from fewmask.data.geometry import Raster
from fewmask.data.orientation import as_it_lay, canonical
from fewmask.data.preparation import (
    Placement,
    Preparation,
    amid_air,
    assembled,
    fitted,
    naming,
    place_images,
    placement,
    replace_in_original,
    scaled,
    slices_of,
)
from fewmask.data.raster import read_case

SLICES_AT_ONCE = 8


@dataclass(frozen=True)
class PreparedCase:
    """A case's slices (N, C, H, W) in [-1, 1] on their own grid, and where they lie in the prepared square."""

    case: Case
    original: Raster
    preparation: Preparation
    place: Placement
    slices: np.ndarray

    @property
    def is_picture(self) -> bool:
        """Whether the case is one flat image, not a volume."""
        return self.original.dimensions == 2

    def chunks(self) -> Iterator[torch.Tensor]:
        """Network input (n, C, S, S), a few slices at a time, each with its neighbours as channels."""
        last = len(self.slices) - 1
        for start in range(0, last + 1, SLICES_AT_ONCE):
            rows = np.arange(start, min(start + SLICES_AT_ONCE, last + 1))
            seen = [
                self.slices[beside] for beside in neighbour_rows(rows, 0, last, self.preparation.neighbours)
            ]
            prepared = place_images(np.concatenate(seen, axis=1), self.place, self.preparation.size)
            # Training read the slices from a float16 store; the same rounding here keeps both paths equal.
            yield prepared.half().float()

    def inner(self, prepared: torch.Tensor) -> torch.Tensor:
        """The part of prepared slices (..., S, S) that is image and not padding."""
        rows = slice(self.place.top, self.place.top + self.place.height)
        return prepared[..., rows, self.place.left : self.place.left + self.place.width]

    def on_own_grid(self, prepared: torch.Tensor) -> torch.Tensor:
        """Prepared slices (n, K, S, S) on the slices' own grid (n, K, H, W)."""
        return replace_in_original(prepared, self.place)

    def masks_on_own_grid(self, masks: torch.Tensor) -> torch.Tensor:
        """Prepared masks (n, S, S) of one object on the slices' own grid: (n, 1, H, W), uint8, 1 where it is.

        They are brought there as numbers between 0 and 1, and the object is where more than half is left.
        """
        return (self.on_own_grid(masks[:, None].float()) > 0.5).to(torch.uint8)

    def as_it_lay(self, parts: Sequence[torch.Tensor]) -> np.ndarray:
        """Slices (n, K, H, W) on their own grid, put together in the axes of the file: (K, *spatial)."""
        volume = assembled(torch.cat(list(parts)).numpy(), self.preparation)
        return as_it_lay(volume, self.original)


def prepare_case(case: Case, preparation: Preparation) -> PreparedCase:
    """Read a case and prepare it as the run's training did. Raises InputFault where it is of another kind."""
    original = read_case(case)
    turned = canonical(original)
    with naming(case.images[0]):
        own = fitted(preparation, turned)
        values = scaled(turned, own)
    place = amid_air(placement(turned, own), values, own)
    return PreparedCase(case, original, own, place, slices_of(values, own))
