"""Write the golden files: `python -m tests.descriptions.golden`."""

from tests.descriptions.golden import HERE, documents

for name, text in documents().items():
    (HERE / name).write_text(text)
