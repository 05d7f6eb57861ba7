"""pgBackRest's stanza: its configuration, what its repositories hold, and what came of backups and drills."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/slipway/backup.json")
PGBACKREST = (
    Path("/etc/pgbackrest/pgbackrest.conf"),
    Path("/etc/pgbackrest/conf.d/slipway-generated.conf"),
)
QUIET = ("--log-level-console=off", "--log-level-stderr=error")  # why it failed, and no more
SAID = 900  # characters of what a program said that are kept
SEGMENTS = 0x100000000 // (16 * 1024 * 1024)  # of WAL, in each of the files' middle number
WAL = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})-[0-9a-f]{40}")

Backup = dict[str, Any]


class Failed(Exception):
    """Something that a person can mend; the message says what."""


def run(
    *command: str, ok: Iterable[int] = (0,), root: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command as postgres, or as root, and return what came of it.

    Args:
        command: The command.
        ok: Exit codes that are no failure.
        root: Whether it is to stay root's.
        options: What ``subprocess.run`` takes.

    Raises:
        Failed: It ended otherwise; the message is what it said.
    """
    program = command[0]
    if os.geteuid() == 0 and not root:
        command = ("runuser", "-u", "postgres", "--", *command)
    given = {"capture_output": True, "text": True, "errors": "replace", "cwd": "/", **options}
    if "input" not in given:
        given.setdefault("stdin", subprocess.DEVNULL)
    done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, **given)
    if done.returncode not in ok:
        raise Failed(words(done.stderr or done.stdout) or f"{program} ended with {done.returncode}")
    return done


def words(text: str) -> str:
    """Return what a program said as one line, without hints, times and what can't be printed."""
    lines = [re.sub(r"^[0-9 :.-]+P\d+ +", "", line.strip()) for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("HINT:", "WARN:"))]
    said = "".join(sign if sign.isprintable() else " " for sign in " ".join(kept))
    return " ".join(said.split())[:SAID]


def size(number: float) -> str:
    """Return a number of bytes as one speaks of it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.1f} {unit}" if unit == "GB" else f"{number:.0f} {unit}"
        number /= 1000
    return ""


def lsn(text: str) -> int:
    """Return a position in the WAL, such as ``0/3000050``, as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def corruption(said: str) -> str:
    """Return what ``pgbackrest verify --output=text`` has found wrong; empty if nothing.

    Its exit code tells nothing, and what is sound is not mentioned.
    """
    if not re.search(r"(?m)^\s*status: error", said):
        return ""
    found, where = [], ""
    for line in said.splitlines():
        text = line.strip()
        if begins := re.match(r"(backup: \S+|archiveId: \S+?),", text):
            where = begins[1].replace("archiveId:", "WAL of").rstrip(",")
        elif wrong := re.findall(
            r"(missing|checksum invalid|size invalid|other): ([1-9]\d*)", text
        ):
            found.append(f"{where}: {', '.join(f'{count} files {what}' for what, count in wrong)}")
        elif text.startswith("No usable"):
            found.append(text)
    return "; ".join(found) or words(said)


def missing(names: Iterable[str], backups: list[Backup]) -> list[str]:
    """Return the WAL segments that an archive lacks from the newest full backup on, up to the last that it has.

    ``pgbackrest verify`` checks those that there are, and notices no gap. One from before that backup is past mending.

    Args:
        names: The paths of the files of an archive.
        backups: The backups of the same server, whose WAL has to be there from start to stop.
    """
    there: dict[int, set[int]] = {}
    for name in names:
        if found := WAL.match(name.rpartition("/")[2]):
            line, log, segment = (int(part, 16) for part in found.groups())
            there.setdefault(line, set()).add(log * SEGMENTS + segment)
    wanted = {line: set(range(min(has), max(has) + 1)) for line, has in there.items()}
    for backup in backups:
        start, stop = backup["archive"]["start"], backup["archive"]["stop"]
        line, first, last = int(start[:8], 16), number(start), number(stop)
        wanted.setdefault(line, set()).update(range(first, last + 1))
    full = [backup["archive"]["start"] for backup in backups if backup.get("type") == "full"]
    since = (int(full[-1][:8], 16), number(full[-1])) if full else (0, 0)
    return [
        f"{line:08X}{one // SEGMENTS:08X}{one % SEGMENTS:08X}"
        for line, segments in sorted(wanted.items())
        for one in sorted(segments - there.get(line, set()))
        if (line, one) >= since
    ]


def number(segment: str) -> int:
    """Return the number of a WAL segment on its timeline, from its name."""
    return int(segment[8:16], 16) * SEGMENTS + int(segment[16:24], 16)


@dataclass(frozen=True)
class Repository:
    """One of the places that backups are kept in."""

    name: str
    key: int
    kind: str
    host: str = ""

    @property
    def away(self) -> bool:
        """Tell whether pgBackRest runs there, since it backs up and verifies only where the repository is."""
        return self.kind == "ssh"


@dataclass(frozen=True)
class Look:
    """What a repository holds: the stanza's backups, oldest first, and the archives of its servers."""

    backups: list[Backup]
    archive: str  # the id of the current one, such as 17-1


class Stanza:
    """The stanza of this host's server."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.name = str(config["stanza"])
        self.repositories = [Repository(**one) for one in config["repositories"]]
        self.folder = Path(config["state"])
        self.scratch = Path(config["scratch"])

    @classmethod
    def here(cls) -> Stanza:
        """Return that of this host."""
        try:
            return cls(json.loads(CONFIG.read_text()))
        except OSError as error:
            raise Failed(f"there are no backups here: {error.strerror}: {CONFIG}") from error

    def repository(self, name: str) -> Repository:
        """Return a repository by its name."""
        for one in self.repositories:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.repositories)
        raise Failed(f"repository is {name}, and there is none of that name; known are: {known}")

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return a command of pgBackRest's for this stanza."""
        return ("pgbackrest", f"--stanza={self.name}", *QUIET, *arguments)

    def ask(self, *arguments: str, **options: Any) -> str:
        """Run pgBackRest and return what it printed."""
        return run(*self.command(*arguments), **options).stdout

    def info(self, repository: Repository) -> tuple[int, dict[str, Any]]:
        """Return a repository's status, 0 for fine, 1 without the stanza, 2 without a backup, and what it says besides.

        Raises:
            Failed: It can't be reached or read; the message says which.
        """
        # Not strict: of a file that a wrong key has decrypted it quotes what is no text.
        text = self.ask("info", "--output=json", f"--repo={repository.key}")
        said: dict[str, Any] = next(iter(json.loads(text, strict=False)), {})
        status = (said.get("repo") or [said])[0].get("status", {"code": 1, "message": ""})
        if status["code"] == 3:
            raise Failed(
                f"repository {repository.name} has an incomplete stanza: what is there was made by a run that was cut "
                f"off, or its backup.info was removed. If nothing of it is to be kept, remove archive/{self.name} and "
                f"backup/{self.name} there, and run site.yml"
            )
        if status["code"] not in (0, 1, 2):
            raise Failed(unreadable(repository, str(status["message"])))
        return int(status["code"]), said

    def look(self, repository: Repository) -> Look:
        """Return what a repository holds.

        Raises:
            Failed: It can't be reached or read, or has nothing of this stanza; the message says which.
        """
        status, said = self.info(repository)
        if status == 1:
            raise Failed(f"repository {repository.name} has no stanza {self.name}; run site.yml")
        backups = [one for one in said["backup"] if not one.get("error")]
        archives = [one["id"] for one in said["archive"]]
        return Look(backups, archives[-1] if archives else "")

    def archived(self, repository: Repository, look: Look) -> list[str]:
        """Return the paths of the files of the current archive."""
        archive = f"archive/{self.name}/{look.archive}"
        command = (
            "pgbackrest",
            *QUIET,
            f"--repo={repository.key}",
            "repo-ls",
            "--recurse",
        )
        return run(*command, archive).stdout.split()

    def settings(self) -> dict[str, str]:
        """Return what pgBackRest is configured with, in all sections."""
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        for path in PGBACKREST:
            if path.exists():
                parser.read_string(path.read_text())
        return {key: value for section in parser for key, value in parser[section].items()}

    # --- What came of what was done --------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what is known of the repositories: by name, the last backup and the last drill."""
        try:
            said: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            said = {}
        known = said.get("repositories", {})
        return {
            **said,
            "repositories": {one.name: known.get(one.name, {}) for one in self.repositories},
        }

    def note(self, repository: str, **said: Any) -> None:
        """Keep what came of something, for status.yml and for Prometheus."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.state()
            state["stanza"] = self.name
            known = state["repositories"][repository]
            known.update(said, since=known.get("since", time.time()))
            write(self.folder / "state.json", json.dumps(state, indent=1) + "\n")
            write(self.folder / "metrics.prom", metrics(state))


def unreadable(repository: Repository, said: str) -> str:
    """Return why a repository can't be read, in words that tell its key from its files and from the way to it."""
    garbled = "FormatError" in said or "CryptoError" in said
    if garbled and "backup.info" in said:
        return (
            f"repository {repository.name} can't be read with its passphrase: it is not the one that the repository "
            f"was made with, or both copies of backup.info are damaged"
        )
    if "FileMissingError" in said or "backup.info" in said:
        return f"repository {repository.name} is corrupted: {words(said)}"
    return f"repository {repository.name} can't be reached: {words(said)}"


def write(path: Path, text: str) -> None:
    """Write a file that anybody may read, whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


METRICS = {
    "backup_timestamp_seconds": "When the last backup of a repository ended.",
    "backup_duration_seconds": "How long it took.",
    "backup_size_bytes": "What it restores to.",
    "backup_stored_bytes": "What it takes in the repository, with those that it builds on.",
    "backup_ok": "Whether the last try to take one went well.",
    "drill_timestamp_seconds": "When the last drill of a repository ended.",
    "drill_duration_seconds": "How long it took.",
    "drill_size_bytes": "What it restored.",
    "drill_ok": "Whether it proved the repository.",
    "drill_proven_timestamp_seconds": "When a drill last proved the repository.",
}


def metrics(state: Mapping[str, Any]) -> str:
    """Return what is known as Prometheus's text format; ages follow from times."""
    values: dict[str, list[tuple[str, float]]] = {}
    for name, of in state["repositories"].items():
        backup, drill = of.get("backup", {}), of.get("drill", {})
        for key, value in (
            ("backup_timestamp_seconds", backup.get("ended")),
            ("backup_duration_seconds", backup.get("seconds")),
            ("backup_size_bytes", backup.get("size")),
            ("backup_stored_bytes", backup.get("stored")),
            ("backup_ok", None if "backup_ok" not in of else int(of["backup_ok"])),
            ("drill_timestamp_seconds", drill.get("ended")),
            ("drill_duration_seconds", drill.get("seconds")),
            ("drill_size_bytes", drill.get("size")),
            ("drill_ok", int(drill["ok"]) if drill else None),
            ("drill_proven_timestamp_seconds", of.get("proven")),
        ):
            if value is not None:
                values.setdefault(key, []).append((name, value))
    lines = []
    for key, of in values.items():
        lines += [f"# HELP slipway_{key} {METRICS[key]}", f"# TYPE slipway_{key} gauge"]
        lines += [f'slipway_{key}{{repository="{name}"}} {value:.15g}' for name, value in of]
    return "\n".join(lines) + "\n"


def into(stanza: Stanza, repository: Repository, kind: str) -> str:
    """Take a backup into a repository, note and print what came of it, and return what failed; empty if nothing did."""
    from tunnel import at_the_repository  # which needs this module

    began = time.time()
    try:
        if repository.away:
            at_the_repository(stanza, repository, "backup", f"--type={kind}")
        else:
            stanza.ask("backup", f"--type={kind}", f"--repo={repository.key}")
        last = stanza.look(repository).backups[-1]
    except (Failed, OSError, ValueError, IndexError) as error:
        stanza.note(repository.name, backup_ok=False, backup_said=str(error))
        print(f"{repository.name}: {error}", flush=True)
        return f"{repository.name}: {error}"
    stored = last["info"]["repository"]
    said = {
        "label": last["label"],
        "type": last["type"],
        "ended": last["timestamp"]["stop"],
        "seconds": round(time.time() - began, 1),
        "size": last["info"]["size"],
        # With block incremental pgBackRest doesn't sum it up, and says what is new alone.
        "stored": stored.get("size") or stored["delta"],
        "lsn": last["lsn"]["stop"],
    }
    stanza.note(repository.name, backup_ok=True, backup_said="", backup=said)
    print(
        f"{repository.name}: {said['type']} backup {said['label']} up to {said['lsn']}, "
        f"{size(said['size'])}, {size(said['stored'])} in the repository, {said['seconds']:.1f} s",
        flush=True,
    )
    return ""


@contextmanager
def alone(stanza: Stanza) -> Iterator[None]:
    """Wait until nothing else of this kind is under way: pgBackRest would refuse the second."""
    folder = os.open(stanza.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def take(stanza: Stanza, kind: str) -> None:
    """Take a backup into each repository, whatever becomes of the others, and say what came of each.

    Raises:
        Failed: One of them has none now.
    """
    with alone(stanza):
        failed = [said for one in stanza.repositories if (said := into(stanza, one, kind))]
    if failed:
        raise Failed("; ".join(failed))


def prepare(
    stanza: Stanza, system: str, version: str, archives: str
) -> tuple[list[str], list[str]]:
    """Make the stanza wherever it is not there yet, or have it follow the server to another major version.

    Args:
        stanza: The stanza.
        system: The identifier of this host's server.
        version: Its major version.
        archives: Its ``archive_mode``.

    Returns:
        The repositories where the stanza was made or upgraded, and those without a backup of this server.

    Raises:
        Failed: There can be no backups yet, or a repository has it of another server; then nothing is changed.
    """
    if archives == "off":
        raise Failed(
            "archive_mode waits for a restart of PostgreSQL, and there are no backups before; allow it: "
            "ansible-playbook site.yml -e postgresql_restart=true"
        )
    made, old, bare = [], [], []
    # A server of another version is this one's past only if it was backed up here.
    ours = stanza.state().get("stanza") == stanza.name
    for repository in stanza.repositories:
        status, said = stanza.info(repository)
        if status == 1:
            made.append(repository.name)
            continue
        last = said["db"][-1]
        if str(last["system-id"]) == system:
            if last["id"] not in [one["database"]["id"] for one in said["backup"]]:
                bare.append(repository.name)
        elif str(last["version"]) == version:
            raise Failed(
                f"repository {repository.name} has the stanza {stanza.name} of another server. If this host takes its "
                f"place: ansible-playbook playbooks/restore.yml -e to=latest -e live={stanza.name}, and then site.yml "
                "again. If not, give it another name by backup_stanza"
            )
        elif not ours:
            raise Failed(
                f"repository {repository.name} has the stanza {stanza.name} of another server, of PostgreSQL "
                f"{last['version']}, and the one here is of {version}. If this host takes its place, give it that "
                "version by postgresql_version. If not, give it another name by backup_stanza"
            )
        else:
            old.append(repository.name)
    if old or made:
        with alone(stanza):
            if old:
                stanza.ask("stanza-upgrade")
            if made:
                stanza.ask("stanza-create")
    return old + made, old + made + bare
