"""Where a classifier looks in words, for a terminal and for a page."""

from collections.abc import Callable, Sequence

from fewmask.evaluation.explain_record import OWN_MASKS, Explanation, MapGroup, Question
from fewmask.metrics.estimate import Estimate

CAMS = {
    "cam": "CAM",
    "gradcam": "Grad-CAM",
    "gradcam_pp": "Grad-CAM++",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
}
"""What the methods are called in their papers."""


def side_titles(question: Question) -> tuple[str, str]:
    """What the positive and the other cases are called."""
    if question.outcomes_known:
        return f"{question.name} present", f"{question.name} absent"
    if question.is_tag:
        return f"Found to show {question.name}", f"Found not to show {question.name}"
    return f"Called positive for {question.name}", f"Called negative for {question.name}"


def structure_words(structures: Sequence[str]) -> str:
    """What the masks outline, as part of a sentence."""
    return f"the mask ({', '.join(structures)})" if structures else "the mask"


def share_sentence(group: MapGroup, structures: Sequence[str]) -> str:
    """How much of the map lies inside, and how much would by chance."""
    inside, area, times = group.share_inside.value, group.area_share.value, group.enrichment.value
    if inside is None or area is None or times is None:
        return "No map of these cases can be held against a mask."
    return (
        f"{_percent(inside)} of the map lies inside {structure_words(structures)}, which fills {_percent(area)} of the "
        f"image: {times:.{1 if times < 10 else 0}f} times as much as a map without any preference would have there."
    )


def percent_words(estimate: Estimate) -> tuple[str, str]:
    """A share in percent, and its interval, "" where it has none."""
    return _with_interval(estimate, _percent)


def times_words(estimate: Estimate) -> tuple[str, str]:
    """A ratio, and its interval, "" where it has none."""
    return _with_interval(estimate, "{:.2f}".format)


def _with_interval(estimate: Estimate, words: Callable[[float], str]) -> tuple[str, str]:
    if estimate.value is None:
        return "–", ""
    interval = estimate.interval
    return words(estimate.value), f"[{words(interval.low)}, {words(interval.high)}]" if interval else ""


def _percent(share: float) -> str:
    """Whole percents, but one more digit below ten."""
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f} %"


def remarks_of(question: Question, everyone: MapGroup, masks: str) -> tuple[str, ...]:
    """What a reader must know to read the shares; `everyone` is the group of all cases, `masks` says whose they are."""
    remarks: list[str] = []
    if not masks:
        remarks.append(
            "there are no masks, so nothing is said about where the organ is; give some with --masks"
        )
    if masks == OWN_MASKS:
        remarks.append("the masks are the run's own, not the truth: where they are wrong, so are the shares")
    if masks and everyone.no_mask:
        remarks.append(f"{everyone.no_mask} cases have no mask, or an empty one, and are in no share")
    if everyone.empty_maps:
        why = "no slice was found to show it, or nothing" if question.is_tag else "nothing"
        remarks.append(
            f"{everyone.empty_maps} maps are all zero: {why} at these layers raises the score; they are in no share"
        )
    if question.outcomes_known and question.outcomes_known < everyone.cases:
        lacking = everyone.cases - question.outcomes_known
        remarks.append(f"{lacking} cases have no outcome and are in the row of all cases alone")
    if not question.outcomes_known and not question.is_tag:
        remarks.append("no outcome is known: cases are divided by what the run calls them")
    return tuple(remarks)


def format_explanation(explanation: Explanation) -> str:
    """The answer for a terminal."""
    asked = f"{CAMS[explanation.cam]} of {explanation.question.name} at {', '.join(explanation.layers)}"
    lines = [f"{asked}, {explanation.groups[0].cases} cases"]
    if explanation.masks:
        lines += [
            f"{group.title} (n = {group.measured}): {share_sentence(group, explanation.structures)}"
            for group in explanation.groups
        ]
    return "\n".join([*lines, *(f"note: {remark}" for remark in explanation.remarks)])
