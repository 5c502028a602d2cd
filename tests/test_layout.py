"""Which modules may import which, where import-linter has no contract for it."""

import grimp
import pytest


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """The imports of all tests and their helpers."""
    return grimp.build_graph("tests", cache_dir=None)


def is_test(module: str) -> bool:
    return module.rpartition(".")[2].startswith("test_")


def test_test_modules_are_known_by_their_names(imports: grimp.ImportGraph):
    assert __name__ in filter(is_test, imports.modules)


def test_no_module_imports_from_a_test_module(imports: grimp.ImportGraph):
    """A helper that two modules share has a module of its own, named after what it gives."""
    importers = {
        f"{importer} -> {imported}"
        for imported in filter(is_test, imports.modules)
        for importer in imports.find_modules_that_directly_import(imported)
    }
    assert set() == importers
