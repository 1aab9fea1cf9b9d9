"""The command as a user types it, in this process, with its exit code and both streams."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fewmask import cli
from fewmask.data.phantom import write_phantom


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("train", "cyclegan", ...)`."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        streams = capsys.readouterr()
        return Answer(int(end.value.code or 0), streams.out, streams.err)

    return run


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two tiny placenta cohorts: source and target."""
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("phantom") / "placenta", 0, 10, 32)
    return source, target


TINY = ("--small", "--set", "size=32", "--set", "batch=2", "--set", "widths=[4,8]")
"""Options that make the supervised recipe take a second."""

TINY_CYCLEGAN = (
    *TINY,
    "--set",
    "translator_width=4",
    "--set",
    "translator_blocks=1",
    "--set",
    "critic_width=4",
)
