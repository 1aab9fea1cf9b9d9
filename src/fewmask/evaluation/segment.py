"""Masks for images, each in its image's own size, spacing, orientation and file type."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewmask.console import Progress, silent
from fewmask.data.case import Case
from fewmask.data.layouts import read_cohort
from fewmask.data.prepared_case import prepare_case
from fewmask.data.raster import write_classes, write_probabilities
from fewmask.errors import InputFault
from fewmask.evaluation.largest_component import largest_components
from fewmask.evaluation.safety_record import FOLDERS, forget
from fewmask.evaluation.trained import Trained, Which, load_trained, view_of
from fewmask.evaluation.translated import Screen
from fewmask.files import write_json

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
    largest_component: bool = False,
    channel: str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Segmented:
    """Segment an image, a folder of images, or a dataset folder (its test part where it has one).

    Mask files hold class numbers 0..K-1, as nnU-Net's do, whatever values the training masks had. With
    `largest_component` they keep the largest piece of each class (`largest_components`; probabilities stay as they
    are), and the list of predictions says so. A run that
    re-draws images first (it translates them) also leaves `safety.csv`, `safety.json` and, for flat images,
    `translations/`, `attention/` (where it has one) and `untranslated/`, see `fewmask.evaluation.safety_record`; for
    volumes the table alone, whose measures are taken over all slices, and no pictures. None of it takes a true mask.
    Raises InputFault for unreadable images or a run without a checkpoint; masks that are finished by then stay.
    """
    trained = load_trained(run, which, device)
    if not trained.method.draws_masks:
        raise InputFault(
            f"{run}: draws no masks; use `fewmask diagnose` for an outcome, or give a run whose last stage segments"
        )
    cases = cases_to_segment(images, trained, channel)
    _require_own_folder(out, cases)
    # Results of an earlier run must not stand under this run's name if it is stopped half way.
    if (out / MANIFEST).exists():
        forget(out)
    _write_manifest(trained, out, largest_component, [])
    screen = Screen(trained, out)
    masks: list[Path] = []
    with progress("segmenting", len(cases)) as done:
        for case in cases:
            masks.append(_write(trained, case, out, with_probabilities, largest_component, screen))
            done()
    screen.write()
    _write_manifest(trained, out, largest_component, list(zip(cases, masks, strict=True)))
    return Segmented(out, tuple(masks))


def _require_own_folder(out: Path, cases: tuple[Case, ...]) -> None:
    """Refuse a folder that holds the images, or files of these cases that `segment` did not write: manual masks."""
    own = {out.resolve(), *(out.resolve() / name for name in FOLDERS)}
    if not own.isdisjoint(path.resolve().parent for case in cases for path in case.images):
        raise InputFault(f"{out}: holds the images themselves; choose another --out")
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    names = {case.name for case in cases}
    folders = (out, *(inner for name in FOLDERS if (inner := out / name).is_dir()))
    files = [file for folder in folders for file in folder.iterdir()]
    foreign = [
        str(file.relative_to(out))
        for file in files
        if any(file.name.startswith(f"{name}.") for name in names)
    ]
    if foreign:
        raise InputFault(
            f"{out}: holds {len(foreign)} files of these cases that `segment` did not write ({sorted(foreign)[0]}); "
            "they would be replaced, choose another --out"
        )


def _write_manifest(
    trained: Trained, out: Path, largest_component: bool, written: list[tuple[Case, Path]]
) -> None:
    entries = [
        {"case": case.name, "images": [str(path.resolve()) for path in case.images], "mask": mask.name}
        for case, mask in written
    ]
    checkpoint = {"step": trained.step, "rule": trained.rule}
    content = {"checkpoint": checkpoint, "largest_component": largest_component, "cases": entries}
    write_json(out / MANIFEST, content)


def _write(
    trained: Trained,
    case: Case,
    out: Path,
    with_probabilities: bool,
    largest_component: bool,
    screen: Screen,
) -> Path:
    """Segment one case. Probabilities are brought back to its own grid, and only then is a class chosen.

    Masks that are enlarged have stairs at their rims.
    """
    prepared = prepare_case(case, trained.preparation)
    watch = screen.watch(prepared)
    parts: list[torch.Tensor] = []
    for images in prepared.chunks():
        view = view_of(trained, images)
        own = prepared.on_own_grid(view.probabilities)
        parts.append(own if with_probabilities else own.argmax(1, keepdim=True).to(torch.uint8))
        watch.see(images, view)
    watch.close()
    values = prepared.as_it_lay(parts)
    classes = values[0]
    if with_probabilities:
        write_probabilities(values, case.images[0], out, case.name)
        classes = values.argmax(0).astype(np.uint8)
    numbers = range(len(trained.method.task.classes))
    if largest_component:
        classes = largest_components(classes, len(numbers))
    return write_classes(classes, case.images[0], out, case.name, numbers)


def cases_to_segment(images: Path, trained: Trained, channel: str | None) -> tuple[Case, ...]:
    """The bare cases of a path: a dataset's test part where it has one, else all that is there.

    Of files with several channels the one is used that the run was trained on, unless `channel` names another.
    """
    cohort = read_cohort(images, masks=False)
    index = trained.preparation.channel if channel is None else cohort.channel_index(channel)
    cohort = cohort.with_channel(index)
    return cohort.part("test") or cohort.cases
