"""The page of Kafka topics, made from the AsyncAPI document alone."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from html import escape
from typing import Any, Final

from msgspec.json import encode, format

Document = Mapping[str, Any]

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Clusterflow topics</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/clusterflow.css">
</head>
<body>
<nav><strong>Clusterflow</strong> <a href="/docs">REST</a> <a href="/docs/topics" class="here">Topics</a>
<a href="/openapi.json">openapi.json</a> <a href="/asyncapi.json">asyncapi.json</a></nav>
<main>
<h1>Topics <small>{version}</small></h1>
<p>{about}</p>
<ul class="contents">{contents}</ul>
{topics}
</main>
</body>
</html>
"""

_TOPIC: Final = """\
<section id="{name}">
<h2>{name}</h2>
<p>{about}</p>
<dl>
<dt>Key</dt><dd>{key}</dd>
<dt>Partitions</dt><dd>{partitions}, {retention}</dd>
<dt>From</dt><dd>{senders}</dd>
<dt>To</dt><dd>{receivers}</dd>
</dl>
{schemas}
</section>
"""


def rendered(document: Document) -> str:
    """The page of an AsyncAPI document."""
    channels: Document = document["channels"]
    return _PAGE.format(
        version=escape(document["info"]["version"]),
        about=_prose(document["info"]["description"]),
        contents="".join(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in channels),
        topics="\n".join(_topic(name, document) for name in channels),
    )


def _topic(name: str, document: Document) -> str:
    channel = document["channels"][name]
    messages = [document["components"]["messages"][message] for message in channel["messages"]]
    binding = channel["bindings"]["kafka"]
    return _TOPIC.format(
        name=escape(name),
        about=_prose(channel["description"]),
        key=_prose(messages[0]["bindings"]["kafka"]["key"]["description"]),
        partitions=binding["partitions"],
        retention=escape(_retention(binding["topicConfiguration"])),
        senders=escape(_parts(name, "send", document)),
        receivers=escape(_parts(name, "receive", document)),
        schemas="".join(s for m in messages for s in _schemas(m, document["components"]["schemas"])),
    )


def _prose(text: str) -> str:
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


def _retention(configuration: Document) -> str:
    if "retention.ms" not in configuration:
        return "compacted: the last record of a key stays"
    hours = timedelta(milliseconds=configuration["retention.ms"]) // timedelta(hours=1)
    days, rest = divmod(hours, 24)
    return f"kept for {hours} hours" if rest else f"kept for {days} days"


def _parts(topic: str, action: str, document: Document) -> str:
    """Who sends to a topic or receives from it, in the names of the operations."""
    ends = f".{action}.{topic}"
    parts = [name.removesuffix(ends) for name in document["operations"] if name.endswith(ends)]
    return ", ".join(parts) or "–"


def _schemas(message: Document, schemas: Document) -> Iterable[str]:
    for part in ("headers", "payload"):
        if part in message:
            name = message[part]["$ref"].rpartition("/")[2]
            yield _schema(f"{part.capitalize()}: {name}", schemas[name])
            for used in _used(schemas[name], schemas, {name}):
                yield _schema(used, schemas[used])


def _schema(title: str, schema: Document) -> str:
    text = format(encode(schema), indent=2).decode()
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>\n"


def _used(schema: Any, schemas: Document, seen: set[str]) -> Iterable[str]:
    """The components that a schema refers to, each once."""
    members = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    if isinstance(schema, Mapping) and "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            seen.add(name)
            yield name
            yield from _used(schemas[name], schemas, seen)
    for member in members:
        yield from _used(member, schemas, seen)
