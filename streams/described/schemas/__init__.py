"""JSON Schemas of all messages, a file each, made from the types: `python -m streams.described.schemas`."""

from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent
