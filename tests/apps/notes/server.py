"""Somebody else's application: one file, no package, no database, its own names for everything."""

import os
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import RedirectResponse

application = FastAPI(title="Notes")
application.state.entries = []  # kept while it runs, as on a blackboard


@application.get("/up")
async def up() -> dict[str, str]:
    """Say that it is there."""
    return {"release": os.environ["SLIPWAY_RELEASE"]}


@application.get("/entries/")
async def entries(request: Request) -> list[str]:
    """Return the addresses of all entries."""
    count = len(request.app.state.entries)
    return [str(request.url_for("entry", number=number)) for number in range(count)]


@application.post("/entries/")
async def write(
    request: Request, text: Annotated[str, Body(max_length=10_000)]
) -> RedirectResponse:
    """Add an entry and lead to it."""
    request.app.state.entries.append(text)
    number = len(request.app.state.entries) - 1
    return RedirectResponse(request.url_for("entry", number=number), status_code=303)


@application.get("/entries/{number}")
async def entry(request: Request, number: int) -> str:
    """Return an entry."""
    if not 0 <= number < len(request.app.state.entries):
        raise HTTPException(404, f"there is no entry {number}")
    text: str = request.app.state.entries[number]
    return text


@application.get("/seen")
async def seen(request: Request) -> dict[str, object]:
    """Return what the application sees of a request: scheme, client and headers."""
    client = request.client.host if request.client else None
    return {"scheme": request.url.scheme, "client": client, "headers": dict(request.headers)}


@application.get("/settings/{name}")
async def setting(name: str) -> str | None:
    """Return a variable of its environment."""
    return os.environ.get(name)


@application.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Send back each text."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
