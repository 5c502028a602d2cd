"""The settings of databases: one URL for all, or a group of variables for each that is apart.

A group counts once any variable of it is set; the others then have the defaults of the resources contract. So
none of them may have a default of its own here, or every group would always count.
"""

from typing import Final
from urllib.parse import quote

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from cli.values import DatabaseHost, DatabaseUrl, ServicePort, SslMode
from database.names import DATABASES, DatabaseName

PARTS: Final = ("host", "port", "user", "password", "name", "sslmode")


class DatabaseVariables(BaseSettings):
    """The variables that say where databases are."""

    database_url: DatabaseUrl = SecretStr("")

    rest_db_host: DatabaseHost = ""
    rest_db_port: ServicePort | None = None
    rest_db_user: str = ""
    rest_db_password: SecretStr = SecretStr("")
    rest_db_name: str = ""
    rest_db_sslmode: SslMode | None = None

    grpc_db_host: DatabaseHost = ""
    grpc_db_port: ServicePort | None = None
    grpc_db_user: str = ""
    grpc_db_password: SecretStr = SecretStr("")
    grpc_db_name: str = ""
    grpc_db_sslmode: SslMode | None = None

    worker_db_host: DatabaseHost = ""
    worker_db_port: ServicePort | None = None
    worker_db_user: str = ""
    worker_db_password: SecretStr = SecretStr("")
    worker_db_name: str = ""
    worker_db_sslmode: SslMode | None = None

    def url_of(self, name: DatabaseName) -> str:
        """The URL of a database, with its password; empty if nothing says where it is."""
        given = {part: getattr(self, variable) for part, variable in variables(name).items()}
        if not self.model_fields_set.intersection(variables(name).values()):
            return self.database_url.get_secret_value()
        return url(
            host=given["host"] or "localhost",
            port=given["port"] or 5432,
            user=given["user"] or "postgres",
            password=given["password"].get_secret_value() or "postgres",
            name=given["name"] or f"{name}db",
            sslmode=given["sslmode"] or SslMode.DISABLE,
        )


def urls(of: DatabaseVariables, embedded: str) -> list[str]:
    """The URLs of all databases, each once.

    Args:
        embedded: That of the embedded server, where nothing says where one is.
    """
    return list(dict.fromkeys(of.url_of(name) or embedded for name in DATABASES))


def variables(name: DatabaseName) -> dict[str, str]:
    """The fields of a database's group, by part."""
    return {part: f"{name}_db_{part}" for part in PARTS}


def url(*, host: str, port: int, user: str, password: str, name: str, sslmode: SslMode) -> str:
    """A URL of PostgreSQL, with everything escaped."""
    place = f"[{host}]" if ":" in host else _escaped(host)
    return f"postgresql://{_escaped(user)}:{_escaped(password)}@{place}:{port}/{_escaped(name)}?sslmode={sslmode}"


def _escaped(text: str) -> str:
    return quote(text, safe="")
