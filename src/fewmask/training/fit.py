"""The loop: draw, play, note, keep.

Everything random is a function of (seed, stage, step), so any step can be the first.
"""

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fewmask.data.augment import augment, moved
from fewmask.data.batch import (
    Adaptation,
    Batch,
    Diagnosed,
    Labelled,
    PartlyLabelled,
    SoftlyLabelled,
    Tagged,
    Unlabelled,
)
from fewmask.data.stream import Share, Slices, key_of, stream
from fewmask.errors import Interrupted, RunFailed
from fewmask.methods.base import Method
from fewmask.ranks import rank_count, sum_over_ranks
from fewmask.recipe import Recipe, Stage
from fewmask.shapes import IGNORED
from fewmask.training.checkpoint import Checkpoints, Position
from fewmask.training.journal import Journal
from fewmask.training.play import play
from fewmask.training.rules import IN_WORDS, TARGET_RULES, RuleScores, Validation, scores_of
from fewmask.training.target_rules import TargetSlices

PICTURES = 8
"""Sample pictures are taken this often in a stage."""

OUT_OF_MEMORY = "a step does not fit into memory; lower --set batch or --set size, or use --small"


@dataclass(frozen=True)
class Job:
    """One stage of one recipe, with what it reads and where it writes.

    `validation` and `target` are what the rules that may choose its checkpoint look at.
    """

    recipe: Recipe
    stage: Stage
    number: int
    shares: tuple[Share, ...]
    validation: Validation | None
    checkpoints: Checkpoints
    target: TargetSlices | None = None


@dataclass
class Stop:
    """Raised by a signal, read by the loop between two steps."""

    signal: int | None = None


@contextmanager
def listening() -> Generator[Stop]:
    """Turn SIGINT and SIGTERM into a wish that the loop reads, for as long as the context lasts."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unwinding() -> Generator[None]:
    """Turn SIGTERM into Interrupted while a run is prepared, so that half-built files are removed on the way out."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fit(fabric: Fabric, method: Method, job: Job, journal: Journal | None, position: Position) -> None:
    """Train one stage from `position` to its end, writing its checkpoints.

    Raises Interrupted after a signal, and RunFailed for a loss that is not finite.
    """
    stage = job.stage
    steps = range(position.step, stage.steps)
    slices = stream(
        job.shares,
        job.recipe.seed,
        steps,
        workers=job.recipe.workers,
        rank=fabric.global_rank,
        ranks=rank_count(),
    )
    keeper = _Keeper(fabric, method, job, journal, position)
    if journal is not None:
        job.checkpoints.candidates.forget_after(position.step)
    method.train()
    with listening() as stop:
        for step, drawn in zip(steps, slices, strict=True):
            torch.manual_seed(key_of(job.recipe.seed, job.number, step, fabric.global_rank))
            batch = batch_of(stage, [part.to(fabric.device) for part in drawn])
            try:
                turns = play(
                    fabric, method, method.training_step(batch, step / stage.steps), step / stage.steps
                )
            except (torch.OutOfMemoryError, MemoryError):
                raise RunFailed(f"stage {stage.name}: {OUT_OF_MEMORY}") from None
            if journal is not None:
                journal.turns(step + 1, turns)
            keeper.after(step + 1, batch, stop)


def batch_of(stage: Stage, parts: list[Slices]) -> Batch:
    """Augment the drawn slices on their device and hand the step exactly what it may see."""
    reads = stage.method.reads
    grown = [augment(part.images, part.masks, part.keys, stage.augmentation) for part in parts]
    if reads == "adaptation":
        (source, masks), (target, _) = grown
        assert masks is not None
        return Adaptation(Labelled(source, masks), Unlabelled(target))
    images = torch.cat([images for images, _ in grown])
    findings = [part.findings for part in parts if part.findings is not None]
    if reads == "tagged":
        return Tagged(images, torch.cat(findings))
    if reads == "soft":
        soft = [moved(part.soft, part.keys, stage.augmentation) for part in parts if part.soft is not None]
        return SoftlyLabelled(images, *torch.cat(soft).unbind(1))
    masks_of_parts: list[Tensor] = [masks for _, masks in grown if masks is not None]
    if reads == "outcomes":
        return Diagnosed(images, torch.cat(masks_of_parts), torch.cat(findings))
    if reads == "partly":
        outlined = [(part.masks != IGNORED).flatten(1).any(1) for part in parts if part.masks is not None]
        return _partly_labelled(images, torch.cat(masks_of_parts), torch.cat(outlined), findings)
    return Labelled(images, torch.cat(masks_of_parts))


def _partly_labelled(
    images: Tensor, masks: Tensor, has_mask: Tensor, findings: list[Tensor]
) -> PartlyLabelled:
    """A batch of what is known; `has_mask` is from before the augmentation, which brings in background from outside."""
    known = torch.where(has_mask[:, None, None], masks, IGNORED)
    outcomes = (
        torch.cat(findings) if findings else torch.full((len(images),), torch.nan, device=images.device)
    )
    return PartlyLabelled(images, known, has_mask, outcomes.nan_to_num(0.0), ~outcomes.isnan())


@dataclass
class _Keeper:
    """Decides after each step what to keep: a checkpoint, a chosen one, a picture."""

    fabric: Fabric
    method: Method
    job: Job
    journal: Journal | None
    position: Position
    saved_at: float = field(default_factory=time.monotonic)

    def after(self, step: int, batch: Batch, stop: Stop) -> None:
        """Called when `step` steps are done."""
        stage = self.job.stage
        last = step == stage.steps
        self.position = Position(step, self.position.best_score, self.position.best_step)
        if self._asks_rules and (last or step % stage.validate_every == 0):
            self._ask_rules(step)
        if last and stage.choose == "last" and self.journal is not None:
            self.job.checkpoints.save_chosen(self.method, step, rule_in_words(self.job), None)
        if last or step % max(1, stage.steps // PICTURES) == 0:
            self._picture(step, batch)
        stopping, due = self._agreed(stop)
        if last or stopping or due:
            self._save()
        if stopping:
            raise Interrupted(stopping)

    def _agreed(self, stop: Stop) -> tuple[int, bool]:
        """The signal to stop by (0: none), and whether a checkpoint is due; the same answer in every process."""
        due = time.monotonic() - self.saved_at > 60.0 * self.job.recipe.checkpoint_minutes
        if rank_count() == 1:
            return stop.signal or 0, due
        # Clocks differ between processes, and a signal may reach only some of them; the sum is the same for all.
        wishes = torch.tensor([float(stop.signal is not None), float(due)], device=self.fabric.device)
        stopping, due_somewhere = (sum_over_ranks(wishes) > 0).tolist()
        return (stop.signal or signal.SIGTERM) if stopping else 0, bool(due_somewhere)

    def _save(self) -> None:
        self.job.checkpoints.save_latest(self.method, self.position, self.fabric.barrier)
        self.fabric.barrier()
        self.saved_at = time.monotonic()

    @property
    def _asks_rules(self) -> bool:
        return self.job.stage.keep_candidates or self.job.stage.choose != "last"

    def _ask_rules(self, step: int) -> None:
        job = self.job
        if self.journal is not None:
            scores = scores_of(self.method, job.stage, job.validation, job.target, self.fabric.device)
            if told := _told(scores, job.validation):
                self.journal.write(step, told)
            if job.stage.keep_candidates:
                job.checkpoints.save_candidate(self.method, step, scores)
            self._choose(step, scores)
        self.fabric.barrier()

    def _choose(self, step: int, scores: RuleScores) -> None:
        """Keep the networks if the stage's rule finds them better than all before; of equals the first stays."""
        if self.job.stage.choose == "last":
            return
        score = scores.of(self.job.stage.choose)
        assert score is not None  # `require_rule` and `validation_of` have refused a rule that cannot tell
        if self.position.best_score is None or score > self.position.best_score:
            self.position = Position(step, score, step)
            self.job.checkpoints.save_chosen(self.method, step, rule_in_words(self.job), score)

    @torch.no_grad()
    def _picture(self, step: int, batch: Batch) -> None:
        if self.journal is None:
            return
        if not self.method.draws_masks:
            self._samples(self.journal, step, batch)
            return
        images = (batch.target if isinstance(batch, Adaptation) else batch).images[:4]
        self.method.eval()
        translated = self.method.translate(images)
        columns = [images] if translated is None else [images, translated.image]
        classes = self.method.segment(images).argmax(1, keepdim=True)
        columns.append(classes / max(1, len(self.method.task.classes) - 1) * 2.0 - 1.0)
        self.journal.picture(step, "target" if translated is not None else "batch", columns)
        self.method.train()

    def _samples(self, journal: Journal, step: int, batch: Batch) -> None:
        """What a method that draws no masks has to show."""
        self.method.eval()
        columns = [images[:4] for images in self.method.samples(batch)]
        self.method.train()
        if columns:
            journal.picture(step, "restyled", columns)


def _told(scores: RuleScores, validation: Validation | None) -> dict[str, float]:
    """The scores under the names that they have in the log."""
    told: dict[str, float | None] = {rule: scores.of(rule) for rule, _ in TARGET_RULES}
    if validation is not None:
        told[f"validation_{validation.measure.lower().replace(' ', '_')}"] = scores.validation
    return {name: score for name, score in told.items() if score is not None}


def rule_in_words(job: Job) -> str:
    """How a stage's checkpoint is chosen, for its page."""
    if job.stage.choose == "validation" and job.validation is not None:
        kind = "tagged" if job.stage.method.reads in ("tagged", "soft") else "labelled"
        patients = f"the held-out patients of the {kind} cohort {job.validation.cohort}"
        return f"the best {job.validation.measure} on {patients}"
    if job.target is None or job.stage.choose in ("last", "validation"):
        return "the last step"
    return f"the {IN_WORDS[job.stage.choose]} on the bare training images of {job.target.cohort}"
