"""One name, one live cluster per owner: who may hold a name, first come first served.

Names are unique per owner while clusters are keyed by id, so no cluster can check this by itself;
the name's own key decides it before the command reaches the cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.commands import Create
from domain.errors import Rejected
from domain.policy import Policy
from domain.spec import accept_spec, check_name, check_project_id


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecord:
    """Who holds a name: the cluster, and the command that brought it; both empty once it is free again.

    A freed name is remembered for a while, with the offset that freed it: a create that was rejected before
    and is delivered once more must not find it free.
    """

    cluster_id: str
    command_id: str
    offsets: Mapping[str, int]

    @property
    def held(self) -> bool:
        """Whether somebody holds it."""
        return bool(self.cluster_id)


def name_key(owner: str, name: str) -> str:
    """The key of a name; an owner's address cannot contain a blank, so the last `/` divides."""
    return f"{owner}/{name}"


def admit(holder: NameRecord | None, command: Create, policy: Policy) -> None:
    """Let a create pass to its cluster; the command that holds the name passes again.

    Raises: Rejected: the command is invalid, or another cluster holds the name.
    """
    check_name(command.name)
    check_project_id(command.target_project_id)
    accept_spec(command.spec, policy)
    first = (
        holder is None
        or not holder.held
        or (holder.command_id, holder.cluster_id)
        == (
            command.command_id,
            command.cluster_id,
        )
    )
    if not first:
        raise Rejected(
            "CLUSTER_NAME_EXISTS", f"Cluster with name '{command.name}' already exists", field="name"
        )


def releases(holder: NameRecord | None, cluster_id: str) -> bool:
    """Whether a release frees the name: only the cluster that holds it can."""
    return holder is not None and holder.held and holder.cluster_id == cluster_id


def freed(offsets: Mapping[str, int]) -> NameRecord:
    """The record of a name that is free again as of these offsets."""
    return NameRecord(cluster_id="", command_id="", offsets=offsets)
