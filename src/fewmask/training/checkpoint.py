"""Checkpoints: written whole or not at all, and read without unpickling anything."""

import errno
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fewmask.data.replay import Replay
from fewmask.errors import InputFault, RunFailed
from fewmask.files import replaced
from fewmask.methods.base import Method

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

    def save_latest(self, method: Method, position: Position) -> None:
        """Write all that is needed to go on: networks, optimisers, replay buffers, the place in the training.

        Networks and optimisers are equal in all processes and the first writes them; replay buffers differ.
        """
        aside = _replay_keys(method)
        state = method.state_dict()
        self._save_replay(method, {key: state[key] for key in aside}, position.step)
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
            },
        )

    def forget_older_replays(self) -> None:
        """Remove the replay files that no checkpoint needs any more; called once all processes have saved."""
        for stale in self.folder.glob("replay_*.pt"):
            if not stale.name.startswith(f"replay_{self._replay_step}_"):
                stale.unlink()

    def _replay_file(self, step: int) -> Path:
        return self.folder / f"replay_{step}_{self.rank}.pt"

    def _save_replay(self, method: Method, state: dict[str, Any], step: int) -> None:
        changes = sum(module.changes for module in method.modules() if isinstance(module, Replay))
        if not state or changes == self._replay_changes:
            return
        self._replay_step = step
        self._replay_changes = changes
        _save(self._replay_file(step), {"format": FORMAT, "replay": state})

    def save_chosen(self, method: Method, step: int, rule: str, score: float | None) -> None:
        """Write the networks that will segment, with the rule that chose them."""
        aside = _replay_keys(method)
        networks = {key: value for key, value in method.state_dict().items() if key not in aside}
        content = {"format": FORMAT, "stage": self.stage, "step": step, "rule": rule, "score": score}
        _save(self.chosen, {**content, "method": networks})

    def resume(self, method: Method) -> Position:
        """Put a method where `save_latest` left it. Without a checkpoint it starts at step 0."""
        if not self.latest.exists():
            return Position()
        content = read_checkpoint(self.latest)
        state = dict(content["method"])
        self._replay_step = content["replay_step"]
        if self._replay_step is not None:
            state |= read_checkpoint(self._replay_file(self._replay_step))["replay"]
        method.load_state_dict(state)
        for player in method.players:
            player.optimiser.load_state_dict(content["optimisers"][player.name])
        self._replay_changes = sum(
            module.changes for module in method.modules() if isinstance(module, Replay)
        )
        return Position(content["step"], content["best_score"], content["best_step"])


def load_networks(method: Method, path: Path) -> dict[str, Any]:
    """Put a checkpoint's networks into a method; returns its other entries (stage, step, rule, score)."""
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
    return {key: value for key, value in content.items() if key != "method"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, only tensors and plain values; anything else is refused politely."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputFault(f"{path}: no such checkpoint; train first, or choose --checkpoint latest") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
        raise InputFault(
            f"{path}: not a checkpoint that fewmask can read safely; use one that it wrote"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
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
