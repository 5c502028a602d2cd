"""Write the schema files anew: `python -m streams.schemas`."""

from streams.schemas import DIRECTORY
from streams.schemas.catalogue import documents, rendered

for name, document in documents().items():
    (DIRECTORY / f"{name}.json").write_text(rendered(document))
