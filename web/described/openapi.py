"""OpenAPI 3.1 of REST, made from the route table and the types that the code decodes and encodes with."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from domain.policy import Policy
from streams.cluster.spec_schema import spec_schema
from streams.described.schemas.derive import described
from web.described.operations import (
    EVENT_STREAM,
    EVERY_ANSWER,
    HEADERS,
    JSON,
    OF_STATUS,
    RATE_LIMIT,
    REQUEST_ID,
    Answer,
    Operation,
    Route,
)
from web.http.errors import STATUS, ErrorBody, KindErrorBody, slug

Document = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_PATTERN_IN_PATH: Final = re.compile(r"\{(\w+):[^}]*\}")
_ABOUT: Final = """\
A write is answered once it is decided and readable here; what it led to is also told on Kafka, see
[the topics](/docs/topics).

- **Identity** comes in `X-User-Email`, which a trusted gateway sets. Owners see their own clusters, addresses
  of `{domain}` see all. This header, like every other that decides something, is sent once.
- **Host** names this service, and is a 421 otherwise. **Pages of other origins** may call where
  `CORS_ALLOWED_ORIGINS` names them; their writes are refused otherwise.
- **Errors** have one shape on every route. After a 503 try again after `Retry-After`; a write with an
  `Idempotency-Key` safely. A write is a 503, too, while the partition of its cluster or name has no leader in
  Kafka: its text says whether nothing was written or the outcome is unknown. Others go on meanwhile.
- **HEAD** is answered as GET without the body, **OPTIONS** on any path with 204. A trailing slash makes no
  difference. Unknown members of a body are ignored, those of a spec kept.
"""


def document(routes: Iterable[Route], *, policy: Policy, version: str) -> Document:
    """The OpenAPI document of these routes under a policy."""
    routes = tuple(routes)
    paths: Document = {}
    for route in routes:
        path = paths.setdefault(_PATTERN_IN_PATH.sub(r"{\1}", route.path), {})
        path[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clusterflow",
            "version": version,
            "summary": "A control plane for fleets of clusters",
            "description": _ABOUT.format(domain=policy.privileged_domain),
        },
        "tags": [{"name": name} for name in dict.fromkeys(route.operation.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes, policy),
            "headers": {name: _header(name) for name in HEADERS},
            "parameters": _parameters(routes),
            "securitySchemes": {
                "identity": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-User-Email",
                    "description": "The caller's address, as a trusted gateway has proven it",
                }
            },
        },
    }


def _operation(route: Route) -> Document:
    operation = route.operation
    summary, _, description = route.description.partition("\n\n")
    parameters = (*operation.parameters, REQUEST_ID)
    said: Document = {
        "operationId": route.operation_id,
        "tags": [operation.tag],
        "summary": " ".join(summary.split()).removesuffix(".").replace("`", ""),
        "description": description,
        "security": [] if operation.public else [{"identity": []}],
        "parameters": [{"$ref": f"#/components/parameters/{p.key}"} for p in parameters],
        "responses": _responses(operation, writes=route.method != "GET"),
    }
    if operation.body is not None:
        content = {"schema": _ref(operation.body), "example": operation.example}
        said["requestBody"] = {"required": True, "content": {JSON: content}}
    return {name: value for name, value in said.items() if value != ""}


def _responses(operation: Operation, *, writes: bool) -> Document:
    responses = {str(answer.status): _answer(answer) for answer in operation.answers}
    by_status: dict[int, list[str]] = {}
    for code in _refusals(operation, writes=writes):
        by_status.setdefault(STATUS[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _error(status, codes, slugs=operation.slugs)
    return responses


def _refusals(operation: Operation, *, writes: bool) -> Iterable[str]:
    """The codes of its own, and those it shares with all routes of its kind."""
    shared = ["VALIDATION_FAILED", "METHOD_NOT_ALLOWED", "MISDIRECTED_REQUEST", "INTERNAL_ERROR"]
    if writes:
        shared += ["FORBIDDEN"]
    if not operation.public:
        shared += ["AUTH_REQUIRED", "INVALID_EMAIL", "UNAVAILABLE"]
    if operation.slugs:
        shared += ["INVALID_BODY"] if operation.body is not None else []
        shared += ["UNAVAILABLE", *(("UNCONFIRMED",) if writes else ())]
    if any(parameter.name == "id" for parameter in operation.parameters):
        shared += ["RESOURCE_NOT_FOUND"]
    if operation.body is not None:
        shared += ["REQUEST_TIMEOUT", "PAYLOAD_TOO_LARGE"]
    return dict.fromkeys((*operation.refusals, *shared))


def _answer(answer: Answer) -> Document:
    content: Document = (
        {answer.media: {"schema": _body(answer)} if answer.body else {}} if answer.media else {}
    )
    if answer.stream:
        content[EVENT_STREAM] = {"schema": {"type": "string", "description": "With `watch=true`"}}
    headers = (*EVERY_ANSWER, *(() if answer.stream else answer.headers))
    said = _headers(headers)
    if answer.stream:  # the feed has this status too, but not the other headers
        said |= {name: {**_header(name), "required": False} for name in answer.headers}
    described = {"description": answer.about, "headers": said}
    return {**described, "content": content} if content else described


def _body(answer: Answer) -> Document:
    assert answer.body is not None
    return {"type": "array", "items": _ref(answer.body)} if answer.many else _ref(answer.body)


def _error(status: int, codes: list[str], *, slugs: bool) -> Document:
    said = _headers((*EVERY_ANSWER, *OF_STATUS.get(status, ())))
    if "RATE_LIMITED" in codes:  # one that is refused before is told of no limit, nor where none comes back
        said |= {name: {**_header(name), "required": False} for name in (*RATE_LIMIT, "Retry-After")}
    if slugs:
        codes = [slug(code) for code in codes]
    schema = {
        "allOf": [_ref(KindErrorBody if slugs else ErrorBody), {"properties": {"code": {"enum": codes}}}]
    }
    return {
        "description": " or ".join(f"`{code}`" for code in codes),
        "headers": said,
        "content": {JSON: {"schema": schema}},
    }


def _headers(names: Iterable[str]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header(name: str) -> Document:
    header = HEADERS[name]
    return {"description": header.about, "required": header.required, "schema": header.schema}


def _parameters(routes: Iterable[Route]) -> Document:
    used = {p.key: p for route in routes for p in route.operation.parameters} | {REQUEST_ID.key: REQUEST_ID}
    return {
        p.key: {
            "name": p.name,
            "in": p.where,
            "required": p.where == "path",
            "description": p.about,
            "schema": p.schema,
        }
        for p in used.values()
    }


def _schemas(routes: Iterable[Route], policy: Policy) -> Document:
    bodies = {route.operation.body: "SpecInput" for route in routes if route.operation.body}
    answered = {a.body: "Spec" for route in routes for a in route.operation.answers if a.body}
    slugs = any(route.operation.slugs for route in routes)
    errors: dict[Any, str] = {ErrorBody: "Spec", **({KindErrorBody: "Spec"} if slugs else {})}
    components: Document = {}
    for types, spec in ((bodies, "SpecInput"), ({**answered, **errors}, "Spec")):
        _, found = described(tuple(types), ref=_REF)
        for schema in found.values():
            if "spec" in schema["properties"]:
                schema["properties"]["spec"] = {"$ref": _REF.format(name=spec)}
        components |= found
    return {**components, "Spec": _spec(), "SpecInput": _spec_input(policy)}


def _spec() -> Document:
    text = "What is desired: a free-form object, of which these members are known. Others are kept as sent."
    return {"title": "Spec", "description": text, **spec_schema()}


def _spec_input(policy: Policy) -> Document:
    """What a caller's spec has to fulfil beside the types of its members: a platform that is accepted."""
    any_case = (
        "".join(f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in name)
        for name in sorted(policy.platforms)
    )
    kind: Mapping[str, Any] = {"type": "string", "minLength": 1}
    if "*" not in policy.platforms:
        kind = {"type": "string", "pattern": f"^({'|'.join(any_case)})$"}
    platform = {"type": "object", "required": ["type"], "properties": {"type": kind}}
    return {
        "title": "SpecInput",
        "description": (
            "A spec as it is sent. `infraID` of platform gcp: up to 15 of a-z, 0-9 and `-`, a letter first."
            " At most 512 KiB of JSON."
        ),
        "allOf": [
            {"$ref": _REF.format(name="Spec")},
            {"type": "object", "required": ["platform"], "properties": {"platform": platform}},
        ],
    }


def _ref(type_: type) -> Document:
    return {"$ref": _REF.format(name=type_.__name__)}
