"""The commands on the pages for people: each can be pasted as it stands, in the order of its page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "bench" / "README.md",
    ROOT / "examples" / "README.md",
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
ON_THE_PATH = 'export PATH="$PWD/.venv/bin:$PATH"'
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(text, kind):
    """Where each fenced block of a kind begins, and what is in it."""
    return [(found.start(), found[3]) for found in BLOCK.finditer(text) if found[2] == kind]


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param.read_text()


def test_commands_are_nothing_but_commands(page):
    """No prompt, no output, no comment (which zsh takes for arguments), no dots in place of a value."""
    assert [] == blocks(page, "console")
    lines = [line for _, block in blocks(page, "sh") for line in block.splitlines()]
    assert [] == [line for line in lines if re.search(r"^\s*\$ |\s#(\s|$)|…|\.\.\.", line)]


def test_programs_of_the_environment_are_on_the_path_before_they_are_used(page):
    """In a command, or in a table of commands; a mention of one in a sentence is no invitation to type it."""
    program = r"(?:clusterflow|python|ruff|pytest|uv) "
    commands = [at for at, block in blocks(page, "sh") if re.search(rf"^ *{program}", block, re.M)]
    tables = [found.start() for found in re.finditer(rf"^\| *`{program}", page, re.M)]
    if not commands and not tables:
        return
    assert ON_THE_PATH in page
    with_the_line = [at for at, block in blocks(page, "sh") if ON_THE_PATH in block]
    assert min(with_the_line) <= min(commands, default=len(page))


def test_no_command_ends_processes_by_name(page):
    assert not re.search(r"pkill|killall", page)


def test_no_variable_is_used_before_it_is_set(page):
    known = {"PWD", "PATH", "HOME"}
    for _, block in blocks(page, "sh"):
        for line in block.splitlines():
            for name in re.findall(r"\$\{?([A-Z_]+)", line):
                assert name in known, line
            known |= set(re.findall(r"(?:^|\s)(?:export )?([A-Z_]+)=", line))
