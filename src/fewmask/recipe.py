"""Everything that decides a run, as one frozen value that survives YAML."""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from torch import nn

from fewmask.config import STRICT, did_you_mean, from_mapping, parse_assignment, to_mapping
from fewmask.errors import InputFault
from fewmask.pseudo_label_config import PseudoLabels
from fewmask.shapes import Task

Reads = Literal["labelled", "adaptation", "outcomes", "partly", "tagged", "soft"]
"""What a step takes: labelled images, a labelled source beside an unlabelled target, images with masks and outcomes,
images that have a mask or an outcome or both, images with tags, or images with pseudo-labels that an earlier stage's
maps gave."""


class MethodConfig(Protocol):
    """A frozen dataclass with the options of one method; `kind` tells methods apart in YAML."""

    reads: ClassVar[Reads]
    kind: Any

    def build(self, task: Task, segmenter: nn.Module | None) -> Any:
        """The method with fresh networks, around the frozen `segmenter` of an earlier stage where one is named."""
        ...


@dataclass(frozen=True)
class Cohorts:
    """The folders that a run reads. `masks` is a labelled cohort without a domain, `tags` one with tags.

    `corrections` holds masks that a person has drawn or mended for some of the tagged cohort's images.
    """

    masks: Path | None = None
    source: Path | None = None
    target: Path | None = None
    source_channel: str | None = None
    target_channel: str | None = None
    tags: Path | None = None
    tags_channel: str | None = None
    corrections: Path | None = None


@dataclass(frozen=True)
class SplitConfig:
    """How patients are divided. `unit="image"` lets a patient be on both sides, and every page then says so.

    `fold` chooses a row of nnU-Net's splits_final.json where the folder has one.
    A budget lets at most so many patients train, those of a smaller one among those of a larger; who validates and who
    is tested stays as without it. `masked_patients` counts in `cohorts.masks`, or in `cohorts.source` where no `masks`
    are given (beside a source, masks are the few); `tagged_patients` counts in `cohorts.tags`, `target_patients` in
    `cohorts.target`. With unit="image" they count images. Validation patients are in no budget: only with
    choose="last" are the budget's labels all that a run has used.
    """

    unit: Literal["patient", "image"] = "patient"
    validation: float = 0.2
    fold: int = 0
    masked_patients: int | None = None
    tagged_patients: int | None = None
    target_patients: int | None = None

    def __post_init__(self) -> None:
        for key in ("masked_patients", "tagged_patients", "target_patients"):
            budget: int | None = getattr(self, key)
            if budget is not None and budget < 1:
                raise InputFault(f"split.{key}={budget}: at least one must train; e.g. --set split.{key}=5")


@dataclass(frozen=True)
class Scaling:
    """How images become [-1, 1]: `auto` keeps bytes and physical units and takes other images' own percentiles.

    `z_score` takes an image's own mean and standard deviation over all of its voxels, after setting the brightest
    `clip_top_percent` of them to the value below; then `source` and `target`, pairs in standard deviations, become
    -1 and 1 in their cohort (the masks' cohort uses the source's). Without a pair the cohort's percentiles give one.
    Chen et al. 2020, SIFA; the papers' pairs are in `fewmask.recipes.scaling`.
    """

    rule: Literal["auto", "z_score"] = "auto"
    source: tuple[float, float] | None = None
    target: tuple[float, float] | None = None
    clip_top_percent: float = 0.0

    def __post_init__(self) -> None:
        if self.rule == "auto" and (self.source or self.target or self.clip_top_percent):
            raise InputFault("scaling: source, target and clip_top_percent need --set scaling.rule=z_score")
        for role, pair in (("source", self.source), ("target", self.target)):
            if pair is not None and not pair[0] < pair[1]:
                raise InputFault(
                    f"scaling.{role}=[{pair[0]:g}, {pair[1]:g}]: the first must be less, e.g. [-1.8, 4.4]"
                )
        if not 0.0 <= self.clip_top_percent < 50.0:
            raise InputFault(
                f"scaling.clip_top_percent={self.clip_top_percent:g}: must be from 0 to below 50, e.g. 2"
            )


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, each drawn uniformly in its range; 0 switches one off.

    Degrees, fractions of the side (translation), log2 of the zoom (scale) and of the exponent (gamma), and
    fractions of the intensity range [-1, 1] (contrast, brightness, noise's standard deviation).
    """

    rotation: float = 15.0
    translation: float = 0.1
    scale: float = 0.25
    flip: bool = False
    gamma: float = 0.5
    contrast: float = 0.25
    brightness: float = 0.2
    noise: float = 0.05


@dataclass(frozen=True)
class Stage:
    """One training. `segmenter` names an earlier stage whose network this one uses, frozen.

    `restyled_by` names an earlier stage that re-draws the source's images in the target's look; this one then
    learns from those, under the source's masks.
    `labelled_by` names an earlier stage that learnt tags; its maps give, as `pseudo_labels` says, what this one learns.
    `choose` is the rule that picks the checkpoint: the last one, the best on the held-out labelled patients, or the
    one that bare target images speak for: their masks tell most ("information"), are most alike from both heads
    ("agreement"), after a translation there and back ("cycle") or from several perspectives ("ensemble"), or have the
    densest neighbours ("density"). Rules are asked each `validate_every` steps and at the end; none sees a target mask.
    `keep_candidates` keeps the networks of each such step beside what all rules say of them.
    `masks_share` is the part of a batch that comes from `cohorts.masks` where `cohorts.source` is labelled too.
    """

    name: str
    method: Any
    steps: int
    batch: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    segmenter: str | None = None
    restyled_by: str | None = None
    choose: Literal["last", "validation", "information", "agreement", "density", "cycle", "ensemble"] = "last"
    validate_every: int = 100
    masks_share: float = 0.5
    keep_candidates: bool = False
    labelled_by: str | None = None
    pseudo_labels: PseudoLabels | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.validate_every) < 1:
            raise InputFault(f"stage {self.name}: steps, batch and validate_every must be at least 1")
        if (self.labelled_by is None) != (self.pseudo_labels is None):
            raise InputFault(
                f"stage {self.name}: labelled_by and pseudo_labels go together; give both or neither"
            )
        if not 0.0 < self.masks_share < 1.0:
            raise InputFault(f"stage {self.name}: masks_share={self.masks_share} must lie between 0 and 1")

    @property
    def only_positive(self) -> bool:
        """Whether it meets no slice without the object: then a classifier must tell it which slices show it."""
        return self.pseudo_labels is not None and self.pseudo_labels.only_positive

    @property
    def learns_outcome(self) -> bool:
        """Whether it learns an outcome; a method that takes partly labelled images may learn their masks alone."""
        reads = self.method.reads
        return reads == "outcomes" or (reads == "partly" and self.method.learns_outcome)


@dataclass(frozen=True)
class Recipe:
    """A name, the folders, one or more stages, and what they share: image size in pixels, seed, split.

    `outcome` says what a method that reads outcomes learns: a column of cases.csv, or a rule such as "fir>=2".
    Of volumes, a network sees `neighbours` adjacent slices at once, as channels, and they are cut across `slice_axis`:
    `auto` is each volume's thick axis, else one for all; a named one holds for every volume of the run.
    `tag` is the column of slices.csv (cases.csv for pictures) that is learnt, where there are several. `pixel_mm` is
    the side of a prepared pixel of volumes; None lets the widest slice fill `size`. `weights` is a file of ImageNet
    weights that classifiers start from.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    stages: tuple[Stage, ...]
    size: int = 256
    seed: int = 0
    cohorts: Cohorts = field(default_factory=Cohorts)
    outcome: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)
    start_from: Path | None = None
    checkpoint_minutes: float = 5.0
    workers: int = 0
    log_every: int = 10
    precision: Literal["32", "bf16"] = "32"
    neighbours: Literal[1, 3] = 1
    slice_axis: Literal["auto", "sagittal", "coronal", "axial"] = "auto"
    scaling: Scaling = field(default_factory=Scaling)
    tag: str | None = None
    pixel_mm: float | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.pixel_mm is not None and self.pixel_mm <= 0.0:
            raise InputFault(f"pixel_mm={self.pixel_mm:g}: must be above 0, e.g. 1.0")
        if self.size < 16 or self.size % 16:
            near = max(16, round(self.size / 16) * 16)
            raise InputFault(
                f"size={self.size}: the networks halve it four times; use a multiple of 16, e.g. {near}"
            )
        known: list[str] = []
        for stage in self.stages:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", stage.name) or stage.name in known:
                raise InputFault(
                    f"stage {stage.name!r}: give each stage a name of its own, of letters, digits, - and _"
                )
            for key in ("segmenter", "restyled_by", "labelled_by"):
                earlier = getattr(stage, key)
                if earlier is not None and earlier not in known:
                    remedy = did_you_mean(earlier, known) if known else "no stage comes before it"
                    raise InputFault(f"stage {stage.name}: {key}={earlier} is no earlier stage; {remedy}")
            known.append(stage.name)
        if self.log_every < 1 or self.workers < 0 or self.seed < 0:
            raise InputFault("log_every must be at least 1, workers and seed at least 0")

    @property
    def learns_outcome(self) -> bool:
        """Whether a stage learns an outcome."""
        return any(stage.learns_outcome for stage in self.stages)

    @property
    def takes_partly_labelled(self) -> bool:
        """Whether an image without a mask may still train, by its outcome."""
        return self.learns_outcome and any(stage.method.reads == "partly" for stage in self.stages)

    @property
    def takes_undiagnosed(self) -> bool:
        """Whether an image without an outcome may still train, by its mask."""
        return any(stage.method.reads == "partly" and stage.method.learns_masks for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)


def without(recipe: Recipe, term: str) -> Recipe:
    """The recipe with the weight of one loss term set to 0 in every stage that has it: an ablation."""
    touched = tuple(_without(stage, term) for stage in recipe.stages)
    if touched == recipe.stages:
        raise InputFault(f"{recipe.name}: no stage has a loss term {term!r}")
    return replace(recipe, name=f"{recipe.name}_without_{term}", stages=touched)


def _without(stage: Stage, term: str) -> Stage:
    weights = getattr(stage.method, "weights", None)
    if weights is None or not hasattr(weights, term):
        return stage
    return replace(stage, method=replace(stage.method, weights=replace(weights, **{term: 0.0})))


def recipe_from_mapping(mapping: Mapping[str, Any], kinds: Mapping[str, type[Any]], where: str) -> Recipe:
    """Read a recipe from plain values; `kinds` gives the config class for each method's `kind`."""
    content = deepcopy(dict(mapping))
    if "precision" in content:
        content["precision"] = str(content["precision"])  # YAML reads 32 as a number.
    stages = content.get("stages")
    if not isinstance(stages, list) or not stages:
        raise InputFault(f"{where}: key 'stages' is missing or empty; compare with a run's recipe.yaml")
    for stage in stages:
        method = stage.get("method") if isinstance(stage, dict) else None
        options = dict(method) if isinstance(method, dict) else {}
        kind = str(options.get("kind"))
        if kind not in kinds:
            raise InputFault(f"{where}: unknown method kind {kind!r}; {did_you_mean(kind, kinds)}")
        stage["method"] = from_mapping(kinds[kind], options, f"{where}: method {kind}")
    return from_mapping(Recipe, content, where)


def override(recipe: Recipe, assignments: Iterable[str], kinds: Mapping[str, type[Any]]) -> Recipe:
    """The recipe with `--set key=value` applied.

    A key is looked for at the top level, then ever deeper, and holds wherever it is found on the first level that
    has it: `steps=100` holds for each stage, `weights.cycle=5` for each method with such a weight. A stage's name in
    front keeps to that stage: `translators.steps=100`.
    """
    mapping: dict[str, Any] = to_mapping(recipe)
    for assignment in assignments:
        path, value = parse_assignment(assignment)
        homes = _homes(mapping, path)
        if not homes:
            raise InputFault(
                f"--set {assignment}: unknown key; {did_you_mean('.'.join(path), _known_paths(mapping))}"
            )
        for home in homes:
            home[path[-1]] = value
    return recipe_from_mapping(mapping, kinds, "--set") if mapping != to_mapping(recipe) else recipe


def takes(recipe: Recipe, assignment: str) -> bool:
    """Whether the recipe has the key of a `--set key=value`."""
    return bool(_homes(to_mapping(recipe), parse_assignment(assignment)[0]))


def _homes(mapping: dict[str, Any], path: list[str]) -> list[dict[str, Any]]:
    """The dicts whose entry the path names."""
    named = [stage for stage in mapping["stages"] if stage["name"] == path[0]]
    level: list[dict[str, Any]] = [mapping]
    if named and len(path) > 1:
        level, path = named, path[1:]
    while level:
        found = [
            home for home in (_descend(start, path[:-1]) for start in level) if home and path[-1] in home
        ]
        if found:
            return found
        level = [inner for outer in level for inner in _inside(outer)]
    return []


def _inside(mapping: dict[str, Any]) -> list[dict[str, Any]]:
    """The dicts that are values of a mapping, or items of its lists."""
    values = [item for value in mapping.values() for item in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, dict)]


def _descend(mapping: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
    current: Any = mapping
    for key in path:
        current = current.get(key) if isinstance(current, dict) else None
    return current if isinstance(current, dict) else None


def _known_paths(mapping: dict[str, Any]) -> set[str]:
    """Every key that `--set` takes, alone and behind the name of what holds it."""
    paths = {key for key in mapping if key != "stages"}
    for key, value in mapping.items():
        if isinstance(value, dict):
            paths |= {f"{key}.{inner}" for inner in value}
    return paths.union(*(_known_paths(inner) for inner in _inside(mapping)))
