"""An application without a database, to be run on several hosts: it says who and where it is, and notes each POST."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, WebSocket

GREETING = "as it was"
RECEIVED = Path(os.environ["SLIPWAY_SHARED"], "received")

app = FastAPI(title="Hits")


@app.get("/readyz")
@app.get("/")
async def home(request: Request) -> dict[str, Any]:
    """Say which host and release this is, and what it sees of the client."""
    return {
        "host": socket.gethostname(),
        "release": os.environ["SLIPWAY_RELEASE"],
        "client": request.client.host if request.client else None,
        "scheme": request.url.scheme,
    }


@app.get("/slow")
async def slow(seconds: float = 2) -> str:
    """Answer after a while."""
    await asyncio.sleep(seconds)
    return socket.gethostname()


@app.post("/received", status_code=201)
async def receive(run: Annotated[str, Body()], n: Annotated[int, Body()]) -> None:
    """Note a POST, in one write, which is whole whoever else writes."""
    with RECEIVED.open("a") as file:
        file.write(f"{run} {n}\n")


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Send back each text."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
