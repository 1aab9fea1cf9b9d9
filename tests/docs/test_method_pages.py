"""What the method pages, the way to every table and the limits say is there: links, functions, commands, figures."""

import ast
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from fewmask.cli import app
from fewmask.data.convert.convert import FORMATS, TAGS
from fewmask.data.phantom import PHANTOMS
from fewmask.methods.kinds import KINDS
from fewmask.recipe import override
from fewmask.recipes.names import RECIPES
from fewmask.studies.names import STUDIES

DOCS = Path(__file__).parents[2] / "docs"
PAPERS = [DOCS / "methods" / f"{name}.md" for name in ("msl", "sifa", "glua", "umcam", "joint")]
PAGES = [*PAPERS, DOCS / "methods" / "README.md", DOCS / "reproduce.md", DOCS / "limits.md"]

LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^()\s]+)\)")
PICTURE = re.compile(r"!\[[^\[\]]*\]\(([^()\s]+)\)")
FUNCTION = re.compile(r"`(\S+\.py):([\w.]+)`")
FIGURE = re.compile(r"[-+]?\d+\.\d+(?: ± \d+\.\d+)? \[[-+]?\d[^\[\]]*\]")
CONVERTED = {name.replace("-", "_") for name in (*FORMATS, TAGS)}
VERBS = typer.main.get_command(app).commands


def on(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def figures_of(page: Path) -> set[str]:
    """The figures that have an interval, as they are written."""
    return set(FIGURE.findall(" ".join(text_of(page).replace("*", "").split())))


def anchors(page: Path) -> set[str]:
    """The headings as a forge writes them into addresses."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defined(module: ast.AST) -> dict[str, ast.AST]:
    """Functions, classes and constants by their names."""
    found: dict[str, ast.AST] = {}
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def commands(page: Path) -> list[list[str]]:
    """The words of each `fewmask` command: those of blocks, and those within a sentence."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text_of(page), flags=re.DOTALL))
    lines = [shlex.split(line, comments=True) for line in blocks.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    lines += [shlex.split(found) for found in re.findall(r"`(fewmask [^`]+)`", prose)]
    return [words for words in lines if words and words[0] == "fewmask"]


def values(words: list[str], option: str) -> list[str]:
    return [after for word, after in pairwise(words) if word == option]


@on(PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target for _, target in LINK.findall(text_of(page))] + PICTURE.findall(text_of(page))
    assert targets
    for target in targets:
        assert "://" not in target, f"{target} leaves the repository"
        file, _, heading = target.partition("#")
        aimed = (page.parent / file).resolve() if file else page
        assert aimed.is_file(), target
        assert not heading or heading in anchors(aimed), target


@on(PAPERS)
def test_every_function_is_defined_where_the_page_says(page: Path) -> None:
    listed = [(FUNCTION.fullmatch(label), target) for label, target in LINK.findall(text_of(page))]
    functions = [(match[1], match[2], target) for match, target in listed if match is not None]
    assert len(functions) >= 10
    for file, name, target in functions:
        aimed = (page.parent / target).resolve()
        assert aimed.as_posix().endswith(f"/src/fewmask/{file}"), f"{file} is not {target}"
        where: ast.AST = ast.parse(aimed.read_text(encoding="utf-8"))
        for part in name.split("."):
            assert part in defined(where), f"{file} has no {name}"
            where = defined(where)[part]


@on(PAGES)
def test_every_command_names_what_exists(page: Path) -> None:
    assert commands(page)
    for words in commands(page):
        said = shlex.join(words)
        verb, name = words[1], words[2].replace("-", "_") if len(words) > 2 else "..."
        assert verb in VERBS, said
        known = {"train": RECIPES, "study": STUDIES, "phantom": PHANTOMS, "convert": CONVERTED}.get(verb)
        if known is not None and name != "...":
            assert name in known, said
        if verb == "study" and name in STUDIES:
            rows = {row.name for row in STUDIES[name].rows}
            assert {row for given in values(words, "--rows") for row in given.split(",")} <= rows, said
        if verb == "train" and name in RECIPES:
            override(RECIPES[name]("--small" in words), values(words, "--set"), KINDS)


@on(PAGES)
def test_every_option_is_one_of_its_verb(page: Path) -> None:
    for words in commands(page):
        known = {option for given in VERBS[words[1]].params for option in given.opts}
        assert {word for word in words if word.startswith("--")} <= known, shlex.join(words)


@on(PAPERS)
def test_every_recipe_of_a_page_exists(page: Path) -> None:
    table = text_of(page).split("## Recipes")[1].split("## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(names) >= 5
    assert names <= RECIPES.keys()


@on(PAPERS)
def test_every_figure_with_an_interval_is_one_of_the_results(page: Path) -> None:
    results, figures = figures_of(DOCS / "results.md"), figures_of(page)
    assert len(figures) >= 20
    assert figures <= results


def test_every_paper_has_a_page_in_the_index() -> None:
    index = text_of(DOCS / "methods" / "README.md")
    assert {page.name for page in (DOCS / "methods").glob("*.md")} == {
        *(page.name for page in PAPERS),
        "README.md",
    }
    assert all(f"({page.name})" in index for page in PAPERS)


def test_every_recipe_is_on_a_page() -> None:
    pages = " ".join(text_of(page) for page in PAPERS)
    families = {name.removesuffix("_block5") for name in RECIPES} - {"unet"}
    assert [name for name in sorted(families) if f"`{name}`" not in pages] == []
