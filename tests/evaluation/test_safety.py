"""The screen rings where classes have changed places and not where a translation is right; it needs no true mask."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from fewmask.data.phantom import write_phantom
from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.report import write_report
from fewmask.evaluation.safety import (
    CaseSafety,
    Change,
    Sides,
    Swap,
    agreement,
    blind_pairs,
    change_within,
    dice_between,
    rank_change,
    swapped_classes,
    verdict,
    worst_first,
)
from fewmask.evaluation.safety_record import COLUMNS, read_safety
from fewmask.evaluation.segment import segment
from fewmask.evaluation.trained import load_trained, view_of
from fewmask.methods.kinds import KINDS
from fewmask.metrics.class_shares import ClassShares, Range, UsualClasses, class_shares, usual_classes
from fewmask.metrics.colour_separation import told_apart
from fewmask.recipe import Cohorts, override
from fewmask.recipes.names import RECIPES
from fewmask.shapes import Task
from fewmask.training.run import Run
from fewmask.training.select import validation_dice
from fewmask.training.train import train
from fewmask.training.usual_classes import FILE, read_usual_classes, usual_classes_of

torch.set_num_threads(1)

BACKGROUND, RULER = 0, 1
WOOD, DARK, WHITE = (200, 170, 120), (40, 40, 60), (250, 250, 250)


def scene(ruler_columns=slice(4, 8)):
    """A table with an upright ruler, in classes (H, W)."""
    classes = np.zeros((40, 40), np.uint8)
    classes[2:38, ruler_columns] = RULER
    return classes


def painted(classes, background, ruler, seed=0):
    """Classes in two colours with a little noise, (3, H, W) in [-1, 1]."""
    colours = np.array([background, ruler], np.float32)[classes].transpose(2, 0, 1)
    noise = np.random.default_rng(seed).normal(0, 6, colours.shape)
    return (colours + noise) / 127.5 - 1


def usual(*scenes_and_images):
    shares = [class_shares(s[None], np.ones(s.shape, bool), 2) for s, _ in scenes_and_images]
    return usual_classes(shares, [told_apart(image, s, 2) for s, image in scenes_and_images])


@pytest.fixture(scope="module")
def source():
    """White rulers on dark tables, of several sizes."""
    scenes = [scene(slice(4, 4 + width)) for width in (3, 4, 5)]
    return usual(*((s, painted(s, DARK, WHITE, seed)) for seed, s in enumerate(scenes)))


def sides(before, after, image):
    return Sides(before[None], after[None], np.ones(after.shape, bool), told_apart(image, after, 2))


def test_exchange_rings_and_a_right_translation_does_not(source):
    truth, image = scene(), painted(scene(), WOOD, DARK)
    lost = np.zeros_like(truth)
    for before in (truth, lost):
        assert swapped_classes(sides(before, truth, image), 2, source) == ()
    (swap,) = swapped_classes(sides(truth, 1 - truth, image), 2, source)
    assert swap == Swap(BACKGROUND, RULER, ("area", "border", "regions"))
    (swap,) = swapped_classes(sides(lost, 1 - truth, image), 2, source)
    assert swap.signs == ("area", "border")


def test_an_exchange_that_is_put_right_does_not_ring(source):
    truth, image = scene(), painted(scene(), WOOD, DARK)
    assert swapped_classes(sides(1 - truth, truth, image), 2, source) == ()
    # Without the source's shares nobody can say which of the two is right.
    (swap,) = swapped_classes(sides(1 - truth, truth, image), 2, None)
    assert swap.signs == ("regions",)


def test_a_ruler_painted_beside_the_ruler_rings_by_colours_alone(source):
    """The failure of a critic that only counts: as much ruler as there should be, and none of it is the ruler."""
    truth, image = scene(), painted(scene(), WOOD, DARK)
    beside = scene(slice(10, 14))
    (swap,) = swapped_classes(sides(np.zeros_like(truth), beside, image), 2, source)
    assert swap == Swap(BACKGROUND, RULER, ("colours",))
    a_little_beside = scene(slice(5, 9))
    assert swapped_classes(sides(truth, a_little_beside, image), 2, source) == ()


def test_one_region_lost_is_no_exchange(source):
    truth = scene()
    assert swapped_classes(sides(truth, np.zeros_like(truth), painted(truth, WOOD, DARK)), 2, None) == ()


def test_regions_are_judged_one_by_one():
    """Of two regions of class 1 the larger stays: no exchange, whatever became of the smaller one."""
    before, after = np.zeros((2, 30, 30), np.uint8)
    before[2:20, 2:20] = 1
    before[24:28, 24:28] = 1
    after[2:20, 2:20] = 1
    blank = Sides(before[None], after[None], np.ones((30, 30), bool), (None,))
    assert swapped_classes(blank, 2, None) == ()
    turned = replace(blank, after=1 - before[None])
    assert swapped_classes(turned, 2, None) == (Swap(0, 1, ("regions",)),)


def test_classes_that_nothing_tells_apart_are_named():
    alike = UsualClasses(9, (Range(0.2, 0.8),) * 2, (Range(0.0, 1.0),) * 2, (0.2,))
    assert blind_pairs(alike) == ((0, 1),)
    assert blind_pairs(replace(alike, told_apart=(0.9,))) == ()
    assert blind_pairs(replace(alike, area=(Range(0.0, 0.3), Range(0.7, 1.0)))) == ()


def test_shares_leave_out_padding_and_ignored_pixels():
    masks = np.full((1, 6, 6), 7, np.uint8)
    masks[0, 1:5, 1:4] = [[0, 0, 1], [0, 2, 255], [0, 0, 0], [1, 0, 0]]
    seen = np.zeros((6, 6), bool)
    seen[1:5, 1:4] = True
    shares = class_shares(masks, seen, 3)
    assert shares == ClassShares((8 / 11, 2 / 11, 1 / 11), (7 / 9, 2 / 9, 0.0))
    assert class_shares(masks, np.zeros((6, 6), bool), 3) is None


def test_told_apart():
    classes = np.repeat([0, 1], 200).reshape(20, 20)
    values = np.random.default_rng(0).normal(0, 0.1, (2, 20, 20))
    (nothing,) = told_apart(values, classes, 2)
    assert abs(nothing) < 0.2
    # Two channels that tell nothing each, and everything together.
    together = np.stack([values[0], values[0] + np.where(classes == 1, 0.01, -0.01)])
    assert told_apart(together, classes, 2)[0] > 0.99
    assert told_apart(together, np.zeros((20, 20), int), 2) == (None,)
    # Against Gaussians a distance d apart: 2 * Phi(d / 2) - 1.
    apart = np.random.default_rng(1).normal(0, 1, (1, 200, 200)) + np.repeat([0, 1], 20000).reshape(
        1, 200, 200
    )
    assert told_apart(apart, np.repeat([0, 1], 20000).reshape(200, 200), 2)[0] == pytest.approx(
        0.383, abs=0.02
    )


def test_rank_change_against_scipy():
    generator = np.random.default_rng(0)
    for levels in (5, 1000):
        first, second = generator.integers(0, levels, (2, 17, 19)).astype(np.float32)
        second += first
        expected = 1 - spearmanr(first.ravel(), second.ravel()).statistic
        assert rank_change(first, second) == pytest.approx(expected, abs=1e-12)
    assert rank_change(first, -first) == pytest.approx(2.0)
    assert rank_change(first, np.zeros_like(first)) is None


def test_agreement_and_overlap():
    before = np.array([[[0, 1, 1, 2]]], np.uint8)
    after = np.array([[[0, 1, 0, 0]]], np.uint8)
    assert agreement(before, after) == 0.5
    assert dice_between(before, after, 4) == pytest.approx((2 / 3 + 0) / 2)  # class 3 is in neither
    assert dice_between(before * 0, after * 0, 4) is None


def test_change_is_in_shares_of_the_range():
    original = np.full((1, 2, 10, 10), -1.0)
    translated = original.copy()
    translated[0, 0, :5] = 1.0  # one of two channels, from one end of the range to the other
    region = np.zeros((1, 10, 10), bool)
    region[0, :, :4] = True
    assert change_within(original, translated, region).mean == pytest.approx(0.25)
    region[0, :, 1:] = False
    assert change_within(original, translated, region).mean == pytest.approx(0.25)
    assert change_within(original, translated, np.zeros_like(region)).mean is None
    assert (Change(3.0, 4, 100) + Change(1.0, 4, 100)).mean == pytest.approx(0.5)
    assert Change(1.0, 1, 200).mean is None


def test_the_verdict_is_one_line_and_says_what_it_is():
    good = CaseSafety("a", 0.9, 0.9, 0.01, None, 0.4)
    swapped = replace(good, case="b", swapped=("background/ruler",), swapped_by=("area",))
    changed = replace(good, case="c", change_kept_classes=0.2)
    both = replace(swapped, case="d", saliency_rank_change=1.2)
    text = verdict((good, swapped, changed, both), True)
    assert "3 of 4 images are suspicious" in text and "2 swapped classes" in text and "\n" not in text
    assert "1 change in the kept region" in text and "a screen, not a proof" in text
    assert "no sign" in verdict((good,), True) and "a screen, not a proof" in verdict((good,), True)
    assert "not known" in verdict((good,), False)
    assert [case.case for case in worst_first((good, changed, both, swapped))] == ["d", "b", "c", "a"]


def tiny(name, source, target):
    changes = ["size=32", "steps=2", "batch=2", "widths=[4,8]", "critic_layers=2", "critic_width=4"]
    changes += ["translator_width=4", "translator_blocks=1"]
    changes += ["attended=[ruler,background]"] if name == "msl" else []
    return replace(
        override(RECIPES[name](True), changes, KINDS), cohorts=Cohorts(source=source, target=target)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with an attention and one without, and their target; its images have the networks' own size."""
    folder = tmp_path_factory.mktemp("safety")
    source, target = write_phantom("placenta", folder / "placenta", 0, 10, 32)
    for name in ("msl", "cyclegan"):
        train(tiny(name, source, target), folder / name, device="cpu", cache=folder / "cache")
    segment(folder / "msl", target, folder / "msl" / "predictions", device="cpu")
    return folder, target


def pixels(path):
    return np.asarray(Image.open(path))


def test_segment_leaves_what_the_translation_did(trained):
    folder, target = trained
    out = folder / "msl" / "predictions"
    rows = list(csv.DictReader((out / "safety.csv").open()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 2
    for row in rows:
        name = f"{row['case']}.png"
        image = pixels(target / "imagesTs" / f"{row['case']}_0000.png")
        translation, attention, before, after = (
            pixels(out / part / name) for part in ("translations", "attention", "untranslated", "")
        )
        assert translation.shape == image.shape == (32, 32, 3) and attention.shape == (32, 32)
        assert float(row["agreement"]) == pytest.approx((before == after).mean(), abs=1e-12)
        change = np.abs(image.astype(float) - translation).mean(axis=2) / 255
        kept = (after == 1) | (after == 2)
        if kept.mean() > 0.01:
            assert float(row["change_kept_classes"]) == pytest.approx(change[kept].mean(), abs=0.004)
    record = read_safety(out)
    summary = json.loads((out / "safety.json").read_text())
    assert record.verdict == summary["verdict"]
    assert [case.case for case in record.cases] == [row["case"] for row in rows]
    assert summary["kept_classes"] == ["disc", "cord"]
    assert summary["usual_in_source"]["cases"] > 0


def test_the_mask_is_that_of_the_translation_and_is_made_once(trained):
    run = load_trained(trained[0] / "msl", device="cpu")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    view = view_of(run, images)
    with torch.no_grad():
        twice = run.method.validate_segment(run.method.translate(images).image).softmax(1)
        assert torch.equal(view.probabilities, twice)
        assert torch.equal(view.probabilities, run.method.segment(images).softmax(1))
        assert torch.equal(view.untranslated, run.method.validate_segment(images).softmax(1))
    calls = []
    run.method.to_source.register_forward_hook(lambda *seen: calls.append(seen))
    view_of(run, images)
    assert len(calls) == 1


def test_the_same_segment_again_gives_the_same_bytes(trained, tmp_path):
    folder, target = trained
    first, again = folder / "msl" / "predictions", tmp_path / "again"
    segment(folder / "msl", target, again, device="cpu")
    for path in sorted(path for path in first.rglob("*") if path.is_file()):
        assert (again / path.relative_to(first)).read_bytes() == path.read_bytes(), path


def test_evaluate_reads_the_masks_alone(trained, tmp_path):
    folder, target = trained
    summary = evaluate(folder / "msl" / "predictions", target, tmp_path)
    assert summary.cases == 2 and summary.unmatched_predictions == 0


def test_no_mixture_of_two_runs(trained, tmp_path):
    folder, target = trained
    shutil.copytree(folder / "msl" / "predictions", tmp_path / "out")
    segment(folder / "cyclegan", target, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out" / "attention").iterdir())
    assert read_safety(tmp_path / "out").cases[0].change_unattended is None
    assert read_safety(tmp_path / "out").cases[0].change_kept_classes is None
    images = tmp_path / "images"
    shutil.copytree(target / "imagesTs", images)
    (images / "zz_damaged_0000.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(InputFault):
        segment(folder / "msl", images, tmp_path / "out", device="cpu")
    assert read_safety(tmp_path / "out") is None
    assert not (tmp_path / "out" / "safety.csv").exists()
    with pytest.raises(InputFault, match="holds the images themselves"):
        segment(folder / "msl", tmp_path / "out" / "translations", tmp_path / "out", device="cpu")
    assert list((tmp_path / "out" / "translations").iterdir())


def test_what_is_usual_outlives_the_source(trained, tmp_path):
    folder, target = trained
    kept, store = read_usual_classes(Run(folder / "msl")), folder / "msl" / FILE
    shutil.copytree(folder / "msl", tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    assert read_usual_classes(Run(tmp_path / "run")) == kept  # an older run reads its slice store
    material = json.loads((tmp_path / "run" / "material.json").read_text())
    material["roles"]["source"]["store"] = str(tmp_path / "gone")
    (tmp_path / "run" / "material.json").write_text(json.dumps(material))
    assert read_usual_classes(Run(tmp_path / "run")) is None
    segment(tmp_path / "run", target, tmp_path / "out", device="cpu")
    assert "not known" in read_safety(tmp_path / "out").verdict
    shutil.copy(store, tmp_path / "run" / FILE)
    assert read_usual_classes(Run(tmp_path / "run")) == kept


def test_the_report_shows_it_and_keeps_names_to_itself(trained, tmp_path):
    folder, _ = trained
    html = write_report([folder / "msl"], tmp_path / "page.html").read_text()
    record = read_safety(folder / "msl" / "predictions")
    assert 'id="safety"' in html and record.verdict in html
    section = html.split('id="safety"')[1].split("<h2")[0]
    assert section.count("<img") == 5 * 2 and all(case.case in section for case in record.cases)
    hidden = write_report([folder / "msl"], tmp_path / "hidden.html", pseudonyms=True).read_text()
    section = hidden.split('id="safety"')[1].split("<h2")[0]
    assert section.count("<img") == 5 * 2 and not any(case.case in hidden for case in record.cases)
    (folder / "msl" / "predictions" / "safety.csv").rename(tmp_path / "kept.csv")
    assert 'id="safety"' not in write_report([folder / "msl"], tmp_path / "page.html").read_text()
    (tmp_path / "kept.csv").rename(folder / "msl" / "predictions" / "safety.csv")


def test_volumes_have_a_table_and_no_pictures(tmp_path):
    source, target = write_phantom("nested", tmp_path / "nested", 0, 4, 32)
    train(tiny("cyclegan", source, target), tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    out = tmp_path / "run" / "predictions"
    segment(tmp_path / "run", target, out, device="cpu")
    assert {path.name for path in out.iterdir() if path.is_dir()} == set()
    cases = read_safety(out).cases
    assert cases and all(0 <= case.agreement <= 1 and case.saliency_rank_change is not None for case in cases)
    page = write_report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert "No pictures are kept of volumes" in page


def test_mirrored_padding_counts_neither_in_what_is_usual_nor_in_validation(tmp_path):
    """A 30 x 40 picture with class 1 in its three outer rows, whose mirror image would double them."""
    masks = np.zeros((30, 40), np.uint8)
    masks[:3] = masks[-3:] = 1
    rows = np.pad(masks, ((5, 5), (0, 0)), mode="symmetric")[None]
    folder = tmp_path / "store"
    folder.mkdir()
    np.save(folder / "images.npy", (rows[:, None] * 1.0 - 0.5).astype(np.float16))
    np.save(folder / "masks.npy", rows)
    store = SliceStore(folder, ("one",), (0,), ((5, 0, 30, 40),))
    usual = usual_classes_of(store, 2)
    own = class_shares(masks[None], np.ones((30, 40), np.bool_), 2)
    assert usual.area[1].holds(own.area[1]) and not usual.area[1].holds(10 / 40 + 0.05)
    assert usual.border[1].holds(own.border[1])

    class Half(torch.nn.Module):
        """Says 1 in the upper half of the square and 0 in the lower."""

        task = Task(1, ("background", "rim"), 40)

        def validate_segment(self, images):
            upper = torch.zeros(len(images), 40, 40)
            upper[:, :20] = 1.0
            return torch.stack([1.0 - upper, upper], dim=1)

    score = validation_dice(Half(), store, np.array([0]), torch.device("cpu"))
    assert score == pytest.approx(2 * 120 / (240 + 600))
