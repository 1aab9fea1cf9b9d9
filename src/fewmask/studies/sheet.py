"""A page of paragraphs and tables before it is written in any format.

In its words `**` makes bold and a backtick makes code, as in Markdown; +- and - are typeset where a format can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple


class Column(NamedTuple):
    """The head of a column. `group` are words that it shares with its neighbours; `published` is a paper's own."""

    heading: str
    group: str = ""
    published: bool = False

    @property
    def whole(self) -> str:
        """The heading as it is understood alone."""
        return f"{self.group}: {self.heading}" if self.group else self.heading


@dataclass(frozen=True)
class Heading:
    """The title of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences that belong together; Markdown puts each on a line of its own."""

    kind: ClassVar[str] = "paragraph"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """A list."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table whose first column names its rows. `published_rows` are the places of rows that are a paper's own."""

    kind: ClassVar[str] = "grid"
    columns: tuple[Column, ...]
    body: tuple[tuple[str, ...], ...]
    published_rows: tuple[int, ...] = ()

    @property
    def has_published(self) -> bool:
        """Whether some of it is a paper's own."""
        return bool(self.published_rows) or any(column.published for column in self.columns)

    def is_published(self, row: int, column: int) -> bool:
        """Whether a cell is a paper's own."""
        return row in self.published_rows or self.columns[column].published

    def has_words(self, column: int) -> bool:
        """Whether a column holds words alone, which stand to the left, and not numbers."""
        return all(not cells[column] or cells[column][0].isalpha() for cells in self.body)


@dataclass(frozen=True)
class Picture:
    """A PNG file that lies beside the page, and the words that stand for it."""

    kind: ClassVar[str] = "picture"
    path: Path
    words: str


Part = Heading | Paragraph | Points | Grid | Picture


@dataclass(frozen=True)
class Sheet:
    """A page. `main` is the one of its tables that stands for all of it where a file can hold only one."""

    title: str
    parts: tuple[Part, ...]
    main: Grid


def columns(headings: Sequence[str], group: str = "", published: bool = False) -> tuple[Column, ...]:
    """Several columns that share what they are."""
    return tuple(Column(heading, group, published) for heading in headings)


def paragraph(*lines: str) -> Paragraph:
    """Lines that belong together."""
    return Paragraph(lines)
