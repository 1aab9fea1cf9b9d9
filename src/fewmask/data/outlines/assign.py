"""Which case of a cohort each outline belongs to, whatever the annotation tool called its image."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fewmask.config import did_you_mean
from fewmask.data.case import Case, Cohort
from fewmask.data.folder import stem_of
from fewmask.data.outlines.shape import Outline
from fewmask.errors import InputFault


def assigned(outlines: Sequence[Outline], cohort: Cohort) -> dict[str, list[Outline]]:
    """The outlines of each case, by its name.

    An image is called by its path in the folder, its file's name or its case, each with or without an ending, and
    folders before it that are not known do not count. Raises InputFault for an image that is not in the cohort, or that
    could be several.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for case in cohort.cases:
        for name in _names(case, cohort.root if cohort.root.is_dir() else cohort.root.parent):
            owners[name].add(case.name)
    found: dict[str, list[Outline]] = defaultdict(list)
    for outline in outlines:
        found[_owner(outline, owners, cohort)].append(outline)
    return dict(found)


def _owner(outline: Outline, owners: dict[str, set[str]], cohort: Cohort) -> str:
    path = PurePosixPath(outline.image.replace("\\", "/"))
    names = (path.as_posix(), path.name, stem_of(Path(path.name)))
    cases = next((owners[name] for name in names if name in owners), set[str]())
    if not cases:
        near = did_you_mean(path.name, {case.images[0].name for case in cohort.cases})
        hint = near if near.startswith("did") else "add the image or remove the outline"
        raise InputFault(f"{outline.where}: image {outline.image!r} is not in {cohort.root}; {hint}")
    if len(cases) > 1:
        first, other = sorted(cases)[:2]
        raise InputFault(
            f"{outline.where}: image {outline.image!r} could be {first} or {other}; write its folder before its name"
        )
    return next(iter(cases))


def _names(case: Case, home: Path) -> Iterator[str]:
    yield case.name
    for path in case.images:
        yield from (path.name, stem_of(path))
        if path.is_relative_to(home):
            inner = path.relative_to(home)
            yield from (inner.as_posix(), (inner.parent / stem_of(inner)).as_posix())
