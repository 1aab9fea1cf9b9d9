"""Prepared slices on disk: built once, found again by what they hold, mapped into memory only a batch at a time."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fewmask.data.case import Case, Cohort
from fewmask.data.cut import neighbour_rows
from fewmask.data.growing_array import GrowingArray
from fewmask.data.orientation import canonical
from fewmask.data.preparation import (
    Placement,
    Preparation,
    amid_air,
    fitted,
    naming,
    place_images,
    place_masks,
    placement,
    scaled,
    slices_of,
)
from fewmask.data.raster import Raster, read_case, read_classes
from fewmask.data.survey import Look
from fewmask.shapes import IGNORED


@dataclass(frozen=True)
class SliceStore:
    """A folder with `images.npy` (N, C, S, S) float16 and, where labelled, `masks.npy` (N, S, S) uint8.

    `cases` are in the order of their rows; `first_row` is where each begins, `frames` the part of the square that
    each fills (top, left, height, width), the rest being padding. Without frames all of the square counts.
    Slices are stored once each; `neighbours` of them are put together as channels when they are read.
    """

    folder: Path
    cases: tuple[str, ...]
    first_row: tuple[int, ...]
    frames: tuple[tuple[int, int, int, int], ...] = ()
    neighbours: int = 1

    def frame(self, case: str) -> tuple[slice, slice]:
        """The rows and columns of the square that a case's own pixels fill."""
        if not self.frames:
            return slice(None), slice(None)
        top, left, height, width = self._frame_of[case]
        return slice(top, top + height), slice(left, left + width)

    @cached_property
    def _frame_of(self) -> dict[str, tuple[int, int, int, int]]:
        return dict(zip(self.cases, self.frames, strict=True))

    def rows_of(self, names: Sequence[str]) -> np.ndarray:
        """The rows of these cases, in the store's order."""
        wanted = set(names)
        spans = zip(self.cases, self.first_row, self._stop_row, strict=True)
        kept = [np.arange(start, stop) for name, start, stop in spans if name in wanted]
        return np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)

    def cases_at(self, rows: np.ndarray) -> list[str]:
        """The case that each row belongs to."""
        places = np.searchsorted(self.first_row, rows, side="right") - 1
        return [self.cases[place] for place in places]

    @property
    def row_count(self) -> int:
        """How many slices are stored."""
        return self._map("images").shape[0]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, S, S) of an image as it is read."""
        channels, *sides = self._map("images").shape[1:]
        return channels * self.neighbours, *sides

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Images (N, C, S, S), float32 in [-1, 1]; C holds all channels of a slice's neighbours, in their order."""
        stored = self._map("images")
        if self.neighbours == 1:
            return stored[rows].astype(np.float32)
        places = np.searchsorted(self.first_row, rows, side="right") - 1
        first, last = np.asarray(self.first_row)[places], np.asarray(self._stop_row)[places] - 1
        seen = [stored[beside] for beside in neighbour_rows(rows, first, last, self.neighbours)]
        return np.concatenate(seen, axis=1).astype(np.float32)

    def masks(self, rows: np.ndarray) -> np.ndarray:
        """Masks (N, S, S), int64 classes."""
        return self._map("masks")[rows].astype(np.int64)

    @cached_property
    def _stop_row(self) -> tuple[int, ...]:
        return (*self.first_row[1:], self.row_count)

    def _map(self, name: str) -> np.ndarray:
        # The map is opened anew for each batch and dropped with it: pages of a lasting map would count as this
        # process's memory until all of the data set is in it.
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def stored_bytes(looks: Sequence[Look], preparation: Preparation) -> int:
    """What a store of these cases takes on disk."""
    slices = sum(
        1 if preparation.slice_axis is None else look.shape[preparation.slice_axis] for look in looks
    )
    return slices * preparation.size**2 * (2 * preparation.channels + 1)


def cache_root(chosen: Path | None) -> Path:
    """Where stores lie: `--cache`, else $FEWMASK_CACHE, else ~/.cache/fewmask."""
    return chosen or Path(os.environ.get("FEWMASK_CACHE") or Path.home() / ".cache" / "fewmask")


def open_store(
    folder: Path,
    cohort: Cohort,
    cases: Sequence[Case],
    preparation: Preparation,
    *,
    labelled: bool,
    stored: Callable[[], None],
) -> SliceStore:
    """The store of these cases, built now if `folder`, named after their `content_key`, is not there yet.

    `stored` is called after each case. Of a labelled store's case without a mask every pixel is ignored.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not _whole(folder):
            _forget_abandoned(folder.parent)
            with building(folder) as temporary:
                _build(temporary, cohort, cases, preparation, labelled, stored)
    return load_store(folder)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Wait for other runs that build the same store; theirs is then ours."""
    with (folder.parent / f".{folder.name}.lock").open("w") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def building(folder: Path) -> Generator[Path]:
    """A temporary folder that takes the place of `folder` when all went well, and is removed otherwise."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        yield temporary
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _forget_abandoned(cache: Path) -> None:
    """Remove half-built stores that a killed process left a day or longer ago."""
    for abandoned in cache.glob(".building-*"):
        if time.time() - abandoned.stat().st_mtime > 86_400:
            shutil.rmtree(abandoned, ignore_errors=True)


def _whole(folder: Path) -> bool:
    """Whether a store is there and undamaged, as far as its index and the length of its files tell."""
    try:
        json.loads((folder / "index.json").read_text(encoding="utf-8"))
        for path in folder.glob("*.npy"):
            np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return False
    return True


def load_store(folder: Path) -> SliceStore:
    """A store that was built before."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    frames = tuple(tuple(frame) for frame in index.get("frames", ()))
    return SliceStore(folder, tuple(index["cases"]), tuple(index["first_row"]), frames)


Redraw = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Takes images (N, C, S, S) in [-1, 1], the number of each one's case and that of its copy, and gives images."""


def derive_store(
    folder: Path,
    origin: SliceStore,
    redraw: Redraw,
    stored: Callable[[], None],
    copies: int = 1,
    at_once: int = 8,
) -> SliceStore:
    """A store of the same cases and masks with other images, built in `folder` if it is not there yet.

    Each case is there `copies` times, one whole copy after the other, under its one name. `redraw` is given `at_once`
    slices or fewer at a time; `stored` is called after each such part.
    """
    if _whole(folder):
        return load_store(folder)
    rows, cases, numbers = _copied_rows(origin, copies)
    with building(folder) as temporary:
        images = GrowingArray(temporary / "images.npy", np.float16, origin.image_shape)
        masks = GrowingArray(temporary / "masks.npy", np.uint8, origin.image_shape[1:])
        with images, masks:
            for start in range(0, len(rows), at_once):
                part = slice(start, start + at_once)
                images.append(redraw(origin.images(rows[part]), cases[part], numbers[part]))
                masks.append(origin.masks(rows[part]))
                stored()
        index = json.loads((origin.folder / "index.json").read_text(encoding="utf-8"))
        index["first_row"] = [copies * row for row in origin.first_row]
        (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return load_store(folder)


def _copied_rows(origin: SliceStore, copies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row of a store with copies: the row that it shows, the number of its case and that of its copy."""
    rows: list[np.ndarray] = []
    cases: list[np.ndarray] = []
    for number, name in enumerate(origin.cases):
        own = origin.rows_of([name])
        rows += [own] * copies
        cases.append(np.full(copies * len(own), number))
    copy_of = [np.full(len(own), place % copies) for place, own in enumerate(rows)]
    return np.concatenate(rows), np.concatenate(cases), np.concatenate(copy_of)


def _build(
    folder: Path,
    cohort: Cohort,
    cases: Sequence[Case],
    preparation: Preparation,
    labelled: bool,
    stored: Callable[[], None],
) -> None:
    first_row: list[int] = []
    frames: list[tuple[int, int, int, int]] = []
    row = 0
    images = GrowingArray(folder / "images.npy", np.float16, (preparation.channels, *[preparation.size] * 2))
    masks = GrowingArray(folder / "masks.npy", np.uint8, (preparation.size, preparation.size))
    with images, masks:
        for case in cases:
            first_row.append(row)
            raster = read_case(case)
            classes = _classes(cohort, case, raster) if labelled and case.mask else None
            turned = canonical(raster)
            with naming(case.images[0]):
                own = fitted(preparation, turned)
                slices = slices_of(scaled(turned, own), own)
            place = amid_air(placement(turned, own), slices, own)
            frames.append((place.top, place.left, place.height, place.width))
            for chunk_images, chunk_masks in _prepared(slices, classes, own, place):
                images.append(chunk_images)
                if labelled:
                    masks.append(chunk_masks)
                row += len(chunk_images)
            stored()
    if not labelled:
        (folder / "masks.npy").unlink()
    index = {"cases": [case.name for case in cases], "first_row": first_row, "frames": frames}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _classes(cohort: Cohort, case: Case, raster: Raster) -> Raster:
    return Raster(read_classes(cohort, case)[None], raster.spacing, raster.unit, raster.affine)


def _prepared(
    slices: np.ndarray, classes: Raster | None, preparation: Preparation, place: Placement
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Prepared slices of one case, 32 at a time; without classes every pixel of their masks is ignored."""
    labels = slices_of(canonical(classes).array, preparation)[:, 0] if classes is not None else None
    for start in range(0, len(slices), 32):
        chunk = slice(start, start + 32)
        images = place_images(slices[chunk], place, preparation.size).numpy().astype(np.float16)
        if labels is None:
            masks = np.full((len(images), *images.shape[2:]), IGNORED, np.uint8)
        else:
            masks = place_masks(labels[chunk], place, preparation.size).numpy()
        yield images, masks
