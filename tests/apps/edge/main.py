"""What tests ask through the edge: it echoes, counts, streams, sleeps, takes uploads and fails as it is told."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

GREETING = "first"  # which a test's next release changes

app = FastAPI()
calls: Counter[str] = Counter()
ended: Counter[str] = Counter()


@app.middleware("http")
async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Count each request by its path, and in all, but for those that ask for the numbers."""
    if request.url.path not in ("/calls", "/up"):
        calls[request.url.path] += 1
        calls["all"] += 1
    return await call_next(request)


@app.get("/up")
async def up() -> dict[str, str]:
    """Say that it is there."""
    return {"release": os.environ["SLIPWAY_RELEASE"], "greeting": GREETING}


@app.get("/calls")
async def called(path: str = "all") -> dict[str, int]:
    """Return how many requests for a path have begun, and how many long answers to it have been made in full."""
    return {"calls": calls[path], "ended": ended[path]}


@app.api_route("/seen", methods=["GET", "POST", "PUT", "DELETE"])
@app.get("/seen/{rest:path}")
async def seen(request: Request) -> dict[str, object]:
    """Return what the application sees of a request."""
    return {
        "method": request.method,
        "path": request.url.path,
        "scheme": request.url.scheme,
        "client": request.client.host if request.client else None,
        "headers": [[name, value] for name, value in request.headers.items()],
    }


@app.get("/news/{name}")
@app.get("/private/{name}")
async def page(
    request: Request,
    name: str,
    header: Annotated[list[str] | None, Query()] = None,
    status: int = 200,
    pause: float = 0,
) -> JSONResponse:
    """Return how often this page was asked for, with headers and a status that the request names.

    Args:
        request: The request.
        name: The page.
        header: Headers of the answer, each such as ``Cache-Control: no-store``.
        status: The status.
        pause: Seconds that it takes.
    """
    await asyncio.sleep(pause)
    headers = dict(each.split(": ", 1) for each in header or [])
    language = request.headers.get("accept-language", "")
    said = {"calls": calls[request.url.path], "greeting": GREETING, "language": language}
    return JSONResponse(said, status, headers)


async def lines(path: str, number: int, pause: float) -> AsyncIterator[str]:
    """Yield lines one after another."""
    for n in range(number):
        yield f"data: {n}\n\n"
        await asyncio.sleep(pause)
    ended[path] += 1


@app.get("/events")
@app.get("/buffered")
async def events(request: Request, number: int = 5, pause: float = 0.5) -> StreamingResponse:
    """Send events, a line at a time."""
    path = request.url.path
    return StreamingResponse(lines(path, number, pause), media_type="text/event-stream")


@app.get("/unbuffered")
async def unbuffered(number: int = 5, pause: float = 0.5) -> StreamingResponse:
    """Send events, and ask the edge for itself not to keep them back."""
    return StreamingResponse(
        lines("/unbuffered", number, pause),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def pieces(megabytes: int) -> AsyncIterator[bytes]:
    """Yield so many megabytes."""
    for _ in range(16 * megabytes):
        yield b"." * 65536
    ended["/large"] += 1


@app.get("/large")
async def large(megabytes: int = 16) -> StreamingResponse:
    """Send a large answer, and note when the last of it was taken."""
    return StreamingResponse(pieces(megabytes), media_type="application/octet-stream")


@app.get("/sleep/{seconds}")
async def sleep(seconds: float) -> dict[str, float]:
    """Take a while."""
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@app.post("/upload")
@app.post("/upload/{kind}")
@app.post("/seen/upload")
async def upload(request: Request) -> dict[str, float]:
    """Take a body; return its size, and the seconds from its first piece to its last."""
    size, first, last = 0, 0.0, 0.0
    async for piece in request.stream():
        if piece:
            size, last = size + len(piece), time.monotonic()
            first = first or last
    return {"size": size, "seconds": last - first}


@app.api_route("/fail/{status}", methods=["GET", "POST"])
async def fail(status: int) -> JSONResponse:
    """Fail as it is told, in words of its own."""
    return JSONResponse({"mine": status}, status)


@app.post("/login")
@app.get("/login")
@app.get("/watched")
async def login() -> dict[str, str]:
    """Let everybody in."""
    return {"user": "all"}


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Send back each text."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
