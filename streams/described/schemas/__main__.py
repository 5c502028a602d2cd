"""Writes the schema files again: `python -m streams.described.schemas`."""

from streams.described.schemas import DIRECTORY
from streams.described.schemas.catalogue import documents, rendered

for name, document in documents().items():
    (DIRECTORY / f"{name}.json").write_text(rendered(document))
