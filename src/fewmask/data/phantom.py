"""Drawn cohorts by name: folders to try every verb on, without anybody's images."""

from collections.abc import Callable, Mapping
from pathlib import Path

from fewmask.config import did_you_mean
from fewmask.data.phantoms import abdomen, cardiac, cervix, fetal_brain
from fewmask.data.phantoms.abdomen import write_abdomen
from fewmask.data.phantoms.cardiac import write_cardiac
from fewmask.data.phantoms.cervix import write_cervix
from fewmask.data.phantoms.fetal_brain import write_fetal_brain
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.phantoms.nested import SCANNERS, write_nested
from fewmask.data.phantoms.placenta import HOSPITALS, write_placenta
from fewmask.errors import InputFault

PHANTOMS: Mapping[str, Callable[[Path, int, int | None, int | None], tuple[Path, ...]]] = {
    "placenta": write_placenta,
    "nested": write_nested,
    "cardiac": write_cardiac,
    "abdomen": write_abdomen,
    "fetal_brain": write_fetal_brain,
    "cervix": write_cervix,
}
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "placenta": tuple(hospital.folder for hospital in HOSPITALS),
    "nested": tuple(scanner.folder for scanner in SCANNERS),
    "cardiac": tuple(scanner.folder for scanner in cardiac.SCANNERS),
    "abdomen": tuple(scanner.folder for scanner in abdomen.SCANNERS),
    "fetal_brain": (fetal_brain.FOLDER,),
    "cervix": (cervix.FOLDER,),
}
"""What each kind writes below `out`."""


def write_phantom(
    kind: str, out: Path, seed: int = 0, cases: int | None = None, size: int | None = None
) -> tuple[Path, ...]:
    """Write drawn cohorts, a pair or one, below `out` and say which folders they are.

    `cases` is the number of cases of each folder (None: the kind's own numbers), `size` the side of a picture or
    of a slice. The same seed gives the same pixels, and asking for more cases does not change the earlier ones.
    `-` and `_` are equal in kinds. The folders appear only when they are complete. Raises `InputFault` for an
    unknown kind, for a folder that holds something already, for fewer than 4 cases, for less than 32 px and for a
    negative seed.
    """
    name = kind.replace("-", "_")
    if name not in PHANTOMS:
        raise InputFault(f"no phantom {kind!r}; {did_you_mean(name, PHANTOMS)}")
    with drawn_aside(out, name, FOLDERS[name]) as aside:
        PHANTOMS[name](aside, seed, cases, size)
    return tuple(out / folder for folder in FOLDERS[name])
