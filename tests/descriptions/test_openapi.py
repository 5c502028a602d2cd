"""REST is what `/openapi.json` says, and all of it."""

import asyncio
import json
import re

import msgspec
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from domain.policy import Policy
from streams.settings import KafkaSettings
from tests.descriptions.fuzz import fuzz
from tests.web.answers import check
from web.described import openapi
from web.http.errors import STATUS, slug
from web.keys import SETTINGS
from web.routes import ROUTES, add_routes
from web.settings import WebSettings

CASES, SEED = 1500, 20261122
ONE = "/api/v1/clusters/{id}"
START = ("GET", "/")  # the one path that is its own trailing slash
PAGES = ["/", "/docs", "/docs/topics"]

# Hypothesis takes the threads of a running worker, which use `random`, for strategies that do.
fuzzing = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


def described(policy=None):
    return openapi.document(ROUTES, policy=policy or Policy(), version="1.2.3")


def operations(document):
    return {(method.upper(), path) for path, item in document["paths"].items() for method in item}


def fits(document, name, value):
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("platforms", [{"gcp", "aws"}, {"*"}, {"a.b+c"}], ids=["some", "any", "odd ones"])
def test_it_is_openapi_whatever_the_settings(platforms):
    validate(described(Policy(platforms=frozenset(platforms))))


def test_routes_and_descriptions_agree_both_ways():
    app = web.Application()
    app[SETTINGS] = WebSettings(kafka=KafkaSettings(bootstrap_servers="nowhere:1"))
    add_routes(app)
    routed = {(route.method, route.resource.canonical) for route in app.router.routes()}
    gets = {path for method, path in routed if method == "GET"}
    assert {path for method, path in routed if method == "HEAD"} == gets
    plain = {(method, path) for method, path in routed if not path.endswith("/") and method != "HEAD"}
    strict = {(route.method, plain_path(route)) for route in ROUTES if route.strict}
    assert {(method, path + "/") for method, path in plain - strict} == {
        (method, path) for method, path in routed - {START} if path.endswith("/") and method != "HEAD"
    }
    assert operations(described()) == plain | {START}


def plain_path(route):
    """A path as the router shows it, without the patterns of its parameters."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)


def test_every_error_code_is_told_and_no_other():
    told, of_slug = set(), {slug(code): code for code in STATUS}
    for item in described()["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                for part in schema.get("allOf", []):
                    for code in part.get("properties", {}).get("code", {}).get("enum", []):
                        code = of_slug.get(code, code)
                        assert STATUS[code] == int(status)
                        told.add(code)
    assert set(STATUS) == told


def test_every_operation_says_what_it_is_for():
    for method, path in operations(described()):
        operation = described()["paths"][path][method.lower()]
        assert operation["summary"]
        assert {"X-Request-ID", "X-Response-Time"} <= set(min(operation["responses"].items())[1]["headers"])


@pytest.mark.parametrize(
    ("spec", "fitting"),
    [
        pytest.param({"platform": {"type": "GCP"}, "mine": 1}, True, id="a platform in any case"),
        pytest.param({"platform": {"type": "ibm"}}, False, id="a platform that is not accepted"),
        pytest.param({"platform": {"type": "gcp-2"}}, False, id="a longer name"),
        pytest.param({"platform": {}}, False, id="no type"),
        pytest.param({}, False, id="no platform"),
        pytest.param({"platform": {"type": "gcp"}, "infraID": 5}, False, id="a member of another type"),
        pytest.param({"platform": {"type": "gcp"}, "infraID": None}, True, id="a null for absent"),
        pytest.param(
            {"platform": {"type": "gcp"}, "networking": {"serviceNetwork": [None]}},
            False,
            id="a null in a list",
        ),
        pytest.param(
            {"platform": {"type": "gcp"}, "release": {"channelGroup": "x"}}, False, id="no channel group"
        ),
    ],
)
async def test_a_spec_is_described_as_it_is_checked(api, spec, fitting):
    document = (await api.get("/openapi.json")).json
    assert fitting == fits(document, "SpecInput", spec)
    answer = await api.create("one", spec)
    assert fitting == (answer.status == 201), answer


@pytest.mark.parametrize("route", [r for r in ROUTES if r.operation.body], ids=lambda r: r.operation_id)
def test_examples_are_good_ones(route):
    example = route.operation.example
    msgspec.convert(example, route.operation.body)
    assert fits(described(), route.operation.body.__name__, example)


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
async def test_documents_need_no_identity(api, path):
    for email in (None, "nonsense"):
        check(await api.as_(email).get(path), 200)


@pytest.mark.parametrize("path", PAGES)
async def test_pages_bring_everything_they_need(api, path):
    answer = await api.as_(None).get(path)
    assert (200, "text/html; charset=utf-8") == (answer.status, answer.headers["Content-Type"])
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b"://" not in answer.body.replace(b"https://json-schema.org", b"")
    references = set(re.findall(r'(?:src|href)="([^"#]+)"', answer.body.decode()))
    assert {"/docs/clusterflow.css"} < references
    for reference in references:
        assert 200 == (await api.as_(None).get(reference)).status, reference


async def test_the_first_page_leads_to_all_that_describes_the_service(api):
    answer = await api.as_(None).get("/")
    assert (200, "no-cache") == (answer.status, answer.headers["Cache-Control"])
    assert "<title>Clusterflow</title>" in answer.body.decode()
    links = set(re.findall(r'<a href="([^"]+)"', answer.body.decode()))
    assert {"/docs", "/docs/topics", "/openapi.json", "/asyncapi.json", "/health"} <= links


async def test_the_page_of_topics_shows_every_topic(api, product):
    page = (await api.get("/docs/topics")).body.decode()
    for spec in product.kafka.topics.all():
        assert f'id="{spec.name}"' in page


@pytest.mark.parametrize("name", ["nothing.js", "..%2frest.html", "%252e%252e", "swagger-ui.css.map"])
async def test_no_other_file_is_served(api, name):
    assert 404 == (await api.get(f"/docs/{name}")).status


@pytest.mark.parametrize("path", ["/api/v1/clusters", "/health", "/api/v1/info", "/openapi.json", "/docs"])
async def test_head_is_get_without_the_body(api, path):
    head, get = await api.request("HEAD", path), await api.get(path)
    assert (200, b"") == (head.status, head.body)
    for header in ("Content-Type", "Content-Length"):
        assert get.headers[header] == head.headers[header]


async def test_head_of_a_watch_ends(api):
    async with asyncio.timeout(10):
        assert 200 == (await api.request("HEAD", "/api/v1/clusters?watch=true")).status


@fuzzing
async def test_the_server_keeps_its_word(api):
    findings = await asyncio.to_thread(fuzz, api.url, cases=CASES, seed_=SEED)
    print(f"{findings.total} cases, seed {SEED}: {dict(findings.statuses)}")
    assert [] == findings.violations
    assert findings.total >= CASES
    assert {200, 201, 202, 400, 401, 403, 404} <= set(findings.statuses)


def _a_missing_status(document):
    del document["paths"][ONE]["get"]["responses"]["404"]


def _another_member(document):
    document["components"]["schemas"]["ErrorBody"]["required"].append("hint")


def _another_header(document):
    document["components"]["headers"]["X-Response-Time"]["schema"] = {"type": "integer"}


def _a_laxer_server(document):
    document["components"]["schemas"]["ReportBody"]["required"].append("metadata")


@fuzzing
@pytest.mark.parametrize("lie", [_a_missing_status, _another_member, _another_header, _a_laxer_server])
async def test_a_document_that_lies_is_found_out(api, lie):
    document = (await api.get("/openapi.json")).json
    kept = {ONE: "get", f"{ONE}/status": "put"}
    document["paths"] = {path: {verb: document["paths"][path][verb]} for path, verb in kept.items()}
    lie(document)
    findings = await asyncio.to_thread(fuzz, api.url, cases=100, seed_=SEED, document=document)
    assert findings.violations


async def test_a_watch_brings_the_clusters_it_is_said_to_bring(api):
    document, created = (await api.get("/openapi.json")).json, await api.created("watched")
    url, headers = f"{api.url}/api/v1/clusters?watch=true", {"X-User-Email": api.email}
    async with asyncio.timeout(20), api.session.get(url, headers=headers) as answer:
        assert (
            answer.content_type in document["paths"]["/api/v1/clusters"]["get"]["responses"]["200"]["content"]
        )
        while not (line := (await answer.content.readline()).decode()).startswith("data: "):
            assert line, "the watch ended"
    shown = json.loads(line.removeprefix("data: "))
    assert created["id"] == shown["id"]
    assert fits(document, "Cluster", shown)
