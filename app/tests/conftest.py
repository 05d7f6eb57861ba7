"""A real PostgreSQL and a real server: both are started here and thrown away afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-the-tests-0123456789"


def postgres_binaries() -> Path:
    """The newest of Debian's versions. Not from PATH: there may be wrappers in it."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: int(path.parts[-3]), default=None)
    if newest is None:
        raise RuntimeError("no PostgreSQL server found: apt install postgresql")
    return newest.parent


@dataclass
class Cluster:
    """A throw-away server on a unix socket, with the roles that the kit makes on a host."""

    folder: Path
    revision: int = 0

    def url(self, role: str, database: str = "board") -> str:
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        # In files, not pipes: the server keeps what pg_ctl gives it open.
        with (self.folder / "output").open("a") as output:
            subprocess.run(
                [str(postgres_binaries() / program), "-D", f"{self.folder}/data", *arguments],
                stdout=output, stderr=output, check=True, cwd=self.folder,
                **(user if os.geteuid() == 0 else {}),  # type: ignore[call-overload]
            )  # fmt: skip

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self.run("pg_ctl", "-w", "-s", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-s", "-m", "fast", "stop")

    def execute(self, *statements: str, database: str = "board") -> None:
        with psycopg.connect(self.url("postgres", database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def alembic(self, *arguments: str) -> str:
        """Run Alembic as the migrator, as a deployment does."""
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT, env=os.environ | {"DATABASE_URL": self.url("board_migrator")},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp(prefix="board-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """A server in a new folder, with an empty log."""
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    cluster = Cluster(folder)
    cluster.run("initdb", "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8")
    cluster.start()
    try:
        cluster.execute(
            "CREATE ROLE board_owner NOLOGIN",
            "CREATE ROLE board_migrator LOGIN IN ROLE board_owner",
            "ALTER ROLE board_migrator SET role TO board_owner",
            "CREATE ROLE board LOGIN",
            "CREATE DATABASE board OWNER board_owner",
            database="postgres",
        )
        cluster.execute(
            "ALTER DEFAULT PRIVILEGES FOR ROLE board_owner"
            " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO board",
            "ALTER DEFAULT PRIVILEGES FOR ROLE board_owner"
            " GRANT USAGE, SELECT ON SEQUENCES TO board",
        )
        cluster.alembic("upgrade", "head")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(short_folder: Path) -> Iterator[Cluster]:
    with started(short_folder / "pg") as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Cluster:
    """The cluster with an empty log, whose changes go on being numbered where they were.

    Also after a test that has made the schema anew: a board that runs for several tests has seen more.
    """
    cluster.revision += 1_000_000
    cluster.execute(
        "TRUNCATE deployment, detail, token RESTART IDENTITY",
        f"SELECT setval('deployment_revision', {cluster.revision})",
    )
    return cluster


@dataclass
class Server:
    """A running board."""

    client: httpx.Client
    socket: Path
    output: Path
    process: subprocess.Popen[bytes]

    def logs(self) -> list[dict[str, Any]]:
        lines = self.output.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_until_ready(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while (response := self.client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline, response.text
            time.sleep(0.05)

    def start_deployment(self, **fields: object) -> dict[str, Any]:
        body = {"app": "board", "host": "app1", "release": "0a1b"} | fields
        response = self.client.post("/api/deployments", json=body)
        assert response.status_code == 201, response.text
        deployment: dict[str, Any] = response.json()
        return deployment


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def serve(short_folder: Path) -> Serve:
    """Run the board on a unix socket, as on a host, in a process of its own."""

    @contextmanager
    def run(database_url: str, **environment: str) -> Iterator[Server]:
        folder = Path(tempfile.mkdtemp(dir=short_folder))
        socket, output = folder / "socket", folder / "output"
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "DATABASE_URL": database_url,
            "API_TOKEN": TOKEN,
            "SLIPWAY_RELEASE": "r1",
            "SLIPWAY_SHARED": str(folder / "shared"),
        }
        command = [sys.executable, "-m", "uvicorn", "board.main:app", "--uds", str(socket)]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=given | environment
            )
        try:
            deadline = time.monotonic() + 60  # a busy machine is slow to import
            while not socket.exists():
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.02)
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(socket)),
                base_url="http://board",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=15,
            ) as client:
                yield Server(client, socket, output, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)

    return run


@pytest.fixture(scope="session")
def shared_server(cluster: Cluster, serve: Serve) -> Iterator[Server]:
    with serve(cluster.url("board")) as server:
        yield server


@pytest.fixture
def board(database: Cluster, shared_server: Server) -> Server:
    """A running board with an empty log."""
    shared_server.wait_until_ready()
    return shared_server
