"""A sheet as LaTeX that another document takes in with \\input."""

from collections.abc import Sequence

from fewmask.studies.sheet import Grid, Heading, Paragraph, Part, Picture, Points, Sheet
from fewmask.studies.typeset import halves, signs, spans

LEAD = r"""% Made by `fewmask study`; take it in with \input. It needs no package (UTF-8 is LaTeX's default since 2018);
% where booktabs is loaded its rules are used. Tables of many columns want a landscape page (pdflscape).
\providecommand{\toprule}{\hline}\providecommand{\midrule}{\hline}\providecommand{\bottomrule}{\hline}
"""

NOTE = "Italics: what the paper prints for its own images, not ours."

_ESCAPED = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{sign: f"${sign}$" for sign in "<>|"},
        "−": "$-$",
        "±": r"$\pm$",
        # A bracket or a star right after the end of a line would be taken for its option.
        **{sign: f"{{{sign}}}" for sign in "[]*"},
        '"': "''",
        "\n": " ",
    }
)

_STYLES = {"plain": "{}", "bold": "\\textbf{{{}}}", "code": "\\texttt{{{}}}"}


def latex(sheet: Sheet) -> str:
    """The sheet's sections, words and tables; a paper's own figures are in italics."""
    parts = [f"\\section*{{{escaped(sheet.title)}}}", *map(_part, sheet.parts)]
    return LEAD + "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Words that mean themselves, whatever signs they hold."""
    return signs(text).translate(_ESCAPED)


def _part(part: Part) -> str:
    match part:
        case Heading(text):
            return f"\\subsection*{{{escaped(text)}}}"
        case Paragraph(lines):
            return "\n".join(map(_words, lines))
        case Points(items):
            return "\n".join(
                [r"\begin{itemize}", *(f"\\item {_words(item)}" for item in items), r"\end{itemize}"]
            )
        case Picture(path, words):
            shown = f"\\noindent\\includegraphics[width=\\linewidth]{{{path.name}}}\\par"
            return f"% {words}; shown where graphicx is loaded\n\\ifdefined\\includegraphics {shown}\\fi"
        case Grid():
            return _tabular(part)


def _words(line: str) -> str:
    return "".join(_STYLES[span.style].format(span.text.translate(_ESCAPED)) for span in spans(line))


def _tabular(grid: Grid) -> str:
    heads = [_cell(column.whole, column.published) for column in grid.columns]
    body = [
        [_cell(cell, grid.is_published(row, column)) for column, cell in enumerate(cells)]
        for row, cells in enumerate(grid.body)
    ]
    sides = "".join("l" if column == 0 or grid.has_words(column) else "r" for column in range(len(heads)))
    lines = [
        r"{\scriptsize\setlength{\tabcolsep}{3pt}\noindent",
        f"\\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        _line(heads),
        r"\midrule",
        *map(_line, body),
        r"\bottomrule",
        r"\end{tabular}\par}",
    ]
    return "\n".join([*lines, f"{{\\scriptsize {NOTE}\\par}}"] if grid.has_published else lines)


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cell(text: str, published: bool) -> str:
    """A figure with its interval below it, which halves a table's width."""
    shape = "\\textit{{{}}}" if published else "{}"
    figure, interval = (shape.format(half.translate(_ESCAPED)) if half else "" for half in halves(text))
    return f"\\shortstack[r]{{{figure}\\\\{interval}}}" if interval else figure
