"""`docs/contract-clusters.md` names a test for every row of the contract; here it is held to its word."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contract-clusters.md"

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`( \*\(in work\)\*)?")


class Named(NamedTuple):
    """A test that the page names; one in work is not there yet."""

    path: str
    name: str
    in_work: bool


def rows() -> list[tuple[str, str]]:
    """What the rows of the page's tables are about, and what shows it."""
    lines = PAGE.read_text("utf-8").splitlines()
    cells = [line.strip("| ").rsplit(" | ", 1) for line in lines if line.startswith("| ")]
    return [(row[0], row[1]) for row in cells if not row[1].endswith("hown by")]


def named() -> list[Named]:
    found = _TEST.findall(PAGE.read_text("utf-8"))
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


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_row_names_a_test(row):
    about, shown_by = row
    assert _TEST.search(shown_by), about
    rest = _TEST.sub("", shown_by).replace("·", "")
    assert not rest.strip(), f"not a test: {rest}"


@pytest.mark.parametrize("test", named(), ids=lambda test: f"{test.path}::{test.name}")
def test_what_is_named_exists_unless_it_is_in_work(test):
    if test.in_work:
        assert test.name not in collected_from(test.path), "no longer in work: take the mark away"
    else:
        assert test.name in collected_from(test.path)


def test_every_section_and_every_defect_of_the_contract_is_there():
    sections = [int(n) for n in re.findall(r"^## (\d+)\. ", PAGE.read_text("utf-8"), re.MULTILINE)]
    assert list(range(1, 12)) == sections
    defects = [int(match[1]) for about, _ in rows() if (match := re.match(r"(\d+)\. ", about))]
    assert list(range(1, 34)) == defects
