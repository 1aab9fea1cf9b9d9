"""Writing a drawn cohort as a real nnU-Net v2 folder with its tables."""

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fewmask import __version__
from fewmask.errors import InputFault
from fewmask.files import write_json

FEWEST_CASES = 4
SMALLEST_SIZE = 32


@dataclass(frozen=True)
class Drawn:
    """What `dataset.json` says about a drawn folder. `classes` starts with background; class i has value i."""

    name: str
    description: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    file_ending: str
    kind: str
    seed: int
    size: int


@dataclass(frozen=True)
class DrawnCase:
    """Where one drawn case belongs: its row of `cases.csv` without the outcomes."""

    name: str
    patient: str
    site: str
    split: str

    @property
    def suffix(self) -> str:
        """The ending of nnU-Net's folder names: `Tr` for training cases, `Ts` for test cases."""
        return "Tr" if self.split == "train" else "Ts"

    def image_path(self, root: Path, file_ending: str, channel: int = 0) -> Path:
        """The file of one channel."""
        return root / f"images{self.suffix}" / f"{self.name}_{channel:04d}{file_ending}"

    def mask_path(self, root: Path, file_ending: str) -> Path:
        """The file of the mask, which test cases have too."""
        return root / f"labels{self.suffix}" / f"{self.name}{file_ending}"


def checked(kind: str, seed: int, cases: int, size: int) -> None:
    """Refuse numbers that no phantom can be drawn with. Raises `InputFault`."""
    if cases < FEWEST_CASES:
        raise InputFault(f"phantom {kind}: {cases} cases leave no test part; ask for {FEWEST_CASES} or more")
    if size < SMALLEST_SIZE:
        raise InputFault(f"phantom {kind}: at {size} px its parts vanish; ask for {SMALLEST_SIZE} or more")
    if seed < 0:
        raise InputFault(f"phantom {kind}: the seed {seed} is negative; give 0 or a positive number")


def refuse_occupied(folders: Sequence[Path]) -> None:
    """Refuse to draw over anything that is there already. Raises `InputFault`, before a file is written."""
    for folder in folders:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise InputFault(f"{folder}: exists already and is not empty; remove it or choose another folder")


@contextmanager
def drawn_aside(out: Path, kind: str, names: Sequence[str]) -> Generator[Path]:
    """Lend a hidden folder in `out` to draw in, and move the named folders from there to `out` at the end.

    A failure leaves nothing; a kill leaves the hidden folder, which the next try of this kind clears. Raises
    `InputFault` where a named folder is occupied, before a file is written.
    """
    finals = [out / name for name in names]
    refuse_occupied(finals)
    # Inside `out`, so that it is on one disk with it and moving is renaming.
    aside = out / f".{kind}.unfinished"
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    try:
        yield aside
        refuse_occupied(finals)
        for final in finals:
            if final.exists():
                final.rmdir()
            (aside / final.name).rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_about(root: Path, drawn: Drawn, training: int) -> None:
    """Write `dataset.json` with nnU-Net's keys, and beside them that the images are drawn, by what and how."""
    write_json(
        root / "dataset.json",
        {
            "name": drawn.name,
            "description": drawn.description,
            "licence": "CC0-1.0",
            "channel_names": {str(index): channel for index, channel in enumerate(drawn.channels)},
            "labels": {name: value for value, name in enumerate(drawn.classes)},
            "numTraining": training,
            "file_ending": drawn.file_ending,
            "synthetic": True,
            "made_by": "fewmask",
            "version": __version__,
            "phantom": drawn.kind,
            "seed": drawn.seed,
            "size": drawn.size,
        },
    )
