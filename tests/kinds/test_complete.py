"""Every simple kind has all its parts, or a written reason for having none.

The registries are walked: a kind that `streams/flows.py` lists needs samples of its messages and states, a
view, rows, a way back from them, metrics, a file of its name in each layer, and contracts that keep these
files apart from other kinds. `docs/adding-a-kind.md` says how.
"""

import ast
import io
import re
import shutil
import tokenize
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from prometheus_client import REGISTRY

from domain.entity import VersionedEntity
from domain.policy import Policy
from serving.kinds import kind_feeds
from sinks.table import Table
from sinks.tables import TABLES
from streams.flow import Flow
from streams.flows import SIMPLE_FLOWS
from streams.json import encode
from streams.topics import Topics
from tables.entries import entries
from tests.kinds import lamp
from tests.sinks.gadgets import FLOW as GADGET
from tests.sinks.gadgets import gadget
from tests.tables.given import Record
from web.collection import Collection
from web.counts import ENTITIES, show_counts
from web.described.operations import Route
from web.entities import Filtered
from web.routes import COLLECTIONS, ROUTES

ROOT: Final = Path(__file__).parents[2]
SAMPLES: Final = ROOT / "tests" / "descriptions" / "samples"
LAYERS: Final = ("domain", "streams", "web", "sinks")

WITHOUT: Final[Mapping[tuple[str, str], str]] = {
    ("address", "view"): "nobody reads the blocks of a network; a droplet shows its own address",
    ("address", "metrics"): "its entities are blocks, whose number says nothing",
    ("members", "view"): "a cluster shows its droplets, which readers find by the droplets themselves",
    ("members", "metrics"): "its entities are clusters, which are counted as such",
    ("checkup", "view"): "a cluster shows when it was diagnosed, and a diagnosis answers its caller",
    ("checkup", "metrics"): "its entities are clusters, which are counted as such",
    ("autoscaler", "view"): "readers see policies, and what an evaluation has led to answers its caller",
    ("autoscaler", "metrics"): "its entities are clusters, which are counted as such",
    ("samples", "view"): "they have no ids to be asked for by, and pages of them come from their rows",
    ("samples", "rows"): "each sample has a row, made of the command that brings it",
    ("samples", "recovery"): "the next samples say what the newest are",
    ("samples", "metrics"): "its entities are clusters, which are counted as such",
    ("bucket", "view"): "a limit tells its tokens, and each answer of a limited route its own",
    ("bucket", "rows"): "a bucket that is forgotten is full again",
    ("bucket", "recovery"): "a bucket that is forgotten is full again",
    ("bucket", "metrics"): "its entities are as many as callers, which no bounded metric can show",
    ("limit", "view"): "its paths and answers are those of the original's clients, which know no ids",
    ("limit", "metrics"): "its entities are settings, whose number says nothing",
}
"""By kind and part, why there is none."""

MACHINERY: Final = "The machinery knows no kind"
"""The contract of import-linter that names all kinds."""

MOST_LINES: Final = 150
"""Lines of code in the files of a kind. One that needs more repeats what all kinds could share."""

MORE_LINES: Final[Mapping[str, tuple[int, str]]] = {
    "task": (270, "it has six commands and three public records, and an executor has to be told of both"),
    "droplet": (
        280,
        "it has six commands, an address, and a document that shows its cluster",
    ),
    "members": (210, "it has six commands, and decides who goes when a cluster becomes smaller"),
    "samples": (400, "its rows are made of commands, and its reads come from them"),
    "scaling": (320, "its routes have the shape of the original's, and its policies ten members"),
    "autoscaler": (240, "it has six commands, and decides for all policies of a cluster"),
    "limit": (350, "its routes have the shape of the original's, and name scopes instead of ids"),
    "job": (580, "it has seven commands, a queue, lists of its own, and two sets of routes"),
}
"""By kind, how many it may have instead, and why."""


AnyFlow = Flow[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class House:
    """Where the parts of kinds are looked for."""

    collections: Sequence[Collection] = COLLECTIONS
    routes: Sequence[Route] = ROUTES
    tables: Sequence[Table[Any]] = TABLES
    samples: Path = SAMPLES
    root: Path = ROOT

    def table_of(self, flow: AnyFlow) -> Table[Any] | None:
        return next((each for each in self.tables if each.flow.kind.name == flow.kind.name), None)

    def samples_of(self, message: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.samples / message).glob("*.json"))]

    def states_of(self, flow: AnyFlow) -> list[tuple[bytes, VersionedEntity]]:
        return [(text, flow.decode(text)) for text in self.samples_of(f"{flow.kind.name}-state")]

    def live_states_of(self, flow: AnyFlow) -> list[tuple[bytes, VersionedEntity]]:
        return [(text, state) for text, state in self.states_of(flow) if state.deleted_at is None]

    def columns_of(self, table: str) -> dict[str, str]:
        """The columns that migrations make a table with, and their types."""
        scripts = "\n".join(path.read_text() for path in (self.root / "migrations").glob("*.sql"))
        made = re.search(rf"^CREATE TABLE {table} \((.*?)^\);", scripts, re.MULTILINE | re.DOTALL)
        column = re.compile(r"^ +([a-z0-9_]+) +(double precision|[a-z]+)", re.MULTILINE)
        found = column.findall(made[1]) if made else []
        for altered in re.findall(rf"^ALTER TABLE {table}$(.*?);", scripts, re.MULTILINE | re.DOTALL):
            found += re.findall(r"ADD COLUMN ([a-z0-9_]+) +([a-z]+)", altered)
        return {name: "text" if type_ == "varchar" else type_ for name, type_ in found}

    def files_of(self, kind: str, layer: str) -> list[Path]:
        """The module of a kind, or those of its package."""
        module, package = self.root / layer / f"{kind}.py", self.root / layer / kind
        return [module] if module.exists() else sorted(package.rglob("*.py"))

    @property
    def contracts(self) -> list[dict[str, Any]]:
        """The contracts of import-linter."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text())
        return list(project["tool"]["importlinter"]["contracts"])


def layers_of(flow: AnyFlow) -> Sequence[str]:
    """The layers that a kind is in; one for other kinds alone has no API, and one may have no rows."""
    without = {"web": flow.internal, "sinks": (flow.kind.name, "rows") in WITHOUT and not flow.kept}
    return [layer for layer in LAYERS if not without.get(layer, False)]


# --- the parts ----------------------------------------------------------------------------------------


def samples(flow: AnyFlow, house: House) -> Iterator[str]:
    """Each type of each message has a sample, and there are states that live and that are deleted."""
    for message in flow.schemas:
        found = house.samples_of(message.name)
        for type_ in message.types:
            if not any(is_one(text, type_) for text in found):
                yield f"no sample of {type_.__name__} in {message.name}"
    states = [state for _, state in house.states_of(flow)]
    if not any(state.deleted_at is None for state in states):
        yield "no sample of a live state"
    if not any(state.deleted_at for state in states):
        yield "no sample of a deleted state"


def is_one(text: bytes, type_: Any) -> bool:
    try:
        msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError:
        return False
    return True


def view(flow: AnyFlow, house: House) -> Iterator[str]:
    """A collection serves it under routes, and lists filter by what its documents have."""
    collection = next((each for each in house.collections if each.kind == flow.kind.name), None)
    if collection is None:
        yield "no collection"
        return
    if not any(route.kind == flow.kind.name for route in house.routes):
        yield "no routes"
    read = entries(shown=flow.shown, columns=collection.columns)
    shown = [read("id", text, None)[1] for text, _ in house.live_states_of(flow)]
    for place, column in enumerate(collection.columns):
        if not any(entry and entry.columns[place] for entry in shown):
            yield f"no sample has the {column} that lists filter by"


def rows(flow: AnyFlow, house: House) -> Iterator[str]:
    """A migration makes a table of the columns that its row type has."""
    table = house.table_of(flow)
    if table is None:
        yield "no table"
    elif not (made := house.columns_of(table.name)):
        yield f"no CREATE TABLE {table.name}"
    elif made != table.columns:
        yield f"{table.name} is made with {made}, and written with {dict(table.columns)}"


def recovery(flow: AnyFlow, house: House) -> Iterator[str]:
    """A row makes the state that it was made of, apart from what only Kafka knew."""
    table, states = house.table_of(flow), house.live_states_of(flow)
    if table is None or not states:
        yield "no state that becomes a row"
        return
    for text, state in states:
        row = table.row_of(table.decode(text))
        restored = table.state_of(dict(zip(table.columns, row, strict=True)))
        for what, of in {
            f"what readers see ({flow.shown})": lambda each: getattr(each, flow.shown),
            "its version": lambda each: each.version,
            "when it is woken": flow.kind.due_at,
        }.items():
            if of(restored) != of(state):
                yield f"a row does not bring back {what}"


def metrics(flow: AnyFlow, house: House) -> Iterator[str]:
    """Its live entities are counted under its name."""
    kind = flow.kind.name
    views = {name: feed.view for name, feed in kind_feeds(COLLECTIONS, Topics()).items()}
    if kind not in views:
        yield "no clusterflow_entities"
        return
    states = house.live_states_of(flow)
    for offset, (text, _) in enumerate(states):
        views[kind].apply(Record(b"id-%d" % offset, text, offset=offset, topic=flow.state))
    ENTITIES.clear()  # of what other tests have counted
    show_counts(views, Policy())
    counted = sum(values_of("clusterflow_entities", kind))
    if len(states) != counted:
        yield f"clusterflow_entities is {counted} for {len(states)} live entities"


def values_of(metric: str, kind: str) -> list[float]:
    """The values of a metric for a kind, over all its states."""
    families = (family for family in REGISTRY.collect() if family.name == metric)
    return [sample.value for family in families for sample in family.samples if sample.labels["kind"] == kind]


def files(flow: AnyFlow, house: House) -> Iterator[str]:
    """Its name is that of a module, or of a package, in each layer."""
    for layer in layers_of(flow):
        if not house.files_of(flow.kind.name, layer):
            yield f"no {layer}/{flow.kind.name}.py"


def contracts(flow: AnyFlow, house: House) -> Iterator[str]:
    """Its modules neither know other kinds, nor does the machinery know them."""
    apart = [each["modules"] for each in house.contracts if each["type"] == "independence"]
    (kinds,) = (each["forbidden_modules"] for each in house.contracts if each["name"] == MACHINERY)
    for layer in layers_of(flow):
        module = f"{layer}.{flow.kind.name}"
        if not any(module in modules for modules in apart):
            yield f"no contract of independence lists {module}"
        if module not in kinds:
            yield f"the contract {MACHINERY!r} does not list {module}"


def size(flow: AnyFlow, house: House) -> Iterator[str]:
    """Its files are small together."""
    name = flow.kind.name
    modules = [path for layer in LAYERS for path in house.files_of(name, layer)]
    lines = sum(code_lines(path.read_text()) for path in modules)
    most, _ = MORE_LINES.get(name, (MOST_LINES, ""))
    if lines > most:
        yield f"{lines} lines of code are more than {most}"


def code_lines(source: str) -> int:
    """The number of lines that are not blank and hold more than comments and docstrings."""
    texts = {
        number
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    held = {
        number
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.string.strip() and token.type != tokenize.COMMENT
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(held - texts)


PARTS: Final[Mapping[str, Callable[[AnyFlow, House], Iterator[str]]]] = {
    "samples": samples,
    "view": view,
    "rows": rows,
    "recovery": recovery,
    "metrics": metrics,
    "files": files,
    "contracts": contracts,
    "size": size,
}


def complaints(
    flow: AnyFlow,
    part: str,
    house: House | None = None,
    without: Mapping[tuple[str, str], str] = WITHOUT,
) -> list[str]:
    """What is wrong with a part of a kind; a reason for having none must be needed."""
    found = list(PARTS[part](flow, house or House()))
    if (flow.kind.name, part) not in without:
        return found
    return [] if found else [f"it has {part}, so it needs no reason for having none"]


# --- every kind has them ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("flow", SIMPLE_FLOWS, ids=lambda flow: flow.kind.name)
def test_a_kind_is_complete(flow, part):
    assert [] == complaints(flow, part)


def test_registries_and_reasons_speak_of_kinds_that_there_are():
    names = {flow.kind.name for flow in SIMPLE_FLOWS}
    assert {collection.kind for collection in COLLECTIONS} <= names
    assert {table.flow.kind.name for table in TABLES} <= names
    assert WITHOUT.keys() <= {(name, part) for name in names for part in PARTS}
    assert all(WITHOUT.values())


# --- what is missing is found -------------------------------------------------------------------------


def resource() -> AnyFlow:
    """A kind that has everything, to take something from."""
    return next(flow for flow in SIMPLE_FLOWS if flow.kind.name == "resource")


@pytest.mark.parametrize("part", [part for part in PARTS if part != "size"])
def test_a_flow_without_parts_is_found(part):
    assert complaints(lamp.FLOW, part)


def test_each_module_that_a_contract_leaves_out_is_found():
    found = complaints(lamp.FLOW, "contracts")
    assert [2] * len(LAYERS) == [sum(f"{layer}.lamp" in each for each in found) for layer in LAYERS]


def test_a_reason_stands_for_a_part_and_not_beside_it():
    assert [] == complaints(lamp.FLOW, "rows", without={("lamp", "rows"): "lamps are counted elsewhere"})
    assert complaints(resource(), "rows", without={("resource", "rows"): "there are some, though"})


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("resource-command/update.json", "no sample of Update in resource-command"),
        ("resource-state/live.json", "no sample of a live state"),
        ("resource-state/deleted.json", "no sample of a deleted state"),
        ("wake/first.json", "no sample of Wake in wake"),
    ],
)
def test_a_missing_sample_is_named(gone, expected, tmp_path):
    shutil.copytree(SAMPLES, tmp_path / "samples")
    (tmp_path / "samples" / gone).unlink()
    assert [expected] == complaints(resource(), "samples", House(samples=tmp_path / "samples"))


def test_a_collection_without_routes_is_found():
    assert ["no routes"] == complaints(resource(), "view", House(routes=()))


def test_a_filter_by_what_no_document_has_is_found():
    colour = Filtered(name="colour", values=lambda policy: ())
    collection = Collection(resource(), "/x", tag="X", document=object, filters=(colour,))
    house = House(collections=(collection,))
    assert ["no sample has the colour that lists filter by"] == complaints(resource(), "view", house)


@pytest.mark.parametrize(
    ("column", "instead"),
    [
        pytest.param("    version     bigint       NOT NULL", "    size bigint", id="another name"),
        pytest.param("    version     bigint ", "    version integer", id="another type"),
        pytest.param("CREATE TABLE resources", "CREATE TABLE others", id="another table"),
    ],
)
def test_columns_that_differ_are_found(column, instead, tmp_path):
    script = (ROOT / "migrations" / "0007_resources.sql").read_text()
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001.sql").write_text(script.replace(column, instead))
    assert 1 == len(complaints(resource(), "rows", House(root=tmp_path)))


class NarrowRow(NamedTuple):
    """A row of gadgets that lacks what may be left out."""

    id: str
    name: str
    made_at: datetime
    version: int


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({}, [], id="nothing is lost"),
        pytest.param({"weight": 1.5}, ["a row does not bring back what readers see (gadget)"], id="lost"),
    ],
)
def test_what_no_row_brings_back_is_found(members, expected, tmp_path):
    (tmp_path / "gadget-state").mkdir()
    (tmp_path / "gadget-state" / "live.json").write_bytes(encode(gadget(**members)))
    house = House(tables=(Table(flow=GADGET, name="gadgets", row=NarrowRow),), samples=tmp_path)
    assert expected == complaints(GADGET, "recovery", house)


@pytest.mark.parametrize(("lines", "found"), [(MOST_LINES, 0), (MOST_LINES + 1, 1)])
def test_files_that_are_too_long_together_are_found(lines, found, tmp_path):
    (tmp_path / "domain").mkdir()
    (tmp_path / "web" / "lamp").mkdir(parents=True)
    (tmp_path / "domain" / "lamp.py").write_text('"""Lamps."""\n' + "x = 1\n" * (lines - 2))
    (tmp_path / "web" / "lamp" / "bodies.py").write_text("\n# Two more.\nx = [\n]\n")
    assert found == len(complaints(lamp.FLOW, "size", House(root=tmp_path)))


SOURCE = '''"""A

module."""

x = 1  # one
# two

def f():
    """A docstring."""
    return "".join(
        ()
    )
'''


def test_lines_of_code_are_neither_blank_nor_comments_nor_docstrings():
    assert 5 == code_lines(SOURCE)
