"""One JSON object a line on stderr, each with the id of the request it belongs to."""

import json
import logging
import re
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from board.problems import problem

log = logging.getLogger(__name__)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


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
    """ASGI middleware: name the request, and be the last to catch what it raises.

    The id comes from the proxy's X-Request-ID, or is made here; it goes into each log line
    and back to the client. The last catch is here and not in an exception handler, because
    Starlette runs that one outside of all middleware, where the id is no longer known.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        given = Headers(scope=scope).get("x-request-id", "")
        identifier = given if ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.accept"):
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
            await send(message)

        token = request_id.set(identifier)
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("%s %s failed", scope.get("method", "WEBSOCKET"), scope["path"])
            if started or scope["type"] == "websocket":
                raise
            await problem(500)(scope, receive, send_with_id)
        finally:
            request_id.reset(token)
