"""`docs/adding-a-kind.md` and `docs/kafka-acls.md` show the code as it is."""

import re

import pytest

from tests.kinds.page import ACLS, PAGE, ROOT, filled, granted, shown

TEXT = PAGE.read_text("utf-8")
EXCERPT = re.compile(r"^In `([\w/.]+)`[^\n]*\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\| `([\w/]+\.py)` \| `([^`]+)` \|", re.MULTILINE)


def test_files_are_shown_as_they_are():
    """`python -m tests.kinds.page` copies them to the page."""
    assert filled() == TEXT


def test_grants_are_shown_as_they_are():
    """The same command writes them to their page; `tests/streams/test_acls.py` says that they are there."""
    assert granted() == ACLS.read_text("utf-8")


def test_the_files_of_a_kind_are_shown():
    layers = [f"{layer}/resource.py" for layer in ("domain", "streams", "web", "sinks")]
    assert [*layers, "migrations/0007_resources.sql"] == shown()


@pytest.mark.parametrize(("name", "code"), EXCERPT.findall(TEXT), ids=lambda value: value[:30])
def test_an_excerpt_is_part_of_its_file(name, code):
    assert code in (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize(("name", "code"), LINE.findall(TEXT), ids=lambda value: value)
def test_a_line_of_a_registry_is_there(name, code):
    assert code in (ROOT / name).read_text("utf-8")


def test_no_code_is_there_but_files_and_excerpts():
    blocks = re.findall(r"^```(?:python|sql)$", TEXT, re.MULTILINE)
    assert len(shown()) + len(EXCERPT.findall(TEXT)) == len(blocks)


def test_all_modules_that_the_page_names_are_there():
    named = set(re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|md|sql|toml))`", TEXT))
    assert set() == {name for name in named if not (ROOT / name).exists()}
