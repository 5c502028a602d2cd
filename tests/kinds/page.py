"""The parts of pages that are copied from the code: `python -m tests.kinds.page` writes them there.

`docs/adding-a-kind.md` shows files as they are, `docs/kafka-acls.md` the users of each topic and all grants.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cli.acls import ANY_CONTROLLER
from streams.kafka.acls import script
from streams.topics import Topics

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "adding-a-kind.md"
ACLS: Final = ROOT / "docs" / "kafka-acls.md"

_SHOWN: Final = re.compile(r"^`([\w/.]+)`\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_USERS: Final = re.compile(r"(^\| Topic \|.*\n\|[-|]+\n)(?:\|.*\n)+", re.MULTILINE)
_GRANTS: Final = re.compile(r"(^## All grants\n\n.*\n\n```text\n)(?:.*\n)*?(?=```$)", re.MULTILINE)


def shown() -> list[str]:
    """The files that the page shows, each behind a line that is its name alone."""
    return [found[1] for found in _SHOWN.finditer(PAGE.read_text("utf-8"))]


def filled() -> str:
    """The page with these files as they are now."""
    return _SHOWN.sub(_file, PAGE.read_text("utf-8"))


def _file(found: re.Match[str]) -> str:
    name, language = found[1], found[2]
    return f"`{name}`\n\n```{language}\n{(ROOT / name).read_text('utf-8')}```"


def granted() -> str:
    """The page of grants with the topics as they are declared now."""
    topics = Topics()
    page = ACLS.read_text("utf-8")
    page = _USERS.sub(lambda found: found[1] + "".join(_users(topics)), page)
    return _GRANTS.sub(lambda found: found[1] + script(topics, controllers=[ANY_CONTROLLER]), page)


def _users(topics: Topics) -> Iterator[str]:
    for topic in topics.declared:
        use = topic.use
        parked = f" by the {' and the '.join(use.parks)}" if use.parks else ""
        yield f"| `{topic.spec.name}` | {', '.join(use.reads)} | {', '.join(use.writes)} |{parked} |\n"


if __name__ == "__main__":
    PAGE.write_text(filled(), "utf-8")
    ACLS.write_text(granted(), "utf-8")
