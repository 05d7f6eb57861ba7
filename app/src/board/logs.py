"""One JSON object a line on stderr, each with the id of the request it belongs to."""

import json
import logging
import re
import secrets
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from board.problems import problem

log = logging.getLogger(__name__)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

current_trace: ContextVar["Trace | None"] = ContextVar("current_trace", default=None)

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Trace:
    """What a request is part of (https://www.w3.org/TR/trace-context/)."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16: what happens here
    flags: str

    @classmethod
    def continued(cls, traceparents: list[str]) -> "Trace":
        """Continue the trace that a client names, or begin one."""
        span = secrets.token_hex(8)
        match = TRACEPARENT.fullmatch(traceparents[0]) if len(traceparents) == 1 else None
        # Of a version that isn't known yet only what is known is passed on.
        return cls(match[1], span, match[2]) if match else cls(secrets.token_hex(16), span, "00")

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


class JSONFormatter(logging.Formatter):
    """Format a record as one line of JSON, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        if trace := current_trace.get():
            entry |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in entry.items() if value is not None})


def configure_logging(level: str) -> None:
    """Send every logger of this process to stderr as JSON, from `level` up."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The servers bring handlers of their own.
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # nginx writes the access log. Without a handler uvicorn doesn't even format a line.
    logging.getLogger("uvicorn.access").handlers.clear()
    logging.getLogger("uvicorn.access").propagate = False


class RequestContext:
    """ASGI middleware: name the request, count it, and be the last to catch what it raises.

    The id comes from the proxy's X-Request-ID, or is made here; it goes into each log line
    and back to the client. So does the trace that the request is part of (W3C Trace Context):
    a client's `traceparent` is continued, and `traceresponse` says as what. The last catch is here
    and not in an exception handler, because Starlette runs that one outside of all middleware, where
    the id is no longer known.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identifier = given if ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        trace = Trace.continued(headers.getlist("traceparent"))
        added = (
            (b"x-request-id", identifier.encode()),
            (b"traceresponse", str(trace).encode()),
        )
        began = time.perf_counter()
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.accept"):
                started = True
                message["headers"] = [*message.get("headers", ()), *added]
                if message["type"] == "http.response.start":
                    count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        tokens = request_id.set(identifier), current_trace.set(trace)
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("%s %s failed", scope.get("method", "WEBSOCKET"), scope["path"])
            if started or scope["type"] == "websocket":
                raise
            await problem(500)(scope, receive, send_with_id)
        finally:
            request_id.reset(tokens[0])
            current_trace.reset(tokens[1])


def count(scope: Scope, status: int, seconds: float) -> None:
    """Have an answer be counted, by its route and not by its path, of which there is no end."""
    if metrics := scope.get("state", {}).get("metrics"):
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.answered(method, route, status, seconds)
