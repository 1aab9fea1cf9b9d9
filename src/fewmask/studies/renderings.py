"""A sheet as Markdown and as HTML."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fewmask.evaluation.page import rendered
from fewmask.studies.sheet import Column, Grid, Heading, Paragraph, Part, Picture, Points, Sheet
from fewmask.studies.typeset import Span, halves, signs, spans


def markdown(sheet: Sheet) -> str:
    """The sheet as Markdown."""
    return f"# {sheet.title}\n\n{parts_markdown(sheet.parts)}"


def parts_markdown(parts: Sequence[Part]) -> str:
    """Parts of a sheet as Markdown; nothing where there are none."""
    return "\n\n".join(map(_markdown, parts)) + "\n" if parts else ""


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Paragraph(lines):
            return "\n".join(lines)
        case Points(items):
            return "\n".join(f"- {item}" for item in items)
        case Picture(path, words):
            return f"![{words}]({path.name})"
        case Grid(columns, body):
            return "\n".join([_line(_headings(columns)), "|" + "---|" * len(columns), *map(_line, body)])


def _headings(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """A group's words stand before its first column alone."""
    befores = (Column(""), *columns)
    return tuple(
        column.heading if column.group == before.group else column.whole
        for before, column in pairwise(befores)
    )


def _line(cells: tuple[str, ...]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


@dataclass(frozen=True)
class _Page:
    """What the template of a sheet is given."""

    title: str
    parts: tuple[Part, ...]

    def spans(self, line: str) -> tuple[Span, ...]:
        return spans(line)

    def halves(self, cell: str) -> tuple[str, str]:
        return halves(cell)

    def signs(self, text: str) -> str:
        return signs(text)

    def photo(self, path: Path) -> str:
        return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"


def html(sheet: Sheet) -> str:
    """The sheet as a page that works without a network; a paper's own figures are shaded and in italics."""
    return rendered("sheet.html.jinja", _Page(sheet.title, sheet.parts))
