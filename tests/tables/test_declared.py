"""The tables as they are declared on their changelogs."""

from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.turns.app import create_app
from tables.declared import table_of
from tests.tables.kinds import FLOW, jar

KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:1", partitions=3, topics=Topics(prefix="test."))


def test_the_table_of_a_kind_holds_its_states():
    # given
    flow = FLOW.deployed(KAFKA.topics.of)
    table, state = table_of(create_app(KAFKA), KAFKA, flow), jar("a", label="jam")

    # when
    table.store(2, b"a", table.encode(state), offset=0)

    # then
    assert state == table.get(2, b"a")
    assert "test.jar-state" == table.changelog_topic
