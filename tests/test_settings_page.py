"""docs/settings.md, checked against the settings: every one is there, with the default it has."""

import re
from pathlib import Path

from cli.config import as_text
from settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_every_setting_is_on_the_page_with_its_default():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? ?\|", PAGE.read_text(), re.MULTILINE)
    defaults = {name.upper(): as_text(field.default) for name, field in Settings.model_fields.items()}
    assert defaults == dict(rows)
    assert len(rows) == len(defaults)
