"""A study's second table: outcomes from whole images, and from what the segmentation keeps of them (MSL, Sec. 3.4)."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace

from fewmask.config import from_mapping
from fewmask.data.layouts import read_cohort
from fewmask.data.outcomes import has_column
from fewmask.errors import InputFault
from fewmask.evaluation.diagnose import judge
from fewmask.evaluation.diagnosis_record import Diagnosis, Judged, compare, interval_words, write_diagnosis
from fewmask.files import read_json
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override, takes
from fewmask.recipes.diagnosis import diagnosis as diagnosis_recipe
from fewmask.studies.cells import Cell
from fewmask.studies.order import Order
from fewmask.studies.pool import Tell
from fewmask.studies.sheet import Grid, Heading, Part, columns, paragraph
from fewmask.training.run import Run
from fewmask.training.train import train


@dataclass(frozen=True)
class DiagnosisResult:
    """One outcome by the classifier of one seed, over all folds; `whole` and `kept` are the paper's AUCs."""

    outcome: str
    seed: int
    found: Diagnosis
    whole: float
    kept: float


def diagnosis_results(order: Order, cells: Sequence[Cell], tell: Tell) -> tuple[DiagnosisResult, ...]:
    """Train a classifier an outcome and seed on the source, and judge the target's test images by it.

    Nothing where the study has no diagnosis, the folders lack the columns or the kept classes, or the cells that
    draw the masks are not scored yet. What is done is not done again.
    """
    wanted = order.study.diagnosis
    if wanted is None:
        return ()
    source, target = read_cohort(order.source), read_cohort(order.target, masks=False)
    if not set(wanted.kept) <= set(source.classes):
        tell(f"diagnosis: the source lacks a class of {', '.join(wanted.kept)}; left out")
        return ()
    results: list[DiagnosisResult] = []
    for outcome, whole, kept in wanted.outcomes:
        column = outcome.partition(">=")[0]
        if not (has_column(column, source.cases) and has_column(column, target.cases)):
            tell(f"diagnosis: no column {column} in both folders' cases.csv; left out")
            continue
        for seed in range(order.seeds):
            drawn = [cell for cell in cells if cell.row == wanted.masks_of and cell.seed == seed]
            if drawn and all(cell.done() for cell in drawn):
                try:
                    found = _diagnosed(order, outcome, seed, drawn, tell)
                except InputFault as fault:
                    tell(f"diagnosis: {fault}; left out")
                    continue
                results.append(DiagnosisResult(outcome, seed, found, whole, kept))
    return tuple(results)


def _diagnosed(order: Order, outcome: str, seed: int, drawn: Sequence[Cell], tell: Tell) -> Diagnosis:
    wanted = order.study.diagnosis
    assert wanted is not None
    run = order.out / "diagnosis" / outcome.replace(">=", "_from_") / f"seed-{seed}"
    done, recipe = run / "judged" / "diagnosis.json", _recipe(order, outcome, seed)
    if done.exists():
        Run(run).require_same(recipe)
        return from_mapping(Diagnosis, read_json(done), str(done))
    tell(f"diagnosis: {outcome}, seed {seed}")
    log = order.out / "logs" / f"diagnosis_{run.parent.name}_seed{seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as said, redirect_stderr(said):
        train(recipe, run, device=order.device, cache=order.out / "cache")
    rows: list[Judged] = []
    found: Diagnosis | None = None
    for cell in drawn:
        found, judged = judge(
            run, cell.images, cell.folder / "predictions", kept=wanted.kept, device=order.device
        )
        rows += judged
    assert found is not None
    pooled = replace(found, cases=len(rows), comparison=compare(rows))
    write_diagnosis(run / "judged", pooled, rows)
    return pooled


def _recipe(order: Order, outcome: str, seed: int) -> Recipe:
    recipe = diagnosis_recipe(order.small)
    changes = (f"seed={seed}", *order.changes)
    recipe = override(recipe, [change for change in changes if takes(recipe, change)], KINDS)
    cohorts = Cohorts(masks=order.source)
    return replace(recipe, outcome=outcome, cohorts=cohorts)


def diagnosis_parts(results: Sequence[DiagnosisResult]) -> tuple[Part, ...]:
    """The results as a section, a line an outcome and seed; nothing where nothing was diagnosed."""
    if not results:
        return ()
    ours = (
        "outcome",
        "seed",
        "n (with outcome)",
        "AUC, whole",
        "AUC, kept classes",
        "difference",
        "p, DeLong",
    )
    return (
        Heading("Diagnosis"),
        paragraph(
            "A classifier learns the outcome from the source's whole images and judges the target's test images twice: "
            "whole, and with only the kept classes left (as this study's segmentation outlines them). AUC [95 % "
            "bootstrap over patients]; p by DeLong's test, and by a bootstrap that allows for several images of a "
            "patient."
        ),
        Grid(
            (
                *columns((*ours, "p, bootstrap")),
                *columns(("paper: whole", "paper: kept"), published=True),
            ),
            tuple(map(_cells, results)),
        ),
    )


def _cells(result: DiagnosisResult) -> tuple[str, ...]:
    found = result.found.comparison
    if found is None:
        return result.outcome, str(result.seed), "no two outcomes known", *("",) * 7
    return (
        result.outcome,
        str(result.seed),
        f"{found.n} ({found.positives})",
        interval_words(found.whole.auc, found.whole.low, found.whole.high),
        interval_words(found.kept.auc, found.kept.low, found.kept.high),
        interval_words(found.difference, found.difference_low, found.difference_high, "+"),
        *("" if p is None else f"{p:.2g}" for p in (found.delong_p, found.bootstrap_p)),
        f"{result.whole:.2f}",
        f"{result.kept:.2f}",
    )
