"""What a user may ask of a conversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewmask.console import Progress
from fewmask.data.convert.steps import Steps, crop_of, window_of
from fewmask.errors import InputFault


@dataclass(frozen=True)
class Options:
    """What a user asks for; None is the format's own default.

    `crop`: e.g. "256mm", "256x160x256vox" or "none". `window`: e.g. "-125,275" or "none". `clip_top`: percent of
    the highest values, 0 is off. `label_5`: what becomes of the undocumented value in SIFA's files. `partial`:
    published test cases may be missing. `unlabelled`: a challenge's images without labels become training images
    without masks rather than being left out.
    """

    crop: str | None = None
    window: str | None = None
    clip_top: float | None = None
    zscore: bool | None = None
    label_5: Literal["ignore", "background"] | None = None
    partial: bool = False
    unlabelled: bool = False


@dataclass(frozen=True)
class Job:
    """One folder that a conversion writes: its name, and what writes it into a folder that is lent."""

    folder: str
    write: Callable[[Path, Progress], None]


def steps_of(options: Options, usual: Steps) -> Steps:
    """The steps that are asked for, the format's usual ones where nothing is. Raises InputFault for impossible ones."""
    if options.label_5 is not None:
        raise InputFault("--label-5: only SIFA's files hold that value; leave the option out")
    clip = usual.clip_top_percent if options.clip_top is None else options.clip_top
    if not 0.0 <= clip < 100.0:
        raise InputFault(f"--clip-top {clip:g}: not a percentage below 100; give e.g. 2, or 0 for none")
    return Steps(
        usual.crop if options.crop is None else crop_of(options.crop),
        usual.window if options.window is None else window_of(options.window),
        clip,
        usual.zscore if options.zscore is None else options.zscore,
    )
