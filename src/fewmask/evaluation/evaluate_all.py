"""The verb `evaluate`: the masks in a folder of predictions, and the prognosis where there is one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.config import to_mapping
from fewmask.console import Progress, silent
from fewmask.data.listing import mask_index
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.prognosis import score_prognosis, write_scored
from fewmask.evaluation.prognosis_record import forget_prognosis
from fewmask.evaluation.prognosis_words import format_prognosis
from fewmask.evaluation.summary import format_summary
from fewmask.evaluation.told_outcomes import read_told, tells_outcomes
from fewmask.files import read_json
from fewmask.training.run import Run


@dataclass(frozen=True)
class Scored:
    """What was found, as plain values for a program and as text for a person."""

    content: dict[str, Any]
    text: str


def evaluate_all(
    predictions: Path, truth: Path, out: Path, *, baseline: str | None = None, progress: Progress = silent
) -> Scored:
    """Score what `segment` left, see `evaluate` and `evaluate_prognosis`, into one folder.

    A run that draws no masks has its prognosis alone scored. Raises InputFault as both do, before anything is written
    where the table of outcomes is at fault.
    """
    told = None
    if tells_outcomes(predictions):
        told = score_prognosis(
            predictions, truth, baseline=baseline, per_patient=not _same_patient(predictions)
        )
    content: dict[str, Any] = {}
    texts: list[str] = []
    if told is None or mask_index(predictions):
        summary = evaluate(predictions, truth, out, progress=progress)
        content = read_json(out / "summary.json")
        texts.append(format_summary(summary))
    if told is None:
        forget_prognosis(out)
    else:
        write_scored(out, *told)
        content["prognosis"] = to_mapping(told[0])
        texts.append(format_prognosis(told[0]))
    return Scored(content, "\n\n".join(texts))


def _same_patient(predictions: Path) -> bool:
    """Whether the run took each image for itself: then a patient may have several outcomes."""
    run = Run(Path(read_told(predictions)[0].run))
    return run.recipe_file.exists() and run.recipe().split.unit == "image"
