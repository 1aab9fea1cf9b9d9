"""What the readers of annotation files share: reading text, and holding JSON against what a format promises."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fewmask.errors import InputFault

T = TypeVar("T")


def read_annotations(path: Path) -> Any:
    """The content of a JSON file; None where the file is text, but no JSON at all (a table).

    Raises InputFault where the file cannot be read as text, and for damaged JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputFault(f"{path}: cannot be read as text; export the annotations as JSON or CSV") from None
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fault = str(error).splitlines()[0]
        raise InputFault(f"{path}: not valid JSON ({fault}); copy the file again or export it anew") from None


def as_promised(format: TypeAdapter[T], content: Any, where: str) -> T:
    """The content as the format's dataclass. Raises InputFault that names the first entry that is not as it must be."""
    try:
        return format.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise InputFault(f"{where}: {fault}; mend the entry or export the file anew") from None
