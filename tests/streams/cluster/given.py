"""A command as JSON, with every member that a command may have."""

from tests.domain.given import uuid

COMMAND = {
    "command_id": uuid(1),
    "type": "cluster.update",
    "cluster_id": uuid(2),
    "user_email": "a@example.com",
    "issued_at": "2030-01-01T00:00:00Z",
    "name": "one",
    "spec": {"platform": {"type": "gcp"}},
    "target_project_id": "p",
    "force": True,
    "expected_generation": 1,
    "expected_resource_version": "v",
}
