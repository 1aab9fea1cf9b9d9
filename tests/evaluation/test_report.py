"""The report page on run folders that are built by hand: what it says, what it must not say, and that it is whole."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.config import to_mapping, to_yaml
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.split import SAME_PATIENT, Split, write_splits
from fewmask.errors import InputFault
from fewmask.evaluation.case_pictures import Wanted, draw_case, outline_path
from fewmask.evaluation.compare import Entry, case_dice, gap_closed, paired_difference, role_of, verdict
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.naming import Names
from fewmask.evaluation.report import write_report
from fewmask.evaluation.run_record import CaseFiles, read_run
from fewmask.evaluation.translation_gallery import translation_gallery
from fewmask.recipe import Cohorts
from fewmask.recipes.names import RECIPES

torch.set_num_threads(1)

SOURCE, TARGET = "Dataset801_Saint_Elsewhere", "Dataset802_Nowhere_General"
SITE = "WestWingScanner"


def _save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


def _disc(row, column, radius, size=40):
    rows, columns = np.mgrid[:size, :size]
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(np.uint8)


def _dataset(root, prefix, test=6, labels=None):
    """`test` test cases of half as many patients, and four training cases."""
    lines = ["case,patient,site,split"]
    names = [f"{prefix}train{index:02d}" for index in range(4)] + [
        f"{prefix}scan{i:02d}" for i in range(test)
    ]
    for index, name in enumerate(names):
        part, number = ("Tr", index) if index < 4 else ("Ts", index - 4)
        patient = f"{prefix}person{'x' if part == 'Tr' else 'y'}{number // 2}"
        lines.append(f"{name},{patient},{SITE},{'train' if part == 'Tr' else 'test'}")
        truth = _disc(20, 18 + number, 8)
        _save(root / f"images{part}" / f"{name}_0000.png", 60 + 120 * truth)
        _save(root / f"labels{part}" / f"{name}.png", truth)
    content = {
        "channel_names": {"0": "grey"},
        "labels": labels or {"background": 0, "placenta": 1},
        "numTraining": 4,
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def hospitals(tmp_path):
    home = tmp_path / "very" / "private"
    return _dataset(home / SOURCE, "elsewhere_"), _dataset(home / TARGET, "nowhere_")


def _write_log(folder):
    recipe = read_run(folder).recipe
    lines = []
    for stage in recipe.stages:
        for step in range(10, 101, 10):
            losses = {"segmenter/dice": 1.0 / step, "segmenter/cross_entropy": 2.0 / step}
            if stage.name != "segmenter":
                losses = {"translators/cycle": 1.0, "source_critic/adversarial": 0.5}
            lines.append({"stage": stage.name, "step": step, "seconds": 1.0, "losses": losses})
            if stage.choose == "validation":
                lines.append(
                    {"stage": stage.name, "step": step, "seconds": 1.0, "validation_dice": step / 200}
                )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"stage": "segmen')  # a killed process was writing this line


def _split(root, prefix, labelled):
    train = [f"{prefix}train{index:02d}" for index in range(4)]
    test = tuple(f"{prefix}scan{index:02d}" for index in range(6))
    held = tuple(train[2:]) if labelled else ()
    return Split(root.name, "patient", 0, tuple(train[:2] if labelled else train), held, test, None)


def _run(folder, name, cohorts, splits, rule="the last step", finished=True):
    """A trained run, without predictions."""
    folder.mkdir(parents=True)
    recipe = replace(RECIPES[name](True), cohorts=cohorts)
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.13.0", "device": "cpu (x86_64)"}))
    write_splits(folder / "split.json", list(splits.values()))
    prepared = {role: Preparation(role, 1, 64, (Intensity("fixed", 0.0, 255.0),)) for role in splits}
    (folder / "preparation.json").write_text(json.dumps(to_mapping(prepared)))
    material = {"classes": ["background", "placenta"], "channels": 1, "roles": {role: {} for role in splits}}
    (folder / "material.json").write_text(json.dumps(material))
    for stage in recipe.stages:
        last = stage is recipe.stages[-1]
        home = folder if last else folder / "stages" / stage.name
        home.mkdir(parents=True, exist_ok=True)
        content = {
            "format": "fewmask checkpoint 1",
            "stage": stage.name,
            "step": 90 if stage.choose == "validation" else 100,
            "rule": rule,
            "score": 0.45 if stage.choose == "validation" else None,
            "method": {"weight": torch.zeros(2)},
        }
        torch.save(content, home / "checkpoint_chosen.pt")
    if finished:
        (folder / "finished.json").write_text('{"seconds": 3900.0}')
    if cohorts.target is not None:
        _save(folder / "samples" / "translators_target_0000100.png", np.full((48, 72, 3), 90))
        _save(folder / "samples" / "translators_target_0000050.png", np.full((48, 72, 3), 10))
    return folder


def _scored(folder, dataset, shift, empty=()):
    """Predictions that are the truth moved by `shift` pixels, none for the cases in `empty`; and their scores."""
    entries = []
    for path in sorted((dataset / "labelsTs").glob("*.png")):
        truth = np.asarray(Image.open(path))
        predicted = np.zeros_like(truth) if path.stem in empty else np.roll(truth, shift, axis=0)
        _save(folder / "predictions" / path.name, predicted)
        image = dataset / "imagesTs" / f"{path.stem}_0000.png"
        entries.append({"case": path.stem, "images": [str(image)], "mask": path.name})
    manifest = {"checkpoint": {"step": 100, "rule": "the last step"}, "cases": entries}
    (folder / "predictions" / "predictions.json").write_text(json.dumps(manifest))
    evaluate(folder / "predictions", dataset, folder)


@pytest.fixture
def runs(hospitals, tmp_path):
    """A method between its floor and its ceiling, all scored."""
    source, target = hospitals
    of_source, of_target = _split(source, "elsewhere_", True), _split(target, "nowhere_", True)
    both = {"source": of_source, "target": _split(target, "nowhere_", False)}
    method = _run(tmp_path / "adapted_run", "cyclegan", Cohorts(source=source, target=target), both)
    floor = _run(tmp_path / "first_floor", "supervised", Cohorts(masks=source), {"masks": of_source})
    ceiling = _run(tmp_path / "top_ceiling", "supervised", Cohorts(source=target), {"source": of_target})
    for folder, shift in ((method, 3), (floor, 5), (ceiling, 1)):
        _scored(folder, target, shift)
    return method, floor, ceiling


class _Reader(HTMLParser):
    """The words of a page as a reader sees them, its tags, and whether the tags close in order."""

    EMPTY = frozenset(("meta", "br", "img", "link", "hr"))

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.tags, self.ids = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def _page(*folders, **options):
    path = write_report(folders, **options)
    return path.read_text(encoding="utf-8")


def _spoken(reader):
    """What a screen reader says of each drawing."""
    return [attrs["aria-label"] for tag, attrs in reader.tags if tag == "svg" and "aria-label" in attrs]


def _panels(reader):
    return [label for label in _spoken(reader) if "truth (solid)" in label]


def test_page_of_three_runs(runs):
    html = _page(*runs)
    page = _Reader(html)
    scores = [read_run(folder).scores for folder in runs]
    means = [np.mean([row.dice for row in score.rows]) for score in scores]
    share = (means[0] - means[1]) / (means[2] - means[1])
    assert "On 3 test patients (6 images) the masks of cyclegan overlap the truth" in page.text
    assert f"with a mean Dice of {means[0]:.3f} (95 % interval" in page.text
    assert f"The method closes {100 * share:.0f} % of the gap" in page.text
    assert "It beats its floor" in page.text
    assert f"{means[0] - means[1]:+.3f} Dice over 6 paired cases" in page.text
    assert "No mask of the target was opened" in page.text
    assert "Not a medical device" in page.text
    assert "The training is finished (1 h 5 min" in page.text
    steps = [stage.steps for stage in RECIPES["cyclegan"](True).stages]
    assert f"90 of {steps[0]} the last step 0.450" in page.text
    assert f"100 of {steps[1]} the last step –" in page.text
    assert "1 patient 2 cases 1 patient 2 cases 3 patients 6 cases" in page.text
    assert "Source: 1 channel, brought to 64 x 64" in page.text
    for word in ("Dice", "HD95 (px)", "ASSD (px)", "Sensitivity", "Precision", "Missed", "False alarms"):
        assert word in page.text
    # Rows and columns: floor, method, ceiling; the best is starred, not only coloured.
    labels = _panels(page)
    assert ["first_floor" in label for label in labels[:3]] == [True, False, False]
    assert "top_ceiling" in labels[2]
    assert len(labels) == 3 * 3 * 2  # three runs; with six cases, two of each kind
    assert page.text.count("★") == 1 + 5 + 3  # the legend, the scores, the pooled ratios
    assert f"{means[2]:.3f} ★" in page.text


def test_page_is_whole_and_self_contained(runs):
    _write_log(runs[0])
    html = _page(*runs)
    page = _Reader(html)
    assert len(page.ids) == len(set(page.ids))
    assert len(html) < 5_000_000
    known = {f"#{name}" for name in page.ids}
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe")
        for key in ("src", "href", "xlink:href"):
            if attrs.get(key):
                assert attrs[key].startswith("data:image/") or attrs[key] in known, attrs[key]
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg" and "aria-hidden" not in attrs:
            assert attrs["aria-label"]
        if tag == "th":
            assert attrs["scope"] in ("col", "row", "rowgroup", "colgroup")
    addresses = set(re.findall(r"https?://[^\"' <]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for uri in re.findall(r'"data:image/\w+;base64,([^"]+)"', html):
        with Image.open(io.BytesIO(base64.b64decode(uri))) as picture:
            assert picture.width <= 3 * 320
    assert html == _page(*runs)  # the same runs give the same page


def test_last_translation_is_shown(runs):
    html = _page(*runs)
    (uri,) = re.findall(r'<img src="data:image/\w+;base64,([^"]+)"', html)
    with Image.open(io.BytesIO(base64.b64decode(uri))) as picture:
        assert picture.getpixel((0, 0)) == (90, 90, 90)


@pytest.mark.parametrize("pseudonyms", [False, True])
def test_no_absolute_path(runs, tmp_path, pseudonyms):
    recipe = read_run(runs[0]).recipe
    (runs[0] / "recipe.yaml").write_text(
        to_yaml(replace(recipe, start_from=tmp_path / "elsewhere" / "before"))
    )
    html = _page(*runs, pseudonyms=pseudonyms)
    assert str(tmp_path) not in html
    assert tmp_path.name not in html
    assert "/very/" not in html
    assert "start_from:" in html


def test_pseudonyms_hide_cases_patients_sites_and_folders(runs):
    method = runs[0]
    splits = json.loads((method / "split.json").read_text())
    splits[0]["remarks"] = [
        f"near-duplicates at {SITE}: nowhere_scan03 of nowhere_persony1 in /very/private/{SOURCE}/imagesTr",
        "3 groups",
    ]
    (method / "split.json").write_text(json.dumps(splits))
    open_page = _page(*runs)
    assert "nowhere_scan00" in open_page
    assert TARGET in open_page
    assert "/very/private" not in open_page
    hidden = _page(*runs, pseudonyms=True)
    for word in (
        "nowhere",
        "elsewhere",
        "scan0",
        "person",
        SITE,
        "Nowhere",
        "Elsewhere",
        "adapted_run",
        "first_floor",
    ):
        assert word not in hidden, word
    assert "case-001" in hidden
    assert "3 groups" in hidden
    assert "source: source folder" in hidden
    first = re.findall(r"case-\d{3}", hidden)
    assert first == re.findall(r"case-\d{3}", _page(*runs, pseudonyms=True))


def test_a_method_that_does_not_beat_its_floor(runs):
    method, floor, _ = runs
    _scored(method, read_run(method).recipe.cohorts.target, 7)
    page = _page(method, floor)
    assert '<span class="bad">It does not beat its floor' in page
    assert "of the gap" not in page


def test_a_gain_that_may_be_chance(runs):
    """One patient gains much and two lose a little: above the floor on average, but not surely."""
    method, floor, _ = runs
    for folder, dice in (
        (method, (0.9, 0.9, 0.5, 0.5, 0.5, 0.5)),
        (floor, (0.5, 0.5, 0.55, 0.55, 0.55, 0.55)),
    ):
        with (folder / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / "scores.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "dice": value} for row, value in zip(rows, dice, strict=True))
    paired = paired_difference(read_run(method).scores, read_run(floor).scores)
    assert paired.difference == pytest.approx((0.8 - 0.2) / 6)
    assert paired.interval.low < 0 < paired.interval.high
    assert "may be chance" in _page(method, floor)


def test_gap_closed_by_hand(runs):
    scores = [read_run(folder).scores for folder in runs]

    def with_dice(score, value):
        return replace(score, rows=tuple(replace(row, dice=value) for row in score.rows))

    method, floor, ceiling = (with_dice(score, v) for score, v in zip(scores, (0.6, 0.5, 0.9), strict=True))
    assert gap_closed(method, floor, ceiling) == pytest.approx(0.25)
    assert gap_closed(floor, method, ceiling) == pytest.approx(-1 / 3)
    assert gap_closed(method, ceiling, floor) is None
    empty = replace(method, rows=tuple(replace(row, dice=None) for row in method.rows))
    assert set(case_dice(empty).values()) == {None}
    assert paired_difference(empty, floor) is None


def test_roles_need_the_right_folder(runs, tmp_path, hospitals):
    method, floor, _ = runs
    stranger = _dataset(tmp_path / "Dataset803_Other", "other_")
    other = _run(tmp_path / "other_run", "supervised", Cohorts(masks=stranger), {})
    html = _page(method, floor, other)
    assert "Not scored yet: other_run" in html
    few = _run(tmp_path / "few", "supervised", Cohorts(source=hospitals[0], masks=hospitals[1]), {})
    _scored(few, hospitals[1], 0)
    page = _Reader(_page(method, few))
    assert "cannot say whether the adaptation helped" in page.text
    assert "few other supervised few-shot" in page.text
    # A ceiling is known by what it learnt, whatever its recipe is called; one that started elsewhere is none.
    for number, change in enumerate(({"name": "unet"}, {"name": "unet", "start_from": floor})):
        folder = _run(tmp_path / f"named_{number}", "supervised", Cohorts(masks=hospitals[1]), {})
        (folder / "recipe.yaml").write_text(to_yaml(replace(read_run(folder).recipe, **change)))
    method, *others = (read_run(folder) for folder in (method, tmp_path / "named_0", tmp_path / "named_1"))
    assert [role_of(record, method) for record in others] == ["ceiling", "other"]


def test_masks_beside_a_source_and_a_target_are_called_few_shot(runs, tmp_path, hospitals):
    source, target = hospitals
    splits = {"source": _split(source, "elsewhere_", True), "target": _split(target, "nowhere_", False)}
    cohorts = Cohorts(masks=target, source=source, target=target)
    few = _run(tmp_path / "few", "cyclegan", cohorts, {"masks": _split(target, "nowhere_", True), **splits})
    _scored(few, target, 2)
    html = _page(few)
    assert html.count('<div class="flag" role="note"><strong>few-shot</strong>') == 1
    assert html.count("<strong>few-shot</strong>") == 2
    assert "No mask of the target was opened" not in html
    for folder in runs:
        assert "few-shot" not in _page(folder)


def test_source_and_target_in_one_folder_are_told_apart_by_channel(runs, tmp_path, hospitals):
    _, target = hospitals
    split = {"source": _split(target, "nowhere_", True)}
    cohorts = Cohorts(source=target, target=target, source_channel="t1", target_channel="t2")
    method = _run(tmp_path / "both", "cyclegan", cohorts, {})
    floor = _run(tmp_path / "on_t1", "supervised", Cohorts(source=target, source_channel="t1"), split)
    ceiling = _run(tmp_path / "on_t2", "supervised", Cohorts(source=target, source_channel="t2"), split)
    for folder, shift in ((method, 3), (floor, 5), (ceiling, 1)):
        _scored(folder, target, shift)
    labels = _panels(_Reader(_page(method, ceiling, floor)))
    assert "on_t1" in labels[0]
    assert "on_t2" in labels[2]


def test_run_without_scores(hospitals, tmp_path):
    source, target = hospitals
    splits = {"source": _split(source, "elsewhere_", True), "target": _split(target, "nowhere_", False)}
    run = _run(tmp_path / "young", "cyclegan", Cohorts(source=source, target=target), splits, finished=False)
    _write_log(run)
    page = _Reader(_page(run))
    assert "This run has no scores yet" in page.text
    assert "fewmask segment RUN IMAGES --out RUN/predictions" in page.text
    assert "fewmask evaluate RUN/predictions TRUTH --out RUN" in page.text
    steps = RECIPES["cyclegan"](True).stages[-1].steps
    assert f"The training has not finished: translators at step 100 of {steps}." in page.text
    charts = [label for label in _spoken(page) if label.startswith(("Validation", "Losses"))]
    assert len(charts) == 4
    assert "chosen at step 90 with 0.450" in charts[0]


def test_run_that_was_stopped_at_once(tmp_path):
    folder = tmp_path / "begun"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(to_yaml(RECIPES["cyclegan"](True)))
    page = _Reader(_page(folder))
    assert "The training has not finished" in page.text
    assert "none chosen yet" in page.text


def test_missed_structures_are_said_and_crossed(runs):
    method = runs[0]
    _scored(method, read_run(method).recipe.cohorts.target, 2, empty=("nowhere_scan01", "nowhere_scan04"))
    page = _Reader(_page(method))
    assert "A structure was missed altogether twice." in page.text
    assert any("nowhere_scan01" in label and label.endswith("Dice 0.000, missed") for label in _panels(page))


@pytest.mark.parametrize("word", ["ORACLE", "SAME PATIENT ON BOTH SIDES"])
def test_words_that_must_not_be_overlooked(runs, hospitals, tmp_path, word):
    source, target = hospitals
    split = _split(source, "elsewhere_", True)
    remarks = (SAME_PATIENT,) if word == SAME_PATIENT else ()
    rule = "ORACLE: the best Dice on the target's masks" if word == "ORACLE" else "the last step"
    splits = {"source": replace(split, remarks=remarks), "target": _split(target, "nowhere_", False)}
    run = _run(tmp_path / "marked", "cyclegan", Cohorts(source=source, target=target), splits, rule=rule)
    _scored(run, target, 2)
    html = _page(run)
    assert html.count(f'<div class="flag" role="note"><strong>{word}</strong>') == 1
    assert html.count(f"<strong>{word}</strong>") == 2
    assert ("No mask of the target was opened" in html) == (word != "ORACLE")
    beside = _Reader(_page(runs[0], run))
    assert f"marked other cyclegan {word}" in beside.text
    assert _Reader(_page(runs[0])).text.count(word) == 0


def test_scores_on_training_cases_are_called_out(runs, tmp_path):
    ceiling = runs[2]
    split = json.loads((ceiling / "split.json").read_text())
    split[0]["train"] += ["nowhere_scan00", "nowhere_scan01"]
    (ceiling / "split.json").write_text(json.dumps(split))
    assert "2 of the 6 scored cases were used in training with their masks" in _Reader(_page(ceiling)).text
    manifest = ceiling / "predictions" / "predictions.json"
    manifest.write_text(manifest.read_text().replace('"step": 100', '"step": 55'))
    assert "drawn by step 55, not by the chosen checkpoint (step 90)" in _Reader(_page(ceiling)).text


def test_images_that_have_moved(runs, hospitals):
    folder = hospitals[1] / "imagesTs"
    folder.rename(folder.with_name("moved"))
    page = _Reader(_page(*runs))
    assert "6 of 6 pictures are missing" in page.text
    assert _panels(page) == []


def test_predictions_of_another_program(runs):
    (runs[0] / "predictions" / "predictions.json").unlink()
    assert "6 of 6 pictures are missing" in _Reader(_page(runs[0])).text


def test_other_cases_are_not_compared(runs, hospitals, tmp_path):
    method, floor, _ = runs
    elsewhere = hospitals[0]
    _scored(floor, elsewhere, 5)
    for path in (floor / "predictions").glob("nowhere*"):
        path.unlink()
    _scored(floor, elsewhere, 5)
    page = _Reader(_page(method, floor))
    assert "scored on other cases" in page.text
    assert "beat" not in page.text.split("Scores")[0]


def test_markup_in_names_is_escaped(hospitals, tmp_path):
    _, target = hospitals
    folder = tmp_path / "<img src=x>&$a_b$"
    run = _run(folder, "supervised", Cohorts(masks=target), {"masks": _split(target, "nowhere_", True)})
    _scored(run, target, 1)
    html = _page(run)
    assert "<img" not in html.split("</header>")[0]
    assert "&lt;img src=x&gt;&amp;$a_b$" in html
    _Reader(html)


def test_volumes_show_their_largest_slice_upright(tmp_path):
    """A mark at the patient's right front is drawn at the top left, in a file whose axes are turned."""
    values = np.zeros((20, 30, 6), np.float32)  # R, A, S
    values[16:19, 25:29, :] = 100.0
    truth = np.zeros((20, 30, 6), np.uint8)
    truth[2:4, 3:5, 1] = 1
    truth[2:10, 3:12, 4] = 1
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    flipped = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1.0]])
    for name, array in (("image", values), ("truth", truth)):
        nibabel.save(nibabel.Nifti1Image(array[:, :, ::-1], flipped), tmp_path / f"{name}.nii.gz")
    image, mask = tmp_path / "image.nii.gz", tmp_path / "truth.nii.gz"
    picture = draw_case(Wanted(CaseFiles("v", (image,), mask, mask), (mask, None), (1,), 2))
    assert picture is not None
    assert picture.slice_note == "slice 2 of 6 along axis 3"  # RAS index 4 of a file that runs downwards
    assert (picture.width, picture.height) == (213, 640)  # 20 mm by 60 mm
    with Image.open(io.BytesIO(base64.b64decode(picture.photo.split(",")[1]))) as shown:
        pixels = np.asarray(shown)
    assert pixels.shape == (30, 20)
    assert pixels[:10, :5].max() == 255
    assert pixels[10:].max() == pixels[:, 6:].max() == 0
    (path,) = picture.truth
    assert _area(path) == pytest.approx(8 * 9 * 2 * (640 / 60) ** 2, rel=0.02)
    assert picture.predictions == (picture.truth, None)


def _area(path):
    """The enclosed area of an outline, by the shoelace formula."""
    total = 0.0
    for part in path.strip("z").split("zM"):
        head, *rest = part.removeprefix("M").split("l")
        points = np.cumsum([[float(number) for number in pair.split()] for pair in (head, *rest)], axis=0)
        across, down = points.T
        total += 0.5 * float(np.dot(across, np.roll(down, -1)) - np.dot(down, np.roll(across, -1)))
    return abs(total)


def test_outline_encloses_the_mask():
    ring = _disc(30, 30, 20, 60) - _disc(30, 30, 8, 60)
    assert _area(outline_path(ring == 1, (10.0, 10.0))) == pytest.approx(100 * ring.sum(), rel=0.02)
    assert _area(outline_path(np.ones((7, 5), bool), (20.0, 10.0))) == pytest.approx(35 * 200, rel=0.05)
    assert outline_path(np.zeros((5, 5), bool), (1.0, 1.0)) == ""
    speck = np.zeros((4000, 10), bool)
    speck[2000, 5] = True
    assert outline_path(speck, (0.16, 0.16)).endswith("z")


def test_picture_of_a_mask_of_255(tmp_path):
    truth = _disc(20, 20, 9)
    _save(tmp_path / "image.png", np.dstack([truth * 200] * 3))
    _save(tmp_path / "truth.png", truth * 255)
    _save(tmp_path / "predicted.png", truth)
    _save(tmp_path / "small.png", truth[:30])
    files = CaseFiles("c", (tmp_path / "image.png",), tmp_path / "truth.png", tmp_path / "predicted.png")
    wanted = Wanted(files, (tmp_path / "predicted.png", tmp_path / "small.png"), (255,), 2)
    picture = draw_case(wanted)
    assert picture is not None
    assert picture.predictions == (picture.truth, None)
    assert picture.truth[0]


def test_picture_of_class_numbers(tmp_path):
    """Masks that `segment` listed hold class numbers, whatever values the truth has."""
    truth = 85 * _disc(12, 12, 6) + 170 * _disc(28, 28, 6)
    _save(tmp_path / "image.png", truth)
    _save(tmp_path / "truth.png", truth)
    _save(tmp_path / "run" / "c.png", truth // 85)
    files = CaseFiles("c", (tmp_path / "image.png",), tmp_path / "truth.png", tmp_path / "run" / "c.png")
    wanted = Wanted(files, (tmp_path / "run" / "c.png",), (85, 170), 2)
    assert draw_case(wanted).predictions == (("", ""),)
    (tmp_path / "run" / "predictions.json").write_text("{}")
    picture = draw_case(wanted)
    assert picture.predictions == (picture.truth,)
    assert all(picture.truth)


def test_picture_of_a_flat_volume_and_of_a_mirrored_one(tmp_path):
    """A flat NIfTI mask lies on its picture as it does in training, whatever its affine says of the patient."""
    mask = _disc(10, 25, 6)
    _save(tmp_path / "image.png", mask * 200)
    _save(tmp_path / "plain.png", mask)
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(mask.T[:, :, None], turned), tmp_path / "flat.nii.gz")
    plain, flat = (
        draw_case(Wanted(CaseFiles("c", (tmp_path / "image.png",), path, path), (), (1,), 2))
        for path in (tmp_path / "plain.png", tmp_path / "flat.nii.gz")
    )
    assert plain.truth == flat.truth
    volume = np.stack([mask] * 3, axis=-1)
    for name, affine in (("image", np.eye(4)), ("same", np.eye(4)), ("mirrored", np.diag([-1.0, 1, 1, 1]))):
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"{name}.nii.gz")
    image, same, mirrored = (tmp_path / f"{name}.nii.gz" for name in ("image", "same", "mirrored"))
    picture = draw_case(Wanted(CaseFiles("c", (image,), same, same), (same, mirrored), (1,), 2))
    assert picture.predictions == (picture.truth, None)
    assert draw_case(Wanted(CaseFiles("c", (image,), mirrored, same), (same,), (1,), 2)) is None


def test_out_may_be_a_file_or_a_folder(runs, tmp_path):
    assert write_report(runs) == runs[0] / "report.html"
    assert write_report(runs, tmp_path / "pages" / "one.html").read_text()
    assert write_report(runs, tmp_path / "pages") == tmp_path / "pages" / "report.html"


def test_one_run_given_twice_is_one_row(runs):
    assert len(_panels(_Reader(_page(runs[0], runs[0])))) == 6


def _fault(*folders):
    with pytest.raises(InputFault) as caught:
        write_report(folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_no_runs(runs, tmp_path):
    assert "no run given" in _fault()
    assert "not a run folder" in _fault(tmp_path)
    assert "not a run folder" in _fault(runs[0], tmp_path / "nothing")
    (runs[0] / "summary.json").write_text("{}")
    assert "evaluate" in _fault(runs[0])
    (runs[0] / "summary.json").write_text("{")
    assert "summary.json" in _fault(runs[0])
    assert not (runs[0] / "report.html").exists()


def test_verdict_of_one_patient_has_no_interval(runs):
    record = read_run(runs[0])
    dice = replace(record.scores.summary.overall.metrics.dice, low=None, high=None)
    overall = replace(
        record.scores.summary.overall, metrics=replace(record.scores.summary.overall.metrics, dice=dice)
    )
    summary = replace(record.scores.summary, overall=overall, patients=1)
    lonely = replace(record, scores=replace(record.scores, summary=summary))
    (first, *_) = verdict([Entry(lonely, "method", "x")])
    assert "On 1 test patient (6 images)" in first.text
    assert "so no interval" in first.text


def test_title_is_the_recipe_and_the_folder_name(runs):
    assert "<title>cyclegan – adapted_run – fewmask report</title>" in _page(*runs)
    assert "<title>cyclegan – run 1 – fewmask report</title>" in _page(*runs, pseudonyms=True)


def _tables(html, ids):
    """The cells of a page's tables by the id of their title, row by row, with the small print left out."""
    found = {}
    for name in ids:
        body = re.search(rf'<table[^>]*aria-labelledby="{name}".*?</table>', html, re.DOTALL)[0]
        rows = re.findall(r"<tr.*?</tr>", re.sub(r"<small>.*?</small>", "", body), re.DOTALL)
        found[name] = [
            [
                re.sub(r"<[^>]+>", "", cell).strip()
                for cell in re.findall(r"<(?:td|th)\b.*?</(?:td|th)>", row, re.DOTALL)
            ]
            for row in rows
        ]
    return found


def test_confusion_matrices_are_those_of_the_files(runs):
    html = _page(*runs)
    tables = _tables(html, ("confusion-1", "confusion-2", "confusion-3", "pooled"))
    method, floor, ceiling = runs
    for number, folder in enumerate((floor, method, ceiling), start=1):
        with (folder / "confusion.csv").open(newline="") as file:
            head, *rows = list(csv.reader(file))
        title, *shown = tables[f"confusion-{number}"]
        assert title[1:] == head[1:] == ["background", "placenta"]
        for row, cells in zip(rows, shown, strict=True):
            counts = np.array(row[1:], dtype=int)
            assert cells == [row[0], *(f"{share:.3f}" for share in counts / counts.sum())]
            for count in counts:
                assert f'title="{count} of {counts.sum()} pixels"' in html
        pooled = json.loads((folder / "summary.json").read_text())["pooled"]
        keys = ("pixel_accuracy", "mean_class_accuracy", "mean_iou")
        values = [cell.removesuffix(" ★") for cell in tables["pooled"][number][1:]]
        assert values == [f"{pooled[key]['value']:.3f}" for key in keys]
        for key in keys:
            assert f"[{pooled[key]['low']:.3f}, {pooled[key]['high']:.3f}]" in html
    assert [row[-1].endswith("★") for row in tables["pooled"][1:]] == [False, False, True]


def test_scores_of_before_there_were_matrices(runs):
    for folder in runs:
        (folder / "confusion.csv").unlink()
        content = json.loads((folder / "summary.json").read_text())
        del content["pooled"]
        for part in (content["overall"], *content["classes"].values()):
            del part["masd"], part["masd_voxels"], part["hd95_voxels"]
        (folder / "summary.json").write_text(json.dumps(content))
    assert 'id="confusion"' not in _page(*runs)


def test_a_true_class_without_pixels_has_no_shares(runs):
    (runs[0] / "confusion.csv").write_text("truth,background,placenta\nbackground,3,1\nplacenta,0,0\n")
    table = _tables(_page(runs[0]), ("confusion-1",))["confusion-1"]
    assert table[1:] == [["background", "0.750", "0.250"], ["placenta", "–", "–"]]


def _redraw(folder, attention=None):
    """What `segment` keeps of a run that translates: flat translations, and masks without one."""
    for number, path in enumerate(sorted((folder / "predictions").glob("*.png"))):
        _save(folder / "predictions" / "translations" / path.name, np.full((40, 40, 3), 100 + number))
        _save(folder / "predictions" / "untranslated" / path.name, _disc(10, 10, 6))
        if attention is not None:
            _save(folder / "predictions" / "attention" / path.name, attention)


@pytest.fixture
def redrawn(runs, hospitals, tmp_path):
    """The method, and a run with attention: 0.2 on the left half, a little more in a disc on the right."""
    source, target = hospitals
    cohorts = Cohorts(source=source, target=target)
    attending = _run(tmp_path / "attending_run", "msl", cohorts, {})
    _scored(attending, target, 2)
    _redraw(runs[0], attention=np.full((40, 40), 255))
    _redraw(attending, attention=np.where(_disc(20, 30, 8), 52, 51))
    return runs[0], attending


def _uri(html, key):
    (uri,) = re.findall(rf'<image id="{key}" [^>]*href="data:image/\w+;base64,([^"]+)"', html)
    with Image.open(io.BytesIO(base64.b64decode(uri))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_translations_stand_beside_their_segmentations(redrawn):
    html = _page(*redrawn)
    page = _Reader(html)
    assert len(page.ids) == len(set(page.ids))
    (table,) = _tables(html, ("redrawn",)).values()
    assert table[0] == ["Image", "Truth", "Without adaptation", "adapted_run", "attending_run"]
    spoken = _spoken(page)
    for kind in ("Image of", "Truth of"):
        assert sum(label.startswith(kind) for label in spoken if "without outlines" not in label) >= 5
    assert sum(label.endswith("segmented without a translation") for label in spoken) == 5
    scores = read_run(redrawn[1]).scores
    for row in scores.rows:
        label = f"{row.case} segmented by attending_run in its translation, Dice {row.dice:.3f}"
        assert (label in spoken) == (f"Image of {row.case}" in spoken)
    # Every translation is that of its case: the flat grey tells which.
    for number, row in enumerate(scores.rows):
        if f"Image of {row.case}" in spoken:
            for run in (1, 2):
                assert (
                    np.abs(_uri(html, f"plate-{number + 1}-run-{run}").astype(int) - 100 - number).max() <= 1
                )
    wanted = outline_path(_disc(10, 10, 6) == 1, (16.0, 16.0))
    assert html.count(f'"paint fill-1" d="{wanted}"') == 5
    for folder in redrawn:
        (folder / "predictions" / "untranslated").rename(folder / "elsewhere")
    assert "Without adaptation" not in _Reader(_page(*redrawn)).text


def test_attended_regions(redrawn):
    html = _page(*redrawn)
    (table,) = _tables(html, ("attended",)).values()
    assert table[0] == ["Image", "attending_run"]  # a map of ones, of a run without attention, tells nothing
    assert table[1] == ["Attention", "Translation"]
    rim = outline_path(_disc(20, 30, 8) == 1, (16.0, 16.0))
    assert _area(rim) == pytest.approx(16**2 * _disc(20, 30, 8).sum(), rel=0.02)
    assert html.count(f'<path class="predicted rim" d="{rim}"/>') == 5  # 52/255 is above 0.2, 51/255 is not
    assert "above 0.2" in _Reader(html).text
    heat = _uri(html, "plate-1-run-2-heat")
    assert (heat[20, 30] != heat[20, 5]).any()
    stops = re.findall(r'stop-color="#(\w{6})"', html)
    assert stops[0] < stops[-1]
    for folder in redrawn:
        (folder / "predictions" / "attention").rename(folder / "attention")
    html = _page(*redrawn)
    assert 'id="attended"' not in html
    assert 'id="redrawn"' in html


def test_runs_that_kept_no_translation_have_no_such_section(runs):
    html = _page(*runs)
    assert 'id="redrawn"' not in html
    assert 'id="attended"' not in html
    assert 'id="plate-' not in html


def test_pseudonyms_hold_for_translations(redrawn):
    hidden = _page(*redrawn, pseudonyms=True)
    for word in ("nowhere", "scan0", "adapted_run", "attending_run"):
        assert word not in hidden, word
    assert "segmented by run 2 in its translation" in hidden


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        ((0.1, 0.9, 0.5, 0.3, 0.7), "1 best, 4 upper quartile, 2 median, 3 lower quartile, 0 worst"),
        ((0.1, 0.9, 0.5), "1 best, 2 median, 0 worst"),
        ((0.1, 0.9), "1 best, 0 worst"),
        ((0.4, None), "0 best"),
        ((None,), ""),
    ],
)
def test_cases_are_chosen_by_their_rank(redrawn, dice, expected):
    record = read_run(redrawn[0])
    rows = tuple(replace(row, dice=value) for row, value in zip(record.scores.rows, dice, strict=False))
    entry = Entry(replace(record, scores=replace(record.scores, rows=rows)), "method", "x")
    plates = translation_gallery([entry], Names(False, {}, {entry.record.folder.resolve(): "run"}, ())).plates
    assert ", ".join(f"{int(plate.name[-2:])} {plate.rank}" for plate in plates) == expected


def test_damaged_translations_leave_a_gap(redrawn):
    for path in (redrawn[1] / "predictions").glob("*/*.png"):
        path.write_bytes(b"no picture")
    html = _page(redrawn[1])
    assert "as attending_run re-draws it" not in html
    assert "segmented by attending_run in its translation" in html
