"""Two channels of one folder, as a pair of folders that share no patient."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.studies.cardiac import CARDIAC
from fewmask.studies.channels import channel_folders
from fewmask.studies.verb import study_pair


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Two"
    for number in range(8):
        suffix = "Tr" if number < 6 else "Ts"
        for place, value in (("images", 1), ("images", 2), ("labels", 0)):
            ending = f"_{value - 1:04d}" if value else ""
            path = root / f"{place}{suffix}" / f"case{number}{ending}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            volume = (
                np.full((4, 4, 3), value * 100 + number, np.int16) if value else np.ones((4, 4, 3), np.int16)
            )
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    labels = {"background": 0, "tumour": 1}
    channels = {"0": "FLAIR", "1": "T1"}
    write_json(
        root / "dataset.json",
        {"channel_names": channels, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"},
    )
    return root


def test_the_halves_share_no_patient_and_each_has_its_channel(folder: Path, tmp_path: Path) -> None:
    source, target = (read_cohort(path) for path in channel_folders(folder, "FLAIR", "1", tmp_path / "out"))
    assert not {case.patient for case in source.cases} & {case.patient for case in target.cases}
    assert len(source.part("train")) == len(target.part("train")) == 3 and not source.part("test")
    assert [case.name for case in target.part("test")] == ["case6", "case7"]
    assert source.channels == ("FLAIR",) and target.channels == ("T1",)
    assert source.classes == target.classes == ("background", "tumour")
    for cohort, hundred in ((source, 1), (target, 2)):
        for case in cohort.cases:
            volume = np.asarray(nibabel.load(case.images[0]).dataobj)
            assert (volume == 100 * hundred + int(case.name[-1])).all() and case.mask is not None


def test_a_second_call_finds_the_same_pair(folder: Path, tmp_path: Path) -> None:
    first = channel_folders(folder, "FLAIR", "T1", tmp_path / "out")
    names = [case.name for case in read_cohort(first[0]).cases]
    assert channel_folders(folder, "FLAIR", "T1", tmp_path / "out") == first
    assert [case.name for case in read_cohort(first[0]).cases] == names


def test_channels_of_two_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="two channels of one folder"):
        study_pair(CARDIAC, tmp_path, True, (folder, tmp_path), ("FLAIR", "T1"))
    with pytest.raises(InputFault, match="two channels of one folder"):
        study_pair(CARDIAC, tmp_path, True, (folder, folder), ("FLAIR", None))
    with pytest.raises(InputFault, match="no channel 'T3'"):
        channel_folders(folder, "FLAIR", "T3", tmp_path / "out")
