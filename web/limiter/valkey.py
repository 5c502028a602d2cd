"""Buckets in Valkey or Redis: one script call decides, by the server's clock (operations contract, 3.4).

A Valkey that is away must neither stop the API nor lift its limits, so this process then grants tokens
itself, beginning with what it knew last.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from prometheus_client import Counter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from domain.rates import Rate, Taken, refilled
from web.limiter.backends import LOCAL, Decision
from web.limiter.levels import Levels, Place
from web.limits import OnError

log = logging.getLogger("clusterflow.limiter")

WITHIN: Final = 0.25
"""Seconds that a call may take."""

ASK_AGAIN_AFTER: Final = 0.5
"""Seconds for which a Valkey that did not answer is not asked again, or every request would wait for it."""

CONNECTIONS: Final = 32

FALLBACKS: Final = Counter(
    "clustergenie_limiter_backend_errors_total", "Decisions made here since Valkey was away", ["endpoint"]
)
LOST: Final = Counter(
    "clusterflow_limiter_lost_buckets_total", "Buckets that Valkey had lost, and that began full", ["limiter"]
)

TAKE: Final = """
local capacity, rate, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'last')
local tokens, last = tonumber(kept[1] or ''), tonumber(kept[2] or '')
local new = 0
if tokens == nil or last == nil then
  tokens, last, new = capacity, now, 1
end
if now > last then
  tokens, last = tokens + (now - last) / 1000 * rate, now
end
tokens = math.min(tokens, capacity)
local allowed = 0
if tokens >= wanted then
  tokens, allowed = tokens - wanted, 1
end
local left = string.format('%.17g', tokens)
redis.call('HSET', KEYS[1], 'tokens', left, 'last', string.format('%.0f', last))
if rate > 0 then
  local ttl = math.max(60000, math.ceil(2000 * capacity / rate))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(ttl, 315360000000)))
else
  redis.call('PERSIST', KEYS[1])
end
return {allowed, left, string.format('%.0f', now), new}
"""
"""Refills a bucket, takes from it, and stores it. What it returns is text where it may have a fraction."""


class Valkey:
    """Buckets in a Valkey or Redis, which all processes share.

    Args:
        url: As `redis://user:password@host:port/number`.
        prefix: Of its keys, before those of the contract.
        levels: What this process knows, which it goes on with while the server is away.
        on_error: What becomes of requests meanwhile.
    """

    name: Final = "redis"

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        levels: Levels,
        on_error: OnError = "local",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=WITHIN,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1),  # a connection that a restart has ended is replaced at once
        )
        self._redis: Redis = Redis(connection_pool=pool)
        self._take = self._redis.register_script(TAKE)
        self._prefix = prefix
        self._levels = levels
        self._on_error = on_error
        self._clock = clock
        self._away_until = 0.0
        self._away = False

    async def take(self, place: Place, rate: Rate, *, request_id: str) -> Decision:
        """Take a token, from the server or, while that is away, as `on_error` says."""
        if self._clock() >= self._away_until:
            try:
                async with asyncio.timeout(WITHIN):
                    return Decision(await self._asked(place, rate), self.name)
            except (RedisError, OSError, TimeoutError) as error:
                self._missed(error)
        FALLBACKS.labels(place.name).inc()
        return Decision(self._alone(place, rate), LOCAL)

    async def look(self, place: Place, rate: Rate) -> tuple[float, str]:
        """The tokens that there are, and who says so."""
        if self._clock() >= self._away_until:
            try:
                async with asyncio.timeout(WITHIN):
                    return await self._kept(place, rate), self.name
            except (RedisError, OSError, TimeoutError) as error:
                self._missed(error)
        known = self._levels.look(place, rate)
        return rate.capacity if known is None else known, LOCAL

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _asked(self, place: Place, rate: Rate) -> Taken:
        said: Any = await self._take(
            keys=[self._key(place)], args=[repr(rate.capacity), repr(rate.refill_rate), 1]
        )
        self._answered()
        allowed, tokens, _, new = said
        if int(new) and self._levels.look(place, rate) not in (None, rate.capacity):
            LOST.labels(place.name).inc()
            log.warning("a bucket was lost and began full", extra={"limiter": place.name})
        return Taken(bool(int(allowed)), float(tokens))

    async def _kept(self, place: Place, rate: Rate) -> float:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._key(place), ["tokens", "last"])
            pipeline.time()
            (tokens, last), (seconds, micros) = await pipeline.execute()
        self._answered()
        if tokens is None or last is None:
            return rate.capacity
        return refilled(float(tokens), seconds + micros / 1e6 - float(last) / 1000, rate)

    def _key(self, place: Place) -> str:
        return f"{self._prefix}limiter:{place.name}:{place.scope}"

    def _alone(self, place: Place, rate: Rate) -> Taken:
        match self._on_error:
            case "local":
                return self._levels.take(place, rate)
            case "deny":
                return Taken(False, 0.0)
            case "allow":
                return Taken(True, rate.capacity)

    def _missed(self, error: Exception) -> None:
        self._away_until = self._clock() + ASK_AGAIN_AFTER
        if not self._away:  # once for each time that it is away
            log.warning("Valkey is away: limits are kept here", extra={"error": type(error).__name__})
        self._away = True

    def _answered(self) -> None:
        if self._away:
            log.info("Valkey is there again: limits are shared")
        self._away = False
