"""What a run tells while it trains: a progress bar, a log, TensorBoard scalars and sample pictures."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import TextColumn
from tensorboardX import SummaryWriter

from fewmask.console import PATIENCE, progress_bar
from fewmask.files import replaced
from fewmask.losses.turn import Turn


class Journal:
    """Writes one stage's story. Only the first process has one."""

    def __init__(self, log: Path, folder: Path, stage: str, start: int, steps: int, every: int) -> None:
        self.log, self.stage, self.steps, self.every = log, stage, steps, every
        self.samples = folder / "samples"
        self.began, self.start, self.told = time.monotonic(), start, time.monotonic()
        # Kept on the device until they are written: reading a number waits for the GPU.
        self._sums: dict[str, torch.Tensor | float] = {}
        self._turns = 0
        forget_after(log, stage, start)
        self.board = SummaryWriter(str(folder / "tensorboard" / stage), purge_step=start)
        self.progress = progress_bar(TextColumn("{task.fields[losses]}"))
        self.task = self.progress.add_task(stage, total=steps, completed=start, losses="")

    def __enter__(self) -> "Journal":
        self.progress.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.progress.stop()
        self.board.close()

    def turns(self, step: int, turns: list[Turn]) -> None:
        """Note the losses of one step; every few steps their means are written."""
        for turn in turns:
            for term, value in turn.terms.items():
                key = f"{turn.player}/{term}"
                self._sums[key] = self._sums.get(key, 0.0) + value.detach().double()
        self._turns += 1
        if step % self.every == 0 or step == self.steps:
            losses = {key: float(total) / self._turns for key, total in self._sums.items()}
            self._sums, self._turns = {}, 0
            self.write(step, {"losses": losses})
            self._tell(step, losses)
        self.progress.update(self.task, completed=step)

    def write(self, step: int, content: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl, and its numbers to TensorBoard."""
        line = {
            "stage": self.stage,
            "step": step,
            "seconds": round(time.monotonic() - self.began, 2),
            **content,
        }
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for key, value in {**content, **content.get("losses", {})}.items():
            if isinstance(value, float):
                self.board.add_scalar(f"{self.stage}/{key}", value, step)

    def _tell(self, step: int, losses: Mapping[str, float]) -> None:
        text = "  ".join(f"{key} {value:.3f}" for key, value in losses.items())
        self.progress.update(self.task, losses=text)
        quiet = self.progress.disable and (time.monotonic() - self.told > PATIENCE or step == self.steps)
        if quiet:
            self.told = time.monotonic()
            pace = (self.told - self.began) / max(1, step - self.start)
            left = pace * (self.steps - step) / 60
            print(f"{self.stage}: step {step}/{self.steps}, {left:.1f} min left  {text}", file=sys.stderr)

    def picture(self, step: int, name: str, columns: list[torch.Tensor]) -> None:
        """Save images side by side, one row a sample. Each column is (B, C, H, W) in [-1, 1], C being 1 or 3."""
        grid = picture_grid(columns)
        with replaced(self.samples / f"{self.stage}_{name}_{step:07d}.png") as temporary:
            Image.fromarray(grid).save(temporary)
        self.board.add_image(f"{self.stage}/{name}", grid, step, dataformats="HWC")


def picture_grid(columns: list[torch.Tensor]) -> np.ndarray:
    """(H, W, 3) uint8: the columns beside each other, the samples below each other."""
    shown = [
        column[:, :3] if column.shape[1] >= 3 else column[:, :1].repeat(1, 3, 1, 1) for column in columns
    ]
    rows = torch.cat([column.detach().float().cpu() for column in shown], dim=3)
    grid = torch.cat(list(rows), dim=1).permute(1, 2, 0)
    return ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


def forget_after(log: Path, stage: str, step: int) -> None:
    """Drop the lines of a stage beyond a step: a resumed run writes them again."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    kept: list[str] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # The line that a killed process was writing.
            continue
        if entry["stage"] != stage or entry["step"] <= step:
            kept.append(line)
    with replaced(log) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
