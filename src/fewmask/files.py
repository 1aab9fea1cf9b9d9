"""Files are written under a temporary name and moved into place, so that nobody ever reads half of one."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewmask.errors import InputFault

GIB = 2.0**30


@contextmanager
def replaced(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error it is removed.

    The temporary name keeps the file's endings, because image writers choose a format by them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, dot, endings = path.name.partition(".")
    handle, name = tempfile.mkstemp(prefix=f".{stem[:40]}-", suffix=dot + endings, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes a private file; a result is as readable as any other file of its owner.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        # A reader of the message looks for the file that was asked for, not for its temporary name.
        error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people read too: indented, in the order given, without NaN."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table with a header line; None is an empty cell, and numbers keep all their digits."""
    with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(lines)


def read_json(path: Path) -> Any:
    """The content of a JSON file that fewmask wrote. Raises InputFault where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputFault(f"{path}: is damaged; train into another --out, or restore the file") from None


def require_free(folder: Path, needed: float, what: str, remedy: str) -> None:
    """Raise InputFault where `what` needs more bytes than are free on the folder's disk. The folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputFault(
            f"{folder}: {what} need {needed / GIB:.2f} GiB and {free / GIB:.2f} are free; free some, {remedy}"
        )
