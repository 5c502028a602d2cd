"""`docs/contract-*.md` name a test for every row of a contract; here they are held to their word."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "docs" / "contract-clusters.md"
RESOURCES = ROOT / "docs" / "contract-resources.md"
OPERATIONS = ROOT / "docs" / "contract-operations.md"
PAGES = (CLUSTERS, RESOURCES, OPERATIONS)

# What stands in place of a test, where there is none.
_NONE = re.compile(r"not shown yet|[a-z ,]+: not built yet")

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`( \*\(in work\)\*)?")


class Row(NamedTuple):
    """A row of a page's tables: what it is about, and what shows it."""

    page: str
    about: str
    shown_by: str


class Named(NamedTuple):
    """A test that a page names; one in work is not there yet."""

    path: str
    name: str
    in_work: bool


def rows(page: Path) -> list[Row]:
    lines = page.read_text("utf-8").splitlines()
    cells = [line.strip("| ").rsplit(" | ", 1) for line in lines if line.startswith("| ")]
    return [Row(page.stem, row[0], row[1]) for row in cells if not row[1].endswith("hown by")]


def named() -> list[Named]:
    found = [test for page in PAGES for test in _TEST.findall(page.read_text("utf-8"))]
    return sorted({Named(path, name, bool(in_work)) for path, name, in_work in found})


@cache
def collected_from(path: str) -> frozenset[str]:
    """What pytest would collect from a file: functions, classes, and state machines under a name."""
    file = ROOT / path
    return frozenset(_collected(ast.parse(file.read_text("utf-8")))) if file.exists() else frozenset()


def _collected(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                yield name
            case ast.ClassDef(name=name) if name.startswith("Test"):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("Test"):
                yield name


@pytest.mark.parametrize(
    "row", [row for page in PAGES for row in rows(page)], ids=lambda row: f"{row.page} {row.about}"
)
def test_every_row_names_a_test(row):
    if row.page != CLUSTERS.stem and _NONE.fullmatch(row.shown_by):
        return
    assert _TEST.search(row.shown_by), row.about
    rest = _TEST.sub("", row.shown_by).replace("·", "")
    assert not rest.strip(), f"not a test: {rest}"


@pytest.mark.parametrize("test", named(), ids=lambda test: f"{test.path}::{test.name}")
def test_what_is_named_exists_unless_it_is_in_work(test):
    if test.in_work:
        assert test.name not in collected_from(test.path), "no longer in work: take the mark away"
    else:
        assert test.name in collected_from(test.path)


def sections(page: Path) -> list[str]:
    """The numbers of the contract's sections that a page has."""
    return re.findall(r"^##+ (\d+(?:\.\d+)?)\.? ", page.read_text("utf-8"), re.MULTILINE)


def numbers(page: Path, pattern: str) -> list[int]:
    """The numbers that rows of a page begin with, each once."""
    found = [int(match[1]) for row in rows(page) if (match := re.match(pattern, row.about))]
    return list(dict.fromkeys(found))


def test_every_section_and_every_defect_of_the_contract_is_there():
    assert [str(number) for number in range(1, 12)] == [
        name for name in sections(CLUSTERS) if "." not in name
    ]
    assert list(range(1, 34)) == numbers(CLUSTERS, r"(\d+)\. ")


def test_of_resources_every_section_guarantee_and_defect_is_there():
    expected = ["1", "1.1", "1.3", "1.4", "2", "3", "4", "5.2", "5.3", "6", "7", "9", "10", "11", "14"]
    assert expected == sections(RESOURCES)
    assert list(range(1, 6)) == numbers(RESOURCES, r"WK-(\d+) ")
    assert list(range(1, 16)) == numbers(RESOURCES, r"OB-(\d+) ")
    assert list(range(1, 24)) == numbers(RESOURCES, r"(\d+)\. ")
