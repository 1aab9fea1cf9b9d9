"""`segment --pseudo-masks` and `--gate`: what a run's classifier of tags makes of images.

Tiny runs on discs. Their classifiers judge by how much of a slice is bright, so that it is known what they find; maps,
labels and masks come from the networks as ever.
"""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fewmask import cli
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.evaluation import segment as segmenting
from fewmask.evaluation.segment import MANIFEST, segment
from fewmask.evaluation.trained import View
from fewmask.methods.kinds import KINDS
from fewmask.methods.refined_maps import RefinedMaps
from fewmask.methods.suppressed_tags import SuppressedTags
from fewmask.methods.tags import TagClassifier
from fewmask.recipe import Cohorts, override
from fewmask.recipes.names import RECIPES
from fewmask.training.train import train

torch.set_num_threads(1)

SHAPE, CASES = (28, 24, 6), 5

TINY = ("size=32", "batch=4", "steps=2", "classifier.method.network.width=0.0625", "widths=[4,8]", "seed=2")
"""With seed 0 the maps of two steps are empty."""


def brightness(images: Tensor) -> Tensor:
    """Positive where at least two of a hundred pixels are bright."""
    return (images > 0.3).float().mean((1, 2, 3)) - 0.02


@pytest.fixture(scope="module", autouse=True)
def judging_by_brightness() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind in (TagClassifier, SuppressedTags):
            own = kind.judge
            patch.setattr(
                kind, "judge", lambda self, images, own=own: 0 * own(self, images) + brightness(images)
            )
        seen = TagClassifier.look
        patch.setattr(
            TagClassifier,
            "look",
            lambda self, images, maps: seen(self, images, maps)._replace(scores=brightness(images)),
        )
        patch.setattr(RefinedMaps, "judge", lambda self, images: torch.ones(len(images)))
        yield


def bright_and_faint(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A volume and its mask: slices 1 to 3 show a disc, in slice 3 a faint one, and slice 5 a bright bar instead."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    row, column = random.uniform(9, 18), random.uniform(8, 15)
    disc = (rows - row) ** 2 + (columns - column) ** 2 < 30
    mask = np.zeros(SHAPE, np.uint8)
    mask[disc, 1:4] = 1
    values = random.normal(100, 5, SHAPE)
    values[disc, 1:3] += 150
    values[disc, 3] += 15
    values[3:8, :, 5] += 150
    return values.astype(np.int16), mask


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes of one patient each; every other file has its slices from above to below."""
    root = tmp_path_factory.mktemp("discs") / "Dataset001_Discs"
    random = np.random.default_rng(0)
    lines = ["case,slice,disc"]
    for case in range(CASES):
        values, mask = bright_and_faint(random)
        affine = np.diag([-1.0, -1.0, 5.0 if case % 2 else -5.0, 1.0])
        for folder, array, name in (("imagesTr", values, f"c{case}_0000"), ("labelsTr", mask, f"c{case}")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), root / folder / f"{name}.nii.gz")
        lines += [f"c{case},{number},{int(mask[..., number].any())}" for number in range(SHAPE[2])]
    (root / "slices.csv").write_text("\n".join(lines) + "\n")
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "disc": 1}, "numTraining": CASES}
    (root / "dataset.json").write_text(json.dumps(content | {"file_ending": ".nii.gz"}))
    return root


def trained(name: str, tags: Path, folder: Path, *changes: str) -> Path:
    recipe = override(RECIPES[name](True), (*TINY, *changes), KINDS)
    train(replace(recipe, cohorts=Cohorts(tags=tags)), folder / "run", device="cpu", cache=folder / "cache")
    return folder / "run"


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UM-CAM, its threshold the best one on the held-out masks."""
    folder = tmp_path_factory.mktemp("umcam")
    return trained("umcam", dataset, folder, "segmenter.pseudo_labels.threshold=validation")


@pytest.fixture(scope="module")
def drs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages: the last is labelled by one that itself is."""
    folder = tmp_path_factory.mktemp("drs")
    return trained("drs", dataset, folder, "refiner.method.network.width=0.0625")


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(nib.load(path).dataobj) for path in sorted(folder.glob("*.nii.gz"))}


def found_positive(run: Path) -> dict[str, list[bool]]:
    """What the audit says that the stage which labels found in each slice of a file."""
    with (run / "stages" / "segmenter" / "pseudo_labels" / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {f"{row['case']}.nii.gz": [False] * SHAPE[2] for row in rows}
    for row in rows:
        found[f"{row['case']}.nii.gz"][int(row["slice"])] = float(row["classifier_score"]) > 0
    return found


def manifest_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / MANIFEST).read_text())


def test_pseudo_masks_are_the_runs_own_labels_where_classifier_and_tags_agree(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    written = segment(run, dataset / "imagesTr", tmp_path / "masks", pseudo_masks=True, device="cpu")
    made = masks_in(run / "stages" / "segmenter" / "pseudo_labels" / "Dataset001_pseudo" / "labelsTr")
    masks = masks_in(tmp_path / "masks")
    assert masks.keys() == made.keys() and len(written.masks) == CASES
    positive = found_positive(run)
    for name, mask in masks.items():
        assert positive[name] == [False, True, True, False, False, True], (
            "the faint disc is not found, the bar is"
        )
        assert mask.shape == SHAPE and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}
        assert np.array_equal(mask[..., 1:3], made[name][..., 1:3])
        assert not mask[..., [0, 3, 4]].any()
        image = nib.load(dataset / "imagesTr" / name.replace(".nii", "_0000.nii"))
        assert np.array_equal(nib.load(tmp_path / "masks" / name).affine, image.affine)
    assert any(mask[..., 1:3].any() for mask in masks.values()) and any(
        made[name][..., 3].any() for name in made
    ), "empty masks would be equal too"
    manifest = manifest_of(tmp_path / "masks")
    assert (manifest["pseudo_masks"], manifest["gated"]) == (True, False)
    assert manifest["checkpoint"]["rule"].startswith("the best F1"), (
        "the classifier's, not the segmenter's last step"
    )


def test_the_threshold_is_the_one_that_the_run_chose(run: Path, dataset: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    chosen = other / "stages" / "segmenter" / "pseudo_labels" / "pseudo_labels.json"
    content = json.loads(chosen.read_text())
    for threshold in (0.05, 0.95):
        chosen.write_text(json.dumps(content | {"threshold": threshold}))
        out = tmp_path / str(threshold)
        segment(other, dataset / "imagesTr", out, pseudo_masks=True, device="cpu")
    low, high = (masks_in(tmp_path / name) for name in ("0.05", "0.95"))
    assert any(not np.array_equal(low[name], high[name]) for name in low)


def test_pseudo_masks_do_not_wait_for_the_segmenter(run: Path, dataset: Path, tmp_path: Path) -> None:
    early = shutil.copytree(run, tmp_path / "run")
    for name in ("checkpoint_chosen.pt", "checkpoint_latest.pt", "finished.json"):
        (early / name).unlink()
    with pytest.raises(InputFault, match="no such checkpoint"):
        segment(early, dataset, tmp_path / "out", device="cpu")
    segment(early, dataset / "imagesTr", tmp_path / "early", pseudo_masks=True, device="cpu")
    segment(run, dataset / "imagesTr", tmp_path / "late", pseudo_masks=True, device="cpu")
    early_masks, late_masks = masks_in(tmp_path / "early"), masks_in(tmp_path / "late")
    assert all(np.array_equal(early_masks[name], late_masks[name]) for name in late_masks)
    shutil.rmtree(early / "stages" / "segmenter" / "pseudo_labels")
    with pytest.raises(InputFault, match="stopped before its pseudo-labels were made; run the same `train`"):
        segment(early, dataset, tmp_path / "out", pseudo_masks=True, device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter that sees the object in every pixel."""

    def view(trained: object, images: Tensor) -> View:
        return View(torch.tensor([0.1, 0.9])[None, :, None, None].expand(len(images), 2, *images.shape[2:]))

    monkeypatch.setattr(segmenting, "view_of", view)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("probabilities", [False, True])
def test_the_gate_empties_slices_that_the_classifier_finds_negative(
    run: Path, dataset: Path, tmp_path: Path, probabilities: bool
) -> None:
    for name, gate in (("open", False), ("gated", True)):
        out = tmp_path / name
        segment(run, dataset / "imagesTr", out, gate=gate, with_probabilities=probabilities, device="cpu")
        manifest = manifest_of(out)
        assert (manifest["pseudo_masks"], manifest["gated"]) == (False, gate)
    assert all(masks_in(tmp_path / "open")[f"c{case}.nii.gz"].all() for case in range(CASES))
    for name, positive in found_positive(run).items():
        mask = np.asarray(nib.load(tmp_path / "gated" / name).dataobj)
        assert mask.any((0, 1)).tolist() == mask.all((0, 1)).tolist() == positive
    if probabilities:
        soft = [
            np.asarray(nib.load(tmp_path / name / "c0_probabilities.nii.gz").dataobj)
            for name in ("open", "gated")
        ]
        assert np.array_equal(*soft), "probabilities stay as they are"


@pytest.mark.usefixtures("everywhere")
def test_who_learnt_positive_slices_alone_has_the_gate(run: Path, dataset: Path, tmp_path: Path) -> None:
    segment(run, dataset / "imagesTr", tmp_path / "positive", device="cpu")
    assert manifest_of(tmp_path / "positive")["gated"] is True
    everywhere = trained("umcam", dataset, tmp_path / "everywhere", "slices=all")
    segment(everywhere, dataset / "imagesTr", tmp_path / "all", device="cpu")
    assert manifest_of(tmp_path / "all")["gated"] is False


@pytest.mark.usefixtures("everywhere")
def test_the_gate_comes_before_the_largest_piece(run: Path, dataset: Path, tmp_path: Path) -> None:
    segment(run, dataset / "imagesTr", tmp_path / "out", gate=True, largest_component=True, device="cpu")
    for mask in masks_in(tmp_path / "out").values():
        assert mask.all((0, 1)).tolist() == [False, True, True, False, False, False]


@pytest.mark.usefixtures("everywhere")
def test_of_three_stages_the_second_gives_masks_and_the_first_is_the_gate(
    drs: Path, dataset: Path, tmp_path: Path
) -> None:
    segment(drs, dataset / "imagesTr", tmp_path / "masks", pseudo_masks=True, device="cpu")
    made = masks_in(drs / "stages" / "segmenter" / "pseudo_labels" / "Dataset001_pseudo" / "labelsTr")
    masks = masks_in(tmp_path / "masks")
    assert found_positive(drs) == {name: [True] * SHAPE[2] for name in made}, "the refiner sees it everywhere"
    assert all(np.array_equal(masks[name][..., 1:3], made[name][..., 1:3]) for name in made)
    assert any(mask[..., 1:3].any() for mask in masks.values())
    assert not any(mask[..., [0, 3, 4]].any() for mask in masks.values()), "the classifier of tags does not"
    segment(drs, dataset / "imagesTr", tmp_path / "gated", gate=True, device="cpu")
    for mask in masks_in(tmp_path / "gated").values():
        assert mask.any((0, 1)).tolist() == [False, True, True, False, False, True]


def test_pictures_get_pseudo_masks_of_their_own_size(tmp_path: Path) -> None:
    root = tmp_path / "Dataset002_Pictures"
    (root / "imagesTr").mkdir(parents=True)
    random = np.random.default_rng(1)
    lines = ["case,patient,disc"]
    for case in range(6):
        values, _ = bright_and_faint(random)
        picture = np.clip(values[..., 1 if case % 2 else 0], 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(root / "imagesTr" / f"c{case}_0000.png")
        lines.append(f"c{case},p{case},{case % 2}")
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    content = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "disc": 1}, "numTraining": 6}
    (root / "dataset.json").write_text(json.dumps(content | {"file_ending": ".png"}))
    run = trained("gradcam", root, tmp_path, "tag=disc", "classifier.choose=last")
    segment(run, root / "imagesTr", tmp_path / "masks", pseudo_masks=True, device="cpu")
    made = run / "stages" / "segmenter" / "pseudo_labels" / "Dataset001_pseudo" / "labelsTr"
    for path in sorted(made.iterdir()):
        mask = np.asarray(Image.open(tmp_path / "masks" / path.name))
        assert mask.shape == SHAPE[:2] and np.array_equal(mask, np.asarray(Image.open(path)))


def test_a_run_without_a_classifier_is_refused(tmp_path: Path) -> None:
    source, _ = write_phantom("placenta", tmp_path / "placenta", 0, 5, 32)
    recipe = override(RECIPES["supervised"](True), ("size=32", "steps=1", "batch=2", "widths=[4,8]"), KINDS)
    recipe = replace(recipe, cohorts=Cohorts(masks=source))
    train(recipe, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    for options in ({"pseudo_masks": True}, {"gate": True}):
        with pytest.raises(InputFault, match=r"has no classifier of tags.*give a run of") as fault:
            segment(tmp_path / "run", source, tmp_path / "out", **options, device="cpu")
        assert "\n" not in str(fault.value)
    with pytest.raises(InputFault, match="not a run folder"):
        segment(source, source, tmp_path / "out", pseudo_masks=True, device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "out", "message"),
    [
        ({"gate": True}, "out", "--gate: pseudo-masks are empty already"),
        ({"with_probabilities": True}, "out", "--probabilities: pseudo-masks have none"),
        ({"which": "latest"}, "out", "--checkpoint latest: .*leave it out"),
        ({}, "run/predictions", "predictions: there the run's report looks for its segmenter's masks"),
    ],
)
def test_what_pseudo_masks_do_not_go_with(
    run: Path, dataset: Path, tmp_path: Path, options: dict[str, object], out: str, message: str
) -> None:
    (tmp_path / "run").symlink_to(run)
    with pytest.raises(InputFault, match=message):
        segment(tmp_path / "run", dataset, tmp_path / out, pseudo_masks=True, **options, device="cpu")
    assert not (tmp_path / out).exists()


def test_images_of_another_kind_are_refused_by_name(run: Path, dataset: Path, tmp_path: Path) -> None:
    image = nib.load(dataset / "imagesTr" / "c0_0000.nii.gz")
    values = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), image.affine), tmp_path / "two.nii.gz")
    with pytest.raises(
        InputFault, match=r"two\.nii\.gz: an image has 2 channels where the run was trained on 1"
    ):
        segment(run, tmp_path / "two.nii.gz", tmp_path / "out", pseudo_masks=True, device="cpu")


def test_a_volume_in_which_nothing_can_be_seen_gets_an_empty_mask(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    affine = nib.load(dataset / "imagesTr" / "c1_0000.nii.gz").affine
    nib.save(nib.Nifti1Image(np.full(SHAPE, 7, np.int16), affine), tmp_path / "flat.nii.gz")
    segment(run, tmp_path / "flat.nii.gz", tmp_path / "out", pseudo_masks=True, device="cpu")
    assert not masks_in(tmp_path / "out")["flat.nii.gz"].any()


@pytest.mark.parametrize(("flag", "key"), [("--pseudo-masks", "pseudo_masks"), ("--gate", "gated")])
def test_the_command_takes_both_flags(
    run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, key: str
) -> None:
    image = dataset / "imagesTr" / "c0_0000.nii.gz"
    words = ["fewmask", "segment", run, image, "--out", tmp_path / "out", flag, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    manifest = manifest_of(tmp_path / "out")
    assert manifest[key] is True and [entry["case"] for entry in manifest["cases"]] == ["c0_0000"]
