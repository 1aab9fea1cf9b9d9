"""Files are whole or not there."""

from pathlib import Path

import pytest

from fewmask.errors import InputFault
from fewmask.files import replaced, require_free, write_json


def test_a_file_that_failed_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]


def test_the_temporary_name_keeps_the_endings(tmp_path: Path) -> None:
    with replaced(tmp_path / "volume.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz") and temporary.parent == tmp_path
    assert (tmp_path / "volume.nii.gz").exists()


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    require_free(tmp_path, 1, "slices", "or go")
    with pytest.raises(InputFault, match=r"slices need .* GiB .* or go"):
        require_free(tmp_path, 2.0**70, "slices", "or go")
