"""Masks for images, each in its image's own size, spacing, orientation and file type."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewmask.console import Progress, silent
from fewmask.data.case import Case
from fewmask.data.layouts import read_cohort
from fewmask.data.orientation import as_it_lay, canonical
from fewmask.data.preparation import (
    assembled,
    fitted,
    place_images,
    placement,
    replace_in_original,
    scaled,
    slices_of,
)
from fewmask.data.raster import read_case, write_classes, write_probabilities
from fewmask.errors import InputFault
from fewmask.evaluation.trained import Trained, Which, load_trained, probabilities_of
from fewmask.files import write_json

SLICES_AT_ONCE = 8

MANIFEST = "predictions.json"
"""Beside the masks: which image each was made from, and by which checkpoint."""


@dataclass(frozen=True)
class Segmented:
    """What `segment` wrote: the mask of each case."""

    folder: Path
    masks: tuple[Path, ...]


def segment(
    run: Path,
    images: Path,
    out: Path,
    *,
    which: Which = "chosen",
    with_probabilities: bool = False,
    channel: str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Segmented:
    """Segment an image, a folder of images, or a dataset folder (its test part where it has one).

    Mask files hold class numbers 0..K-1, as nnU-Net's do, whatever values the training masks had.
    Raises InputFault for unreadable images or a run without a checkpoint; masks that are finished by then stay.
    """
    trained = load_trained(run, which, device)
    cases = cases_to_segment(images, trained, channel)
    _require_own_folder(out, cases)
    # Masks of an earlier run must not stand under this run's name if it is stopped half way.
    _write_manifest(trained, out, [])
    masks: list[Path] = []
    with progress("segmenting", len(cases)) as done:
        for case in cases:
            masks.append(_write(trained, case, out, with_probabilities))
            done()
    _write_manifest(trained, out, list(zip(cases, masks, strict=True)))
    return Segmented(out, tuple(masks))


def _require_own_folder(out: Path, cases: tuple[Case, ...]) -> None:
    """Refuse a folder that holds the images, or files of these cases that `segment` did not write: manual masks."""
    if out.resolve() in {path.resolve().parent for case in cases for path in case.images}:
        raise InputFault(f"{out}: holds the images themselves; choose another --out")
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    names = {case.name for case in cases}
    foreign = [file.name for file in out.iterdir() if file.name.split(".")[0] in names]
    if foreign:
        raise InputFault(
            f"{out}: holds {len(foreign)} files of these cases that `segment` did not write ({sorted(foreign)[0]}); "
            "they would be replaced, choose another --out"
        )


def _write_manifest(trained: Trained, out: Path, written: list[tuple[Case, Path]]) -> None:
    entries = [
        {"case": case.name, "images": [str(path.resolve()) for path in case.images], "mask": mask.name}
        for case, mask in written
    ]
    write_json(out / MANIFEST, {"checkpoint": {"step": trained.step, "rule": trained.rule}, "cases": entries})


def _write(trained: Trained, case: Case, out: Path, with_probabilities: bool) -> Path:
    numbers = range(len(trained.method.task.classes))
    if not with_probabilities:
        classes = on_own_grid(trained, case, lambda own: own.argmax(1, keepdim=True).to(torch.uint8))[0]
        return write_classes(classes, case.images[0], out, case.name, numbers)
    probabilities = on_own_grid(trained, case, lambda own: own)
    write_probabilities(probabilities, case.images[0], out, case.name)
    return write_classes(probabilities.argmax(0).astype(np.uint8), case.images[0], out, case.name, numbers)


def cases_to_segment(images: Path, trained: Trained, channel: str | None) -> tuple[Case, ...]:
    """The bare cases of a path: a dataset's test part where it has one, else all that is there.

    Of files with several channels the one is used that the run was trained on, unless `channel` names another.
    """
    cohort = read_cohort(images, masks=False)
    index = trained.preparation.channel if channel is None else cohort.channel_index(channel)
    cohort = cohort.with_channel(index)
    return cohort.part("test") or cohort.cases


def on_own_grid(trained: Trained, case: Case, keep: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """What `keep` makes of a case's class probabilities (N, K, H, W) on its own grid: (K or 1, *spatial), own axes.

    The probabilities are brought back to the original grid, and only then is a class chosen: masks that are
    enlarged have stairs at their rims. A few slices are held at a time.
    """
    original = read_case(case)
    turned = canonical(original)
    preparation = fitted(trained.preparation, turned)
    try:
        values = scaled(turned, preparation)
    except InputFault as fault:
        raise InputFault(f"{case.images[0]}: {fault}") from None
    place = placement(turned, preparation)
    slices = slices_of(values, preparation)
    parts: list[torch.Tensor] = []
    for start in range(0, len(slices), SLICES_AT_ONCE):
        prepared = place_images(slices[start : start + SLICES_AT_ONCE], place, preparation.size)
        # Training read the slices from a float16 store; the same rounding here keeps both paths equal.
        probabilities = probabilities_of(trained, prepared.half().float())
        parts.append(keep(replace_in_original(probabilities, place)))
    volume = assembled(torch.cat(parts).numpy(), preparation)
    return as_it_lay(volume, original)
