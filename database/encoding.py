"""Refuses a database that cannot hold every text: names, specs and reports are Unicode."""

from typing import Any, Final

from domain.errors import PermanentError

ENCODING: Final = "UTF8"


class WrongEncoding(PermanentError):
    """The database is not in UTF-8, which is fixed when a database is created."""


def check_encoding(connection: Any) -> None:
    """Look at the encoding that the server named when this asyncpg connection was opened; costs nothing.

    Raises: WrongEncoding: with what to do.
    """
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        raise WrongEncoding(
            f"the database has encoding {encoding}, so rows of clusters with other letters would be missing:"
            f" create one with CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0, name it in"
            " DATABASE_URL, run `clusterflow migrate`, and let a sink fill it (docs/recovery.md)"
        )
