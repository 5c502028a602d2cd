"""Does jobs: makes droplets, scales clusters, diagnoses and checks them (operations contract, 4 to 8).

A job may be begun again after its executor has died. So whatever it asks for has ids that follow from the
job's own, and whoever is asked again answers with what was done the first time.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Final

import msgspec

from domain import droplet, members
from domain.checkup import Check, Checkup, Diagnose
from domain.entity import Command
from domain.errors import Rejected
from domain.ids import deterministic_id, entity_id_of
from domain.job import Job, parameters_of, scaling_of, text_of
from executors.commander import AnyFlow, Commander
from executors.executor import Held
from executors.metrics import JOB_SECONDS
from executors.views import Views
from streams.headers import KEYED
from streams.json import encode
from streams.messages import EntityResult
from tables.flat import FlatCluster

REGION: Final = "nyc3"
"""Of a droplet whose job names none."""

SCALED_REGION: Final = "nyc1"
"""Of a droplet that makes a cluster larger which is in no region."""

GONE: Final = "the droplet was deleted meanwhile"

_read_checkup: Final = msgspec.json.Decoder(Checkup).decode


class Jobs:
    """The doer of jobs.

    Args:
        flows: Of the kinds that jobs change, as they are deployed.
    """

    def __init__(self, commander: Commander, flows: Mapping[str, AnyFlow], views: Views) -> None:
        self._commander = commander
        self._flows = flows
        self._views = views

    async def do(self, job: Job, held: Held) -> str:
        """Do a job; return what was done as a JSON text. Raises: Rejected: it can't be done."""
        began, status = monotonic(), "failed"
        try:
            match job.type:
                case "provision":
                    done = await self._provision(job, held)
                case "scale":
                    done = await self._scale(job, held)
                case "diagnose" | "monitor":
                    done = await self._look(job, held)
            status = "completed"
        finally:
            JOB_SECONDS.labels(job.type, status).observe(monotonic() - began)
        return encode(done).decode()

    async def _provision(self, job: Job, held: Held) -> Mapping[str, object]:
        await held.progress(10, "Looking for the cluster")
        await self._cluster(job)
        asked = parameters_of(job)
        create = droplet.Create(
            id=f"droplet-{entity_id_of(job.id, 'droplet')}",
            command_id=deterministic_id(job.id, "provision"),
            name=text_of(asked, "name", f"droplet-{job.id[-8:]}"),
            region=text_of(asked, "region", REGION),
            size=text_of(asked, "size", droplet.SIZE),
            image=text_of(asked, "image", droplet.IMAGE),
            provider=text_of(asked, "provider", ""),
            cluster_id=job.cluster_id,
        )
        droplet.check(create)
        await held.progress(30, "Creating a droplet")
        result = await self._asked("droplet", create, held.origin)
        await held.progress(75, "Waiting until the droplet is active")
        made = await self._views.provisioned(create.id, result.revision)
        if made is None:
            raise Rejected("RESOURCE_CONFLICT", GONE)
        if made.status == "failed":
            raise Rejected("RESOURCE_CONFLICT", made.reason)
        return {"droplet_id": made.id, "ip_address": made.ip_address}

    async def _scale(self, job: Job, held: Held) -> Mapping[str, object]:
        await held.progress(10, "Looking for the cluster")
        cluster = await self._cluster(job)
        wanted = scaling_of(parameters_of(job))
        scale = members.Scale(
            id=job.cluster_id,
            command_id=deterministic_id(job.id, "scale"),
            action=wanted.action,
            count=wanted.count,
            region=cluster.region[: droplet.MAX_TEXT] or SCALED_REGION,
        )
        await held.progress(30, "Scaling the cluster")
        # Remembered for a day: members are told so much that an outcome is soon forgotten otherwise.
        origin = {**held.origin, KEYED: "true"}
        result = await self._asked("members", scale, origin)
        droplets = (result.details or {})["droplets"]
        if wanted.action == "scale_up":
            await held.progress(75, "Waiting until the droplets are active")
            for id in droplets:
                made = await self._views.provisioned(id)
                if made is not None and made.status == "failed":
                    raise Rejected("RESOURCE_CONFLICT", made.reason)
        return {"action": wanted.action, "droplets": droplets}

    async def _look(self, job: Job, held: Held) -> Mapping[str, object]:
        """Diagnose the cluster of a job, or check its health; all clusters if the job has none."""
        if job.cluster_id:
            await held.progress(10, "Looking for the cluster")
            if (checkup := await self._looked(job, job.cluster_id, held)) is None:
                raise Rejected("CLUSTER_NOT_FOUND", members.NOT_FOUND)
            if job.type == "monitor":
                return {"status": checkup.health, "issues": checkup.issues}
            return {"insights": checkup.insights, "recommendations": checkup.recommendations}
        how = Counter[str]()
        async for ids in self._views.clusters():
            try:
                async with asyncio.TaskGroup() as group:
                    found = [group.create_task(self._looked(job, id, held)) for id in ids]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            checkups = filter(None, (task.result() for task in found))
            how.update(_status(job, checkup) for checkup in checkups)
            await held.progress(50, f"Clusters looked at: {how.total()}")
        return {"clusters": how.total(), "statuses": how}

    async def _looked(self, job: Job, cluster_id: str, held: Held) -> Checkup | None:
        """The checkup of a cluster after it was looked at; None if there is none of this id."""
        checks = job.type == "monitor"
        if (facts := await self._views.facts(cluster_id, unchecked=checks)) is None:
            return None
        kind = Check if checks else Diagnose
        command = kind(id=cluster_id, command_id=deterministic_id(job.id, cluster_id), facts=facts)
        result = await self._asked("checkup", command, held.origin)
        return _read_checkup(result.document)  # type: ignore[arg-type]  # what was applied has one

    async def _asked(self, kind: str, command: Command, origin: Mapping[str, str]) -> EntityResult:
        """Have a command decided. Raises: Rejected: it was, or nobody could read it."""
        flow = self._flows[kind]
        flow.read_command(encode(command))  # one that can't be read is parked, and nobody answers it
        return await self._commander.ask(flow, command, origin)

    async def _cluster(self, job: Job) -> FlatCluster:
        """The cluster of a job. Raises: Rejected: there is none."""
        if (found := await self._views.cluster(job.cluster_id)) is None:
            raise Rejected("CLUSTER_NOT_FOUND", members.NOT_FOUND)
        return found


def _status(job: Job, checkup: Checkup) -> str:
    return (checkup.health if job.type == "monitor" else None) or checkup.status
