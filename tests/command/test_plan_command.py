"""`fewmask plan` as a user types it."""

import json
from pathlib import Path

from tests.command.conftest import TINY, Command
from tests.command.test_bad_input import assert_one_line


def test_a_plan_is_told_and_its_recipe_trains(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    answer = command("plan", "--masks", hospitals[0], "--out", recipe, "--device", "cpu")
    assert answer.code == 0, answer.err
    for title in ("what is there", "why", "what would help more", "be careful", "next"):
        assert title in answer.out.splitlines(), title
    assert f"fewmask train {recipe} --out runs/supervised --device cpu" in answer.out
    again = command("plan", "--masks", hospitals[0], "--out", recipe, "--device", "cpu", "--json")
    told = json.loads(again.out)
    assert told["route"] == "supervised" and told["small"] and told["commands"]
    words = ("train", recipe, "--out", tmp_path / "run", "--set", "steps=2", *TINY[1:])
    assert command(*words).code == 0


def test_the_command_line_is_at_fault(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "recipe.yaml")
    assert command("plan", *out).code == 2
    assert command("plan", hospitals[0], "--masks", hospitals[0], *out).code == 2
    assert command("plan", *hospitals, hospitals[0], *out).code == 2
    assert command("plan", hospitals[0], *out, "--device", "tpu").code == 2


def test_bad_input_is_one_line(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "recipe.yaml")
    (tmp_path / "empty").mkdir()
    assert_one_line(command("plan", tmp_path / "empty", *out), 1, "is empty")
    assert_one_line(command("plan", "--target", tmp_path / "none", *out), 1, "no such folder")
    assert_one_line(command("plan", "--target", hospitals[1], *out), 1, "there is nothing to learn from")
    wrong = command("plan", "--masks", hospitals[0], "--outcome", "firr", *out)
    assert_one_line(wrong, 1, "cases.csv has no such column")
    lost = command("plan", "--masks", hospitals[0], "--source-channel", "R", *out)
    assert_one_line(lost, 1, "there is no --source")
    assert not (tmp_path / "recipe.yaml").exists()
