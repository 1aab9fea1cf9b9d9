"""What all formats but Markdown do with words: bold and code, the signs of numbers, a figure and its interval."""

import re
from typing import Literal, NamedTuple

_MARKED = re.compile(r"(\*\*.+?\*\*|`[^`]+`)")

_MINUS = re.compile(r"(?<![\w.)])-(?=\d)")


class Span(NamedTuple):
    """A stretch of words and how it is set."""

    style: Literal["plain", "bold", "code"]
    text: str


def spans(text: str) -> tuple[Span, ...]:
    """A line's stretches, in order.

    >>> spans("Not `mean`: **ORACLE**")
    (Span(style='plain', text='Not '), Span(style='code', text='mean'), Span(style='plain', text=': '), \
Span(style='bold', text='ORACLE'))
    """
    return tuple(_span(stretch) for stretch in _MARKED.split(text) if stretch)


def _span(stretch: str) -> Span:
    if _MARKED.fullmatch(stretch) is None:
        return Span("plain", signs(stretch))
    return Span("bold", signs(stretch[2:-2])) if stretch[0] == "*" else Span("code", stretch[1:-1])


def signs(text: str) -> str:
    """Numbers with a true minus, and with one sign for +-.

    >>> signs("-0.1 +- 0.2 [-0.3, +0.1], first-2")
    '−0.1 ± 0.2 [−0.3, +0.1], first-2'
    """
    return _MINUS.sub("−", text.replace("+-", "±"))


def halves(cell: str) -> tuple[str, str]:
    """A figure, and its interval in brackets where it has one.

    >>> halves("0.5 +- 0.1 [0.3, 0.7]")
    ('0.5 ± 0.1', '[0.3, 0.7]')
    """
    figure, bracket, interval = signs(cell).partition(" [")
    return (figure, f"[{interval}") if interval.endswith("]") else (figure + bracket + interval, "")
