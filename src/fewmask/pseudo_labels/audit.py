"""How far each pseudo-label may be trusted, so that a person looks first at the ones that deserve it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.pseudo_labels.expansion import Expanded
from fewmask.pseudo_labels.fusion import entropy
from fewmask.pseudo_labels.seeds import Components, components, seeds_of

Decision = Literal["accept", "review", "reject"]

Reason = Literal["rank", "no object", "empty", "too large"]
"""Why a decision fell: by the slice's rank among the others; nothing is labelled and nothing should be; nothing is
labelled though the tag says that the object shows; too much is labelled."""

ROUNDING = 1e-9
"""Of two scores that lie closer together, neither is worse."""


@dataclass(frozen=True)
class Doubts:
    """What speaks against one slice's pseudo-label. The measures are compared within a cohort, not on a scale.

    `positive`: whether the slice is tagged as showing the object.
    `entropy`: the mean entropy of the fused map over the box of the seeds, in nats, 0 to 0.693; high is doubtful. None
    where no pixel reaches the threshold.
    `disagreement`: 1 - the mean soft Dice of all pairs of the slice's maps, in [0, 1]; high is doubtful. 0 for one map.
    `geodesic_margin`: the mean of |F - B| over the same box, in [0, 1]; low is doubtful. None without expansion or box.
    `components`: how many pieces the thresholded map falls into; many are doubtful.
    `largest_share`: the largest piece's part of their area, in [0, 1]; low is doubtful. 0 where there is no piece.
    `area_share`: the part of the slice that is labelled, in [0, 1]; doubtful far from the cohort's median.
    """

    positive: bool
    entropy: float | None
    disagreement: float
    geodesic_margin: float | None
    components: int
    largest_share: float
    area_share: float


@dataclass(frozen=True)
class AuditRule:
    """Where the line is drawn: the share of the ranked slices that is rejected, the share after them that a person
    should review, and the part of a slice above which a label is too large to be true."""

    reject: float = 0.10
    review: float = 0.30
    largest_area: float = 0.60

    def __post_init__(self) -> None:
        if min(self.reject, self.review) < 0.0 or self.reject + self.review > 1.0:
            raise InputFault(
                f"audit: reject={self.reject} and review={self.review} must be at least 0 and at most 1 together"
            )
        if not 0.0 < self.largest_area <= 1.0:
            raise InputFault(f"audit: largest_area={self.largest_area} must be above 0 and at most 1")


@dataclass(frozen=True)
class Verdict:
    """What becomes of one pseudo-label. `score` in [0, 1] is how doubtful it is: 1 is the worst."""

    score: float
    decision: Decision
    reason: Reason


DEFAULT_RULE = AuditRule()


def doubts_of(
    maps: Tensor, fused: Tensor, thresholds: Tensor, positive: Tensor, expanded: Expanded | None = None
) -> list[Doubts]:
    """The doubts about each slice of a batch, in its order.

    Maps (B, M, H, W) and their fusion (B, H, W) in [0, 1], thresholds (B,), positive (B,) bool, and the expansion that
    was made from these, if any. The labelled area is where the expanded label is above 0.5, and without an expansion
    the fused map above its threshold. No measure is ever NaN.
    """
    _check(maps, fused, thresholds, positive)
    above = fused >= thresholds[:, None, None]
    pieces = components(above)
    # The threshold's largest piece without a margin is the box of a label that was never expanded.
    seeds = seeds_of(pieces.largest, 0) if expanded is None else expanded.seeds
    box = seeds.inside_box()
    uncertainty = _mean_inside(entropy(fused), box)
    margin = (
        None if expanded is None else _mean_inside((expanded.foreground - expanded.background).abs(), box)
    )
    area = (above if expanded is None else expanded.label > 0.5).to(torch.float32).mean((1, 2))
    return _listed(positive, uncertainty, disagreement(maps), margin, pieces, area)


def disagreement(maps: Tensor) -> Tensor:
    """How little a slice's maps overlap: 1 - the mean over pairs of maps of their soft Dice, (B,) in [0, 1].

    Maps (B, M, H, W) in [0, 1]. Soft Dice is 2 Sum a b / (Sum a^2 + Sum b^2): 1 for equal maps, and for two that are
    empty. A single map cannot disagree: 0.
    """
    count = maps.shape[1]
    if count == 1:
        return maps.new_zeros(len(maps), dtype=torch.float32)
    flat = maps.flatten(2).to(torch.float32)
    products = flat @ flat.transpose(1, 2)
    sizes = products.diagonal(dim1=1, dim2=2)
    total = sizes[:, :, None] + sizes[:, None, :]
    dice = torch.where(total > 0, 2.0 * products / torch.where(total > 0, total, 1.0), 1.0)
    first, second = torch.triu_indices(count, count, 1, device=maps.device)
    return (1.0 - dice[:, first, second].mean(1)).clamp(0.0, 1.0)


def rank_doubts(doubts: Sequence[Doubts], rule: AuditRule = DEFAULT_RULE) -> list[Verdict]:
    """Which pseudo-labels to accept, to review and to reject, in the order given.

    Three kinds need no ranking. A slice tagged as positive whose label is empty, and one whose label covers more than
    `rule.largest_area`, are rejected with score 1; one tagged as negative whose label is empty is accepted with 0.

    All others are ranked within each measure, doubtful ones last, equals sharing their mean rank; a rank becomes
    (rank - 1/2) / n, and a slice's score is the mean over the measures that it has. Ranks, because the measures have
    different units and one outlier must not decide. A slice is rejected where no more than the share `rule.reject` of
    the ranked, itself included, is as doubtful or more, and reviewed where no more than `rule.reject + rule.review` is.
    So equals meet the same fate, the milder one where they straddle a line, and of fewer than ten slices the default
    rejects none by rank. InputFault for a measure that is not a number.
    """
    _check_numbers(doubts)
    settled = [_settled(doubt, rule) for doubt in doubts]
    ranked = [doubt for doubt, verdict in zip(doubts, settled, strict=True) if verdict is None]
    verdicts = iter(_by_rank(_scores(ranked), rule))
    return [next(verdicts) if verdict is None else verdict for verdict in settled]


def _settled(doubt: Doubts, rule: AuditRule) -> Verdict | None:
    """The verdict that needs no comparison, or None."""
    if doubt.area_share == 0.0:
        return Verdict(1.0, "reject", "empty") if doubt.positive else Verdict(0.0, "accept", "no object")
    if doubt.area_share > rule.largest_area:
        return Verdict(1.0, "reject", "too large")
    return None


def _scores(doubts: Sequence[Doubts]) -> NDArray[np.float64]:
    """The mean of each slice's ranks over the measures that it has."""
    if not doubts:
        return np.zeros(0)
    areas = np.array([doubt.area_share for doubt in doubts])
    measures = (
        [doubt.entropy for doubt in doubts],
        [doubt.disagreement for doubt in doubts],
        [None if doubt.geodesic_margin is None else -doubt.geodesic_margin for doubt in doubts],
        [float(doubt.components) for doubt in doubts],
        [-doubt.largest_share for doubt in doubts],
        # Rounded, so that slices equally far above and below the median tie.
        np.abs(areas - np.median(areas)).round(9).tolist(),
    )
    total, count = np.zeros(len(doubts)), np.zeros(len(doubts))
    for measure in measures:
        known = np.array([value is not None for value in measure])
        if known.any():
            values = np.array([value for value in measure if value is not None])
            total[known] += (rankdata(values) - 0.5) / len(values)
            count += known
    return total / count


def _by_rank(scores: NDArray[np.float64], rule: AuditRule) -> list[Verdict]:
    """A verdict for each score, from how many are as high or higher."""
    many = len(scores)
    ascending = np.sort(scores)
    verdicts: list[Verdict] = []
    for score in scores.tolist():
        as_bad = many - int(np.searchsorted(ascending, score - ROUNDING))
        decision: Decision = "accept"
        if as_bad <= rule.reject * many + ROUNDING:
            decision = "reject"
        elif as_bad <= (rule.reject + rule.review) * many + ROUNDING:
            decision = "review"
        verdicts.append(Verdict(score, decision, "rank"))
    return verdicts


def _mean_inside(values: Tensor, box: Tensor) -> Tensor:
    """The mean over each slice's box, (B,); -1 where there is no box."""
    count = box.sum((1, 2))
    mean = torch.where(box, values, 0.0).sum((1, 2)) / count.clamp(min=1)
    return torch.where(count > 0, mean, -1.0)


def _listed(
    positive: Tensor,
    uncertainty: Tensor,
    disagreements: Tensor,
    margin: Tensor | None,
    pieces: Components,
    area: Tensor,
) -> list[Doubts]:
    """One `Doubts` a slice from columns of measures (B,), of which -1 is none."""
    margins = torch.full_like(uncertainty, -1.0) if margin is None else margin
    columns = (positive.to(torch.bool), uncertainty, disagreements, margins, pieces.count, pieces.share, area)
    return [
        Doubts(tag, _known(undecided), differing, _known(gap), count, share, labelled)
        for tag, undecided, differing, gap, count, share, labelled in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _known(measure: float) -> float | None:
    return None if measure < 0.0 else measure


def _check(maps: Tensor, fused: Tensor, thresholds: Tensor, positive: Tensor) -> None:
    slices = fused.shape[:1]
    fits = maps.ndim == 4 and maps.shape[1] > 0 and (*maps.shape[:1], *maps.shape[2:]) == tuple(fused.shape)
    if not fits or thresholds.shape != slices or positive.shape != slices:
        raise InputFault(
            f"audit: maps {tuple(maps.shape)}, fused {tuple(fused.shape)}, thresholds {tuple(thresholds.shape)} and "
            f"tags {tuple(positive.shape)} do not fit: (B, M, H, W), (B, H, W), (B,) and (B,) are needed"
        )


def _check_numbers(doubts: Sequence[Doubts]) -> None:
    for index, doubt in enumerate(doubts):
        measures = (
            doubt.entropy,
            doubt.disagreement,
            doubt.geodesic_margin,
            doubt.largest_share,
            doubt.area_share,
        )
        if not all(math.isfinite(measure) for measure in measures if measure is not None):
            raise InputFault(
                f"audit: slice {index} has a measure that is not a number: make its pseudo-label again"
            )
