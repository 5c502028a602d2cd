"""The files that `docs/adding-a-kind.md` shows; `python -m tests.kinds.page` copies them there."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "adding-a-kind.md"

_SHOWN: Final = re.compile(r"^`([\w/.]+)`\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown() -> list[str]:
    """The files that the page shows, each behind a line that is its name alone."""
    return [found[1] for found in _SHOWN.finditer(PAGE.read_text("utf-8"))]


def filled() -> str:
    """The page with these files as they are now."""
    return _SHOWN.sub(_file, PAGE.read_text("utf-8"))


def _file(found: re.Match[str]) -> str:
    name, language = found[1], found[2]
    return f"`{name}`\n\n```{language}\n{(ROOT / name).read_text('utf-8')}```"


if __name__ == "__main__":
    PAGE.write_text(filled(), "utf-8")
