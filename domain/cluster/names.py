"""Unique names: an owner has at most one live cluster of a name, and the first create gets it.

Names are unique per owner while clusters are keyed by id, so a cluster cannot check this by itself. It is
decided under the name's own key before the command reaches the cluster.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.cluster.commands import Create
from domain.cluster.secrets import require_known_keys, without_secrets
from domain.cluster.spec import accept_spec, check_name, check_project_id
from domain.cluster.state import TOLERANCE, ClusterState
from domain.entity import KEPT_FOR, REMEMBERED_KEYS
from domain.errors import Rejected
from domain.offsets import Seen, noted
from domain.policy import Policy
from domain.values import Struct, field, replace


class NameRecord(Struct, frozen=True, kw_only=True):
    """Who holds a name: the cluster, and the command that brought it; both empty once it is free again.

    A freed name is remembered for a while, with the offset that freed it: a create that was rejected before
    and is delivered once more must not find it free.

    Attributes:
        refused: Creates under an `Idempotency-Key` that were turned away, and until when they stay so,
            latest first: a repeat gets the first outcome, even when the name has become free meanwhile.
    """

    cluster_id: str
    command_id: str
    offsets: Mapping[str, int]
    refused: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether a cluster holds it."""
        return bool(self.cluster_id)

    def refuses(self, command_id: str) -> bool:
        """Whether this command was refused before."""
        return command_id in self.refused

    def without_old(self, at: datetime) -> "NameRecord":
        """The record without refusals whose day is over.

        A refusal with more than a day left, because the broker's clock was ahead, is limited to a day.
        """
        day = at + KEPT_FOR
        return replace(
            self,
            refused={
                known: day if until > day + TOLERANCE else until
                for known, until in self.refused.items()
                if until > at
            },
        )


def name_key(owner: str, name: str) -> str:
    """The key of a name; valid names contain no `/`, so the last one divides owner and name."""
    return f"{owner}/{name}"


def admit(holder: NameRecord | None, command: Create, policy: Policy) -> None:
    """Admit a create to its cluster; the command that already holds the name is admitted again.

    Raises: Rejected: the command is invalid, or another cluster holds the name.
    """
    check_name(command.name)
    check_project_id(command.target_project_id)
    require_known_keys(without_secrets(accept_spec(command.spec, policy))[1], policy.secret_key_ids)
    if holder is None:
        return
    by = (holder.command_id, holder.cluster_id)
    mine = not holder.held or by == (command.command_id, command.cluster_id)
    if not mine or holder.refuses(command.command_id):
        text = f"Cluster with name '{command.name}' already exists"
        raise Rejected("CLUSTER_NAME_EXISTS", text, field="name", value=command.name)


def live_under(state: ClusterState | None, key: str) -> bool:
    """Whether there is a live cluster, and it bears the name of this key."""
    if state is None or state.deleted_at is not None:
        return False
    return name_key(state.cluster.created_by, state.cluster.name) == key


def held_by(command: Create, holder: NameRecord | None, seen: Seen) -> NameRecord:
    """The record of a name that this create has taken; `holder` is the record before it."""
    return NameRecord(
        cluster_id=command.cluster_id,
        command_id=command.command_id,
        offsets=seen.noted({} if holder is None else holder.offsets),
        refused={} if holder is None else holder.refused,
    )


def releases(holder: NameRecord | None, cluster_id: str) -> bool:
    """Whether a release frees the name: only the cluster that holds it can."""
    return holder is not None and holder.held and holder.cluster_id == cluster_id


def freed(holder: NameRecord, log: str, offset: int) -> NameRecord:
    """The record of a name that a record of a log has freed."""
    return replace(holder, cluster_id="", command_id="", offsets=noted(holder.offsets, log, offset))


def turned_away(holder: NameRecord, command: Create, *, at: datetime) -> NameRecord:
    """The record that also remembers a refused create under an `Idempotency-Key`."""
    refused = {command.command_id: at + KEPT_FOR, **holder.without_old(at).refused}
    return replace(holder, refused=dict([*refused.items()][:REMEMBERED_KEYS]))
