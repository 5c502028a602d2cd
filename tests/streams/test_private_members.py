"""What we use or override of the inside of aiohttp, aiokafka, Faust and mode (docs/decisions, 6).

One that has gone is named here at once, instead of failing somewhere in a worker or, where it is overridden,
never being called again. One that is there may mean something else: read it before taking a new version.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import faust
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.app import BootStrategy
from faust.stores.memory import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.transport.drivers import aiokafka as driver

OURS = ("agents", "streams", "tables", "web")

USED = {
    AIOKafkaAdminClient: "_client _send_request",
    AIOKafkaProducer: "client _max_request_size _message_accumulator _metadata _partition _sender",
    MessageAccumulator: "_append_batch _batches _closed _exception _pending_batches create_builder fail_all",
    MessageBatch: "_builder _ctime future tp",
    BatchBuilder: "append",
    DefaultRecordBatchBuilder: "estimate_size_in_bytes",
    Sender: "close",
    AIOKafkaConsumer: "_client _coordinator _fetch_max_bytes _fetch_max_wait_ms _fetcher _group_id"
    " _isolation_level _subscription",
    Fetcher: "_client _select_read_replica _subscriptions fetched_records",
    FetchResult: "_assignment _partition_records _topic_partition _update_position check_assignment has_more",
    PartitionRecords: "_records",
    FetchRequest: "_topics build",
    AIOKafkaClient: "_client_id _conns _get_conn _get_conn_lock _get_conn_lock_value _md_synchronizer"
    " _metadata_update _request_timeout_ms _sasl_mechanism _sasl_plain_password _sasl_plain_username"
    " _security_protocol _ssl_context _sync_task _wait_on_metadata bootstrap close force_metadata_update"
    " get_random_node hosts send",
    AIOKafkaConnection: "_requests close connected send",
    ClusterMetadata: "brokers failed_update leader_for_partition partitions_for_topic update_metadata",
    GroupCoordinator: "_maybe_leave_group _send_req _stop_heartbeat_task fetch_committed_offsets",
    SubscriptionState: "_assigned_state subscription",
    TopicPartitionState: "_position highwater lso",
    driver.AIOKafkaConsumerThread: "_consumer _create_worker_consumer _ensure_consumer _stopped call_thread"
    " on_start thread_loop",
    driver.Consumer: "_committed_offset _drain_messages _filter_tps_with_pending_acks _get_active_partitions"
    " _is_changelog_tp _new_consumer_thread _new_offset _read_offset _seek _stopped _thread _to_message"
    " _unacked_messages _wait_for_ack _wait_next_records _waiting_for_ack ack callback"
    " consumer_stopped_errors flow_active on_partitions_assigned on_partitions_revoked pause_partitions"
    " perform_seek resume_partitions stop_flow suspend_flow verify_event_path wait_empty wait_first",
    driver.Transport: "Consumer",
    faust.App: "BootStrategy _crashed _create_directories _new_transport consumer_generation_id crash_reason"
    " flow_control",
    BootStrategy: "enable_kafka_producer",
    faust.Schema: "compile",
    TableManager: "_changelogs _update_channels changelog_queue on_rebalance on_start recovery",
    Recovery: "active_offsets active_tps completed",
    Table: "_new_store on_recover",
    RequestHandler: "_current_request _messages _request_handler _upgraded _waiter close"
    " connection_lost data_received handle_error log_exception",
    web.Server: "_kwargs _loop",
    web.AppRunner: "_make_server",
    Store: "apply_changelog_batch on_rebalance on_recovery_completed",
}


def members() -> list[tuple[type, str]]:
    return [(owner, member) for owner, names in USED.items() for member in names.split()]


@pytest.mark.parametrize(("owner", "member"), members(), ids=lambda it: getattr(it, "__qualname__", it))
def test_what_is_used_of_the_inside_of_libraries_is_there(owner: type, member: str):
    assert is_defined(owner, member), (
        f"{owner.__module__}.{owner.__qualname__} has no {member} any more, which we use or override:"
        " this version of the library needs a change of ours first"
    )


def is_defined(owner: type, member: str) -> bool:
    """Whether a class has the member, or gives it to its instances."""
    if hasattr(owner, member):
        return True
    return any(re.search(rf"self\.{member}\b.* = ", source_of(kind)) for kind in owner.__mro__)


def source_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made by the interpreter, or while running
        return ""


def test_no_private_member_is_used_that_is_not_named_here():
    used, own = set(), set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                own.add(node.target.id)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                stored = isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
                (own if stored else used).add(node.attr)
    used = {name for name in used if not name.startswith("__")}
    assert {"_coordinator", "_message_accumulator"} <= used
    assert set() == used - own - {member for _, member in members()}


def trees() -> Iterator[ast.Module]:
    root = Path(__file__).parents[2]
    for package in OURS:
        for path in (root / package).rglob("*.py"):
            yield ast.parse(path.read_text())
