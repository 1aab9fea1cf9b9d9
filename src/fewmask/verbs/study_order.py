"""From the options of `fewmask study`, and the study file that they override, to the order that is run."""

from dataclasses import dataclass
from pathlib import Path

import typer

from fewmask.recipe import Cohorts
from fewmask.studies.budget import BUDGET, budget_study
from fewmask.studies.order import Order
from fewmask.studies.pool import Tell
from fewmask.studies.precision import settled_precision
from fewmask.studies.study_file import ENDINGS, StudyFile, read_study_file, study_of
from fewmask.studies.table import Study
from fewmask.studies.verb import STUDY, list_rows, named_study, study_pair, tagged_pair


@dataclass(frozen=True)
class Folders:
    """The folders and channels of a study; of a pair both, or the one folder of a study of tags or of masks."""

    source: Path | None = None
    target: Path | None = None
    tags: Path | None = None
    masks: Path | None = None
    source_channel: str | None = None
    target_channel: str | None = None
    tags_channel: str | None = None


@dataclass(frozen=True)
class Asked:
    """The options of the command line; None where one was not given."""

    name: str
    out: Path
    folders: Folders
    outcome: str | None = None
    by_site: bool = False
    small: bool | None = None
    seeds: int | None = None
    folds: int | None = None
    rows: str | None = None
    changes: tuple[str, ...] = ()
    precision: str | None = None
    device: str = "auto"
    elsewhere: bool = False


def known_study(name: str) -> tuple[Study, StudyFile | None]:
    """A study by its name, or the one that a file describes, with the file's content."""
    if not name.endswith(ENDINGS):
        return named_study(name), None
    file = read_study_file(Path(name))
    return study_of(file, Path(name)), file


def listed_rows(name: str) -> str:
    """The rows of a study or of a study file, one a line; without a name the studies."""
    if not name.endswith(ENDINGS):
        return list_rows(name)
    return "\n".join(row.name for row in known_study(name)[0].rows)


def order_of(asked: Asked, tell: Tell) -> Order:
    """The order that the options ask for. Raises BadParameter for options that do not belong to the study."""
    study, file = known_study(asked.name)
    folders = asked.folders if file is None else _merged(asked.folders, file)
    if study.outcome is None and (asked.outcome or asked.by_site):
        raise typer.BadParameter(
            f"the study {study.name} learns no outcome: leave --outcome and --by-site out"
        )
    small = asked.small if asked.small is not None else file is not None and file.small
    given = Cohorts(masks=folders.masks, source=folders.source, target=folders.target, tags=folders.tags)
    if study is BUDGET and given != Cohorts():
        study = budget_study(given, small, asked.changes)
    else:
        _require_fitting(study, folders)
    precision = asked.precision or (None if file is None else file.precision)
    kept = asked.out / STUDY
    rows = None if asked.rows is None else asked.rows.split(",")
    # The precision is settled first: a mistyped one is told before a phantom is drawn.
    precision = settled_precision(precision, small, asked.device, kept, tell, asked.elsewhere)
    source, target = _pair(study, folders, asked.out, small)
    return Order(
        study,
        asked.out.resolve(),
        source=source.resolve(),
        target=target.resolve(),
        small=small,
        seeds=asked.seeds or (1 if file is None else file.seeds),
        folds=asked.folds or (1 if file is None else file.folds),
        rows=None if rows is None else tuple(row.strip().replace("-", "_") for row in rows),
        changes=asked.changes,
        precision=precision,
        device=asked.device,
        outcome=asked.outcome or study.outcome,
        by_site=asked.by_site or (file is not None and file.by_site),
    )


def _merged(given: Folders, file: StudyFile) -> Folders:
    """The command line's folders and channels, and the file's where it gives none."""
    return Folders(
        given.source or file.source,
        given.target or file.target,
        given.tags or file.tags,
        given.masks or file.masks,
        given.source_channel or file.source_channel,
        given.target_channel or file.target_channel,
        given.tags_channel or file.tags_channel,
    )


def _pair(study: Study, folders: Folders, out: Path, small: bool) -> tuple[Path, Path]:
    one_folder = folders.tags or folders.masks
    if one_folder is not None:
        return tagged_pair(one_folder, folders.tags_channel, out)
    pair, channels = (folders.source, folders.target), (folders.source_channel, folders.target_channel)
    return study_pair(study, out, small, pair, channels)


def _require_fitting(study: Study, folders: Folders) -> None:
    """Refuse folders that are not those which a study takes; without any a phantom is drawn."""
    if (folders.source is None) != (folders.target is None):
        raise typer.BadParameter("--source and --target belong together")
    pair = folders.source or folders.target
    if study.outcome is not None or study.masks_alone:
        needed, given = "--masks DIR", folders.masks
    elif study.tagged:
        needed, given = "--tags DIR", folders.tags
    else:
        needed, given = "--source DIR and --target DIR", pair
    if any(folder is not None and folder is not given for folder in (folders.tags, folders.masks, pair)):
        raise typer.BadParameter(f"the study {study.name} takes {needed}")
