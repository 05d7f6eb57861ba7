"""The application: `board.main:app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from board import api, health, metrics, page, problems, stream
from board.database import create_pool
from board.logs import RequestContext, configure_logging
from board.openapi import describe
from board.settings import Settings, load_settings

SAMPLED = 5.0  # seconds between two looks at what changes by itself


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Everything with a life of its own, in each worker; handlers find it in `request.state`.

    The pool isn't waited for: a worker starts without its database, /readyz says so, and it
    serves as soon as the database is there.
    """
    settings = load_settings(Settings)
    configure_logging(settings.log_level)
    async with create_pool(settings) as pool:
        feed = stream.Feed(settings, pool)
        figures = metrics.Metrics(settings, pool, feed)
        tasks = [asyncio.create_task(feed.run()), asyncio.create_task(sample(figures))]
        try:
            with stream.closing_on_sigterm(feed):
                yield {"settings": settings, "pool": pool, "feed": feed, "metrics": figures}
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            figures.close()


async def sample(figures: metrics.Metrics) -> None:
    """Keep the figures fresh that another worker may be asked for."""
    while True:
        figures.sample()
        await asyncio.sleep(SAMPLED)


def create_app() -> FastAPI:
    # No /docs: Swagger UI would be loaded from somebody else's servers.
    app = FastAPI(
        title="board",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=64 * 1024,
        # What is measured here is in metrics.py; by itself FastAPI looks for OpenTelemetry at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(RequestContext)
    problems.register(app)
    for module in (health, api, stream, metrics, page):
        app.include_router(module.router)
    describe(app)
    return app


app = create_app()
