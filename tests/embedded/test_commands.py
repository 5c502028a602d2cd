"""Commands that run to their end: what is said of long ones, and of those that fail."""

import logging

import pytest

from deploy.embedded import EmbeddedError
from deploy.embedded.process import run


@pytest.fixture(autouse=True)
def impatient(monkeypatch, caplog):
    monkeypatch.setattr("deploy.embedded.process.TELL_EVERY", 0.2)
    caplog.set_level(logging.INFO, logger="deploy.embedded")


def test_a_long_command_is_told_of_while_it_runs(caplog):
    assert (
        run(["sh", "-c", "read -r word; sleep 0.7; echo $word"], failure="no", stdin="hi\n", doing="waiting")
        == "hi\n"
    )
    assert caplog.messages[0] == "waiting"
    assert "waiting: for 0 s now" in caplog.messages
    assert caplog.messages[-1] == "waiting: done after 1 s"


def test_nothing_is_said_of_a_command_that_nobody_waits_for(caplog):
    run(["sleep", "0.5"], failure="no")
    assert caplog.messages == []


def test_a_command_that_takes_too_long_is_ended():
    with pytest.raises(EmbeddedError, match="cannot wait: sleep did not end within 1 s"):
        run(["sleep", "60"], failure="cannot wait", timeout=0.6)


def test_a_command_that_fails_shows_its_output():
    with pytest.raises(EmbeddedError, match=r"cannot: sh ended with status 3\n    why"):
        run(["sh", "-c", "echo why; exit 3"], failure="cannot")


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(EmbeddedError, match="cannot: /nowhere/tool does not run: No such file"):
        run(["/nowhere/tool"], failure="cannot")
