"""The verb `train`: open the run folder, assemble the material, and fit one stage after the other."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from fewmask.console import Progress, silent
from fewmask.data.store import cache_root
from fewmask.data.stream import key_of
from fewmask.errors import InputFault
from fewmask.files import GIB
from fewmask.methods.base import Method
from fewmask.ranks import rank_count
from fewmask.recipe import Recipe, Stage
from fewmask.shapes import Task
from fewmask.training.checkpoint import Checkpoints, Position, load_networks
from fewmask.training.cohorts import read_cohorts
from fewmask.training.conclusion import conclude, conclude_again
from fewmask.training.fit import Job, fit, unwinding
from fewmask.training.forecast import SHORT, forecast
from fewmask.training.journal import Journal
from fewmask.training.material import Material, assemble, load_material
from fewmask.training.processes import leaving, together
from fewmask.training.relabel import relabelled
from fewmask.training.restyle import restyled
from fewmask.training.rules import require_rule
from fewmask.training.run import Run, environment
from fewmask.training.shares import shares_of, target_slices_of, validation_of


def tell(text: str) -> None:
    """Progress goes to standard error; results go to standard output."""
    print(text, file=sys.stderr, flush=True)


def make_fabric(device: str, devices: int, precision: str) -> Fabric:
    """The engine: launch, devices, mixed precision and several processes.

    Raises InputFault where a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputFault(
            "--device cuda: this machine has no GPU that torch can use; leave the option out, or --device cpu"
        )
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise InputFault(f"--devices {devices}: there are {torch.cuda.device_count()} GPUs; ask for no more")
    mixed = "bf16-mixed" if precision == "bf16" else "32-true"
    if devices == 1 and "WORLD_SIZE" not in os.environ:
        return Fabric(accelerator=accelerator, devices=1, precision=mixed)
    # Preparing a large cohort may take the first process hours, in which the others wait.
    strategy = DDPStrategy(timeout=timedelta(days=7))
    nodes = max(1, int(os.environ.get("WORLD_SIZE", devices)) // devices)
    return Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, precision=mixed
    )


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    cache: Path | None = None,
    progress: Progress = silent,
) -> bool:
    """Train a recipe into a run folder; the same call goes on with a run that was stopped.

    Returns whether this is the first of the run's processes, which speaks for all of them. Raises InputFault,
    RunFailed, or Interrupted after a signal (a checkpoint is written first).
    """
    began = time.monotonic()
    fabric = make_fabric(device, devices, recipe.precision)
    fabric.launch()
    run = Run(out)
    with ExitStack() as stack, leaving(), unwinding():
        first = fabric.is_global_zero

        def prepare() -> bool:
            stack.enter_context(run.locked())
            return _opened(fabric, run, recipe, cache_root(cache), progress)

        if not together(fabric, prepare if first else None):
            return first
        material = load_material(recipe, run)
        for number, stage in enumerate(recipe.stages):
            _stage(fabric, run, recipe, number, stage, material, progress)
        if first:
            conclude(fabric, run, recipe, material, _last(recipe, run), progress)
            run.finish(time.monotonic() - began)
        return first


def _opened(fabric: Fabric, run: Run, recipe: Recipe, cache: Path, progress: Progress) -> bool:
    """Prepare the run folder; False where the run is finished already."""
    for remark in run.begin(recipe, environment(fabric.device, rank_count())):
        tell(remark)
    if run.finished():
        conclude_again(fabric, run, recipe, cache, _last(recipe, run), progress, tell)
        tell(f"{run.folder}: this run is finished; choose another --out to train again")
        return False
    fresh = not run.material.exists()
    material = assemble(recipe, run, cache, progress, tell)
    try:
        _require_whole(recipe, material)
    except InputFault:
        if fresh:
            run.forget_data()
        raise
    held = sum(_bytes(file) for file in cache.glob("[!.]*/*.npy")) / GIB
    tell(f"slice stores: {held:.2f} GiB in {cache}; remove that folder to clear them")
    return True


def _require_whole(recipe: Recipe, material: Material) -> None:
    """Raise a fault of a late stage now: it must not wait until the earlier ones have trained."""
    for number, stage in enumerate(recipe.stages):
        shares_of(stage, number, material, rank_count())
        validation_of(stage, material)
        target_slices_of(stage, material)
        with torch.device("meta"):  # Networks without weights: quick, whatever their size.
            method = build_method(recipe, stage, material.task, None)
        require_rule(stage, method)
        restyles = {other.restyled_by for other in recipe.stages}
        if stage.name in restyles and type(method).restyle is Method.restyle:
            raise InputFault(
                f"restyled_by={stage.name}: that stage re-draws no images; name one that trains translators"
            )


def _bytes(file: Path) -> int:
    """A file's size; 0 where another run has cleared it meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _stage(
    fabric: Fabric,
    run: Run,
    recipe: Recipe,
    number: int,
    stage: Stage,
    material: Material,
    progress: Progress,
) -> None:
    checkpoints = Checkpoints(run.stage_folder(recipe, stage.name), stage.name, fabric.global_rank)
    task = material.task

    def build() -> Method:
        torch.manual_seed(key_of(recipe.seed, number))
        return build_method(recipe, stage, task, run).to(fabric.device)

    method = build()
    # One process decides: another might look while the first is writing already.
    fresh = bool(fabric.broadcast(not checkpoints.latest.exists()))
    if recipe.weights is not None and fresh and stage.method.reads in ("tagged", "partly"):
        taken = method.load_imagenet(recipe.weights)
        if fabric.is_global_zero:
            tell(f"{stage.name}: {taken} tensors of {recipe.weights.name}")
    if recipe.start_from is not None and fresh:
        take_over(method, recipe, stage, checkpoints, fabric)
    position = checkpoints.resume(method)
    if position.step >= stage.steps:
        return
    if stage.restyled_by is not None:
        earlier = recipe.stage(stage.restyled_by)
        folder = run.folder / "stages" / stage.name

        def translators() -> Method:
            return trained_method(recipe, earlier, task, run)

        material = restyled(material, folder, translators, lambda: read_cohorts(recipe)[0], fabric, progress)
    material = _labelled(fabric, run, recipe, stage, material, progress)
    shares = shares_of(stage, number, material, rank_count())
    target = target_slices_of(stage, material)
    job = Job(recipe, stage, number, shares, validation_of(stage, material), checkpoints, target)
    if fabric.is_global_zero:
        for remark in method.remarks:
            tell(f"{stage.name}: {remark}")
        _announce(fabric, build, job, position)
    with ExitStack() as stack:
        journal = None
        if fabric.is_global_zero:
            journal = stack.enter_context(
                Journal(run.log, run.folder, stage.name, position.step, stage.steps, recipe.log_every)
            )
        fit(fabric, method, job, journal, position)
    fabric.barrier()


def _labelled(
    fabric: Fabric, run: Run, recipe: Recipe, stage: Stage, material: Material, progress: Progress
) -> Material:
    """The material with the pseudo-labels that a stage learns from, where an earlier stage makes them."""
    if stage.labelled_by is None or stage.pseudo_labels is None:
        return material
    earlier = recipe.stage(stage.labelled_by)

    def classifier() -> Method:
        return trained_method(recipe, earlier, material.task, run)

    return relabelled(
        material,
        run.folder / "stages" / stage.name,
        classifier,
        stage.pseudo_labels,
        lambda: read_cohorts(recipe)[0],
        recipe.cohorts.corrections,
        fabric,
        progress,
        tell,
    )


def _announce(fabric: Fabric, build: Callable[[], Method], job: Job, position: Position) -> None:
    """Say what the stage will need, or where it goes on."""
    if position.step:
        tell(f"{job.stage.name}: goes on from step {position.step} of {job.stage.steps}")
    elif job.stage.steps >= SHORT and rank_count() == 1:
        tell(str(forecast(fabric, build, job)))


def build_method(recipe: Recipe, stage: Stage, task: Task, run: Run | None) -> Method:
    """A stage's method with fresh networks, around the frozen network of the stage that it names.

    That network comes from the stage's checkpoint in `run`, or is fresh too where no run is given.
    """
    segmenter: nn.Module | None = None
    if stage.segmenter is not None:
        earlier = recipe.stage(stage.segmenter)
        trained = (
            build_method(recipe, earlier, task, None)
            if run is None
            else (trained_method(recipe, earlier, task, run))
        )
        segmenter = trained.get_submodule("segmenter")
    return stage.method.build(task, segmenter)


def trained_method(recipe: Recipe, stage: Stage, task: Task, run: Run) -> Method:
    """A stage's method with the networks that its chosen checkpoint in `run` holds."""
    method = build_method(recipe, stage, task, run)
    load_networks(method, Checkpoints(run.stage_folder(recipe, stage.name), stage.name).chosen)
    return method


def _last(recipe: Recipe, run: Run) -> Callable[[Task], Method]:
    return lambda task: trained_method(recipe, recipe.stages[-1], task, run)


def take_over(method: Method, recipe: Recipe, stage: Stage, checkpoints: Checkpoints, fabric: Fabric) -> None:
    """Start a stage from the chosen networks of the stage of the same name in `recipe.start_from`.

    An earlier stage is then done: its network is used as it is. The last stage trains on from it.
    """
    assert recipe.start_from is not None
    earlier = Run(recipe.start_from)
    before = earlier.recipe()
    if stage.name not in [other.name for other in before.stages]:
        return
    chosen = Checkpoints(earlier.stage_folder(before, stage.name), stage.name).chosen
    origin = load_networks(method, chosen)
    if fabric.is_global_zero:
        tell(f"{stage.name}: starts from {chosen}")
    if stage.name == recipe.stages[-1].name:
        return
    if fabric.is_global_zero:
        checkpoints.save_chosen(method, origin.step, f"{origin.rule} (of an earlier run)", origin.score)
    checkpoints.save_latest(method, Position(stage.steps, origin.score, origin.step), fabric.barrier)
    fabric.barrier()
