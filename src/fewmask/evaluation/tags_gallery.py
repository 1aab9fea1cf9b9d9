"""From a tag to a mask in pictures: slice by slice the maps, their fusion, the seeds, and the label grown from them."""

import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.case import Case
from fewmask.data.folder import PROBABILITIES
from fewmask.data.geometry import Raster
from fewmask.data.orientation import canonical
from fewmask.data.preparation import Placement, Preparation, slices_of
from fewmask.data.prepared_case import PreparedCase, prepare_case
from fewmask.data.pseudo_cohort import FOLDER, FUSED, MAPS, SOFT
from fewmask.data.raster import read_label_values
from fewmask.data.slice_tags import file_slices
from fewmask.data.survey import HIGH, LOW
from fewmask.data.volume import read_volume
from fewmask.errors import InputFault
from fewmask.evaluation.case_pictures import data_uri, outline_path
from fewmask.evaluation.tags_record import AuditedSlice, PseudoLabelled, SliceSeeds

MOST, MIDDLE, LEAST = 6, 3, 3
"""So many of the most doubtful slices are shown, of those around the line, and of the least doubtful."""

LONGEST_SIDE = 192
"""Pixels of a picture's longest side: about nine stand beside each other."""

UNITS = 640
"""The longest side of a picture in the units of what is drawn on it."""

HEAT = "inferno"
"""The colours of a map."""

_STRONGEST = 0.75
"""How much of the image a map of 1 covers."""


@dataclass(frozen=True)
class SeedMarks:
    """Where a slice's seeds lie, as (across, down) in the picture's units.

    `corners` are the background's four: top left, top right, bottom right, bottom left. `beyond` says that some lie
    in the padding around the image, where they cannot be drawn.
    """

    centre: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    beyond: bool


@dataclass(frozen=True)
class Plate:
    """One slice in pictures (data URIs): the image, and the maps, their fusion and the soft label laid over it.

    `outline` is the rim of the pseudo-mask, "" where it is empty. `width` and `height` are in units of the drawings.
    """

    width: int
    height: int
    image: str
    maps: tuple[str, ...]
    fused: str
    soft: str
    outline: str
    seeds: SeedMarks | None


@dataclass(frozen=True)
class ShownSlice:
    """A slice on the page; `plate` is None where a file is missing or damaged."""

    audited: AuditedSlice
    plate: Plate | None


@dataclass(frozen=True)
class DoubtShelf:
    """The most doubtful slices, those around the line, or the least doubtful."""

    title: str
    slices: tuple[ShownSlice, ...]


def doubt_shelves(made: PseudoLabelled, preparation: Preparation) -> tuple[DoubtShelf, ...]:
    """Draw the chosen slices of a stage's pseudo-labels, reading one case at a time."""
    shelves = chosen_slices(made.audit)
    wanted = [one for _, slices in shelves for one in slices]
    plates: dict[tuple[str, int], Plate | None] = {}
    for case in dict.fromkeys(one.case for one in wanted):
        plates |= _plates_of(case, [one.number for one in wanted if one.case == case], made, preparation)
    return tuple(
        DoubtShelf(title, tuple(ShownSlice(one, plates[one.case, one.number]) for one in slices))
        for title, slices in shelves
    )


def chosen_slices(audit: Sequence[AuditedSlice]) -> list[tuple[str, list[AuditedSlice]]]:
    """Which slices to show, of those that are tagged as showing the object; no slice twice, and no empty shelf.

    Among equally doubtful ones every case has its turn, so that one bad case does not fill the shelf.
    """
    seen: Counter[tuple[float, str]] = Counter()
    turns: list[tuple[float, int, str, AuditedSlice]] = []
    for one in sorted(audit, key=lambda one: (one.case, one.number)):
        if one.positive:
            turns.append((-one.doubt, seen[one.doubt, one.case], one.case, one))
            seen[one.doubt, one.case] += 1
    ranked = [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])]
    if len(ranked) <= MOST + MIDDLE + LEAST:
        return (
            [("Every slice that is tagged as showing it, the most doubtful first", ranked)] if ranked else []
        )
    most, least = ranked[:MOST], ranked[: -LEAST - 1 : -1]
    line = next((place for place, one in enumerate(ranked) if one.decision == "accept"), 0)
    around = ranked[max(0, line - 2) : line + 1] if line else []
    middle = [one for one in around if one not in most and one not in least]
    shelves = [
        ("The most doubtful", most),
        ("Around the line between review and accept", middle),
        ("The least doubtful", least),
    ]
    return [(title, slices) for title, slices in shelves if slices]


def _plates_of(
    case: str, numbers: Sequence[int], made: PseudoLabelled, preparation: Preparation
) -> dict[tuple[str, int], Plate | None]:
    """The plates of a case's slices; None for each where a file of the case cannot be read."""
    try:
        files = _Files.read(case, made.folder, preparation)
        return {(case, number): files.plate(number, made.seeds.get((case, number))) for number in numbers}
    except (InputFault, OSError, KeyError, ValueError, zipfile.BadZipFile):
        return {(case, number): None for number in numbers}


@dataclass(frozen=True)
class _Files:
    """What was made of one case, as slices on their own grid: maps (N, M, H, W), the others (N, H, W)."""

    prepared: PreparedCase
    maps: NDArray[np.floating]
    fused: NDArray[np.floating]
    soft: NDArray[np.floating]
    mask: NDArray[np.bool_]

    @classmethod
    def read(cls, case: str, folder: Path, preparation: Preparation) -> "_Files":
        """Raises InputFault, OSError, KeyError or ValueError where a file is missing or damaged."""
        ending = ".png" if preparation.slice_axis is None else ".nii.gz"
        names = (
            folder / FOLDER / "imagesTr" / f"{case}_{index:04d}{ending}"
            for index in range(preparation.channels)
        )
        prepared = prepare_case(Case(case, tuple(names)), preparation)
        values = read_label_values(folder / FOLDER / "labelsTr" / f"{case}{ending}").array
        return cls(
            prepared,
            as_slices(_probabilities(folder / MAPS, case), prepared),
            as_slices(_probabilities(folder / FUSED, case), prepared)[:, 0],
            as_slices(_probabilities(folder / SOFT, case), prepared)[:, 0],
            as_slices(values, prepared)[:, 0] == 1,
        )

    def plate(self, number: int, seeds: SliceSeeds | None) -> Plate:
        """One slice, a volume's with the head or the face up and the patient's right on the left."""
        turned = not self.prepared.is_picture
        at = file_slices(self.prepared.original, self.prepared.preparation).index(number)
        place = self.prepared.place
        unit = UNITS / max(place.height, place.width)
        height, width = round(place.height * unit), round(place.width * unit)
        image = eight_bit(upright(self.prepared.slices[at], turned))
        layers = [upright(layer, turned) for layer in (*self.maps[at], self.fused[at], self.soft[at])]
        *maps, fused, soft = (
            data_uri(Image.fromarray(laid_over(image, layer)), LONGEST_SIDE) for layer in layers
        )
        mask = upright(self.mask[at], turned)
        return Plate(
            width=width,
            height=height,
            image=data_uri(Image.fromarray(image), LONGEST_SIDE),
            maps=tuple(maps),
            fused=fused,
            soft=soft,
            outline=outline_path(mask, (height / mask.shape[0], width / mask.shape[1])),
            seeds=None if seeds is None else _marks(seeds, place, unit, turned),
        )


def _probabilities(folder: Path, case: str) -> NDArray[np.floating]:
    """Maps (K, *spatial) as `write_probabilities` left them: the file of a picture, or that of a volume."""
    if (folder / f"{case}.npz").exists():
        with np.load(folder / f"{case}.npz") as content:
            return np.asarray(content["probabilities"], dtype=np.float32)
    names = [folder / f"{case}{PROBABILITIES}{ending}" for ending in (".nii.gz", ".nii")]
    return read_volume(next((path for path in names if path.exists()), names[0])).array


def as_slices(values: NDArray[Any], prepared: PreparedCase) -> NDArray[Any]:
    """(K, *spatial) in the axes of the file as slices (N, K, H, W), in the order of the prepared ones."""
    original = prepared.original
    raster = canonical(Raster(values, original.spacing, original.unit, original.affine))
    slices = slices_of(raster.array, prepared.preparation)
    if slices.shape[2:] != prepared.slices.shape[2:] or len(slices) != len(prepared.slices):
        raise ValueError(f"maps of {slices.shape} beside slices of {prepared.slices.shape}")
    return slices


def upright(layer: NDArray[Any], turned: bool) -> NDArray[Any]:
    """(..., H, W) as a person looks at it: prepared slices of a volume lie upside down."""
    return layer[..., ::-1, ::-1] if turned else layer


def eight_bit(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of an image (C, H, W), stretched between two percentiles; grey unless it has three channels."""
    kept = image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)
    low, high = np.percentile(kept, (LOW, HIGH))
    grey = np.clip((kept - low) / max(float(high - low), 1e-6), 0.0, 1.0) * 255.0
    return np.ascontiguousarray(np.rint(grey).astype(np.uint8).transpose(1, 2, 0))


def laid_over(image: NDArray[np.uint8], layer: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image (H, W, 3) with a map (H, W) in [0, 1] laid over it as colours; where that is 0 the image shows."""
    values = np.clip(layer, 0.0, 1.0).astype(np.float32)
    colours = np.asarray(matplotlib.colormaps[HEAT](values), dtype=np.float32)[..., :3] * 255.0
    # The root lets weak parts of a map be seen at all.
    cover = _STRONGEST * np.sqrt(values)[..., None]
    return np.rint((1.0 - cover) * image + cover * colours).astype(np.uint8)


def heat_stops(many: int = 9) -> tuple[str, ...]:
    """The colours of a map's values from 0 to 1 in even steps, as CSS colours."""
    colours = matplotlib.colormaps[HEAT](np.linspace(0.0, 1.0, many), bytes=True)
    return tuple("#{:02x}{:02x}{:02x}".format(*colour[:3]) for colour in colours.tolist())


def _marks(seeds: SliceSeeds, place: Placement, unit: float, turned: bool) -> SeedMarks:
    """The seeds from pixels of the prepared square to the picture's units; a seed lies in the middle of its pixel."""

    def drawn(row: int, column: int) -> tuple[float, float]:
        down, across = (row + 0.5 - place.top) / place.height, (column + 0.5 - place.left) / place.width
        return (1.0 - across, 1.0 - down) if turned else (across, down)

    top, left, bottom, right = seeds.box
    rows, columns = ((bottom, top), (right, left)) if turned else ((top, bottom), (left, right))
    order = ((rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0]))
    corners = [drawn(*corner) for corner in order]
    centre = drawn(seeds.row, seeds.column)
    beyond = any(not 0.0 <= share <= 1.0 for point in (centre, *corners) for share in point)
    return SeedMarks(
        _in_units(centre, place, unit), tuple(_in_units(p, place, unit) for p in corners), beyond
    )


def _in_units(point: Iterable[float], place: Placement, unit: float) -> tuple[int, int]:
    across, down = point
    return round(across * place.width * unit), round(down * place.height * unit)
