"""OpenAPI and AsyncAPI as they were last agreed on, byte for byte.

`python -m tests.descriptions.golden` writes them again. Whatever that changes is a change of the API, so it
shows in the diff of a commit, and a move of code that should change nothing fails a test if it does.
"""

from pathlib import Path
from typing import Final

from domain.policy import Policy
from streams.described import asyncapi
from streams.described.schemas.catalogue import rendered
from streams.settings import KafkaSettings
from web.described import openapi
from web.routes import ROUTES

HERE: Final = Path(__file__).parent
VERSION: Final = "0"


def documents():
    """Each file's name, and what it has to hold."""
    found = {
        "openapi.json": openapi.document(ROUTES, policy=Policy(), version=VERSION),
        "asyncapi.json": asyncapi.document(KafkaSettings(bootstrap_servers="kafka:9092"), version=VERSION),
    }
    return {name: rendered(document) for name, document in found.items()}
