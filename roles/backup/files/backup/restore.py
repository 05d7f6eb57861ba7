"""Restores that a person asks for: into a scratch server beside the live one, or over the live one."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server import Live, Restored, emptied, facts, limits, room, scratch
from stanza import Backup, Failed, Repository, Stanza, lsn, run, size
from targets import Point, Target, bring, choose, fetch, moment, points, resolve

UNIT = "slipway-scratch.service"
PRIVATE = Path("/run/slipway-restore")
UNITS = Path("/etc/systemd/system")
WAL = 200_000_000  # bytes that a restored server takes beside its data


@dataclass(frozen=True)
class Plan:
    """What a restore is going to do."""

    stanza: Stanza
    target: Target
    repository: Repository
    backup: Backup

    def told(self) -> dict[str, Any]:
        """Return it as playbooks show it."""
        backup = self.backup
        return {
            "stanza": self.stanza.name,
            "target": self.target.words,
            "repository": self.repository.name,
            "backup": backup["label"],
            "type": backup["type"],
            "ended": moment(backup["timestamp"]["stop"]),
            "size": size(backup["info"]["size"]),
        }


def plan(stanza: Stanza, to: str, name: str, root: Path) -> Plan:
    """Return what a restore would do: the first repository that can do it is taken, unless one is named.

    Raises:
        Failed: It can't be done; the message says why, for each repository.
    """
    target = resolve(to, points(root), datetime.now(UTC))
    reasons = []
    for repository in [stanza.repository(name)] if name else stanza.repositories:
        try:
            backup = choose(stanza, repository, stanza.look(repository), target)
        except Failed as error:
            reasons.append(str(error))
            continue
        return Plan(stanza, target, repository, backup)
    raise Failed("; ".join(reasons))


def beside(plan: Plan) -> dict[str, Any]:
    """Restore into a scratch server, which goes on running, and return what came of it."""
    live, stanza = Live(plan.stanza), plan.stanza
    if plan.target.kind != "name" and live.answers:
        live.settle()
    remove(stanza)
    room(stanza.scratch, plan.backup["info"]["size"] + WAL, "a restore")
    folder = stanza.scratch / "restored"
    began = time.monotonic()
    emptied(folder)
    server = scratch(live, folder)
    try:
        bring(stanza, plan.repository, plan.backup, server, plan.target)
        recover(server)
        found = facts(server)
    except BaseException:
        with suppress(Failed):
            server.stop()
        emptied(folder)
        raise
    server.stop()
    options = [
        word for key, value in server.settings({}).items() for word in ("-c", f"{key}={value}")
    ]
    run(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--uid=postgres"),
        *(
            f"--property={one}"
            for one in ("PrivateNetwork=yes", "KillMode=mixed", "KillSignal=SIGINT")
        ),
        "--description=A database that was restored beside the live one",
        *(str(live.bin / "postgres"), "-D", str(server.data), *options),
        root=True,
    )
    wait(lambda: bool(server.query("SELECT 1")), "the scratch server")
    return {**found, **measured(plan, began), "socket": str(folder)}


def remove(stanza: Stanza) -> bool:
    """Drop the scratch server, and tell whether there was one."""
    run("systemctl", "stop", UNIT, root=True, ok=(0, 5))
    folder = stanza.scratch / "restored"
    there = folder.exists()
    if there:
        shutil.rmtree(folder)
    return there


def recover(server: Restored) -> None:
    """Start a server that was restored, and wait until its recovery is over."""
    server.start()
    server.until("NOT pg_is_in_recovery()")


def wait(answers: Any, what: str, patience: float = 300) -> None:
    """Wait until something answers.

    Raises:
        Failed: It doesn't.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with suppress(Failed):
            if answers():
                return
        time.sleep(0.2)
    raise Failed(f"{what} doesn't answer")


def measured(plan: Plan, began: float) -> dict[str, Any]:
    """Return how long a restore took, for what the backup holds."""
    seconds, data = time.monotonic() - began, plan.backup["info"]["size"]
    return {"seconds": round(seconds, 1), "seconds_per_gb": round(seconds / (data / 1e9), 1)}


def units(apps: Iterable[str]) -> dict[str, str]:
    """Return the units of applications that run, each with the application."""
    owners = {}
    for path in (*UNITS.glob("*@*.service"), *UNITS.glob("*@*.timer")):
        if found := re.search(r"(?m)^X-Slipway-App=(.+)$", path.read_text(errors="replace")):
            owners[path.name] = found[1]
    said = run(
        "systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", root=True
    )
    running = [line.split()[0] for line in said.stdout.splitlines()]
    return {unit: owners[unit] for unit in running if owners.get(unit) in set(apps)}


def over(
    plan: Plan, apps: Iterable[str], leave: list[str], keep: bool, root: Path
) -> dict[str, Any]:
    """Restore over the live server, and return what came of it. Whatever fails, what there was is put back.

    Args:
        plan: What is to be restored.
        apps: Applications, whose units are stopped for the time.
        leave: Those of them that are not started again here, unless it fails.
        keep: Whether what there is is kept aside until the restored server is up.
        root: The folder of the applications' releases.
    """
    live, began, stopped = Live(plan.stanza), time.monotonic(), units(apps)
    systemctl("stop", *stopped)
    try:
        # All that is committed stays restorable, whatever this is to go back to.
        reached = live.settle() if live.answers else "0/0"
        data = Data(live, keep)
        if not data.sound:  # a server without its files would wait until it looks for them
            with suppress(Failed):
                systemctl("kill", "--signal=SIGQUIT", live.service)
        systemctl("stop", live.service)
        try:
            data.put_aside(plan.backup["info"]["size"])
            found = replace(plan, live, data.sound)
            if plan.target.kind == "default" and lsn(found["lsn"]) < lsn(reached):
                raise Failed(
                    f"what came back ends at {found['lsn']}; the server had come to {reached}"
                )
        except BaseException:
            data.put_back()
            with suppress(Failed):  # if there was nothing, there is nothing to start
                systemctl("start", live.service)
            raise
        systemctl("start", live.service)
        wait(lambda: live.answers, "the restored server")
        data.forget()
        forgotten = forget(points(root), found["lsn"], root)
    except BaseException:
        leave = []
        raise
    finally:
        systemctl("start", *(unit for unit, app in stopped.items() if app not in leave))
    # The next restore begins with what is there now.
    systemctl("start", "--no-block", "slipway-backup@incr.service")
    return {**found, **measured(plan, began), "stopped": list(stopped), "to_migrate": forgotten}


def replace(plan: Plan, live: Live, sound: bool) -> dict[str, Any]:
    """Restore in the place of the live data and recover it, where nobody else gets in, and return what it is."""
    own = {"config_file": f"{live.config}/postgresql.conf", "external_pid_file": ""}
    server = Restored(live, live.data, PRIVATE, own)
    PRIVATE.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(PRIVATE, "postgres", "postgres")
    delta = ("--delta",) if sound else ()
    try:
        fetch(plan.stanza, plan.repository, plan.backup, *delta, *plan.target.options("promote"))
        server.own |= limits(live, live.data)
        recover(server)
        return facts(server)
    finally:
        server.stop()


def systemctl(verb: str, *words: str) -> None:
    """Have systemd do something with units; nothing where there are none."""
    if words:
        run("systemctl", verb, *words, root=True)


class Data:
    """The live server's data while something else is restored in its place."""

    def __init__(self, live: Live, keep: bool) -> None:
        self.data, self.keep = live.data, keep
        self.aside = live.data.with_name(f"{live.data.name}.slipway-aside")
        self.sound = all(
            (self.data / name).exists() for name in ("PG_VERSION", "global/pg_control")
        )
        self.done = ""

    def put_aside(self, wanted: float) -> None:
        """Keep a copy, if it is whole, since it is what is restored over; or move away what is left of it.

        Raises:
            Failed: There is no room for that, or it has parts elsewhere.
        """
        if self.aside.exists():
            raise Failed(
                f"{self.aside} is there, from a restore that was cut off: it is what there was before that. Move it to "
                f"{self.data} if that doesn't start, or else away"
            )
        if not self.sound:
            if self.data.exists():
                self.data.rename(self.aside)
                self.done = "moved"
            run("mkdir", "--parents", "--mode=0700", str(self.data))
            room(self.data, wanted + WAL, "a restore")
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that died
        if not self.keep:
            return
        if any((self.data / "pg_tblspc").iterdir()):
            raise Failed(
                "the server has tablespaces, which can't be kept aside; -e aside=false does without"
            )
        has = int(run("du", "--summarize", "--bytes", str(self.data)).stdout.split()[0])
        try:
            room(self.data, has + WAL, "keeping what there is aside")
        except Failed as error:
            raise Failed(
                f"{error}. -e aside=false does without, and then the backups are all there is"
            ) from None
        self.done = "copying"
        run("cp", "--archive", "--reflink=auto", str(self.data), str(self.aside), root=True)
        self.done = "copied"

    def put_back(self) -> None:
        """Have what there was in its place again."""
        if self.done == "copying":
            shutil.rmtree(self.aside, ignore_errors=True)
        elif self.done:
            shutil.rmtree(self.data, ignore_errors=True)
            self.aside.rename(self.data)

    def forget(self) -> None:
        """Remove what was kept."""
        if self.done:
            shutil.rmtree(self.aside)


def forget(known: Iterable[Point], position: str, root: Path) -> list[str]:
    """Have releases migrate again whose migrations the database has no more, and return them."""
    found = []
    for point in known:
        marker = root / point["app"] / "releases" / point["release"] / "migrated"
        if lsn(point["lsn"]) >= lsn(position) and marker.exists():
            marker.unlink()
            found.append(f"{point['app']} {point['release']}")
    return found


def back(stanza: Stanza, root: Path, app: str, release: str) -> dict[str, Any]:
    """Return the restore point that leads back to the database of an earlier release, and what is lost by it.

    Args:
        stanza: The stanza.
        root: The folder of the applications' releases.
        app: The application.
        release: The release that is to serve again.

    Raises:
        Failed: There is none; the message says why.
    """
    lines = []
    for line in (root / app / "releases.jsonl").read_text().splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    point = before(lines, release)
    live = Live(stanza)
    xid, wal, rows = live.query(
        "SELECT pg_snapshot_xmax(pg_current_snapshot()),"
        f" pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{point['lsn']}')::bigint,"
        " tup_inserted + tup_updated + tup_deleted"
        f" FROM pg_stat_database WHERE datname = '{point['database']}'"
    ).split("|")
    ago = datetime.now(UTC) - datetime.fromisoformat(point["time"])
    written = int(rows) - int(point["rows"])
    return {
        "point": point,
        "others": [name for name in facts(live)["databases"] if name != point["database"]],
        "seconds": round(ago.total_seconds()),
        "transactions": int(xid) - int(point["xid"]),
        "wal": size(int(wal)),
        "rows": written if written >= 0 else None,  # a crash has the server count anew
    }


def before(lines: list[dict[str, Any]], release: str) -> Point:
    """Return the restore point from before the first migration after a release served last.

    Raises:
        Failed: There is none.
    """
    served = [
        place
        for place, line in enumerate(lines)
        if line.get("status", "succeeded") != "failed"
        and line.get("to", line["release"]) == release
    ]
    if not served:
        raise Failed(f"release {release} has never served here")
    for line in lines[served[-1] + 1 :]:
        if line.get("restore_point"):
            point: Point = {**line["restore_point"], "release": line["release"]}
            return point
    raise Failed(
        f"nothing has migrated since {release} served, or there were no backups then: there is no restore point. "
        "Without with_database=true it is a rollback of the release alone"
    )
