"""The tutorial's commands work, in their order, as they stand on the page."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from fewmask import cli

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


def test_every_command_of_the_tutorial_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = commands()
    assert len(listed) >= 10
    for words in listed:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0, " ".join(words)
    assert (tmp_path / "runs" / "cyclegan" / "report.html").stat().st_size > 10_000
