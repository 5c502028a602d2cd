"""What messages of every kind are made of, as the types they are decoded with.

Constraints stand beside the member they hold for; what a type cannot say (an email's form, a spec's rules)
is the domain's. Unknown members are ignored.
"""

from typing import Annotated, Any, Final, Literal, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType


class Holds(NamedTuple):
    """Beside `Raw`: what the bytes are, for those who describe them."""

    type: Any


# Where the domain enforces a form, so that whoever sends another gets an answer and no dead letter, it is
# only described here.
UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_UUID = Meta(
    pattern=UUID_PATTERN, description="Canonical UUID, any case", extra_json_schema={"format": "uuid"}
)
Uuid = Annotated[str, _UUID]
Email = Annotated[str, Meta(max_length=254, extra_json_schema={"format": "email"})]
_TIME = Meta(description="RFC 3339 date-time, any offset", extra_json_schema={"format": "date-time"})
Time = Annotated[str, _TIME]

SOURCE: Final = "clusterflow"
SOURCE_PATTERN: Final = "[A-Za-z0-9._-]{1,64}"

Source = Annotated[
    str,
    Meta(
        description="The name of the service, `SERVICE_NAME`",
        extra_json_schema={"pattern": f"^{SOURCE_PATTERN}$"},
    ),
]


ResultKind = Literal["applied", "duplicate", "rejected", "stale"]


class ResultBase(Struct, kw_only=True, omit_defaults=True):
    """What became of a command.

    Attributes:
        outcome: `applied`, `duplicate` or `rejected`.
        revision: The record's revision from which on readers see what this command did.
    """

    command_id: str
    outcome: ResultKind
    revision: int = 0
    code: str | None = None
    error: str | None = None
    details: dict[str, Any] | None = None


class EntityResult(ResultBase, kw_only=True):
    """What became of a command to an entity of a simple kind.

    Attributes:
        kind: Which kind of entity it was to.
        version: Of the entity after it, as `ETag` has it.
        document: The entity as it is after the command, absent when it was rejected.
    """

    outcome: Literal["applied", "duplicate", "rejected"]
    kind: str
    version: int = 0
    document: Raw | UnsetType = UNSET
