"""Handlers: what is installed is found, and whatever a handler is, its result is text."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from executors import handlers
from executors.handlers import GROUP, BadHandlers, called, default, load


def installed(monkeypatch, *entries):
    points = [EntryPoint(name, value, GROUP) for name, value in entries]
    monkeypatch.setattr(handlers, "entry_points", lambda group: points)


def test_handlers_are_found_by_their_entry_points(monkeypatch):
    installed(monkeypatch, ("shout", "builtins:str"))
    assert {"shout": str} == load()


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        pytest.param([("a", "builtins:str"), ("a", "builtins:repr")], "two packages", id="twice"),
        pytest.param([("a", "no.such.module:f")], "no.such.module:f, the handler for a", id="no module"),
        pytest.param([("a", "builtins:missing")], "builtins:missing", id="no such name"),
        pytest.param([("a", "sys:path")], "is no function", id="no function"),
    ],
)
def test_one_that_cannot_be_used_stops_the_start(monkeypatch, entries, text):
    installed(monkeypatch, *entries)
    with pytest.raises(BadHandlers, match=text):
        load()


async def text(piece):
    return f"async {piece}"


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        pytest.param(text, "async p", id="a coroutine function"),
        pytest.param(partial(text), "async p", id="a function that returns a coroutine"),
        pytest.param(str, "p", id="a plain function"),
        pytest.param(lambda piece: None, "", id="nothing"),
        pytest.param(lambda piece: 7, "7", id="a number"),
    ],
)
async def test_a_result_is_text(handler, result):
    with ThreadPoolExecutor(1) as threads:
        assert result == await called(handler, "p", threads)


async def test_the_default_handler_says_what_the_contract_says():
    piece = SimpleNamespace(action="resize", resource_id="r-1")
    with ThreadPoolExecutor(1) as threads:
        assert "Completed resize for resource r-1" == await called(default(), piece, threads)
