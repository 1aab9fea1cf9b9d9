"""One sheet in four formats: the same words and figures in each, whatever signs they hold."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewmask.studies.latex import escaped, latex
from fewmask.studies.publish import write_sheet
from fewmask.studies.renderings import html, markdown
from fewmask.studies.sheet import Grid, Heading, Picture, Points, Sheet, columns, paragraph
from fewmask.studies.typeset import halves, signs

NASTY = r"A|B & 50 % of $x_1 #2 {c} ~d ^e \f <b>*g*</b> [h]"

GRID = Grid(
    (
        *columns(("row", "part")),
        *columns(("n", "Dice"), "test"),
        *columns(("Dice", "HD95"), "paper, test", published=True),
    ),
    (
        (NASTY, "train", "4 (3)", "-0.512 +- 0.010 [-0.600, +0.400]", "74.48 +- 13.26", ""),
        ("[in brackets]", "test", "4 (3)", "0.600", "", "NA"),
        ("the paper's", "test", "", "0.700", "", ""),
    ),
    published_rows=(2,),
)
OTHER = Grid(columns(("rule", "regret")), (("ORACLE", "0.0"),))
SHEET = Sheet(
    "Tables & more",
    (
        paragraph("Mean over seeds, +- their deviation; `mean` the mean.", "**SAME PATIENT ON BOTH SIDES**"),
        Heading("Compared with the ORACLE"),
        GRID,
        Points(("M = 2", "lambda = 0.1")),
        OTHER,
    ),
    GRID,
)


class _Cells(HTMLParser):
    """The cells of every table row: (tag, scope, whether a paper's own, text)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[list[str]]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.inside = True
            own = "paper" in (told.get("class") or "").split()
            self.rows[-1].append([tag, told.get("scope") or "", "paper" if own else "", ""])

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1][-1] += data.strip()


def test_markdown_to_the_letter() -> None:
    nasty = NASTY.replace("|", r"\|")
    assert markdown(SHEET) == (
        "# Tables & more\n\n"
        "Mean over seeds, +- their deviation; `mean` the mean.\n**SAME PATIENT ON BOTH SIDES**\n\n"
        "## Compared with the ORACLE\n\n"
        "| row | part | test: n | Dice | paper, test: Dice | HD95 |\n|---|---|---|---|---|---|\n"
        f"| {nasty} | train | 4 (3) | -0.512 +- 0.010 [-0.600, +0.400] | 74.48 +- 13.26 |  |\n"
        "| [in brackets] | test | 4 (3) | 0.600 |  | NA |\n| the paper's | test |  | 0.700 |  |  |\n\n"
        "- M = 2\n- lambda = 0.1\n\n"
        "| rule | regret |\n|---|---|\n| ORACLE | 0.0 |\n"
    )


def test_html_has_every_cell_and_marks_the_papers() -> None:
    page = html(SHEET)
    rows = _Cells(page).rows
    assert [cell[1:] for cell in rows[0]] == [
        ["col", "", "row"],
        ["col", "", "part"],
        ["col", "", "test: n"],
        ["col", "", "test: Dice"],
        ["col", "paper", "paper, test: Dice"],
        ["col", "paper", "paper, test: HD95"],
    ]
    assert rows[1][0] == ["th", "row", "", NASTY]
    assert [cell[-1] for cell in rows[1][1:]] == [
        "train",
        "4 (3)",
        "−0.512 ± 0.010[−0.600, +0.400]",
        "74.48 ± 13.26",
        "",
    ]
    assert [cell[2] for cell in rows[2]] == ["", "", "", "", "paper", "paper"]
    assert {cell[2] for cell in rows[3]} == {"paper"}
    assert len(rows) == 6 and all(row[0][0] == "th" for row in rows)
    assert "<strong>SAME PATIENT ON BOTH SIDES</strong>" in page and "<code>mean</code>" in page
    assert page.count("what the paper prints for its own images") == 1, "the other table has none of them"
    assert "://" not in page and "src=" not in page and "url(" not in page, "nothing is fetched"
    assert 'class="wide"' in page and "prefers-color-scheme: dark" in page


def test_csv_is_the_main_table_with_whole_headings(tmp_path: Path) -> None:
    assert write_sheet(tmp_path, SHEET) == (tmp_path / "table.md").read_text()
    with (tmp_path / "table.csv").open(newline="") as file:
        head, *body = csv.reader(file)
    assert head == ["row", "part", "test: n", "test: Dice", "paper, test: Dice", "paper, test: HD95"]
    assert [tuple(line) for line in body] == list(GRID.body)


def test_every_format_says_what_must_be_said(tmp_path: Path) -> None:
    write_sheet(tmp_path, SHEET)
    for name in ("table.md", "table.html", "table.tex"):
        text = (tmp_path / name).read_text()
        assert text.count("ORACLE") >= 2, "in the heading and in the table"
        assert "SAME PATIENT ON BOTH SIDES" in text and "lambda = 0.1" in text


def test_latex_is_well_formed(tmp_path: Path) -> None:
    write_sheet(tmp_path, SHEET)
    text = (tmp_path / "table.tex").read_text()
    bare = re.sub(r"\\[\\{}&%$#_]", "", re.sub(r"(?m)^%.*", "", text))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not set("#_^~%") & set(bare), "each sign that means something to TeX is escaped"
    for name in ("tabular", "itemize"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S)
    assert [sides for sides, _ in tables] == ["llrrrl", "lr"]
    for sides, inside in tables:
        lines = [line for line in inside.splitlines() if "&" in line]
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(sides) - 1 for line in lines)
        assert all(line.endswith(r" \\") for line in lines) and not any(
            line.startswith("[") for line in lines
        )
    assert r"\shortstack[r]{$-$0.512 $\pm$ 0.010\\{[}$-$0.600, +0.400{]}}" in text
    assert r"\textit{74.48 $\pm$ 13.26}" in text and r"\textit{the paper's}" in text
    assert r"\textbf{SAME PATIENT ON BOTH SIDES}" in text and r"\texttt{mean}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("package", ["", r"\usepackage{booktabs}"])
def test_latex_compiles_as_an_input(tmp_path: Path, package: str) -> None:
    write_sheet(tmp_path, SHEET)
    (tmp_path / "page.tex").write_text(
        rf"\documentclass{{article}}{package}\begin{{document}}\input{{table.tex}}\end{{document}}"
    )
    words = ("pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex")
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == 0


TABLE_OF_ONE = Grid(columns(("row", "Dice")), (("floor", "0.5"),))


def test_a_picture_is_shown_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "curve.png").write_bytes(b"picture")
    sheet = Sheet("A curve", (Picture(tmp_path / "curve.png", "Dice over masks"), TABLE_OF_ONE), TABLE_OF_ONE)
    assert "![Dice over masks](curve.png)" in markdown(sheet)
    assert "data:image/png;base64,cGljdHVyZQ==" in html(sheet) and 'alt="Dice over masks"' in html(sheet)
    assert "\\includegraphics[width=\\linewidth]{curve.png}" in latex(sheet)


def test_signs_of_numbers_alone_become_typographic() -> None:
    assert (
        signs("-0.1 +- 0.2, T1-2, 1e-3, first - last, [-1, -2]")
        == "−0.1 ± 0.2, T1-2, 1e-3, first - last, [−1, −2]"
    )
    assert halves("4 (3)") == ("4 (3)", "") and halves("MSL [ours] b") == ("MSL [ours] b", "")
    assert escaped('a\\b\n"q" 5-3 < -2') == r"a\textbackslash{}b ''q'' 5-3 $<$ $-$2"


def test_a_sheet_without_rows(tmp_path: Path) -> None:
    empty = Grid(columns(("row", "seeds")), ())
    write_sheet(tmp_path, Sheet("Nothing yet", (paragraph("**Incomplete**"), empty), empty))
    assert (tmp_path / "table.csv").read_text() == "row,seeds\n"
    assert r"row & seeds \\" in (tmp_path / "table.tex").read_text()
