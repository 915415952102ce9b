"""Every relative link of a page leads to a file and to a heading that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.embedded.sandbox import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path from the root of the repository, in code marks.
PATH = re.compile(r"`((?:actors|dev|docs|proto|server|storage|tests)/[\w./-]*)`")
LINES_OF_README = 150
PINNED_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
# A page or a module that a comment, a docstring or a text of the source names.
NAMED_FILE = re.compile(r"(?<![\w./-])((?:[A-Za-z_][\w-]*/)*[A-Za-z][\w-]*\.(?:md|py))\b(?!\()")
ROOMS = ("actors", "dev", "proto", "server", "storage")


def _prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def _dead_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(_prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert list(_dead_links(page)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](#a-heading) [b](#b) [c](c.md)\n```\n[d](d.md)\n```\n")

    assert list(_dead_links(page)) == ["#b", "c.md"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(_prose(page)))
        waiting += [(page.parent / name).resolve() for name in targets if name and ":" not in name]

    assert set(PAGES) - found == set()


@pytest.mark.parametrize("name", PINNED_PAGES)
def test_every_path_of_the_code_map_is_there(name: str) -> None:
    paths = PATH.findall((ROOT / name).read_text())

    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_file_that_the_source_names_is_there() -> None:
    sources = [
        path
        for room in ROOMS
        for end in ("py", "sql", "proto")
        for path in (ROOT / room).rglob(f"*.{end}")
    ]
    files = [*PAGES, *sources, *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")]
    # A name may begin at the root, or at any folder on the way to the file.
    known = {
        "/".join(parts[start:])
        for parts in (file.relative_to(ROOT).parts for file in files)
        for start in range(len(parts))
    }

    named = {
        (str(source), name) for source in sources for name in NAMED_FILE.findall(source.read_text())
    }

    assert len(named) > 50
    assert sorted((source, name) for source, name in named if name not in known) == []


@pytest.mark.parametrize("name", ["README.md", "README.pt-BR.md"])
def test_the_readme_is_short(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= LINES_OF_README


def test_both_readmes_have_the_same_commands_and_links() -> None:
    english, portuguese = ((ROOT / name).read_text() for name in ("README.md", "README.pt-BR.md"))

    def commands(text: str) -> list[str]:
        blocks = re.findall(r"^```(?:python|json)?\n(.*?)^```$", text, re.M | re.S)
        code = (line.partition("  #")[0].strip() for block in blocks for line in block.split("\n"))
        return [line for line in code if line.isascii()]

    assert commands(english) == commands(portuguese)
    assert set(LINK.findall(english)) ^ set(LINK.findall(portuguese)) == {
        "README.md",
        "README.pt-BR.md",
    }
