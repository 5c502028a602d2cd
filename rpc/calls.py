"""What every call of a service goes through: its trace, its status, its metrics and its line in the log."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import grpc
from grpc import StatusCode
from grpc.aio import AbortError, ServicerContext
from prometheus_client import Counter, Histogram

from rpc.errors import INTERNAL, status_of
from serving.ids import request_id
from streams.trace import TRACEPARENT, TRACESTATE, trace_id, trace_of
from telemetry import logs

log = logging.getLogger("clusterflow.grpc")

REQUEST_ID: Final = "x-request-id"

HANDLED: Final = Counter(
    "grpc_server_handled_total",
    "Calls that have ended",
    ["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
)
SECONDS: Final = Histogram(
    "grpc_server_handling_seconds",
    "What calls have taken",
    ["grpc_type", "grpc_service", "grpc_method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
UNARY: Final = "unary"

Handler = Callable[[Any, "ServicerContext[Any, Any]"], Awaitable[Any]]

origin: ContextVar[dict[str, str]] = ContextVar("origin")
"""Headers that all that follows from the running call carries on (`streams.cause.CARRIED_ON`)."""


class Calls(grpc.aio.ServerInterceptor):
    """Wraps the unary calls of our services; health checks and reflection are let through."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, wrapped; None for a method that nobody has."""
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/", 2)
        if handler is None or handler.unary_unary is None or service.startswith("grpc."):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _Call(handler.unary_unary, service, method).run,  # gRPC would run an object in a thread
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class _Call:
    """One method; its calls end with a status whatever happens in them."""

    def __init__(self, handler: Handler, service: str, method: str) -> None:
        self._handler = handler
        self._name = f"{service}/{method}"
        self._labels = (UNARY, service, method)
        self._seconds = SECONDS.labels(*self._labels)

    async def run(self, request: Any, context: "ServicerContext[Any, Any]") -> Any:
        """Answer a request, or end the call with a status."""
        started, code = time.perf_counter(), StatusCode.CANCELLED  # by the client, or by its deadline
        given = {name: text for name, text in context.invocation_metadata() or () if isinstance(text, str)}
        traced = trace_of(given.get(TRACEPARENT), given.get(TRACESTATE))
        origin.set({"request_id": request_id(given.get(REQUEST_ID, "")), **traced})
        try:
            answer = await self._handler(request, context)
            code = StatusCode.OK
            return answer
        except AbortError:
            code = context.code() or StatusCode.UNKNOWN
            raise
        except Exception as error:
            status = status_of(error)
            if status is INTERNAL:
                log.exception("call failed", extra={"method": self._name})
            code = status.code
            await context.abort(status.code, status.text)
        finally:
            self._told(context, code, time.perf_counter() - started)

    def _told(self, context: "ServicerContext[Any, Any]", code: StatusCode, seconds: float) -> None:
        HANDLED.labels(*self._labels, code.name).inc()
        self._seconds.observe(seconds)
        if log.isEnabledFor(logging.INFO):
            about = origin.get()
            line = {
                "method": self._name,
                "code": code.name,
                "duration_ms": round(seconds * 1000, 3),
                "peer": context.peer(),
                "request_id": about["request_id"],
                "trace_id": trace_id(about),
            }
            logs.write_line(log, "call", line)
