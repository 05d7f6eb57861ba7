"""Somebody else's application: one file, no package, no database, its own names for everything."""

import os

from fastapi import FastAPI, Request, WebSocket

application = FastAPI(title="Notes")


@application.get("/up")
async def up() -> dict[str, str]:
    """Say that it is there."""
    return {"release": os.environ["SLIPWAY_RELEASE"]}


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
