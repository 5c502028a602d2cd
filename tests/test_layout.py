"""Which modules may import which, where import-linter has no contract for it."""

import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture(scope="module")
def of_tests() -> grimp.ImportGraph:
    """The imports of all tests and their helpers."""
    return grimp.build_graph("tests", cache_dir=None)


@pytest.fixture(scope="module")
def of_product() -> grimp.ImportGraph:
    """The imports of what import-linter looks at."""
    packages = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["root_packages"]
    return grimp.build_graph(*packages, cache_dir=None)


def is_test(module: str) -> bool:
    return module.rpartition(".")[2].startswith("test_")


def circle_in(imports: grimp.ImportGraph) -> list[str]:
    """Modules of which each is imported by the next, and the last is the first; none without a circle."""
    imported = {module: imports.find_modules_directly_imported_by(module) for module in imports.modules}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_test_modules_are_known_by_their_names(of_tests: grimp.ImportGraph):
    assert __name__ in filter(is_test, of_tests.modules)


def test_no_module_imports_from_a_test_module(of_tests: grimp.ImportGraph):
    """A helper that two modules share has a module of its own, named after what it gives."""
    importers = {
        f"{importer} -> {imported}"
        for imported in filter(is_test, of_tests.modules)
        for importer in of_tests.find_modules_that_directly_import(imported)
    }
    assert set() == importers


def test_a_circle_is_found():
    imports = grimp.ImportGraph()
    for importer, imported in ("ab", "bc", "cb"):
        imports.add_import(importer=importer, imported=imported)
    assert {"b", "c"} == set(circle_in(imports))


def test_no_modules_of_the_product_import_in_a_circle(of_product: grimp.ImportGraph):
    assert [] == circle_in(of_product)
