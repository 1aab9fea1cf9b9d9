import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.console import silent
from fewmask.data.case import Case
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.files import write_csv, write_json
from fewmask.planning.holdings import PICTURES, look_into, masks_lie_in
from fewmask.planning.labels import OutcomeSeen, outcome_seen, outcomes_in
from fewmask.planning.modality import modality_of, names_a_contrast


def pictures(root: Path, count: int, channel: str = "X-ray", bright: int = 120) -> Path:
    """An nnU-Net folder of noise with a square, half of it for the test."""
    for index in range(count):
        rng = np.random.default_rng(index)
        for part in ("Tr", "Ts")[: 2 if index % 2 else 1]:
            image = rng.integers(0, bright, (40, 48), dtype=np.uint8)
            mask = np.zeros((40, 48), np.uint8)
            mask[10:20, 12:24] = 1
            for kind, values, ending in (("images", image, "_0000"), ("labels", mask, "")):
                folder = root / f"{kind}{part}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / f"c{index:03}{part}{ending}.png")
    described = {"channel_names": {"0": channel}, "labels": {"background": 0, "lung": 1}}
    write_json(root / "dataset.json", described | {"numTraining": count, "file_ending": ".png"})
    return root


def test_a_labelled_folder_is_counted_and_looked_at(tmp_path: Path) -> None:
    found = look_into(pictures(tmp_path / "d", 6), "masks", None, silent).holding
    assert (found.train, found.test, found.outlined, found.test_outlined) == (6, 3, 6, 3)
    assert found.modality == "X-ray" and not found.volumes and found.longest == 48
    assert found.marked[0].share == pytest.approx(10 * 12 / (40 * 48)) and found.marked[0].cases == 6
    assert not found.patients_known and found.masks_beside and found.eight_bit


def test_a_large_folder_is_sampled_from_end_to_end(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "d", PICTURES + 10)
    last = sorted((folder / "imagesTr").iterdir())[-1]
    last.write_bytes(b"broken")
    found = look_into(folder, "masks", None, silent)
    assert found.holding.looked_at == PICTURES - 1 == len(found.styles) and found.holding.faults


def test_no_mask_of_a_target_is_opened_or_counted(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "d", 6)
    for mask in folder.glob("labels*/*"):
        mask.write_bytes(b"no picture at all")
    found = look_into(folder, "target", None, silent).holding
    assert found.masks_beside and found.outlined == found.test_outlined == 0 and found.marked == ()
    assert found.classes == ("background", "lung")
    assert found.faults == ()


def test_copies_are_searched_where_nobody_names_patients(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "d", 4)
    shutil.copy(folder / "imagesTr/c001Tr_0000.png", folder / "imagesTs/c001Ts_0000.png")
    found = look_into(folder, "target", None, silent).holding
    assert found.copies is not None and found.copies.crossing >= 1
    names = [path.name.removesuffix("_0000.png") for path in folder.glob("images*/*")]
    write_csv(folder / "cases.csv", ("case", "patient"), [(name, name) for name in names])
    assert look_into(folder, "target", None, silent).holding.copies is None


def test_broken_images_are_faults_and_a_folder_of_them_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "d", 6)
    images = sorted((folder / "imagesTr").iterdir())
    images[0].write_bytes(b"broken")
    found = look_into(folder, "masks", None, silent).holding
    assert found.looked_at == 5 and len(found.faults) == 1 and "(1 of 6)" in found.faults[0]
    for image in images:
        image.write_bytes(b"broken")
    with pytest.raises(InputFault, match="no image can be read"):
        look_into(folder, "masks", None, silent)


def test_tags_and_outcomes_are_counted_over_the_training_part(tmp_path: Path) -> None:
    (folder,) = write_phantom("fetal_brain", tmp_path / "f", 0, 5, 32)
    found = look_into(folder, "tags", None, silent).holding
    rows = [line.split(",") for line in (folder / "slices.csv").read_text().splitlines()[1:]]
    train = {path.name.split("_0000")[0] for path in (folder / "imagesTr").iterdir()}
    told = [int(row[2]) for row in rows if row[0] in train]
    assert found.volumes and found.tags is not None
    assert (found.tags.slices, found.tags.positive) == (len(told), sum(told))


def test_columns_of_two_values_may_be_outcomes_and_rare_ones_are_not_offered() -> None:
    cases = [
        Case(
            f"c{index}",
            (Path(f"c{index}.png"),),
            patient=f"p{index // 2}",
            columns={
                "malignant": str(int(index < 6)),
                "rare": str(int(index < 2)),
                "finding": str(index % 3),
                "empty": "",
            },
        )
        for index in range(20)
    ]
    assert outcomes_in(cases) == (OutcomeSeen("malignant", "malignant", "malignant==1", 20, 6, 3),)
    assert outcome_seen("finding>=2", cases).positive == 6
    with pytest.raises(InputFault, match="holds 3 values"):
        outcome_seen("finding", cases)


def test_masks_are_known_by_names_alone(tmp_path: Path) -> None:
    assert masks_lie_in(pictures(tmp_path / "nnunet", 2))
    for name, place in (
        ("plain", "masks/a.png"),
        ("beside", "a_mask.png"),
        ("derived", "derivatives/x/m.nii"),
    ):
        path = tmp_path / name / place
        path.parent.mkdir(parents=True)
        path.touch()
        assert masks_lie_in(tmp_path / name), name
    bare = tmp_path / "bare" / "imagesTr"
    bare.mkdir(parents=True)
    (bare / "a_0000.png").touch()
    (tmp_path / "bare" / "labelsTr").mkdir()
    assert not masks_lie_in(tmp_path / "bare")
    write_csv(tmp_path / "m" / "manifest.csv", ("image", "mask"), [("a.png", "")])
    assert not masks_lie_in(tmp_path / "m")
    write_csv(tmp_path / "m" / "manifest.csv", ("image", "mask"), [("a.png", "b.png")])
    assert masks_lie_in(tmp_path / "m") and masks_lie_in(tmp_path / "m" / "manifest.csv")


@pytest.mark.parametrize(
    ("channels", "lowest", "kind"),
    [
        (("X-ray",), 0.0, "X-ray"),
        (("FLAIR", "T1-post"), 0.0, "MR"),
        (("T2w",), 0.0, "MR"),
        (("CT",), 0.0, "CT"),
        (("R", "G", "B"), 0.0, "colour"),
        (("transvaginal ultrasound",), 0.0, "ultrasound"),
        (("image",), -1000.0, "CT"),
        (("image",), 0.0, "unknown"),
        (("T1", "CT"), 0.0, "unknown"),
        (("subtracted",), 0.0, "unknown"),
    ],
)
def test_the_modality_is_told_by_names_or_by_air(
    tmp_path: Path, channels: tuple[str, ...], lowest: float, kind: str
) -> None:
    file = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), file)
    assert modality_of(channels, Case("a", (file,)), True, lowest) == kind


def test_a_modality_is_no_contrast() -> None:
    assert names_a_contrast(("FLAIR",)) and names_a_contrast(("T1", "MR"))
    assert not names_a_contrast(("MRI",)) and not names_a_contrast(("channel_0", "channel_1"))
