"""What a cluster may be named and what its spec may hold (contract, sections 1.1 and 1.2).

A spec is free-form: known members are type-checked where they are present, all others are kept as sent.
The same functions serve the web edge and the agent, so REST and Kafka clients meet the same rules.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from domain.errors import Rejected, invalid, short
from domain.policy import Policy

MAX_NAME: Final = 63
MAX_PROJECT_ID: Final = 255
MAX_DEPTH: Final = 64  # JSON encoders and PostgreSQL bound their recursion; no real spec comes near
CHANNEL_GROUPS: Final = ("stable", "fast", "candidate", "eus")

_NAME = re.compile(r"[a-z0-9-]+")
_INFRA_ID = re.compile(r"[a-z][-a-z0-9]*")
_INFRA_ID_MAX: Final = 15

_WORKLOAD = "platform.gcp.workloadIdentity"
_ACCOUNTS = ("nodePool", "controlPlane", "cloudController", "storage", "imageRegistry", "network")
_TYPES: Final[Mapping[str, type]] = {
    "infraID": str,
    "issuerURL": str,
    "platform": dict,
    "platform.type": str,
    "platform.gcp": dict,
    **{f"platform.gcp.{m}": str for m in ("projectID", "region", "zone", "network", "subnet")},
    "platform.gcp.endpointAccess": str,
    _WORKLOAD: dict,
    **{f"{_WORKLOAD}.{m}": str for m in ("projectNumber", "poolID", "providerID")},
    f"{_WORKLOAD}.serviceAccountsRef": dict,
    **{f"{_WORKLOAD}.serviceAccountsRef.{m}Email": str for m in _ACCOUNTS},
    "platform.aws": dict,
    **{f"platform.aws.{m}": str for m in ("region", "vpcId", "accountID")},
    **{f"platform.aws.{m}": list for m in ("availabilityZones", "subnetIds")},
    "platform.azure": dict,
    **{f"platform.azure.{m}": str for m in ("region", "resourceGroup", "vnetName", "subnetName")},
    "platform.azure.subscriptionID": str,
    "release": dict,
    **{f"release.{m}": str for m in ("image", "version", "channelGroup")},
    "networking": dict,
    **{f"networking.{m}": list for m in ("clusterNetwork", "serviceNetwork")},
    **{f"networking.{m}": str for m in ("podCIDR", "serviceCIDR")},
    "dns": dict,
    **{f"dns.{m}": str for m in ("baseDomain", "publicZone", "privateZone")},
}
_ITEMS: Final[Mapping[str, type]] = {
    "platform.aws.availabilityZones": str,
    "platform.aws.subnetIds": str,
    "networking.clusterNetwork": dict,
    "networking.serviceNetwork": str,
}
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


def check_name(name: str) -> None:
    """Raises: Rejected: the name is empty, too long or has other than `a-z`, `0-9` and `-`."""
    if not name:
        raise invalid("cluster name is required", field="name", value=name)
    if len(name) > MAX_NAME:
        text = f"cluster name must be {MAX_NAME} characters or less (got {len(name)})"
        raise invalid(text, field="name", value=name)
    if not _NAME.fullmatch(name):
        text = "name must contain only lowercase letters, numbers, and hyphens"
        raise invalid(text, field="name", value=name)


def check_project_id(project_id: str) -> None:
    """Raises: Rejected: longer than its column."""
    if len(project_id) > MAX_PROJECT_ID:
        text = f"target_project_id must be {MAX_PROJECT_ID} characters or less (got {len(project_id)})"
        raise invalid(text, field="target_project_id")


def accept_spec(spec: Mapping[str, Any], policy: Policy) -> Mapping[str, Any]:
    """The spec with defaults applied, once it has passed V2 to V5; the same object where none applied.

    Raises: Rejected: `INVALID_SPEC` for the platform, `VALIDATION_FAILED` for the rest.
    """
    _check_types(spec)
    if spec.get("serviceAccountSigningKey") is not None:
        # A private key must not enter a topic in clear; until it can be encrypted it is turned away.
        text = "serviceAccountSigningKey is not accepted: this version cannot store it encrypted"
        raise invalid(text, field="spec.serviceAccountSigningKey")
    _check_platform(spec, policy)
    return _with_release(spec, policy)


def _check_types(spec: Mapping[str, Any]) -> None:
    for path, kind in _TYPES.items():
        _check_type(_at(spec, path), kind, path)
    for path, kind in _ITEMS.items():
        for index, item in enumerate(_at(spec, path) or ()):
            _check_type(item, kind, f"{path}[{index}]", may_be_null=False)
    for index, network in enumerate(_at(spec, "networking.clusterNetwork") or ()):
        _check_type(network.get("cidr"), str, f"networking.clusterNetwork[{index}].cidr")
        _check_type(network.get("hostPrefix"), int, f"networking.clusterNetwork[{index}].hostPrefix")


def _check_type(value: Any, kind: type, path: str, *, may_be_null: bool = True) -> None:
    if value is None and may_be_null:
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        text = f"spec.{path} must be {_JSON_NAMES[kind]}"
        raise invalid(text, field=f"spec.{path}", value=value)


def _at(spec: Mapping[str, Any], path: str) -> Any:
    """The member at a dotted path; None where it, or an object on the way, is absent."""
    value: Any = spec
    for member in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(member)
    return value


def _check_platform(spec: Mapping[str, Any], policy: Policy) -> None:
    kind = _at(spec, "platform.type") or ""
    allowed = policy.platforms
    if not kind or ("*" not in allowed and kind.lower() not in allowed):
        raise Rejected(
            "INVALID_SPEC",
            "Invalid cluster specification",
            field="spec.platform.type",
            value=short(kind),
            allowed=sorted(allowed),
        )
    infra_id = spec.get("infraID") or ""
    if kind.lower() == "gcp" and infra_id:
        _check_infra_id(infra_id)


def _check_infra_id(infra_id: str) -> None:
    text = f"infrastructure ID '{short(infra_id)}' is invalid: must "
    if len(infra_id) > _INFRA_ID_MAX:
        text += f"be {_INFRA_ID_MAX} characters or less (got {len(infra_id)})"
    elif not _INFRA_ID.fullmatch(infra_id):
        text += (
            "start with a lowercase letter and contain only lowercase letters, digits, or hyphens"
            f" (pattern: ^{_INFRA_ID.pattern}$)"
        )
    else:
        return
    raise invalid(text, field="spec.infraID", value=infra_id)


def _with_release(spec: Mapping[str, Any], policy: Policy) -> Mapping[str, Any]:
    release = spec.get("release") or {}
    version = release.get("version") or policy.default_version
    channel = release.get("channelGroup") or policy.default_channel_group
    if not version and policy.require_release:
        raise invalid("release.version is required", field="spec.release.version")
    if not channel and policy.require_release:
        raise invalid("release.channelGroup is required", field="spec.release.channelGroup")
    if channel and channel not in CHANNEL_GROUPS:
        text = f"invalid channelGroup '{short(channel)}': must be one of {', '.join(CHANNEL_GROUPS)}"
        raise invalid(text, field="spec.release.channelGroup", value=channel)
    filled = {m: v for m, v in (("version", version), ("channelGroup", channel)) if v and v != release.get(m)}
    return {**spec, "release": {**release, **filled}} if filled else spec


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What differs, as dotted path → `{"from": …, "to": …}`: leaves of `spec.*`, arrays compared whole.

    Null stands for absent too.
    """
    old, new = dict(_leaves("spec", before)), dict(_leaves("spec", after))
    return {
        path: {"from": old.get(path), "to": new.get(path)}
        for path in {**old, **new}
        if not _same(old.get(path), new.get(path))
    }


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(f"{path}.{name}", member)
    else:
        yield path, value


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON, where `1`, `1.0` and `true` differ."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def check_json(value: Any, *, field: str) -> None:
    """What JSON allows but a text column or an encoder downstream does not: NUL, and bottomless nesting.

    Raises: Rejected: naming `field`.
    """
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str) and "\0" in item:
            raise invalid(f"{field} must not contain the character U+0000", field=field)
        if isinstance(item, Mapping | list | tuple):
            if depth > MAX_DEPTH:
                raise invalid(f"{field} is nested deeper than {MAX_DEPTH} levels", field=field)
            members = [*item, *item.values()] if isinstance(item, Mapping) else item
            pending.extend((member, depth + 1) for member in members)
