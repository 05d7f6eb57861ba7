"""The drill: a repository is proven by what comes back from it."""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server import Live, Restored, emptied, room, scratch
from stanza import Backup, Failed, Repository, Stanza, corruption, missing, run, size
from targets import Target, bring, choose
from tunnel import at_the_repository

DATABASE = "slipway_canary"
MARGIN = 200_000_000  # bytes of WAL and the like that a restored server takes beside its data


class Canary:
    """A row that is written by the live server, with a restore point before it and one after it."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.name = uuid.uuid4().hex
        self.before, self.after = f"slipway_drill_{self.name}_1", f"slipway_drill_{self.name}_2"

    def sing(self) -> None:
        """Write it, and wait until it is archived."""
        if not self.live.answers:
            raise Failed(
                "the live server doesn't answer, and a drill begins with a row that it writes"
            )
        if self.live.query(f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'") == "0":
            self.live.query(
                f"CREATE DATABASE {DATABASE};\nREVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;"
            )
        made = "CREATE TABLE IF NOT EXISTS canary (drill text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        self.live.query(
            f"SET client_min_messages = error; {made}; DELETE FROM canary WHERE at < now() - interval '30 days';"
            f"SELECT pg_create_restore_point('{self.before}') \\g /dev/null\n"
            f"INSERT INTO canary (drill) VALUES ('{self.name}');"
            f"SELECT pg_create_restore_point('{self.after}') \\g /dev/null\n",
            DATABASE,
        )
        self.live.settle()

    def heard(self, restored: Restored) -> bool:
        """Tell whether a restored server has it."""
        there = (
            restored.query(f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'") == "1"
        )
        # The first drill of all restores to before there was a table, perhaps.
        asked = f"SELECT count(*) FROM canary WHERE drill = '{self.name}'"
        if not there or restored.query("SELECT to_regclass('canary') IS NOT NULL", DATABASE) != "t":
            return False
        return restored.query(asked, DATABASE) == "1"


def verify(stanza: Stanza, repository: Repository) -> Backup:
    """Have every file of a repository read and compared, and return the backup that is to be restored.

    Raises:
        Failed: One is missing or damaged; the message says which.
    """
    look = stanza.look(repository)
    if repository.away:
        said = at_the_repository(stanza, repository, "verify", "--output=text")
    else:
        said = stanza.ask("verify", "--output=text", f"--repo={repository.key}")
    if wrong := corruption(said):
        raise Failed(f"repository {repository.name} is corrupted: {wrong}")
    current = [one for one in look.backups if look.archive.endswith(f"-{one['database']['id']}")]
    if gaps := missing(stanza.archived(repository, look), current):
        more = f" and {len(gaps) - 1} more" if gaps[1:] else ""
        raise Failed(
            f"repository {repository.name} lacks the WAL segment {gaps[0]}{more}: what came after it can't be restored"
        )
    return choose(stanza, repository, look, Target())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other drills away."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("another drill is under way; wait for its end") from None
        yield


def prove(stanza: Stanza, repository: Repository) -> dict[str, Any]:
    """Prove a repository, and return what was restored: its size and the seconds of each step.

    Raises:
        Failed: It is not proven; the message says what is wrong with it.
    """
    live = Live(stanza)
    steps: dict[str, float] = {}
    began = time.monotonic()

    def step(name: str) -> None:
        nonlocal began
        steps[name], began = round(time.monotonic() - began, 1), time.monotonic()

    backup = verify(stanza, repository)
    step("verify")
    room(stanza.scratch, backup["info"]["size"] + MARGIN, "a drill")
    canary = Canary(live)
    canary.sing()
    step("archive")
    folder = stanza.scratch / "drill"
    emptied(folder)
    restored = scratch(live, folder)
    try:
        bring(stanza, repository, backup, restored, Target("name", canary.before), "pause")
        step("restore")
        restored.start()
        restored.until("pg_get_wal_replay_pause_state() = 'paused'")
        if canary.heard(restored):
            raise Failed("a row is there in a restore to the moment before it was written")
        restored.stop()
        restored.start(recovery_target_name=canary.after, recovery_target_action="promote")
        restored.until("NOT pg_is_in_recovery()")
        if not canary.heard(restored):
            raise Failed("a row is not there in a restore to the moment after it was written")
        step("recover")
        check = (
            "--all",
            "--install-missing",
            "--heapallindexed",
            "--no-password",
            "-h",
            str(folder),
        )
        run(str(live.bin / "pg_amcheck"), *check)
        restored.stop()
        if "page checksum version: 0" not in " ".join(
            run(str(live.bin / "pg_controldata"), "-D", str(restored.data)).stdout.lower().split()
        ):
            run(str(live.bin / "pg_checksums"), "--check", "-D", str(restored.data))
        step("check")
    finally:
        restored.stop()
        emptied(folder)
    return {"size": backup["info"]["size"], "steps": steps}


def oldest(stanza: Stanza) -> Repository:
    """Return the repository that was proven the longest time ago, or never."""
    known = stanza.state()["repositories"]
    return min(
        stanza.repositories, key=lambda one: known[one.name].get("drill", {}).get("ended", 0)
    )


def drill(stanza: Stanza, name: str) -> None:
    """Prove a repository, the one that is named or whose turn it is, and note what came of it.

    Raises:
        Failed: It is not proven.
    """
    repository = stanza.repository(name) if name else oldest(stanza)
    with alone(stanza.scratch):
        began = time.time()
        try:
            found = prove(stanza, repository)
        except (Failed, OSError, ValueError) as error:
            said = {
                "ok": False,
                "said": str(error),
                "ended": time.time(),
                "seconds": round(time.time() - began, 1),
            }
            stanza.note(repository.name, drill=said)
            raise Failed(f"{repository.name} is not proven: {error}") from error
        now = time.time()
        seconds = round(now - began, 1)
        stanza.note(
            repository.name,
            proven=now,
            drill={"ok": True, "said": "", "ended": now, "seconds": seconds, **found},
        )
        steps = ", ".join(f"{step} {took} s" for step, took in found["steps"].items())
        print(
            f"{repository.name} is proven: {size(found['size'])} restored and checked in {seconds} s ({steps})"
        )
