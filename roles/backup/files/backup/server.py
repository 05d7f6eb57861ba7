"""PostgreSQL's servers: the live one, and one that is started by hand on restored data, without TCP."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stanza import Failed, Stanza, run, size

# psql without a password, a pager or anybody's habits.
PSQL = ("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password")
PATIENCE = (
    24 * 3600
)  # seconds that a recovery may take; it is the size of the WAL that says how long


def query(folder: Path | str, statement: str, database: str = "postgres") -> str:
    """Return what a server answers to statements of its superuser.

    Args:
        folder: The folder of its socket.
        statement: Statements, which are read as psql's standard input.
        database: Where they are executed.
    """
    command = (
        *PSQL,
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        str(folder),
        "-p",
        "5432",
        "-d",
        database,
        "-f",
        "-",
    )
    return run(
        *command, input=statement, env={**os.environ, "PGCONNECT_TIMEOUT": "10"}
    ).stdout.strip()


class Live:
    """The server of this host."""

    def __init__(self, stanza: Stanza) -> None:
        config = stanza.config
        self.stanza = stanza
        self.service = str(config["service"])
        self.data = Path(config["data"])
        self.config = Path(config["config"])
        self.bin = Path(config["bin"])
        self.socket = Path(config["socket"])
        self.archive_timeout = float(config["archive_timeout"])

    def query(self, statement: str, database: str = "postgres") -> str:
        """Return what it answers."""
        return query(self.socket, statement, database)

    @property
    def answers(self) -> bool:
        """Tell whether it takes statements, and not in recovery."""
        try:
            return self.query("SELECT NOT pg_is_in_recovery()") == "t"
        except Failed:
            return False

    def archived(self, segment: str) -> None:
        """Wait until a WAL segment is in every repository.

        Raises:
            Failed: That takes too long; the message is why, as far as it is known.
        """
        deadline = time.monotonic() + self.archive_timeout
        asked = "SELECT last_archived_wal, failed_count, last_failed_wal FROM pg_stat_archiver"
        _, failures, _ = self.query(asked).split("|")
        while True:
            last, failed, which = self.query(asked).split("|")
            if len(last) >= 24 and last[:24] >= segment:  # and no file of a timeline's history
                return
            if time.monotonic() > deadline:
                why = f", since archiving {which} fails" if failed != failures else ""
                raise Failed(
                    f"the server did not archive {segment} within {self.archive_timeout:.0f} s{why}; "
                    f"its log says more, and so does 'pgbackrest --stanza={self.stanza.name} check'"
                )
            time.sleep(0.2)

    def settle(self) -> str:
        """Have all that is committed by now archived, and return the position in the WAL that this is."""
        # A transaction, since it is at one that a recovery to a time can stop.
        here, segment = self.query(
            "SELECT pg_current_xact_id() \\g /dev/null\n"
            "SELECT pg_current_wal_insert_lsn(), pg_walfile_name(pg_switch_wal())"
        ).split("|")
        self.archived(segment)
        return here


@dataclass
class Restored:
    """A server on restored data, on a socket in a folder of its own.

    Attributes:
        live: The server that the data was of.
        data: The data.
        folder: The folder of its socket and its log.
        own: Settings; they win over all that the data brings along.
    """

    live: Live
    data: Path
    folder: Path
    own: dict[str, str]

    def start(self, **target: str) -> None:
        """Start it, and return once it takes statements, which in a recovery is when the data is consistent.

        Args:
            target: Where its recovery is to end, other than what pgBackRest wrote: settings of PostgreSQL's.

        Raises:
            Failed: It did not come up; the message is what its log says.
        """
        self.log.unlink(missing_ok=True)
        run("mkdir", "--parents", "--mode=0700", str(self.folder))
        run("sh", "-c", f"echo 'local all postgres peer' > {self.folder}/hba")
        options = " ".join(f"-c {name}='{value}'" for name, value in self.settings(target).items())
        run(*self.control("start", "-w", "-t", str(PATIENCE)), "-o", options, ok=(0, 1))
        if not self.alive:
            raise Failed(self.trouble())

    def settings(self, target: dict[str, str]) -> dict[str, str]:
        """Return what is set by the command line, which nothing in the data can undo."""
        fixed = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "port": "5432",
            "hba_file": f"{self.folder}/hba",
            "logging_collector": "off",
            "log_destination": "stderr",
            "hot_standby": "on",
        }
        return {**fixed, **self.own, **target}

    def control(self, verb: str, *more: str) -> tuple[str, ...]:
        """Return a command of pg_ctl."""
        return (
            str(self.live.bin / "pg_ctl"),
            verb,
            "-D",
            str(self.data),
            "-l",
            str(self.log),
            *more,
        )

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return run(*self.control("status"), ok=(0, 3, 4)).returncode == 0

    def query(self, statement: str, database: str = "postgres") -> str:
        """Return what it answers."""
        return query(self.folder, statement, database)

    def until(self, condition: str) -> None:
        """Wait until it answers a condition with true.

        Raises:
            Failed: It has ended before.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(Failed):
                if self.query(f"SELECT {condition}") == "t":
                    return
            if not self.alive:
                raise Failed(self.trouble())
            if time.monotonic() > deadline:
                raise Failed(f"its recovery takes longer than {PATIENCE} s")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.alive:
            run(*self.control("stop", "-w", "-m", "fast", "-t", "600"))

    def trouble(self) -> str:
        """Return why it ended, from its log."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return explained(said, self.data)


def explained(said: str, data: Path) -> str:
    """Return why a recovery failed, in words that say what to do about it."""
    if "No space left on device" in said:
        return f"the disk of {data} is full"
    if "recovery ended before configured recovery target was reached" in said:
        last = re.findall(r"restored log file \"(\w+)\"", said)
        after = f" after {last[-1]}" if last else ""
        return f"the archive ends{after}, before what was to be restored: a WAL segment is missing"
    bad = re.findall(r"(?:FATAL|PANIC|ERROR): +(.*)", said)
    return (
        bad[-1]
        if bad
        else (said.strip().splitlines() or ["the server did not start, and says nothing"])[-1]
    )


def limits(live: Live, data: Path) -> dict[str, str]:
    """Return settings that a server needs to recover data, as they were where the data was written."""
    said = run(
        str(live.bin / "pg_controldata"), "-D", str(data), env={**os.environ, "LC_ALL": "C"}
    ).stdout
    names = {
        "max_connections": "max_connections",
        "max_worker_processes": "max_worker_processes",
        "max_wal_senders": "max_wal_senders",
        "max_prepared_xacts": "max_prepared_transactions",
        "max_locks_per_xact": "max_locks_per_transaction",
    }
    found = dict(re.findall(r"(?m)^(\w+) setting: +(\d+)$", said))
    return {setting: found[name] for name, setting in names.items() if name in found}


def scratch(live: Live, folder: Path) -> Restored:
    """Return a server on a scratch folder: nothing of what the live one has beside its data, and no way to archive."""
    data = folder / "data"
    own = {
        "config_file": f"{folder}/postgresql.conf",
        "ident_file": f"{folder}/ident",
        "archive_mode": "off",
        "archive_command": "",
        "shared_preload_libraries": "",
        "fsync": "off",
        "shared_buffers": "64MB",
    }
    return Restored(live, data, folder, own)


def emptied(folder: Path) -> None:
    """Make a folder of postgres's alone, with nothing in it."""
    if folder.exists():
        shutil.rmtree(folder)
    run("mkdir", "--mode=0700", str(folder))


def room(folder: Path, wanted: float, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        Failed: It hasn't.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise Failed(
            f"the disk of {folder} is too full for {what}: {size(free)} are free, it takes {size(wanted)}"
        )


def facts(server: Live | Restored) -> dict[str, Any]:
    """Return a server's databases, its timeline, and its position in the WAL, or that up to which it was restored."""
    databases = server.query(
        "SELECT datname FROM pg_database WHERE NOT datistemplate"
        " AND datname NOT IN ('postgres', 'slipway_canary') ORDER BY datname"
    ).splitlines()
    line, here, last = server.query(
        "SELECT timeline_id, COALESCE(pg_last_wal_replay_lsn(), pg_current_wal_insert_lsn()),"
        " to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS UTC')"
        " FROM pg_control_checkpoint()"
    ).split("|")
    return {"databases": databases, "timeline": int(line), "lsn": here, "last_transaction": last}
