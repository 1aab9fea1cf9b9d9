"""A segmenter that learns on the source in the target's look: the translator's work lies between two stages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.data.phantom import write_phantom
from fewmask.data.store import load_store
from fewmask.errors import InputFault
from fewmask.evaluation.segment import segment
from fewmask.evaluation.trained import load_trained
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.placenta import cyclegan, cyclegan_train_on_translated
from fewmask.training.run import Run
from fewmask.training.train import train, trained_method

torch.set_num_threads(1)

SHORT = ("size=32", "steps=3", "batch=2", "network.widths=[4,8]", "translator_width=4", "critic_width=4")


def short(recipe: Recipe, folders: tuple[Path, ...]) -> Recipe:
    recipe = override(recipe, SHORT, KINDS)
    return replace(recipe, cohorts=Cohorts(source=folders[0], target=folders[1]))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_phantom("placenta", tmp_path_factory.mktemp("pair"), cases=10, size=32)


def test_the_segmenter_learns_what_the_translator_drew(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    recipe = short(cyclegan_train_on_translated(True), hospitals)
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    run = Run(tmp_path / "run")
    trained = load_trained(run.folder, device="cpu")
    translators = trained_method(recipe, recipe.stage("translators"), trained.method.task, run).eval()
    restyled = load_store(run.folder / "stages" / "target_segmenter" / "restyled")
    (origin,) = [store for store in stores_in(tmp_path / "cache") if (store / "masks.npy").exists()]
    own = load_store(origin)
    rows = np.arange(own.row_count)
    with torch.no_grad():
        expected = translators.restyle(torch.from_numpy(own.images(rows)))
    assert expected is not None
    assert np.allclose(restyled.images(rows), expected.numpy(), atol=2e-3)
    assert not np.allclose(restyled.images(rows), own.images(rows), atol=2e-2)
    assert np.array_equal(restyled.masks(rows), own.masks(rows))
    written = segment(run.folder, hospitals[1], tmp_path / "masks", device="cpu")
    assert len(written.masks) > 0


def test_translators_of_an_earlier_run_are_taken_over(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(short(cyclegan(True), hospitals), tmp_path / "first", device="cpu", cache=cache)
    second = short(cyclegan_train_on_translated(True), hospitals)
    train(replace(second, start_from=tmp_path / "first"), tmp_path / "second", device="cpu", cache=cache)
    before = torch.load(tmp_path / "first" / "checkpoint_chosen.pt", weights_only=True)["method"]
    after = torch.load(
        tmp_path / "second" / "stages" / "translators" / "checkpoint_chosen.pt", weights_only=True
    )["method"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_stage_that_draws_nothing_cannot_restyle(hospitals: tuple[Path, ...], tmp_path: Path) -> None:
    recipe = short(cyclegan_train_on_translated(True), hospitals)
    stages = (*recipe.stages[:2], replace(recipe.stages[2], restyled_by="segmenter"))
    with pytest.raises(InputFault, match="re-draws no images"):
        train(replace(recipe, stages=stages), tmp_path / "run", device="cpu", cache=tmp_path / "cache")


def test_restyled_by_names_an_earlier_stage() -> None:
    recipe = cyclegan_train_on_translated(True)
    stages = (*recipe.stages[:2], replace(recipe.stages[2], restyled_by="translator"))
    with pytest.raises(InputFault, match="restyled_by=translator is no earlier stage; did you mean"):
        replace(recipe, stages=stages)


def stores_in(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if (path / "index.json").exists()]
