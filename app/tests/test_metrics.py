"""What Prometheus asks is right over several workers, and after one has died."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Serve, Server


def figures(server: Server) -> dict[str, float]:
    """The figures by name and labels."""
    response = server.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    pairs = re.findall(r"^(\w+(?:\{.*\})?) ([\d.e+-]+|NaN)$", response.text, re.MULTILINE)
    return {name: float(value) for name, value in pairs}


@pytest.fixture
def workers(serve: Serve, tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes that share a folder, as the workers of a server do."""
    with ExitStack() as stack:
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
        url = "postgresql:///board?host=/nowhere"
        yield [stack.enter_context(serve(url, **environment)) for _ in range(2)]


REQUESTS = 'board_requests_total{method="GET",route="/healthz",status="200"}'


def test_whichever_worker_is_asked_tells_of_all(workers: list[Server]) -> None:
    for worker, times in zip(workers, (3, 4), strict=True):
        for _ in range(times):
            worker.client.get("/healthz")
    for worker in workers:
        found = figures(worker)
        assert found[REQUESTS] == 7
        assert found['board_request_seconds_count{route="/healthz"}'] == 7
        assert found['board_workers{release="r1"}'] == 2


def test_what_a_worker_counted_outlives_it_and_it_is_no_more_counted_itself(
    workers: list[Server],
) -> None:
    here, there = workers
    there.client.get("/healthz")
    there.process.send_signal(signal.SIGKILL)
    there.process.wait()
    assert not Path("/proc", str(there.process.pid)).exists()
    found = figures(here)
    assert found[REQUESTS] == 1
    assert found['board_workers{release="r1"}'] == 1


def test_paths_do_not_make_figures_of_their_own(workers: list[Server]) -> None:
    here, _ = workers
    for number in range(3):
        here.client.get(f"/nothing/{number}")
        here.client.get(f"/api/deployments/{number}x")
        here.client.request(f"ODD{number}", "/healthz")
    names = "\n".join(figures(here))
    assert "nothing" not in names and "1x" not in names and "ODD" not in names
    assert 'method="GET",route="/api/deployments/{id}",status="422"' in names
    assert 'method="GET",route="none",status="404"' in names
    assert os.environ.get("PROMETHEUS_MULTIPROC_DIR") is None


def test_alone_it_tells_of_itself(serve: Serve) -> None:
    with serve("postgresql:///board?host=/nowhere") as server:
        server.client.get("/healthz")
        assert figures(server)[REQUESTS] == 1


@pytest.mark.parametrize(
    ("named", "client", "status"),
    [
        (None, None, 200),
        (None, "127.0.0.1", 200),
        (None, "::1", 200),
        (None, "203.0.113.7", 404),
        ("10.0.0.0/8 203.0.113.7", "203.0.113.7", 200),
        ("10.0.0.0/8 203.0.113.7", "127.0.0.1", 404),
    ],
)
def test_nobody_else_may_ask(
    serve: Serve, named: str | None, client: str | None, status: int
) -> None:
    # Who the client is, the proxy says.
    environment = {"FORWARDED_ALLOW_IPS": "*"} | ({"METRICS_FROM": named} if named else {})
    headers = {"X-Forwarded-For": client} if client else {}
    with serve("postgresql:///board?host=/nowhere", **environment) as server:
        assert server.client.get("/metrics", headers=headers).status_code == status
