"""Checkpoints: written whole or not at all, and read without unpickling anything."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fewmask.data.replay import Replay
from fewmask.errors import InputFault, RunFailed
from fewmask.files import replaced
from fewmask.methods.base import Method
from fewmask.ranks import rank_count, sum_over_ranks
from fewmask.safe_load import load_safely
from fewmask.training.candidates import CANDIDATE_RULE, Candidates, candidate_step
from fewmask.training.rules import RuleScores

FORMAT = "fewmask checkpoint 1"

LATEST, CHOSEN = "checkpoint_latest.pt", "checkpoint_chosen.pt"


@dataclass(frozen=True)
class Position:
    """How far a stage has come, and the best validation score so far with its step (None: not validated yet)."""

    step: int = 0
    best_score: float | None = None
    best_step: int | None = None


def _replay_keys(method: Method) -> set[str]:
    """The keys of the state that belong to replay buffers, which are large and seldom needed."""
    prefixes = tuple(f"{name}." for name, module in method.named_modules() if isinstance(module, Replay))
    return {key for key in method.state_dict() if prefixes and key.startswith(prefixes)}


class Checkpoints:
    """The checkpoints in one stage's folder."""

    def __init__(self, folder: Path, stage: str, rank: int = 0) -> None:
        self.folder = folder
        self.stage = stage
        self.rank = rank
        self._replay_step: int | None = None
        self._replay_changes = -1

    @property
    def latest(self) -> Path:
        """The checkpoint that a stopped run goes on from."""
        return self.folder / LATEST

    @property
    def chosen(self) -> Path:
        """The checkpoint that segments."""
        return self.folder / CHOSEN

    @property
    def candidates(self) -> Candidates:
        """The networks that were kept on the way."""
        return Candidates(self.folder)

    def named(self, which: str) -> Path:
        """The checkpoint that is called "chosen", "latest", or by a candidate's name. Raises InputFault for others."""
        if which in ("chosen", "latest"):
            return self.chosen if which == "chosen" else self.latest
        step = candidate_step(which)
        if step is not None and self.candidates.path(step).exists():
            return self.candidates.path(step)
        kept = ", ".join(candidate.name for candidate in self.candidates.read())
        raise InputFault(
            f"{self.folder}: has no checkpoint {which!r}; there are chosen, latest"
            + (f", {kept}" if kept else ", and no candidates (train with --set keep_candidates=true)")
        )

    def save_latest(self, method: Method, position: Position, barrier: Callable[[], None]) -> None:
        """Write all that is needed to go on: networks, optimisers, replay buffers, the place in the training.

        Called in every process. Replay buffers differ between processes and each writes its own, before the first
        writes what is equal in all and names them; a kill at any moment leaves a checkpoint that is whole.
        """
        aside = _replay_keys(method)
        state = method.state_dict()
        if aside and self._replay_changed(method):
            self._replay_step = position.step
            replay = {"format": FORMAT, "replay": {key: state[key] for key in aside}}
            _save(self._replay_file(self._replay_step), replay)
            barrier()
        if self.rank > 0:
            return
        _save(
            self.latest,
            {
                "format": FORMAT,
                "stage": self.stage,
                "step": position.step,
                "best_score": position.best_score,
                "best_step": position.best_step,
                "method": {key: value for key, value in state.items() if key not in aside},
                "optimisers": {player.name: player.optimiser.state_dict() for player in method.players},
                "replay_step": self._replay_step,
                "processes": rank_count(),
            },
        )
        for stale in self.folder.glob("replay_*.pt"):
            if not stale.name.startswith(f"replay_{self._replay_step}_"):
                stale.unlink()

    def _replay_file(self, step: int) -> Path:
        return self.folder / f"replay_{step}_{self.rank}.pt"

    def _replay_changed(self, method: Method) -> bool:
        """Whether the buffer of any process has changed since it was written; the same answer in all of them."""
        changes = _changes(method)
        changed = torch.tensor(
            float(changes != self._replay_changes), device=next(method.parameters()).device
        )
        self._replay_changes = changes
        return bool(sum_over_ranks(changed) > 0)

    def save_chosen(self, method: Method, step: int, rule: str, score: float | None) -> None:
        """Write the networks that will segment, with the rule that chose them."""
        self._save_networks(self.chosen, method, step, rule, score)

    def save_candidate(self, method: Method, step: int, scores: RuleScores) -> None:
        """Keep the networks of a step, and then what the rules say of them."""
        self._save_networks(self.candidates.path(step), method, step, CANDIDATE_RULE, None)
        self.candidates.note(step, scores)

    def _save_networks(self, path: Path, method: Method, step: int, rule: str, score: float | None) -> None:
        aside = _replay_keys(method)
        networks = {key: value for key, value in method.state_dict().items() if key not in aside}
        content = {"format": FORMAT, "stage": self.stage, "step": step, "rule": rule, "score": score}
        _save(path, {**content, "method": networks})

    def resume(self, method: Method) -> Position:
        """Put a method where `save_latest` left it. Without a checkpoint it starts at step 0.

        Raises InputFault where replay buffers were saved by another number of processes.
        """
        if not self.latest.exists():
            return Position()
        content = read_checkpoint(self.latest)
        state = dict(content["method"])
        self._replay_step = content["replay_step"]
        if self._replay_step is not None:
            if content["processes"] != rank_count():
                raise InputFault(
                    f"{self.latest}: was written by {content['processes']} processes, each with a replay buffer of "
                    f"its own; go on with --devices {content['processes']}"
                )
            state |= read_checkpoint(self._replay_file(self._replay_step))["replay"]
        method.load_state_dict(state)
        for player in method.players:
            player.optimiser.load_state_dict(content["optimisers"][player.name])
        self._replay_changes = _changes(method)
        return Position(content["step"], content["best_score"], content["best_step"])


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint's networks come from: the step, the rule that chose them, and its score if it has one."""

    step: int
    rule: str
    score: float | None


def _changes(method: Method) -> int:
    return sum(module.changes for module in method.modules() if isinstance(module, Replay))


def load_networks(method: Method, path: Path) -> Origin:
    """Put a checkpoint's networks into a method. Raises InputFault where they are not the method's."""
    content = read_checkpoint(path)
    try:
        missing, unexpected = method.load_state_dict(content["method"], strict=False)
    except RuntimeError:
        missing, unexpected = ["networks of these sizes"], []
    absent = sorted(set(missing) - _replay_keys(method))
    if absent or unexpected:
        raise InputFault(
            f"{path}: its networks are not those of the recipe ({(absent or unexpected)[0]} differs); "
            "use the recipe.yaml that lies beside it"
        )
    return Origin(content["step"], content.get("rule", "the latest step"), content.get("score"))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, only tensors and plain values; anything else is refused politely."""
    content = load_safely(
        path,
        "no such checkpoint; train first, or choose --checkpoint latest",
        "not a checkpoint that fewmask can read safely; use one that it wrote",
    )
    ours = (
        isinstance(content, dict)
        and content.get("format") == FORMAT
        and ("method" in content or "replay" in content)
    )
    if not ours:
        raise InputFault(f"{path}: not a fewmask checkpoint; use checkpoint_chosen.pt of a run folder")
    return content


def _save(path: Path, content: dict[str, Any]) -> None:
    try:
        # Through an open file torch writes no file name into the archive, so equal content makes equal bytes.
        with replaced(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        # torch reports a full disk as a RuntimeError of its file writer.
        raise RunFailed(
            f"{path}: could not be written ({str(error).splitlines()[0]}); free some disk, then run again"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RunFailed(f"{path}: the disk is full; free some, then run the same command again") from None
