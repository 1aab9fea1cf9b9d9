"""Between two stages: what a classifier of tags looks at becomes the pseudo-labels that the next stage learns.

Everything that is made on the way lies on disk, for people to look at and to mend.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fewmask.console import Progress
from fewmask.data.case import Cohort
from fewmask.data.growing_array import GrowingArray
from fewmask.data.prepared_case import PreparedCase, prepare_case
from fewmask.data.pseudo_cohort import OwnGrid, write_case, write_descriptions
from fewmask.data.soft_labels import SoftLabels
from fewmask.data.store import SliceStore, building
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json
from fewmask.methods.base import Method
from fewmask.pseudo_label_config import PseudoLabels
from fewmask.pseudo_labels.seeds import best_of_grid
from fewmask.shapes import IGNORED
from fewmask.training.audit_table import AuditTable
from fewmask.training.corrections import Corrected, Corrections
from fewmask.training.material import Material
from fewmask.training.pseudo_label import CaseLabels, PseudoLabeller
from fewmask.training.select import chunks_of, validation_tags

FOLDER = "pseudo_labels"
SOFT_LABELS, CHOSEN = "soft_labels.npy", "pseudo_labels.json"


@dataclass(frozen=True)
class Chosen:
    """What was decided for the pseudo-labels of a run, as its page tells it.

    `threshold` is the one that was chosen on held-out masks (None: none was). F1 and AUC are the
    classifier's on the held-out tagged slices; None where those are all alike.
    """

    threshold: float | None
    f1: float | None
    auc: float | None
    rows: tuple[int, ...]
    corrected: tuple[str, ...]


def relabelled(
    material: Material,
    folder: Path,
    build: Callable[[], Method],
    options: PseudoLabels,
    read: Callable[[], Mapping[str, Cohort]],
    corrections: Path | None,
    fabric: Fabric,
    progress: Progress,
    tell: Callable[[str], None],
) -> Material:
    """The material with pseudo-labels of its tagged cohort, made by `build()`'s classifier and kept in `folder`.

    The first process does all of it, whole or not at all, and the others wait. The held-out patients get labels too,
    which are looked at and never trained on. Raises InputFault where the stage before makes no maps.
    """
    made = folder / FOLDER
    if fabric.is_global_zero and not made.exists():
        labeller = PseudoLabeller(build().to(fabric.device).eval(), options, fabric)
        with building(made) as temporary:
            cohort = read()["tags"]
            _make(
                material, cohort, labeller, Corrections.read(corrections, cohort), temporary, progress, tell
            )
    fabric.barrier()
    rows = tuple(read_json(made / CHOSEN)["rows"])
    return replace(material, soft=SoftLabels(made / SOFT_LABELS, rows))


def _make(
    material: Material,
    cohort: Cohort,
    labeller: PseudoLabeller,
    corrections: Corrections,
    folder: Path,
    progress: Progress,
    tell: Callable[[str], None],
) -> None:
    assert material.tags is not None
    f1, area = _told_apart(material, labeller, tell)
    if labeller.options.threshold == "validation":
        labeller = replace(labeller, threshold=_threshold(labeller, material.stores["held_out"]))
        tell(f"pseudo-labels: threshold {labeller.threshold:g}, the best Dice on held-out masks")
    store, split = material.stores["tags"], material.splits["tags"]
    cases = {case.name: case for case in cohort.cases}
    training: list[int] = []
    table = AuditTable()
    ignores = False
    soft = GrowingArray(folder / SOFT_LABELS, np.float16, (2, *[material.task.size] * 2))
    with soft, progress("making pseudo-labels", len(store.cases)) as done:
        for name in store.cases:
            rows, tags = store.rows_of([name]), material.tags.by_case[name]
            prepared = prepare_case(cases[name], material.preparations["tags"])
            labels = labeller.label(prepared, tags)
            corrected = corrections.onto(labels, prepared)
            soft.append(torch.stack([corrected.maps, corrected.labels], 1).numpy())
            if name in split.train:
                training += rows[_training_slices(labeller.options, labels, tags) | corrected.slices].tolist()
            own = _on_own_grid(labels, corrected, prepared, tags)
            ignores |= bool((own.mask == IGNORED).any())
            write_case(cases[name], prepared.original, own, folder)
            table.add(prepared, labels, tags, name in split.train, corrected.slices)
            done()
    written = [cases[name] for name in store.cases]
    classes, channels = material.task.classes, material.preparations["tags"].channels
    flat = material.preparations["tags"].slice_axis is None
    write_descriptions(folder, cohort, written, classes, channels, flat=flat, ignores=ignores)
    table.write(folder, tell)
    chosen = Chosen(labeller.threshold, f1, area, tuple(training), corrections.names)
    write_json(folder / CHOSEN, chosen.__dict__)


def _told_apart(
    material: Material, labeller: PseudoLabeller, tell: Callable[[str], None]
) -> tuple[float | None, float | None]:
    """F1 and AUC of the classifier on the held-out tagged slices."""
    assert material.tags is not None
    store = material.stores["tags"]
    rows = store.rows_of(material.splits["tags"].validation)
    tags = material.tags.at(store, rows)
    known = np.array([tag is not None for tag in tags], dtype=bool)
    found = [tag for tag in tags if tag is not None]
    if len(set(found)) < 2:
        tell("classifier: the held-out slices are all tagged alike, so neither F1 nor AUC can be told")
        return None, None
    scores = validation_tags(labeller.method, store, rows[known], found, labeller.fabric.device)
    tell(f"classifier: F1 {scores.f1:.3f}, AUC {scores.auc:.3f} on {len(found)} held-out slices")
    return scores.f1, scores.auc


def _threshold(labeller: PseudoLabeller, held_out: SliceStore) -> float:
    """The threshold whose pseudo-masks meet the held-out patients' masks best, over slices that show the object."""
    rows = np.arange(held_out.row_count)
    dice: list[Tensor] = []
    for chunk in chunks_of(rows):
        masks = torch.from_numpy(held_out.masks(chunk))
        shown = ((masks != 0) & (masks != IGNORED)).flatten(1).any(1)
        if shown.any():
            dice.append(labeller.dice_of_grid(torch.from_numpy(held_out.images(chunk))[shown], masks[shown]))
    if not dice:
        raise InputFault(
            "threshold=validation: no held-out mask shows the object; add masks, or --set threshold=0.5"
        )
    return best_of_grid(torch.cat(dice))


def _training_slices(options: PseudoLabels, labels: CaseLabels, tags: Sequence[float | None]) -> np.ndarray:
    """(N,) bool: the slices of a case that train the segmenter.

    A slice that is tagged as positive and got an empty label would teach that the object is not there.
    """
    positive = np.array([tag == 1.0 for tag in tags])
    usable = positive & (labels.labels > 0).flatten(1).any(1).numpy()
    if options.slices == "positive":
        return usable
    if options.slices == "predicted_positive":
        return usable & (labels.scores > 0).numpy()
    return usable | np.array([tag == 0.0 for tag in tags])


def _on_own_grid(
    labels: CaseLabels, corrected: Corrected, prepared: PreparedCase, tags: Sequence[float | None]
) -> OwnGrid:
    """A case's labels as its file lies, `IGNORED` in slices that neither a tag nor a person speaks of.

    A person's own mask goes back as it came, not by way of the prepared size.
    """
    maps = prepared.as_it_lay([prepared.on_own_grid(labels.maps)])
    fused = prepared.as_it_lay([prepared.on_own_grid(labels.fused[:, None])])[0]
    soft = prepared.as_it_lay([prepared.on_own_grid(labels.labels[:, None])])[0]
    mask = prepared.masks_on_own_grid(corrected.hard)
    known = corrected.slices | np.array([tag is not None for tag in tags])
    mask[torch.from_numpy(~known)] = IGNORED
    lying = prepared.as_it_lay([mask])[0]
    if corrected.mask is not None:
        lying = np.where(corrected.mask == IGNORED, lying, corrected.mask)
    return OwnGrid(maps, fused, soft, lying)
