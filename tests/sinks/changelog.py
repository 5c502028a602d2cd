"""A changelog whose writers a test chooses, so that one that was replaced can write on."""

from streams.claims import claim_output, under
from streams.json import encode
from tests.sinks.conftest import World


class Changelog:
    """One partition of `cluster-state`, written by workers that take over from each other."""

    def __init__(self, world: World):
        self.world, self.claims = world, []

    async def claim(self):
        output = claim_output(self.world.topics.state, 0, f"worker/{len(self.claims)}")
        self.claims.append(await self._send(output.key, output.value, {}))

    async def write(self, record, *, by: int = -1):
        headers = under(self.claims[by])
        await self._send(record.cluster.id.encode(), encode(record), headers)

    async def _send(self, key, value, headers):
        sent = [(name, text.encode()) for name, text in headers.items()]
        topic = self.world.topics.state
        stored = await self.world._producer.send_and_wait(topic, value, key=key, partition=0, headers=sent)
        return stored.offset
