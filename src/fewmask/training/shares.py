"""Which slices a stage draws, and which choose its checkpoint."""

import numpy as np

from fewmask.data.stream import Share
from fewmask.errors import InputFault
from fewmask.recipe import Stage
from fewmask.training.fit import Validation
from fewmask.training.material import Material


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
    """The held-out slices that choose this stage's checkpoint, or None where the last one is taken."""
    if stage.choose == "last":
        return None
    role = "masks" if "masks" in material.stores else "source"
    rows = material.stores[role].rows_of(material.splits[role].validation)
    if len(rows) == 0:
        raise InputFault(
            f"{material.splits[role].cohort}: nobody is held out for validation; raise --set split.validation"
        )
    outcomes = _outcomes_at(rows, stage, role, material)
    if outcomes is not None and len(set(outcomes)) < 2:
        raise InputFault(
            f"{material.splits[role].cohort}: all patients held out for validation have one outcome, so no AUC can "
            f"choose; raise --set split.validation, or take the last step with --set {stage.name}.choose=last"
        )
    return Validation(material.splits[role].cohort, material.stores[role], rows, outcomes)
