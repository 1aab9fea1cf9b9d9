"""The precision of a study is chosen for the machine that begins it, and kept by its folder."""

from pathlib import Path

import pytest

from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.studies import precision
from fewmask.studies.precision import cpu_features, settled_precision


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_features", lambda: {"avx2", "avx512_bf16"})


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_features", lambda: {"avx2", "avx512f"})


def settle(kept: Path, asked: str | None = None, small: bool = True, elsewhere: bool = False) -> str | None:
    return settled_precision(asked, small, "cpu", kept, [].append, elsewhere)


@pytest.mark.usefixtures("native")
def test_a_new_small_study_takes_bf16_where_it_is_native(tmp_path: Path) -> None:
    assert settle(tmp_path / "study.json") == "bf16"
    assert settle(tmp_path / "study.json", small=False) is None
    assert settle(tmp_path / "study.json", "auto", small=False) == "bf16"
    assert settle(tmp_path / "study.json", "32") == "32"
    assert settle(tmp_path / "study.json", elsewhere=True) == "32"


@pytest.mark.usefixtures("emulated")
def test_without_native_bf16_it_is_32(tmp_path: Path) -> None:
    assert settle(tmp_path / "study.json") == "32"
    assert settle(tmp_path / "study.json", "bf16") == "bf16"


@pytest.mark.usefixtures("emulated")
def test_a_study_that_goes_on_keeps_its_own(tmp_path: Path) -> None:
    kept = tmp_path / "study.json"
    write_json(kept, {"precision": "bf16"})
    assert settle(kept) == settle(kept, "auto") == "bf16"
    assert settle(kept, "32") == "32"


@pytest.mark.usefixtures("native")
def test_a_folder_of_an_earlier_version_keeps_the_recipes_own(tmp_path: Path) -> None:
    kept = tmp_path / "study.json"
    write_json(kept, {"folds": 1})
    assert settle(kept) is None
    assert settle(kept, "auto") == "bf16"
    write_json(kept, {"folds": 1, "precision": None})
    assert settle(kept) is None


def test_a_mistyped_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="is not one of 32, bf16, auto"):
        settle(tmp_path / "study.json", "fp16")


def test_features_of_intel_and_arm(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile\n\nFeatures\t: asimd bf16\n")
    assert cpu_features(listing) == {"fpu", "avx512_bf16", "amx_tile", "asimd", "bf16"}
    assert cpu_features(tmp_path / "absent") == set()
