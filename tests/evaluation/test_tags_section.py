"""The report of a run that learns from tags, on run folders built by hand: counts, pictures, words, pseudonyms."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html import unescape

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.config import to_mapping, to_yaml
from fewmask.data.case import Case
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.prepared_case import prepare_case
from fewmask.data.split import Split, write_splits
from fewmask.errors import InputFault
from fewmask.evaluation.compare import Entry, cases_learnt, role_of, verdict
from fewmask.evaluation.report import write_report
from fewmask.evaluation.run_record import CaseFiles, CaseRow, Scores, read_run
from fewmask.evaluation.summary import (
    UNMEASURED,
    ClassSummary,
    MetricStatistics,
    Statistic,
    StatusCounts,
    Summary,
)
from fewmask.evaluation.tags_gallery import chosen_slices
from fewmask.evaluation.tags_record import AuditedSlice, chosen_by_masks
from fewmask.evaluation.tags_words import expansion_in_words, layers_of, maps_in_words
from fewmask.methods.kinds import KINDS
from fewmask.methods.supervised import SupervisedConfig
from fewmask.pseudo_label_config import CamMaps, Expansion, OwnMaps
from fewmask.recipe import Cohorts, Recipe, Stage, override
from fewmask.recipes.names import RECIPES

torch.set_num_threads(1)

DATASET = "Dataset903_Private_Clinic"
CASES = ("Doe_Jane", "Roe_Richard", "Poe_Edgar")
HELD = "Poe_Edgar"
SHAPE, DEPTH = (24, 32), 6
# Columns to the patient's left, rows to the back, slices downwards: every axis against RAS.
AFFINE = np.diag([-1.0, -1.0, -5.0, 1.0])
TAGS = {
    "Doe_Jane": (0, 1, 1, 1, 0, None),
    "Roe_Richard": (0, 0, 1, 1, None, None),
    "Poe_Edgar": (0, 0, 1, 1, 1, 0),
}
LAYERS = 4
SEEDS_HEAD = ("case", "slice", "threshold", "seed_row", "seed_column", "top", "left", "bottom", "right")
AUDIT_HEAD = (
    *(
        "case",
        "patient",
        "slice",
        "part",
        "tag",
        "classifier_score",
        "decision",
        "doubt",
        "reason",
        "entropy",
    ),
    *("disagreement", "geodesic_margin", "components", "largest_share", "area_share", "corrected"),
)


def _volume(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _table(path, head, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])


def _preparation(flat=False):
    if flat:
        return Preparation("tags", 1, 32, (Intensity("fixed", 0.0, 255.0),))
    return Preparation("tags", 1, 32, (Intensity("fixed", 0.0, 100.0),), pixel_mm=1.0, slice_axis=2)


def _labels(folder, audit, seeds=(), chosen=None):
    _table(folder / "audit.csv", AUDIT_HEAD, audit)
    _table(folder / "seeds.csv", SEEDS_HEAD, seeds)
    content = {"threshold": None, "f1": 0.75, "auc": 0.875, "rows": [0, 1, 2, 3, 4, 6, 7, 8], "corrected": []}
    (folder / "pseudo_labels.json").write_text(json.dumps(content | (chosen or {})))


def _audit_line(case, number, tag, decision, doubt, reason="rank", corrected=0):
    part = "validation" if case == HELD else "train"
    told = (0.5, decision, doubt, reason, 0.1, 0.2, 0.3, 1, 1.0, 0.1, corrected)
    return (case, f"patient of {case}", number, part, "" if tag is None else float(tag), *told)


def _audit():
    """Eight slices show it: Doe 1 2 3, Roe 2 3, Poe 2 3 4."""
    found = [
        _audit_line("Roe_Richard", 2, 1, "reject", 1.0, "empty"),
        _audit_line("Poe_Edgar", 4, 1, "reject", 0.9),
        _audit_line("Doe_Jane", 3, 1, "review", 0.7),
        _audit_line("Doe_Jane", 2, 1, "review", 0.6, corrected=1),
        _audit_line("Roe_Richard", 3, 1, "accept", 0.4),
        _audit_line("Poe_Edgar", 3, 1, "accept", 0.3),
        _audit_line("Poe_Edgar", 2, 1, "accept", 0.2),
        _audit_line("Doe_Jane", 1, 1, "accept", 0.1),
    ]
    for case, tags in TAGS.items():
        found += [
            _audit_line(case, n, tag, "accept", 0.0, "no object") for n, tag in enumerate(tags) if tag != 1
        ]
    return found


def _image(case):
    """Dim noise, and in each slice a bright spot around (5 + slice, 9): near the patient's right and the front."""
    noise = np.random.default_rng(CASES.index(case)).integers(0, 20, (*SHAPE, DEPTH)).astype(np.uint8)
    for z in range(DEPTH):
        noise[4 + z : 7 + z, 8:11, z] = 90
        noise[5 + z, 9, z] = 100
    return noise


def _seeds(dataset):
    """At the brightest pixel of the prepared slice, wherever that is, with a margin of two."""
    lines = []
    for case, tags in TAGS.items():
        prepared = prepare_case(Case(case, (dataset / f"{case}_0000.nii.gz",)), _preparation())
        slices = torch.cat(list(prepared.chunks()))[:, 0].numpy()
        for number, tag in enumerate(tags):
            if tag == 1:
                # The file's slices run downwards and prepared ones upwards.
                row, column = np.unravel_index(slices[DEPTH - 1 - number].argmax(), (32, 32))
                lines.append((case, number, 0.4, row, column, row - 2, column - 2, row + 2, column + 2))
    return lines


def _write_run(folder, dataset, recipe, preparation, tags):
    folder.mkdir(parents=True)
    recipe = replace(recipe, cohorts=Cohorts(tags=dataset))
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    (folder / "environment.json").write_text('{"torch": "2.13.0"}')
    remarks = (f"1 of 4 training cases have no tag 'brain' and are left out of {DATASET}",)
    names = tuple(tags)
    split = Split(DATASET, "patient", 0, names[:2], names[2:], ("Test_Case",), None, remarks)
    write_splits(folder / "split.json", [split])
    (folder / "preparation.json").write_text(json.dumps(to_mapping({"tags": preparation})))
    roles = {"tags": {}, "held_out": {}}
    content = {"classes": ["background", "brain"], "channels": 1, "roles": roles}
    (folder / "material.json").write_text(json.dumps(content))
    (folder / "learnt_tags.json").write_text(json.dumps({"tag": "brain", "by_case": tags}))
    rules = {"classifier": f"the best F1 on the held-out patients of the tagged cohort {DATASET}"}
    for stage in recipe.stages:
        home = folder if stage is recipe.stages[-1] else folder / "stages" / stage.name
        home.mkdir(parents=True, exist_ok=True)
        rule = rules.get(stage.name, "the last step")
        saved = {"stage": stage.name, "step": 50, "rule": rule, "score": 0.75, "method": {}}
        torch.save({"format": "fewmask checkpoint 1", **saved}, home / "checkpoint_chosen.pt")
    log = [
        {"stage": "classifier", "step": 50, "seconds": 1.0, "losses": {"classifier/cross_entropy": 0.5}},
        {"stage": "classifier", "step": 50, "seconds": 1.0, "validation_f1": 0.75},
        {"stage": "segmenter", "step": 50, "seconds": 1.0, "losses": {"segmenter/map": 0.5}},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    (folder / "samples").mkdir()
    picture = Image.fromarray(np.full((128, 64, 3), 50, dtype=np.uint8))
    picture.save(folder / "samples" / "segmenter_batch_0000050.png")
    return folder / "stages" / "segmenter" / "pseudo_labels"


def _dataset(root):
    """The tagged dataset. Its masks are damaged files: who opens one fails."""
    for case in (*CASES, "Test_Case"):
        part = "Ts" if case == "Test_Case" else "Tr"
        _volume(root / f"images{part}" / f"{case}_0000.nii.gz", np.zeros((*SHAPE, DEPTH), np.uint8))
        (root / f"labels{part}").mkdir(exist_ok=True)
        (root / f"labels{part}" / f"{case}.nii.gz").write_text("closed")
    described = {"channel_names": {"0": "T2"}, "labels": {"background": 0, "brain": 1}}
    content = described | {"numTraining": 3, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def run(tmp_path):
    """A run of volumes with everything that a training leaves."""
    folder = tmp_path / "secret_run"
    dataset = _dataset(tmp_path / DATASET)
    changes = ("weighting=inverse_entropy", "threshold=least_variance", "slices=all")
    recipe = override(RECIPES["umcam"](True), changes, KINDS)
    labels = _write_run(folder, dataset, recipe, _preparation(), TAGS)
    made = labels / "Dataset001_pseudo"
    for case in CASES:
        _volume(made / "imagesTr" / f"{case}_0000.nii.gz", _image(case))
        mask = np.zeros((*SHAPE, DEPTH), np.uint8)
        mask[4:12, 6:13, 1:5] = 1
        _volume(made / "labelsTr" / f"{case}.nii.gz", mask)
        soft = mask[..., None].astype(np.float32)
        maps = np.concatenate([soft * share for share in (0.25, 0.5, 0.75, 1.0)], axis=-1)
        for name, values in (("soft", soft), ("fused", soft * 0.9), ("maps", maps)):
            _volume(labels / name / f"{case}_probabilities.nii.gz", values)
    _labels(labels, _audit(), _seeds(made / "imagesTr"), {"corrected": ["Doe_Jane"]})
    return folder


def _html(*folders, **options):
    return write_report(folders, **options).read_text(encoding="utf-8")


def _section(html):
    start = html.index('<h2 id="tags">')
    return html[start : html.index("</section>", start)]


def _text(html):
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


def _rows(html, caption):
    """The cells of a table, from the one after its caption on."""
    body = html[html.index(caption) :]
    body = body[: body.index("</table>")]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[_text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)] for line in lines]


def test_counts_are_those_of_the_files(run):
    html = _section(_html(run))
    tags = _rows(html, "Tags of brain")
    assert tags[1:] == [["Training", "2", "9", "5", "56 %", "3"], ["Validation", "1", "6", "3", "50 %", "0"]]
    audit = _rows(html, "The audit of the 8 slices")
    assert [row[:3] for row in audit[1:]] == [
        ["Accept", "2", "2"],
        ["Review", "2", "0"],
        ["Reject", "1", "1"],
    ]
    words = _text(html)
    assert "1 of 4 training cases have no tag" in words
    assert "its F1 is 0.750 and its AUC 0.875" in words
    # Rows 0 to 4 and 6 to 8 are Doe's first five slices and Roe's first three.
    assert "8 training slices (4 that show it and 4 that do not): those tagged as showing it, with" in words
    assert "In 1 of them a person's mask takes the place" in words
    assert "Grad-CAM at block 3, block 4, block 5 and the last layer of the classifier" in words
    assert "its weight being 1 / entropy" in words
    assert "which needs no mask (from 0.4 to 0.4" in words
    assert "The fused map with weight 0.1 and the soft label with weight 0.9." in words


def test_mending_in_one_command(run):
    words = _text(_section(_html(run)))
    assert "stages/segmenter/pseudo_labels/Dataset001_pseudo/labelsTr" in words
    folders = f"--tags {DATASET} --corrections DIR --start-from secret_run --out NEW"
    assert f"fewmask train secret_run/recipe.yaml {folders}" in words
    assert "1 case has masks that a person mended" in words


def test_pictures_of_every_slice_that_shows_it(run):
    html = _section(_html(run))
    captions = [_text(found) for found in re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)]
    shown = [caption for caption in captions if ", slice " in caption]
    expected = "Roe_Richard, slice 2, training: reject (doubt 1.00, it is tagged as showing it and nothing is labelled)"
    assert shown[0].replace(" ,", ",") == f"{expected}; not mended"
    assert len(shown) == 8
    assert [caption.count("mended by a person") for caption in shown] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert sum("validation" in caption for caption in shown) == 3
    assert len(re.findall(r'<image [^>]*href="data:image', html)) == 8 * (1 + LAYERS + 2)
    assert html.count('class="seed object"') == 8 + 1  # and the legend
    assert html.count('class="seed background"') == 8 * 4 + 1
    assert html.count("a person&#39;s mask</p>") == 1
    assert html.count("<p>pseudo-mask</p>") == 7
    assert len(html) < 1_000_000
    ids = re.findall(r' id="([^"]+)"', _html(run))
    assert len(ids) == len(set(ids))


def _photo(uri):
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"), dtype=float
    )


def test_seeds_lie_where_the_image_is_bright(run):
    html = _section(_html(run))
    figure = next(part for part in html.split("<figure")[1:] if "Doe_Jane</strong>, slice 3" in part)
    photo = _photo(re.search(r'<defs><image [^>]*href="([^"]+)"', figure)[1])
    assert photo.shape == (32, 24)
    # By hand: the file's columns run to the left and its rows to the back, as on a light box.
    assert np.argwhere(photo > 200).mean(0).tolist() == [9, 5 + 3]
    assert 'viewBox="0 0 480 640"' in figure
    centre = re.search(r'class="seed object" cx="(\d+)" cy="(\d+)"', figure)
    across, down = int(centre[1]), int(centre[2])
    assert across == round((8 + 0.5) * 20)
    assert down == round((9 + 0.5) * 20)
    corners = re.search(r'class="box" d="M(\d+) (\d+)L(\d+) (\d+)L(\d+) (\d+)L(\d+) (\d+)z"', figure)
    left, top, right, top_too, _, bottom, *_ = (int(number) for number in corners.groups())
    assert (left, top, right, top_too, bottom) == (across - 40, down - 40, across + 40, down - 40, down + 40)


def test_maps_are_laid_over_the_image(run):
    html = _section(_html(run))
    figure = next(part for part in html.split("<figure")[1:] if "Doe_Jane</strong>, slice 3" in part)
    photos = [_photo(uri) for uri in re.findall(r'<image [^>]*href="([^"]+)"', figure)]
    image, *layers = photos
    # The mask of the fixture is voxels 4 to 11 across and 6 to 12 down; its maps are 1/4 to 1 there.
    inside = np.zeros((32, 24), dtype=bool)
    inside[6:13, 4:12] = True
    brightness = [layer[inside].mean() for layer in layers]
    assert brightness[0] < brightness[1] < brightness[2] < brightness[3]
    assert brightness[3] == brightness[5]  # the soft label is 1 there too
    assert all((layer[~inside] == image[~inside]).all() for layer in layers)
    # The outline runs through the rim of those voxels: from column 4 to 12 and from row 6 to 13, 20 units each.
    outline = re.search(r'<path class="halo" d="M(\d+) (\d+)((?:l-?\d+ -?\d+)+)z"', figure)
    steps = np.array([[int(n) for n in pair.split()] for pair in outline[3].split("l")[1:]])
    points = np.array([int(outline[1]), int(outline[2])]) + np.concatenate([[[0, 0]], steps.cumsum(0)])
    assert points.min(0).tolist() == [4 * 20, 6 * 20]
    assert points.max(0).tolist() == [12 * 20, 13 * 20]


def test_pseudonyms_hide_names(run):
    html = re.sub(r"data:image/[^\"]+", "", _html(run, pseudonyms=True))
    for word in (
        "Jane",
        "Doe_",
        "Roe",
        "Richard",
        "Edgar",
        "Poe_",
        DATASET,
        "Private_Clinic",
        "secret_run",
        "Test_Case",
    ):
        assert word not in html, word
    words = _text(_section(html))
    assert (
        "fewmask train RUN/recipe.yaml --tags DATASET --corrections DIR --start-from RUN --out NEW" in words
    )
    assert "tagged case 3 , slice 2, training" in words  # Roe is the third by name
    open_page = re.sub(r"data:image/[^\"]+", "", _html(run))
    assert str(run.parent) not in open_page
    assert "Roe_Richard" in open_page


def test_rest_of_the_page_speaks_of_tags(run):
    words = _text(_html(run))
    assert "50 of 3000 the best F1 on the held-out patients of the tagged cohort" in words
    assert "the last step" in words
    assert "No mask was opened to train or to choose, but those that a person mended" in words
    assert "classifier: score on the held-out tagged patients" in words
    assert "F1 on held-out patients" in words
    assert "classifier: losses" in words
    assert "segmenter: losses" in words
    assert "held-out labelled" not in words
    assert f"tags {DATASET} 2 cases 1 case 1 case" in words
    assert "What stage segmenter drew at step 50" in words
    assert "Ceiling The same task learnt from full masks" in words


def test_what_the_recipe_does_by_itself_is_told(run):
    recipe = replace(RECIPES["umcam"](True), cohorts=read_run(run).recipe.cohorts)
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    words = _text(_html(run))
    assert "0.5 for every slice, as the recipe says; no mask chose it" in words
    assert "its weight being exp(-entropy)" in words
    assert "those tagged as showing it; at work the classifier empties the others" in words


def test_masks_that_chose_something_are_told(run):
    recipe = replace(RECIPES["umcam_miccai23"](True), cohorts=read_run(run).recipe.cohorts)
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    labels = run / "stages" / "segmenter" / "pseudo_labels"
    _labels(labels, _audit(), chosen={"threshold": 0.35})
    words = _text(_html(run))
    assert "Masks of held-out patients chose the threshold and the checkpoint of stage segmenter" in words
    assert "0.35 for every slice: of 19 values from 0.05 to 0.95" in words
    assert "No mask was opened" not in words
    assert chosen_by_masks(RECIPES["umcam"](True)) == ()


def test_runs_without_tags_have_no_such_section(tmp_path):
    folder = tmp_path / "masked"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(to_yaml(RECIPES["fullysup"](True)))
    html = _html(folder)
    assert 'id="tags"' not in html
    assert "From tags to masks" not in html
    assert "Floor and ceiling" in html


def test_runs_that_were_stopped_early(run):
    (run / "stages" / "segmenter" / "pseudo_labels").rename(run / "away")
    words = _text(_section(_html(run)))
    assert "The pseudo-labels have not been made yet" in words
    assert "To mend them" not in words
    (run / "learnt_tags.json").unlink()
    (run / "split.json").unlink()
    (run / "material.json").unlink()
    assert "The tags have not been read yet" in _text(_section(_html(run)))


def test_missing_and_damaged_files(run):
    labels = run / "stages" / "segmenter" / "pseudo_labels"
    (labels / "maps" / "Roe_Richard_probabilities.nii.gz").unlink()
    (labels / "fused" / "Poe_Edgar_probabilities.nii.gz").write_text("torn")
    html = _section(_html(run))
    assert "5 of 8 slices cannot be drawn" in _text(html)
    assert len(re.findall(r'<image [^>]*href="data:image', html)) == 3 * (1 + LAYERS + 2)
    (labels / "audit.csv").write_text("case,slice\nDoe_Jane,first\n")
    with pytest.raises(InputFault, match=r"audit\.csv: is missing or damaged"):
        write_report([run])


def test_seeds_in_the_padding_are_said(run):
    labels = run / "stages" / "segmenter" / "pseudo_labels"
    _labels(labels, _audit(), [("Doe_Jane", 1, 0.4, 10, 5, 8, 2, 12, 7)])  # the image begins at column 4
    html = _section(_html(run))
    assert html.count("seeds, some beyond the image") == 1
    assert html.count("<p>no seeds</p>") == 7


def test_pictures_instead_of_volumes(tmp_path):
    dataset = tmp_path / DATASET
    (dataset / "imagesTr").mkdir(parents=True)
    tags = {case: (tag,) for case, tag in zip(CASES, (1, 0, 1), strict=True)}
    labels = _write_run(tmp_path / "flat", dataset, RECIPES["gradcam"](True), _preparation(flat=True), tags)
    made = labels / "Dataset001_pseudo"
    mask = np.zeros((20, 30), np.uint8)
    mask[3:6, 2:9] = 1
    for case in CASES:
        for name, values in (("imagesTr", mask * 200), ("labelsTr", mask)):
            (made / name).mkdir(parents=True, exist_ok=True)
            stem = f"{case}_0000" if name == "imagesTr" else case
            Image.fromarray(values).save(made / name / f"{stem}.png")
        for name in ("maps", "fused", "soft"):
            (labels / name).mkdir(exist_ok=True)
            np.savez_compressed(labels / name / f"{case}.npz", probabilities=mask[None].astype(np.float16))
    audit = [_audit_line("Doe_Jane", 0, 1, "review", 0.6), _audit_line("Poe_Edgar", 0, 1, "accept", 0.4)]
    _labels(labels, audit, chosen={"rows": [0, 1]})
    html = _section(_html(tmp_path / "flat"))
    assert len(re.findall(r'<image [^>]*href="data:image', html)) == 2 * (1 + 1 + 2)
    assert "patient's right" not in html
    photo = _photo(re.search(r'<defs><image [^>]*href="([^"]+)"', html)[1])
    assert (photo[:20, :30] > 100).nonzero()[0].min() == 3  # as it lies, not turned
    words = _text(html)
    assert "one map, so there is nothing to average" in words.lower()
    assert "None: the fused map itself is the soft label" in words
    assert "The fused map with weight 1." in words


def _slices(count, cases=1, doubts=None, decisions=None):
    return [
        AuditedSlice(
            case=f"case{index % cases}",
            patient="p",
            number=index,
            trains=True,
            positive=True,
            score=0.0,
            decision=decisions[index] if decisions else "accept",
            doubt=doubts[index] if doubts else 1.0 - index / count,
            reason="rank",
            corrected=False,
        )
        for index in range(count)
    ]


def test_which_slices_are_shown():
    decisions = ["reject"] * 3 + ["review"] * 7 + ["accept"] * 20
    audit = _slices(30, decisions=decisions)
    shelves = {title: [one.number for one in slices] for title, slices in chosen_slices(audit)}
    assert list(shelves.values()) == [[0, 1, 2, 3, 4, 5], [8, 9, 10], [29, 28, 27]]
    assert list(shelves)[1] == "Around the line between review and accept"
    few = chosen_slices(audit[:12])
    assert [len(slices) for _, slices in few] == [12]
    negative = [replace(one, positive=False) for one in audit]
    assert chosen_slices(negative) == []


def test_no_slice_is_shown_twice_and_no_shelf_is_empty():
    early = ["reject"] * 3 + ["accept"] * 20
    shelves = chosen_slices(_slices(23, decisions=early))
    assert [title for title, _ in shelves] == ["The most doubtful", "The least doubtful"]
    late = ["review"] * 21 + ["accept"]
    shown = [one.number for _, slices in chosen_slices(_slices(22, decisions=late)) for one in slices]
    assert len(shown) == len(set(shown)) == 9


def test_equally_doubtful_cases_take_turns():
    audit = _slices(20, cases=2, doubts=[1.0] * 20, decisions=["reject"] * 20)
    bad_first = sorted(audit, key=lambda one: one.case)
    most = chosen_slices(bad_first)[0][1]
    assert [one.case for one in most] == ["case0", "case1"] * 3


def test_options_in_words():
    assert maps_in_words(OwnMaps()) == "one a slice, which the classifier was trained to make"
    assert layers_of(OwnMaps()) == ("the classifier's own map",)
    assert (
        maps_in_words(CamMaps(cam="scorecam", layers=("block5",))) == "Score-CAM at block 5 of the classifier"
    )
    grown = " ".join(
        expansion_in_words(Expansion(margin=1, cost="mixed", mix=0.25, sweeps=4, ratio=2.0, form="fused"))
    )
    for words in (
        "1 pixel wider",
        "4 sweeps, so not exact",
        "0.25 times the change",
        "0.75 times",
        "exp(-2 x",
        "fused map",
    ):
        assert words in grown
    assert "exact)" in " ".join(expansion_in_words(Expansion()))
    assert "F / (F + B)" in " ".join(expansion_in_words(Expansion()))


def _fullysup(folder, cohorts):
    folder.mkdir()
    stage = Stage("segmenter", SupervisedConfig(), steps=10, batch=2)
    (folder / "recipe.yaml").write_text(to_yaml(Recipe("fullysup", (stage,), cohorts=cohorts)))
    return read_run(folder)


def test_ceiling_is_the_same_images_with_masks(run, tmp_path):
    first = read_run(run)
    dataset = first.recipe.cohorts.tags
    assert role_of(_fullysup(tmp_path / "top", Cohorts(masks=dataset)), first) == "ceiling"
    assert role_of(_fullysup(tmp_path / "other", Cohorts(masks=tmp_path / "elsewhere")), first) == "other"
    of_flair = replace(
        first, recipe=replace(first.recipe, cohorts=Cohorts(tags=dataset, tags_channel="FLAIR"))
    )
    flair = _fullysup(tmp_path / "flair", Cohorts(source=dataset, source_channel="FLAIR"))
    assert role_of(flair, of_flair) == "ceiling"
    assert role_of(flair, first) == "other"


def _scored(record, *dice):
    """The record with scored cases of these Dice, whose truth lies with the tagged images."""
    rows = tuple(
        CaseRow(case, case, "brain", value, None, "ok") for case, value in zip(CASES, dice, strict=True)
    )
    truth = (record.recipe.cohorts.tags or record.folder) / "labelsTr"
    files = tuple(CaseFiles(row.case, (), truth / f"{row.case}.nii.gz", truth) for row in rows)
    mean = Statistic(float(np.mean(dice)), None, None, None, len(dice))
    metrics = MetricStatistics(mean, *([UNMEASURED] * 7))
    overall = ClassSummary("overall", None, metrics, StatusCounts(len(dice), 0, 0, 0))
    summary = Summary(len(dice), len(dice), True, (), overall, "mm", 1.0, 0, ())
    return replace(record, scores=Scores(summary, rows, files, None))


def test_share_of_the_ceiling_by_hand(run, tmp_path):
    first = _scored(read_run(run), 0.6, 0.6, 0.9)
    top = _scored(_fullysup(tmp_path / "top", Cohorts(masks=first.recipe.cohorts.tags)), 0.8, 0.8, 1.0)
    said = " ".join(
        sentence.text for sentence in verdict([Entry(first, "method", "a"), Entry(top, "ceiling", "b")])
    )
    share = 100 * (0.6 + 0.6 + 0.9) / (0.8 + 0.8 + 1.0)  # 80.8
    assert f"It reaches {share:.0f} % of the Dice of its ceiling" in said
    assert "(3 paired cases)" in said


def test_scores_on_patients_whose_masks_chose_flatter(run):
    first = _scored(read_run(run), 0.5, 0.5, 0.5)
    assert cases_learnt(first, first.scores) == 0
    cohorts = first.recipe.cohorts
    by_masks = replace(first, recipe=replace(RECIPES["umcam_miccai23"](True), cohorts=cohorts))
    assert cases_learnt(by_masks, first.scores) == 1  # the held-out one
