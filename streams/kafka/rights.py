"""Checks that Kafka grants the rights we need (`streams.kafka.acls`), and explains its refusals.

A role checks once, at its start: otherwise it would run until it needs a missing right, and then fail again
and again. A right that is revoked later shows in the error of the operation that needs it.
"""

from typing import Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from domain.errors import NotPermitted
from streams.kafka.acls import HOW_TO_GRANT, Operation, grants
from streams.kafka.admin import group_members
from streams.kafka.topic_ids import permitted
from streams.settings import KafkaSettings

# The operations that are checked, with Kafka's numbers (org.apache.kafka.common.acl.AclOperation). Three are
# not: `Create` may be granted on the cluster instead, few runs need `AlterConfigs`, and without
# `DescribeConfigs` a role works but can check less. `streams.kafka.admin` reports when one of them is
# missing.
_NUMBERS: Final[dict[Operation, int]] = {"Read": 3, "Write": 4, "Describe": 8}


async def require_rights(kafka: KafkaSettings, role: str) -> None:
    """Check that we have every right that a role needs.

    Raises: NotPermitted: with every right that is missing. KafkaError, Unavailable: no broker answers.
    """
    wanted = grants(role, kafka.topics)
    found = await permitted(kafka, [grant.name for grant in wanted if grant.resource == "topic"])
    for group in [grant.name for grant in wanted if grant.resource == "group"]:
        try:
            await group_members(kafka, group)
        except GroupAuthorizationFailedError:  # without any right; reading a group includes describing it
            found[group] = 0
    if missing := [
        f"{operation} on {grant.resource} {grant.name}"
        for grant in wanted
        if grant.name in found
        for operation in grant.operations
        if operation in _NUMBERS and not found[grant.name] & 1 << _NUMBERS[operation]
    ]:
        raise NotPermitted(f"this principal lacks {', '.join(missing)}: {HOW_TO_GRANT}")


def refusal(error: BaseException) -> str | None:
    """The right that Kafka has refused, if an error, its cause or a part of it is such a refusal."""
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for part in (*parts, error.__cause__):
        if part is not None and (found := refusal(part)) is not None:
            return found
    match error:
        case NotPermitted():
            return str(error)
        case TopicAuthorizationFailedError():
            return f"a right on topic {_name(error)} is missing: {HOW_TO_GRANT}"
        case GroupAuthorizationFailedError():
            return f"Read on group {_name(error)} is missing: {HOW_TO_GRANT}"
        case ClusterAuthorizationFailedError():
            return f"this principal may write no topic: {HOW_TO_GRANT}"
    return None


def _name(error: KafkaError) -> str:
    return str(error.args[0]) if error.args else "(not told which)"
