"""Hosts with backups, as tests ask them; the scenario is molecule/backup."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.load import query
from tests.stack import ROOT, Stack, eventually, play

Figure = Callable[[str], None]  # keeps a figure, to be shown at the end

INVENTORY = ROOT / "molecule/backup/inventory"
SCRATCH = ROOT / ".slipway/backup"
SECRETS = ("only-for-this-test-and-no-other", "no-secret-but-in-this-test")


def run(playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook to its end, and see that it shows no secret."""
    done = play(playbook, INVENTORY, *arguments)
    for secret in SECRETS:
        assert secret not in done.stdout
    return done


@dataclass(frozen=True)
class Kept(Stack):
    """One host with the whole stack on it, and backups."""

    @property
    def repositories(self) -> dict[str, Any]:
        """Return what it has noted of its repositories."""
        said: dict[str, Any] = json.loads(self.run("cat /var/lib/slipway/backup/state.json"))
        return dict(said["repositories"])

    def info(self, key: int) -> list[dict[str, Any]]:
        """Return the backups that pgBackRest itself lists in a repository."""
        command = f"pgbackrest --stanza={self.name} --repo={key} --output=json info"
        (said,) = json.loads(self.run(f"runuser -u postgres -- {command}"))
        return list(said["backup"])

    def start(self, unit: str) -> tuple[bool, str]:
        """Start a unit that ends by itself, and return whether it went well, and what it said."""
        since = self.run("date +%s.%N").strip()
        done = self.host.run(f"systemctl start {unit}")
        said = self.run(f"journalctl --unit '{unit}' --since @{since} --output cat --no-pager")
        return done.rc == 0, str(said)

    def drill(self, repository: str) -> tuple[bool, str]:
        """Have a repository proven, and return whether it is, and what was said of it."""
        proven, _ = self.start(f"slipway-drill@{repository}")
        drill = self.repositories[repository]["drill"]
        assert drill["ok"] == proven
        return proven, str(drill["said"])

    def write(self, run: str, n: int) -> None:
        """Write a row by the application."""
        assert (
            self.request("POST", "https://tally.test/rows", json={"run": run, "n": n}).status_code
            == 201
        )

    def rows(self, run: str, socket: str = "") -> set[int]:
        """Return the rows of a run, of the live server or of one whose socket is elsewhere."""
        statement = f"SELECT n FROM entry WHERE run = '{run}'"
        if not socket:
            return {int(line) for line in query(self, statement)}
        psql = f"psql -XAt -h {socket} -d tally -c {shlex.quote(statement)}"
        return {int(line) for line in self.run(f"runuser -u postgres -- {psql}").split()}

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Return what the live server answers to its superuser."""
        psql = f"psql -XqAt -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(statement)}"
        return self.run(f"runuser -u postgres -- {psql}").strip()

    @contextmanager
    def spoilt(self, path: str) -> Iterator[None]:
        """Keep a copy of a file or a folder until the block is left; what the block does to it is undone."""
        self.run(f"rm -rf /run/kept && cp -a {path} /run/kept")
        try:
            yield
        finally:
            self.run(f"rm -rf {path} && cp -a /run/kept {path} && rm -rf /run/kept")


def hosts() -> list[Kept]:
    """Return that whose store is S3, on Debian 13, and that whose store is reached by SSH, on Debian 12."""
    return [Kept(name, SCRATCH / f"{name}.pem") for name in ("bak13", "bak12")]


def figures(text: str) -> dict[str, float]:
    """Return the figures that a restore closes with: seconds, and seconds a gigabyte."""
    found = re.search(r"in ([\d.]+) s \(([\d.]+) s/GB\)", " ".join(text.split()))
    assert found, text
    return {"seconds": float(found[1]), "per_gb": float(found[2])}


def serves(stack: Kept, seconds: float = 20) -> bool:
    """Wait until an application answers that it is ready."""

    def ready() -> bool:
        return stack.get("https://tally.test/readyz").status_code == 200

    return eventually(ready, seconds)
