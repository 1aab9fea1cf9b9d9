"""The run folder: what was run, on what, how far it came, and a lock so that only one process works on it."""

import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

import fewmask
from fewmask.config import read_yaml, to_mapping, to_yaml
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json, write_text
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Recipe, recipe_from_mapping

_OF_THE_DATA = (
    "split.json",
    "splits_final.json",
    "preparation.json",
    "learnt_outcomes.json",
    "material.json",
)
"""What is decided about a run's data before anything is trained; material.json is written last."""


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    folder: Path

    @property
    def log(self) -> Path:
        """One JSON object a line: losses and validation scores."""
        return self.folder / "log.jsonl"

    @property
    def splits(self) -> Path:
        """Which cases trained, validated and are kept for the test."""
        return self.folder / "split.json"

    @property
    def preparations(self) -> Path:
        """How each cohort's images were prepared."""
        return self.folder / "preparation.json"

    @property
    def material(self) -> Path:
        """The class names, and the slice stores that the run read."""
        return self.folder / "material.json"

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe; `fewmask train` takes it again."""
        return self.folder / "recipe.yaml"

    def recipe(self) -> Recipe:
        """The recipe that the folder was made with."""
        if not self.recipe_file.exists():
            raise InputFault(
                f"{self.folder}: not a run folder (it has no recipe.yaml); give the --out of a `train`"
            )
        return recipe_from_mapping(read_yaml(self.recipe_file), KINDS, str(self.recipe_file))

    def stage_folder(self, recipe: Recipe, stage: str) -> Path:
        """Where a stage's checkpoints lie: the last stage's are the run's own."""
        return self.folder if recipe.stages[-1].name == stage else self.folder / "stages" / stage

    def finished(self) -> bool:
        """Whether the training has come to its end."""
        return (self.folder / "finished.json").exists()

    def finish(self, seconds: float) -> None:
        """Mark the training as done."""
        write_json(self.folder / "finished.json", {"seconds": round(seconds, 1)})

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder for this process; a second one is refused. The system frees it when the process ends."""
        with held(self.folder / ".lock"):
            yield

    def begin(self, recipe: Recipe, environment: dict[str, Any]) -> list[str]:
        """Write the recipe, or check that it is the one that the folder was begun with. Returns remarks on the resume.

        Raises InputFault with the difference where the folder belongs to another recipe, or to something else.
        """
        # Until its data were prepared a run holds nothing worth keeping, and may begin anew with another recipe.
        if self.recipe_file.exists() and self.material.exists():
            self.require_same(recipe)
            return self._environment_remarks(environment)
        own = {"environment.json"}
        if self.recipe_file.exists():
            own |= {self.recipe_file.name, *_OF_THE_DATA}
        # Files that begin with a dot are the lock, and what a killed process left half written.
        if any(entry.name not in own and not entry.name.startswith(".") for entry in self.folder.iterdir()):
            raise InputFault(f"{self.folder}: is not empty and not a run folder; choose another --out")
        self.forget_data()
        write_json(self.folder / "environment.json", environment)
        write_text(self.recipe_file, to_yaml(recipe))
        return []

    def forget_data(self) -> None:
        """Remove what was decided about the data: nothing was trained on it, and another recipe may begin here."""
        for name in _OF_THE_DATA:
            (self.folder / name).unlink(missing_ok=True)

    def require_same(self, recipe: Recipe) -> None:
        """Raise InputFault, with the difference, where the folder was begun with another recipe."""
        changed = differences(deciding(self.recipe()), deciding(recipe))
        if changed:
            raise InputFault(
                f"{self.folder}: was begun with another recipe ({'; '.join(changed[:4])}); choose another --out"
            )

    def _environment_remarks(self, environment: dict[str, Any]) -> list[str]:
        before: dict[str, Any] = read_json(self.folder / "environment.json")
        return [
            f"{key} was {before.get(key)} when the run began and is {environment[key]} now: "
            "the result may differ in its last digits"
            for key in ("torch", "device", "threads", "processes")
            if before.get(key) != environment[key]
        ]


@contextmanager
def held(lock: Path, patience: float = 0.0) -> Generator[None]:
    """Hold a lock file in a folder for this process; another process that holds it is waited for `patience` seconds.

    Raises InputFault where it is then still held. The system frees it when the process ends.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + patience
    with lock.open("w") as handle:
        while not _taken(handle):
            if time.monotonic() >= ends:
                raise InputFault(
                    f"{lock.parent}: another process is training here; wait, or choose another --out"
                )
            time.sleep(0.2)
        yield


def _taken(handle: IO[str]) -> bool:
    try:
        # A record lock belongs to this process alone. flock's would pass to data workers, which outlive a `kill -9`
        # of their parent by seconds and would keep the run from going on.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def deciding(recipe: Recipe) -> dict[str, Any]:
    """The recipe less what changes no result, so that a run may go on with another value of it.

    Folders may have moved: that their images are the same is judged by content when they are read.
    """
    mapping: dict[str, Any] = to_mapping(recipe)
    for role in ("masks", "source", "target"):
        mapping["cohorts"][role] = mapping["cohorts"][role] is not None
    return {
        key: value
        for key, value in mapping.items()
        if key not in ("workers", "checkpoint_minutes", "log_every")
    }


def short_hash(content: Any) -> str:
    """Twelve hexadecimal digits that tell plain content (dicts, lists, scalars) from any other."""
    written = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()[:12]


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Where two nested mappings differ, as `key: old -> new`."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [
            d
            for key in keys
            for d in differences(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [d for index, (old, new) in pairs for d in differences(old, new, f"{path}.{index}")]
    return [] if before == after else [f"{path}: {before} -> {after}"]


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """What a run's digits depend on beside its recipe. Holds no host name, user name or path."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "fewmask": fewmask.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processes": processes,
    }
