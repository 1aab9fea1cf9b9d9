"""Which slices a stage draws, and which choose its checkpoint."""

import numpy as np

from fewmask.data.stream import Share
from fewmask.errors import InputFault
from fewmask.recipe import Stage
from fewmask.training.material import Material
from fewmask.training.rules import TargetSlices, Validation


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
    store = material.stores[role]
    rows = store.rows_of(material.splits[role].train)
    if role == "target" and len(rows) < 2:
        raise InputFault(
            f"{material.splits[role].cohort}: a single target image has no style to learn, only itself; add images "
            "to the target (they need no masks), or segment it with the source's own run"
        )
    outcomes = _outcomes_at(rows, stage, role, material)
    return Share(store, tuple(rows.tolist()), batch, role != "target", number, outcomes)


def _outcomes_at(rows: np.ndarray, stage: Stage, role: str, material: Material) -> tuple[float, ...] | None:
    """The outcome of each row's case, or None where the stage reads none."""
    if stage.method.reads != "outcomes" or material.outcomes is None:
        return None
    outcomes = material.outcomes.of(role)
    return tuple(outcomes[case] for case in material.stores[role].cases_at(rows))


def _parts(stage: Stage, material: Material) -> dict[str, int]:
    """How many images of each role a step takes."""
    if stage.method.reads == "adaptation":
        return {"source": stage.batch, "target": stage.batch}
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
    adapts = stage.method.reads == "adaptation"
    role = "masks" if "masks" in material.stores and not adapts else "source"
    rows = material.stores[role].rows_of(material.splits[role].validation)
    outcomes = _outcomes_at(rows, stage, role, material)
    fault = _fault_of_validation(stage, material.splits[role].cohort, rows, outcomes)
    if fault is None:
        return Validation(
            material.splits[role].cohort, material.stores[role], rows, outcomes, as_target=adapts
        )
    if stage.choose == "validation":
        raise InputFault(fault)
    return None


def _fault_of_validation(
    stage: Stage, cohort: str, rows: np.ndarray, outcomes: tuple[float, ...] | None
) -> str | None:
    """Why the held-out slices cannot choose, with the remedy."""
    if len(rows) == 0:
        return f"{cohort}: nobody is held out for validation; raise --set split.validation"
    if outcomes is not None and len(set(outcomes)) < 2:
        return (
            f"{cohort}: all patients held out for validation have one outcome, so no AUC can "
            f"choose; raise --set split.validation, or take the last step with --set {stage.name}.choose=last"
        )
    return None


def target_slices_of(stage: Stage, material: Material) -> TargetSlices | None:
    """The target's bare training slices that score this stage's checkpoints, or None where they are not asked.

    Raises InputFault where they shall choose and the run has no target.
    """
    chooses = stage.choose in ("information", "agreement")
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
