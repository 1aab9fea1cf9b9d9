"""A study's page on disk, in every format, with what failed below it."""

from dataclasses import replace
from pathlib import Path

from fewmask.files import write_csv, write_text
from fewmask.studies.failures import failure_parts, kept_failures
from fewmask.studies.latex import latex
from fewmask.studies.renderings import html, markdown
from fewmask.studies.sheet import Sheet

TABLE, TABLE_HTML, TABLE_TEX, TABLE_CSV = "table.md", "table.html", "table.tex", "table.csv"


def write_sheet(out: Path, sheet: Sheet) -> str:
    """Write `table.md`, `table.html`, `table.tex`, and the main table as `table.csv`; returns the Markdown.

    The cells that the study's last run kept as failed are told at the end of each page.
    """
    whole = replace(sheet, parts=(*sheet.parts, *failure_parts(kept_failures(out))))
    text = markdown(whole)
    write_text(out / TABLE, text)
    write_text(out / TABLE_HTML, html(whole))
    write_text(out / TABLE_TEX, latex(whole))
    write_csv(out / TABLE_CSV, [column.whole for column in sheet.main.columns], sheet.main.body)
    return text
