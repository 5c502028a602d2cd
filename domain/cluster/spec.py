"""The rules for a cluster's name and spec (contract, sections 1.1 and 1.2).

A spec is free-form: the types of known members are checked, and all others are kept as sent. The web edge and
the agent use the same functions, so REST and Kafka clients meet the same rules.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from domain.errors import Rejected, invalid, short
from domain.policy import Policy
from domain.secrets import SECRET_MEMBERS

MAX_NAME: Final = 63
MAX_PROJECT_ID: Final = 255
CHANNEL_GROUPS: Final = ("stable", "fast", "candidate", "eus")

NAME_PATTERN: Final = r"[a-z0-9-]+"

_NAME = re.compile(NAME_PATTERN)
_INFRA_ID = re.compile(r"[a-z][-a-z0-9]*")
_INFRA_ID_MAX: Final = 15


class KnownMember(NamedTuple):
    """The type of a known member, if it is present and not null.

    Attributes:
        python: Its type once decoded from JSON.
        members: Known members of an object; others are free-form.
        items: The type of each item of an array.
    """

    python: type[Any]
    members: "Mapping[str, KnownMember]" = MappingProxyType({})
    items: "KnownMember | None" = None


_STRING: Final = KnownMember(str)
_STRINGS: Final = KnownMember(list, items=_STRING)


def _object(*strings: str, **members: KnownMember) -> KnownMember:
    """An object with these members, where `strings` are the names of text members."""
    return KnownMember(dict, {**dict.fromkeys(strings, _STRING), **members})


_ACCOUNTS: Final = ("nodePool", "controlPlane", "cloudController", "storage", "imageRegistry", "network")
SPEC: Final = _object(
    "infraID",
    "issuerURL",
    *SECRET_MEMBERS,
    platform=_object(
        "type",
        gcp=_object(
            "projectID",
            "region",
            "zone",
            "network",
            "subnet",
            "endpointAccess",
            workloadIdentity=_object(
                "projectNumber",
                "poolID",
                "providerID",
                serviceAccountsRef=_object(*(f"{account}Email" for account in _ACCOUNTS)),
            ),
        ),
        aws=_object("region", "vpcId", "accountID", availabilityZones=_STRINGS, subnetIds=_STRINGS),
        azure=_object("region", "resourceGroup", "vnetName", "subnetName", "subscriptionID"),
    ),
    release=_object("image", "version", "channelGroup"),
    networking=_object(
        "podCIDR",
        "serviceCIDR",
        clusterNetwork=KnownMember(list, items=_object("cidr", hostPrefix=KnownMember(int))),
        serviceNetwork=_STRINGS,
    ),
    dns=_object("baseDomain", "publicZone", "privateZone"),
)
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


def check_name(name: str) -> None:
    """Raises: Rejected: the name is empty, too long or has characters other than `a-z`, `0-9` and `-`."""
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


def accept_spec(
    spec: Mapping[str, Any], policy: Policy, *, before: Mapping[str, Any] = MappingProxyType({})
) -> Mapping[str, Any]:
    """Check a spec by V2 to V5 and apply defaults; return the same object if no default applies.

    Args:
        before: The spec that this one replaces. An unchanged value is never refused: it was accepted under
            other rules or settings, and must not prevent a change of something else.

    Raises: Rejected: `INVALID_SPEC` for the platform, `VALIDATION_FAILED` for the rest.
    """
    for misfit in _misfits(spec, SPEC):
        if not _same(misfit.value, _at(before, misfit.path)):
            raise _not_of_its_type(misfit)
    _check_platform(spec, policy, before)
    return _with_release(spec, policy, before)


class _Misfit(NamedTuple):
    """A value of a wrong type, with its path from the spec."""

    path: tuple[str | int, ...]
    kind: KnownMember
    value: Any


_ABSENT: Final = object()


def _misfits(value: Any, kind: KnownMember, path: tuple[str | int, ...] = ()) -> Iterator[_Misfit]:
    """Yield every nested value whose type differs from this kind, in the order of the spec."""
    if type(value) is not kind.python:
        yield _Misfit(path, kind, value)
        return
    if members := kind.members:
        for name, member in value.items():
            known = members.get(name)
            if known is None or member is None or (known is _STRING and type(member) is str):
                continue
            yield from _misfits(member, known, (*path, name))
    if kind.items is not None:
        for index, item in enumerate(value):
            if kind.items is not _STRING or type(item) is not str:
                yield from _misfits(item, kind.items, (*path, index))


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    """The value at a path; `_ABSENT` if there is none."""
    for step in path:
        if isinstance(step, str):
            value = _member(value, step)
        else:
            value = value[step] if type(value) is list and step < len(value) else _ABSENT
    return value


def _member(value: Any, *names: str) -> Any:
    """The member of an object at a path of names; `_ABSENT` if there is none."""
    for name in names:
        value = value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value


def _not_of_its_type(misfit: _Misfit) -> Rejected:
    path = "spec" + "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in misfit.path)
    shown = None if path.removeprefix("spec.") in SECRET_MEMBERS else misfit.value
    return invalid(f"{path} must be {_JSON_NAMES[misfit.kind.python]}", field=path, value=shown)


def _check_platform(spec: Mapping[str, Any], policy: Policy, before: Mapping[str, Any]) -> None:
    kind = _member(spec, "platform", "type")
    if kind is _ABSENT or type(kind) is not str:  # null, or an unchanged value of another type
        kind = ""
    allowed = policy.platforms
    known = "*" in allowed or kind.lower() in allowed
    if not (kind and known) and (not before or kind != (_member(before, "platform", "type") or "")):
        raise Rejected(
            "INVALID_SPEC",
            "Invalid cluster specification",
            field="spec.platform.type",
            value=short(kind),
            allowed=sorted(allowed),
        )
    infra_id = spec.get("infraID") or ""
    if kind == "GCP" and infra_id and infra_id != before.get("infraID"):
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


def _with_release(spec: Mapping[str, Any], policy: Policy, before: Mapping[str, Any]) -> Mapping[str, Any]:
    release = spec.get("release") or {}
    if not isinstance(release, dict):  # as it was before
        return spec
    old = _member(before, "release")
    version = release.get("version") or policy.default_version
    channel = release.get("channelGroup") or policy.default_channel_group
    if not version and policy.require_release and not _left_empty(old, "version"):
        raise invalid("release.version is required", field="spec.release.version")
    if not channel and policy.require_release and not _left_empty(old, "channelGroup"):
        raise invalid("release.channelGroup is required", field="spec.release.channelGroup")
    if channel and channel not in CHANNEL_GROUPS and channel != _member(old, "channelGroup"):
        text = f"invalid channelGroup '{short(channel)}': must be one of {', '.join(CHANNEL_GROUPS)}"
        raise invalid(text, field="spec.release.channelGroup", value=channel)
    filled = {m: v for m, v in (("version", version), ("channelGroup", channel)) if v and v != release.get(m)}
    return {**spec, "release": {**release, **filled}} if filled else spec


def _left_empty(release: Any, name: str) -> bool:
    """Whether a member was already empty in the release that an update replaces."""
    return isinstance(release, dict) and not release.get(name)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The differences, as dotted path → `{"from": …, "to": …}`: leaves of `spec.*`, arrays compared whole.

    Null also means absent.
    """
    found: dict[str, Any] = {}
    _differences(before, after, "spec", found)
    return found


def _differences(old: Any, new: Any, path: str, found: dict[str, Any]) -> None:
    """Note where two values differ, at least one of which is an object; only differences get a path."""
    olds, old = (old, None) if type(old) is dict else ({}, old)
    news, new = (new, None) if type(new) is dict else ({}, new)
    if old is not new and not _same(old, new):
        found[path] = {"from": old, "to": new}
    for name in olds if olds.keys() == news.keys() else {**olds, **news}:
        a, b = olds.get(name), news.get(name)
        if type(a) is str and a == b:  # the most frequent case
            continue
        if a == b and repr(a) == repr(b):  # faster than leaf by leaf; `1`, `1.0` and `True` differ as text
            continue
        if type(a) is dict or type(b) is dict:
            _differences(a, b, f"{path}.{name}", found)
        elif not _same(a, b):
            found[f"{path}.{name}"] = {"from": a, "to": b}


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON, where `1`, `1.0` and `true` differ."""
    if type(a) is not type(b) or a != b:
        return False
    if isinstance(a, dict):
        return all(_same(member, b[name]) for name, member in a.items())
    return not isinstance(a, list) or all(map(_same, a, b))


def region_of(spec: Mapping[str, Any]) -> str:
    """`region`, or else that of its platform; empty if there is none."""
    platform = spec.get("platform")
    named = platform.get(str(platform.get("type", "")).lower()) if isinstance(platform, Mapping) else None
    of_platform = named.get("region") if isinstance(named, Mapping) else None
    texts = (text.strip() for text in (spec.get("region"), of_platform) if isinstance(text, str))
    return next(filter(None, texts), "")
