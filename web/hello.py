"""The greeting by which clients of operators see that somebody is there (operations contract, section 2)."""

from typing import Final

from aiohttp import web
from msgspec import Struct

from streams.decoding import decoder_of
from streams.json import encode
from web.described.operations import Answer, Operation, Route
from web.http.bodies import body_of
from web.http.errors import json_response
from web.shapes import Message


class Hello(Struct, kw_only=True):
    """Who says hello."""

    name: str = ""


_decoder = decoder_of(Hello)


async def hello(request: web.Request) -> web.Response:
    """Greet a client."""
    body = (await body_of(request, _decoder)).meaning()
    return json_response(encode(Message(message=f"Hello, {body.name} from ClusterGenie!")))


ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/hello",
        hello,
        Operation(
            tag="Service",
            body=Hello,
            example={"name": "you"},
            answers=(Answer(status=200, about="A greeting", body=Message),),
            public=True,
        ),
    ),
)
