"""A published table as a value: its rows, what each is trained on, and the paper's own figures beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fewmask.recipe import Recipe

if TYPE_CHECKING:  # They are made of what stands here.
    from fewmask.studies.cells import Cell
    from fewmask.studies.order import Order


@dataclass(frozen=True)
class Published:
    """What a paper prints for a row, pooled over pixels, in [0, 1]. None where it prints nothing."""

    pixel_accuracy: float | None = None
    mean_class_accuracy: float | None = None
    mean_iou: float | None = None


@dataclass(frozen=True)
class PublishedStructures:
    """What a paper prints for a row, a structure each in the study's order: Dice in %, surface distance in voxels.

    None where the paper prints nothing, or that it could not be measured.
    """

    dice: tuple[float | None, ...]
    distance: tuple[float | None, ...]
    mean_dice: float | None = None
    mean_distance: float | None = None


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table whose method is not built here: it stands in the paper's columns alone."""

    title: str
    paper: PublishedStructures


Printed = tuple[float, float]
"""Mean and standard deviation over cases."""


@dataclass(frozen=True)
class PublishedTags:
    """What a paper prints for a row of masks from tags: Dice in % and HD95 in pixels, mean and standard deviation.

    `pseudo` are the pseudo-masks of the validation part, in 2D; `validation` and `test` the volumes' masks, in 3D.
    """

    pseudo: tuple[Printed, Printed] | None = None
    validation: tuple[Printed, Printed] | None = None
    test: tuple[Printed, Printed] | None = None


MaybePrinted = tuple[float, float | None] | None
"""Mean and standard deviation, where the paper prints one; None where it prints neither."""

OfParts = tuple[MaybePrinted, MaybePrinted, MaybePrinted]
"""On the training, the validation and the test part."""


@dataclass(frozen=True)
class PublishedJoint:
    """What a paper prints for a row of masks and an outcome, in [0, 1], on its training, validation and test part.

    IoU is the mean over images; what the others' deviations are taken over it does not say.
    """

    iou: OfParts = (None, None, None)
    recall: OfParts = (None, None, None)
    precision: OfParts = (None, None, None)
    auc: OfParts = (None, None, None)


@dataclass(frozen=True)
class PublishedDiagnosis:
    """Outcomes that a paper predicts from whole images and from the `kept` classes alone, as `masks_of` outlines them.

    Each outcome comes with the paper's two AUCs, whole and kept.
    """

    outcomes: tuple[tuple[str, float, float], ...]
    kept: tuple[str, ...]
    masks_of: str


@dataclass(frozen=True)
class Row:
    """One row: a recipe on the source's masks, on the target's, or on the pair.

    `start_from` names an earlier row whose networks this one starts from. Without a `recipe` those networks are
    used as they are; a row that is scored on nothing is only there for others to start from. `tied` rows are told
    which classes may be re-drawn. A change that a user makes for the whole table leaves a row's `fixed` keys alone:
    they are what the row is. `candidates` rows keep the networks of every validation step, so that the rules which
    choose among them can be compared.
    """

    name: str
    title: str
    recipe: Callable[[bool], Recipe] | None
    reads: Literal["source", "target", "pair", "tags"]
    start_from: str | None = None
    scored_on: Literal["target", "source", "nothing"] = "target"
    tied: bool = False
    fixed: tuple[str, ...] = ()
    paper: Published | PublishedStructures | PublishedTags | PublishedJoint | None = None
    candidates: bool = False


@dataclass(frozen=True)
class Sweep:
    """An option of which a table has several values, each with the row that has it: validation chooses one of them."""

    option: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Study:
    """A table: its rows in order, the one that adapts nothing, the one with the target's own masks, and its subject.

    `phantom` is drawn where no folders are given, `phantom_cases` of each (None: the phantom's own number), its
    second folder being the source where `reverse`. `attended` are the classes that the paper lets be re-drawn, used
    where the source has them. `diagnosis` is what the paper predicts from images, if it does. With `structures`, the
    foreground classes in the paper's order, the table has a column each; without, it pools pixels. A `tagged` study
    has one cohort, which is learnt from by its tags, and whose held-out patients are scored beside its test part.
    A study of an `outcome`, a column of cases.csv, has one cohort too, whose training, held-out and test part are
    scored.
    `phantom_size` are the pixels of a side that `--small` recipes see. `sweeps` are options whose best value on
    held-out patients the page tells. A study of `masks_alone` has one cohort, of which only masks are learnt. `tables`
    writes the tables of a study of none of these kinds from an order and its cells, and returns them as Markdown.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    floor: str
    ceiling: str
    subject: str
    phantom: str
    phantom_cases: int | None = None
    reverse: bool = False
    structures: tuple[str, ...] = ()
    paper_rows: tuple[PaperRow, ...] = ()
    attended: tuple[str, ...] = ()
    diagnosis: PublishedDiagnosis | None = None
    tagged: bool = False
    outcome: str | None = None
    phantom_size: int = 64
    sweeps: tuple[Sweep, ...] = ()
    masks_alone: bool = False
    tables: "Callable[[Order, Sequence[Cell]], str] | None" = None

    @property
    def one_cohort(self) -> bool:
        """Whether there is one folder, not a source and a target."""
        return self.tagged or self.masks_alone or self.outcome is not None

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)
