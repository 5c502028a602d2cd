"""The shapes of answers: documents as they are, or wrapped."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from web.shapes import Bare, Shape, Wrapped


class Lamp(Struct):
    """A lamp."""

    id: str


A, B = b'{"id":"a"}', b'{"id":"b"}'


def joined(pieces: Sequence[bytes]) -> Any:
    return json.loads(b"".join(pieces))


@pytest.mark.parametrize("documents", [[], [A], [A, B]])
def test_a_page_is_an_array_or_an_array_in_an_object(documents):
    listed = [json.loads(each) for each in documents]
    assert listed == joined(Bare().many(documents))
    assert {"lamps": listed} == joined(Wrapped("lamp").many(documents))


def test_one_is_its_document_or_stands_beside_what_was_done():
    assert {"id": "a"} == joined(Bare().one(A, "created"))
    assert {"lamp": {"id": "a"}, "message": "Lamp created"} == joined(Wrapped("lamp").one(A, "created"))


def test_what_is_gone_is_told_in_a_body_or_not_at_all():
    assert None is Bare().gone()
    assert {"message": "Lamp deleted"} == json.loads(Wrapped("lamp").gone())


@pytest.mark.parametrize("shape", [Bare(), Wrapped("lamp")])
def test_answers_are_as_they_are_described(shape: Shape):
    msgspec.json.decode(b"".join(shape.one(A, "found")), type=shape.one_type(Lamp))
    page = shape.page(Lamp, "A page")
    body: Any = list[page.body] if page.many else page.body  # type: ignore[name-defined]
    msgspec.json.decode(b"".join(shape.many([A, B])), type=body)
    deleted = shape.deleted()
    assert (deleted.body is None) == (shape.gone() is None)


def test_the_type_of_an_answer_is_one_and_the_same():
    shape = Wrapped("lamp")
    assert shape.one_type(Lamp) is shape.one_type(Lamp)
    assert "LampAnswer" == shape.one_type(Lamp).__name__
