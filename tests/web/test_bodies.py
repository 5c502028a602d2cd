"""Bodies of every kind: refused in the one shape, never a 500, never a hang, nothing half done."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.e2e.product import CONTROLLER, SPEC, Client
from tests.web.answers import check, check_error, is_refusal

T = TypeVar("T")

CLUSTERS = "/api/v1/clusters"
MIB = 1024 * 1024
ONE = b'{"name":"one","spec":{"platform":{"type":"gcp"}}}'


async def everywhere(api: Client, body: object, **options: object) -> list:
    """The answers of all three endpoints that take a body; afterwards nothing has changed."""
    cluster = await api.created("target")
    controller = api.as_(CONTROLLER)
    answers = [
        await api.request("POST", CLUSTERS, body, **options),
        await api.request("PUT", cluster["id"], body, **options),
        await controller.request("PUT", f"{cluster['id']}/status", body, **options),
    ]
    assert cluster == (await api.get(cluster["id"])).json
    assert 1 == (await api.list())["total"]
    return answers


NOT_AN_OBJECT = {
    "nothing": b"",
    "blanks": b" \n ",
    "null": b"null",
    "true": b"true",
    "a number": b"5",
    "a string": b'"spec"',
    "an array": b"[]",
    "an array of objects": b"[%b]" % ONE,
    "NaN": b"NaN",
    "Infinity": b'{"name":"one","spec":Infinity}',
    "two objects": ONE + ONE,
    "trailing words": ONE + b" and more",
    "cut off": ONE[:-1],
    "a trailing comma": b'{"name":"one",}',
    "single quotes": b"{'name':'one'}",
    "a comment": b"/* hi */" + ONE,
    "an unfinished string": b'{"name":"o',
    "a raw newline in a string": b'{"name":"o\nne"}',
    "a raw NUL in a string": b'{"name":"o\0ne"}',
    "a bad escape": b'{"name":"\\x41"}',
    "an unfinished escape": b'{"name":"\\u12"}',
    "a lone high surrogate": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":"\\ud83d"}}',
    "a lone low surrogate": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":"\\ude80"}}',
    "a lone surrogate as a member": b'{"name":"one","spec":{"platform":{"type":"gcp"},"\\ud83d":1}}',
    "a raw surrogate": b'{"name":"one","x":"\xed\xa0\xbd"}',
    "bytes that are no UTF-8": b'{"name":"\xff\xfe"}',
    "an overlong encoding": b'{"name":"\xc0\xaf"}',
    "a byte order mark": b"\xef\xbb\xbf" + ONE,
    "UTF-16": ONE.decode().encode("utf-16"),
    "UTF-32": ONE.decode().encode("utf-32"),
    "a number beyond PostgreSQL's": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":1e1001}}',
    "a number of 5,000 digits": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":%b}}' % (b"9" * 5000),
    "a member that is no string": b"{1:2}",
    "leading zeros": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":007}}',
    "hexadecimal": b'{"name":"one","spec":{"platform":{"type":"gcp"},"x":0x1}}',
    "60,000 brackets": b"[" * 60_000,
    "60,000 objects": b'{"spec":' * 60_000,
    "60,000 brackets, closed": b"[" * 60_000 + b"]" * 60_000,
    "a form": b"name=one&spec=",
    "XML": b"<name>one</name>",
    "random bytes": bytes(range(256)),
}


@pytest.mark.parametrize("body", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys())
async def test_what_is_not_one_json_object_is_refused(api, body):
    for answer in await everywhere(api, body):
        check_error(answer, 400, "VALIDATION_FAILED")


async def test_no_body_at_all_is_refused(api):
    for answer in await everywhere(api, None):
        check_error(answer, 400, "VALIDATION_FAILED")


UNSTORABLE = {
    "NUL in a value": {"x": "a\0b"},
    "NUL in a member": {"a\0b": 1},
    "NUL deep inside": {"x": [[{"y": ["\0"]}]]},
    "70 levels": {"x": json.loads("[" * 70 + "]" * 70)},
    "900 levels of objects": {"x": json.loads('{"a":' * 900 + "1" + "}" * 900)},
}


@pytest.mark.parametrize("members", UNSTORABLE.values(), ids=UNSTORABLE.keys())
async def test_json_that_cannot_be_stored_is_refused(api, members):
    body = {
        "name": "one",
        "spec": {**SPEC, **members},
        "controller_name": "dns",
        "observed_generation": 1,
        "metadata": members,
    }
    for answer in await everywhere(api, body):
        check_error(answer, 400, "VALIDATION_FAILED")


@pytest.mark.parametrize("member", ["name", "target_project_id"])
async def test_nul_is_refused_in_every_member(api, member):
    body = {"name": "one", "spec": SPEC, member: "a\0b"}
    check_error(await api.request("POST", CLUSTERS, body), 400, "VALIDATION_FAILED")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"name":"one","name":"two","spec":{"platform":{"type":"gcp"}}}', id="two names"),
        pytest.param(
            b'{"name":"two","spec":{"platform":{"type":"gcp","type":"aws"},"x":1,"x":2}}',
            id="inside the spec",
        ),
    ],
)
async def test_duplicate_members_are_one_or_refused(api, body):
    answer = await api.request("POST", CLUSTERS, body)
    if answer.status == 201:
        assert answer.json == (await api.get(answer["id"])).json
        assert answer.body.count(b'"x"') <= 1
    else:
        check_error(answer, 400, "VALIDATION_FAILED")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "nonsense", ""]
)
async def test_the_content_type_is_not_checked(api, kind):
    check(await api.request("POST", CLUSTERS, ONE, headers={"Content-Type": kind}), 201)


# --- sizes --------------------------------------------------------------------------------------------


async def test_a_body_of_exactly_1_mib_is_read(api):
    check(await api.request("POST", CLUSTERS, ONE + b" " * (MIB - len(ONE))), 201)


@pytest.mark.parametrize("size", [MIB + 1, 8 * MIB], ids=["a byte over 1 MiB", "8 MiB"])
async def test_a_body_over_1_mib_is_refused(api, size):
    for answer in await everywhere(api, ONE + b" " * (size - len(ONE))):
        check_error(answer, 413, "PAYLOAD_TOO_LARGE")


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_a_chunked_body_is_a_body(api, size):
    check(await api.request("POST", CLUSTERS, chunks(ONE, size)), 201)


async def test_a_chunked_body_over_1_mib_is_refused(api):
    answer = await api.request("POST", CLUSTERS, chunks(ONE + b" " * (3 * MIB), 65536))
    check_error(answer, 413, "PAYLOAD_TOO_LARGE")


async def test_a_body_on_requests_that_need_none_does_no_harm(api):
    cluster = await api.created()
    for method, path in (
        ("GET", CLUSTERS),
        ("GET", cluster["id"]),
        ("GET", "/health"),
        ("DELETE", cluster["id"]),
    ):
        answer = await api.request(method, path, b"{broken" * 100)
        assert answer.status in (200, 202), answer


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", ONE, id="gzip that is none"),
        pytest.param("gzip", gzip.compress(ONE)[:-9], id="gzip cut off"),
        pytest.param("deflate", b"\x78\x9c\xff\xff\xff", id="deflate that is none"),
        pytest.param("gzip", gzip.compress(b" " * 64 * MIB), id="a gzip bomb of 64 MiB"),
        pytest.param("deflate", zlib.compress(b" " * 64 * MIB), id="a deflate bomb of 64 MiB"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(api, encoding, body):
    for answer in await everywhere(api, body, headers={"Content-Encoding": encoding}):
        is_refusal(answer)


@pytest.mark.parametrize("encoding", ["br", "zstd", "rot13", "gzip, gzip"])
async def test_an_encoding_nobody_knows_is_refused_or_passed_over(api, encoding):
    answer = await api.request("POST", CLUSTERS, ONE, headers={"Content-Encoding": encoding})
    if answer.status != 201:
        is_refusal(answer)


async def test_a_packed_body_is_a_body(api):
    answer = await api.request("POST", CLUSTERS, gzip.compress(ONE), headers={"Content-Encoding": "gzip"})
    check(answer, 201)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"zz\r\n{}\r\n0\r\n\r\n", id="a chunk size that is none"),
        pytest.param(b"-1\r\n{}\r\n0\r\n\r\n", id="a negative chunk size"),
        pytest.param(b"5\r\n{}xxxxxxxxxx\r\n0\r\n\r\n", id="a chunk longer than it says"),
        pytest.param(b"ffffffffffffffffff\r\n{}", id="a chunk size beyond 64 bits"),
    ],
)
async def test_broken_chunks_are_refused(api, raw_request, body):
    head = (
        b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    is_refusal(await raw_request(api.url, head % api.email.encode() + body))


async def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(api, raw_request):
    head = b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\nContent-Length: 500\r\n\r\n{"
    with pytest.raises(EOFError):  # our side is closed, so there is nobody to answer
        await raw_request(api.url, head % api.email.encode(), end=True)
    assert 0 == (await api.list())["total"]
    assert 200 == (await api.get("/api/v1/info")).status


# --- anything -----------------------------------------------------------------------------------------

_members = (
    *("name", "spec", "platform", "type", "gcp", "release", "version", "networking", "resource_version"),
    *("controller_name", "observed_generation", "conditions", "status", "metadata", "last_error", "message"),
)
_names = st.sampled_from(_members)
_words = st.sampled_from(["gcp", "\0", "True", "2024-01-01T00:00:00Z"])
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | _names, inner, max_size=4),
    max_leaves=8,
)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_stored = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


def examples(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """Drawn at import, so that one async test can send them all."""
    found: list[T] = []

    @settings(max_examples=count, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(value: T) -> None:
        found.append(value)

    draw()
    return found


BODIES = examples(st.dictionaries(_names, _anything, max_size=6), 150)
SPECS = examples(st.dictionaries(_text.map("x{}".format), _stored, max_size=4), 60)


async def test_no_json_at_all_makes_the_server_fail(api):
    cluster = await api.created("target")

    async def send(email: str, method: str, path: str, body: object) -> None:
        data = json.dumps(body).encode()
        answer = await api.as_(email).request(method, path, data)
        assert answer.status < 500, (method, path, data, answer)
        if answer.status >= 400:
            check_error(answer, answer.status, answer["code"])

    for body in BODIES:
        await asyncio.gather(
            send(api.email, "POST", CLUSTERS, body),
            send(api.email, "PUT", cluster["id"], body),
            send(CONTROLLER, "PUT", f"{cluster['id']}/status", body),
        )


async def test_every_json_comes_back_as_sent(api):
    cluster = await api.created()
    for extra in SPECS:
        spec = {**SPEC, **extra}
        updated = await api.update(cluster["id"], spec)
        assert (200, spec) == (updated.status, updated["spec"])
        assert spec == (await api.get(cluster["id"]))["spec"]


async def test_a_body_that_does_not_arrive_in_time_is_told_so(product, raw_request):
    client = await product.web(read_timeout=timedelta(seconds=0.3))
    answer = await raw_request(
        client.url,
        b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: owner@example.com\r\n"
        b'Content-Length: 100\r\n\r\n{"name":',
    )
    check_error(answer, 408, "REQUEST_TIMEOUT")
