"""What a run's page states as facts: how far it came, how it was divided, prepared and chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.data.intensity import Intensity
from fewmask.data.preparation import Preparation
from fewmask.data.split import Split
from fewmask.evaluation.compare import FEW_SHOT, ORACLE, flags
from fewmask.evaluation.naming import Names, Roster, cohort_folders
from fewmask.evaluation.run_record import Choice, RunRecord

_FLAG_WORDS = {
    ORACLE: "This checkpoint was chosen with masks that the method must not see; the score is an upper bound.",
    FEW_SHOT: "This run learnt masks beyond those of its source, as of a few patients of the target; "
    "compare it with runs that did so too.",
}
_SAME_PATIENT_WORDS = "Images of one patient are in training and in the test; the score flatters."


@dataclass(frozen=True)
class Flag:
    """A word that must not be overlooked, and what it means."""

    word: str
    meaning: str


@dataclass(frozen=True)
class Chosen:
    """How one stage's checkpoint was chosen; `choice` is None where there is none yet."""

    stage: str
    steps: int
    choice: Choice | None
    rule: str


@dataclass(frozen=True)
class Side:
    """How many train, validate or test: patients where they are known, and cases."""

    main: str
    detail: str = ""


@dataclass(frozen=True)
class Division:
    """How one cohort was divided, in words for the table."""

    role: str
    folder: str
    train: Side
    validation: Side
    test: Side
    split: Split
    remarks: tuple[str, ...]


def state(record: RunRecord) -> str:
    """Whether the training has come to its end, and how long it took."""
    if record.seconds is not None:
        return f"The training is finished ({_duration(record.seconds)} since it was last started)."
    reached = [f"{curve.stage} at step {curve.steps[-1]}" for curve in record.losses[-1:]]
    total = {stage.name: stage.steps for stage in record.recipe.stages}
    where = f": {reached[0]} of {total.get(record.losses[-1].stage, '?')}" if reached else ""
    return f"The training has not finished{where}. What this page shows may change."


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def flags_of(record: RunRecord) -> tuple[Flag, ...]:
    """The words that must not be overlooked."""
    return tuple(Flag(word, _FLAG_WORDS.get(word, _SAME_PATIENT_WORDS)) for word in flags(record))


def chosen_of(record: RunRecord, names: Names) -> tuple[Chosen, ...]:
    """How each stage's checkpoint was chosen."""
    return tuple(
        Chosen(stage.name, stage.steps, choice, names.text(choice.rule) if choice else "")
        for stage in record.recipe.stages
        for choice in [record.choice(stage.name)]
    )


def target_unopened(record: RunRecord) -> bool:
    """Whether the run adapted to a target without a single mask of it."""
    told = {ORACLE, FEW_SHOT} & set(flags(record))
    return record.recipe.cohorts.target is not None and not told


def divisions_of(record: RunRecord, rosters: Mapping[Path, Roster], names: Names) -> tuple[Division, ...]:
    """How each cohort was divided."""
    folders = cohort_folders(record.recipe)
    return tuple(
        Division(
            role=role,
            folder=names.folder(folders[role], role) if role in folders else names.text(split.cohort),
            train=_side(split.train, rosters.get(folders.get(role, Path()))),
            validation=_side(split.validation, rosters.get(folders.get(role, Path()))),
            test=_side(split.test, rosters.get(folders.get(role, Path()))),
            split=split,
            remarks=tuple(names.text(remark) for remark in split.remarks),
        )
        for role, split in record.splits.items()
    )


def _side(cases: Sequence[str], roster: Roster | None) -> Side:
    if not cases:
        return Side("none")
    count = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    if roster is None or not roster.patients_known or not set(cases) <= roster.patients.keys():
        return Side(count)
    patients = len({roster.patients[case] for case in cases})
    return Side(f"{patients} patient{'s' * (patients != 1)}", count)


def prepared(role: str, rule: Preparation) -> str:
    """How a cohort's images became network input, in a sentence."""
    first = rule.intensity[0]
    channels = [_intensity_words(channel) for channel in rule.intensity]
    values = channels[0] if all(channel == first for channel in rule.intensity) else "; ".join(channels)
    cut = ""
    if rule.slice_axis is not None:
        view = ("sagittal", "coronal", "axial")[rule.slice_axis]
        seen = f", each seen with its neighbours as {rule.inputs} channels" if rule.neighbours > 1 else ""
        cut = f"cut into {view} slices{seen}, "
    pixel = f"pixels of {rule.pixel_mm:.3g} mm" if rule.pixel_mm else "the longest side filling the square"
    number = f"{rule.channels} channel{'s' * (rule.channels != 1)}"
    return (
        f"{role.capitalize()}: {number}, {cut}brought to {rule.size} x {rule.size} with {pixel} and the aspect kept; "
        f"intensities of {values} became -1 to 1, and what lies beyond was clipped."
    )


def _intensity_words(rule: Intensity) -> str:
    if rule.rule == "own_percentiles":
        return "each image's own 0.5th to 99.5th percentile"
    ends = f"{rule.low:g} to {rule.high:g}"
    if rule.rule == "fixed":
        return ends
    own = f"{ends} standard deviations from each image's own mean"
    return (
        f"{own}, its brightest {rule.clip_top_percent:g} % cut off first," if rule.clip_top_percent else own
    )
