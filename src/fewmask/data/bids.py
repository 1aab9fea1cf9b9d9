"""BIDS: raw images under sub-XX, masks under derivatives."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fewmask.data.case import Case
from fewmask.data.folder import VOLUME_ENDINGS, ending_of, files_in, folders_in, stem_of
from fewmask.data.listing import Listing, unique
from fewmask.data.tables import read_table
from fewmask.errors import InputFault

_MASK_SUFFIXES = ("mask", "dseg")
_NOT_OF_THE_IMAGE = ("desc-", "label-", "res-")


def is_bids(folder: Path) -> bool:
    """Whether the folder has subjects, and either BIDS's description or images in `sub-XX/anat` or `sub-XX/ses-*`."""
    subjects = [inner for inner in folders_in(folder) if inner.name.startswith("sub-")]
    if not subjects:
        return False
    inside = [inner.name for inner in folders_in(subjects[0])]
    return (folder / "dataset_description.json").is_file() or any(
        name == "anat" or name.startswith("ses-") for name in inside
    )


def read_bids(folder: Path, masks: bool) -> Listing:
    """One case an image, called after its file, session and run included; the subject is the patient.

    Where every session and run has the same contrasts (T1w, T2w, ...), these are the channels of one case.
    A mask is `derivatives/*/sub-XX/**/<image>_desc-*_mask.nii.gz`, or the same entities with suffix mask or dseg.
    """
    images = {stem_of(path): path for path in _images(folder)}
    if not images:
        raise InputFault(
            f"{folder}: a BIDS folder without NIfTI images under sub-*; add them or give another folder"
        )
    contrasts = sorted({stem.rpartition("_")[2] for stem in images})
    cases = _cases(folder, images, contrasts)
    if masks and (folder / "derivatives").is_dir():
        cases = _with_derived_masks(folder, cases)
    return Listing("BIDS", unique(_described(folder, cases), folder), tuple(contrasts), patients_known=True)


def _images(folder: Path) -> list[Path]:
    """The NIfTI files of `anat`; of the other data types only where there is no `anat` at all."""
    found: dict[bool, list[Path]] = defaultdict(list)
    for subject in (inner for inner in folders_in(folder) if inner.name.startswith("sub-")):
        sessions = [inner for inner in folders_in(subject) if inner.name.startswith("ses-")]
        for home in (kind for session in [subject, *sessions] for kind in folders_in(session)):
            if not home.name.startswith("ses-"):
                found[home.name == "anat"] += [p for p in files_in(home) if ending_of(p) in VOLUME_ENDINGS]
    return found[True] or found[False]


def _cases(folder: Path, images: Mapping[str, Path], contrasts: list[str]) -> list[Case]:
    if len(contrasts) == 1:
        return [Case(stem, (path,), patient=_subject(stem)) for stem, path in images.items()]
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for stem, path in images.items():
        entities, _, contrast = stem.rpartition("_")
        groups[entities][contrast] = path
    for entities, files in groups.items():
        lacking = [contrast for contrast in contrasts if contrast not in files]
        if lacking:
            raise InputFault(
                f"{folder}: {entities} lacks {lacking[0]}, which other cases have; "
                "add it, or list the images of one contrast in a manifest.csv"
            )
    return [
        Case(entities, tuple(files[contrast] for contrast in contrasts), patient=_subject(entities))
        for entities, files in groups.items()
    ]


def _subject(stem: str) -> str:
    return stem.partition("_")[0]


def _with_derived_masks(folder: Path, cases: list[Case]) -> list[Case]:
    owners = {case.name: case.name for case in cases}
    for case in cases:
        # With several contrasts or none, a mask may name one of them or only subject, session and run.
        owners |= {stem_of(path): case.name for path in case.images}
        owners |= {stem_of(path).rpartition("_")[0]: case.name for path in case.images}
    found: dict[str, Path] = {}
    for path in _derived_masks(folder):
        tokens = stem_of(path).split("_")[:-1]
        name = owners.get("_".join(token for token in tokens if not token.startswith(_NOT_OF_THE_IMAGE)))
        if name is None:
            if any(token.startswith("space-") for token in tokens):
                continue  # drawn on another grid, which is usual among derivatives
            raise InputFault(f"{path}: there is no image for this mask; add the image or remove the mask")
        if name in found:
            raise InputFault(
                f"{path}: {found[name].name} is a mask of the same image; leave one in derivatives"
            )
        found[name] = path
    return [replace(case, mask=found.get(case.name)) for case in cases]


def _derived_masks(folder: Path) -> list[Path]:
    endings = tuple(f"_{suffix}{ending}" for suffix in _MASK_SUFFIXES for ending in VOLUME_ENDINGS)
    return [
        path
        for pipeline in folders_in(folder / "derivatives")
        for subject in folders_in(pipeline)
        if subject.name.startswith("sub-")
        for path in sorted(subject.rglob("sub-*"))
        if path.name.endswith(endings)
    ]


def _described(folder: Path, cases: list[Case]) -> list[Case]:
    """Site and other columns of participants.tsv, which has one row a subject."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return cases
    rows = {row.get("participant_id", ""): row for row in read_table(path, delimiter="\t")}
    described: list[Case] = []
    for case in cases:
        known = {key: value for key, value in rows.get(case.patient, {}).items() if value not in ("", "n/a")}
        known.pop("participant_id", None)
        described.append(replace(case, site=known.pop("site", None), columns=known))
    return described
