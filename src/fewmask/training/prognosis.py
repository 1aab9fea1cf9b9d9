"""From which probability on a run calls a case positive: decided once, on the patients that it held out."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.files import read_json, write_json
from fewmask.methods.base import Method
from fewmask.metrics.classification import auc
from fewmask.metrics.prognosis import youden_threshold
from fewmask.training.material import Material
from fewmask.training.run import Run
from fewmask.training.select import case_probabilities

FILE = "prognosis.json"


@dataclass(frozen=True)
class Prognosis:
    """How probabilities of an outcome become a call; `threshold` is None where no held-out case could tell it."""

    __pydantic_config__: ClassVar[Any] = STRICT

    outcome: str
    threshold: float | None
    threshold_rule: str
    validation_cases: int
    validation_auc: float | None


def keep_prognosis(run: Run, material: Material, method: Method) -> None:
    """Write how the run's last stage, with its chosen networks in `method`, calls cases."""
    assert material.outcomes is not None
    role = "masks" if "masks" in material.stores else "source"
    store, known = material.stores[role], material.outcomes.of(role)
    held_out = [name for name in material.splits[role].validation if name in known]
    device = next(method.parameters()).device
    cases, probabilities = case_probabilities(method, store, store.rows_of(held_out), device)
    found = np.array([known[case] > 0 for case in cases], dtype=bool)
    threshold = youden_threshold(probabilities, found) if len(cases) else None
    area = auc(probabilities, found) if len(cases) else None
    rule = "the greatest sensitivity + specificity on held-out patients"
    if threshold is None:
        both = "the held-out patients do not have both outcomes"
        rule = f"none: {both if area is None else 'no threshold is better than calling all of them alike'}"
    decided = Prognosis(str(material.outcomes.rule), threshold, rule, len(cases), area)
    write_json(run.folder / FILE, to_mapping(decided))


def kept_prognosis(run: Run) -> Prognosis | None:
    """How a run calls cases, or None where it tells no outcome or has not finished."""
    path = run.folder / FILE
    return from_mapping(Prognosis, read_json(path), str(path)) if path.exists() else None
