"""/metrics: what Prometheus asks, for all workers of a host.

Each worker keeps its own figures in files of one folder, PROMETHEUS_MULTIPROC_DIR, and whichever is
asked adds them up. Without that folder a worker tells of itself alone.
"""

import os
import re
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from board.database import Pool
from board.settings import Settings
from board.stream import Feed

router = APIRouter(include_in_schema=False)

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LIVE = re.compile(r"gauge_live\w+_(\d+)\.db")


class Metrics:
    """The figures of this worker."""

    def __init__(self, settings: Settings, pool: Pool, feed: Feed) -> None:
        self.folder = settings.prometheus_multiproc_dir
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.pool, self.feed = pool, feed
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "board_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "board_request_seconds",
            "Seconds until an answer began.",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")

        self.viewers = gauge("board_viewers", "Open streams.")
        self.connections = gauge("board_pool_connections", "Connections to the database.", "state")
        self.waiting = gauge("board_pool_waiting", "Requests that wait for a connection.")
        workers = gauge("board_workers", "Workers, by the release that they run.", "release")
        self.release = workers.labels(settings.slipway_release)
        self.release.set(1)

        # There are as many as routes and statuses; to look one up by its labels takes longer than to count.
        self.kind = cache(self.figures_of)

    def figures_of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """The figures of one kind of answers."""
        return self.requests.labels(method, route, status), self.seconds.labels(route)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        requests, took = self.kind(method, route, status)
        requests.inc()
        took.observe(seconds)

    def sample(self) -> None:
        """Note what changes by itself. Each worker does it once in a while, and when it is asked."""
        stats = self.pool.get_stats()
        free = stats.get("pool_available", 0)
        self.connections.labels("free").set(free)
        self.connections.labels("in_use").set(stats.get("pool_size", 0) - free)
        self.waiting.set(stats.get("requests_waiting", 0))
        self.viewers.set(len(self.feed.viewers))

    def text(self) -> bytes:
        """All figures of all workers, as Prometheus reads them."""
        if not self.folder:
            return generate_latest(self.registry)
        bury(self.folder)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self.folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Have this worker be counted among the living no more."""
        if self.folder:
            forget(os.getpid(), self.folder)


def forget(pid: int, folder: Path) -> None:
    """Leave out the present figures of a worker; what it has counted stays."""
    multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def bury(folder: Path) -> None:
    """Forget workers that were killed."""
    for pid in {match[1] for path in folder.iterdir() if (match := LIVE.fullmatch(path.name))}:
        if not Path("/proc", pid).exists():
            forget(int(pid), folder)


def may_ask(request: Request) -> bool:
    """Whether a client is one of those who are named, or has come by the socket itself."""
    settings: Settings = request.state.settings
    if request.client is None:
        return True
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return not request.client.host
    return any(address in network for network in settings.metrics_from)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """For Prometheus on the host itself, or where METRICS_FROM says."""
    if not may_ask(request):
        raise HTTPException(404)
    figures: Metrics = request.state.metrics
    figures.sample()
    return Response(await run_in_threadpool(figures.text), media_type=CONTENT_TYPE_LATEST)
