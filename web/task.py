"""The REST API of tasks, beside the one over gRPC (resources contract, section 3)."""

from typing import Final, get_args

from domain.policy import Policy
from domain.task import Create, Status, Task, check
from streams.task import task_flow
from web.collection import Collection
from web.entities import Filtered

TASKS: Final = Collection(
    task_flow(Policy()),
    "/api/v1/tasks",
    tag="Tasks",
    document=Task,
    check=lambda create, policy: check(create),
    filters=(Filtered(name="status", values=lambda policy: get_args(Status)),),
    fresh=True,
)

_EXAMPLE: Final = {"resource_id": "r-1", "action": "resize", "metadata": {"size": "large"}}

_QUEUED: Final = "Ask for work on a resource; answered once it is queued."
_MUST: Final = "With `TASK_REQUIRE_RESOURCE` the resource must exist."

ROUTES: Final = (
    TASKS.list(),
    TASKS.post(Create, example=_EXAMPLE, refusals=("RESOURCE_NOT_FOUND",), about=f"{_QUEUED} {_MUST}"),
    TASKS.get(),
)
