"""What the board answers when there is no database, and what doesn't depend on one."""

import json
import time
from collections.abc import Iterator

import pytest
from conftest import Serve, Server


@pytest.fixture(scope="module")
def board(serve: Serve) -> Iterator[Server]:
    with serve("postgresql:///board?host=/nowhere") as server:
        yield server


def test_healthz(board: Server) -> None:
    response = board.client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive", "release": "r1"})


@pytest.mark.parametrize(
    "path",
    ["/readyz", "/api/deployments", "/api/deployments/1", "/api/deployments/1/log", "/api/summary"],
)
def test_unavailable(board: Server, path: str) -> None:
    started = time.monotonic()
    response = board.client.get(path)
    assert time.monotonic() - started < 4
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "2"
    assert response.json()["status"] == 503


def test_outsiders_are_told_that_and_not_where_the_database_is(board: Server) -> None:
    response = board.client.get("/readyz")
    assert response.json()["detail"] == "Not ready: the database doesn't answer."
    assert "/nowhere" not in response.text
    assert "/nowhere" in board.output.read_text()
    assert any(entry["message"].startswith("not ready: ") for entry in board.logs())


def test_the_page_says_so(board: Server) -> None:
    response = board.client.get("/")
    assert response.status_code == 503
    assert "can&#x27;t be read just now" in response.text
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]


def test_errors_are_problems(board: Server) -> None:
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("PUT", "/api/deployments", 405),
        ("GET", "/api/deployments/x", 422),
        ("GET", "/deployments/x", 422),
        ("GET", "/?limit=201", 422),
        ("GET", "/api/stream?last=-1", 422),
        ("GET", "/api/deployments?limit=201", 422),
        ("GET", "/api/deployments?status=done", 422),
        ("GET", "/api/deployments?limt=2", 422),
        ("GET", f"/api/deployments/{2**63}", 422),
    ]:
        response = board.client.request(method, path)
        assert response.status_code == status, path
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["status"] == status


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", "Basic YTpi", "Bearer a-token-for-the-tests-0123"]
)
def test_writes_need_the_token(board: Server, header: str | None) -> None:
    board_request = board.client.build_request("POST", "/api/deployments", json={})
    del board_request.headers["Authorization"]
    if header:
        board_request.headers["Authorization"] = header
    response = board.client.send(board_request)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "fields",
    [
        {"app": ""},
        {"app": "nul\0"},
        {"app": "new\nline"},
        {"app": "line\n"},
        {"app": "x" * 101},
        {"version": "\ud800"},
        {"\ud800": 1},
        {"started_at": "2026-01-01T00:00:00"},
        {"started_at": "0001-01-01T00:00:00+14:00"},
        {"started_at": 1e300},
        {"surprise": 1},
    ],
)
def test_bad_input_is_refused_and_not_repeated(board: Server, fields: dict[str, object]) -> None:
    body = {"app": "board", "host": "app1", "release": "0a1b"} | fields
    response = board.client.post(
        "/api/deployments", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["errors"][0].keys() == {"loc", "msg"}


def test_too_large_a_body(board: Server) -> None:
    response = board.client.post("/api/deployments", content=b" " * 70_000)
    assert response.status_code == 413
    # In chunks, so that how much it is comes to light on the way.
    response = board.client.post("/api/deployments", content=iter([b" " * 35_000] * 2))
    assert response.status_code == 413
    assert response.headers["Content-Type"] == "application/problem+json"


def test_request_id_is_passed_on(board: Server) -> None:
    given = "0f" * 16
    response = board.client.get("/api/deployments", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given
    entries = [entry for entry in board.logs() if entry.get("request_id") == given]
    assert (
        f"-{entries[0]['trace_id']}-{entries[0]['span_id']}-" in response.headers["traceresponse"]
    )
    assert [entry["level"] for entry in entries] == ["WARNING"]
    assert entries[0]["message"].startswith("database unavailable")


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65])
def test_request_id_is_made_when_missing_or_odd(board: Server, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    made = board.client.get("/healthz", headers=headers).headers["X-Request-ID"]
    assert made != given
    assert len(made) == 32


def test_logs_are_json_and_hold_no_access_lines(board: Server) -> None:
    board.client.get("/healthz?needle")
    text = board.output.read_text()
    assert "needle" not in text
    # Two lines come from uvicorn before the application has a say.
    assert all(line.startswith(("{", "INFO:     ")) for line in text.splitlines())
    assert {"time", "level", "logger", "message"} <= board.logs()[-1].keys()
