"""A case is one patient's image or volume; a cohort is the cases of one domain. Both know files, no tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewmask.config import did_you_mean
from fewmask.errors import InputFault


@dataclass(frozen=True)
class Case:
    """One image or volume on disk, and whatever annotation lies beside it.

    `images` has one path a channel (or a single path of a file or DICOM folder that holds all channels).
    `part` is "train" or "test" as the folder says. `columns` are the other columns of `cases.csv`
    (site, outcomes, tags), as text. `slice_tags` maps a slice index to the tags of `slices.csv`.
    """

    name: str
    images: tuple[Path, ...]
    mask: Path | None = None
    patient: str = ""
    site: str | None = None
    part: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    slice_tags: Mapping[int, Mapping[str, str]] = field(default_factory=dict[int, Mapping[str, str]])

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)


@dataclass(frozen=True)
class Cohort:
    """The cases of one folder.

    `classes` starts with background; class i's value in the mask files is `label_values[i]`, and a pixel of
    value `ignored_value` neither trains nor scores. `layout` names the convention that the folder follows,
    `patients_known` says whether patients were given or every case counts as one, and `remarks` holds what a
    user should be told about how the folder was read (0/255 masks remapped, no patient column, ...).
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    label_values: tuple[int, ...] = ()
    ignored_value: int = 255
    patients_known: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.name

    def part(self, name: str) -> tuple[Case, ...]:
        """The cases of the "train" or the "test" part."""
        return tuple(case for case in self.cases if case.part == name)

    def without_masks(self) -> "Cohort":
        """The same cohort with every path to a mask forgotten: what a method may see of a target."""
        bare = tuple(replace(case, mask=None) for case in self.cases)
        return replace(self, cases=bare, classes=(), label_values=())

    def channel_index(self, wanted: str | None) -> int | None:
        """The number of a channel that is given by name or number; None where none is wanted."""
        if wanted is None:
            return None
        if wanted in self.channels:
            return self.channels.index(wanted)
        if wanted.isdigit() and int(wanted) < len(self.channels):
            return int(wanted)
        raise InputFault(f"{self.root}: no channel {wanted!r}; {did_you_mean(wanted, self.channels)}")

    def with_channel(self, index: int | None) -> "Cohort":
        """The cohort reduced to one channel. None keeps all channels."""
        if index is None or len(self.channels) == 1:
            return self
        if index >= len(self.channels):
            raise InputFault(
                f"{self.root}: has {len(self.channels)} channels, none numbered {index}; give --channel"
            )
        if any(len(case.images) != len(self.channels) for case in self.cases):
            raise InputFault(
                f"{self.root}: its channels share one file, so one cannot be chosen; omit the option"
            )
        chosen = tuple(replace(case, images=(case.images[index],)) for case in self.cases)
        return replace(self, cases=chosen, channels=(self.channels[index],))
