"""The application: `board.main:app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from board import api, health, page, problems, stream
from board.database import create_pool
from board.logs import RequestContext, configure_logging
from board.settings import load_settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Everything with a life of its own, in each worker; handlers find it in `request.state`.

    The pool isn't waited for: a worker starts without its database, /readyz says so, and it
    serves as soon as the database is there.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    async with create_pool(settings) as pool:
        feed = stream.Feed(settings, pool)
        listening = asyncio.create_task(feed.run())
        try:
            yield {"settings": settings, "pool": pool, "feed": feed}
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


def create_app() -> FastAPI:
    # No /docs: Swagger UI would be loaded from somebody else's servers.
    app = FastAPI(
        title="board",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=64 * 1024,
    )
    app.add_middleware(RequestContext)
    problems.register(app)
    for module in (health, api, stream, page):
        app.include_router(module.router)
    return app


app = create_app()
