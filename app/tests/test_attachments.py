"""A run's log: streamed in up to a limit, kept in the shared folder, sent out by nginx."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TOKEN, Cluster, Serve, Server

from board.attachments import mapped, path_of

LIMIT = 1_000_000


@pytest.fixture
def small(database: Cluster, serve: Serve, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A board that takes logs of a megabyte, and the folder that it keeps them in."""
    environment = {"LOG_LIMIT": str(LIMIT), "SLIPWAY_SHARED": str(tmp_path)}
    with serve(database.url("board"), **environment) as server:
        server.wait_until_ready()
        yield server, tmp_path


def chunks(size: int) -> Iterator[bytes]:
    while size:
        yield b"x" * min(size, 65536)
        size -= min(size, 65536)


def wait_for(folder: Path, number: int) -> None:
    """Wait until there are so many files; fail if there never are."""
    deadline = time.monotonic() + 5
    while len(found := [each for each in folder.rglob("*") if each.is_file()]) != number:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


@pytest.mark.postgres
def test_a_log_comes_back_as_it_was_sent(small: tuple[Server, Path]) -> None:
    server, shared = small
    path = f"/api/deployments/{server.start_deployment()['id']}"
    assert server.client.get(f"{path}/log").status_code == 404
    for text in ("PLAY [é]\n", "PLAY RECAP\n" * 20_000):
        assert server.client.put(f"{path}/log", content=text.encode()).status_code == 204
        response = server.client.get(f"{path}/log")
        assert response.text == text
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert server.client.get(path).json()["log_bytes"] == len(text.encode())
    assert [each.name for each in shared.rglob("*") if each.is_file()] == ["1.log"]


@pytest.mark.postgres
def test_nginx_sends_it_where_nginx_has_it(small: tuple[Server, Path]) -> None:
    server, shared = small
    path = f"/api/deployments/{server.start_deployment()['id']}/log"
    server.client.put(path, content=b"text").raise_for_status()
    mapping = {"X-Accel-Mapping": f"{shared}/logs/=/.files/"}
    response = server.client.get(path, headers=mapping)
    assert response.headers["X-Accel-Redirect"] == "/.files/0/1.log"
    assert response.content == b""


@pytest.mark.postgres
@pytest.mark.parametrize("said", [True, False], ids=["with its length", "in chunks"])
def test_a_log_beyond_the_limit_leaves_nothing(small: tuple[Server, Path], said: bool) -> None:
    server, shared = small
    path = f"/api/deployments/{server.start_deployment()['id']}/log"
    server.client.put(path, content=chunks(LIMIT)).raise_for_status()
    content = b"x" * (LIMIT + 1) if said else chunks(LIMIT + 1)
    response = server.client.put(path, content=content)
    assert response.status_code == 413
    assert response.headers["Content-Type"] == "application/problem+json"
    assert [each.stat().st_size for each in shared.rglob("*") if each.is_file()] == [LIMIT]


@contextmanager
def uploading(server: Server, size: int) -> Iterator[tuple[int, socket.socket]]:
    """Begin to attach a log, and return which deployment's, and where its bytes go."""
    number = server.start_deployment()["id"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket))
        client.sendall(
            f"PUT /api/deployments/{number}/log HTTP/1.1\r\nHost: board\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        yield number, client


@pytest.mark.postgres
def test_a_log_that_is_cut_off_leaves_nothing(small: tuple[Server, Path]) -> None:
    server, shared = small
    with uploading(server, 1000) as (number, client):
        client.sendall(b"begun")
        wait_for(shared, 1)
    wait_for(shared, 0)
    assert server.client.get(f"/api/deployments/{number}").json()["log_bytes"] is None
    assert [entry for entry in server.logs() if entry["level"] == "ERROR"] == []


@pytest.mark.postgres
def test_what_a_worker_that_was_killed_has_left_goes_and_what_comes_in_stays(
    small: tuple[Server, Path],
) -> None:
    server, shared = small
    with uploading(server, 5) as (number, client):
        wait_for(shared, 1)
        (coming,) = (each for each in shared.rglob("*") if each.is_file())
        left = coming.with_name("left.part")
        left.write_bytes(b"begun")
        os.utime(left, times=(0, time.time() - 3700))
        path = f"/api/deployments/{server.start_deployment()['id']}/log"
        server.client.put(path, content=b"whole").raise_for_status()
        assert coming.exists() and not left.exists()
        client.sendall(b"begun")
        assert client.recv(100).startswith(b"HTTP/1.1 204")
    assert server.client.get(f"/api/deployments/{number}/log").text == "begun"


@pytest.mark.postgres
def test_nobody_attaches_without_a_token_or_to_nothing(small: tuple[Server, Path]) -> None:
    server, shared = small
    number = server.start_deployment()["id"]
    path = f"/api/deployments/{number}/log"
    refused = server.client.put(path, content=b"x", headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401
    assert server.client.put("/api/deployments/99/log", content=b"x").status_code == 404
    assert not list(shared.iterdir())


@pytest.mark.parametrize(
    ("mapping", "address"),
    [
        ("", None),
        ("nonsense", None),
        ("/srv/other/=/.files/", None),
        ("/srv/board/shared/logs/=/.files/", "/.files/7/7001.log"),
        ("/srv/board/shared/logs=/.files", "/.files/7/7001.log"),
        ("/srv/x/=/.x/, /srv/board/shared/=/.y/", "/.y/logs/7/7001.log"),
        ("/srv/board/shared/lo=/.files", None),
    ],
)
def test_where_nginx_has_a_file(mapping: str, address: str | None) -> None:
    assert mapped(mapping, path_of(Path("/srv/board/shared"), 7001)) == address
