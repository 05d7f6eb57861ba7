"""Tokens: made and revoked by hand, hashed, and good for what they say."""

import base64
import hashlib
import os
import subprocess
import sys

import psycopg
import pytest
from conftest import ROOT, Cluster, Serve, Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

pytestmark = pytest.mark.postgres

BODY = {"app": "board", "host": "app1", "release": "0a1b"}


def by_hand(database: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m board` as the application's user does on a host."""
    return subprocess.run(
        [sys.executable, "-m", "board", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "DATABASE_URL": database.url("board"),
        },
        capture_output=True,
        text=True,
    )


def token(database: Cluster, *arguments: str) -> str:
    done = by_hand(database, "token", "create", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def test_a_token_writes_until_it_is_revoked(database: Cluster, board: Server) -> None:
    made = token(database, "ci", "--scope", "write")
    post = lambda: board.client.post("/api/deployments", json=BODY, headers=bearer(made))  # noqa: E731
    assert post().status_code == 201
    assert by_hand(database, "token", "revoke", "ci").returncode == 0
    assert post().status_code == 401
    assert by_hand(database, "token", "revoke", "ci").returncode == 1


def test_one_for_reading_does_not_write(database: Cluster, board: Server) -> None:
    made = token(database, "wall")
    response = board.client.post("/api/deployments", json=BODY, headers=bearer(made))
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/problem+json"


def test_one_that_has_expired_is_worth_nothing(database: Cluster, board: Server) -> None:
    made = token(database, "ci", "--scope", "write", "--days", "1")
    database.execute("UPDATE token SET expires_at = now() - interval '1 s'")
    response = board.client.post("/api/deployments", json=BODY, headers=bearer(made))
    assert response.status_code == 401
    assert "expired" in by_hand(database, "token", "list").stdout


def test_only_a_digest_is_kept(database: Cluster) -> None:
    made = token(database, "ci")
    with psycopg.connect(database.url("board")) as connection:
        (kept,) = connection.execute("SELECT * FROM token").fetchall()
    assert hashlib.sha256(made.encode()).digest() in kept
    assert not {made, made.encode(), made.removeprefix("board_")} & set(kept)
    listed = by_hand(database, "token", "list").stdout
    assert listed.startswith("ci\tread\t")
    assert made not in listed


def test_a_name_is_taken_until_its_token_is_revoked(database: Cluster) -> None:
    token(database, "ci")
    again = by_hand(database, "token", "create", "ci")
    assert (again.returncode, again.stdout) == (1, "")
    assert "take another name" in again.stderr
    by_hand(database, "token", "revoke", "ci")
    assert token(database, "ci")


@pytest.mark.parametrize("arguments", [("two\nlines",), ("ci", "--days", "0"), ("x" * 101,)])
def test_what_makes_no_sense_makes_no_token(database: Cluster, arguments: tuple[str, ...]) -> None:
    done = by_hand(database, "token", "create", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_board_that_is_not_public_asks_for_a_token(database: Cluster, serve: Serve) -> None:
    made = token(database, "wall")
    with serve(database.url("board"), PUBLIC="false") as server:
        server.wait_until_ready()
        del server.client.headers["Authorization"]
        for path in ("/api/deployments", "/api/summary", "/api/deployments/1/log", "/api/stream"):
            refused = server.client.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert server.client.get("/").headers["WWW-Authenticate"].startswith("Basic ")
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/api/summary", headers=bearer(made)).status_code == 200
        with pytest.raises(InvalidStatus) as refusal:
            unix_connect(str(server.socket), "ws://board/api/stream")
        assert refusal.value.response.status_code == 403

        for origin, allowed in (
            ("http://board", True),
            ("http://elsewhere", False),
            ("null", False),
            ("http://[", False),  # can't be read
        ):
            try:
                with unix_connect(
                    str(server.socket),
                    "ws://board/api/stream",
                    origin=origin,
                    additional_headers=bearer(made),
                ):
                    pass
            except InvalidStatus as error:
                assert not allowed
                assert error.response.status_code == 403
            else:
                assert allowed

        # A browser has it as a password, and does not write with it.
        server.client.auth = ("", made)
        assert server.client.get("/").status_code == 200
        basic = base64.b64encode(f":{token(database, 'ci', '--scope', 'write')}".encode()).decode()
        server.client.auth = None
        response = server.client.post(
            "/api/deployments", json=BODY, headers={"Authorization": f"Basic {basic}"}
        )
        assert response.status_code == 403
