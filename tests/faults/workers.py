"""Starts workers as processes of a stage."""

import asyncio

from bench.stage import RoleProcess, Stage, wait_ready


async def started(stage: Stage) -> RoleProcess:
    """A worker that is ready."""
    worker = await asyncio.to_thread(stage.start, "worker")
    await asyncio.to_thread(wait_ready, worker)
    return worker
