"""A screen for translations that change what an image says: measures of one image before and after, without a mask.

A translator is trained to fool a critic, not to keep anatomy. It can paint one class in the colours of another, and a
critic that only asks for the right amount of each colour is content. Nothing here needs a true mask, so nothing here
is a proof: a wrong translation may pass, and a right one of an unusual image may be called out.

The thresholds follow from what the words mean, and were tuned on no result: see `KEPT_CHANGE`, `RANK_CHANGE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewmask.metrics.class_shares import ClassShares, Range, UsualClasses, class_shares
from fewmask.metrics.colour_separation import pairs_of
from fewmask.metrics.overlap import ratio

Classes = NDArray[np.uint8]
"""(N, H, W): the class of each pixel of the slices of one image; N is 1 for a picture."""

KEPT_CHANGE = 0.05
"""A mean change of 5 % of the range, 13 of 256 grey levels, is seen with the naked eye; a kept region has none."""

RANK_CHANGE = 1.0
"""1 minus a rank correlation of 0: knowing what stood out before tells nothing about what stands out after."""

LEAST_REGION = 0.01
"""Regions below one percent of the image are not judged: their rims are most of them."""

MOST = 0.5
"""A region has turned into another class where more than half of it has."""

LEAST_TOLD_APART = 0.5
"""Two classes that colours tell apart no better than this, in some image of the source, are not judged by colours."""

PART_TOLD_APART = 0.5
"""Below half of what is usual, more of the one looks like the other than like itself."""


@dataclass(frozen=True)
class Change:
    """The summed absolute change of some pixels, in shares of the range [0, 1], and their number, of `among`."""

    total: float = 0.0
    pixels: int = 0
    among: int = 0

    def __add__(self, other: "Change") -> "Change":
        return Change(self.total + other.total, self.pixels + other.pixels, self.among + other.among)

    @property
    def mean(self) -> float | None:
        """None where the region is smaller than `LEAST_REGION` of the image."""
        return ratio(self.total, self.pixels) if self.pixels > LEAST_REGION * self.among else None


@dataclass(frozen=True)
class Swap:
    """Two classes that seem to have changed places, and by which signs: "area", "border", "regions", "colours"."""

    first: int
    second: int
    signs: tuple[str, ...]


@dataclass(frozen=True)
class CaseSafety:
    """The measures of one image; None is one that cannot be taken. Changes are means in [0, 1].

    `agreement` is the share of pixels that have the same class in the segmentation of the translated and of the
    untranslated image, `dice` the mean overlap of the two over foreground classes that either has. A good translation
    may lower both: it is there to change the segmentation. `swapped` holds names of classes.
    """

    case: str
    agreement: float
    dice: float | None
    change_unattended: float | None
    change_kept_classes: float | None
    saliency_rank_change: float | None
    swapped: tuple[str, ...] = ()
    swapped_by: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why this image is suspicious; empty where it is not."""
        found = {
            "swapped classes": bool(self.swapped),
            "change in the kept region": self.kept_change > KEPT_CHANGE,
            "other things stand out": (self.saliency_rank_change or 0.0) > RANK_CHANGE,
        }
        return tuple(reason for reason, there in found.items() if there)

    @property
    def kept_change(self) -> float:
        """The larger change of what shall be kept, 0 where nothing shall be."""
        return max(self.change_unattended or 0.0, self.change_kept_classes or 0.0)


def worst_first(cases: Sequence[CaseSafety]) -> tuple[CaseSafety, ...]:
    """Swapped classes first, then by how near the worst measure is to its threshold, then by the least agreement."""

    def place(case: CaseSafety) -> tuple[bool, float, float, str]:
        nearness = max(case.kept_change / KEPT_CHANGE, (case.saliency_rank_change or 0.0) / RANK_CHANGE)
        return not case.swapped, -nearness, case.agreement, case.case

    return tuple(sorted(cases, key=place))


def verdict(cases: Sequence[CaseSafety], shares_known: bool) -> str:
    """The one line over a run."""
    reasons = [reason for case in cases for reason in case.reasons]
    count = f"{len(cases)} image{'s' * (len(cases) != 1)}"
    blind = (
        ""
        if shares_known
        else " What is usual in the source is not known: swaps were sought by regions only."
    )
    screen = f"{blind} This is a screen, not a proof."
    if not reasons:
        return f"Translation safety: no sign of a harmful change in {count}.{screen}"
    parts = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(sorted(reasons)))
    suspicious = sum(bool(case.reasons) for case in cases)
    verb = "is" if suspicious == 1 else "are"
    return (
        f"Translation safety: {suspicious} of {count} {verb} suspicious ({parts}); look at them before you trust "
        f"the masks.{screen}"
    )


def agreement(before: Classes, after: Classes) -> float:
    """The share of pixels with the same class, in [0, 1]."""
    return float((before == after).mean())


def dice_between(before: Classes, after: Classes, class_count: int) -> float | None:
    """The mean Dice between two segmentations over foreground classes; a class that neither has is left out."""
    scores = [
        ratio(
            2 * int(((before == index) & (after == index)).sum()),
            int((before == index).sum() + (after == index).sum()),
        )
        for index in range(1, class_count)
    ]
    kept = [score for score in scores if score is not None]
    return ratio(sum(kept), len(kept))


def change_within(
    original: NDArray[np.floating], translated: NDArray[np.floating], region: NDArray[np.bool_]
) -> Change:
    """The absolute change of images (N, C, H, W) in [-1, 1], averaged over channels, inside a region (N, H, W)."""
    change = np.abs(translated.astype(np.float64) - original).mean(axis=1) / 2.0
    return Change(float(change[region].sum()), int(region.sum()), region.size)


def rank_change(before: NDArray[np.floating], after: NDArray[np.floating]) -> float | None:
    """1 minus Spearman's rank correlation of two maps: 0 for the same order, 1 for none in common, 2 for the reverse.

    Equal values share the mean of their ranks. None where either map has one value only.
    """
    first, second = _ranks(before), _ranks(after)
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 1.0 - float((first * second).sum()) / spread if spread else None


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[place]


@dataclass(frozen=True)
class Sides:
    """An image's classes before and after the translation.

    `seen` is as in `class_shares`; `apart` is how surely the untranslated image's colours tell the classes after the
    translation apart, as in `colour_separation.told_apart`.
    """

    before: Classes
    after: Classes
    seen: NDArray[np.bool_]
    apart: tuple[float | None, ...]


def swapped_classes(sides: Sides, class_count: int, usual: UsualClasses | None) -> tuple[Swap, ...]:
    """The pairs of classes that seem to have changed places, by four signs.

    "area" and "border": after the translation both classes take shares of the image (of its border) that are
    unusual for them in the source, and usual for each other. Blind to classes whose usual shares lie within each
    other, and to an image that holds unusually much of a class rightly.
    "regions": most of what was the one before is the other after, and the reverse, counted by connected regions of
    at least `LEAST_REGION`. Before and after are treated alike, so a translation that puts an exchange right would
    ring too; it does not where the shares are usual after it and were not before.
    "colours": the untranslated image shows no difference between the two, where the source's images always do. A
    translator that paints the one over the other in the right amount escapes the signs above: the critic sees to
    the amounts, and a segmenter that did not know the target's colours to begin with has no regions to compare.
    `usual` is None where it is not known what is usual in the source; then only regions are judged.
    """
    then, now = (class_shares(classes, sides.seen, class_count) for classes in (sides.before, sides.after))
    turned = _turned(sides.before, sides.after, class_count)
    swaps: list[Swap] = []
    for index, (first, second) in enumerate(pairs_of(class_count)):
        signs = _exchanged_shares(now, usual, first, second)
        exchanged = min(turned[first, second], turned[second, first]) > MOST
        if exchanged and not _put_right(then, now, usual, (first, second)):
            signs.append("regions")
        if usual is not None and _alike(sides.apart[index], usual.told_apart[index]):
            signs.append("colours")
        if signs:
            swaps.append(Swap(first, second, tuple(signs)))
    return tuple(swaps)


def _exchanged_shares(
    now: ClassShares | None, usual: UsualClasses | None, first: int, second: int
) -> list[str]:
    if now is None or usual is None:
        return []
    kinds = (("area", now.area, usual.area), ("border", now.border, usual.border))
    return [name for name, shares, ranges in kinds if _exchanged(shares, ranges, first, second)]


def _exchanged(shares: Sequence[float], ranges: Sequence[Range], first: int, second: int) -> bool:
    own = ranges[first].holds(shares[first]) or ranges[second].holds(shares[second])
    return not own and ranges[second].holds(shares[first]) and ranges[first].holds(shares[second])


def _alike(apart: float | None, usual: float | None) -> bool:
    if apart is None or usual is None or usual < LEAST_TOLD_APART:
        return False
    return apart < PART_TOLD_APART * usual


def _put_right(
    then: ClassShares | None, now: ClassShares | None, usual: UsualClasses | None, pair: tuple[int, int]
) -> bool:
    """Whether a pair's shares are usual after the translation and were not before it."""
    if then is None or now is None or usual is None:
        return False
    was, is_now = (
        all(
            usual.area[index].holds(shares.area[index]) and usual.border[index].holds(shares.border[index])
            for index in pair
        )
        for shares in (then, now)
    )
    return is_now and not was


def _turned(before: Classes, after: Classes, class_count: int) -> NDArray[np.float64]:
    """(K, K): of the area of the large regions of class i before, the share in regions that are mostly j after."""
    table = np.zeros((class_count, class_count))
    beside = ndimage.generate_binary_structure(2, 1)
    for index in range(class_count):
        area, turned = 0, np.zeros(class_count)
        for one, other in zip(before, after, strict=True):
            labels, regions = cast(tuple[NDArray[np.int32], int], ndimage.label(one == index, beside))
            pairs = labels.astype(np.int64).ravel() * class_count + other.ravel()
            counts = np.bincount(pairs, minlength=(regions + 1) * class_count).reshape(-1, class_count)[1:]
            sizes = counts.sum(axis=1)
            large = sizes >= LEAST_REGION * one.size
            turned += ((counts[large] > MOST * sizes[large, None]) * sizes[large, None]).sum(axis=0)
            area += int(sizes[large].sum())
        table[index] = turned / max(1, area)
    return table


def blind_pairs(usual: UsualClasses) -> tuple[tuple[int, int], ...]:
    """Pairs of classes that neither sizes nor colours can tell apart: their regions alone are judged."""

    def within(ranges: Sequence[Range], first: int, second: int) -> bool:
        inner, outer = ranges[first], ranges[second]
        return outer.holds(inner.low) and outer.holds(inner.high)

    return tuple(
        (first, second)
        for (first, second), apart in zip(pairs_of(len(usual.area)), usual.told_apart, strict=True)
        if (apart or 0.0) < LEAST_TOLD_APART
        and all(
            within(ranges, first, second) or within(ranges, second, first)
            for ranges in (usual.area, usual.border)
        )
    )
