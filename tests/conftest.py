"""What every test shares: one thread, and a cache that is not the user's."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slice stores of tests lie in a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEWMASK_CACHE", str(folder))
    return folder
