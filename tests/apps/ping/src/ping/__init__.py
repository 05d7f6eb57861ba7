"""Heartbeats: a job says that it is alive, and whoever asks learns how long ago that was."""

import os
import time
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, HTTPException, Request

router = APIRouter()


@router.get("/")
async def ping() -> str:
    """Answer."""
    return "pong"


@router.put("/beats/{job}", status_code=204)
async def beat(request: Request, job: str) -> None:
    """Note that a job is alive."""
    request.app.state.beats[job] = time.monotonic()


@router.get("/beats/{job}")
async def last_beat(request: Request, job: str) -> dict[str, float]:
    """Return the seconds since a job was last alive."""
    beats: dict[str, float] = request.app.state.beats
    if job not in beats:
        raise HTTPException(404, f"{job} has never been heard of")
    return {"seconds": time.monotonic() - beats[job]}


def create_app() -> FastAPI:
    """Make the application. All its paths begin with ``PING_PREFIX``."""
    prefix = os.environ.get("PING_PREFIX", "")
    app = FastAPI(
        title="Ping",
        version=version("ping"),
        docs_url=f"{prefix}/docs",
        openapi_url=f"{prefix}/openapi.json",
    )
    app.state.beats = {}
    app.include_router(router, prefix=prefix)
    return app
