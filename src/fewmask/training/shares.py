"""Which slices a stage draws, and which choose its checkpoint."""

import math
from collections.abc import Sequence

import numpy as np

from fewmask.data.store import SliceStore
from fewmask.data.stream import Share
from fewmask.errors import InputFault
from fewmask.recipe import Reads, Stage
from fewmask.shapes import IGNORED
from fewmask.training.cohorts import BARE
from fewmask.training.material import Material
from fewmask.training.rules import TARGET_RULES, Measure, Validation
from fewmask.training.target_rules import TargetSlices

MEASURES: dict[Reads, Measure] = {"tagged": "F1", "outcomes": "AUC"}
"""What scores the held-out slices of a stage that learns no masks."""


def _measure_of(stage: Stage) -> Measure:
    method = stage.method
    if method.reads != "partly" or not method.learns_outcome:
        return MEASURES.get(method.reads, "Dice")
    return "mean of Dice and AUC" if method.learns_masks else "AUC"


def _may_lack_masks(stage: Stage, material: Material) -> bool:
    """Whether a stage learns masks that some of its images need not have."""
    return stage.method.reads == "partly" and stage.method.learns_masks and material.outcomes is not None


def shares_of(stage: Stage, number: int, material: Material, ranks: int) -> tuple[Share, ...]:
    """The parts of a stage's batch: labelled cohorts side by side, or a source beside a target.

    Raises InputFault where a cohort is missing, or a part is empty or cannot be divided among the processes.
    """
    parts = _parts(stage, material)
    for role, batch in parts.items():
        if batch < 1 or batch % ranks:
            raise InputFault(
                f"stage {stage.name}: {batch} images of {role} a step cannot be divided among {ranks} processes; "
                f"change --set {stage.name}.batch={len(parts) * ranks} or a multiple of it"
            )
    return tuple(
        _share(stage, material, role, batch, number * 10 + place)
        for place, (role, batch) in enumerate(parts.items())
    )


def _share(stage: Stage, material: Material, role: str, batch: int, number: int) -> Share:
    store, soft = material.stores[role], None
    rows = _taught_rows(store.rows_of(material.splits[role].train), stage, role, material)
    if _may_lack_masks(stage, material) and len(_outlined_rows(store, rows)) == 0:
        raise InputFault(
            f"{material.splits[role].cohort}: all images that have a mask are held out for validation; add masks, "
            "or draw again with another --set seed"
        )
    if getattr(stage.method, "leaves_out_blank", False):
        rows = _with_contrast(store, rows, material.splits[role].cohort)
    if stage.method.reads == "soft" and material.soft is not None:
        soft = material.soft
        rows = np.intersect1d(rows, np.array(soft.rows, dtype=np.int64))
        if len(rows) == 0:
            raise InputFault(
                f"stage {stage.name}: no slice has a pseudo-label to learn from; look at pseudo_labels in the run "
                f"folder, train the classifier longer, or --set {stage.name}.pseudo_labels.slices=all"
            )
    if role == "target" and len(rows) < 2:
        raise InputFault(
            f"{material.splits[role].cohort}: a single target image has no style to learn, only itself; add images "
            "to the target (they need no masks), or segment it with the source's own run"
        )
    findings = _findings_at(rows, stage, role, material)
    if findings is not None and getattr(stage.method, "balance", False):
        places = balanced(findings)
        rows, findings = rows[places], tuple(findings[place] for place in places)
    return Share(store, tuple(rows.tolist()), batch, role not in BARE, number, findings, soft)


def balanced(outcomes: Sequence[float]) -> list[int]:
    """Places of images, the rarer outcome's again and again until both are equally many; unknown ones (NaN) once.

    Each time an image is drawn, it is augmented in another way.

    >>> balanced([0.0, 1.0, 0.0, math.nan, 0.0])
    [0, 1, 2, 3, 4, 1, 1]
    """
    kinds = [[place for place, outcome in enumerate(outcomes) if outcome == kind] for kind in (0.0, 1.0)]
    rarer, commoner = sorted(kinds, key=len)
    missing = len(commoner) - len(rarer) if rarer else 0
    return [*range(len(outcomes)), *(rarer[number % len(rarer)] for number in range(missing))]


def _with_contrast(store: SliceStore, rows: np.ndarray, cohort: str) -> np.ndarray:
    """Those of the rows whose slice has more than one intensity in its middle, which no augmentation moves out.

    Raises InputFault where none has.
    """
    quarter = store.image_shape[-1] // 4
    middle = slice(quarter, -quarter)
    varied = [
        np.ptp(store.images(chunk)[..., middle, middle], axis=(1, 2, 3)) > 0.0
        for chunk in np.array_split(rows, max(1, len(rows) // 64))
    ]
    kept = rows[np.concatenate(varied)]
    if len(kept) == 0:
        raise InputFault(
            f"{cohort}: every slice is of one intensity in its middle; look at the images with `fewmask check`"
        )
    return kept


def _taught_rows(rows: np.ndarray, stage: Stage, role: str, material: Material) -> np.ndarray:
    """Those of the rows that have a label which the stage reads."""
    store, reads = material.stores[role], stage.method.reads
    if reads == "tagged":
        return _tagged_rows(store, rows, material)
    if stage.learns_outcome and not (reads == "partly" and stage.method.learns_masks):
        return _known_rows(store, rows, role, material)
    if _may_lack_masks(stage, material) and not stage.learns_outcome:
        return _outlined_rows(store, rows)
    return rows


def _tagged_rows(
    store: SliceStore, rows: np.ndarray, material: Material, tags: tuple[float, ...] = (0.0, 1.0)
) -> np.ndarray:
    """Those of the rows that somebody has tagged, with one of these tags."""
    assert material.tags is not None
    return rows[np.array([tag in tags for tag in material.tags.at(store, rows)], dtype=bool)]


def _known_rows(store: SliceStore, rows: np.ndarray, role: str, material: Material) -> np.ndarray:
    """Those of the rows whose case's outcome is known."""
    assert material.outcomes is not None
    known = material.outcomes.of(role)
    return rows[np.array([case in known for case in store.cases_at(rows)], dtype=bool)]


def _outlined_rows(store: SliceStore, rows: np.ndarray) -> np.ndarray:
    """Those of the rows whose slice has a mask: of one without, every pixel is ignored."""
    chunks = np.array_split(rows, max(1, len(rows) // 64))
    return rows[np.concatenate([(store.masks(chunk) != IGNORED).any(axis=(1, 2)) for chunk in chunks])]


def _findings_at(rows: np.ndarray, stage: Stage, role: str, material: Material) -> tuple[float, ...] | None:
    """The outcome of each row's case (NaN: unknown), or the row's own tag; None where the stage reads neither."""
    if stage.method.reads == "tagged" and material.tags is not None:
        return tuple(tag for tag in material.tags.at(material.stores[role], rows) if tag is not None)
    if not stage.learns_outcome or material.outcomes is None:
        return None
    outcomes = material.outcomes.of(role)
    return tuple(outcomes.get(case, math.nan) for case in material.stores[role].cases_at(rows))


def _parts(stage: Stage, material: Material) -> dict[str, int]:
    """How many images of each role a step takes."""
    if stage.method.reads == "adaptation":
        return {"source": stage.batch, "target": stage.batch}
    if stage.method.reads in ("tagged", "soft"):
        return {"tags": stage.batch}
    if len(material.labelled_roles) == 2:
        of_masks = min(max(round(stage.batch * stage.masks_share), 1), stage.batch - 1)
        return {"source": stage.batch - of_masks, "masks": of_masks}
    return {material.labelled_roles[0]: stage.batch}


def validation_of(stage: Stage, material: Material) -> Validation | None:
    """The held-out slices that score this stage's checkpoints, or None where they are not asked.

    They are asked where they choose, and where candidates are kept, if there are any. A stage that adapts is
    validated on its source, re-drawn in the target's look where the method does so. Raises InputFault where they
    shall choose and cannot.
    """
    if stage.choose != "validation" and not stage.keep_candidates:
        return None
    reads = stage.method.reads
    role = _validated_role(stage, material)
    cohort, store = material.splits["tags" if role == "held_out" else role].cohort, material.stores[role]
    rows = store.rows_of(store.cases if role == "held_out" else material.splits[role].validation)
    outlined = not _may_lack_masks(stage, material) or len(_outlined_rows(store, rows)) > 0
    rows = _taught_rows(rows, stage, role, material)
    if stage.only_positive:
        # A segmenter of slices that show the object is judged by no others.
        rows = _tagged_rows(store, rows, material, (1.0,))
    findings = _findings_at(rows, stage, role, material)
    fault = _fault_of_validation(stage, cohort, rows, findings, outlined)
    if fault is None:
        measure = _measure_of(stage)
        return Validation(cohort, store, rows, measure, findings, as_target=reads == "adaptation")
    if stage.choose == "validation":
        raise InputFault(fault)
    return None


def _validated_role(stage: Stage, material: Material) -> str:
    """The cohort whose held-out patients score a stage."""
    if stage.method.reads in ("tagged", "soft"):
        return "tags" if stage.method.reads == "tagged" else "held_out"
    return "masks" if "masks" in material.stores and stage.method.reads != "adaptation" else "source"


def _fault_of_validation(
    stage: Stage, cohort: str, rows: np.ndarray, findings: tuple[float, ...] | None, outlined: bool
) -> str | None:
    """Why the held-out slices cannot choose, with the remedy."""
    remedy = f"raise --set split.validation, or take the last step with --set {stage.name}.choose=last"
    if not outlined:
        return f"{cohort}: nobody held out for validation has a mask, so no Dice can choose; {remedy}"
    if len(rows) == 0:
        return f"{cohort}: nobody is held out for validation; raise --set split.validation"
    if findings is not None and len({finding for finding in findings if not math.isnan(finding)}) < 2:
        what, measure = ("tag", "F1") if stage.method.reads == "tagged" else ("outcome", "AUC")
        return f"{cohort}: those held out for validation do not have both {what}s, so no {measure} can choose; {remedy}"
    return None


def target_slices_of(stage: Stage, material: Material) -> TargetSlices | None:
    """The target's bare training slices that score this stage's checkpoints, or None where they are not asked.

    Raises InputFault where they shall choose and the run has no target.
    """
    chooses = stage.choose in [rule for rule, _ in TARGET_RULES]
    if not chooses and not stage.keep_candidates:
        return None
    if "target" not in material.stores:
        if chooses:
            raise InputFault(
                f"stage {stage.name}: choose={stage.choose} looks at images of the target and the run has none; "
                f"give --target, or --set {stage.name}.choose=validation"
            )
        return None
    store, split = material.stores["target"], material.splits["target"]
    return TargetSlices(split.cohort, store, store.rows_of(split.train))
