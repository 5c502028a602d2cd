"""JSON from outside: numbers to the last digit, and faults told in our words at the right place."""

import msgspec
import pytest

from domain.errors import Rejected
from streams.cluster.codec import decode_record, read_command
from streams.cluster.messages import ReportBody
from streams.decoding import decode_body, decoder_of, is_json
from streams.json import encode
from tests.domain.given import T0, create, story
from tests.streams.cluster.given import COMMAND
from web.cluster.bodies import CreateBody

CREATE, REPORT = decoder_of(CreateBody), decoder_of(ReportBody)
LITERALS = [
    "123456789.123456789123456789",
    "1e-400",
    "1E400",
    "1.50",
    "-0.0",
    "0.1e+7",
    "12345678901234567890123",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_a_number_of_a_free_form_member_keeps_every_digit(literal):
    spec = f'{{"x":[{literal},{{"y":{literal}}}]}}'
    body = decode_body(f'{{"name":"a","spec":{spec}}}'.encode(), CREATE)
    assert spec == encode(body.spec).decode()


@pytest.mark.parametrize("literal", LITERALS)
def test_it_keeps_them_on_topics_too(literal):
    body = msgspec.json.encode(
        {**COMMAND, "spec": {"platform": {"type": "gcp"}, "x": msgspec.Raw(literal.encode())}}
    )
    assert literal.encode() == encode(read_command(body, {}).spec["x"])


@pytest.mark.parametrize("literal", ["1e1001", "1e-1001", "1" + "0" * 1000 + ".5", "1e99999999999999999999"])
def test_a_number_that_not_every_store_can_hold_is_refused(literal):
    with pytest.raises(Rejected) as refused:
        decode_body(b'{"name":"a","spec":{"x":%s}}' % literal.encode(), CREATE)
    assert refused.value.details["field"].startswith("spec")
    assert "1000 characters" in refused.value.text
    assert is_json(b'{"x":%s}' % literal.encode())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the body is empty, and must be a JSON object"),
        (b"  \n", "the body is empty, and must be a JSON object"),
        (b'{"name": "a"', "the body ends before its JSON does"),
        (b'{"name": tru}', "the body is not JSON at byte 9"),
        (b'{"name": "a",}', "the body is not JSON at byte 13"),
        ('{"ü": x}'.encode(), "the body is not JSON at byte 7"),
        (b'{"name": "\xff"}', "the body is not UTF-8 at byte 10"),
        (b'{"name": "a", "spec": {"x": "\xc3"}}', "the body is not UTF-8 at byte 29"),
        (b'{"name": "\\ud800"}', "the body has half a surrogate pair at byte 10"),
        (b'{"name": "\\\\\\ud83d\\ude00 \\udc00"}', "the body has half a surrogate pair at byte 25"),
        (b'{"name": NaN}', "the body is not JSON"),
        (b"\xef\xbb\xbf{}", "the body is not JSON at byte 0"),
    ],
    ids=repr,
)
def test_what_is_no_json_is_told_in_our_words_at_its_place(data, text):
    with pytest.raises(Rejected) as refused:
        decode_body(data, CREATE)
    assert text == refused.value.text
    assert {"field": "body"} == dict(refused.value.details)
    assert not is_json(data)


@pytest.mark.parametrize(
    ("data", "decoder", "text", "field"),
    [
        (b"[]", CREATE, "the body must be an object, not an array", "body"),
        (b'{"name": 5}', CREATE, "name must be a string, not an integer", "name"),
        (b'{"spec": "x"}', CREATE, "spec must be an object, not a string", "spec"),
        (b"{}", REPORT, "controller_name is required", "controller_name"),
        (b'{"controller_name": null}', REPORT, "controller_name is required", "controller_name"),
        (
            b'{"controller_name": ""}',
            REPORT,
            "controller_name must not be empty",
            "controller_name",
        ),
        (
            b'{"controller_name": "a", "observed_generation": 0}',
            REPORT,
            "observed_generation must be 1 or more",
            "observed_generation",
        ),
        (
            b'{"controller_name":"a","observed_generation":1,"conditions":[{"type":"A","status":"y"}]}',
            REPORT,
            "conditions[0].status is not one of the values it may have",
            "conditions[0].status",
        ),
    ],
    ids=lambda value: value.decode()[:40] if isinstance(value, bytes) else "",
)
def test_what_is_json_of_another_form_is_told_in_our_words(data, decoder, text, field):
    with pytest.raises(Rejected) as refused:
        decode_body(data, decoder)
    assert (text, field) == (refused.value.text, refused.value.details["field"])


def test_a_stored_state_keeps_the_digits():
    stored = encode(story((create(), T0)))
    changed = stored.replace(b'"spec":{', b'"spec":{"x":1.10,', 1)
    assert changed == encode(decode_record(changed))
