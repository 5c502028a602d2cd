"""Who may do what: one table, printed as commands, and the page that shows them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.acls import ANY_CONTROLLER
from main import cli
from streams.flows import SIMPLE_FLOWS
from streams.kafka.acls import grants, script
from streams.kafka.roles import CLIENTS, ROLES
from streams.topics import Topics
from tests.e2e.permitted import printed

PAGE = (Path(__file__).parents[2] / "docs" / "kafka-acls.md").read_text()
TOPICS = Topics()


def test_every_topic_is_read_and_written_by_somebody():
    allowed = printed(TOPICS, ["dns"])
    for topic in (spec.name for spec in TOPICS.all()):
        for operation in ("Read", "Write", "Create", "DescribeConfigs"):
            assert any((topic, operation) == (each.name, each.operation) for each in allowed), topic


def test_the_page_shows_what_is_printed():
    assert f"```text\n{script(TOPICS, controllers=[ANY_CONTROLLER])}```" in PAGE


@pytest.mark.parametrize("topic", TOPICS.declared, ids=lambda topic: topic.spec.name)
def test_the_pages_table_has_each_topic(topic):
    name, use = topic.spec.name, topic.use
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    _, _, reads, writes, parked, _ = (cell.strip() for cell in row.split("|"))
    assert (", ".join(use.reads), ", ".join(use.writes)) == (reads, writes)
    assert (f"by the {' and the '.join(use.parks)}" if use.parks else "") == parked


@pytest.mark.parametrize("topic", TOPICS.declared, ids=lambda topic: topic.spec.name)
def test_a_topic_has_dead_letters_where_somebody_parks_them(topic):
    assert bool(topic.use.parks) == topic.spec.dead_letters


def test_no_client_may_write_or_read_more_than_its_own():
    ours = {each for each in printed(TOPICS, ["dns"]) if each.of in CLIENTS}
    written = {(each.of, each.name) for each in ours if each.operation == "Write"}
    assert written == {
        ("creator", "cluster-create-requests"),
        ("commander", "cluster-commands"),
        *(("commander", flow.commands) for flow in SIMPLE_FLOWS if not flow.internal),
        ("controller", "cluster-status-reports"),
        ("controller", "cluster-events.dns.dlq"),
        ("node", "cluster-events"),
    }
    kept = {"cluster-state", "cluster-names", *(flow.state for flow in SIMPLE_FLOWS)}
    assert kept.isdisjoint(each.name for each in ours)


def test_names_follow_the_settings(monkeypatch):
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "eu.")
    monkeypatch.setenv("CLUSTER_EVENTS_TOPIC", "changes")
    options = ["--principal", "web=User:alice", "--controller", "dns", "--controller", "gcp-network"]

    said = CliRunner().invoke(cli, ["topics", "--acls", *options])

    assert 0 == said.exit_code, said.output
    topics = Topics("eu.", "changes")
    assert said.output == script(topics, principals={"web": "User:alice"}, controllers=["dns", "gcp-network"])
    assert "grant User:alice --operation" in said.output
    assert "--topic eu.changes.gcp-network.dlq" in said.output
    assert all(each.name.startswith("eu.") for each in printed(topics, ["dns"]))


@pytest.mark.parametrize("option", ["web", "webb=User:alice", "web=alice"])
def test_a_principal_of_nobody_is_refused(option):
    said = CliRunner().invoke(cli, ["topics", "--acls", "--principal", option])
    assert 2 == said.exit_code
    assert "WHO=TYPE:NAME" in said.output


def test_every_role_and_kind_of_client_needs_something():
    for who in (*ROLES, *CLIENTS):
        assert grants(who, TOPICS, controllers=["dns"]), who
