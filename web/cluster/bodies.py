"""The bodies of writes, as the types they are decoded with."""

from typing import ClassVar

from msgspec import Struct

from streams.cluster.messages import Name, ProjectId, Spec


class CreateBody(Struct, kw_only=True):
    """The body of POST /api/v1/clusters."""

    must_have: ClassVar = ("name", "spec")  # told by the domain, in its own words, when they are missing

    name: Name | None = ""
    spec: Spec | None = None
    target_project_id: ProjectId | None = ""


class UpdateBody(Struct, kw_only=True):
    """The body of PUT /api/v1/clusters/{id}.

    Attributes:
        resource_version: What the write builds on, as in `If-Match`; else 409.
    """

    must_have: ClassVar = ("spec",)

    spec: Spec | None = None
    resource_version: str | None = None
