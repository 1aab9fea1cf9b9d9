"""What a re-drawing did to the images that `segment` reads: pictures of it, and a screen for harm."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.data.picture import write_picture
from fewmask.data.prepared_case import PreparedCase
from fewmask.evaluation import safety
from fewmask.evaluation.safety import CaseSafety, Change, Classes, Sides
from fewmask.evaluation.safety_record import (
    ATTENTION,
    TRANSLATIONS,
    UNTRANSLATED,
    Screened,
    write_safety,
)
from fewmask.evaluation.trained import Trained, View
from fewmask.losses.saliency import saliency
from fewmask.methods.base import Method
from fewmask.metrics.class_shares import UsualClasses
from fewmask.metrics.colour_separation import mean_over_slices, pairs_of
from fewmask.networks.attended import Translation
from fewmask.training.usual_classes import BLACK, read_usual_classes, told_apart_in

LEAST_SIDE = 3
"""Saliency smooths over reflected borders, which takes this many pixels a side."""


@dataclass(frozen=True)
class Look:
    """What is kept of some slices of a case: their classes, and sums, so that a volume needs little memory."""

    before: Classes
    after: Classes
    seen: NDArray[np.bool_]
    unattended: Change
    kept_classes: Change
    rank_changes: tuple[float, ...]
    apart: tuple[tuple[float | None, ...], ...]


class Screen:
    """Watches one `segment` over all its cases; writes nothing where the run does not translate."""

    def __init__(self, trained: Trained, out: Path) -> None:
        self.trained = trained
        self.out = out
        self.cases: list[CaseSafety] = []

    @cached_property
    def usual(self) -> UsualClasses | None:
        """What is usual in the source, read when the first translation is judged."""
        return read_usual_classes(self.trained.run)

    def watch(self, prepared: PreparedCase) -> "Watch":
        """Begin with a case."""
        return Watch(self, prepared)

    def write(self) -> None:
        """Write the table and the verdict over all cases."""
        if not self.cases:
            return
        method, trained = self.trained.method, self.trained
        checkpoint = {"step": trained.step, "rule": trained.rule}
        screened = Screened(
            tuple(self.cases),
            method.task.classes,
            method.kept_classes,
            method.attention_threshold,
            self.usual,
            checkpoint,
        )
        write_safety(self.out, screened)


class Watch:
    """One case: what was seen of its slices until now."""

    def __init__(self, screen: Screen, prepared: PreparedCase) -> None:
        self.screen = screen
        self.prepared = prepared
        self.looks: list[Look] = []

    def see(self, images: torch.Tensor, view: View) -> None:
        """Take in what the run made of prepared images (n, C, S, S); a picture's files are written at once."""
        if view.translation is None or view.untranslated is None:
            return
        inner = self.prepared.inner
        translation = Translation(inner(view.translation.image), inner(view.translation.attention))
        before, after = (_classes(inner(part)) for part in (view.untranslated, view.probabilities))
        method = self.screen.trained.method
        self.looks.append(look_at(method, inner(images), translation, before, after))
        if self.prepared.is_picture:
            self._write_pictures(view.translation, view.untranslated)

    def close(self) -> None:
        """Judge the case by all of its slices."""
        if self.looks:
            classes, name = self.screen.trained.method.task.classes, self.prepared.case.name
            self.screen.cases.append(judge(name, self.looks, classes, self.screen.usual))

    def _write_pictures(self, translation: Translation, untranslated: torch.Tensor) -> None:
        own = self.prepared.on_own_grid
        image = own(translation.image)[0]
        # Prepared values are -1..1 whatever rule made them; for 8-bit pictures this is the way back to 0..255.
        self._write(TRANSLATIONS, _grey_levels((image + 1.0) / 2.0))
        if self.screen.trained.method.attention_threshold is not None:
            self._write(ATTENTION, _grey_levels(own(translation.attention)[0]))
        self._write(UNTRANSLATED, _classes(own(untranslated))[0])

    def _write(self, folder: str, pixels: NDArray[np.uint8]) -> None:
        case = self.prepared.case
        write_picture(pixels, case.images[0], self.screen.out / folder / f"{case.name}.png")


def _classes(probabilities: torch.Tensor) -> Classes:
    return probabilities.argmax(1).to(torch.uint8).numpy()


def _grey_levels(shares: torch.Tensor) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] as 8-bit pixels: (H, W, 3) of three channels, else the first as (H, W)."""
    levels = (shares.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return (levels.permute(1, 2, 0) if len(levels) == 3 else levels[0]).contiguous().numpy()


def look_at(
    method: Method, images: torch.Tensor, translation: Translation, before: Classes, after: Classes
) -> Look:
    """The measures of some slices, without their padding: images (n, C, H, W), classes (n, H, W)."""
    original, redrawn = images.numpy(), translation.image.numpy()
    threshold = method.attention_threshold
    left_alone = np.zeros_like(after, dtype=np.bool_)
    if threshold is not None:
        left_alone = translation.attention[:, 0].numpy() <= threshold
    seen = np.asarray((original > BLACK).any(axis=(0, 1)))
    apart = () if not seen.any() else (told_apart_in(original, after, seen, len(method.task.classes)),)
    return Look(
        before,
        after,
        seen,
        safety.change_within(original, redrawn, left_alone),
        safety.change_within(original, redrawn, np.isin(after, method.kept_classes)),
        _rank_changes(method, images, translation.image),
        apart,
    )


def _rank_changes(method: Method, images: torch.Tensor, redrawn: torch.Tensor) -> tuple[float, ...]:
    """Of each slice that has an order to change."""
    if min(images.shape[-2:]) < LEAST_SIDE:
        return ()
    # Lab is defined for grey and for RGB alone; images of other kinds have only their own channels.
    space = method.saliency_space if images.shape[1] in (1, 3) else "rgb"
    maps = (saliency(batch, space)[:, 0].numpy() for batch in (images, redrawn))
    changes = (safety.rank_change(first, second) for first, second in zip(*maps, strict=True))
    return tuple(change for change in changes if change is not None)


def judge(
    name: str, looks: Sequence[Look], classes: tuple[str, ...], usual: UsualClasses | None
) -> CaseSafety:
    """One case's measures from what was seen of its slices."""
    before = np.concatenate([look.before for look in looks])
    after = np.concatenate([look.after for look in looks])
    seen = np.any([look.seen for look in looks], axis=0)
    ranks = [change for look in looks for change in look.rank_changes]
    apart = [pairs for look in looks for pairs in look.apart] or [(None,) * len(pairs_of(len(classes)))]
    sides = Sides(before, after, seen, mean_over_slices(apart))
    swaps = safety.swapped_classes(sides, len(classes), usual)
    return CaseSafety(
        case=name,
        agreement=safety.agreement(before, after),
        dice=safety.dice_between(before, after, len(classes)),
        change_unattended=sum((look.unattended for look in looks), Change()).mean,
        change_kept_classes=sum((look.kept_classes for look in looks), Change()).mean,
        saliency_rank_change=float(np.mean(ranks)) if ranks else None,
        swapped=tuple(f"{classes[swap.first]}/{classes[swap.second]}" for swap in swaps),
        swapped_by=tuple(dict.fromkeys(sign for swap in swaps for sign in swap.signs)),
    )
