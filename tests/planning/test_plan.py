import json
import shlex
import shutil
from pathlib import Path

import pytest

from fewmask.config import read_yaml
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.methods.kinds import KINDS
from fewmask.planning.given import Given
from fewmask.planning.plan import Means, Plan, plan, rehearse
from fewmask.recipe import Recipe, override, recipe_from_mapping
from fewmask.recipes.reading import resolve
from fewmask.training.train import train

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
ROLES = ("masks", "source", "target", "tags")
CHANNELS = ("source-channel", "target-channel", "tags-channel")
SMALL = Means("cpu", None, True)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("p") / "placenta", 0, 12, 32)
    return source, target


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("nested", tmp_path_factory.mktemp("n") / "nested", 0, 5, 32)
    return source, target


def planned(out: Path, given: Given | None = None, *folders: Path) -> tuple[Plan, Recipe]:
    made = plan(given or Given(), out / "recipe.yaml", folders=folders, means=SMALL)
    return made, recipe_from_mapping(read_yaml(made.recipe), KINDS, "recipe")


def trains(recipe: Recipe, out: Path) -> None:
    """Two steps of each stage with the thinnest networks."""
    thin = [
        change
        for change in (
            "steps=2",
            "size=32",
            "batch=2",
            "widths=[4,8]",
            "translator_width=4",
            "critic_width=4",
        )
        if change.split("=")[0] in str(recipe)
    ]
    assert train(override(recipe, thin, KINDS), out / "run", device="cpu")


def every_command_holds(made: Plan) -> None:
    """What a plan prints to train with is accepted as the beginning of a training."""
    lines = [command.line for command in (*made.alternatives, *made.commands)]
    for line in (line for line in lines if line.startswith("fewmask train") and "recipe.yaml" not in line):
        _, _, name, *words = shlex.split(line)
        options: dict[str, str] = {}
        changes: list[str] = []
        flags = [place for place, word in enumerate(words) if word.startswith("--")]
        for place in flags:
            following = words[place + 1 : place + 2]
            value = following[0] if following and not following[0].startswith("--") else ""
            if words[place] == "--set":
                changes.append(value)
            else:
                options[words[place][2:]] = value
        assert set(options) <= {*ROLES, *CHANNELS, "outcome", "small", "out", "device", "start-from"}, line
        folders = {role: Path(options[role]) for role in ROLES if role in options}
        channels = {key.replace("-", "_"): options[key] for key in CHANNELS if key in options}
        rehearse(
            resolve(name, "small" in options, folders, channels, None, None, changes, options.get("outcome"))
        )


def test_masks_alone_make_a_recipe_that_trains(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    made, recipe = planned(tmp_path, Given(masks=hospitals[0]))
    assert recipe.name == "supervised" and recipe.cohorts.masks == hospitals[0]
    trains(recipe, tmp_path)
    assert json.loads(json.dumps(made.mapping()))["route"] == "supervised"


def test_a_pair_makes_a_recipe_that_trains(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    made, recipe = planned(tmp_path, Given(source=hospitals[0], target=hospitals[1]))
    assert made.facts.level == "large" and recipe.name == "cyclegan"
    every_command_holds(made)
    assert (recipe.cohorts.source, recipe.cohorts.target) == hospitals
    trains(recipe, tmp_path)


def test_tags_make_a_recipe_of_classifier_and_segmenter(tmp_path: Path) -> None:
    (folder,) = write_phantom("fetal_brain", tmp_path / "f", 0, 5, 32)
    made, recipe = planned(tmp_path, Given(tags=folder))
    assert recipe.name == "umcam" and recipe.cohorts.tags == folder and recipe.cohorts.masks is None
    assert any("fullysup" in command.line for command in made.commands)
    every_command_holds(made)


def test_an_outcome_goes_into_the_recipe_and_not_into_that_of_masks_alone(tmp_path: Path) -> None:
    (folder,) = write_phantom("cervix", tmp_path / "c", 0, 40, 32)
    made, recipe = planned(tmp_path, Given(masks=folder, outcome="preterm"))
    assert recipe.name == "joint" and recipe.outcome == "preterm"
    lines = [command.line for command in made.alternatives]
    assert "--outcome" not in next(line for line in lines if "train supervised" in line)
    assert "--outcome preterm" in next(line for line in lines if "train markers" in line)
    every_command_holds(made)


def test_bare_folders_are_recognised(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    made, recipe = planned(tmp_path, None, source, target)
    assert recipe.cohorts.source == source and "both folders hold masks" in made.cautions[0]
    bare = tmp_path / "bare"
    shutil.copytree(target, bare, ignore=shutil.ignore_patterns("labels*"))
    (tmp_path / "recipe.yaml").unlink()
    made, recipe = planned(tmp_path, None, bare, source)
    assert (recipe.cohorts.source, recipe.cohorts.target) == (source, bare)
    assert not any("evaluate" in command.line or "ceiling" in command.line for command in made.commands)
    assert any("labelsTs" in line for line in made.helps)
    with pytest.raises(InputFault, match="nothing to learn from"):
        plan(Given(), tmp_path / "r.yaml", folders=(bare,), means=SMALL)
    with pytest.raises(InputFault, match="nothing to learn from"):
        plan(Given(), tmp_path / "r.yaml", folders=(bare, bare), means=SMALL)
    assert not (tmp_path / "r.yaml").exists()


def test_a_folder_with_masks_and_tags_is_learnt_from_its_masks(tmp_path: Path) -> None:
    (folder,) = write_phantom("fetal_brain", tmp_path / "f", 0, 7, 32)
    made, recipe = planned(tmp_path, None, folder)
    assert recipe.name == "supervised" and any("better teacher" in reason for reason in made.route.reasons)
    every_command_holds(made)


def test_two_channels_of_one_folder(tmp_path: Path, scanners: tuple[Path, Path]) -> None:
    folder = tmp_path / "two"
    shutil.copytree(scanners[0], folder)
    for image in [*folder.glob("images*/*_0000.nii.gz")]:
        shutil.copy(image, image.with_name(image.name.replace("_0000", "_0001")))
    content = json.loads((folder / "dataset.json").read_text())
    content["channel_names"] = {"0": "FLAIR", "1": "T1"}
    (folder / "dataset.json").write_text(json.dumps(content))
    given = Given(source=folder, target=folder, source_channel="FLAIR", target_channel="T1")
    made, recipe = planned(tmp_path, given)
    assert recipe.name == "sifa" and recipe.cohorts.target_channel == "T1"
    every_command_holds(made)
    lines = "\n".join(command.line for command in made.commands)
    assert (
        "--source-channel FLAIR --small --out runs/floor" in lines
        and "--channel T1 --out runs/floor" in lines
    )
    assert "--source-channel T1 --small --out runs/ceiling" in lines
    with pytest.raises(InputFault, match="--source-channel and --target-channel"):
        plan(Given(source=folder, target=folder), tmp_path / "r.yaml", means=SMALL)
    with pytest.raises(InputFault, match="did you mean"):
        plan(Given(source=folder, target=folder, source_channel="FLAIRE"), tmp_path / "r.yaml", means=SMALL)


def test_few_masks_of_the_target_and_runs_that_do_not_share_a_folder(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    made, recipe = planned(tmp_path, Given(source=hospitals[0], masks=hospitals[1]))
    assert (recipe.cohorts.source, recipe.cohorts.masks, recipe.cohorts.target) == (*hospitals, None)
    every_command_holds(made)
    trained = [
        command.line for command in (*made.alternatives, *made.commands) if "fewmask train" in command.line
    ]
    runs = [line.split("--out ")[1].split()[0] for line in trained]
    assert len(set(runs)) == len(runs) == 3


def test_pictures_and_volumes_are_refused(
    hospitals: tuple[Path, Path], scanners: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputFault, match="no method carries masks"):
        plan(Given(source=hospitals[0], target=scanners[1]), tmp_path / "r.yaml", means=SMALL)


def test_a_fault_that_training_would_tell_is_told_now(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "leaky"
    shutil.copytree(hospitals[0], folder)
    names = sorted(path.name.split("_0000")[0] for path in folder.glob("images*/*"))
    write_csv(
        folder / "cases.csv", ("case", "patient"), [(name, f"p{i % 3}") for i, name in enumerate(names)]
    )
    with pytest.raises(InputFault, match="on both sides"):
        plan(Given(masks=folder), tmp_path / "r.yaml", means=SMALL)
    assert not (tmp_path / "r.yaml").exists()


def test_one_patient_is_planned_with_the_words_on_it(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "one"
    shutil.copytree(hospitals[0], folder)
    names = sorted(path.name.split("_0000")[0] for path in folder.glob("images*/*"))
    write_csv(folder / "cases.csv", ("case", "patient"), [(name, "p") for name in names])
    made, recipe = planned(tmp_path, Given(masks=folder))
    assert recipe.split.unit == "image" and any("SAME PATIENT" in line for line in made.cautions)


def test_another_recipe_is_not_overwritten_and_the_same_one_may_be(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    first, _ = planned(tmp_path, Given(masks=hospitals[0]))
    before = first.recipe.read_text()
    planned(tmp_path, Given(masks=hospitals[0]))
    with pytest.raises(InputFault, match="exists and holds something else"):
        planned(tmp_path, Given(masks=hospitals[1]))
    assert first.recipe.read_text() == before
    with pytest.raises(InputFault, match=r"call it recipe\.yaml"):
        plan(Given(masks=hospitals[0]), tmp_path / "recipe.txt", means=SMALL)


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        (("Dataset101_JSRT", "Dataset102_COVIDCXR"), "supervised"),
        (("Dataset501_Nuclei_fluorescence", "Dataset502_Nuclei_histology_stained"), "cyclegan"),
    ],
)
def test_real_pairs_get_the_route_that_their_measured_floor_and_ceiling_ask_for(
    tmp_path: Path, given: tuple[str, str], recipe: str
) -> None:
    folders = tuple(SHARED / name for name in given)
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("the real data ../shared/data is not there")
    made, _ = planned(tmp_path, None, *folders)
    assert made.route.recipe == recipe


def test_the_same_file_on_two_sides_is_refused_as_training_would(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    shutil.copytree(hospitals[1], target)
    shutil.copy(next((hospitals[0] / "imagesTr").iterdir()), next((target / "imagesTs").iterdir()))
    with pytest.raises(InputFault, match="the same image trains"):
        plan(Given(source=hospitals[0], target=target), tmp_path / "r.yaml", means=SMALL)
