"""Requests to a cluster: commands, which may be refused, and reports of controllers."""

from collections.abc import Mapping
from typing import Any

from domain.cluster.state import LastError, ReportedCondition
from domain.health import Health
from domain.values import Struct, field


class Command(Struct, frozen=True, kw_only=True):
    """The members of every command.

    Attributes:
        command_id: Its identity; a repeat by the same caller gets the first outcome.
        user_email: The caller; proven by the gateway or by the write ACL of the topic.
        triggered_by: `api_request` or `kafka_command`, which events repeat.
        request_id: The HTTP request that caused it, if any.
        keyed: Whether its sender chose the id by an `Idempotency-Key`, so that its outcome is kept for a day.
    """

    command_id: str
    cluster_id: str
    user_email: str
    triggered_by: str = "kafka_command"
    request_id: str | None = None
    keyed: bool = False

    def caller(self, owner: str) -> str:
        """The sender as a cluster remembers it: empty for the cluster's owner."""
        return "" if self.user_email == owner else self.user_email

    def identity(self, owner: str) -> tuple[str, ...]:
        """Its identity among the commands to a cluster, which includes the caller."""
        caller = self.caller(owner)
        return (self.command_id, caller) if caller else (self.command_id,)


class Create(Command, frozen=True, kw_only=True):
    """Create a cluster under a name that its owner does not use yet; its secrets are encrypted."""

    name: str
    spec: Mapping[str, Any]
    target_project_id: str = ""


class Guarded(Command, frozen=True, kw_only=True):
    """A command that may expect a state, and is then applied only if the cluster is still in it."""

    expected_generation: int | None = None
    expected_resource_version: str | None = None


class Update(Guarded, frozen=True, kw_only=True):
    """Replace the whole spec."""

    spec: Mapping[str, Any]


class Delete(Guarded, frozen=True, kw_only=True):
    """Delete the cluster; with `force` even if its phase forbids that."""

    force: bool = False


class Reconcile(Command, frozen=True, kw_only=True):
    """Announce the cluster to its controllers now, without moving its schedule."""


class Attach(Command, frozen=True, kw_only=True):
    """Mark the cluster as one with droplets, whose agent is told when it is deleted."""

    user_email: str = ""


class SetHealth(Command, frozen=True, kw_only=True):
    """Say how the cluster is, whatever its phase says; None takes that back."""

    health: Health | None


class Report(Struct, frozen=True, kw_only=True):
    """A controller's report on one cluster; the time of a condition is None if none was reported.

    Attributes:
        report_id: Its identity, if the controller gave one; a repeat is a no-op.
        answer: Whether a client waits for a result under `report_id`.
    """

    cluster_id: str
    controller_name: str
    observed_generation: int
    conditions: tuple[ReportedCondition, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    last_error: LastError | None = None
    report_id: str | None = None
    answer: bool = False
