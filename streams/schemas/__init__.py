"""JSON Schemas of every message, one file each, made from the types by `python -m streams.schemas`."""

from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent
