"""Holdings as a test needs them, without a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewmask.data.findings import Range
from fewmask.planning.holdings import ClassSeen, Holding, Role

MakeHolding = Callable[..., Holding]


def holding(role: Role = "masks", name: str = "hospital_a", **changes: Any) -> Holding:
    """A sound folder of 100 outlined X-rays of 100 patients, 20 of them for the test."""
    labelled = role in ("masks", "source")
    settings: dict[str, Any] = {
        "role": role,
        "folder": Path("/data") / name,
        "layout": "nnU-Net",
        "channel": None,
        "channels": ("X-ray",),
        "modality": "X-ray",
        "volumes": False,
        "train": 80,
        "test": 20,
        "patients": 80,
        "patients_known": True,
        "outlined": 80 if labelled else 0,
        "test_outlined": 20 if labelled else 0,
        "masks_beside": labelled,
        "classes": ("background", "lung"),
        "marked": (ClassSeen("lung", 0.3, 24),) if labelled else (),
        "sides": (Range(256, 256, 256), Range(256, 256, 256)),
        "unit": "px",
        "eight_bit": True,
        "looked_at": 24,
        "brightness_ratio": 1.0,
        "ground": 0.5,
        "copies": None,
        "tags": None,
        "outcomes": (),
        "faults": (),
        "remarks": (),
    }
    return Holding(**(settings | changes))


def volumes(role: Role = "masks", name: str = "hospital_a", **changes: Any) -> Holding:
    """A folder of MR volumes of 30 patients."""
    settings: dict[str, Any] = {
        "channels": ("T2w",),
        "modality": "MR",
        "volumes": True,
        "train": 30,
        "patients": 30,
        "outlined": 30 if role in ("masks", "source") else 0,
        "sides": tuple(Range(side, side, side) for side in (200, 200, 30)),
        "unit": "mm",
        "eight_bit": False,
    }
    return holding(role, name, **(settings | changes))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
