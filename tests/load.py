"""Traffic on an application while something happens to it, and what came of each request and each row.

The application is tests/apps/tally. The traffic is what scripts/probe sends: half of it reads, half of it writes rows,
half of it over connections that are kept, half over new ones, and a WebSocket that stays open.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stack import ROOT, Run, Stack, eventually

Play = Callable[..., subprocess.CompletedProcess[str]]  # runs a playbook to its end
Begin = Callable[..., Run]  # starts one
Drive = Callable[[str], "AbstractContextManager[Traffic]"]  # drives it while something happens

RATE = 100  # requests a second
CLIENTS = 16
MARGIN = 1.0  # seconds of traffic before and after what happens


@dataclass
class Traffic:
    """What was sent during a while, and what came of it; ``note`` is what else is to be known of it."""

    run: str
    note: str = ""
    seconds: float = 0
    result: dict[str, Any] = field(default_factory=dict)
    rows: Counter[int] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        """Return how many requests were sent."""
        return int(self.result["requests"])

    @property
    def failed(self) -> int:
        """Return how many of them, and of the WebSocket's connections, failed."""
        sockets = self.result["websocket"] or {"failed": 0}  # if there was one
        return int(self.result["failed"] + sockets["failed"])

    @property
    def worst(self) -> float:
        """Return the longest that an answer took, in milliseconds."""
        return float(self.result["worst_ms"])

    @property
    def outage(self) -> float:
        """Return the longest time from a failure to the next success, in milliseconds."""
        return float(self.result["outage_ms"])

    @property
    def acknowledged(self) -> set[int]:
        """Return the rows that the application has confirmed."""
        return set(self.result["acknowledged"])

    @property
    def missing(self) -> set[int]:
        """Return the rows that it has confirmed, and that the database doesn't have."""
        return self.acknowledged - set(self.rows)

    @property
    def doubled(self) -> set[int]:
        """Return the rows that were sent once and are there more than once."""
        return {n for n, times in self.rows.items() if times > 1}

    def failures(self) -> str:
        """Return the first failures in words, for a test that didn't expect any."""
        return "\n".join(
            "{at} {request}: {error}".format(**failure) for failure in self.result["failures"]
        )


def query(stack: Stack, statement: str) -> list[str]:
    """Return the lines that PostgreSQL answers to a statement, asked as its superuser."""
    psql = "psql --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname tally"
    command = f"runuser -u postgres -- {psql} --command {shlex.quote(statement)}"
    return stack.run(command).splitlines()


@contextmanager
def probed(driven: Traffic, target: dict[str, Any], begun: Callable[[], bool]) -> Iterator[None]:
    """Have scripts/probe drive a target while the block runs, once something of it has come; then note its result.

    Args:
        driven: Where the result is noted.
        target: The only one of the probe's targets.
        begun: Tells whether something has come.
    """
    probe = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/probe"), "--until-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert probe.stdin
    try:
        probe.stdin.write(json.dumps({"targets": [target]}) + "\n")
        probe.stdin.flush()
        assert eventually(begun, 20), "no traffic"
        yield
        time.sleep(MARGIN)
    finally:
        said, _ = probe.communicate()  # which closes its standard input
    result = json.loads(said)
    driven.result, driven.seconds = result["targets"][target["name"]], result["seconds"]
    assert not driven.result["skipped"], driven.result["skipped"]


@contextmanager
def traffic(
    stack: Stack, rate: float = RATE, clients: int = CLIENTS, database: Stack | None = None
) -> Iterator[Traffic]:
    """Drive the application while the block runs; the figures are there after it.

    Args:
        stack: The host.
        rate: Requests a second.
        clients: Half of them keep their connections.
        database: The database's host, if it is another one.
    """
    database = database or stack
    driven = Traffic(run=uuid.uuid4().hex)
    rows = {"run": driven.run, "n": "{n}"}
    target = {
        "name": "tally",
        "host": "tally.test",
        "port": stack.https_port,
        "addresses": [stack.address],
        "ca": str(stack.ca),
        "rate": rate,
        "clients": clients,
        "requests": [
            {"method": "GET", "path": "/"},
            {"method": "POST", "path": "/rows", "body": rows, "status": [201]},
        ],
        "websocket": "/ws",
    }
    written = f"SELECT count(*) FROM entry WHERE run = '{driven.run}'"
    with probed(driven, target, lambda: int(query(database, written)[0]) >= MARGIN * rate / 2):
        yield driven
    found = query(database, f"SELECT n FROM entry WHERE run = '{driven.run}'")
    driven.rows = Counter(map(int, found))


def serving(stack: Stack) -> str:
    """Return the release that serves, as the application itself says it; empty if nothing answers."""
    answer = stack.get("https://tally.test/")
    return str(answer.json()["release"]) if answer.status_code == 200 else ""


def serves(stack: Stack, release: str) -> bool:
    """Wait until a release serves, since Nginx keeps a connection to the one before for a second, and tell whether."""
    return eventually(lambda: serving(stack) == release, 3)


@dataclass(frozen=True)
class State:
    """What an application has come to on its host.

    Attributes:
        release: What serves, as the application itself says it.
        live: The slot that serves.
        units: Its units that systemd has loaded, each with its state, such as ``active``.
        unfinished: Folders of releases that are not whole.
    """

    release: str
    live: str
    units: dict[str, str]
    unfinished: list[str]

    @staticmethod
    def of(stack: Stack) -> State:
        """Ask a host."""
        units = stack.run("systemctl list-units --all --plain --no-legend 'tally*'")
        marked = stack.run("cd /srv/tally/releases && ls --directory */ */release.json").split()
        return State(
            release=str(eventually(lambda: serving(stack))),
            live=stack.run("readlink /srv/tally/live").strip().rpartition("/")[2],
            units={
                line.split()[0].removesuffix(".service"): line.split()[2]
                for line in units.splitlines()
            },
            unfinished=sorted(
                {path.split("/")[0] for path in marked}
                - {path.split("/")[0] for path in marked if path.endswith(".json")}
            ),
        )

    def __str__(self) -> str:
        """Tell it in a line."""
        units = ", ".join(f"{name} {state}" for name, state in sorted(self.units.items()))
        left = f"; unfinished: {' '.join(self.unfinished)}" if self.unfinished else ""
        return f"{self.release[:8]} serves from {self.live}; {units}{left}"


class Source:
    """The application's source, as its author changes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = folder / "main.py"

    def change(self) -> None:
        """Change one line, which makes another release."""
        line = f"GREETING = {uuid.uuid4().hex!r}\n"
        self.main.write_text(re.sub(r"GREETING = .*\n", line, self.main.read_text()))

    @contextmanager
    def fault(self, before: str, after: str) -> Iterator[None]:
        """Replace a text of the application, until the block is left; it is another release then, too."""
        self.change()
        good = self.main.read_text()
        assert before in good
        self.main.write_text(good.replace(before, after))
        try:
            yield
        finally:
            self.main.write_text(good)
            self.change()

    @contextmanager
    def migration(self, statements: str) -> Iterator[None]:
        """Add a migration, until the block is left."""
        file = self.folder / f"migrations/{time.time_ns()}.sql"
        file.write_text(statements)
        self.change()
        try:
            yield
        finally:
            file.unlink()
            self.change()


def table(outcomes: list[tuple[str, Traffic, State]]) -> str:
    """Return what came of each thing that happened, as a table in Markdown."""
    lines = [
        "| what happened | requests | failed | for | worst answer | rows confirmed | missing | afterwards |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title, driven, state in outcomes:
        failed = f"{driven.failed}" if driven.failed else "0"
        outage = f"{driven.outage / 1000:.1f} s" if driven.failed else ""
        cells = [
            f"{title}{'. ' + driven.note if driven.note else ''}",
            str(driven.requests),
            failed,
            outage,
            f"{driven.worst:.0f} ms",
            str(len(driven.acknowledged)),
            str(len(driven.missing)),
            str(state),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
