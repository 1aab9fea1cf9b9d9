"""Maps of tiny runs, held against masks, and what is refused on the way."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from tests.tagged import DEPTH, SHOWN, short, write_tagged

from fewmask.data.case import Case
from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.prepared_case import PreparedCase, prepare_case
from fewmask.errors import InputFault
from fewmask.evaluation import explain as explaining
from fewmask.evaluation.aligned_maps import CANVAS, AlignedMean
from fewmask.evaluation.explain import explain
from fewmask.evaluation.explain_gallery import draw_map
from fewmask.evaluation.explain_page import EXAMPLES, PAGE, kinds_of
from fewmask.evaluation.explain_record import (
    MAPS,
    MEANS,
    SUMMARY,
    TABLE,
    Explained,
    Measured,
    Question,
    group_of,
    measured,
)
from fewmask.evaluation.explain_words import format_explanation, share_sentence
from fewmask.evaluation.looking import load_looking
from fewmask.evaluation.segment import segment
from fewmask.evaluation.trained import Trained, load_trained
from fewmask.methods.base import Look
from fewmask.methods.joint import Joint
from fewmask.methods.kinds import KINDS
from fewmask.methods.tags import TagClassifier
from fewmask.metrics.interval import bootstrap_interval
from fewmask.pseudo_labels.activation_map import maps_of
from fewmask.pseudo_labels.fusion import fused
from fewmask.recipe import Cohorts, override
from fewmask.recipes.names import RECIPES
from fewmask.training.train import train

torch.set_num_threads(1)

TINY = ("size=64", "steps=12", "batch=4", "validate_every=6", "network.widths=[4,8,16]")


def fit(name: str, dataset: Path, out: Path, *changes: str, outcome: str | None = "fir>=2") -> Path:
    recipe = override(RECIPES[name](True), (*TINY, *changes), KINDS)
    cohorts = Cohorts(masks=dataset)
    train(replace(recipe, cohorts=cohorts, outcome=outcome), out, device="cpu", cache=out.parent / "cache")
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn placentas with masks, patients and a column of outcomes; the last ones are the test part."""
    return write_phantom("placenta", tmp_path_factory.mktemp("drawn") / "placenta", 0, 24, 48)[0]


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit("joint", dataset, tmp_path_factory.mktemp("joint") / "run", "branch.dropout=0")


@pytest.fixture(scope="module")
def explained(run: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An explanation with the dataset's own masks."""
    out = tmp_path_factory.mktemp("explained") / "out"
    explain(run, dataset, out, masks=dataset / "labelsTs", device="cpu")
    return out


def rows_of(folder: Path, name: str = TABLE) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def prepared_of(trained: Trained, folder: Path) -> dict[str, PreparedCase]:
    cohort = read_cohort(folder, masks=False)
    cases = cohort.part("test") or cohort.cases
    return {case.name: prepare_case(case, trained.preparation) for case in cases}


def by_hand(trained: Trained, prepared: PreparedCase, layer: str, cam: str = "gradcam") -> np.ndarray:
    """The map of a picture (H, W), from the network alone."""
    method = trained.method
    assert isinstance(method, Joint)
    found = maps_of(method.segmenter, *prepared.chunks(), cam, [layer], lambda answers: answers.outcome)
    return prepared.on_own_grid(found.normalised)[0, 0].numpy()


def test_the_table_says_what_is_found_by_hand(
    run: Path, dataset: Path, explained: Path, tmp_path: Path
) -> None:
    rows = rows_of(explained)
    assert list(rows[0]) == [
        *("case", "patient", "outcome", "probability", "share_inside", "area_share", "peak_inside")
    ]
    segment(run, dataset, tmp_path, device="cpu")
    told = {row["case"]: row for row in rows_of(tmp_path, "outcomes.csv")}
    table = {row["case"]: row for row in rows_of(dataset, "cases.csv")}
    assert [row["case"] for row in rows] == list(told)
    trained = load_trained(run, device="cpu")
    cases = prepared_of(trained, dataset)
    for row in rows:
        name = row["case"]
        assert int(row["outcome"]) == (float(table[name]["fir"]) >= 2)
        assert row["patient"] == table[name]["patient"]
        assert float(row["probability"]) == pytest.approx(float(told[name]["probability"]), abs=1e-6)
        mask = np.asarray(Image.open(dataset / "labelsTs" / f"{name}.png")) > 0
        assert float(row["area_share"]) == pytest.approx(mask.mean())
        heat = by_hand(trained, cases[name], "level3")
        assert heat.max() > 0
        assert float(row["share_inside"]) == pytest.approx(heat[mask].sum() / heat.sum(), rel=1e-4)
        assert row["peak_inside"] == ("yes" if mask.ravel()[heat.argmax()] else "no")
    assert len({row["share_inside"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("layer", "cam"), [("level1", "gradcam"), ("level2", "gradcam_pp"), ("level3", "ablationcam")]
)
def test_a_map_is_the_networks_at_any_layer(run: Path, dataset: Path, layer: str, cam: str) -> None:
    trained = load_trained(run, device="cpu")
    prepared = next(iter(prepared_of(trained, dataset).values()))
    looking = load_looking(trained, layer, cam, "cpu")
    found = looking.map_of(prepared)
    assert found.heat.shape == (1, *prepared.slices.shape[2:]) and found.shown == 0
    assert np.array_equal(found.heat[0], by_hand(trained, prepared, layer, cam))
    assert found.heat.any()


def test_the_summary_is_the_means_of_the_table(run: Path, explained: Path) -> None:
    summary, rows = json.loads((explained / SUMMARY).read_text()), rows_of(explained)
    decided = json.loads((run / "prognosis.json").read_text())
    assert summary["question"]["threshold"] == decided["threshold"] != 0.5
    assert [group["title"] for group in summary["groups"]] == ["All cases", "fir>=2 present", "fir>=2 absent"]
    chosen = (rows, *([row for row in rows if row["outcome"] == known] for known in "10"))
    for group, members in zip(summary["groups"], chosen, strict=True):
        assert group["cases"] == group["measured"] == len(members) > 0
        assert group["empty_share"] == 0.0 and group["no_mask"] == 0
        patients = [row["patient"] for row in members]
        means = {}
        for name in ("share_inside", "area_share"):
            values = [float(row[name]) for row in members]
            means[name] = np.mean(values)
            assert group[name]["value"] == pytest.approx(means[name])
            interval = bootstrap_interval(values, patients)
            assert interval is not None
            assert list(group[name]["interval"].values()) == pytest.approx([interval.low, interval.high])
        assert group["enrichment"]["value"] == pytest.approx(means["share_inside"] / means["area_share"])
        peaks = [row["peak_inside"] == "yes" for row in members]
        assert group["peak_inside"]["value"] == pytest.approx(np.mean(peaks))


def test_pictures_and_a_page_that_needs_nothing_else(explained: Path, dataset: Path) -> None:
    rows = rows_of(explained)
    pictures = sorted(path.name for path in (explained / MAPS).iterdir())
    assert pictures == sorted(f"{row['case']}.png" for row in rows)
    sizes = {Image.open(explained / MAPS / name).size for name in pictures}
    assert sizes == {(644, 320)}
    assert Image.open(explained / MEANS).width > 600
    html = (explained / PAGE).read_text()
    assert not re.search(r"https?:|src=\"(?!data:)|<script", html)
    assert "A map shows where, not why" in html and "The masks are those in labelsTs" in html
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))
    present = sum(row["outcome"] == "1" for row in rows)
    kinds = re.findall(r"fir&gt;=2 (present|absent), (?:and|but) [a-z ]+\((\d+) of (\d+)\)", words)
    assert sum(int(count) for kind, _, count in kinds if kind == "present") == present
    assert html.count("its map laid over it") == sum(int(shown) for _, shown, _ in kinds)
    assert not list(explained.glob(".*")), "nothing temporary is left"


def test_means_are_of_the_cases_that_their_titles_name(
    run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, AlignedMean]] = []
    monkeypatch.setattr(explaining, "write_means", lambda path, means: drawn.extend(means))
    explain(run, dataset, tmp_path, masks=dataset / "labelsTs", device="cpu")
    outcomes = [row["outcome"] for row in rows_of(tmp_path)]
    counts = {"fir>=2 present": outcomes.count("1"), "fir>=2 absent": outcomes.count("0")}
    assert counts["fir>=2 present"] != counts["fir>=2 absent"]
    assert {title: mean.count for title, mean in drawn} == counts
    for _, mean in drawn:
        middle = np.s_[CANVAS // 2 - 3 : CANVAS // 2 + 3, CANVAS // 2 - 3 : CANVAS // 2 + 3]
        assert mean.mask[middle].min() > 0.5 and np.nanmin(mean.mask) == 0.0
        assert 0.0 <= np.nanmin(mean.image) < np.nanmax(mean.image) <= 1.0


def test_the_runs_own_masks_are_those_of_segment(run: Path, dataset: Path, tmp_path: Path) -> None:
    found = explain(run, dataset, tmp_path / "out", device="cpu")
    segment(run, dataset, tmp_path / "masks", device="cpu")
    assert found.masks == "the run's own" and found.structures
    for row in rows_of(tmp_path / "out"):
        mask = np.asarray(Image.open(tmp_path / "masks" / f"{row['case']}.png")) > 0
        assert float(row["area_share"]) == pytest.approx(mask.mean())
    again = explain(run, dataset, tmp_path / "again", masks=tmp_path / "masks", device="cpu")
    assert again.groups == found.groups and again.masks == "those in masks"


def test_no_mask_of_the_images_is_opened(run: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "bare")
    for mask in (tmp_path / "bare").glob("labels*/*"):
        mask.write_text("not to be opened")
    assert explain(run, tmp_path / "bare", tmp_path / "out", device="cpu").groups[0].cases > 0


def test_a_run_that_draws_no_masks_gives_maps_alone(dataset: Path, tmp_path: Path) -> None:
    run = fit("diagnosis", dataset, tmp_path / "run")
    found = explain(run, dataset / "imagesTs", tmp_path / "out", device="cpu")
    assert found.masks == "" and found.layers == ("level3",)
    assert {group.title for group in found.groups[1:]} <= {
        "Called positive for fir>=2",
        "Called negative for fir>=2",
    }
    assert not (tmp_path / "out" / MEANS).exists()
    rows = rows_of(tmp_path / "out")
    assert {row["share_inside"] + row["area_share"] + row["outcome"] for row in rows} == {""}
    assert "there are no masks" in format_explanation(found)
    assert "Is it where the organ is?" not in (tmp_path / "out" / PAGE).read_text()
    with_masks = explain(run, dataset, tmp_path / "out", masks=dataset, device="cpu")
    assert with_masks.groups[0].share_inside.value is not None and (tmp_path / "out" / MEANS).exists()


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Positive where at least two of a hundred pixels are bright: in the slices with a disc."""
    return (images > 0.3).float().mean((1, 2, 3)) - 0.02


def test_volumes_of_a_run_from_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = write_tagged(tmp_path / "Dataset950_Tagged", flipped=True)
    train(short("umcam", tags, "seed=2"), tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    looked = TagClassifier.look
    # Three steps teach nothing; the maps are the network's own, but it is known in which slices it finds the object.
    monkeypatch.setattr(TagClassifier, "judge", lambda self, images: brightness(images))
    monkeypatch.setattr(
        TagClassifier,
        "look",
        lambda self, images, maps: Look(brightness(images), looked(self, images, maps).maps),
    )
    found = explain(tmp_path / "run", tags, tmp_path / "out", masks=tags / "labelsTs", device="cpu")
    assert (found.stage, found.question.name, found.question.is_tag) == ("classifier", "brain", True)
    assert found.layers == ("block3", "block4", "block5", "head")
    trained = load_trained(tmp_path / "run", device="cpu", stage_name="classifier")
    cases, shown = prepared_of(trained, tags), np.isin(np.arange(DEPTH), SHOWN)
    for row in rows_of(tmp_path / "out"):
        prepared = cases[row["case"]]
        (images,) = prepared.chunks()
        maps = maps_of(
            trained.method.classifier, images, "gradcam", found.layers, lambda logits: logits[:, 1]
        ).normalised
        own = prepared.on_own_grid(fused(maps, "exponential")[:, None])
        written = nib.load(tmp_path / "out" / MAPS / f"{row['case']}.nii.gz")
        assert np.array_equal(written.affine, nib.load(prepared.case.images[0]).affine)
        values = np.asarray(written.dataobj)
        assert np.allclose(values, prepared.as_it_lay([own])[0] * shown, atol=1e-6) and values.any()
        assert float(row["probability"]) == pytest.approx(float(brightness(images).sigmoid().max()))
        mask = np.asarray(nib.load(tags / "labelsTs" / f"{row['case']}.nii.gz").dataobj) > 0
        assert float(row["share_inside"]) == pytest.approx(values[mask].sum() / values.sum(), rel=1e-4)
        assert Image.open(tmp_path / "out" / MAPS / f"{row['case']}.png").size == (644, 320)
    assert "along axis 3" in (tmp_path / "out" / PAGE).read_text()
    explain(tmp_path / "run", tags, tmp_path / "own", device="cpu")
    segment(tmp_path / "run", tags, tmp_path / "masks", device="cpu")
    for row in rows_of(tmp_path / "own"):
        mask = np.asarray(nib.load(tmp_path / "masks" / f"{row['case']}.nii.gz").dataobj)
        assert float(row["area_share"]) == pytest.approx(mask.mean())
        assert mask.any() and not mask[..., ~shown].any()


def test_a_picture_shows_the_slice_as_a_person_looks_at_it(tmp_path: Path) -> None:
    """In RAS order the patient's right and front are at the high ends: they are drawn on the left and at the top."""
    values = np.zeros((20, 30, 4), np.float32)
    values[14:, 24:, 2] = 100.0
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "v.nii.gz")
    preparation = Preparation("masks", 1, 32, (Intensity("fixed", 0, 100),), 1.0, 2)
    prepared = prepare_case(Case("v", (tmp_path / "v.nii.gz",)), preparation)
    heat = np.moveaxis(values, 2, 0).swapaxes(1, 2) / 100.0
    left, right = (
        np.asarray(draw_map(prepared, heat, mask, 2)).astype(int)[:, -213:] for mask in (None, heat > 0)
    )
    assert left.shape == (320, 213, 3)
    coloured = np.ptp(left, axis=2) > 40
    assert coloured[:55, :55].all() and not coloured[75:].any() and not coloured[:, 75:].any()
    rim = (right != left).any(axis=2)
    assert rim[55:75, :60].any(axis=0).all() and rim[:60, 55:75].any(axis=1).all() and not rim[80:].any()


def test_maps_of_nothing_are_counted(
    run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(self, images, maps):
        return Look(self.judge(images).detach(), torch.zeros(len(images), 1, *images.shape[2:]))

    monkeypatch.setattr(Joint, "look", blind)
    found = explain(run, dataset, tmp_path, masks=dataset / "labelsTs", device="cpu")
    everyone = found.groups[0]
    assert everyone.empty_share == 1.0 and everyone.empty_maps == everyone.cases and everyone.measured == 0
    assert everyone.share_inside.value is None and everyone.enrichment.value is None
    assert "NaN" not in (tmp_path / SUMMARY).read_text()
    assert {row["share_inside"] + row["peak_inside"] for row in rows_of(tmp_path)} == {""}
    assert "maps are all zero" in format_explanation(found)


def test_what_a_map_is_measured_by() -> None:
    random = np.random.default_rng(0)
    mask = random.random((3, 8, 10)) > 0.7
    assert measured(mask.astype(np.float32), mask, 1) == Measured(1.0, mask.mean(), True)
    uniform = measured(np.full(mask.shape, 0.3, np.float32), mask, 1)
    assert uniform.share_inside == pytest.approx(mask.mean())
    away = measured((~mask).astype(np.float32), mask, 1)
    assert away.share_inside == 0.0 and away.peak_inside is False
    nothing = np.zeros(mask.shape, np.float32)
    assert measured(nothing, mask, 1) == Measured(None, mask.mean(), None)
    assert measured(mask.astype(np.float32), mask & False, 1) == Measured(None, 0.0, None)
    elsewhere = nothing.copy()
    elsewhere[0] = mask[0]
    assert measured(elsewhere, mask, 1) == Measured(1.0, mask.mean(), None)


def case(
    name: str, probability: float, outcome: float | None = None, shares: Measured | None = None
) -> Explained:
    return Explained(
        name, f"patient of {name}", outcome, probability, False, shares or Measured(0.5, 0.1, True)
    )


def test_every_way_in_which_a_call_can_turn_out() -> None:
    question = Question("preterm", False, 0.6, "", 5)
    rows = [
        *(case(f"found{i}", 0.7 + i / 50, 1.0) for i in range(9)),
        case("missed", 0.59, 1.0),
        case("alarm", 0.6, 0.0),
        case("spared", 0.1, 0.0),
        case("unknown", 0.9),
    ]
    kinds = dict(kinds_of(question, rows))
    assert list(kinds) == [
        "preterm present, and called so",
        "preterm present, and missed",
        "preterm absent, but called so",
        "preterm absent, and not called",
    ]
    assert [row.case for row in kinds["preterm present, and called so"]][:EXAMPLES] == [
        f"found{i}" for i in range(8, 2, -1)
    ]
    assert [[row.case for row in cases] for cases in list(kinds.values())[1:]] == [
        ["missed"],
        ["alarm"],
        ["spared"],
    ]
    unasked = dict(
        kinds_of(replace(question, outcomes_known=0), [replace(row, outcome=None) for row in rows])
    )
    assert {title: len(cases) for title, cases in unasked.items()} == {
        "Called positive for preterm": 11,
        "Called negative for preterm": 2,
    }


def test_shares_in_words() -> None:
    shares = (Measured(0.4, 0.12, True), Measured(0.44, 0.1, False), Measured(None, 0.0, None))
    everyone = group_of("All cases", [case(f"{place}", 0.9, shares=one) for place, one in enumerate(shares)])
    assert (everyone.cases, everyone.measured, everyone.no_mask, everyone.peak_inside.value) == (3, 2, 1, 0.5)
    sentence = share_sentence(everyone, ("cervix",))
    assert sentence == (
        "42 % of the map lies inside the mask (cervix), which fills 11 % of the image: 3.8 times as much as a map "
        "without any preference would have there."
    )
    nobody = group_of("All cases", [case("c", 0.9, shares=Measured(None, None, None))])
    assert nobody.no_mask == 1 and "No map" in share_sentence(nobody, ())


def test_another_explanation_takes_the_place_of_an_earlier_one(
    run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    shutil.copytree(dataset / "imagesTs", images)
    first, second = sorted(images.iterdir())[:2]
    explain(run, first, tmp_path / "out", device="cpu")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    second_bytes = second.read_bytes()
    second.write_text("damaged")
    with pytest.raises(InputFault, match="damaged"):
        explain(run, images, tmp_path / "out", device="cpu")
    after = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after == before, "the earlier one stays as long as the new one is not whole"
    second.write_bytes(second_bytes)
    explain(run, second, tmp_path / "out", device="cpu")
    (picture,) = (tmp_path / "out" / MAPS).iterdir()
    assert picture.stem in second.name and len(rows_of(tmp_path / "out")) == 1


def test_files_of_others_stay(run: Path, dataset: Path, tmp_path: Path) -> None:
    image = sorted((dataset / "imagesTs").iterdir())[0]
    for foreign in (tmp_path / "a" / TABLE, tmp_path / "b" / MAPS / f"{image.stem}.png"):
        foreign.parent.mkdir(parents=True)
        foreign.write_text("mine")
        with pytest.raises(InputFault, match="did not write"):
            explain(run, image, tmp_path / foreign.relative_to(tmp_path).parts[0], device="cpu")
        assert foreign.read_text() == "mine"
    shutil.copy(image, tmp_path / "image.png")
    with pytest.raises(InputFault, match="holds the images themselves"):
        explain(run, tmp_path / "image.png", tmp_path, device="cpu")


def test_what_cannot_be_explained_is_refused(run: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="no such layer; name one of level1, level2, level3"):
        explain(run, dataset, tmp_path / "out", layer="level9", device="cpu")
    supervised = fit("supervised", dataset, tmp_path / "supervised", outcome=None)
    with pytest.raises(
        InputFault, match="recipe supervised has no classifier that could say where it looks; give"
    ):
        explain(supervised, dataset, tmp_path / "out", device="cpu")
    with pytest.raises(InputFault, match="no mask is named as one of the images"):
        explain(run, dataset, tmp_path / "out", masks=dataset / "labelsTr", device="cpu")
    with pytest.raises(InputFault, match="no such folder"):
        explain(run, dataset, tmp_path / "out", masks=tmp_path / "nowhere", device="cpu")
    assert not (tmp_path / "out").exists()
