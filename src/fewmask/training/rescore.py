"""What the rules say of networks that were kept before the rules could be asked: of an older run, or of a floor."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fewmask.data.content_key import content_key
from fewmask.data.layouts import read_cohort
from fewmask.data.preparation import Preparation
from fewmask.data.store import cache_root, load_store, open_store
from fewmask.errors import InputFault
from fewmask.files import read_json
from fewmask.recipe import Recipe
from fewmask.shapes import Task
from fewmask.training.candidates import Candidate, Candidates
from fewmask.training.checkpoint import Checkpoints, load_networks
from fewmask.training.material import class_names, kept_preparations
from fewmask.training.rules import TARGET_RULES
from fewmask.training.run import Run
from fewmask.training.target_rules import TargetSlices
from fewmask.training.train import build_method, make_fabric


def candidates_of(run: Run) -> Candidates:
    """The candidates of a finished run's last stage. Raises InputFault for a run that kept none."""
    recipe = run.recipe()
    if not run.finished():
        raise InputFault(
            f"{run.folder}: has not finished, its last candidates are to come; run the same `train` again"
        )
    stage = recipe.stages[-1]
    candidates = Checkpoints(run.stage_folder(recipe, stage.name), stage.name).candidates
    if not candidates.read():
        raise InputFault(
            f"{run.folder}: kept no candidates to compare; train with --set {stage.name}.keep_candidates=true"
        )
    return candidates


def rescore(
    run: Run, images: Path, *, cache: Path | None = None, device: str = "auto"
) -> tuple[Candidate, ...]:
    """A finished run's candidates with what every label-free rule says of them; what is noted is not asked again.

    A run without a target of its own is judged by the bare training images of the dataset folder `images`, prepared as
    the run prepares what it segments. No mask is opened. Raises InputFault as `candidates_of` does.
    """
    candidates = candidates_of(run)
    kept = candidates.read()
    if all(candidate.scores.ensemble is not None for candidate in kept):
        return kept
    recipe = run.recipe()
    preparations = kept_preparations(run) or {}
    role = next(role for role in ("target", "masks", "source", "tags") if role in preparations)
    prepared = preparations[role]
    target = _own_target(run) or _prepared(images, prepared, cache_root(cache))
    _ask(run, recipe, prepared, target, candidates, kept, device)
    return candidates.read()


def _own_target(run: Run) -> TargetSlices | None:
    """The run's own target, where its store has not been cleared away."""
    roles = read_json(run.material)["roles"]
    folder = Path(roles["target"]["store"]) if "target" in roles else None
    if folder is None or not folder.is_dir():
        return None
    store = load_store(folder)
    return TargetSlices("target", store, store.rows_of(store.cases))


def _prepared(images: Path, preparation: Preparation, cache: Path) -> TargetSlices:
    cohort = read_cohort(images, masks=False)
    cohort = cohort.with_channel(preparation.channel)
    cases = cohort.part("train") or cohort.cases
    key = content_key(cohort, cases, preparation, labelled=False)
    store = open_store(cache / key, cohort, cases, preparation, labelled=False, stored=lambda: None)
    store = replace(store, neighbours=preparation.neighbours)
    return TargetSlices(cohort.name, store, store.rows_of(store.cases))


def _ask(
    run: Run,
    recipe: Recipe,
    prepared: Preparation,
    target: TargetSlices,
    candidates: Candidates,
    kept: Sequence[Candidate],
    device: str,
) -> None:
    task = Task(prepared.inputs, class_names(run), recipe.size, neighbours=prepared.neighbours)
    with torch.random.fork_rng([]):  # Networks are built with random weights before the kept ones are loaded.
        method = build_method(recipe, recipe.stages[-1], task, None)
    there = make_fabric(device, 1, recipe.precision).device
    method.to(there)
    if not method.draws_masks:
        return
    for candidate in kept:
        load_networks(method, candidate.path)
        told = {rule: tell(method, target, there) for rule, tell in TARGET_RULES}
        candidates.note(candidate.step, replace(candidate.scores, **told))
